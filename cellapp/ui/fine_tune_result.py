"""How a training ended: what it gained, told honestly; the new weights to use and to take away."""

from pathlib import Path

import streamlit as st

from cellapp.agreement import FEWEST, Line, figures, number
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
    maes = {when: figures([Line(one["name"], one["manual"], one[when]) for one in images])["mae"]
            for when in ("before", "after") if images[0][when] is not None}
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
    about = "1 image" if n == 1 else f"{n} images"
    if "before" not in maes:
        words = f":material/flag: **Trained from scratch.** On the {about} kept back a count is off by "
        words += f"{number(maes['after'].value, 'cells')} cells on average."
    else:
        before, after = maes["before"], maes["after"]
        better = after.value < before.value
        apart = None not in (before.low, after.low) and (after.high < before.low or before.high < after.low)
        words = (":material/thumb_up: **Better than before**" if better else
                 ":material/thumb_down: **Not better than before**")
        words += f" on the {about} kept back"
        words += "." if apart else ", though the intervals overlap: more images would tell." if n >= FEWEST else \
            ", too few to be sure: compare more images of yours on the page Agreement."
        if not better:
            words += " Keep the weights you began with, or give more images."
    kept = f" The weights you began with ({plain(spec.start)}) stay as they are." if spec.start else ""
    return (f"{words} The best epoch was chosen on the same images, so expect a little more error on others.{kept}")


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
