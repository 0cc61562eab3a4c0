"""Pushing weights from the page: where to, what would leave this server, and the button."""

from functools import partial

import pandas as pd
import streamlit as st

from cellapp import hub, train_jobs
from cellapp import weights as store
from cellapp.errors import CellappError
from cellapp.hub_push import NOT_STATED
from cellapp.ui import pushing, visit, weights_jobs, weights_pull
from cellapp.ui.text import plain
from cellapp.weights import Weights

_NOBODY = "your-name/my-cells"


def panel(row: Weights) -> None:
    """What is asked before a push; nothing is sent before its button is pressed."""
    with st.container(border=True, key="push-panel"):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.markdown("**Push to the Hugging Face Hub**", width="content")
            st.button("", icon=":material/close:", key="push-close", type="tertiary", help="Close",
                      on_click=lambda: st.session_state.pop("push", None))
        where, terms = st.columns(2)
        repo = where.text_input("Repository", key="push-repo", placeholder=_NOBODY,
                                help="It is made if it is not there. What you pushed before stays in its history.")
        licence = None
        if row.licence == NOT_STATED:
            licence = terms.selectbox("Licence", [NOT_STATED, *hub.LICENCES], key="push-licence",
                                      accept_new_options=True, help="Under which others may use the weights.")
        else:
            terms.text_input("Licence", row.licence, disabled=True, help="These weights came with it, so it stays.")
        public = st.toggle("Public: everybody may see it", key="push-public", help="Off: only you may see it.")
        job = pushing.training(row, visit.space())
        include = _include(job) if job is not None else ()
        about = {"licence": licence, "include": include, "folder": _folder(row), "job": job}
        try:
            uploads = hub.listing(row.id, repo.strip() or _NOBODY, **about)
        except CellappError as error:
            st.error(plain(str(error)), icon=":material/error:")
            return
        _leaving(uploads)
        _button(row, repo.strip(), public, about)


def _folder(row: Weights):
    return store.home(row, visit.space().weights) if visit.space() is not None else None


def _include(job: train_jobs.Job) -> tuple[str, ...]:
    n = len(job.spec().items)
    st.caption("The images and dots of the training stay here unless you tick them.")
    with st.container(horizontal=True):
        images = st.checkbox(f"Send the {n} images along", key="push-images")
        dots = st.checkbox("Send their dots along", key="push-dots")
    return (*(["images"] if images else []), *(["dots"] if dots else []))


def _leaving(uploads: tuple[hub.Upload, ...]) -> None:
    total = sum(upload.bytes for upload in uploads)
    st.markdown(f"**What leaves this server**: {len(uploads)} files, {total / 1e6:,.1f} MB, and nothing else.")
    frame = pd.DataFrame([(upload.path, upload.bytes, upload.about) for upload in uploads],
                         columns=["File", "Bytes", "What it is"])
    st.dataframe(frame, hide_index=True, alt="The files that would be pushed",
                 column_config={"Bytes": st.column_config.NumberColumn(format="localized")})
    card = next(upload for upload in uploads if upload.path == "README.md").content.decode()
    if st.toggle("Read the model card", key="push-card"):
        st.code(card, language="markdown", wrap_lines=True)


def _button(row: Weights, repo: str, public: bool, about: dict) -> None:
    missing = "Write the repository first." if not repo else "" if weights_pull.token() else (
        "Give a token with the right to write, in the field “Token” above.")
    if missing:
        st.caption(missing)
    st.button("Push", type="primary", icon=":material/cloud_upload:", key="push-go", disabled=bool(missing),
              on_click=_start, args=(row, repo, public, about))


def _start(row: Weights, repo: str, public: bool, about: dict) -> None:
    try:
        hub.Address.parse(repo)
        space = visit.begin()
    except CellappError as error:
        visit.say(str(error))
        return
    given = weights_pull.token()
    job = weights_jobs.start(space.id, "push", repo, space.folder,
                             partial(_push, row, repo, given, not public, about, space), row.id)
    if job.kind == "push":
        st.session_state.pop("push", None)


def _push(row: Weights, repo: str, given, private: bool, about: dict, space, tell, stop) -> str:
    there = pushing.send(row, repo, space, token=given, private=private, progress=tell, stop=stop, **about)
    return pushing.told(row, there, private)
