"""Counting one image with several methods: one method in each run of the page, so that results stream in.

A click on any widget ends the running script at its next Streamlit call, which is the progress bar. What is counted
by then lies on the shelf, where the Count page finds it too.
"""

from dataclasses import dataclass

import streamlit as st

from cellapp import weights as store
from cellapp.batch import Result, count_one
from cellapp.errors import CellappError
from cellapp.methods import Options
from cellapp.ui.count_form import Upload, go_on, remember_channels
from cellapp.ui.count_run import key_of
from cellapp.ui.counters import load_counter, parameters
from cellapp.ui.shelf import Shelf
from cellapp.ui.text import plain


@dataclass(frozen=True)
class Work:
    """What is still to be done, and where its progress is shown; ``row`` is the next one, None if nothing is left."""

    upload: Upload
    options: Options
    row: store.Weights | None = None
    done: int = 0
    total: int = 0
    bar: object = None


def begin(upload: Upload, rows: list[store.Weights], options: Options, shelf: Shelf) -> Work:
    """The progress bar and its Cancel button, if something is left to be counted and the user has not stopped it."""
    pending = [row for row in rows if key_of(upload, row, options) not in shelf]
    if not pending:
        return Work(upload, options)
    left, right = st.columns([3, 1], vertical_alignment="center")
    if st.session_state.get("stopped") == "compare":
        left.info(f"Stopped: {len(pending)} of {len(rows)} methods have not counted yet.", icon=":material/pause:")
        right.button("Go on", on_click=go_on, type="primary", width="stretch")
        return Work(upload, options)
    right.button("Cancel", on_click=_stop, icon=":material/stop:", width="stretch")
    done = len(rows) - len(pending)
    text = f"{plain(pending[0].title)} ({done + 1} of {len(rows)})"
    return Work(upload, options, pending[0], done, len(rows), left.progress(done / len(rows), text=text))


def go_on_with(work: Work, shelf: Shelf) -> None:
    """Count with the next weights and run the page again; a method that fails becomes a row that says why."""
    row = work.row
    if row is None:
        return

    def progress(done: int, tiles: int) -> None:
        part = f", tile {done} of {tiles}" if tiles > 1 else ""
        work.bar.progress((work.done + done / tiles) / work.total,
                          text=f"{plain(row.title)} ({work.done + 1} of {work.total}{part})")

    try:
        counter = load_counter(row)
    except CellappError as error:
        result = Result(work.upload.name, "error", str(error), method=row.method, weights=row.id)
    else:
        result = count_one(work.upload.content(), counter, work.options, name=work.upload.name, progress=progress)
        parameters(row)                                      # kept for the table, while the counter is at hand
    shelf.put(key_of(work.upload, row, work.options), result)
    if result.image is not None:
        remember_channels(work.upload, result.image.channels)
    st.rerun()


def _stop() -> None:
    st.session_state["stopped"] = "compare"
