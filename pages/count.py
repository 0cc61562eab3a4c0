"""Count: drop images, read a number, look at why."""

import streamlit as st

from cellapp.ui import count_form
from cellapp.ui.viewport import is_narrow

narrow = is_narrow()
controls, results = st.columns([1, 3.6], gap="large")

with controls:
    uploads = count_form.images()
    row = count_form.weights()
    count_form.reading(row, count_form.channels(uploads))

with results:
    if not uploads:
        count_form.welcome()
    else:
        from cellapp.ui import count_results, count_run  # these import torch
        from cellapp.ui.shelf import shelf

        options = count_form.options()
        count_run.count_all(uploads, row, options, shelf())
        count_results.show(uploads, row, options, shelf(), narrow)
