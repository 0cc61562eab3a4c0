"""Annotate: dot the cells, see what a network would learn from the dots."""

import streamlit as st

from cellapp.ui import count_files, count_form, visit
from cellapp.ui.viewport import is_narrow

WORDS = ("Drop images or try a sample, and click every cell: a dot each. Start from what a network **suggests** and "
         "correct it, mark the part you **counted in full**, take dots in from other tools and out to them. They are "
         "saved as you click, and are what weights are **fine-tuned** on and counts are **compared** with.")

visit.message()
narrow = is_narrow()
space = visit.space()
begun = space is not None and bool(space.state().images)
if narrow and begun:                                         # the image before the settings
    results, controls = st.container(), st.container()
else:
    controls, results = st.columns([1, 3.6], gap="large")

with controls:
    count_files.drop_zone()
    count_files.listed()
    if not begun:
        count_form.weights()
    else:
        from cellapp.ui import annotate_desk, count_questions, count_settings  # these import torch

        work, diameter = count_settings.settings()
    visit.farewell()

with results:
    if not begun:
        count_files.welcome("Dot the cells yourself", WORDS)
    elif not count_questions.ask(work):
        annotate_desk.show(work, diameter, narrow)
