"""The settings of the Count page, top to bottom in the order of use: channel, cell size, method."""

import streamlit as st

from cellapp import DEFAULT_WEIGHTS
from cellapp import weights as store
from cellapp.declared import label
from cellapp.ui import count_files, visit
from cellapp.ui.text import plain

_POLARITIES = {"auto": "Told from the image", "bright": "Bright", "dark": "Dark"}


def current() -> store.Weights:
    """The weights as they were chosen last."""
    rows = visit.rows()
    return rows.get(st.session_state.get("weights")) or rows.get(DEFAULT_WEIGHTS) or next(iter(rows.values()))


def weights(diameter: float | None = None) -> store.Weights:
    """Which weights count; those whose training range holds cells of ``diameter`` px are marked."""
    rows = visit.rows()
    fitting = _fitting(rows, diameter)
    if st.session_state.get("weights") not in rows or st.session_state.get("marked") != fitting:
        # A browser knows options by their words: with other marks, the choice is told to it anew.
        st.session_state["weights"], st.session_state["marked"] = current().id, fitting
    chosen = st.selectbox("Method and weights", list(rows), key="weights", persist_state="session",
                          on_change=visit.keep, args=("weights", count_files.fitting_samples),
                          format_func=lambda name: f"{'✓ ' if name in fitting else ''}{rows[name].title}",
                          help="✓ marks weights that can be used for cells of this size." if fitting else None)
    row = rows[chosen]
    score = "; ".join(f"off by {s.mae:.1f} cells an image on {s.data}" for s in row.scores) or "not measured yet"
    st.caption(f"For cells of about {row.input.cell_diameter:.0f} px, {row.input.polarity}; {plain(score)}.")
    return row


def _fitting(rows: dict[str, store.Weights], diameter: float | None) -> set[str]:
    if diameter is None:
        return set()
    from cellapp.likeness import fits

    return {name for name, row in rows.items() if fits(row, diameter)}


def cell_size(suggested: float | None = None) -> None:
    """The typical diameter, and whether cells are bright or dark; what the image suggests stands in the empty field."""
    if (drawn := st.session_state.pop("drawn diameter", None)) is not None:
        st.session_state["diameter"] = drawn                 # before the widget is there
        visit.keep("diameter")
    hint = "estimated from the image" if suggested is None else f"{suggested:.0f}, estimated"
    if learnt := current().input.image_diameter:
        hint = f"{learnt:.0f}, as these weights learnt"
    st.number_input(label("cell_diameter"), min_value=2.0, max_value=1000.0, value=None, step=1.0,
                    format="%.1f", placeholder=hint, key="diameter", on_change=visit.keep, args=("diameter",),
                    persist_state="session",
                    help="The image is brought to the scale at which the weights were trained, and the maps back to "
                         "yours. Type the diameter, draw a line across a cell, or leave it to the estimate.")
    st.selectbox(label("polarity"), list(_POLARITIES), key="polarity", on_change=visit.keep, args=("polarity",),
                 persist_state="session", format_func=_POLARITIES.get,
                 help="Against their ground. Dark cells are counted in the negative of the image by weights that were "
                      "trained on bright ones.")


def extras(row: store.Weights) -> None:
    """What only the chosen method offers."""
    from cellapp.methods import METHODS, Options

    if "saliency" in METHODS[row.method].extras:
        st.toggle(label("saliency"), key="saliency", on_change=visit.keep, args=("saliency",),
                  persist_state="session",
                  help="Also show on which pixels the count depends. It takes a second pass, so counting takes longer.")
    if "quick" in METHODS[row.method].extras:
        st.toggle(label("quick"), key="quick", on_change=visit.keep, args=("quick",),
                  persist_state="session", help="The same count in half the time.")
    if "stride" in METHODS[row.method].extras:
        st.select_slider(label("stride"), Options.strides(), key="stride", on_change=visit.keep,
                         args=("stride",), persist_state="session",
                         help="1 counts each cell in 1,024 windows, as published. A larger step is less exact.")
