"""The settings of a training, from `TrainingConfig`'s own declaration, and the button that starts it."""

import re
import time
from typing import Literal, get_args, get_origin

import streamlit as st

from cellapp import train_jobs
from cellapp import weights as store
from cellapp.errors import CellappError
from cellapp.methods import METHODS, pick_device
from cellapp.train_defaults import MINUTES, defaults, parts
from cellapp.train_spec import OWN
from cellapp.train_work import EXAMPLE, usual_threads
from cellapp.train_work import SCRATCH as SCRATCH_DIAMETER
from cellapp.training import TrainingConfig
from cellapp.training_target import sigma_as_read, uses_sigma
from cellapp.ui import visit
from cellapp.ui.annotate_target import spread
from cellapp.ui.desk import Desk
from cellapp.ui.fine_tune_data import Data
from cellapp.ui.text import plain
from cellapp.verify import check_publishable

SCRATCH = "from scratch: "                                   # begins the name of a method in the list of weights
_SIMPLE = ("learning_rate", "crop", "seed")
_ADVANCED = ("epochs", "steps", "batch", "window_step", "warmup", "whole", "gain", "offset", "ema", "freeze",
             "weight_decay", "clip")
_WORDS = {"learning_rate": "Learning rate", "crop": "Crop (px)", "seed": "Seed",
          "window_step": "Window step (px)", "ema": "Averaging of weights", "whole": "Share on whole images",
          "gain": "Contrast jitter", "offset": "Brightness jitter", "freeze": "Share with frozen statistics",
          "batch": "Crops in a step", "warmup": "Warm-up steps", "clip": "Largest gradient"}
_LICENCES = ("not stated", "CC0", "CC BY 4.0", "CC BY-NC 4.0", "MIT", "research use only")


def start_weights() -> tuple[store.Weights | None, str]:
    """What the training begins with, None from scratch, and the method."""
    rows = visit.rows()
    names = [*rows, *(SCRATCH + name for name in METHODS)]
    if st.session_state.get("tune-start") not in names:
        usual = st.session_state.get("weights")
        st.session_state["tune-start"] = usual if usual in rows else names[0]
    chosen = st.selectbox(
        "Begin with", names, key="tune-start", persist_state="session", on_change=_reset,
        format_func=lambda name: rows[name].title if name in rows
        else f"From scratch: {METHODS[name.removeprefix(SCRATCH)].title}",
        help="Weights that already count something similar learn your cells from a few images. From scratch takes far "
             "more of both.")
    row = rows.get(chosen)
    return row, row.method if row is not None else chosen.removeprefix(SCRATCH)


def _reset() -> None:
    for key in [key for key in st.session_state if str(key).startswith("tune set ")]:
        del st.session_state[key]


def settings(method: str, start: store.Weights | None) -> tuple[TrainingConfig | None, float | None]:
    """The config, None where its numbers do not fit, and the minutes, None where epochs and steps are given."""
    usual = defaults(method, start)
    values = usual.model_dump()
    given = st.session_state.get("tune set by steps", False)
    minutes = None
    if not given:
        minutes = st.number_input("Minutes of training", 0.1, 1440.0, MINUTES, 5.0, "%g", key="tune set minutes",
                                  help="The number of steps follows from the speed of this machine, which is measured "
                                       "first. You can stop at any time and keep the best.")
    if len(parts(method)) > 1:
        values["part"] = st.selectbox("Part that learns", parts(method), index=parts(method).index(usual.part),
                                      key="tune set part", help=TrainingConfig.model_fields["part"].description)
    with st.expander("More settings", icon=":material/tune:"):
        if uses_sigma(method):
            spread(f"{usual.sigma:g} as the weights read it", "Left empty, it is in pixels of the image as resized for "
                   "the weights. The page Annotate shows what a width looks like over your dots.")
        for name in _SIMPLE:
            values[name] = _widget(name, values[name])
        st.toggle("Give epochs and steps instead of minutes", key="tune set by steps")
        if given:
            for name in ("epochs", "steps"):
                values[name] = _widget(name, values[name])
        for name in _ADVANCED[2:]:
            values[name] = _widget(name, values[name])
    try:
        return TrainingConfig(**values), minutes
    except ValueError as error:
        st.error(plain(str(error).splitlines()[2].strip()), icon=":material/error:")
        return None, minutes


