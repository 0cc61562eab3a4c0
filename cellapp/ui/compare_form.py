"""The controls of the Compare page: one image, the weights to be compared."""

from typing import TYPE_CHECKING

import streamlit as st

from cellapp import weights as store
from cellapp.ui import visit
from cellapp.workspace_state import StoredFile

if TYPE_CHECKING:
    from cellapp.ui.desk import Desk  # imports torch

WORDS = ("Drop one microscopy image or try a sample. Several methods count it one after the other: their **numbers in "
         "one table**, their **maps side by side**, and a sentence on how far they agree.")


def image(desk: "Desk") -> StoredFile:
    """The one image to be compared on: the one that is looked at on the Count page too."""
    files = desk.files
    if len(files) > 1:
        place = st.selectbox("Image to compare on", range(len(files)), index=files.index(desk.shown), key="compared",
                             format_func=lambda k: f"{k + 1}. {files[k].name}")
        return files[place]
    return files[0]


def weights() -> list[store.Weights]:
    """Any of the installed weights, those of one method together; at first the first of each method."""
    rows = visit.rows()
    methods = list(dict.fromkeys(row.method for row in rows.values()))
    names = sorted(rows, key=lambda name: methods.index(rows[name].method))
    first = {rows[name].method: name for name in reversed(names)}
    chosen = st.multiselect("Methods and weights", names, default=[first[method] for method in methods],
                            key="compared-weights", on_change=visit.keep, args=("compared-weights",),
                            persist_state="session", wrap=True, format_func=lambda name: rows[name].title)
    return [rows[name] for name in chosen]
