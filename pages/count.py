"""Count: drop images, read a number, look at why."""

import streamlit as st

from cellapp.ui import count_form
from cellapp.ui.viewport import is_narrow

narrow = is_narrow()
controls, results = st.columns([1, 3.6], gap="large")

with controls:
    uploads = count_form.images()
    row = count_form.weights()
    count_form.reading(count_form.channels(uploads))
    if uploads:
        count_form.extras(row)                               # imports torch, as all below

with results:
    first_words = st.empty()                                 # gone as soon as there is work to do
    if not uploads:
        with first_words.container():
            count_form.welcome()
    else:
        from cellapp.ui import count_results, count_run
        from cellapp.ui.shelf import shelf

        options = count_form.options(row)
        count_run.count_all(uploads, row, options, shelf())
        count_results.show(uploads, row, options, shelf(), narrow)
