"""Regions drawn over panes and pictures: outlines with their names, each region in a colour of its own."""

import html
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from cellapp.regions import Region

# Okabe and Ito's, without the orange of the points; the canvas gives the same region the same colour.
REGION_COLOURS = ("#56B4E9", "#F0E442", "#CC79A7", "#009E73", "#D55E00")  # sky blue, yellow, purple, green, vermilion
_RIM = (20, 20, 20)                                          # so that a line is seen on bright ground too


def region_layers(regions: Sequence[Region]) -> list[go.Scatter]:
    """Traces for a pane: a dark rim under all outlines, then one trace for each colour. Names are text, never HTML."""
    if not regions:
        return []
    gap = np.full((1, 2), np.nan)
    closed = [np.concatenate([r.outline, r.outline[:1], gap]) for r in regions]
    layers = [_lines(closed, f"rgba{(*_RIM, 0.6)}", 4)]
    for k, colour in enumerate(REGION_COLOURS[: len(regions)]):
        mine = range(k, len(regions), len(REGION_COLOURS))
        names = [text for n in mine for text in (f"\u00a0{html.escape(regions[n].name)}", *[""] * (len(closed[n]) - 1))]
        layers.append(_lines([closed[n] for n in mine], colour, 1.75).update(
            mode="lines+text", text=names, textposition="bottom right",
            textfont={"color": colour, "size": 12, "shadow": "auto"}))
    return layers


def _lines(closed: list[np.ndarray], colour: str, width: float) -> go.Scatter:
    y, x = np.concatenate(closed).round(2).T
    return go.Scatter(x=x, y=y, mode="lines", connectgaps=False, hoverinfo="skip", showlegend=False,
                      line={"color": colour, "width": width})


def draw_regions(picture: np.ndarray, regions: Sequence[Region]) -> None:
    """Draw into an (H, W, 3) uint8 picture of the image's own size."""
    import cv2

    if not regions:
        return
    width = max(1, round(max(picture.shape) / 1000))
    font = cv2.FontFace("sans")                              # has Latin, Greek and Cyrillic letters
    shift = 4                                                # cv2 takes positions in 1/16 px
    for k, region in enumerate(regions):
        colour = _rgb(REGION_COLOURS[k % len(REGION_COLOURS)])
        corners = np.rint(np.clip(region.outline[:, ::-1], -1e6, 1e6) * 2**shift).astype(np.int32)
        cv2.polylines(picture, [corners], True, _RIM, width + 2, cv2.LINE_AA, shift)
        cv2.polylines(picture, [corners], True, colour, width, cv2.LINE_AA, shift)
        _write(picture, region, colour, font, width)


def _write(picture: np.ndarray, region: Region, colour: tuple[int, int, int], font, line: int) -> None:
    """The name inside the upper left corner of the region, as far as the picture reaches."""
    import cv2

    height, width = picture.shape[:2]
    size = max(12, round(max(height, width) / 60))
    _, _, across, up = cv2.getTextSize((width, height), region.name, (0, 0), font, size, 500)
    top, left = np.clip(region.outline.min(axis=0), 0, (height, width)).astype(int)
    x, y = min(left + line + 3, width - across - 2), min(top + line + 2 + up, height - 2)
    for dx, dy in ((-1, -1), (-1, 1), (1, -1), (1, 1), (0, 0)):
        cv2.putText(picture, region.name, (max(1, x) + dx, y + dy), _RIM if dx else colour, font, size, 500)


def _rgb(colour: str) -> tuple[int, int, int]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
