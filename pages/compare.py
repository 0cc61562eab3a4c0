"""Compare: one image, several methods, and whether they agree."""

import streamlit as st

from cellapp.ui import compare_form, count_form
from cellapp.ui.viewport import is_narrow

narrow = is_narrow()
controls, results = st.columns([1, 3.6], gap="large")

with controls:
    uploads = count_form.images()
    upload = compare_form.image(uploads)
    rows = compare_form.weights()
    count_form.reading(count_form.channels(uploads))

with results:
    first_words = st.empty()                                 # gone as soon as there is work to do
    if upload is None:
        with first_words.container():
            compare_form.welcome()
    else:
        from cellapp.ui import compare_results, compare_run  # these import torch
        from cellapp.ui.shelf import shelf

        # The results so far are drawn first; then one more method counts and the page runs again.
        options = count_form.options()
        work = compare_run.begin(upload, rows, options, shelf())
        compare_results.show(upload, rows, options, shelf(), narrow)
        compare_run.go_on_with(work, shelf())
