"""Counts by hand against predicted ones as figures: the scatter, Bland and Altman's differences, dots over panes.

Colours are Okabe and Ito's, and nothing is told by colour alone. Every mark carries the image's number in the list of
lines as ``customdata``, so that a click says which image it is.
"""

import html
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from cellapp.agreement import BlandAltman, Line, number
from cellapp.metrics import match_pairs

_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#888888"
_BAND = "rgba(213, 94, 0, 0.10)"                             # of the orange
_HEIGHT, _OPACITY = 380, 0.85                                # CSS px; of the circles
FOUND, MISSED = "#56B4E9", "#F0E442"                         # sky blue, yellow: seen on dark and on bright ground


def scatter(lines: Sequence[Line], shown: int | None = None) -> go.Figure:
    """Predicted against manual counts, the images' own intervals, and the line on which they agree.

    shown : the number of the image to be marked
    """
    there = [k for k, line in enumerate(lines) if line.predicted is not None]
    manual, predicted = ([getattr(lines[k], name) for k in there] for name in ("manual", "predicted"))
    ends = [v for k in there for v in (lines[k].low, lines[k].high) if v is not None]
    low, high = min([*manual, *predicted, *ends], default=0.0), max([1.0, *manual, *predicted, *ends])
    low = low if low < 0 or low > high / 3 else 0.0          # from 0 on, unless that leaves a third of it empty
    around = 0.04 * (high - low)
    figure = go.Figure()
    figure.add_scatter(x=[low - around, high + around], y=[low - around, high + around], mode="lines",
                       name="perfect agreement", line={"dash": "dot", "color": _GREY, "width": 1.5}, hoverinfo="skip")
    error = None
    if ends:
        error = {"type": "data", "symmetric": False, "color": _BLUE, "thickness": 1, "width": 0,
                 "array": [_reach(lines[k].high, lines[k].predicted) for k in there],
                 "arrayminus": [_reach(lines[k].predicted, lines[k].low) for k in there]}
    _add_images(figure, manual, predicted, lines, there, shown, "by hand %{x:.6~g}, predicted %{y:,.1f}",
                "image" + (" with its interval" if ends else ""), error_y=error)
    figure.update_xaxes(title_text="counted by hand (cells)", range=[low - around, high + around])
    figure.update_yaxes(title_text="predicted (cells)", range=[low - around, high + around])
    return _finish(figure)


def differences(lines: Sequence[Line], limits: BlandAltman | None, shown: int | None = None) -> go.Figure:
    """Bland and Altman's figure: predicted minus manual against their mean, with the limits by name."""
    there = [k for k, line in enumerate(lines) if line.predicted is not None]
    middle = [(lines[k].predicted + lines[k].manual) / 2 for k in there]
    error = [lines[k].error for k in there]
    figure = go.Figure()
    figure.add_hline(y=0, line={"color": _GREY, "width": 1, "dash": "dot"}, layer="below")
    if limits:
        for part, dash in ((limits.high, "dash"), (limits.mean, "solid"), (limits.low, "dash")):
            figure.add_hrect(y0=part[1], y1=part[2], fillcolor=_BAND, line_width=0, layer="below")
            figure.add_hline(y=part[0], line={"color": _ORANGE, "width": 1.5, "dash": dash}, layer="below")
        rows = ((limits.high, "bottom", f"upper limit {number(limits.high[0], 'cells')}"),
                (limits.mean, "bottom", f"mean {number(limits.mean[0], 'cells')}"),
                (limits.low, "top", f"lower limit {number(limits.low[0], 'cells')}"))
        for (value, *_), anchor, words in rows:
            figure.add_annotation(text=words, x=1, xref="paper", xanchor="right", y=value, yanchor=anchor, yshift=0,
                                  showarrow=False, font={"color": _ORANGE, "size": 12})
        for name, style in (("mean difference", {"color": _ORANGE, "width": 1.5}),
                            ("limits of agreement", {"color": _ORANGE, "width": 1.5, "dash": "dash"})):
            figure.add_scatter(x=[None], y=[None], mode="lines", name=name, line=style)
        figure.add_scatter(x=[None], y=[None], mode="markers", name="their intervals",
                           marker={"symbol": "square", "size": 12, "color": "rgba(213, 94, 0, 0.25)"})
    _add_images(figure, middle, error, lines, there, shown, "mean of both %{x:,.1f}, difference %{y:+,.1f}", "image")
    ends = [*error, 0.0, *((limits.low[1], limits.high[2]) if limits else ())]
    around = 0.08 * max(1.0, max(ends) - min(ends))
    across = 0.06 * max(1.0, max(middle, default=0) - min(middle, default=0))
    figure.update_xaxes(title_text="mean of manual and predicted (cells)",
                        range=[min(middle, default=0) - across, max(middle, default=1) + across])
    figure.update_yaxes(title_text="predicted − manual (cells)", range=[min(ends) - around, max(ends) + around])
    return _finish(figure)


