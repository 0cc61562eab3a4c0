"""What would be learnt from the dots: the target as a map for the editor, and its numbers."""

import hashlib
from functools import lru_cache

import numpy as np
import streamlit as st

from cellapp.annotation import Annotation
from cellapp.dot_spacing import spacing, suggested_sigma
from cellapp.fine_tune import diameter_for
from cellapp.train_defaults import defaults
from cellapp.training_target import Target, picture, target, uses_sigma, uses_window, width_in_image, window_of
from cellapp.ui import visit
from cellapp.ui.canvas import MapLayer, picture_url
from cellapp.ui.desk import Desk
from cellapp.ui.text import plain
from cellapp.weights import Weights
from cellapp.workspace_state import StoredFile


def layer(desk: Desk, file: StoredFile, kept: Annotation, shape: tuple[int, int],
          diameter: float | None) -> MapLayer | None:
    """The target as a picture; None without dots, or where the method learns no map."""
    if not kept.points:
        return None
    width = _width(desk, file, diameter)
    made = _target(kept, shape, desk.row, width)
    if made.values is None:
        return None
    key = hashlib.sha256(f"{kept.points} {kept.area} {shape} {desk.row.id} {desk.row.sha256} {width}".encode())
    url = picture_url(f"target {key.hexdigest()}", lambda: picture(made.values), owner=desk.space.id)
    return MapLayer(url, float(made.values.max()), made.unit)


def show(desk: Desk, file: StoredFile, kept: Annotation, shape: tuple[int, int], diameter: float | None) -> None:
    """The width of a dot, and what the target sums to; ``diameter`` as the page knows it, px."""
    st.markdown("##### What will be trained on")
    if not kept.points:
        st.caption("As soon as there are dots, the map that a network would learn from them is shown here; press Z in "
                   "the editor to lay it over the image.")
        return
    width = _width(desk, file, diameter)
    made = _target(kept, shape, desk.row, width)
    left, right = st.columns([1, 2], gap="medium", vertical_alignment="center")
    if uses_sigma(desk.row.method):
        suggested = suggested_sigma(kept.array, _diameter(desk, file, diameter))
        with left:
            spread(f"{_usual(desk, file, diameter):.1f}, as a training takes it",
                   "Left empty, it is the width that a training takes by itself with these weights, which fits the "
                   "size of the cells. What is given here, the page Fine-tune takes as well.")
            if suggested is not None and f"{suggested:.1f}" != f"{width:.1f}":
                st.button(f"Take {suggested:.1f} px, as suggested", key="take-sigma",
                          on_click=_take, args=(round(suggested, 1),),
                          help="What the dots suggest: 0.3 of the median distance between neighbours, at most a "
                               "quarter of the cells' diameter, so that neighbours stay two peaks.")
    if uses_window(desk.row.method):
        with left:
            window(f"{_usual(desk, file, diameter):.0f}, as a training takes it",
                   "Left empty, it is the window that a training takes by itself with these weights. What is given "
                   "here, the page Fine-tune takes as well.")
    used = int(kept.counted.sum())
    apart = spacing(kept.array)
    words = [plain(made.words)]
    if made.values is not None:
        words.append(f"**The map holds {made.total:,.2f} cells, from {used:,} {'dot' if used == 1 else 'dots'}.** "
                     "Press Z in the editor to see it.")
    if used < len(kept.points):
        words.append(f"{len(kept.points) - used:,} dots outside of the marked areas are left out.")
    if apart is not None:
        words.append(f"Median distance between neighbours: {apart:.1f} px.")
    right.markdown("  \n".join(words))


def spread(hint: str, more: str) -> float | None:
    """The width of a dot in px of the image, one and the same on all pages; None where it is left to the ``hint``."""
    return st.number_input("Spread of a dot, σ (px)", min_value=0.5, max_value=50.0, value=None, step=0.5,
                           format="%.1f", placeholder=hint, key="dot-sigma", on_change=visit.keep, args=("dot-sigma",),
                           persist_state="session",
                           help="In pixels of the image. Too wide, and neighbours melt into one; too narrow, and a dot "
                                f"beside its cell teaches something wrong. {more}")


def window(hint: str, more: str) -> int | None:
    """The side of a counting window in px of the image, one and the same on all pages; None where it is left to the
    ``hint``."""
    return st.number_input("Counting window (px)", min_value=8, max_value=2048, value=None, step=4, placeholder=hint,
                           key="dot-window", on_change=visit.keep, args=("dot-window",), persist_state="session",
                           help="Side in pixels of the image. Smaller windows place cells better, larger ones see more "
                                f"of each cell; a few cells' diameters are usual. {more}")


def _take(sigma: float) -> None:
    st.session_state["dot-sigma"] = sigma
    visit.keep("dot-sigma")


def _width(desk: Desk, file: StoredFile, diameter: float | None) -> float:
    """What is trained with, px of the image: as chosen, or as a training takes it."""
    key = "dot-sigma" if uses_sigma(desk.row.method) else "dot-window"
    free = uses_sigma(desk.row.method) or uses_window(desk.row.method)
    return (st.session_state.get(key) if free else None) or _usual(desk, file, diameter)


def _usual(desk: Desk, file: StoredFile, diameter: float | None) -> float:
    usual = window_of(desk.row) or defaults(desk.row.method, desk.row).sigma
    return width_in_image(usual, _diameter(desk, file, diameter), desk.row.input.cell_diameter)


def _diameter(desk: Desk, file: StoredFile, diameter: float | None) -> float | None:
    return diameter_for(desk.space, file, desk.options(file)) or diameter


def _target(kept: Annotation, shape: tuple[int, int], row: Weights, width: float) -> Target:
    points = tuple(p for p, used in zip(kept.points, kept.counted, strict=True) if used)
    return _made(points, shape, row.id, row.sha256, width)


@lru_cache(maxsize=20)
def _made(points: tuple, shape: tuple[int, int], weights_id: str, _sha256: str, width: float) -> Target:
    return target(np.array(points).reshape(-1, 2), shape, visit.rows()[weights_id], width)
