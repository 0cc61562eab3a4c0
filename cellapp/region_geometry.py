"""What a polygon covers: pixels in part, points wholly. Coordinates are (y, x), pixel centres at integers.

Both rules are exact for neighbours: of regions that share their borders every pixel's parts add up to one, and a
point lies in exactly one of them.
"""

from collections.abc import Iterator

import numpy as np

_BLOCK = 2**21                                               # pixels at a time, so that a whole large image fits


def coverage(outline: np.ndarray, shape: tuple[int, int]) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """The part of every pixel that lies in a polygon, in blocks of rows that together hold all of it.

    Parameters
    ----------
    outline : (N, 2) float corners of a polygon without crossings, in either sense
    shape : (H, W) of the image; what lies outside covers nothing

    Yields
    ------
    The rows and columns of a block, and its (h, w) float64 parts in [0, 1].
    """
    corners = np.asarray(outline, np.float64) + 0.5          # a pixel now reaches from its index to the next
    top, left = np.clip(np.floor(corners.min(axis=0)), 0, shape).astype(int)
    bottom, right = np.clip(np.ceil(corners.max(axis=0)), 0, shape).astype(int)
    if top >= bottom or left >= right:
        return
    rows, columns, heights, asides = _pieces(corners, (top, left, bottom, right))
    width = right - left
    step = max(1, _BLOCK // width)
    for first in range(top, bottom, step):
        last = min(first + step, bottom)
        part = slice(*np.searchsorted(rows, (first, last)))
        # Each piece of the border adds its height to all pixels on its right, and to its own the share beside it.
        at = (rows[part] - first) * (width + 1) + columns[part] - left
        sums = np.bincount(at, heights[part] * (1 - asides[part]), (last - first) * (width + 1))
        sums += np.bincount(at + 1, heights[part] * asides[part], (last - first) * (width + 1) + 1)[: len(sums)]
        covered = np.cumsum(sums.reshape(-1, width + 1), axis=1)[:, :-1]
        yield np.s_[first:last, left:right], np.clip(np.abs(covered), 0, 1)


def _pieces(corners: np.ndarray, window: tuple[int, int, int, int]) -> tuple[np.ndarray, ...]:
    """The border cut at every line between pixels, sorted by row: row, column, signed height, distance from the left
    side of the pixel. What is left or right of the window is laid on its side, what is above or below is cut off."""
    top, left, bottom, right = window
    pieces = []
    for (y0, x0), (y1, x1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        # Always cut from the upper end, so that neighbours cut the border they share at the same places.
        sign, (ya, xa, yb, xb) = (1.0, (y0, x0, y1, x1)) if y0 < y1 else (-1.0, (y1, x1, y0, x0))
        low, high = max(ya, top), min(yb, bottom)
        if low >= high:
            continue
        slope = (xb - xa) / (yb - ya)
        ends = sorted(np.clip((xa + (low - ya) * slope, xa + (high - ya) * slope), left, right))
        cuts = [np.arange(np.floor(low) + 1, np.ceil(high))]
        if slope:
            cuts.append(ya + (np.arange(np.floor(ends[0]), np.ceil(ends[1]) + 1) - xa) / slope)
        y = np.concatenate([[low], np.sort(np.clip(np.concatenate(cuts), low, high)), [high]])
        x = np.clip(xa + (y - ya) * slope, left, right)
        middle_y, middle_x = (y[:-1] + y[1:]) / 2, (x[:-1] + x[1:]) / 2
        column = np.minimum(np.floor(middle_x), right - 1)
        pieces.append(np.stack([np.minimum(np.floor(middle_y), bottom - 1), column, sign * np.diff(y),
                                middle_x - column]))
    rows, columns, heights, asides = np.concatenate(pieces, axis=1)
    order = np.argsort(rows, kind="stable")
    return rows[order].astype(np.int64), columns[order].astype(np.int64), heights[order], asides[order]


def inside(points: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """(N,) bool: which (N, 2) points lie in a polygon.

    Half-open: a point on an upper or left border is inside, one on a lower or right border is not.
    """
    points = np.asarray(points, np.float64).reshape(-1, 2)
    order = np.argsort(points[:, 0], kind="stable")
    y, x = points[order].T
    odd = np.zeros(len(points), bool)
    for (y0, x0), (y1, x1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if y0 > y1:                                          # both neighbours of a border compute the same crossing
            y0, x0, y1, x1 = y1, x1, y0, x0
        part = slice(*np.searchsorted(y, (y0, y1), side="left"))
        if part.start < part.stop:
            odd[part] ^= x[part] < x0 + (y[part] - y0) / (y1 - y0) * (x1 - x0)
    found = np.empty(len(points), bool)
    found[order] = odd
    return found
