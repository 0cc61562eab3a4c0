"""The results of the Count page: the number, the linked panes, the table of all images, the downloads."""

import datetime
import hashlib

import pandas as pd
import streamlit as st

from cellapp import weights as store
from cellapp.batch import Result
from cellapp.export import archive, counts_csv, density_tiff, files_of, stem_of
from cellapp.figures import VIEWS, overlay, panes, png
from cellapp.methods import METHODS, Options
from cellapp.ui.count_form import Upload
from cellapp.ui.count_run import key_of
from cellapp.ui.shelf import Shelf
from cellapp.ui.text import plain

MOST_ERRORS = 5                                              # sentences above the results; the table has them all


def show(uploads: list[Upload], row: store.Weights, options: Options, shelf: Shelf, narrow: bool) -> None:
    """Everything about the images counted so far."""
    done = [(u, shelf.row(key_of(u, row, options))) for u in uploads if key_of(u, row, options) in shelf]
    if not done:
        return
    results = [result for _, result in done]
    _failures(results)
    upload, short = done[_chosen(results)]
    if short.prediction is not None:
        result = shelf.get(key_of(upload, row, options), upload.content())
        _head(result, row, results)
        _panes(result, narrow)
    if len(done) > 1:
        _table(results)
    _downloads(done, upload, row, options, shelf)


def _failures(results: list[Result]) -> None:
    """One sentence for each file that could not be counted; the others are counted all the same."""
    failed = [plain(r.message) for r in results if r.prediction is None]
    for message in failed[:MOST_ERRORS]:
        st.error(message, icon=":material/error:")
    if len(failed) > MOST_ERRORS:
        st.error(f"{len(failed) - MOST_ERRORS} more files could not be counted; the table says why.")


def _chosen(results: list[Result]) -> int:
    """Which image is shown: chosen in the list or in the table; at first the first one that was counted."""
    if len(results) == 1:
        return 0
    picked = st.session_state.get("table", {}).get("selection", {}).get("rows", [])
    if picked != st.session_state.get("picked", []):         # the table was clicked since the last run
        st.session_state["picked"] = picked
        if picked and picked[0] < len(results):
            st.session_state["shown"] = picked[0]
    if not 0 <= st.session_state.get("shown", -1) < len(results):
        st.session_state["shown"] = next((k for k, r in enumerate(results) if r.prediction), 0)
    return st.selectbox("Image shown", range(len(results)), key="shown",
                        format_func=lambda k: f"{k + 1}. {_label(results[k])}")


def _label(result: Result) -> str:
    return f"{result.name}: {result.prediction.rounded} cells" if result.prediction else f"{result.name}: not counted"


def _head(result: Result, row: store.Weights, all_results: list[Result]) -> None:
    prediction = result.prediction
    counted = [r.prediction for r in all_results if r.prediction]
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        with st.container(key="hero", width="content"):
            st.metric(f"Cells in {plain(result.name)}", f"{prediction.rounded:,}", width="content",
                      help=METHODS[prediction.method].meaning)
        st.metric("Peaks found", f"{len(prediction.points):,}", width="content",
                  help="Cells found one by one as peaks of the map: a second opinion on the count.")
        if len(counted) > 1:
            st.metric(f"All {len(counted)} images", f"{round(sum(p.count for p in counted)):,}", width="content")
    height, width = prediction.shape
    size = f"cells about {prediction.cell_diameter:.0f} px · " if prediction.cell_diameter else ""
    st.caption(f"Sum of the density map: {prediction.count:.2f} · {row.title} · {width}×{height} px, "
               f"{result.image.bit_depth} bits · {size}{prediction.seconds:.2f} s on {prediction.device} · "
               "no interval: these weights are not calibrated yet")
    for doubt in prediction.doubts:
        st.warning(doubt, icon=":material/warning:")
    if prediction.notes:
        st.caption(f":material/info: {plain(' '.join(prediction.notes))}")


def _panes(result: Result, narrow: bool) -> None:
    views = st.segmented_control("Views", VIEWS, selection_mode="multi", default=VIEWS, key="views",
                                 label_visibility="collapsed")
    if not views:
        st.caption("Choose a view.")
        return
    figure = panes(result.image, result.prediction, channel=result.options.channel, views=tuple(views),
                   stacked=narrow)
    st.plotly_chart(figure, key="panes", config={"scrollZoom": not narrow, "displaylogo": False},
                    alt=f"{', '.join(views)} of {result.name}: {result.prediction.rounded} cells")


def _table(results: list[Result]) -> None:
    frame = pd.DataFrame([
        {"Image": r.name, "Cells": r.prediction and r.prediction.rounded,
         "Peaks": r.prediction and len(r.prediction.points),
         "Size (px)": r.image and f"{r.image.shape[1]}×{r.image.shape[0]}",
         "Bits": r.image and r.image.bit_depth, "Seconds": r.prediction and r.prediction.seconds,
         "Status": r.status, "Message": r.message} for r in results])
    st.dataframe(frame, hide_index=True, key="table", on_select="rerun", selection_mode="single-row", placeholder="–",
                 column_config={"Seconds": st.column_config.NumberColumn(format="%.2f")},
                 alt="All images with their counts; choose a row to show that image")


def _downloads(done, upload: Upload, row: store.Weights, options: Options, shelf: Shelf) -> None:
    """Files are made when their button is pressed, not on every run."""
    rows = [result for _, result in done]

    def full() -> Result:
        return shelf.get(key_of(upload, row, options), upload.content())

    def everything() -> bytes:
        files, taken = {}, set()
        for other, result in done:
            if result.prediction:
                files |= files_of(shelf.get(key_of(other, row, options), other.content()), taken)
        return archive(counts_csv(rows), files)

    table = counts_csv(rows)
    buttons = [("counts.csv", lambda: table.encode("utf-8-sig"), "counts.csv", "text/csv")]
    short = shelf.row(key_of(upload, row, options))
    if short.prediction:
        stem = stem_of(short)
        buttons += [
            ("Overlay", lambda: _overlay_png(full()), f"{stem}_overlay.png", "image/png"),
            ("Density map", lambda: density_tiff(full().prediction.density), f"{stem}_density.tif", "image/tiff"),
            ("Points", lambda: files_of(full())[f"{stem}_points.csv"], f"{stem}_points.csv", "text/csv"),
        ]
    day, mark = datetime.date.today().isoformat(), hashlib.sha256(table.encode()).hexdigest()[:8]
    buttons.append(("All as zip", everything, f"counts_{day}_{mark}.zip", "application/zip"))
    for column, (label, data, name, mime) in zip(st.columns(5), buttons, strict=False):
        column.download_button(label, data, name, mime, key=f"download-{label}", on_click="ignore",
                               icon=":material/download:", width="stretch")


def _overlay_png(result: Result) -> bytes:
    return png(overlay(result.image, result.prediction, result.options.channel))
