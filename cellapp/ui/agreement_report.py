"""What belongs together, told before anything is counted; then the button that counts it."""

from dataclasses import dataclass

import numpy as np
import streamlit as st

from cellapp.errors import DotsError
from cellapp.manual import Manual, Matching
from cellapp.ui import count_run, jobs, visit
from cellapp.ui.agreement_form import Choices
from cellapp.ui.desk import Desk
from cellapp.ui.text import plain
from cellapp.workspace_state import StoredFile

_MOST = 6                                                    # names in a sentence


@dataclass(frozen=True)
class Pair:
    """An image and its truth; ``message`` says why they cannot be compared, "" if they can."""

    file: StoredFile
    manual: Manual
    truth: np.ndarray | float | None = None
    message: str = ""
    turned: bool = False


def pairs(desk: Desk, picked: Choices, found: Matching) -> list[Pair]:
    """The matched images, in their order. ``turned``: x and y of the dots seem to be exchanged."""
    made = []
    for file in desk.files:
        manual = found.found.get(file.name)
        if manual is None:
            continue
        if problem := desk.problem(file):
            made.append(Pair(file, manual, message=problem))
            continue
        shape, reason = desk.info(file).shape, desk.state.excluded.get(file.id)
        if picked.swapped and manual.fits_swapped(shape):
            manual = manual.swapped()
        if reason:
            made.append(Pair(file, manual, message=f"{file.name}: excluded ({reason})."))
            continue
        try:
            made.append(Pair(file, manual, manual.checked(shape)))
        except DotsError as error:
            made.append(Pair(file, manual, message=str(error), turned=manual.is_swapped(shape)))
    return made


def show(made: list[Pair], picked: Choices, found: Matching, *, brief: bool) -> None:
    """How many images have a truth, and everything that has none or was left over; ``brief`` folds that away."""
    total = len(made) + len(found.without) + len(found.twice) + len(found.partly)
    cells = sum(pair.manual.count for pair in made)
    what = "dots" if all(pair.manual.dots for pair in made) else "cells counted by hand"
    icon = ":green[:material/check_circle:]" if made and len(made) == total else ":orange[:material/info:]"
    st.markdown(f"{icon} **{len(made):,} of {total:,} images have dots or a count by hand**"
                + (f", {cells:,.6g} {what} in all." if made else "."))
    wrong = [pair for pair in made if pair.message and not pair.turned]
    number = sum(map(len, (found.without, found.twice, found.partly, found.unused, found.unread, wrong)))
    if number:
        with st.expander(f"{number:,} left out") if brief else st.container():
            _left_out(found, wrong)
    turned = [pair for pair in made if pair.turned]
    if turned:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.warning(f"In {_images(len(turned))} dots lie outside, and all lie inside with x and y exchanged "
                       f"({plain(_names([p.file.name for p in turned]))}).", icon=":material/swap_horiz:",
                       width="stretch")
            st.button("Exchange x and y", type="primary", on_click=exchange, args=(True,))
    if picked.swapped:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(":material/swap_horiz: x and y of the dots are exchanged.", width="content")
            st.button("Undo", type="tertiary", on_click=exchange, args=(False,), key="undo exchange")


def _left_out(found: Matching, wrong: list[Pair]) -> None:
    _left_over("Images without dots", found.without)
    _left_over("Images of which only the marked areas are dotted, so that there is no count to compare with",
               found.partly)
    _left_over("Names that several images have, so that nothing is matched with them", found.twice)
    _left_over("Dots without an image", found.unused)
    for sentence in found.unread[:_MOST]:
        st.error(plain(sentence), icon=":material/error:")
    for pair in wrong[:_MOST]:
        st.warning(plain(pair.message), icon=":material/warning:")
    if len(wrong) > _MOST:
        st.caption(f"… and {len(wrong) - _MOST:,} more; the table says why.")


def exchange(value: bool) -> None:
    """Read the dots with x and y exchanged from now on, or as they are."""
    st.session_state["agreement-swap"] = value
    visit.keep("agreement-swap")


def count(desk: Desk, made: list[Pair]) -> bool:
    """The button that counts what is not counted yet, or the progress of the counting; True while it works."""
    pending = [p.file for p in made if not p.message and desk.result(p.file) is None and not desk.asks(p.file)]
    job = jobs.of(desk.space.id)
    running = job is not None and job.running
    if running:
        done = sum(desk.result(p.file) is not None for p in made)
        st.fragment(_watch, run_every=1.0)(desk, made, done)
    elif pending:
        done = sum(not p.message for p in made) - len(pending)
        words = f"the other {_images(len(pending))}" if done else _images(len(pending))
        st.button(f"Count {words} and compare", type="primary", icon=":material/play_arrow:", key="compare-all",
                  on_click=_start, args=(desk, pending))
        if job is not None:
            count_run.progress(desk)                         # says why it ended
    return running


def _watch(desk: Desk, made: list[Pair], done: int) -> None:
    now = Desk(desk.space, desk.space.state(), desk.row)
    counted = sum(now.result(pair.file) is not None for pair in made)
    # Figures follow in a few steps; with every image, the page would flicker.
    if not count_run.progress(now) or counted - done >= max(3, len(made) // 8):
        st.rerun()


def _start(desk: Desk, files: list[StoredFile]) -> None:
    visit.change(stopped=False)
    jobs.start(desk.space, desk.row, [jobs.Piece(file, desk.key(file), desk.options(file)) for file in files],
               count_run.PATIENCE)


def _left_over(what: str, names: tuple[str, ...]) -> None:
    if names:
        st.caption(f":orange[:material/warning:] {what} ({len(names):,}): {plain(_names(names))}")


def _names(names) -> str:
    return ", ".join(list(names)[:_MOST]) + (f" and {len(names) - _MOST:,} more" if len(names) > _MOST else "")


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{number:,} images"
