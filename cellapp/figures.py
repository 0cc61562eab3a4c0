"""Predictions as linked panes: one pane for each thing a prediction can show.

Contrast here is for the eye only; it never reaches a network. Axes are in pixels of the image as it was read, y
downwards; all panes of a figure zoom and pan together.
"""

import base64
import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import plotly.graph_objects as go

from cellapp.density import reduce_map
from cellapp.figure_regions import region_layers
from cellapp.image import Image, plane, preview
from cellapp.overlays import OUTLINE_COLOURS, POINT_COLOUR, outlines, png
from cellapp.pane_grid import Pane, draw
from cellapp.prediction import VIEWS, Prediction
from cellapp.regions import Region

IMAGE, DENSITY, CELLS, OUTLINES = "Image", "Density", "Detected cells", "Outlines"
MAX_SIDE = 1024                                              # px; larger images are shown reduced
MAX_MAP = 512                                                # px; larger maps are drawn from block means
_MANY = 3                                                    # from more panes than this on, each gets fewer pixels


def views_of(prediction: Prediction | None) -> tuple[str, ...]:
    """The panes this prediction has, in the order in which they are shown."""
    if prediction is None:
        return (IMAGE,)
    there = {IMAGE: True, DENSITY: prediction.density is not None, CELLS: prediction.points is not None,
             OUTLINES: prediction.labels is not None}
    return (*(name for name, shown in there.items() if shown),
            *(view.title for name, view in VIEWS.items() if name in prediction.views))


def panes(image: Image, prediction: Prediction | None, *, channel: str = "auto", views: tuple[str, ...] | None = None,
          stacked: bool = False, dots: Sequence[go.Scatter] = (), regions: Sequence[Region] = ()) -> go.Figure:
    """The panes of one prediction, side by side or stacked. ``views`` are names of `views_of`; by default all.

    regions : outlined in every pane
    dots : of `figure_agreement.dot_layers`, to be seen over the image and over the cells
    """
    shown = [v for v in views_of(prediction) if views is None or v in views]
    artist = Artist(image, channel, many=len(shown) > _MANY)
    made = [(view, artist.pane(view, prediction)) for view in shown]
    over = region_layers(regions)
    return draw([replace(pane, layers=(*pane.layers, *over, *(dots if view in (IMAGE, CELLS, OUTLINES) else ())))
                 for view, pane in made], image.shape, stacked=stacked)


@dataclass(frozen=True)
class Comparison:
    """What is shown of several methods at once: a name, and which views of a prediction belong to it."""

    name: str
    views: Callable[[Prediction], tuple[str, ...]]


def _main_map(prediction: Prediction) -> tuple[str, ...]:
    return (DENSITY,) if prediction.density is not None else (OUTLINES,)


def _cells(prediction: Prediction) -> tuple[str, ...]:
    if prediction.labels is not None:
        return (OUTLINES,)
    return (CELLS,) if prediction.points is not None else ()


def _further(prediction: Prediction) -> tuple[str, ...]:
    return tuple(VIEWS[name].title for name in prediction.views)


COMPARISONS = {c.name: c for c in (Comparison("Maps", _main_map), Comparison("Cells found", _cells),
                                   Comparison("Further maps", _further))}


def compare(image: Image, predictions: dict[str, Prediction], *, channel: str = "auto", show: str = "Maps",
            common: bool = True, stacked: bool = False) -> go.Figure:
    """The image and one pane or more for each method.

    Parameters
    ----------
    predictions : by the titles to be shown
    show : a name of `COMPARISONS`
    common : maps of one kind share one range of colours, so that equal colours mean equal numbers
    """
    chosen = [(title, prediction, view) for title, prediction in predictions.items()
              for view in COMPARISONS[show].views(prediction)]
    artist = Artist(image, channel, many=len(chosen) >= _MANY)
    shown = [artist.pane(IMAGE, None)]
    for title, prediction, view in chosen:
        what = view if show == "Further maps" else _in_words(prediction, view)
        pane = replace(artist.pane(view, prediction), title=_title(title, what))
        shown.append(replace(pane, shared=view if common and pane.colours else ""))
    return draw(shown, image.shape, stacked=stacked)


def _in_words(prediction: Prediction, view: str) -> str:
    if view == DENSITY:
        return f"{prediction.count:,.1f} cells"
    return f"{len(prediction.points):,} {'outlines' if view == OUTLINES else 'peaks'}"


def _title(first: str, second: str) -> str:
    return f"<b>{html.escape(first)}</b><br>{html.escape(second)}"


