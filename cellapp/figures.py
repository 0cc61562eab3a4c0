"""Predictions as pictures: linked panes for the pages, an overlay to download.

Contrast here is for the eye only; it never reaches a network. Colours: viridis for densities, orange
rings with a dark rim for points, which stay apart for colour-blind readers on grey images.
"""

import base64
import io

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cellapp.density import reduce_map
from cellapp.image import Image, plane, preview
from cellapp.prediction import Prediction

VIEWS = ("Image", "Density", "Detected cells")
POINT_COLOUR = "#E69F00"                                     # Okabe-Ito orange
WIDTH = 930                                                  # CSS px that the panes share on a desktop
MAX_SIDE = 1024                                              # px; larger maps are drawn from block means


def panes(image: Image, prediction: Prediction | None, *, channel: str = "auto", views: tuple[str, ...] = VIEWS,
          stacked: bool = False) -> go.Figure:
    """Image, density map and points side by side (or stacked), zooming and panning together.

    Axes are in pixels of the image as it was read, y downwards; the density's colour bar is in cells per pixel.
    """
    views = tuple(v for v in VIEWS if v in views)
    if prediction is None:
        views = ("Image",)
    rows, columns = (len(views), 1) if stacked else (1, len(views))
    figure = make_subplots(rows=rows, cols=columns,
                           subplot_titles=[_title(v, prediction) for v in views],
                           horizontal_spacing=0.03, vertical_spacing=0.05)
    grey, _ = plane(image, channel)
    picture = _picture(grey)
    for k, view in enumerate(views):
        row, column = (k + 1, 1) if stacked else (1, k + 1)
        if view == "Density":
            figure.add_trace(_heat_map(prediction.density, stacked, row, rows), row, column)
        else:
            figure.add_trace(picture, row, column)
        if view == "Detected cells":
            figure.add_trace(_dots(prediction.points, grey.shape), row, column)
    _layout(figure, image.shape, rows, columns)
    return figure


def _title(view: str, prediction: Prediction | None) -> str:
    if view == "Density":
        return f"Density map, sum {prediction.count:.1f}"
    if view == "Detected cells":
        return f"Detected cells, {len(prediction.points)} peaks"
    return view


def _picture(grey: np.ndarray) -> go.Image:
    small = preview(grey, max_side=MAX_SIDE)
    step = grey.shape[0] / small.shape[0], grey.shape[1] / small.shape[1]
    return go.Image(source=_data_url(small), dx=step[1], dy=step[0], x0=step[1] / 2 - 0.5, y0=step[0] / 2 - 0.5,
                    hovertemplate="x %{x:.0f}, y %{y:.0f}<extra></extra>")


def _data_url(grey: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(png(grey)).decode()


def _heat_map(density: np.ndarray, stacked: bool, row: int, rows: int) -> go.Heatmap:
    small, factor = reduce_map(density, MAX_SIDE // 2)
    shown = np.maximum(small, 0)                             # the display clips, the count does not
    bar = {"title": {"text": "cells per pixel", "side": "right"}, "thickness": 12, "exponentformat": "power",
           "len": 1 / rows if stacked else 1, "y": 1 - (row - 0.5) / rows if stacked else 0.5}
    return go.Heatmap(z=shown, colorscale="Viridis", zmin=0, zmax=max(float(shown.max()), 1e-6), colorbar=bar,
                      dx=factor, dy=factor, x0=(factor - 1) / 2, y0=(factor - 1) / 2,
                      hovertemplate="x %{x:.0f}, y %{y:.0f}<br>%{z:.2g} cells per pixel<extra></extra>")


def _dots(points: np.ndarray, shape: tuple[int, int]) -> go.Scatter:
    # Rings shrink as cells get denser, so that a crowd stays readable.
    spacing = np.sqrt(shape[0] * shape[1] / max(1, len(points))) / max(shape)
    return go.Scatter(x=points[:, 1], y=points[:, 0], mode="markers", showlegend=False,
                      marker={"symbol": "circle-open", "size": float(np.clip(spacing * 120, 4, 10)),
                              "color": POINT_COLOUR, "line": {"width": 1.5}},
                      hovertemplate="cell at x %{x:.1f}, y %{y:.1f}<extra></extra>")


def _layout(figure: go.Figure, shape: tuple[int, int], rows: int, columns: int) -> None:
    height, width = shape
    figure.update_xaxes(range=[-0.5, width - 0.5], constrain="domain", showgrid=False, zeroline=False,
                        title_text="x (px)", title_standoff=4)
    figure.update_yaxes(range=[height - 0.5, -0.5], constrain="domain", constraintoward="top", showgrid=False,
                        zeroline=False, showticklabels=False)
    # The first pane has square pixels, the others follow its two axes.
    figure.layout.yaxis.scaleanchor = "x"
    for k in range(2, rows * columns + 1):
        figure.layout[f"xaxis{k}"].matches, figure.layout[f"yaxis{k}"].matches = "x", "y"
    figure.update_yaxes(title_text="y (px)", title_standoff=4, showticklabels=True, col=1)
    # Plotly cannot derive a height from the width it gets, so the usual width of a pane stands in for it.
    pane = (225 if rows > 1 else WIDTH / columns - 20) * height / width
    figure.update_layout(margin={"l": 10, "r": 10, "t": 30, "b": 10}, hovermode="closest", uirevision="panes",
                         height=rows * (float(np.clip(pane, 150, 640)) + 85),
                         # On a phone a finger that moves over a pane scrolls the page.
                         dragmode=False if rows > 1 else "pan")


def overlay(image: Image, prediction: Prediction, channel: str = "auto") -> np.ndarray:
    """The image with a ring on every detected cell: (H, W, 3) uint8, at the image's own size."""
    import cv2

    grey, _ = plane(image, channel)
    picture = np.repeat(preview(grey)[..., None], 3, axis=2)
    colour = tuple(int(POINT_COLOUR[i : i + 2], 16) for i in (1, 3, 5))
    radius = max(3, round(max(grey.shape) / 250))
    shift = 4                                                # cv2 takes positions in 1/16 px
    for y, x in np.asarray(prediction.points).reshape(-1, 2):
        centre = round(x * 2**shift), round(y * 2**shift)
        cv2.circle(picture, centre, radius << shift, (20, 20, 20), 3, cv2.LINE_AA, shift)
        cv2.circle(picture, centre, radius << shift, colour, 1, cv2.LINE_AA, shift)
    return picture


def png(rgb: np.ndarray) -> bytes:
    """A PNG of an (H, W) or (H, W, 3) uint8 array."""
    from PIL import Image as Pillow

    out = io.BytesIO()
    Pillow.fromarray(rgb).save(out, "PNG")
    return out.getvalue()
