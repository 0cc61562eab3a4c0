"""The comparison: figures with their intervals, the two charts, the table, and the maps of one image under its dots."""

import hashlib
from functools import lru_cache

import pandas as pd
import streamlit as st

from cellapp.agreement import (
    FEWEST,
    TOO_FEW,
    Figure,
    Line,
    agreement_csv,
    bland_altman,
    compare,
    figures,
    markdown,
    number,
    row_of,
)
from cellapp.errors import CellappError
from cellapp.figure_agreement import differences, dot_layers, scatter
from cellapp.figures import CELLS, DENSITY, IMAGE, OUTLINES, panes
from cellapp.ui import agreement_report, count_table
from cellapp.ui.agreement_report import Pair
from cellapp.ui.desk import Desk
from cellapp.ui.text import plain

_HEAD = ("mae", "bias", "mre", "r2", "f1")                   # large, above the charts
_ROW, _ROWS = 30, 6.5                                        # px of a row; rows without scrolling
_MARK = "●"                                                  # the column that marks the image shown
_KEPT = 20_000                                               # comparisons that a tab remembers


def show(desk: Desk, made: list[Pair], distance: float | None, narrow: bool) -> None:
    """Everything about the images that are counted so far."""
    ready = [pair for pair in made if pair.message or desk.result(pair.file) is not None]
    lines = [_line(desk, pair, distance) for pair in ready]
    compared = [line for line in lines if line.predicted is not None]
    if not compared:
        return
    _head(lines, len(compared))
    shown = next((k for k, pair in enumerate(ready) if pair.file.id == desk.shown.id
                  and lines[k].predicted is not None), None)
    _charts(ready, lines, shown, narrow)
    _table(ready, lines, shown)
    if shown is None:
        st.caption(":material/touch_app: Click on a point of a chart or on a row of the table to see that image.")
    else:
        _image(desk, ready[shown], lines[shown], narrow)
    _downloads(desk, lines, distance)


def _line(desk: Desk, pair: Pair, distance: float | None) -> Line:
    """The comparison of one image; kept, because its maps must be read for it."""
    result = desk.result(pair.file)
    if pair.message or result.prediction is None:
        return Line(pair.file.name, pair.manual.count, message=pair.message or result.message)
    points = pair.manual.dots.points.tobytes() if pair.manual.dots else b""
    key = desk.key(pair.file), hashlib.sha256(points).hexdigest(), pair.manual.count, distance
    kept = st.session_state.setdefault("agreement lines", {})
    if key not in kept:
        if len(kept) > _KEPT:
            kept.clear()
        try:
            kept[key] = compare(pair.file.name, desk.space.prediction(key[0]), pair.truth, distance)
        except CellappError as error:
            return Line(pair.file.name, pair.manual.count, message=str(error))
    return kept[key]


@lru_cache(maxsize=50)
def _figures(lines: tuple[Line, ...]) -> dict[str, Figure]:
    return figures(lines)                                    # thousands of resamples, not on every click


def _head(lines: list[Line], n: int) -> None:
    found = _figures(tuple(lines))
    with st.container(horizontal=True, gap="medium", key="agreement-head"):
        for name in _HEAD:
            if name in found:
                _metric(found[name])
    turned = sum(line.swapped for line in lines)
    if turned > n / 2:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.warning(f"In {turned} of {n} images far more dots meet a detected cell with x and y exchanged.",
                       icon=":material/swap_horiz:", width="stretch")
            st.button("Exchange x and y", type="primary", key="exchange after",
                      on_click=agreement_report.exchange, args=(not st.session_state.get("agreement-swap", False),))
    if n < FEWEST:
        st.info(f"{TOO_FEW.capitalize()} for intervals, R² and limits of agreement: {n} of at least {FEWEST}. The "
                "figures describe these images and say little about others.", icon=":material/info:")
    rest = [figure for name, figure in found.items() if name not in _HEAD]
    text = " · ".join(f"{f.kind.title} {number(f.value, f.kind.unit)}{_ends(f)}" for f in rest)
    dotted = min((figure.images for figure in found.values() if figure.kind.images in ("dots", "found")), default=n)
    text += f" · GAME, precision, recall and F1 from the {dotted:,} images with dots" if dotted < n else ""
    st.caption(f"{n:,} images · {text}" + (" · in brackets 95 % intervals, from resampling the images (bootstrap)"
                                           if n >= FEWEST else ""))


def _metric(figure: Figure) -> None:
    kind = figure.kind
    words = f"{kind.title} ({kind.unit})" if kind.unit == "cells" else kind.title
    st.metric(words, number(figure.value, kind.unit), _ends(figure).strip() or None, delta_color="off",
              delta_arrow="off", width="content", help=kind.meaning)


def _ends(figure: Figure) -> str:
    if figure.low is None:
        return ""
    low, high = (number(end, figure.kind.unit).removesuffix(" %") for end in (figure.low, figure.high))
    return f" ({low} to {high}{' %' if figure.kind.unit == '%' else ''})"


