"""The table of a benchmark, the charts of one line of it, and the maps of one image."""

import pandas as pd
import streamlit as st

from cellapp import benchmark_report as report
from cellapp.agreement import bland_altman, number
from cellapp.errors import CellappError
from cellapp.figure_agreement import differences, dot_layers, scatter
from cellapp.figures import CELLS, DENSITY, IMAGE, OUTLINES, panes
from cellapp.image import Image
from cellapp.ui import benchmark_failures, visit
from cellapp.ui.benchmark_run import Job, tested
from cellapp.ui.counters import load_counter
from cellapp.ui.text import plain

_COLUMNS = {"method": "Weights", "mae": "MAE", "rmse": "RMSE", "mre": "Relative error", "bias": "Bias", "r2": "R²",
            "max_error": "Largest error", "game1": "GAME(1)", "game2": "GAME(2)", "game3": "GAME(3)", "f1": "F1",
            "coverage": "In the interval", "coverage_low": "at least", "coverage_high": "at most",
            "mean_width": "Mean width", "interval_score": "Interval score", "constant_score": "Score of one width",
            "seconds": "Seconds", "parameters": "Parameters", "gmac": "GMAC", "intervals": "Intervals from"}
_SHOWN = "benchmark shown"                                   # number of the image that is looked at


def show(job: Job, narrow: bool) -> None:
    """Everything about a benchmark that has ended."""
    rows = [report.row(outcome, 0) for outcome in job.outcomes]
    st.markdown(f"##### {plain(job.order.title)}: {rows[0].images:,} counted")
    _table(rows)
    _downloads(job, rows)
    names = [outcome.entry.title for outcome in job.outcomes]
    which = st.segmented_control("Look closer at", range(len(names)), default=0, required=True, key="benchmark-line",
                                 format_func=lambda k: plain(names[k]))
    lines = list(job.outcomes[which].draws[0].lines)
    shown = st.session_state.get(_SHOWN)
    shown = shown if shown is not None and shown < len(lines) else None
    left, right = (st.container(), st.container()) if narrow else st.columns(2, gap="medium")
    limits = bland_altman(lines)
    with left:
        st.markdown("##### Predicted against true")
        _chart("benchmark scatter", scatter(lines, shown), f"Predicted against true counts of {len(lines)} images")
    with right:
        st.markdown("##### Differences (Bland–Altman)")
        _chart("benchmark differences", differences(lines, limits, shown),
               f"Differences between predicted and true counts of {len(lines)} images")
    entry = job.outcomes[which].entry
    if not entry.weights:
        return
    if shown is None:
        st.caption(":material/touch_app: Click on a point of a chart to see that image.")
    else:
        _image(job, entry.weights, lines[shown], shown, narrow)
    benchmark_failures.show(job, which)


def _table(rows: list[report.Row]) -> None:
    frame = pd.DataFrame([{title: None if (value := getattr(row, name)) == "" else value
                           for name, title in _COLUMNS.items()} for row in rows])
    frame = frame.drop(columns=[name for name in frame if frame[name].isna().all()])
    column = st.column_config.NumberColumn
    formats = dict.fromkeys(("MAE", "RMSE", "Seconds", "GMAC"), "%.2f") | dict.fromkeys(
        ("Largest error", "GAME(1)", "GAME(2)", "GAME(3)", "Mean width", "Interval score", "Score of one width"),
        "%.1f") | {
        "Relative error": "percent", "In the interval": "percent", "at least": "percent", "at most": "percent",
        "Bias": "%+.2f", "R²": "%.4f", "F1": "%.3f",
        "Parameters": "localized"}
    st.dataframe(frame, hide_index=True, placeholder="–", alt="Figures of all weights", column_config={
        "Weights": st.column_config.TextColumn(pinned=True),
        **{name: column(format=form) for name, form in formats.items() if name in frame}})
    words = "MAE, RMSE, bias and widths are in cells, seconds are for an image."
    without = max(row.without_interval for row in rows)
    if any(row.parameters is None for row in rows):
        words += " The last two lines know nothing of cells: weights should be better than they are."
    if any(row.coverage is not None for row in rows):
        words += (" “In the interval” is the share of true counts that lie there, “at least” and “at most” are what so "
                  "few images can tell of it (95 %).")
    if without:
        words += f" Up to {without:,} images are without an interval, as outside calibration."
    st.caption(words)
    st.caption("Networks that learn in each draw of a set, from scratch or from weights, are measured at the command "
               "line (`python -m cellapp benchmark`); where images are few, `--intervals cv+` gives their counts "
               "intervals for five more trainings a draw.")


def _downloads(job: Job, rows: list[report.Row]) -> None:
    about = f"{job.order.title}, {rows[0].images} images."
    with st.container(horizontal=True):
        for label, name, kind, make in (
                ("CSV", "benchmark.csv", "text/csv", lambda: report.table_csv(rows)),
                ("Markdown", "benchmark.md", "text/markdown", lambda: report.markdown(rows, about)),
                ("LaTeX", "benchmark.tex", "text/x-tex", lambda: report.latex(rows, about)),
                ("Every image (CSV)", "images.csv", "text/csv", lambda: report.lines_csv(job.outcomes))):
            st.download_button(label, lambda make=make: make().encode(), name, kind, on_click="ignore",
                               icon=":material/download:", key=f"benchmark {name}")


def _chart(key: str, figure, words: str) -> None:
    def picked() -> None:
        points = st.session_state[key]["selection"]["points"]
        place = points[0].get("customdata") if points else None
        place = place[0] if isinstance(place, list) else place
        if place is not None:
            st.session_state[_SHOWN] = int(place)

    st.plotly_chart(figure, key=key, on_select=picked, selection_mode="points", alt=words,
                    config={"displayModeBar": False})


def _image(job: Job, weights_id: str, line, shown: int, narrow: bool) -> None:
    """Counted once more for its maps, which a benchmark does not keep."""
    item, options = tested(job)[shown], job.order.plan.options
    try:
        image = Image.from_array(item.image)
        with st.spinner("Counting this image"):
            row = visit.rows()[weights_id]
            prediction = load_counter(row, visit.space()).predict(image, options)
    except (CellappError, KeyError) as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    st.markdown(f"##### {plain(line.image)}: {number(line.manual, 'cells').removesuffix('.0')} true, "
                f"{number(line.predicted, 'cells')} predicted")
    layers = [] if item.points is None else dot_layers(item.points, prediction.points, line.distance)
    figure = panes(image, prediction, channel=options.channel, views=(IMAGE, DENSITY, CELLS, OUTLINES), stacked=narrow,
                   dots=layers)
    st.plotly_chart(figure, key="benchmark panes", config={"scrollZoom": not narrow, "displaylogo": False},
                    alt=f"{line.image} with {line.manual:g} true cells and {prediction.rounded} predicted")
