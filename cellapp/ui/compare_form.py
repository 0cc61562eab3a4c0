"""The controls of the Compare page: one image, the weights to be compared."""

import streamlit as st

from cellapp import weights as store
from cellapp.ui.count_form import Upload, go_on, samples


def welcome() -> None:
    """What a visitor reads who has no image yet."""
    st.title("Do the methods agree?")
    st.markdown("Drop one microscopy image or try a sample. Several methods count it one after the other: their "
                "**numbers in one table**, their **maps side by side**, and a sentence on how far they agree.")
    samples()


def image(uploads: list[Upload]) -> Upload | None:
    """The one image to be compared."""
    if len(uploads) < 2:
        return uploads[0] if uploads else None
    chosen = st.selectbox("Image to compare on", range(len(uploads)), key="compared", on_change=go_on,
                          format_func=lambda k: f"{k + 1}. {uploads[k].name}")
    return uploads[chosen]


def weights() -> list[store.Weights]:
    """Any of the installed weights, those of one method together; at first the first of each method."""
    rows = store.manifest()
    methods = list(dict.fromkeys(row.method for row in rows.values()))
    names = sorted(rows, key=lambda name: methods.index(rows[name].method))
    first = {rows[name].method: name for name in reversed(names)}
    chosen = st.multiselect("Methods and weights", names, default=[first[method] for method in methods],
                            key="compared-weights", on_change=go_on, persist_state="session", wrap=True,
                            format_func=lambda name: rows[name].title)
    return [rows[name] for name in chosen]
