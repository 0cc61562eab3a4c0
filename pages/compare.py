"""Compare: one image, several methods, and whether they agree."""

import streamlit as st

from cellapp.ui import compare_form, count_files, count_form, visit
from cellapp.ui.text import plain
from cellapp.ui.viewport import is_narrow

visit.message()
narrow = is_narrow()
controls, results = st.columns([1, 3.6], gap="large")
space = visit.space()
begun = space is not None and bool(space.state().images)

with controls:
    count_files.drop_zone()
    count_files.listed()
    if begun:
        from cellapp.ui import count_questions, desk  # these import torch

        work = desk.desk(count_form.current())
        file = compare_form.image(work)
    rows = compare_form.weights()
    if begun:
        count_questions.answered(work)
    count_form.cell_size()
    visit.farewell()

with results:
    if not begun:
        count_files.welcome("Do the methods agree?", compare_form.WORDS)
    elif problem := work.problem(file):
        st.error(plain(problem), icon=":material/error:")
    elif not count_questions.ask(work):
        from cellapp.ui import compare_results, compare_run

        # The results so far are drawn first; then one more method counts and the page runs again.
        counting = compare_run.begin(work, file, rows)
        compare_results.show(work, file, rows, narrow)
        compare_run.go_on_with(counting)
