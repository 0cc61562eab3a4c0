"""The settings of a training, from `TrainingConfig`'s own declaration, and the button that starts it."""

import streamlit as st

from cellapp import declared
from cellapp import weights as store
from cellapp.errors import CellappError
from cellapp.fine_tune import begin
from cellapp.methods import METHODS
from cellapp.train_defaults import LICENCES, MINUTES, SCRATCH, defaults, most_devices, parts
from cellapp.train_work import SCRATCH as SCRATCH_DIAMETER
from cellapp.training import TrainingConfig
from cellapp.training_step import has_encoder
from cellapp.training_target import uses_sigma, uses_window, width_as_read, width_in_image
from cellapp.ui import visit
from cellapp.ui.annotate_target import spread, window
from cellapp.ui.desk import Desk
from cellapp.ui.fine_tune_data import Data
from cellapp.ui.text import plain

_SIMPLE = ("learning_rate", "crop", "seed")
_ADVANCED = ("epochs", "steps", "batch", "window_step", "warmup", "whole", "gain", "offset", "ema", "freeze",
             "weight_decay", "clip")


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
        field = declared.field(TrainingConfig, "part")
        values["part"] = st.selectbox(field.label, parts(method), index=parts(method).index(usual.part),
                                      key="tune set part", help=field.help)
    with st.expander("More settings", icon=":material/tune:"):
        if uses_sigma(method):
            spread(f"{usual.sigma:g} as the network reads it", "Left empty, it is in pixels of the image as resized "
                   "for the network. The page Annotate shows what a width looks like over your dots.")
        if uses_window(method):
            window(f"{usual.crop} as the network reads it", "Left empty, it is in pixels of the image as resized "
                   "for the network. The page Annotate shows what a window counts over your dots.")
        for name in _SIMPLE:
            if name != "crop" or not uses_window(method):
                values[name] = _widget(name, values[name])
        if start is not None and has_encoder(METHODS[method]):
            field = declared.field(TrainingConfig, "freeze_encoder")
            values["freeze_encoder"] = st.toggle(field.label, key="tune set freeze_encoder", help=field.help)
        if (there := most_devices()) > 1:
            values["devices"] = _widget("devices", 1, there)
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


def _widget(name: str, value, most: int | None = None):
    """One declared field as a widget; ``most`` : its highest value here."""
    field, key = declared.field(TrainingConfig, name), f"tune set {name}"
    number = int if field.kind == "whole" else float
    low, high = (None if bound is None else number(bound) for bound in (field.low, most or field.high))
    step = 1 if number is int else value / 10 or 0.01
    return st.number_input(field.label, low, high, number(value), number(step), "%d" if number is int else "%g",
                           key=key, help=field.help)


def start_button(desk: Desk, data: Data, config: TrainingConfig | None, minutes: float | None,
                 start: store.Weights | None) -> None:
    """Name, licence and “Start”; why it cannot start stands in its place."""
    st.subheader("What it becomes", anchor=False)
    left, right = st.columns([3, 2])
    name = left.text_input("Name of the new weights", key="tune-name", max_chars=60, persist_state="session",
                           placeholder="my cells")
    licence = right.selectbox("Licence of the images", LICENCES, key="tune-licence", accept_new_options=True,
                              persist_state="session", help="It is kept with the weights, for whoever gets them.")
    if not data.problem and config is not None:
        config = _with_width(config, data, start)
    if data.problem or config is None:
        st.info(data.problem or "Correct the settings first.", icon=":material/info:")
        return
    # No callback: its arguments would be those of the run before, without what was typed last.
    if st.button("Start training", type="primary", icon=":material/model_training:", key="tune-go"):
        _start(desk, data, config, minutes, start, name.strip() or "my cells", licence)
        st.rerun()


def _with_width(config: TrainingConfig, data: Data, start: store.Weights | None) -> TrainingConfig | None:
    """The config with the width of a dot, or of a window, that was chosen in px of the image; None where the network
    cannot learn it."""
    if uses_window(config.method):
        return _with_window(config, data, start)
    chosen = st.session_state.get("dot-sigma")
    if not uses_sigma(config.method):
        return config
    diameter = data.given[0].options.get("cell_diameter") or data.diameter
    trained = start.input.cell_diameter if start is not None else SCRATCH_DIAMETER
    if not chosen:
        there = "" if diameter is None else (f", {width_in_image(config.sigma, diameter, trained):.3g} px in your "
                                             "images")
        st.caption(f"A dot is a Gaussian of σ = {config.sigma:g} px as the network reads them{there}.")
        return config
    sigma = round(width_as_read(chosen, diameter, trained), 3)
    try:
        config = TrainingConfig(**config.model_dump() | {"sigma": sigma})
    except ValueError:
        st.error(f"A dot of σ = {chosen:g} px in your images is one of {sigma:g} px as the network reads them, which "
                 "is too narrow or too wide to be learnt; choose another σ.", icon=":material/error:")
        return None
    st.caption(f"A dot is a Gaussian of σ = {chosen:g} px in your images"
               + (f", {sigma:g} px as the network reads them." if sigma != chosen else "."))
    return config


def _with_window(config: TrainingConfig, data: Data, start: store.Weights | None) -> TrainingConfig | None:
    chosen = st.session_state.get("dot-window")
    if not chosen:
        return config
    diameter = data.given[0].options.get("cell_diameter") or data.diameter
    side = round(width_as_read(chosen, diameter, start.input.cell_diameter if start is not None else SCRATCH_DIAMETER))
    try:
        config = TrainingConfig(**config.model_dump() | {"crop": side})
    except ValueError:
        st.error(f"A window of {chosen} px in your images is one of {side} px as the network reads them, which is too "
                 "small or too large to be learnt from; choose another.", icon=":material/error:")
        return None
    st.caption(f"Cells are counted in windows of {chosen} px in your images"
               + (f", {side} px as the network reads them." if side != chosen else "."))
    return config


def _start(desk: Desk, data: Data, config: TrainingConfig, minutes: float | None, start: store.Weights | None,
           name: str, licence: str) -> None:
    try:
        begin(desk.space, data.given, data.sides, config, start=start, minutes=minutes, diameter=data.diameter,
              name=name, licence=licence)
        st.session_state["tune again"] = False
    except CellappError as error:
        visit.say(str(error))
