"""Counting on the page: by itself for a few small images, else when a button is pressed; progress and Cancel."""

import streamlit as st

from cellapp.ui import jobs, visit
from cellapp.ui.desk import Desk
from cellapp.ui.text import plain
from cellapp.workspace_state import StoredFile

FEW, SMALL = 4, 4_000_000                                    # images, and pixels of all: counted without a click
PATIENCE = 1.5                                               # s the page waits for a job before it shows progress


def by_itself(desk: Desk) -> None:
    """A few small images without open questions need no click."""
    if desk.state.stopped or len(desk.files) > FEW or any(desk.asks(file) for file in desk.files):
        return
    pixels = sum(h * w for h, w in (desk.info(f).shape for f in desk.files if not desk.problem(f)))
    pieces = _pieces(desk, desk.missing)
    job = jobs.of(desk.space.id)
    if pieces and pixels <= SMALL and not (job and (job.running or (job.error and job.keys & {p.key for p in pieces}))):
        jobs.start(desk.space, desk.row, pieces, PATIENCE)


def buttons(desk: Desk) -> None:
    """“Count this image” and “Count all”, each where there is something left to count."""
    job = jobs.of(desk.space.id)
    if job is not None and job.running:
        return
    missing, shown, begun = desk.missing, desk.shown, bool(desk.counted)
    if shown in missing:
        st.button("Count this image", icon=":material/play_arrow:", type="secondary" if begun else "primary",
                  width="stretch", on_click=_count, args=(desk, [shown]), key="count-one")
    if missing and missing != [shown]:
        rest = f"the other {len(missing)}" if begun else f"all {len(missing)}"
        st.button(f"Count {rest}", icon=":material/playlist_play:", type="primary" if begun else "secondary",
                  width="stretch", on_click=_count, args=(desk, missing), key="count-all")


def progress(desk: Desk) -> bool:
    """How far the job is, with Cancel, or why it ended; True while it works. Called again and again."""
    job = jobs.of(desk.space.id)
    if job is None:
        return False
    if not job.running:
        if job.error and job.keys & {desk.key(file) for file in desk.files if not desk.problem(file)}:
            st.error(plain(job.error), icon=":material/error:")
        return False
    left, right = st.columns([5, 1], vertical_alignment="center")
    tile, tiles = job.part
    which = f"Image {min(job.done + 1, job.total):,} of {job.total:,}: " if job.total > 1 else "Counting "
    part = f", tile {tile} of {tiles}" if tiles > 1 else ""
    left.progress(min(1.0, (job.done + tile / max(1, tiles)) / job.total), text=plain(f"{which}{job.name}{part}"))
    right.button("Cancel", on_click=_stop, icon=":material/stop:", width="stretch", key="cancel")
    return True


def _count(desk: Desk, files: list[StoredFile]) -> None:
    visit.change(stopped=False)
    jobs.start(desk.space, desk.row, _pieces(desk, files), PATIENCE)


def _pieces(desk: Desk, files: list[StoredFile]) -> list[jobs.Piece]:
    """The image that is looked at goes first."""
    first = sorted(files, key=lambda file: file.id != desk.shown.id)
    return [jobs.Piece(file, desk.key(file), desk.options(file)) for file in first]


def _stop() -> None:
    jobs.cancel(visit.space().id)
    visit.change(stopped=True)