def _widget(name: str, value):
    """One declared field as a widget: its limits and its help are those of the declaration."""
    field = TrainingConfig.model_fields[name]
    label, key = _WORDS.get(name, name.replace("_", " ").capitalize()), f"tune set {name}"
    if get_origin(field.annotation) is Literal:
        return st.selectbox(label, get_args(field.annotation), key=key, help=field.description)
    limits = {kind: getattr(bound, kind) for bound in field.metadata for kind in ("ge", "gt", "le", "lt")
              if getattr(bound, kind, None) is not None}
    number = field.annotation
    low, high = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
    step = 1 if number is int else value / 10 or 0.01
    return st.number_input(label, None if low is None else number(low), None if high is None else number(high),
                           number(value), number(step), "%d" if number is int else "%g", key=key,
                           help=field.description[0].upper() + field.description[1:] + ".")


def start_button(desk: Desk, data: Data, config: TrainingConfig | None, minutes: float | None,
                 start: store.Weights | None) -> None:
    """Name, licence and “Start”; why it cannot start stands in its place."""
    st.subheader("What it becomes", anchor=False)
    left, right = st.columns([3, 2])
    name = left.text_input("Name of the new weights", key="tune-name", max_chars=60, persist_state="session",
                           placeholder="my cells")
    licence = right.selectbox("Licence of the images", _LICENCES, key="tune-licence", accept_new_options=True,
                              persist_state="session", help="It is kept with the weights, for whoever gets them.")
    if not data.problem and config is not None:
        config = _with_spread(config, data, start)
    if data.problem or config is None:
        st.info(data.problem or "Correct the settings first.", icon=":material/info:")
        return
    # No callback: its arguments would be those of the run before, without what was typed last.
    if st.button("Start training", type="primary", icon=":material/model_training:", key="tune-go"):
        _start(desk, data, config, minutes, start, name.strip() or "my cells", licence)
        st.rerun()


def _with_spread(config: TrainingConfig, data: Data, start: store.Weights | None) -> TrainingConfig | None:
    """The config with the width of a dot that was chosen in px of the image; None where the network cannot learn it."""
    chosen = st.session_state.get("dot-sigma")
    if not chosen or not uses_sigma(config.method):
        return config
    diameter = data.given[0].options.get("cell_diameter") or data.diameter
    trained = start.input.cell_diameter if start is not None else SCRATCH_DIAMETER
    sigma = round(sigma_as_read(chosen, diameter, trained), 3)
    try:
        config = TrainingConfig(**config.model_dump() | {"sigma": sigma})
    except ValueError:
        st.error(f"A dot of σ = {chosen:g} px in your images is one of {sigma:g} px as these weights read them, which "
                 "is too narrow or too wide to be learnt; choose another σ.", icon=":material/error:")
        return None
    st.caption(f"A dot is a Gaussian of σ = {chosen:g} px in your images"
               + (f", {sigma:g} px as these weights read them." if sigma != chosen else "."))
    return config


def _start(desk: Desk, data: Data, config: TrainingConfig, minutes: float | None, start: store.Weights | None,
           name: str, licence: str) -> None:
    space = desk.space
    try:
        about = {"id": _free(name, space), "title": name, "licence": licence or "not stated",
                 "trained_on": f"{data.count('learn')} images of a visitor ({data.count('check')} more to choose the "
                               "epoch)" + (f", beginning with {start.title}" if start else "")}
        check_publishable(EXAMPLE, **about, method=config.method, sigma=config.sigma,
                          input={"cell_diameter": 10.0}, map_scale=METHODS[config.method].map_scale)
        job = train_jobs.create(
            space.trainings, data.given, data.sides, **about, start=start.id if start else None,
            start_folder=store.home(start, space.weights) if start else None, out_folder=space.weights,
            config=config.model_dump(), minutes=minutes, diameter=data.diameter, device=pick_device("auto").type,
            threads=usual_threads())
        job.start()
        st.session_state["tune again"] = False
    except CellappError as error:
        visit.say(str(error))


def _free(name: str, space) -> str:
    """An id made of a name, which no weights of this workspace have: none is ever written over."""
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or f"weights-{time.strftime('%Y%m%d-%H%M')}"
    taken = {*store.manifest(space.weights), *(job.spec().id for job in train_jobs.jobs(space.trainings))}
    return next(wanted for k in range(1, 10_000)
                if (wanted := OWN + stem + (f"-{k}" if k > 1 else "")) not in taken)
