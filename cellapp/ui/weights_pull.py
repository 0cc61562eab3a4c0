"""The forms of the Weights page that reach for the Hub: a token, an address, a search; and how a transfer stands."""

import streamlit as st

from cellapp import hub
from cellapp.errors import CellappError
from cellapp.ui import visit, weights_jobs
from cellapp.ui.text import plain

_DOING = {"pull": "Pulling", "push": "Pushing", "verify": "Counting the known answer of"}


def token() -> str | bool:
    """What the visitor typed; nobody's token otherwise, and never that of the server."""
    return st.session_state.get("hub-token", "").strip() or False


def form() -> None:
    """Address and token; “Pull”."""
    st.text_input("Pull from the Hugging Face Hub", key="hub-repo", placeholder="user/repo or user/repo@revision",
                  help="A repository with weights of cellapp. Only safetensors are read; their sizes, hashes and known "
                       "answer are checked before they can count.")
    st.text_input("Token", key="hub-token", type="password", placeholder="for private ones, to push",
                  help="From huggingface.co/settings/tokens. It is kept for this page alone: never written, never "
                       "logged, and gone with the tab.")
    st.button("Pull", icon=":material/cloud_download:", key="hub-pull", on_click=start_pull, width="stretch",
              disabled=_working())
    for address, about in hub.KNOWN:
        st.button(plain(about), key=f"known {address}", on_click=_choose, args=(address,), help=plain(address))
    with st.expander("Search the Hub", icon=":material/search:"):
        text = st.text_input("In the name", key="hub-search", placeholder="all weights of cellapp")
        if st.button("Search", key="hub-find", width="stretch"):
            _search(text)
        for row in st.session_state.get("hub found", ()):
            _found(row)


def _working() -> bool:
    job = weights_jobs.of(visit.space().id) if visit.space() is not None else None
    return job is not None and job.running


def _search(text: str) -> None:
    try:
        with st.spinner("Asking the Hub …"):
            st.session_state["hub found"] = hub.search(text, token=token())
        if not st.session_state["hub found"]:
            st.caption("No repository found.")
    except CellappError as error:
        st.session_state["hub found"] = []
        st.error(plain(str(error)), icon=":material/error:")


def _found(row: hub.HubRow) -> None:
    marks = [row.method or "method not stated", row.licence or "licence not stated", row.changed,
             *(["private"] if row.private else []), *(["gated"] if row.gated else [])]
    st.markdown(f"**{plain(row.repo)}**  \n{plain(' · '.join(mark for mark in marks if mark))}")
    st.button("Choose", key=f"found {row.repo}", on_click=_choose, args=(row.repo,))


def _choose(address: str) -> None:
    st.session_state["hub-repo"] = address


def start_pull() -> None:
    """Pull what the address names into the workspace."""
    repo, given = st.session_state.get("hub-repo", "").strip(), token()
    try:
        hub.Address.parse(repo)                              # a word about the address, before anything begins
        space = visit.begin()
    except CellappError as error:
        visit.say(str(error))
        return

    def work(tell, stop) -> str:
        row = hub.pull(repo, token=given, folder=space.weights, room=max(0, space.limits.room(space.folder)),
                       progress=tell, stop=stop)
        space.limits.forget(space.folder)
        weights_jobs.note(row)
        return f"“{row.title}” is here, and its known answer was counted right. Choose it on any page."

    weights_jobs.start(space.id, "pull", repo, space.folder, work)


def status(row: str = "") -> None:
    """What works for these weights, "" for a pull, or how it ended."""
    job = weights_jobs.of(visit.space().id) if visit.space() is not None else None
    if job is None or job.row != row:
        return
    if job.running:
        st.fragment(_watch, run_every=0.7)(job)
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        if job.error:
            st.error(plain(job.error), icon=":material/error:")
            if job.again and job.kind == "pull":
                st.button("Try again", key="hub-again", icon=":material/replay:", on_click=start_pull)
        else:
            st.success(plain(job.result), icon=":material/check:")
        st.button("", icon=":material/close:", key="hub-close", type="tertiary", help="Close this message",
                  on_click=weights_jobs.forget, args=(visit.space().id,))


def _watch(job: weights_jobs.Job) -> None:
    if not job.running:
        st.rerun()
    words = f"{_DOING[job.kind]} {plain(job.about)}"
    if job.total and job.done == job.total and job.kind == "pull":
        words += ": all bytes are here; checking that it counts its known answer"
    elif job.total:
        words += f": {job.done / 1e6:,.1f} of {job.total / 1e6:,.1f} MB"
    st.progress(min(1.0, job.done / job.total) if job.total else 0.0, text=words)
    st.button("Cancel", icon=":material/stop:", key="hub-cancel", on_click=job.cancel)
