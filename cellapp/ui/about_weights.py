"""What is known of the weights: where they come from, and every figure measured with them."""

import pandas as pd
import streamlit as st

from cellapp import weights as store
from cellapp.calibration_row import Calibration
from cellapp.figure_roc import roc_plot
from cellapp.methods import METHODS
from cellapp.ui.text import plain

_COLUMNS = {"data": "Data", "images": "Images", "mae": "MAE (cells)", "mre": "Relative error", "bias": "Bias (cells)",
            "r2": "R²", "coverage": "Truth in interval", "f1": "F1 of cells", "pixel_mcc": "MCC of pixels"}


def about(row: store.Weights) -> None:
    """A folded panel below the results."""
    with st.expander(f"About these weights: {plain(row.title)}"):
        method = METHODS[row.method]
        st.caption(f"**{method.title}**, after {plain(method.source)}. {method.meaning}")
        parent = f", beginning with {plain(row.parent)}" if row.parent else ""
        st.caption(f"Trained on {plain(row.trained_on)}{parent}, at cells of about {row.input.cell_diameter:.0f} px, "
                   f"{row.input.polarity}. Licence: {plain(row.licence)}.")
        if known := row.calibration:
            low, high = known.counts
            st.caption(f"Intervals ({100 * known.level:.3g} %, conformal) from the errors on {plain(known.data)}, "
                       f"which hold {low:,.0f} to {high:,.0f} cells; an image unlike those gets none. "
                       + _regions(known))
        if not row.scores:
            st.caption("Nothing has been measured with these weights yet.")
            return
        frame = pd.DataFrame([{title: getattr(s, name) for name, title in _COLUMNS.items()} for s in row.scores])
        percent = st.column_config.NumberColumn(format="percent")
        st.dataframe(frame.dropna(axis=1, how="all"), hide_index=True, alt="Measured figures of these weights",
                     column_config={"Relative error": percent, "Truth in interval": percent})
        for score in row.scores:
            if score.roc:
                area = f", area under the curve {score.pixel_auc:.3f}" if score.pixel_auc is not None else ""
                st.caption(f"ROC curve on {plain(score.data)}, pixel by pixel{area}. The threshold is the one with the "
                           "highest Matthews correlation (MCC) on the validation images.")
                st.plotly_chart(roc_plot(score, row.settings.threshold), key=f"roc {score.data}", width=480,
                                alt=f"ROC curve on {score.data}")


def _regions(known: Calibration) -> str:
    if known.regions is None:
        return "Regions get none: the errors in parts of those images are not known."
    least = 100 * known.regions.sizes[0].shares[0]
    return f"Regions from {least:.3g} % of an image on get their own, from the dots of {known.regions.images} of them."
