"""Images that are dotted in part: what may be learnt from them, and the count that may be held against their dots.

A mask says where every cell has its dot (`Annotation.counted_mask`). Cells outside of it may have none, so whatever
depends on them is left out: each family says how far its target reaches (`sure`) and writes nan where the target is not
known; crops are laid round the pixels that are left (`places`).
"""

from typing import TYPE_CHECKING

import cv2
import numpy as np

from cellapp.errors import TrainingError

if TYPE_CHECKING:
    from cellapp.family import Reading
    from cellapp.prediction import Prediction


def inside(points: np.ndarray, counted: np.ndarray | None) -> np.ndarray:
    """(N,) bool: which of (N, 2) dots (y, x) lie on a pixel of the (H, W) bool mask; all of them where there is none.
    """
    if counted is None:
        return np.ones(len(points), bool)
    pixels = np.clip(np.rint(points).astype(int), 0, np.array(counted.shape) - 1)
    return counted[tuple(pixels.T)]


def sure(name: str, counted: np.ndarray, before: int, after: int) -> np.ndarray:
    """(H, W) bool: the pixels whose surroundings, from ``before`` px before to ``after`` px after them in both
    directions, lie in the mask; beyond the image there is no cell, so nothing is missing there.

    Raises `TrainingError` with the image's name where no pixel is left.
    """
    side = before + after + 1
    kept = cv2.erode(counted.astype(np.uint8), np.ones((side, side), np.uint8), anchor=(before, before),
                     borderType=cv2.BORDER_CONSTANT, borderValue=1) > 0
    if not kept.any():
        raise TrainingError(f"{name}: its fully counted area is too small for this network, which needs {side}×{side} "
                            "px of it at the scale at which it reads; mark a larger area, or leave the image out.")
    return kept


def places(known: np.ndarray | None) -> np.ndarray | None:
    """(M,) int: where in the flattened image there is something to learn; None for everywhere."""
    return None if known is None else np.flatnonzero(known)


def count_inside(read: "Reading | Prediction", counted: np.ndarray | None) -> float:
    """The count of a reading or a prediction in the mask: the sum of its map there, or the cells whose centre is there.
    """
    if counted is None:
        return read.count
    if read.density is not None:
        return float(read.density[counted].sum(dtype=np.float64))
    return float(inside(read.points, counted).sum())
