"""Windows on a plane: their grid, what they see beyond its border, and how their counts become a map.

A window is named by its first pixel, which may lie outside. The plane is mirrored there, with its border pixels
repeated (… 1 0 | 0 1 …), and so are its dots; this goes on for as long as a window needs, so a plane may be smaller
than a window, even a single pixel.

The grid has one window every ``step`` px. The centre of the first lies on the plane's first pixel (half a pixel before
it where the side is even), the centre of the last on its last pixel or up to a step beyond. So every pixel lies between
the centres of windows, and linear interpolation needs no extrapolation.
"""

import numpy as np


def mirrored(start: int, stop: int, length: int) -> np.ndarray:
    """Which pixel of an axis of ``length`` stands at each of the places start … stop - 1, inside or outside."""
    index = np.arange(start, stop) % (2 * length)
    return np.where(index < length, index, 2 * length - 1 - index)


def firsts(length: int, side: int, step: int) -> np.ndarray:
    """First pixel of every window of the grid along one axis, (n,) int, ascending."""
    centre = (side - 1) / 2
    first = -(side // 2)
    number = 1 + int(np.ceil((length - 1 - (first + centre)) / step))
    return first + step * np.arange(number)


def bilinear(length: int, side: int, step: int) -> np.ndarray:
    """(length, n) float32: how much each pixel of an axis takes from each window of its grid; each row sums to one."""
    starts = firsts(length, side, step)
    place = (np.arange(length) - (starts[0] + (side - 1) / 2)) / step
    left = np.minimum(place.astype(int), max(0, len(starts) - 2))
    weights = np.zeros((length, len(starts)))
    pixels = np.arange(length)
    weights[pixels, left] = 1 - (place - left)
    if len(starts) > 1:
        weights[pixels, left + 1] = place - left
    return weights.astype(np.float32)


def spread(counts: np.ndarray, shape: tuple[int, int], side: int, step: int) -> np.ndarray:
    """(rows, columns) cells per window of the grid -> (H, W) float32 cells per pixel.

    The density of a window, its count divided by its area, stands at its centre; between the centres it is
    interpolated linearly in both directions, which is separable.
    """
    down, across = (bilinear(length, side, step) for length in shape)
    return down @ (counts.astype(np.float32) / np.float32(side * side)) @ across.T


def shares(shape: tuple[int, int], side: int, step: int) -> np.ndarray:
    """(rows, columns) float64: what each window's count adds to the count of the plane,
    ``spread(counts).sum() == (shares * counts).sum()``."""
    down, across = (bilinear(length, side, step).sum(axis=0, dtype=np.float64) for length in shape)
    return np.outer(down, across) / side**2


def cut(image: np.ndarray, points: np.ndarray, first: tuple[int, int], side: int, *, degrees: int = 0,
        flip: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """One window, turned about its centre, and the dots it then holds.

    Parameters
    ----------
    image : (H, W) float32, mirrored beyond its border
    points : (N, 2) float (y, x), mirrored as well
    first : (y, x) of the window's first pixel before it is turned, inside the image or outside
    degrees : counter-clockwise turn, as `np.rot90` turns
    flip : mirror left to right after the turn

    Returns
    -------
    (side, side) float32, bilinear, and (K, 2) float (y, x) in the window, each in [-0.5, side - 0.5). What turns into
    the window is read from the larger square round it, so its corners hold image and cells, too.
    """
    import cv2

    cos, sin = np.round([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))], 12)
    # The larger square: half of it must hold half a diagonal of the window and a neighbour for interpolation.
    rim = int(np.ceil((np.sqrt(2) - 1) / 2 * side)) + 2
    low, high = np.array(first) - rim, np.array(first) + side + rim
    rows, columns = (mirrored(low[k], high[k], image.shape[k]) for k in (0, 1))
    square = np.ascontiguousarray(image[np.ix_(rows, columns)], np.float32)
    middle = (side - 1) / 2
    # The window's pixel (x, y) reads the square at centre + turn · ((x, y) - middle); y points down.
    turn = np.array([[cos, -sin], [sin, cos]])
    matrix = np.column_stack([turn, np.array([middle + rim] * 2) - turn @ [middle, middle]])
    window = cv2.warpAffine(square, matrix, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                            borderMode=cv2.BORDER_REFLECT)
    seen = mirrored_points(points, image.shape, low, high) - (np.array(first) + middle)
    # The dots go the other way; in (y, x) the transpose of a turn is the turn of (x, y).
    inside = seen @ turn.T + middle
    inside = inside[((inside >= -0.5) & (inside < side - 0.5)).all(axis=1)]
    if flip:
        return np.ascontiguousarray(window[:, ::-1]), np.column_stack([inside[:, 0], side - 1 - inside[:, 1]])
    return window, inside


def mirrored_points(points: np.ndarray, shape: tuple[int, int], low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(K, 2) all dots in the box low … high (y, x), ``low <= dot < high`` in pixels' edges, with mirrored ones."""
    ys, xs = (_copies(points[:, k], shape[k], low[k] - 0.5, high[k] - 0.5) for k in (0, 1))
    inside = np.isfinite(ys)[:, None] & np.isfinite(xs)[None]                  # (copies in y, copies in x, N)
    row, column, dot = np.nonzero(inside)
    return np.column_stack([ys[row, dot], xs[column, dot]])


def _copies(values: np.ndarray, length: int, low: float, high: float) -> np.ndarray:
    """(copies, N): each value and its mirror images about -0.5 and length - 0.5; NaN outside low … high."""
    period = 2 * length
    periods = period * np.arange(np.floor((low - length) / period), np.ceil((high + length) / period) + 1)
    # A dot on the very border is its own mirror image and stays one dot.
    images = np.where(values > -0.5, -1 - values, np.nan)
    places = np.concatenate([periods[:, None] + values, periods[:, None] + images])
    return np.where((places >= low) & (places < high), places, np.nan)
