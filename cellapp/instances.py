"""Foreground to single cells: seeds at the summits of the distance to the ground, then a watershed.

    fill holes → opening → distance to the ground → summits of height h → watershed → drop small pieces

Marzo and La Rosa stop at the mask; this is our way from there to a count.
"""

import cv2
import numpy as np

H = 1.0              # px; a summit that stands out by no more than this is part of its neighbour
SMALLEST = 0.3       # of the median area; what is smaller is debris
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))  # the disc of radius 1


def label_cells(foreground: np.ndarray, *, h: float = H, smallest: float = SMALLEST) -> tuple[np.ndarray, np.ndarray]:
    """Split a mask into cells.

    Pixels that touch at a corner are connected. What lies beyond the border of the image is taken to be like what
    is inside of it: a cell that is cut off is neither worn away by the opening nor shrunk by the distance, and it
    counts as one cell. Ground that cells enclose is a hole, however large, and becomes cell.

    Parameters
    ----------
    foreground : (H, W) bool
    h : px by which a summit of the distance must stand out to be a cell of its own
    smallest : pieces below this part of the median area are dropped

    Returns
    -------
    labels : (H, W) int32; 0 is ground, 1 … N are the cells
    centres : (N, 2) float64 (y, x), centres of mass in the order of the labels
    """
    mask = cv2.morphologyEx(_filled(foreground), cv2.MORPH_OPEN, _CROSS)
    if mask.all():
        labels = np.ones(mask.shape, np.int32)              # without ground there is no distance to it
    else:
        labels = _watershed(cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), h)
    return _centred(_without_debris(labels, smallest))


def _filled(foreground: np.ndarray) -> np.ndarray:
    """1 for the foreground and what it encloses, (H, W) uint8. Ground that reaches the border is no hole."""
    padded = np.pad(foreground.astype(np.uint8, order="C"), 1)
    cv2.floodFill(padded, None, (0, 0), 2)                  # the ground from outside, over edges, not over corners
    return (padded[1:-1, 1:-1] != 2).astype(np.uint8)


def _watershed(distance: np.ndarray, h: float) -> np.ndarray:
    """(H, W) int32 basins of the summits that stand out by more than ``h``, of a (H, W) float32 distance.

    The summits are the regional maxima of the distance's reconstruction from ``distance - h``. Seeds from
    `skimage.morphology.h_maxima` would not do: two equally high pixels on one ridge, as in every long cell, are
    two components there. The reconstruction itself takes most of a second per megapixel; basins of all
    maxima, merged over their passes, are the same ones.
    """
    from skimage.morphology import local_maxima
    from skimage.segmentation import watershed

    number, seeds = cv2.connectedComponents(local_maxima(distance, connectivity=2).astype(np.uint8), connectivity=8)
    basins = watershed(-distance, seeds, mask=distance > 0, connectivity=2)
    summits = np.zeros(number, np.float32)
    np.maximum.at(summits, seeds.ravel(), distance.ravel())
    return _merged(number, *_passes(basins, distance), summits, h)[basins]


def _passes(basins: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (K, 2) of touching basins and the height (K,) of the highest pass between them, the highest first."""
    pairs, heights = [], []
    top, bottom, left, right, every = np.s_[:-1], np.s_[1:], np.s_[:-1], np.s_[1:], np.s_[:]
    for one, other in (((top, every), (bottom, every)), ((every, left), (every, right)),
                       ((top, left), (bottom, right)), ((top, right), (bottom, left))):
        a, b = basins[one], basins[other]
        at = (a != b) & (a > 0) & (b > 0)
        pairs.append(np.minimum(a[at], b[at]) * np.int64(basins.max() + 1) + np.maximum(a[at], b[at]))
        heights.append(np.minimum(distance[one][at], distance[other][at]))
    pairs, heights = np.concatenate(pairs), np.concatenate(heights)
    order = np.argsort(-heights, kind="stable")
    _, first = np.unique(pairs[order], return_index=True)
    order = order[np.sort(first)]
    return np.stack(np.divmod(pairs[order], basins.max() + 1), axis=1), heights[order]


def _merged(number: int, pairs: np.ndarray, heights: np.ndarray, summits: np.ndarray, h: float) -> np.ndarray:
    """For each basin the one it ends in: the lower of two summits goes if it is at most ``h`` above the pass."""
    into = np.arange(number, dtype=np.int32)

    def root(k: int) -> int:
        while into[k] != k:
            into[k] = into[into[k]]
            k = into[k]
        return k

    for (a, b), height in zip(pairs.tolist(), heights, strict=True):
        low, high = sorted((root(a), root(b)), key=lambda k: (summits[k], -k))
        if low != high and summits[low] - height <= h:
            into[low] = high
    return np.array([root(k) for k in range(number)], np.int32)


def _without_debris(labels: np.ndarray, smallest: float) -> np.ndarray:
    """The labels renumbered 1 … N, without pieces below ``smallest`` times the median area."""
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    if not areas.any():
        return labels
    kept = areas >= max(1, smallest * np.median(areas[areas > 0]))
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)[labels]


def _centred(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The labels and the (N, 2) centres of mass of 1 … N."""
    y, x = np.nonzero(labels)
    of = labels[y, x]
    areas = np.bincount(of)[1:]
    return labels, np.stack([np.bincount(of, weights)[1:] / areas for weights in (y, x)], axis=1)
