"""The image that is looked at: the number, the linked panes, the doubts; leaving an image out."""

import streamlit as st

from cellapp.batch import Result
from cellapp.errors import CellappError
from cellapp.figures import panes, views_of
from cellapp.methods import METHODS
from cellapp.prediction import VIEWS, Prediction
from cellapp.ui import count_downloads, count_regions, count_scale, visit
from cellapp.ui.about_weights import about
from cellapp.ui.desk import Desk
from cellapp.ui.text import interval_source, interval_text, plain

LOOKS = ("Maps", "Regions", "Cell size")


def show(desk: Desk, narrow: bool) -> None:
    """Everything about the image shown."""
    file, result = desk.shown, desk.result(desk.shown)
    if result is None or result.prediction is None:
        _title(desk)
        if result is not None and desk.problem(file) + result.message:
            st.error(plain(result.message), icon=":material/error:")
        if not desk.problem(file) and not desk.asks(file):
            count_scale.measure(desk, file)
    else:
        try:
            result = desk.full(file)
        except CellappError as error:
            st.error(plain(str(error)), icon=":material/error:")
            return
        _head(desk, result)
        _look(desk, result, narrow)
    count_downloads.show(desk, result)
    about(desk.row)


def _title(desk: Desk) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"##### {plain(desk.shown.name)}", width="content")
        _leave_out(desk)


def _head(desk: Desk, result: Result) -> None:
    prediction, row = result.prediction, desk.row
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        with st.container(key="hero", width="content"):
            interval = interval_text(prediction.interval)
            st.metric(f"Cells in {plain(result.name)}", f"{prediction.rounded:,}", interval and f"({interval})",
                      delta_color="off", delta_arrow="off", width="content", help=METHODS[prediction.method].meaning)
        if prediction.points is not None and prediction.labels is None:
            st.metric("Peaks found", f"{len(prediction.points):,}", width="content",
                      help="Cells found one by one as peaks of the map: a second opinion on the count.")
        if result.n_manual is not None:
            st.metric("By hand", f"{result.n_manual:,.6g}", width="content",
                      help="From your dots on the page Annotate, or the dots or the table of counts that came with "
                           "the image.")
        kept = [desk.result(f).prediction.count for f in desk.counted if f.id not in desk.state.excluded]
        if len(desk.files) > 1 and len(kept) > 1:
            st.metric(f"{len(kept)} images", f"{round(sum(kept)):,}", width="content",
                      help="The sum of all images that are counted and not excluded.")
        if len(desk.files) > 1 or desk.shown.id in desk.state.excluded:
            _leave_out(desk)
    height, width = prediction.shape
    kind = f"{prediction.polarity} cells".strip()
    size = f"{kind} of about {prediction.cell_diameter:.0f} px · " if prediction.cell_diameter else ""
    st.caption(f"{_basis(prediction)} · {plain(row.title)} · {width}×{height} px, "
               f"{result.image.bit_depth} bits · {size}{prediction.seconds:.2f} s on {prediction.device} · "
               f"{interval_source(prediction.interval)}")
    if prediction.doubts:
        st.warning("  \n".join(map(plain, prediction.doubts)), icon=":material/warning:")


def _leave_out(desk: Desk) -> None:
    """Exclude the image with a reason, or take it back in."""
    file = desk.shown
    if reason := desk.state.excluded.get(file.id):
        st.badge(f"Excluded: {plain(reason)}", icon=":material/block:", color="orange")
        st.button("Take back in", on_click=_exclude, args=(file.id, ""), type="tertiary", icon=":material/undo:")
        return
    with st.popover("Exclude", icon=":material/block:", type="tertiary", key=f"exclude {file.id}"):
        st.caption("An excluded image stays in the table and in counts.csv, with your reason.")
        key = f"reason {file.id}"
        st.text_input("Reason", key=key, placeholder="out of focus", max_chars=200)
        st.button("Exclude this image", on_click=lambda: _exclude(file.id, st.session_state[key] or "no reason given"),
                  type="primary", key="exclude-now")


def _exclude(file_id: str, reason: str) -> None:
    def put(state) -> None:
        left = {other: why for other, why in state.excluded.items() if other != file_id}
        state.excluded = left | ({file_id: reason} if reason else {})

    visit.change(put)


def _basis(prediction: Prediction) -> str:
    if prediction.labels is not None:
        return f"Cells outlined one by one: {len(prediction.points):,}"
    return f"Sum of the density map: {prediction.count:.2f}"


def _look(desk: Desk, result: Result, narrow: bool) -> None:
    """What lies below the number: the maps, the regions, or the ruler; only the chosen one is made."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        look = st.segmented_control("Look at", LOOKS, default=LOOKS[0], key="look", required=True,
                                    persist_state="session", label_visibility="collapsed")
        views = _views(result) if look == LOOKS[0] else ()
    if look == LOOKS[0]:
        _panes(desk, result, views, narrow)
    elif look == LOOKS[1]:
        count_regions.show(desk, result)
    else:
        count_scale.measure(desk, desk.shown)


def _views(result: Result) -> tuple[str, ...]:
    there = views_of(result.prediction)
    # The key names the choice, so that another method's views do not inherit it.
    return tuple(st.pills("Views", there, selection_mode="multi", default=there, key=f"views {there}",
                          persist_state="page", label_visibility="collapsed"))


def _panes(desk: Desk, result: Result, views: tuple[str, ...], narrow: bool) -> None:
    if not views:
        st.caption("Choose a view.")
        return
    figure = panes(result.image, result.prediction, channel=result.options.channel, views=views, stacked=narrow,
                   regions=desk.regions(desk.shown)[0])
    st.plotly_chart(figure, key="panes", config={"scrollZoom": not narrow, "displaylogo": False},
                    alt=f"{', '.join(views)} of {result.name}: {result.prediction.rounded} cells")
    if result.prediction.notes:
        st.caption(f":material/info: {plain(' '.join(result.prediction.notes))}")
    for view in VIEWS.values():
        if view.title in views:
            st.caption(f"**{view.title}.** {view.meaning}")
