"""Weights: what is on this server, and the way from and to the Hugging Face Hub."""

import streamlit as st

from cellapp.ui import visit, weights_list, weights_pull

visit.message()
controls, results = st.columns([1, 3.6], gap="large")

with controls:
    weights_pull.form()
    visit.farewell()

with results:
    weights_pull.status()
    weights_list.show()
