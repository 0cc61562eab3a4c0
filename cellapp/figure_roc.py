"""The ROC curve of a segmentation, as measured and kept in the manifest."""

import plotly.graph_objects as go

from cellapp.weights import Score


def roc_plot(score: Score, threshold: float | None) -> go.Figure:
    """True against false positive rate of the pixels, with the threshold that the weights use marked."""
    false, true, at = zip(*score.roc, strict=True)
    figure = go.Figure()
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dot", "color": "grey", "width": 1},
                       name="chance", hoverinfo="skip")
    figure.add_scatter(x=false, y=true, customdata=at, mode="lines+markers", name="these weights",
                       line={"color": "#0072B2", "width": 2}, marker={"size": 5},
                       hovertemplate="from a probability of %{customdata:.2f}: %{y:.1%} of the cells' pixels found, "
                                     "%{x:.1%} of the ground taken for cell<extra></extra>")
    if threshold is not None:
        nearest = min(range(len(at)), key=lambda k: abs(at[k] - threshold))
        figure.add_scatter(x=[false[nearest]], y=[true[nearest]], mode="markers", name=f"threshold {threshold:.2f}",
                           marker={"size": 13, "symbol": "diamond", "color": "#D55E00"}, hoverinfo="skip")
    figure.update_layout(height=320, margin={"l": 10, "r": 10, "t": 10, "b": 10},
                         legend={"x": 0.98, "y": 0.05, "xanchor": "right", "yanchor": "bottom"})
    figure.update_xaxes(title_text="ground taken for cell (false positive rate)", range=[-0.02, 1.02])
    figure.update_yaxes(title_text="cells found (true positive rate)", range=[-0.02, 1.02])
    return figure
