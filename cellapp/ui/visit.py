"""The visitor's workspace and this browser tab: found by ``?w=…`` in the address, restored, deleted.

The tab's own memory (`st.session_state`) goes with its connection; what is chosen is therefore written to the
workspace when it is chosen, and read back once for every new session.
"""

from collections.abc import Callable

import streamlit as st

from cellapp.errors import WorkspaceError
from cellapp.ui import counters
from cellapp.ui.counters import registry

# Widgets whose values are kept, by their key and the field of `State` they are kept in.
SETTINGS = {"weights": "weights", "diameter": "cell_diameter", "polarity": "polarity", "compared-weights": "compared",
            "dot-sigma": "dot_sigma", "dot-window": "dot_window", "benchmark-set": "benchmark_set"}
EXTRAS = ("saliency", "quick", "stride")


def enter() -> None:
    """Find the workspace of the address, before any widget is drawn; an id nobody knows costs one sentence."""
    asked, held = st.query_params.get("w"), st.session_state.get("space")
    try:
        if asked and (held is None or held.id != asked):
            held = registry().find(asked)
            if held is None:
                _leave("This address names no workspace that is still here: it may have been deleted, or its days are "
                       "over. A new one begins with your next image.")
                return
            _restore(held)
        elif held is not None:
            if registry().find(held.id) is None:
                _leave("This workspace has been deleted. A new one begins with your next image.")
                return
            held.state()                                     # readable, as everything after it takes for granted
    except WorkspaceError as error:
        _leave(str(error))
        return
    if held is not None and asked != held.id:
        st.query_params["w"] = held.id                       # a click on another page drops it
    elif held is None and "w" in st.query_params:
        del st.query_params["w"]


def space():
    """The workspace of this session, or None as long as there is nothing to keep."""
    return st.session_state.get("space")


def rows() -> dict:
    """The rows of all weights that this visitor can use, by their id: the installed ones, then those trained or pulled
    here."""
    return counters.rows(space())


def begin():
    """The workspace of this session; a new one with what is chosen so far, if there is none."""
    if space() is None:
        made = registry().create()
        st.session_state["space"] = made
        st.session_state.pop("said", None)
        st.query_params["w"] = made.id
        for key in (*SETTINGS, *EXTRAS):
            _keep(key)
    return space()


def keep(key: str, then: Callable[[], None] | None = None) -> None:
    """As ``on_change`` of a widget: write its value to the workspace; new settings are new work."""
    _keep(key)
    go_on()
    if then is not None:
        then()


def go_on() -> None:
    """Forget that the user had stopped the counting; work under other settings ends."""
    st.session_state["compare stopped"] = False
    if space() is not None:
        from cellapp.ui import jobs

        jobs.cancel(space().id)
        change(stopped=False)


def change(what=None, **values) -> None:
    """Change the workspace's state from a callback; what cannot be written is said on the page."""
    try:
        space().change(what, **values)
    except WorkspaceError as error:
        say(str(error))


def say(sentence: str) -> None:
    """Show a sentence above the page until the next one, or until something is dropped."""
    st.session_state["said"] = sentence


def message() -> None:
    """Where the sentence is shown."""
    if said := st.session_state.get("said"):
        left, right = st.columns([12, 1], vertical_alignment="center")
        left.warning(said, icon=":material/info:")
        right.button("", icon=":material/close:", key="unsay", type="tertiary", help="Close this message",
                     on_click=lambda: st.session_state.pop("said", None))


def farewell() -> None:
    """How long the work is kept, and how to delete it now."""
    if space() is None:
        return
    days = space().limits.days
    st.caption(f"Kept under the address of this page until {days:g} {'day' if days == 1 else 'days'} after your last "
               "visit. Whoever has the address can see it.")
    with st.popover("Delete everything", icon=":material/delete:", width="stretch", key="delete"):
        st.markdown("Images, dots, settings, regions and results are deleted from this server at once, and cannot be "
                    "brought back.")
        st.button("Yes, delete everything", on_click=_delete, type="primary", width="stretch", key="delete-now")


def _delete() -> None:
    from cellapp import train_jobs
    from cellapp.ui import canvas, count_questions, jobs, weights_jobs

    try:
        jobs.cancel(space().id)
        weights_jobs.cancel(space().id)
        for job in train_jobs.jobs(space().trainings):
            if job.state().working:
                job.ask("cancel")
        space().delete_everything()
        canvas.delete_pictures(space().id)
        count_questions.forget_pictures()
    except WorkspaceError as error:
        say(str(error))
        return
    _leave("Everything has been deleted.")


def _leave(sentence: str) -> None:
    for key in list(st.session_state):
        del st.session_state[key]
    if "w" in st.query_params:
        del st.query_params["w"]
    say(sentence)


def _restore(found) -> None:
    state = found.state()
    st.session_state["space"] = found
    st.session_state.pop("said", None)
    values = {key: getattr(state, field) for key, field in SETTINGS.items()} | state.extras
    for key, value in values.items():
        if value is not None:
            st.session_state[key] = value


def _keep(key: str) -> None:
    if space() is None or key not in st.session_state:
        return
    value = st.session_state[key]
    if key in SETTINGS:
        change(**{SETTINGS[key]: value})
    else:
        change(lambda state: setattr(state, "extras", state.extras | {key: value}))
