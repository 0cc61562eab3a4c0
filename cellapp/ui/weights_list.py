"""All weights that this visitor can use, and what can be done with each."""

from pathlib import Path

import pandas as pd
import streamlit as st

from cellapp import train_jobs
from cellapp import weights as store
from cellapp.errors import Cancelled, CellappError
from cellapp.methods import METHODS
from cellapp.train_spec import OWN
from cellapp.ui import visit, weights_jobs, weights_pull, weights_push
from cellapp.ui.text import plain
from cellapp.ui.weights_zip import packed
from cellapp.verify import verify
from cellapp.weights import Weights

_KINDS = {"own": ("Trained here", ":material/model_training:"), "hub": ("From the Hub", ":material/cloud_download:"),
          "installed": ("Installed", ":material/inventory_2:")}


def show() -> None:
    """Every row, those of the workspace first."""
    rows = visit.rows()
    kinds = {name: kind_of(row) for name, row in rows.items()}
    total = sum(row.bytes for row in rows.values())
    st.subheader("On this server", anchor=False)
    st.caption(f"{len(rows)} weights, {total / 1e6:,.0f} MB. Those trained or pulled here belong to your workspace "
               "and are seen by nobody else.")
    for kind in _KINDS:
        for name in [name for name in rows if kinds[name] == kind]:
            _one(rows[name], kind)


def kind_of(row: Weights) -> str:
    """"own", "hub" or "installed"."""
    if visit.space() is None or store.home(row, visit.space().weights) is None:
        return "installed"
    return "own" if row.id.startswith(OWN) else "hub"


def _one(row: Weights, kind: str) -> None:
    where, icon = _KINDS[kind]
    found = weights_jobs.noted(row)
    mark = " · :green[✓ checked]" if found == "" else " · :red[does not count its known answer]" if found else ""
    label = (f"**{plain(row.title)}** · {METHODS[row.method].title if row.method in METHODS else plain(row.method)} · "
             f"{row.bytes / 1e6:,.1f} MB · {where}{mark}")
    pushed = st.session_state.get("push") == row.id
    with st.expander(label, pushed, icon=icon, key=f"row {row.id}"):
        _facts(row, kind)
        _scores(row)
        _actions(row, kind)
        weights_pull.status(row.id)
        if pushed:
            weights_push.panel(row)


def _facts(row: Weights, kind: str) -> None:
    checked = weights_jobs.noted(row)
    unasked = "when it was pulled" if kind == "hub" else "not since this server started"
    answers = {None: unasked, "": "right on this server"}
    facts = [("Name", row.id), ("Trained on", row.trained_on), ("Began with", row.parent or "nothing"),
             ("Licence", row.licence), ("Cells", f"about {row.input.cell_diameter:.0f} px, {row.input.polarity}"),
             ("Known answer counted", answers.get(checked, checked))]
    if row.hub is not None:
        facts.append(("On the Hub", f"{row.hub.repo} @ {row.hub.revision}"))
    st.markdown("  \n".join(f"{title}: **{plain(value)}**" for title, value in facts))
    st.caption(f"sha256 `{row.sha256}`")


def _scores(row: Weights) -> None:
    if not row.scores:
        st.caption("Nothing has been measured with these weights yet.")
        return
    if row.id.startswith(store.PULLED):
        st.caption("Measured, as its publisher states:")
    frame = pd.DataFrame([{"Data": s.data, "Images": s.images, "MAE (cells)": s.mae, "Bias (cells)": s.bias, "R²": s.r2,
                           "F1 of cells": s.f1} for s in row.scores])
    digits = {"MAE (cells)": 2, "Bias (cells)": 2, "R²": 3, "F1 of cells": 3}
    st.dataframe(frame.dropna(axis=1, how="all"), hide_index=True, alt=f"Measured figures of {row.title}",
                 column_config={name: st.column_config.NumberColumn(format=f"%.{n}f") for name, n in digits.items()})


def _actions(row: Weights, kind: str) -> None:
    where = None if kind == "installed" else visit.space().weights
    job = weights_jobs.of(visit.space().id) if visit.space() is not None else None
    busy = job is not None and job.running
    with st.container(horizontal=True):
        st.button("Verify", icon=":material/verified:", key=f"verify {row.id}", on_click=_verify, args=(row.id, where),
                  disabled=busy, help="Count the example image and compare with the answer kept with the weights.")
        st.download_button("Download", lambda: packed(row, where), f"{row.id.replace('/', '--')}.zip",
                           "application/zip", key=f"download {row.id}", on_click="ignore", icon=":material/download:")
        st.button("Push", icon=":material/cloud_upload:", key=f"push {row.id}", on_click=_ask_push, args=(row.id,),
                  disabled=busy, help="To the Hugging Face Hub; first it lists what would leave this server.")
        if kind != "installed":
            with st.popover("Delete", icon=":material/delete:", key=f"delete {row.id}"):
                st.markdown(f"Delete “{plain(row.title)}” from this server? It cannot be brought back; counts "
                            "made with it stay.")
                st.button("Yes, delete", type="primary", key=f"delete-now {row.id}", on_click=_delete, args=(row.id,))


def _ask_push(name: str) -> None:
    st.session_state["push"] = name


def _verify(name: str, where: Path | None) -> None:
    try:
        space, row = visit.begin(), store.find(name, where)
    except CellappError as error:
        visit.say(str(error))
        return

    def work(_tell, stop) -> str:
        def tile(_done: int, _all: int) -> None:
            if stop():
                raise Cancelled("Cancelled.")

        try:
            off = verify(row, where, tile)
        except Cancelled:
            raise
        except CellappError as error:
            weights_jobs.note(row, str(error))
            raise
        weights_jobs.note(row)
        return (f"“{row.title}” counts {row.check.count:,.3f} cells in {row.check.image}, as it should (off by "
                f"{abs(off):.4f}).")

    weights_jobs.start(space.id, "verify", row.title, space.folder, work, row.id)


def _delete(name: str) -> None:
    space = visit.space()
    working = [job for job in train_jobs.jobs(space.trainings) if job.state().working and job.spec().start == name]
    try:
        if working:
            raise CellappError("A training begins with these weights; cancel it first, or wait for its end.")
        store.remove(name, space.weights)
        space.limits.forget(space.folder)
    except CellappError as error:
        visit.say(str(error))
    if st.session_state.get("push") == name:
        del st.session_state["push"]