class Artist:
    """Makes the panes of one image; the picture is made once for all of them."""

    def __init__(self, image: Image, channel: str, *, many: bool):
        grey, _ = plane(image, channel)
        self._shape = grey.shape
        self._side = MAX_MAP * 3 // 4 if many else MAX_MAP
        self._ring = 7.0 if many else 10.0
        self._picture = _picture(grey, MAX_SIDE * 3 // 4 if many else MAX_SIDE)

    def pane(self, view: str, prediction: Prediction | None) -> Pane:
        """One pane of `views_of`."""
        if view == IMAGE:
            height, width = self._shape
            return Pane(_title(IMAGE, f"{width} × {height} px"), (self._picture,))
        if view == DENSITY:
            map_, factor = reduce_map(prediction.density, self._side)
            return Pane(_title("Density map", f"sum {prediction.count:,.1f}"),
                        (_heat_map(np.maximum(map_, 0), factor, 0, "cells per pixel"),),  # the display clips,
                        "cells per pixel", "Viridis")                                     # the count does not
        if view == CELLS:
            return Pane(_title("Detected cells", f"{len(prediction.points):,} found one by one"),
                        (self._picture, _rings(prediction.points, self._shape, self._ring)))
        if view == OUTLINES:
            return Pane(_title("Outlines", f"{len(prediction.points):,} cells"),
                        (self._picture, *_lines(prediction.labels)))
        return self._further(next(name for name in VIEWS if VIEWS[name].title == view), prediction)

    def _further(self, name: str, prediction: Prediction) -> Pane:
        view, map_ = VIEWS[name], prediction.views[name]
        rim = (map_.shape[0] - self._shape[0]) // 2
        small, factor = _block_means(map_, self._side)
        layers = [_heat_map(small, factor, rim, view.unit)]
        if rim:
            layers.append(_frame(self._shape))
        return Pane(_title(view.title, view.unit), tuple(layers), view.unit, view.colours, view.top, rim=rim)


def _picture(grey: np.ndarray, max_side: int) -> go.Image:
    small = preview(grey, max_side=max_side)
    step = grey.shape[0] / small.shape[0], grey.shape[1] / small.shape[1]
    source = "data:image/png;base64," + base64.b64encode(png(small)).decode()
    return go.Image(source=source, dx=step[1], dy=step[0], x0=step[1] / 2 - 0.5, y0=step[0] / 2 - 0.5,
                    hovertemplate="x %{x:.0f}, y %{y:.0f}<extra></extra>")


def _heat_map(map_: np.ndarray, factor: int, rim: int, unit: str) -> go.Heatmap:
    """Block means of a map whose first pixel lies ``rim`` px before that of the image, on both axes."""
    first = (factor - 1) / 2 - rim
    return go.Heatmap(z=map_, dx=factor, dy=factor, x0=first, y0=first,
                      hovertemplate=f"x %{{x:.0f}}, y %{{y:.0f}}<br>%{{z:.3g}} {unit}<extra></extra>")


def _block_means(map_: np.ndarray, max_side: int) -> tuple[np.ndarray, int]:
    """Like `reduce_map` for values that are no masses: blocks at the edge repeat it instead of fading to zero."""
    factor = -(-max(map_.shape) // max_side)
    rest = [(0, -side % factor) for side in map_.shape]
    return reduce_map(np.pad(map_, rest, mode="edge"), max_side)


def _frame(shape: tuple[int, int]) -> go.Scatter:
    """The border of the image inside a map that reaches beyond it."""
    height, width = shape
    return go.Scatter(x=np.array([0, width, width, 0, 0]) - 0.5, y=np.array([0, 0, height, height, 0]) - 0.5,
                      mode="lines", line={"color": "white", "width": 1, "dash": "dot"}, hoverinfo="skip",
                      showlegend=False)


def _rings(points: np.ndarray, shape: tuple[int, int], largest: float) -> go.Scatter:
    # Rings shrink as cells get denser, so that a crowd stays readable.
    spacing = np.sqrt(shape[0] * shape[1] / max(1, len(points))) / max(shape)
    return go.Scatter(x=points[:, 1], y=points[:, 0], mode="markers", showlegend=False,
                      marker={"symbol": "circle-open", "size": float(np.clip(spacing * 12 * largest, 4, largest)),
                              "color": POINT_COLOUR, "line": {"width": 1.5}},
                      hovertemplate="cell at x %{x:.1f}, y %{y:.1f}<extra></extra>")


def _lines(labels: np.ndarray) -> list[go.Scatter]:
    """One trace of outlines for each colour; vectors, so that they stay fine lines at every zoom."""
    parts = [[] for _ in OUTLINE_COLOURS]
    for number, line in outlines(labels):
        parts[(number - 1) % len(parts)] += [line, np.full((1, 2), np.nan)]
    found = [(np.concatenate(part).round(2), colour) for part, colour in zip(parts, OUTLINE_COLOURS, strict=True)
             if part]
    return [go.Scatter(x=xy[:, 1], y=xy[:, 0], mode="lines", connectgaps=False, hoverinfo="skip", showlegend=False,
                       line={"color": colour, "width": 1.5}) for xy, colour in found]
