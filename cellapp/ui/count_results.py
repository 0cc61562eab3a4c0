"""The results of the Count page: the number, the linked panes, the table of all images, the downloads."""

import datetime
import hashlib

import pandas as pd
import streamlit as st

from cellapp import weights as store
from cellapp.batch import Result
from cellapp.dots import points_csv
from cellapp.export import archive, counts_csv, density_tiff, files_of, labels_tiff, stem_of
from cellapp.figures import CELLS, DENSITY, OUTLINES, panes, views_of
from cellapp.methods import METHODS, Options
from cellapp.overlays import overlay, png
from cellapp.prediction import VIEWS, Prediction
from cellapp.ui.about_weights import about
from cellapp.ui.count_form import Upload
from cellapp.ui.count_run import key_of
from cellapp.ui.shelf import Shelf
from cellapp.ui.text import interval_source, interval_text, plain

_FILES = {DENSITY: "Density map", OUTLINES: "Labels", CELLS: "Points"}
MOST_ERRORS = 5                                              # sentences above the results; the table has them all


def show(uploads: list[Upload], row: store.Weights, options: Options, shelf: Shelf, narrow: bool) -> None:
    """Everything about the images counted so far."""
    done = [(u, shelf.row(key_of(u, row, options))) for u in uploads if key_of(u, row, options) in shelf]
    if not done:
        return
    results = [result for _, result in done]
    _failures(results)
    upload, short = done[_chosen(results)]
    there: tuple[str, ...] = ()
    if short.prediction is not None:
        result = shelf.get(key_of(upload, row, options), upload.content())
        there = views_of(result.prediction)
        _head(result, row, results)
        _panes(result, there, narrow)
    if len(done) > 1:
        _table(results)
    _downloads(done, upload, row, options, shelf, there)
    about(row)


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
            interval = interval_text(prediction.interval)
            st.metric(f"Cells in {plain(result.name)}", f"{prediction.rounded:,}", interval and f"({interval})",
                      delta_color="off", delta_arrow="off", width="content", help=METHODS[prediction.method].meaning)
        if prediction.points is not None and prediction.labels is None:
            st.metric("Peaks found", f"{len(prediction.points):,}", width="content",
                      help="Cells found one by one as peaks of the map: a second opinion on the count.")
        if len(counted) > 1:
            st.metric(f"All {len(counted)} images", f"{round(sum(p.count for p in counted)):,}", width="content")
    height, width = prediction.shape
    size = f"cells about {prediction.cell_diameter:.0f} px · " if prediction.cell_diameter else ""
    st.caption(f"{_basis(prediction)} · {plain(row.title)} · {width}×{height} px, "
               f"{result.image.bit_depth} bits · {size}{prediction.seconds:.2f} s on {prediction.device} · "
               f"{interval_source(prediction.interval)}")
    for doubt in prediction.doubts:
        st.warning(doubt, icon=":material/warning:")
    if prediction.notes:
        st.caption(f":material/info: {plain(' '.join(prediction.notes))}")


def _basis(prediction: Prediction) -> str:
    if prediction.labels is not None:
        return f"Cells outlined one by one: {len(prediction.points):,}"
    return f"Sum of the density map: {prediction.count:.2f}"


def _panes(result: Result, there: tuple[str, ...], narrow: bool) -> None:
    # The key names the choice, so that another method's views do not inherit it.
    views = st.segmented_control("Views", there, selection_mode="multi", default=there, key=f"views {there}",
                                 persist_state="page", label_visibility="collapsed")
    if not views:
        st.caption("Choose a view.")
        return
    figure = panes(result.image, result.prediction, channel=result.options.channel, views=tuple(views),
                   stacked=narrow)
    st.plotly_chart(figure, key="panes", config={"scrollZoom": not narrow, "displaylogo": False},
                    alt=f"{', '.join(views)} of {result.name}: {result.prediction.rounded} cells")
    for view in VIEWS.values():
        if view.title in views:
            st.caption(f"**{view.title}.** {view.meaning}")


def _table(results: list[Result]) -> None:
    frame = pd.DataFrame([
        {"Image": r.name, "Cells": r.prediction and r.prediction.rounded,
         "Interval": (r.prediction and interval_text(r.prediction.interval)) or None,
         "Peaks or outlines": _found(r.prediction), "Size (px)": r.image and f"{r.image.shape[1]}×{r.image.shape[0]}",
         "Bits": r.image and r.image.bit_depth, "Seconds": r.prediction and r.prediction.seconds,
         "Status": r.status, "Message": r.message} for r in results])
    empty = [name for name in ("Interval", "Peaks or outlines") if frame[name].isna().all()]
    st.dataframe(frame.drop(columns=empty), hide_index=True, key="table", on_select="rerun",
                 selection_mode="single-row", placeholder="–",
                 column_config={"Seconds": st.column_config.NumberColumn(format="%.2f")},
                 alt="All images with their counts; choose a row to show that image")


def _found(prediction: Prediction | None) -> int | None:
    return None if prediction is None or prediction.points is None else len(prediction.points)


def _downloads(done, upload: Upload, row: store.Weights, options: Options, shelf: Shelf,
               there: tuple[str, ...]) -> None:
    """Files are made when their button is pressed, not on every run. ``there`` are the views of the image shown."""
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
    if there:
        stem = stem_of(shelf.row(key_of(upload, row, options)))
        buttons.append(("Overlay", lambda: _overlay_png(full()), f"{stem}_overlay.png", "image/png"))
        for view, end, data in ((DENSITY, "density.tif", lambda: density_tiff(full().prediction.density)),
                                (OUTLINES, "labels.tif", lambda: labels_tiff(full().prediction.labels)),
                                (CELLS, "points.csv", lambda: points_csv(full().prediction.points).encode())):
            if view in there:
                mime = "text/csv" if end.endswith("csv") else "image/tiff"
                buttons.append((_FILES[view], data, f"{stem}_{end}", mime))
    day, mark = datetime.date.today().isoformat(), hashlib.sha256(table.encode()).hexdigest()[:8]
    buttons.append(("All as zip", everything, f"counts_{day}_{mark}.zip", "application/zip"))
    for column, (label, data, name, mime) in zip(st.columns(5), buttons, strict=False):
        column.download_button(label, data, name, mime, key=f"download-{label}", on_click="ignore",
                               icon=":material/download:", width="stretch")


def _overlay_png(result: Result) -> bytes:
    return png(overlay(result.image, result.prediction, result.options.channel))
