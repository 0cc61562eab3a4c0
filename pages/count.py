"""Count: drop images, read a number, look at why."""

import streamlit as st

from cellapp.ui import count_files, count_form, visit
from cellapp.ui.viewport import is_narrow

visit.message()
narrow = is_narrow()
space = visit.space()
begun = space is not None and bool(space.state().images)
if narrow and begun:                                         # the count before the settings
    files, results, settings = st.container(), st.container(), st.container()
else:
    files, results = st.columns([1, 3.6], gap="large")
    settings = files

with files:
    count_files.drop_zone()
    count_files.listed()

if begun:
    from cellapp.ui import count_questions, count_results, count_run, count_scale, count_table, desk  # import torch

    with settings:
        before = desk.desk(count_form.current())
        count_questions.answered(before)
        suggested, _ = count_scale.suggestion(before)
        count_form.cell_size(suggested)
        row = count_form.weights(st.session_state.get("diameter") or suggested)
        count_form.extras(row)
    work = desk.desk(row)
    count_run.by_itself(work)
    with results if narrow else settings:
        count_run.buttons(work)
    with results:
        count_questions.ask(work)
        count_table.show(work)
        count_files.came_along(work)
        count_results.show(work, narrow)
else:
    with files:
        count_form.weights()
    with results:
        count_files.welcome("How many cells are there?", count_files.COUNT_WORDS)

with settings:
    visit.farewell()
