"""The counts of several methods as dots on one axis, with the intervals that the methods state."""

import html

import plotly.graph_objects as go

from cellapp.prediction import Prediction
from cellapp.spread import Spread

_BLUE = "#0072B2"                                            # Okabe-Ito


def dot_plot(predictions: dict[str, Prediction], spread: Spread, *, narrow: bool = False) -> go.Figure:
    """One row for each method, the first on top; a dotted line at the median. ``predictions`` by title."""
    intervals = [p.interval for p in predictions.values()]
    counts = [p.count for p in predictions.values()]
    above = [i.high - c if i else 0 for i, c in zip(intervals, counts, strict=True)]
    below = [c - i.low if i else 0 for i, c in zip(intervals, counts, strict=True)]
    titles = [html.escape(title).replace(", ", ",<br>" if narrow else ", ") for title in predictions]
    figure = go.Figure(go.Scatter(
        x=counts, y=list(range(len(titles))), mode="markers", marker={"size": 11, "color": _BLUE},
        error_x={"type": "data", "symmetric": False, "array": above, "arrayminus": below, "color": _BLUE,
                 "thickness": 2, "width": 6},
        customdata=titles, hovertemplate="%{customdata}: %{x:.1f} cells<extra></extra>"))
    if len(counts) > 1:
        figure.add_vline(x=spread.median, line={"dash": "dot", "width": 1, "color": "#888"},
                         annotation={"text": f"median {spread.median:,.1f}", "yanchor": "bottom", "y": 1})
    ends = [*counts, *(i.low for i in intervals if i), *(i.high for i in intervals if i)]
    # At least a fifth to both sides, so that methods that agree are seen to agree.
    around = max(2.0, 0.2 * abs(spread.median))
    low, high = min(*ends, spread.median - around), max(*ends, spread.median + around)
    margin = 0.05 * (high - low)
    figure.update_xaxes(title_text="cells", range=[low - margin, high + margin], zeroline=False, title_standoff=4,
                        nticks=8)
    figure.update_yaxes(tickvals=list(range(len(titles))), ticktext=titles, range=[len(titles) - 0.5, -0.5],
                        automargin=True, showgrid=True, zeroline=False, fixedrange=True)
    figure.update_layout(height=80 + (44 if narrow else 32) * len(titles), showlegend=False, dragmode=False,
                         margin={"l": 10, "r": 10, "t": 26, "b": 40})
    return figure
