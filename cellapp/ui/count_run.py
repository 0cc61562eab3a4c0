"""Counting in the page: one image after the other, with progress, and stopped by a click.

A click on any widget ends the running script at its next Streamlit call, which here is the progress bar.
What is counted by then lies on the shelf, so nothing is lost and nothing is counted twice.
"""

import hashlib

import streamlit as st

from cellapp import weights as store
from cellapp.batch import Result, count_one
from cellapp.methods import Options
from cellapp.ui.count_form import Upload, go_on, remember_channels
from cellapp.ui.counters import load_counter
from cellapp.ui.shelf import Shelf
from cellapp.ui.text import plain


def key_of(upload: Upload, row: store.Weights, options: Options) -> str:
    """Names the result of this file with these weights and options, in this session."""
    text = "\n".join((upload.id, row.id, row.sha256, options.model_dump_json()))
    return hashlib.sha256(text.encode()).hexdigest()


def count_all(uploads: list[Upload], row: store.Weights, options: Options, shelf: Shelf) -> None:
    """Count what is not on the shelf yet, unless the user has stopped it."""
    pending = [u for u in uploads if key_of(u, row, options) not in shelf]
    if not pending:
        return
    if st.session_state.get("stopped") == "count":
        left, right = st.columns([3, 1], vertical_alignment="center")
        left.info(f"Stopped: {len(pending)} of {len(uploads)} images are not counted yet.", icon=":material/pause:")
        right.button("Go on", on_click=go_on, type="primary", width="stretch")
        return
    place = st.container()
    with place:
        left, right = st.columns([3, 1], vertical_alignment="center")
        right.button("Cancel", on_click=_stop, icon=":material/stop:", width="stretch")
        bar = left.progress(0.0, text="Loading the weights …")
    counter = load_counter(row)
    first = len(uploads) - len(pending)
    table = st.empty()
    for k, upload in enumerate(pending, start=first):
        result = _count(upload, counter, options, bar, k, len(uploads))
        shelf.put(key_of(upload, row, options), result)
        if result.image is not None:
            remember_channels(upload, result.image.channels)
        if len(uploads) > 1:
            table.caption(" · ".join(plain(_short(shelf.row(key_of(u, row, options)))) for u in uploads[: k + 1][-8:]
                                     if key_of(u, row, options) in shelf))
    st.rerun()


def _count(upload: Upload, counter, options: Options, bar, k: int, total: int) -> Result:
    def progress(done: int, tiles: int) -> None:
        which = f"Image {k + 1} of {total}: " if total > 1 else "Counting "
        part = f", tile {done} of {tiles}" if tiles > 1 else ""
        bar.progress((k + done / tiles) / total, text=plain(f"{which}{upload.name}{part}"))

    progress(0, 1)
    return count_one(upload.content(), counter, options, name=upload.name, progress=progress)


def _short(result: Result) -> str:
    return f"{result.name}: {result.prediction.rounded}" if result.prediction else f"{result.name}: not counted"


def _stop() -> None:
    st.session_state["stopped"] = "count"

