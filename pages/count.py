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
    from cellapp.ui import count_questions, count_results, count_run, count_settings, count_table  # these import torch

    with settings:
        work, _ = count_settings.settings(extras=True)
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
