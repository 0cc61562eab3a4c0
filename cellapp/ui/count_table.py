"""The table of all images: what they are, what was counted; a click on a row shows that image."""

import pandas as pd
import streamlit as st

from cellapp.batch import Result
from cellapp.ui import count_files, count_run, jobs, visit
from cellapp.ui.desk import Desk
from cellapp.ui.text import interval_text
from cellapp.workspace_state import StoredFile

ROW, HEAD = 30, 38                                           # px of a row, and of the headings
MARK = "●"                                                   # the column that marks the image shown
MOST_ROWS = 6.5                                              # without scrolling; half a row says that there are more


def show(desk: Desk) -> None:
    """Progress and table, drawn again by themselves while a job works; the page follows when it is done."""
    job = jobs.of(desk.space.id)
    running = job is not None and job.running
    st.fragment(_watch, run_every=(1.0 if len(desk.files) <= 100 else 3.0) if running else None)(desk, running)


def _watch(desk: Desk, running: bool) -> None:
    counted = len(desk.counted)
    now = Desk(desk.space, desk.space.state(), desk.row)
    if not count_run.progress(now) and running:
        st.rerun()
    first = running and not counted and now.counted
    if len(now.files) > 1:
        _table(now)
    if first or (running and desk.result(desk.shown) is None and now.result(now.shown) is not None):
        st.rerun()                                           # there is something to look at


def _table(desk: Desk) -> None:
    place = desk.files.index(desk.shown)
    frame = pd.DataFrame([{MARK: MARK if k == place else ""} | _line(desk, file) for k, file in enumerate(desk.files)])
    frame = frame.drop(columns=[name for name in frame if frame[name].isna().all() and name not in ("Image", "Status")])
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    # Another list of files is another table, so that no old mark stands in it.
    event = st.dataframe(
        frame, hide_index=True, key=f"table {hash(tuple(file.id for file in desk.files))}", on_select="rerun",
        selection_mode="single-cell", placeholder="–", row_height=ROW,
        height=round(HEAD + ROW * min(len(frame), MOST_ROWS)),
        column_config={MARK: text(" ", width=24, pinned=True, help="The image shown"), "Image": text(pinned=True),
                       "Seconds": number(format="%.2f"), "µm/px": number(format="%.3g"),
                       "By hand": number(format="%.6g"),
                       "Found": number(help="Peaks of the map, or outlines: cells found one by one"),
                       "Uncertainty": number(format="percent", help="Half the interval over the count")},
        alt="All images with their counts; click on a row to show that image, on a heading to sort")
    picked = [row for row, _ in event.selection.cells if row < len(desk.files)]
    if picked != st.session_state.get("picked", []):         # the table was clicked since the last run
        st.session_state["picked"] = picked
        if picked and picked[0] != place:
            look_at(desk.files[picked[0]])
            st.rerun()


def look_at(file: StoredFile) -> None:
    """Show this image from now on."""
    visit.change(shown=file.id)


def _line(desk: Desk, file: StoredFile) -> dict:
    result = desk.result(file)
    prediction = result and result.prediction
    info = None if file.error else desk.info(file)
    interval = prediction and prediction.interval
    shape = info and info.shape
    return {
        "Image": file.name, "Status": status(desk, file, result), "Cells": prediction and prediction.rounded,
        "Interval": (interval and interval_text(interval)) or None,
        "Uncertainty": _uncertainty(prediction),
        "By hand": desk.manual.get(file.name),
        "Found": None if not prediction or prediction.points is None else len(prediction.points),
        "Size (px)": shape and f"{shape[1]}×{shape[0]}", "Bits": info and info.bit_depth, "Axes": info and info.axes,
        "Channels": (info and len(info.channels)) or None, "µm/px": info and info.pixel_size_um,
        "File": count_files.megabytes(file.bytes) if file.bytes else None,
        "Seconds": prediction and prediction.seconds, "Message": _message(desk, file, result) or None}


def status(desk: Desk, file: StoredFile, result: Result | None) -> str:
    """One word, or two, for the table."""
    if file.id in desk.state.excluded:
        return "excluded"
    if result is not None:
        return "counted" if result.prediction is not None else "not counted"
    if desk.asks(file):
        return "needs an answer"
    job = jobs.of(desk.space.id)
    if job is None or not job.running or desk.key(file) not in job.keys:
        return "ready"
    return "counting" if file.name == job.name else "waiting"


def _message(desk: Desk, file: StoredFile, result: Result | None) -> str:
    if result is None:
        return ""                                            # what it still needs is asked above the table
    reason = desk.state.excluded.get(file.id, "")
    said = result.message if result.prediction is None else " ".join((*result.prediction.doubts, desk.regions(file)[1]))
    return " ".join(part for part in (reason and f"Excluded: {reason}.", said) if part)


def _uncertainty(prediction) -> float | None:
    """Half the interval over the count."""
    if not prediction or not prediction.interval or prediction.count <= 0:
        return None
    return (prediction.interval.high - prediction.interval.low) / 2 / prediction.count