def _reach(high: float | None, low: float | None) -> float:
    return 0.0 if high is None or low is None else max(0.0, high - low)


def _add_images(figure: go.Figure, x: list, y: list, lines: Sequence[Line], there: list[int], shown: int | None,
                words: str, name: str, **more) -> None:
    """A circle for each image, and a diamond over the one that is shown."""
    circle = {"size": 9, "color": _BLUE, "opacity": _OPACITY, "line": {"width": 1, "color": "white"}}
    diamond = circle | {"size": 15, "color": _ORANGE, "symbol": "diamond", "opacity": 1}
    # Plotly fades what is not selected; here the selection only says which image is shown.
    unfaded = {part: {"marker": {"opacity": _OPACITY}} for part in ("selected", "unselected")}
    about = {"mode": "markers", "hovertemplate": f"%{{text}}<br>{words}<extra></extra>", **unfaded}
    figure.add_scatter(x=x, y=y, name=name, customdata=there, text=[html.escape(lines[k].image) for k in there],
                       marker=circle, **about, **more)
    if shown in there:
        place = there.index(shown)
        figure.add_scatter(x=[x[place]], y=[y[place]], name="shown below", customdata=[shown],
                           text=[html.escape(lines[shown].image)], marker=diamond, **about)


def _finish(figure: go.Figure) -> go.Figure:
    figure.update_xaxes(zeroline=False, title_standoff=6, fixedrange=True)
    figure.update_yaxes(zeroline=False, title_standoff=6, fixedrange=True, automargin=True)
    return figure.update_layout(
        height=_HEIGHT, margin={"l": 10, "r": 10, "t": 8, "b": 10}, hovermode="closest", dragmode=False,
        clickmode="event+select", showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"})


def dot_layers(dots: np.ndarray, predicted: np.ndarray | None = None,
               distance: float | None = None) -> list[go.Scatter]:
    """Dots set by hand as marks over a pane: ``+``, and ``×`` where no detected cell lies within ``distance`` px.

    dots, predicted : (N, 2), (y, x); without ``predicted`` all are ``+``
    """
    hit = np.ones(len(dots), bool)
    if predicted is not None and distance is not None:
        hit = np.isin(np.arange(len(dots)), match_pairs(predicted, dots, distance)[:, 1])
    size = 9 if len(dots) < 60 else 7 if len(dots) < 150 else 5     # marks shrink as cells get denser
    kinds = ((hit, "cross-thin", FOUND, "dot"), (~hit, "x-thin", MISSED, "dot without a detected cell"))
    return [go.Scatter(x=dots[mask, 1], y=dots[mask, 0], mode="markers", showlegend=False,
                       marker={"symbol": symbol, "size": size, "line": {"width": 1.5, "color": colour}},
                       hovertemplate=f"{words} at x %{{x:.1f}}, y %{{y:.1f}}<extra></extra>")
            for mask, symbol, colour, words in kinds if mask.any()]
