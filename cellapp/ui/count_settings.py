"""The settings of a page that counts, from the cell size to the weights, once there are images."""

import streamlit as st

from cellapp.ui import count_form, count_questions, count_scale, desk


def settings(*, extras: bool = False) -> tuple[desk.Desk, float | None]:
    """What the page works on under them, and the cells' diameter in px, given or suggested.

    ``extras``: also what only the chosen method offers.
    """
    before = desk.desk(count_form.current())
    count_questions.answered(before)
    suggested, _ = count_scale.suggestion(before)
    count_form.cell_size(suggested)
    diameter = st.session_state.get("diameter") or suggested
    row = count_form.weights(diameter)
    if extras:
        count_form.extras(row)
    return desk.desk(row), diameter
