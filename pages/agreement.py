"""Agreement: what was counted by hand against what is predicted."""

import streamlit as st

from cellapp.ui import agreement_form, count_files, count_form, visit
from cellapp.ui.viewport import is_narrow

visit.message()
narrow = is_narrow()
controls, results = st.columns([1, 3.6], gap="large")
space = visit.space()
begun = space is not None and bool(space.state().images)

with controls:
    count_files.drop_zone()
    if begun:
        count_files.listed()
    agreement_form.dots_zone()
    if not begun:
        count_form.weights()
    else:
        from cellapp.ui import count_questions, count_settings  # these import torch

        work, _ = count_settings.settings(extras=True)
        distance = agreement_form.distance()
    visit.farewell()

with results:
    if not begun:
        agreement_form.welcome()
    else:
        from cellapp.ui import agreement_report, agreement_results

        count_questions.ask(work)
        report = st.container()                              # first to be read, but it depends on the choices
        picked, found = agreement_form.choices(work.space, work.files)
        pairs = agreement_report.pairs(work, picked, found)
        with report:
            agreement_report.show(pairs, picked, found, brief=any(work.result(pair.file) for pair in pairs))
        agreement_report.count(work, pairs)
        agreement_results.show(work, pairs, distance, narrow)
