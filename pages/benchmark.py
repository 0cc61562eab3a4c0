"""Benchmark: several weights on the same images of known counts, one's own or a labelled set of this server."""

import streamlit as st

from cellapp.ui import agreement_form, benchmark_form, compare_form, count_files, count_form, visit
from cellapp.ui.viewport import is_narrow

visit.message()
narrow = is_narrow()
controls, results = st.columns([1, 3.6], gap="large")

with controls:
    offered = benchmark_form.offered()
    chosen = benchmark_form.source(offered)
    if chosen is None:
        count_files.drop_zone()
    space = visit.space()
    begun = space is not None and bool(space.state().images)
    if chosen is None and begun:
        count_files.listed()
    if chosen is None:
        agreement_form.dots_zone()
    rows = compare_form.weights()
    count_form.cell_size()
    distance = agreement_form.distance()
    visit.farewell()

with results:
    if chosen is None and not begun:
        agreement_form.welcome(benchmark_form.TITLE, benchmark_form.WORDS)
    else:
        from cellapp.ui import benchmark_results, benchmark_run  # these import torch

        order = benchmark_run.order(chosen, offered, rows, distance)
        job = benchmark_run.buttons(order)
        if job is not None and job.outcomes:
            benchmark_results.show(job, narrow)
