"""Dots suggested by the chosen weights, and the image to dot next."""

import numpy as np
import streamlit as st

from cellapp.annotation import Annotation
from cellapp.dot_model import inside
from cellapp.dot_spacing import is_new
from cellapp.next_image import rank
from cellapp.ui import annotate_files, count_run, jobs, visit
from cellapp.ui.desk import Desk
from cellapp.ui.text import plain
from cellapp.workspace_state import StoredFile

_DIAMETER = 10.0                                             # px, where neither the user nor the image tells


def popover(desk: Desk, file: StoredFile, kept: Annotation, shape: tuple[int, int], diameter: float | None) -> None:
    """What the weights found in this image, to be corrected; never in the place of dots without asking."""
    with st.popover("Suggest dots", icon=":material/auto_awesome:", key="suggest", width="content"):
        result = desk.result(file)
        job = jobs.of(desk.space.id)
        if result is None or (result.prediction is None and result.status != "error"):
            st.markdown(f"{plain(desk.row.title)} has not counted this image yet.")
            st.button("Count it", type="primary", width="stretch", key="suggest-count", on_click=_count,
                      args=(desk, file), disabled=job is not None and job.running)
            return
        if result.prediction is None:
            st.error(plain(result.message), icon=":material/error:")
            return
        found = result.prediction.points
        if found is None:
            st.markdown(f"{plain(desk.row.title)} does not tell single cells apart, so it has no dots to suggest. "
                        "Choose other weights, such as those of FCRN-A.")
            return
        found = np.round(found[inside(found, shape)], 2)
        apart = (diameter or result.prediction.cell_diameter or _DIAMETER) / 2
        fresh = found[is_new(found, kept.array, apart)]
        st.markdown(f"{plain(desk.row.title)} found **{_cells(len(found))}**. Correct them afterwards: undo brings "
                    "back what was there before.")
        if not kept.points:
            st.button(f"Set {_cells(len(found))} as dots", type="primary", width="stretch", key="suggest-set",
                      on_click=_put, args=(desk, file, found, shape, True), disabled=not len(found))
            return
        st.button(f"Add the {len(fresh):,} that are new", type="primary", width="stretch", key="suggest-add",
                  on_click=_put, args=(desk, file, fresh, shape, False), disabled=not len(fresh),
                  help=f"Those farther than half a cell ({apart:.0f} px) from every dot that is there.")
        st.button(f"Replace the {len(kept.points):,} that are there", width="stretch", key="suggest-replace",
                  on_click=_put, args=(desk, file, found, shape, True))


def progress(desk: Desk) -> None:
    """How far the counting is, as long as it runs."""
    job = jobs.of(desk.space.id)
    if job is not None and job.running:
        st.fragment(_watch, run_every=1.0)(desk)
    elif job is not None:
        count_run.progress(desk)                             # says why it ended


def go_to_next(desk: Desk, rest: list[StoredFile]) -> None:
    """Show the most useful of these images, and remember why."""
    rows = visit.rows().values()
    counted = [(file, [found.prediction for row in rows if (found := desk.space.find(desk.key(file, row))) is not None
                       and found.prediction is not None]) for file in rest]
    best = rank(counted)[0]
    st.session_state["why this image"] = best.item.id, best.reason
    visit.change(shown=best.item.id)


def _watch(desk: Desk) -> None:
    if not count_run.progress(desk):
        st.rerun(scope="app")


def _count(desk: Desk, file: StoredFile) -> None:
    visit.change(stopped=False)
    jobs.start(desk.space, desk.row, [jobs.Piece(file, desk.key(file), desk.options(file))], count_run.PATIENCE)


def _put(desk: Desk, file: StoredFile, points: np.ndarray, shape: tuple[int, int], alone: bool) -> None:
    def change(now: Annotation) -> Annotation:
        if alone:
            return now.moved(points, (1,) * len(points), shape)
        return now.moved(np.vstack([now.array, points]), (*now.labels, *(1,) * len(points)), shape)

    annotate_files.put(desk, file, change)


def _cells(number: int) -> str:
    return "1 cell" if number == 1 else f"{number:,} cells"
