"""Counting one image with several methods: one method in each run of the page, so that results stream in.

A click on any widget ends the running script at its next Streamlit call, which is the progress bar. What is counted
by then lies in the workspace, where the Count page finds it too.
"""

from dataclasses import dataclass

import streamlit as st

from cellapp import weights as store
from cellapp.batch import Result, count_one
from cellapp.errors import CellappError, WorkspaceError
from cellapp.ui.counters import load_counter, parameters
from cellapp.ui.desk import Desk
from cellapp.ui.text import plain
from cellapp.ui.visit import go_on
from cellapp.workspace_state import StoredFile


@dataclass(frozen=True)
class Work:
    """What is still to be done, and where its progress is shown; ``row`` is the next one, None if nothing is left."""

    desk: Desk
    file: StoredFile
    row: store.Weights | None = None
    done: int = 0
    total: int = 0
    bar: object = None


def begin(desk: Desk, file: StoredFile, rows: list[store.Weights]) -> Work:
    """The progress bar and its Cancel button, if something is left to be counted and the user has not stopped it."""
    pending = [row for row in rows if desk.key(file, row) not in desk.space]
    if not pending:
        return Work(desk, file)
    left, right = st.columns([3, 1], vertical_alignment="center")
    if st.session_state.get("compare stopped"):
        left.info(f"Stopped: {len(pending)} of {len(rows)} methods have not counted yet.", icon=":material/pause:")
        right.button("Go on", on_click=go_on, type="primary", width="stretch")
        return Work(desk, file)
    right.button("Cancel", on_click=_stop, icon=":material/stop:", width="stretch")
    done = len(rows) - len(pending)
    text = f"{plain(pending[0].title)} ({done + 1} of {len(rows)})"
    return Work(desk, file, pending[0], done, len(rows), left.progress(done / len(rows), text=text))


def go_on_with(work: Work) -> None:
    """Count with the next weights and run the page again; a method that fails becomes a row that says why."""
    row = work.row
    if row is None:
        return

    def progress(done: int, tiles: int) -> None:
        part = f", tile {done} of {tiles}" if tiles > 1 else ""
        work.bar.progress((work.done + done / tiles) / work.total,
                          text=f"{plain(row.title)} ({work.done + 1} of {work.total}{part})")

    desk, file = work.desk, work.file
    try:
        try:
            counter = load_counter(row, desk.space)
        except CellappError as error:
            result = Result(file.name, "error", str(error), method=row.method, weights=row.id)
        else:
            result = count_one(desk.space.path(file), counter, desk.options(file, row), name=file.name,
                               progress=progress)
            parameters(row, desk.space)                      # kept for the table, while the counter is at hand
        desk.space.put(desk.key(file, row), result)
    except WorkspaceError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    st.rerun()


def _stop() -> None:
    st.session_state["compare stopped"] = True
