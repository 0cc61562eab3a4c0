"""Counts by hand against predicted ones as figures: the scatter, Bland and Altman's differences, dots over panes.

Colours are Okabe and Ito's, and nothing is told by colour alone. Every mark carries the image's number in the list of
lines as ``customdata``, so that a click says which image it is.
"""

import html
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from cellapp.agreement import LEVEL, BlandAltman, Line, number
from cellapp.metrics import match_pairs

_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#888888"
_BAND = "rgba(136, 136, 136, 0.18)"
_HEIGHT = 380                                                # CSS px
FOUND, MISSED = "#56B4E9", "#F0E442"                         # sky blue, yellow: seen on dark and on bright ground


def scatter(lines: Sequence[Line], shown: int | None = None) -> go.Figure:
    """Predicted against manual counts, the images' own intervals, and the line on which they agree.

    shown : the number of the image to be marked
    """
    there = [k for k, line in enumerate(lines) if line.predicted is not None]
    manual, predicted = ([getattr(lines[k], name) for k in there] for name in ("manual", "predicted"))
    ends = [v for k in there for v in (lines[k].low, lines[k].high) if v is not None]
    low, high = min([0.0, *manual, *predicted]), max([1.0, *manual, *predicted, *ends])
    around = 0.04 * (high - low)
    figure = go.Figure()
    figure.add_scatter(x=[low - around, high + around], y=[low - around, high + around], mode="lines",
                       name="perfect agreement", line={"dash": "dot", "color": _GREY, "width": 1.5}, hoverinfo="skip")
    error = None
    if ends:
        error = {"type": "data", "symmetric": False, "color": _BLUE, "thickness": 1, "width": 0,
                 "array": [_reach(lines[k].high, lines[k].predicted) for k in there],
                 "arrayminus": [_reach(lines[k].predicted, lines[k].low) for k in there]}
    figure.add_scatter(x=manual, y=predicted, mode="markers", name="image" + (" with its interval" if ends else ""),
                       customdata=there, text=_names(lines, there), marker=_marker(there, shown), error_y=error,
                       **_no_fading(), hovertemplate="%{text}<br>by hand %{x:.6~g}, predicted %{y:,.1f}<extra></extra>")
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
                            (f"limits of agreement ({LEVEL:.0%})".replace("%", " %"),
                             {"color": _ORANGE, "width": 1.5, "dash": "dash"})):
            figure.add_scatter(x=[None], y=[None], mode="lines", name=name, line=style)
        figure.add_scatter(x=[None], y=[None], mode="markers", name=f"their {LEVEL:.0%} intervals".replace("%", " %"),
                           marker={"symbol": "square", "size": 12, "color": "rgba(136, 136, 136, 0.35)"})
    figure.add_scatter(x=middle, y=error, mode="markers", name="image", customdata=there, text=_names(lines, there),
                       marker=_marker(there, shown), **_no_fading(),
                       hovertemplate="%{text}<br>mean of both %{x:,.1f}, difference %{y:+,.1f}<extra></extra>")
    ends = [*error, 0.0, *((limits.low[1], limits.high[2]) if limits else ())]
    around = 0.08 * max(1.0, max(ends) - min(ends))
    across = 0.06 * max(1.0, max(middle, default=0) - min(middle, default=0))
    figure.update_xaxes(title_text="mean of manual and predicted (cells)",
                        range=[min(middle, default=0) - across, max(middle, default=1) + across])
    figure.update_yaxes(title_text="predicted − manual (cells)", range=[min(ends) - around, max(ends) + around])
    return _finish(figure)


def _reach(high: float | None, low: float | None) -> float:
    return 0.0 if high is None or low is None else max(0.0, high - low)


def _names(lines: Sequence[Line], there: list[int]) -> list[str]:
    return [html.escape(lines[k].image) for k in there]


def _marker(there: list[int], shown: int | None) -> dict:
    """Open circles, so that many at one place are seen; the shown image is larger, filled and ringed."""
    mine = [k == shown for k in there]
    return {"size": [15 if m else 9 for m in mine], "symbol": ["diamond" if m else "circle" for m in mine],
            "color": [_ORANGE if m else _BLUE for m in mine], "opacity": 0.85,
            "line": {"width": 1, "color": "white"}}


def _no_fading() -> dict:
    """Plotly fades what is not selected; here the selection only says which image is shown."""
    return {"selected": {"marker": {"opacity": 0.85}}, "unselected": {"marker": {"opacity": 0.85}}}


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
    kinds = ((hit, "cross-thin", FOUND, "dot"), (~hit, "x-thin", MISSED, "dot without a detected cell"))
    return [go.Scatter(x=dots[mask, 1], y=dots[mask, 0], mode="markers", showlegend=False,
                       marker={"symbol": symbol, "size": 8, "line": {"width": 2, "color": colour}},
                       hovertemplate=f"{words} at x %{{x:.1f}}, y %{{y:.1f}}<extra></extra>")
            for mask, symbol, colour, words in kinds if mask.any()]
