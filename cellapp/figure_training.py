"""A training as figures: the curves of loss and validation error, and counts before and after. Okabe and Ito's colours.
"""

import html
from collections.abc import Sequence

import plotly.graph_objects as go

_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#888888"


def curves(progress: Sequence[dict], epochs: int) -> go.Figure:
    """Validation error above, loss below, over the epochs; the best epoch so far is marked.

    progress : lines of ``progress.jsonl``; epochs : of the whole training
    """
    figure = go.Figure()
    epoch = [line["epoch"] for line in progress]
    mae = [line["val_mae"] for line in progress]
    figure.add_scatter(x=epoch, y=mae, mode="lines+markers", name="error on the images kept back",
                       line={"color": _BLUE, "width": 2},
                       hovertemplate="epoch %{x}: off by %{y:.1f} cells an image<extra></extra>")
    best = progress[-1]["best_epoch"] if progress else 0
    if best in epoch:
        figure.add_scatter(x=[best], y=[mae[epoch.index(best)]], mode="markers", name="best so far",
                           marker={"size": 14, "symbol": "diamond", "color": _ORANGE}, hoverinfo="skip")
    figure.add_scatter(x=epoch, y=[line["loss"] for line in progress], mode="lines+markers", name="loss", yaxis="y2",
                       line={"color": _GREY, "width": 2, "dash": "dot"},
                       hovertemplate="epoch %{x}: loss %{y:.3g}<extra></extra>")
    figure.update_xaxes(title_text="epoch", range=[0.5, max(epochs, 2) + 0.5], fixedrange=True, anchor="y2",
                        dtick=max(1, epochs // 8))
    return figure.update_layout(
        height=340, margin={"l": 10, "r": 10, "t": 8, "b": 10}, dragmode=False, hovermode="closest",
        yaxis={"title": "error (cells per image)", "rangemode": "tozero", "domain": [0.42, 1], "fixedrange": True,
               "automargin": True},
        yaxis2={"title": "loss", "rangemode": "tozero", "domain": [0, 0.32], "fixedrange": True, "automargin": True},
        legend={"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"})


def before_after(images: Sequence[dict]) -> go.Figure:
    """Predicted against manual counts of the images kept back, before and after, and the line of agreement.

    images : of ``result.json``: name, manual, before (None from scratch) and after, cells
    """
    values = [v for one in images for v in (one["manual"], one["before"], one["after"]) if v is not None]
    high = 1.06 * max([1.0, *values])
    figure = go.Figure()
    figure.add_scatter(x=[0, high], y=[0, high], mode="lines", name="perfect agreement", hoverinfo="skip",
                       line={"dash": "dot", "color": _GREY, "width": 1.5})
    names = [html.escape(one["name"]) for one in images]
    if any(one["before"] is not None for one in images):
        for one in images:
            figure.add_scatter(x=[one["manual"]] * 2, y=[one["before"], one["after"]], mode="lines", showlegend=False,
                               line={"color": _GREY, "width": 1}, hoverinfo="skip")
    for when, symbol, colour in (("before", "circle-open", _ORANGE), ("after", "circle", _BLUE)):
        counts = [one[when] for one in images]
        if None not in counts:
            figure.add_scatter(x=[one["manual"] for one in images], y=counts, mode="markers", name=when, text=names,
                               marker={"size": 10, "symbol": symbol, "color": colour, "line": {"width": 2}},
                               hovertemplate=f"%{{text}}<br>by hand %{{x:.6~g}}, {when} %{{y:,.1f}}<extra></extra>")
    figure.update_xaxes(title_text="counted by hand (cells)", range=[0, high], fixedrange=True)
    figure.update_yaxes(title_text="predicted (cells)", range=[0, high], fixedrange=True, automargin=True)
    return figure.update_layout(
        height=340, margin={"l": 10, "r": 10, "t": 8, "b": 10}, dragmode=False, hovermode="closest",
        legend={"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"})
