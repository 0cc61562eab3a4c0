"""The results of the Compare page: do the methods agree, the table, the linked maps, the downloads."""

import datetime
import hashlib

import pandas as pd
import streamlit as st

from cellapp import weights as store
from cellapp.batch import Result
from cellapp.export import archive, counts_csv, files_of
from cellapp.figure_spread import dot_plot
from cellapp.figures import COMPARISONS, compare
from cellapp.methods import METHODS
from cellapp.prediction import Prediction
from cellapp.spread import Spread
from cellapp.ui import visit
from cellapp.ui.counters import parameters
from cellapp.ui.desk import Desk
from cellapp.ui.text import interval_source, interval_text, plain
from cellapp.workspace_state import StoredFile


def show(desk: Desk, file: StoredFile, rows: list[store.Weights], narrow: bool) -> None:
    """Everything about the methods that have counted so far."""
    if not rows:
        st.info("Choose at least one method.", icon=":material/arrow_back:")
    done = [(row, result) for row in rows if (result := desk.space.find(desk.key(file, row))) is not None]
    if not done:
        return
    counted = [(row, result.prediction) for row, result in done if result.prediction is not None]
    if counted:
        _agreement(file, counted, narrow)
    _table(done)
    _failures(desk, file, done)
    if counted:
        _panes(desk, file, [row for row, _ in counted], narrow)
        _meanings(counted)
    _downloads(desk, file, done)


def _agreement(file: StoredFile, counted: list[tuple[store.Weights, Prediction]], narrow: bool) -> None:
    spread = Spread.of([prediction.count for _, prediction in counted])
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        with st.container(key="hero", width="content"):
            st.metric(f"Median for {plain(file.name)}", f"{max(0, round(spread.median)):,}", width="content",
                      help="The middle one of the methods' counts.")
        if len(counted) > 1:
            low, high = max(0, round(spread.low)), max(0, round(spread.high))
            st.metric("Range", f"{low:,}–{high:,}", width="content", help="The lowest and the highest count.")
            st.metric("Variation", "–" if spread.cv is None else f"{spread.cv:.0%}".replace("%", " %"),
                      width="content", help="Coefficient of variation: the standard deviation of the counts over their "
                                            "mean. A check of sanity, not of truth: all methods can be wrong alike.")
    if spread.agrees:
        st.caption(f":material/check_circle: {spread.sentence}" if len(counted) > 1 else spread.sentence)
    else:
        st.warning(spread.sentence, icon=":material/warning:")
    st.plotly_chart(dot_plot({row.title: prediction for row, prediction in counted}, spread, narrow=narrow),
                    key="dots", config={"displayModeBar": False},
                    alt="Counts of the methods on one axis, with their intervals")


def _table(done: list[tuple[store.Weights, Result]]) -> None:
    frame = pd.DataFrame([_line(row, result) for row, result in done])
    if all(result.prediction for _, result in done):
        frame = frame.drop(columns="Message")
    st.dataframe(frame, hide_index=True, key="comparison", placeholder="–",
                 column_config={"Count": st.column_config.NumberColumn(format="%.1f"),
                                "Seconds": st.column_config.NumberColumn(format="%.2f"),
                                "Parameters": st.column_config.NumberColumn(format="localized")},
                 alt="The methods with their counts; click on a heading to sort")


def _line(row: store.Weights, result: Result) -> dict:
    prediction = result.prediction
    found = None if prediction is None or prediction.points is None else len(prediction.points)
    return {"Weights": row.title, "Method": METHODS[row.method].title, "Count": prediction and prediction.count,
            "Interval": (prediction and interval_text(prediction.interval)) or None, "Peaks or objects": found,
            "Seconds": prediction and prediction.seconds, "Parameters": prediction and parameters(row, visit.space()),
            "Trained on": row.trained_on, "Message": result.message if prediction is None else ""}


def _failures(desk: Desk, file: StoredFile, done: list[tuple[store.Weights, Result]]) -> None:
    """One sentence for each method that could not count; the others count all the same."""
    failed = [(row, result) for row, result in done if result.prediction is None]
    for row, result in failed:
        st.error(f"**{plain(row.title)}**: {plain(result.message)}", icon=":material/error:")
    if failed:
        st.button("Try again", icon=":material/refresh:", on_click=desk.space.forget,
                  args=([desk.key(file, row) for row, _ in failed],))


def _panes(desk: Desk, file: StoredFile, rows: list[store.Weights], narrow: bool) -> None:
    predictions = {row.title: desk.space.prediction(desk.key(file, row)) for row in rows}
    with st.container(horizontal=True, vertical_alignment="center"):
        there = [name for name, kind in COMPARISONS.items() if any(kind.views(p) for p in predictions.values())]
        chosen = st.segmented_control("Panes", there, default=there[0], key="kinds", required=True,
                                      label_visibility="collapsed")
        common = chosen == "Cells found" or st.toggle(
            "Same colours for all", value=True, key="common", persist_state="page",
            help="Equal colours mean equal numbers in all maps. Switch it off to see faint maps.")
    options = desk.options(file)
    figure = compare(desk.space.image(file, options), predictions, channel=options.channel, show=chosen, common=common,
                     stacked=narrow)
    st.plotly_chart(figure, key="panes", config={"scrollZoom": not narrow, "displaylogo": False},
                    alt=f"{chosen} of {file.name}: " + ", ".join(f"{title} {p.rounded} cells"
                                                                  for title, p in predictions.items()))
    silent = [plain(title) for title, p in predictions.items() if not COMPARISONS[chosen].views(p)]
    if silent:
        st.caption(f"Nothing of this kind from: {'; '.join(silent)}.")


def _meanings(counted: list[tuple[store.Weights, Prediction]]) -> None:
    """What each map means, and the doubts of its prediction."""
    for row, prediction in counted:
        method = METHODS[row.method]
        st.markdown(f"**{plain(row.title)}** {plain(method.meaning)}")
        if prediction.interval:
            st.caption(f"{interval_text(prediction.interval)}: {interval_source(prediction.interval)}.")
        for doubt in prediction.doubts:
            st.caption(f":orange[:material/warning:] {plain(doubt)}")


def _downloads(desk: Desk, file: StoredFile, done: list[tuple[store.Weights, Result]]) -> None:
    """Files are made when their button is pressed, not on every run."""
    table = counts_csv([result for _, result in done])

    def everything() -> bytes:
        files, taken = {}, set()
        for row, result in done:
            if result.prediction is not None:
                full = desk.space.get(desk.key(file, row), file)
                files |= files_of(full, taken, by="weights")
        return archive(table, files, "compare.csv")

    day, mark = datetime.date.today().isoformat(), hashlib.sha256(table.encode()).hexdigest()[:8]
    buttons = [("compare.csv", lambda: table.encode("utf-8-sig"), "compare.csv", "text/csv"),
               ("All as zip", everything, f"compare_{day}_{mark}.zip", "application/zip")]
    for column, (label, data, name, mime) in zip(st.columns(5), buttons, strict=False):
        column.download_button(label, data, name, mime, key=f"download-{label}", on_click="ignore",
                               icon=":material/download:", width="stretch")