def _charts(ready: list[Pair], lines: list[Line], shown: int | None, narrow: bool) -> None:
    limits = bland_altman(lines)
    left, right = (st.container(), st.container()) if narrow else st.columns(2, gap="medium")
    with left:
        st.markdown("##### Predicted against counted by hand")
        _chart("agreement scatter", scatter(lines, shown), ready, f"Predicted against manual counts of {len(lines)} "
               "images, with the line of perfect agreement")
    with right:
        st.markdown("##### Differences (Bland–Altman)")
        words = "" if limits is None else (f"; mean {limits.mean[0]:.1f}, limits of agreement {limits.low[0]:.1f} and "
                                           f"{limits.high[0]:.1f} cells")
        _chart("agreement differences", differences(lines, limits, shown), ready,
               f"Differences between predicted and manual counts against their mean{words}")
    if limits:
        ends = " and ".join(number(part[0], "cells") for part in (limits.low, limits.high))
        st.caption(f"Of other images like these, 95 % of the differences are expected between {ends} cells. The bands "
                   "are 95 % intervals of the mean and of the limits.")
    if limits and limits.grows:
        st.caption(":orange[:material/warning:] The differences grow with the number of cells: the limits are too wide "
                   "for images with few cells and too narrow for those with many.")


def _chart(key: str, figure, ready: list[Pair], words: str) -> None:
    def picked() -> None:
        points = st.session_state[key]["selection"]["points"]
        place = points[0].get("customdata") if points else None
        place = place[0] if isinstance(place, list) else place
        if place is not None:
            count_table.look_at(ready[int(place)].file)

    st.plotly_chart(figure, key=key, on_select=picked, selection_mode="points", alt=words,
                    config={"displayModeBar": False})


def _table(ready: list[Pair], lines: list[Line], shown: int | None) -> None:
    # Another list of images is another table, so that no old click stands in it.
    key = f"agreement table {hash(tuple(pair.file.id for pair in ready))}"

    def picked() -> None:
        cells = st.session_state[key]["selection"]["cells"]
        if cells and cells[0][0] < len(ready):
            count_table.look_at(ready[cells[0][0]].file)

    names = {"image": "Image", "manual": "By hand", "predicted": "Predicted", "error": "Error",
             "relative_error": "Relative error", "game1": "GAME(1)", "game2": "GAME(2)", "game3": "GAME(3)",
             "precision": "Precision", "recall": "Recall", "f1": "F1", "message": "Message"}
    frame = pd.DataFrame([row_of(line) for line in lines])[list(names)].rename(columns=names)
    frame["Message"] = frame["Message"].replace("", None)
    frame = frame.drop(columns=[name for name in frame if frame[name].isna().all()])
    frame.insert(0, _MARK, [_MARK if k == shown else "" for k in range(len(frame))])
    column, text = st.column_config.NumberColumn, st.column_config.TextColumn
    st.dataframe(frame, hide_index=True, key=key, on_select=picked, selection_mode="single-cell",
                 placeholder="–", row_height=_ROW, height=round(_ROW * (min(len(frame), _ROWS) + 1) + 8),
                 column_config={_MARK: text(" ", width=24, pinned=True, help="The image shown"),
                                "Image": text(pinned=True), "By hand": column(format="%.6g"),
                                "Predicted": column(format="%.1f"), "Error": column(format="%+.1f"),
                                "Relative error": column(format="percent"),
                                **{f"GAME({level})": column(format="%.1f") for level in (1, 2, 3)},
                                **{name: column(format="%.3f") for name in ("Precision", "Recall", "F1")}},
                 alt="All images with both counts; click on a row to see that image, on a heading to sort")


def _image(desk: Desk, pair: Pair, line: Line, narrow: bool) -> None:
    """The maps of one image, with the dots over them."""
    try:
        result = desk.full(pair.file)
    except CellappError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    prediction, dots = result.prediction, pair.truth if pair.manual.dots else None
    st.markdown(f"##### {plain(pair.file.name)}: {number(line.manual, 'cells').removesuffix('.0')} by hand, "
                f"{number(line.predicted, 'cells')} predicted")
    layers = [] if dots is None else dot_layers(dots, prediction.points, line.distance)
    figure = panes(result.image, prediction, channel=result.options.channel, views=(IMAGE, DENSITY, CELLS, OUTLINES),
                   stacked=narrow, dots=layers)
    st.plotly_chart(figure, key="agreement panes", config={"scrollZoom": not narrow, "displaylogo": False},
                    alt=f"{pair.file.name} with {line.manual:g} cells by hand and {prediction.rounded} predicted")
    if dots is not None:
        words = "**+** your dots"
        if line.found is not None:
            missed, extra = line.found.true - line.found.hits, line.found.predicted - line.found.hits
            words += (f" · **×** dots without a detected cell within {line.distance:.1f} px ({missed:,}) · **○** "
                      f"detected cells, {extra:,} of them without a dot")
        st.caption(words)
    if pair.manual.dots and pair.manual.dots.notes:
        st.caption(f":material/info: {plain(pair.manual.file)}: {plain(' '.join(pair.manual.dots.notes))}")


def _downloads(desk: Desk, lines: list[Line], distance: float | None) -> None:
    n = sum(line.predicted is not None for line in lines)
    about = f"{desk.row.title} ({desk.row.id}) against counts by hand, {n} images"
    with st.container(horizontal=True):
        st.download_button("agreement.csv", lambda: agreement_csv(lines).encode("utf-8-sig"), "agreement.csv",
                           "text/csv", on_click="ignore", icon=":material/download:", key="agreement csv")
        st.download_button("Figures as Markdown", lambda: markdown(lines, about).encode(), "agreement.md",
                           "text/markdown", on_click="ignore", icon=":material/download:", key="agreement markdown")
    st.caption("The same figures on the command line:")
    options = desk.options(desk.shown).model_dump(exclude_defaults=True)
    flags = [f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}") for name, value in options.items()]
    flags += [f"--distance {distance:g}"] if distance else []
    st.code(" ".join(["python -m cellapp evaluate --images FOLDER --dots FOLDER --weights", desk.row.id, *flags]),
            language="sh", wrap_lines=True)
