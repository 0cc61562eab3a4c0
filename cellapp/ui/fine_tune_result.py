"""How a training ended: what it gained, told honestly; the new weights to use and to take away."""

from pathlib import Path

import streamlit as st

from cellapp import fine_tune
from cellapp.agreement import number
from cellapp.errors import CellappError
from cellapp.figure_training import before_after
from cellapp.train_jobs import Job, State
from cellapp.train_spec import Spec
from cellapp.ui import visit
from cellapp.ui.fine_tune_run import charts
from cellapp.ui.text import plain
from cellapp.ui.weights_zip import packed

_PAGES = Path(__file__).resolve().parents[2] / "pages"


def show(job: Job, state: State, narrow: bool) -> None:
    """The last training of the workspace, which works no more."""
    spec = job.spec()
    st.subheader(plain(spec.title), anchor=False)
    if state.phase == "done":
        _card(job, spec, narrow)
    else:
        icon = ":material/info:" if state.phase == "cancelled" else ":material/warning:"
        (st.info if state.phase == "cancelled" else st.warning)(plain(state.message), icon=icon)
    with st.container(horizontal=True):
        row = visit.rows().get(state.weights)
        if state.phase == "done" and row is None:
            st.caption("These weights have been deleted on the page Weights.")
        elif state.phase == "done":
            st.button("Use on the Count page", type="primary", icon=":material/pin:", key="tune-use",
                      on_click=_use, args=(state.weights,))
            st.download_button("Download weights", lambda: packed(row, spec.out_folder),
                               f"{spec.id.replace('/', '--')}.zip", "application/zip", key="tune-download",
                               on_click="ignore", icon=":material/download:",
                               help="A zip of the safetensors file and its manifest row: a folder that CELLAPP_WEIGHTS "
                                    "can name.")
            st.button("Push to the Hub", icon=":material/cloud_upload:", key="tune-push", on_click=_push,
                      args=(state.weights,), help="On the page Weights: first it lists what would leave this server.")
        else:
            st.button("Resume", type="primary", icon=":material/play_arrow:", key="tune-resume", on_click=_resume,
                      args=(job,), help="Goes on after the last epoch that is kept.")
        st.button("Train again", icon=":material/replay:", key="tune-again", on_click=_again,
                  help="With other images or settings; these weights stay.")
    if page := st.session_state.pop("tune next page", None):
        st.switch_page(_PAGES / page)
    progress = job.progress()
    if progress:
        with st.expander("How it went", icon=":material/show_chart:"):
            for note in job.notes():
                st.caption(plain(note))
            charts(job, progress, narrow)


def _card(job: Job, spec: Spec, narrow: bool) -> None:
    images = (job.result() or {}).get("images", [])
    if not images:
        st.info("These weights paint the mask of the cells. Train once more, beginning with them, to learn the count.",
                icon=":material/info:")
        return
    maes = fine_tune.maes(images)
    with st.container(horizontal=True, gap="medium", key="tune-card"):
        for when, title in (("before", "MAE before"), ("after", "MAE after")):
            if when in maes:
                found = maes[when]
                ends = "" if found.low is None else f"{number(found.low, 'cells')} to {number(found.high, 'cells')}"
                st.metric(f"{title} (cells per image)", number(found.value, "cells"), ends or None,
                          delta_color="off", delta_arrow="off", width="content")
    st.markdown(_verdict(maes, len(images), spec))
    st.plotly_chart(before_after(images), key="tune-scatter", config={"displayModeBar": False},
                    width="stretch" if narrow else 520,
                    alt="Counts by hand against predicted ones, before and after the training")


def _verdict(maes: dict, n: int, spec: Spec) -> str:
    better = fine_tune.is_better(maes)
    icon = ":material/flag:" if better is None else ":material/thumb_up:" if better else ":material/thumb_down:"
    first, _, rest = fine_tune.verdict(maes, n, spec.start).partition(". ")
    return f"{icon} **{plain(first)}.** {plain(rest)}"


def _use(name: str) -> None:
    st.session_state["weights"] = name
    visit.keep("weights")
    st.session_state["tune next page"] = "count.py"


def _push(name: str) -> None:
    st.session_state["push"] = name
    st.session_state["tune next page"] = "weights.py"


def _resume(job: Job) -> None:
    try:
        job.start()
    except CellappError as error:
        visit.say(str(error))


def _again() -> None:
    st.session_state["tune again"] = True
