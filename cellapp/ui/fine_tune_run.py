"""The training as it goes: its place in the queue, its curves, what it sees so far, and the buttons that end it."""

import time

import numpy as np
import streamlit as st

from cellapp.errors import CellappError
from cellapp.figure_training import curves
from cellapp.figures import CELLS, DENSITY, panes, views_of
from cellapp.prediction import Prediction
from cellapp.train_jobs import Job, State, given_of, jobs
from cellapp.train_spec import centres
from cellapp.train_work import open_image
from cellapp.ui import visit
from cellapp.ui.text import plain

BETWEEN = 5.0                                                # s at least until the charts are drawn anew
_DOING = {"reading": "Reading the images", "measuring": "Measuring how long a step takes",
          "training": "Training", "scoring": "Counting the images kept back"}
_DEVICES = {"cpu": "the CPU of this server", "cuda": "the GPU of this server"}


def latest() -> Job | None:
    """The last training of this workspace, whoever started it and when: it is found again after a reload."""
    space = visit.space()
    found = jobs(space.trainings) if space is not None else []
    return found[0] if found else None


def show(job: Job, narrow: bool) -> None:
    """A training that works. Its bar is looked at again and again; the charts are drawn anew after an epoch only."""
    progress = job.progress()
    st.subheader(plain(job.spec().title), anchor=False)
    st.fragment(_watch, run_every=1.5)(job, len(progress), time.monotonic())
    for note in job.notes():
        st.caption(f":material/info: {plain(note)}")
    if progress:
        charts(job, progress, narrow)
    else:
        st.caption("The first curve appears after the first epoch. You can leave this page: the training goes on, and "
                   "the address brings you back.")


def _watch(job: Job, drawn: int, when: float) -> None:
    state, progress = job.state(), job.progress()
    late = drawn == 0 or time.monotonic() - when >= BETWEEN
    if not state.working or (len(progress) != drawn and late):
        st.rerun()
    if state.phase == "queued":
        _queued(state)
    else:
        _bar(state, job.spec().config.get("devices", 1))
    _buttons(job, bool(progress))


def _queued(state: State) -> None:
    place = state.ahead + 1
    before = "Another training" if state.ahead == 1 else f"{state.ahead} other trainings"
    st.info(f"Waiting: place {place} in the queue. {before} on this server must end first." if state.ahead else
            "Beginning …", icon=":material/hourglass:")


def _bar(state: State, devices: int) -> None:
    words = _DOING.get(state.doing, "Working")
    share = 0.0
    if state.doing == "training" and state.steps:
        share = state.step / state.steps
        words += f", step {state.step:,} of {state.steps:,}"
    elif state.steps:
        share = state.step / state.steps
    if state.seconds_left is not None:
        words += f" · {_time(state.seconds_left)} left"
    where = _DEVICES.get(state.device, plain(state.device))
    if state.device == "cuda" and devices > 1:
        where = f"{devices} GPUs of this server"
    st.progress(min(1.0, share), text=f"{words} · on {where}")


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _buttons(job: Job, epochs: bool) -> None:
    with st.container(horizontal=True):
        st.button("Stop and keep the best", icon=":material/save:", disabled=not epochs, key="tune-keep",
                  on_click=_ask, args=(job, "keep"),
                  help="Ends the training; the best epoch so far becomes weights." if epochs else
                  "There is something to keep after the first epoch.")
        st.button("Cancel", icon=":material/stop:", key="tune-cancel", on_click=_ask, args=(job, "cancel"),
                  help="Ends the training without new weights.")


def _ask(job: Job, what: str) -> None:
    try:
        job.ask(what)
    except OSError as error:
        visit.say(f"The training cannot be reached ({error.strerror}); try again.")


def charts(job: Job, progress: list[dict], narrow: bool) -> None:
    """The curves, and what the best epoch so far sees in an image kept back."""
    epochs = progress[-1]["epochs"]
    st.plotly_chart(curves(progress, epochs), key="tune-curves", config={"displayModeBar": False},
                    alt=f"Error and loss of {len(progress)} of {epochs} epochs")
    try:
        with np.load(job.folder / "preview.npz", allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in kept.files}
        item = next(item for item in job.spec().items if item.side == "check")
        given = given_of(job.folder, item)
        image, options = open_image(given)
        prediction = _prediction(arrays)
    except (OSError, ValueError, KeyError, CellappError):
        return                                               # no epoch has ended yet, or the file is being replaced
    epoch, hidden = int(arrays["epoch"]), {CELLS}
    words = f"**{plain(given.name)}**, kept back from the training"
    if job.spec().config.get("part") == "mask":              # its density is that of a counter which has learnt nothing
        st.markdown(f"{words}: what it takes for cells after epoch {epoch}.")
        hidden.add(DENSITY)
    else:
        st.markdown(f"{words}: **{float(arrays['count']):,.1f}** predicted after epoch {epoch}, "
                    f"**{given.cells:,.6g}** by hand.")
    shown = tuple(view for view in views_of(prediction) if view not in hidden)[:3]
    st.plotly_chart(panes(image, prediction, channel=options.channel, views=shown, stacked=narrow),
                    key="tune-preview", config={"displayModeBar": False},
                    alt=f"{given.name} and its map as predicted so far")


def _prediction(arrays: dict[str, np.ndarray]) -> Prediction:
    if "density" in arrays:
        found = Prediction.from_density(arrays["density"])
    else:
        found = Prediction.from_labels(arrays["labels"], centres(arrays["labels"]))
    return found.with_arrays(arrays)
