"""Panes laid out in a grid of linked axes, each with its heading and, where it needs one, its own colour bar."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

WIDTH = 960                                                  # CSS px that the panes share on a desktop
NARROW = 300                                                 # CSS px of a pane on a phone
MOST = 4                                                     # panes in a row
_HEAD, _BAR, _FOOT, _STRIP = 44, 38, 44, 48                  # CSS px: heading, colour bar, x axis, shared colour bars
_GAP = 0.035                                                 # between panes, of the width
_LEFT = 60                                                   # CSS px for the y axis of the first pane

_LABELLED, _BARE = {"title": "y (px)"}, {"showticklabels": False, "ticks": ""}


@dataclass(frozen=True)
class Pane:
    """One pane of a figure.

    Attributes
    ----------
    title : HTML of two lines
    layers : Plotly traces, the lowest first; a heat map gets its colours from the pane
    unit, colours, top : of the heat map: the words at its colour bar, a Plotly colour scale, the upper end of the
        range (None is the largest value); the lower end is 0
    shared : panes with the same word here share one range of colours, whose bar is above all panes
    rim : px by which the map reaches beyond the image on every side
    """

    title: str
    layers: tuple[go.Image | go.Heatmap | go.Scatter, ...]
    unit: str = ""
    colours: str = ""
    top: float | None = None
    shared: str = ""
    rim: int = 0


def draw(panes: list[Pane], shape: tuple[int, int], *, stacked: bool = False) -> go.Figure:
    """The figure of these panes for an image of this (H, W); at most `MOST` in a row, ``stacked`` one."""
    rows = len(panes) if stacked else -(-len(panes) // MOST)
    columns = 1 if stacked else -(-len(panes) // rows)
    rim = max((pane.rim for pane in panes), default=0)
    height, width = (side + 2 * rim for side in shape)
    strip = _STRIP if any(pane.shared for pane in panes) and not stacked else 0
    head = _HEAD + (_BAR if any(pane.colours and (stacked or not pane.shared) for pane in panes) else 0)
    # Plotly cannot derive a height from the width it gets, so the usual width of a pane stands in for it.
    usual = NARROW if stacked else WIDTH * (1 - _GAP * (columns - 1)) / columns
    pane_height = float(np.clip(usual * height / width, 150, 640))
    row_height = head + pane_height + _FOOT
    total = strip + rows * row_height
    pane_width = (1 - _GAP * (columns - 1)) / columns

    figure = go.Figure()
    bars = _Bars(panes, apart=stacked)
    for k, pane in enumerate(panes):
        row, column = divmod(k, columns)
        left, top = column * (pane_width + _GAP), 1 - (strip + row * row_height + head) / total
        mark = "" if k == 0 else str(k + 1)
        for layer in pane.layers:
            layer = type(layer)(layer).update(xaxis=f"x{mark}", yaxis=f"y{mark}")
            figure.add_trace(layer.update(coloraxis=bars.axis[k]) if isinstance(layer, go.Heatmap) else layer)
        figure.layout[f"xaxis{mark}"] = {"domain": (left, left + pane_width), "anchor": f"y{mark}"}
        figure.layout[f"yaxis{mark}"] = {"domain": (top - pane_height / total, top), "anchor": f"x{mark}",
                                         **(_LABELLED if column == 0 else _BARE)}
        if k:
            figure.layout[f"xaxis{mark}"].matches, figure.layout[f"yaxis{mark}"].matches = "x", "y"
        figure.add_annotation(text=pane.title, xref=f"x{mark} domain", yref=f"y{mark} domain", x=0, y=1, yshift=head
                              - _HEAD + 3, xanchor="left", yanchor="bottom", align="left", showarrow=False)
        if pane.colours and (stacked or not pane.shared):
            bars.draw(figure, [k], x=left, y=top, length=pane_width * 0.45)
    if strip:
        groups = bars.groups()
        share = 1 / max(2, len(groups))
        for place, members in enumerate(groups):
            bars.draw(figure, members, x=place * share, y=1.0, length=share * 0.4)
    _axes(figure, shape, rim)
    figure.update_layout(margin={"l": _LEFT, "r": 8, "t": 8, "b": 4}, hovermode="closest", uirevision="panes",
                         height=total + 12, showlegend=False, plot_bgcolor="rgba(0,0,0,0)",
                         dragmode=False if stacked else "pan")  # on a phone a finger on a pane scrolls the page
    return figure


class _Bars:
    """The colour axes of the panes, and their bars.

    Panes that share a range of colours have one axis and one bar, unless they are to be ``apart``: then the range is
    the same but each has its own bar.
    """

    def __init__(self, panes: list[Pane], *, apart: bool):
        self._panes, names = panes, {}
        for k, pane in enumerate(panes):
            if pane.colours:
                key = k if apart or not pane.shared else pane.shared
                names.setdefault(key, f"coloraxis{len(names) + 1}" if names else "coloraxis")
        keys = [k if apart or not pane.shared else pane.shared for k, pane in enumerate(panes)]
        self.axis = [names.get(key, "") for key in keys]

    def groups(self) -> list[list[int]]:
        """The numbers of the panes that share a range, those of each range together."""
        found: dict[str, list[int]] = {}
        for k, pane in enumerate(self._panes):
            if pane.shared:
                found.setdefault(pane.shared, []).append(k)
        return list(found.values())

    def draw(self, figure: go.Figure, members: list[int], *, x: float, y: float, length: float) -> None:
        """Set the colour axis of these panes, with its bar standing on (x, y) or, at the very top, hanging from it."""
        first = self._panes[members[0]]
        alike = [pane for pane in self._panes if pane is first or (pane.shared and pane.shared == first.shared)]
        maps = [layer.z for pane in alike for layer in pane.layers if isinstance(layer, go.Heatmap)]
        top = first.top or max(float(np.max(z, initial=0.0)) for z in maps) or 1e-6
        hangs = y == 1.0
        figure.layout[self.axis[members[0]]] = {"colorscale": first.colours, "cmin": 0, "cmax": top, "colorbar": {
            "orientation": "h", "thickness": 8, "x": x, "y": y, "len": length, "xanchor": "left",
            "yanchor": "top" if hangs else "bottom", "xpad": 0, "ypad": 5, "outlinewidth": 0, "nticks": 3,
            "tickformat": ".2~g", "tickangle": 0, "tickfont": {"size": 11}}}
        if first.unit not in first.title:
            words = f"{first.unit}, in all maps" if hangs and len(members) > 1 else first.unit
            figure.add_annotation(text=words, xref="paper", yref="paper", x=x + length, y=y, xshift=8, showarrow=False,
                                  yshift=2 if hangs else 15, xanchor="left", yanchor="top" if hangs else "bottom",
                                  font={"size": 12})


def _axes(figure: go.Figure, shape: tuple[int, int], rim: int) -> None:
    height, width = shape
    figure.update_xaxes(range=[-0.5 - rim, width - 0.5 + rim], constrain="domain", constraintoward="left",
                        showgrid=False, zeroline=False, title_text="x (px)", title_standoff=4)
    figure.update_yaxes(range=[height - 0.5 + rim, -0.5 - rim], constrain="domain", constraintoward="top",
                        showgrid=False, zeroline=False, title_standoff=8)
    # The first pane has square pixels, the others follow its two axes.
    figure.layout.yaxis.scaleanchor = "x"
