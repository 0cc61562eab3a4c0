"""Fine-tune: teach weights with dots on your own images."""

from dataclasses import replace

import streamlit as st

from cellapp.ui import agreement_form, count_files, count_form, visit
from cellapp.ui.viewport import is_narrow

visit.message()
narrow = is_narrow()
space = visit.space()
begun = space is not None and bool(space.state().images)

if space is not None:
    from cellapp.ui import fine_tune_result, fine_tune_run

    job = fine_tune_run.latest()
    state = job.state() if job is not None else None
else:
    job = state = None
planning = job is None or (not state.working and st.session_state.get("tune again", False))

if narrow and not planning:                                  # the training before the files
    results, controls = st.container(), st.container()
else:
    controls, results = st.columns([1, 3.6], gap="large")

with controls:
    count_files.drop_zone()
    if begun:
        count_files.listed()
    agreement_form.dots_zone()
    if begun and planning:
        from cellapp.ui import count_questions, desk, fine_tune_form

        before = desk.desk(count_form.current())
        count_questions.answered(before)
        count_form.cell_size()
        start, method = fine_tune_form.start_weights()
        work = desk.desk(start or count_form.current())
        config, minutes = fine_tune_form.settings(method, start)
    visit.farewell()

with results:
    if job is not None and not planning:
        if state.working:
            fine_tune_run.show(job, narrow)
        else:
            fine_tune_result.show(job, state, narrow)
    elif not begun:
        agreement_form.welcome("Teach it your cells", "Drop a few of your images and **dots** set in them by hand, in "
                               "the format of your tool. In about ten minutes, weights that count something similar "
                               "learn from them; you see the **error before and after** on images kept back.")
    elif not count_questions.ask(work):
        from cellapp.ui import agreement_report, fine_tune_data

        picked, found = agreement_form.choices(work.space, work.files)
        pairs = agreement_report.pairs(work, picked, found)
        agreement_report.show(pairs, picked, replace(found, partly=()), brief=True)
        data = fine_tune_data.report(fine_tune_data.given_of(work, pairs, found.partly), method,
                                     config.part if config else "all", config.seed if config else 0,
                                     fine_tune_data.written_groups(work))
        fine_tune_form.start_button(work, data, config, minutes, start)
