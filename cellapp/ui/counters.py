"""Loaded weights, shared by all visitors."""

import streamlit as st

from cellapp import weights as store


def load_counter(row: store.Weights):
    """The counter of a manifest row; loaded once for all sessions, read-only."""
    return _load(row.id, row.sha256)


def parameters(row: store.Weights) -> int:
    """How many parameters the network of a row has."""
    return _parameters(row.id, row.sha256)


@st.cache_data(max_entries=100, show_spinner=False)
def _parameters(weights_id: str, sha256: str) -> int:
    return _load(weights_id, sha256).parameters


@st.cache_resource(max_entries=4, show_spinner=False)
def _load(weights_id: str, sha256: str):
    # The hash is in the key so that retrained weights of the same name are read again.
    from cellapp.methods import load

    return load(weights_id)
