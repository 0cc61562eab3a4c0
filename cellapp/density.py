"""Dots to density maps and back.

A density map is float32 in cells per pixel and sums to the count on the grid it is drawn on. Points are
``(N, 2)`` float ``(y, x)`` with pixel centres at integers.
"""

import numpy as np

from cellapp.errors import DotsError


def check_points(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return ``points`` as ``(N, 2)`` float64, or raise `DotsError` for dots outside the image.

    A pixel covers half a unit around its centre, so valid y lie in [-0.5, H - 0.5).
    """
    points = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    inside = np.isfinite(points).all(axis=1)
    inside &= (points >= -0.5).all(axis=1) & (points < np.array(shape) - 0.5).all(axis=1)
    if not inside.all():
        first = int(np.argmin(inside))
        y, x = points[first]
        raise DotsError(
            f"{int((~inside).sum())} of {len(points)} dots lie outside the image of {shape[1]}×{shape[0]} px "
            f"(dot {first + 1}: x = {x:g}, y = {y:g}); check whether x and y are swapped."
        )
    return points


def density_map(points: np.ndarray, shape: tuple[int, int], sigma: float) -> np.ndarray:
    """Sum of one unit-mass Gaussian per dot.

    Parameters
    ----------
    points : (N, 2) float, (y, x) in pixels
    shape : (H, W)
    sigma : standard deviation in pixels

    Returns
    -------
    (H, W) float32 map in cells per pixel whose sum is N. Each Gaussian reaches to 4 sigma and is scaled
    to unit mass *inside the image*, so cells at the border count fully. (Xie et al. do not say what they
    do there; scaling each dot keeps the mass where the cell is, scaling the whole map would not.)
    """
    height, width = shape
    out = np.zeros(height * width, dtype=np.float64)
    points = check_points(points, shape)
    if len(points) == 0:
        return out.reshape(shape).astype(np.float32)
    radius = int(np.ceil(4 * sigma))
    offsets = np.arange(-radius, radius + 1)
    rows, row_weights = _axis_weights(points[:, 0], height, offsets, sigma)
    columns, column_weights = _axis_weights(points[:, 1], width, offsets, sigma)
    window = len(offsets) ** 2
    block = max(1, 2_000_000 // window)                     # bounds the memory for very many dots
    for start in range(0, len(points), block):
        part = slice(start, start + block)
        index = rows[part, :, None] * width + columns[part, None, :]
        weight = row_weights[part, :, None] * column_weights[part, None, :]
        np.add.at(out, index.ravel(), weight.ravel())
    return out.reshape(shape).astype(np.float32)


def _axis_weights(centre, length, offsets, sigma):
    """Pixel indices ``(N, K)``, clipped to the axis, and their Gaussian weights, which sum to one a row."""
    index = np.rint(centre).astype(np.int64)[:, None] + offsets
    weight = np.exp(-0.5 * ((index - centre[:, None]) / sigma) ** 2)
    weight[(index < 0) | (index >= length)] = 0.0
    return np.clip(index, 0, length - 1), weight / weight.sum(axis=1, keepdims=True)


def local_maxima(density: np.ndarray, sigma: float, *, smooth: float = 1.0, threshold: float = 0.3) -> np.ndarray:
    """Positions of the cells in a density map: the peaks of its smoothed form.

    Parameters
    ----------
    density : (H, W) float map in cells per pixel
    sigma : the Gaussian, in pixels, that stands for one cell in the map
    smooth : Gaussian smoothing in pixels before the peaks are sought
    threshold : a peak must exceed this part of the height of a single cell's Gaussian

    Returns
    -------
    (N, 2) float64 points (y, x), brightest first. Two peaks are at least 3 px apart (a 5x5 maximum filter)
    and a plateau gives one point, its middle. Xie et al. use "local maxima" without saying how; this is our
    reading.
    """
    return summits(density, threshold / (2 * np.pi * sigma**2), smooth=smooth)


def summits(values: np.ndarray, height: float, *, smooth: float = 1.0) -> np.ndarray:
    """As `local_maxima`, of any (H, W) float map: its peaks that are higher than ``height`` once it is smoothed."""
    import cv2
    from scipy.ndimage import gaussian_filter, label

    smoothed = gaussian_filter(values.astype(np.float32, copy=False), smooth, mode="constant")
    top = (smoothed == cv2.dilate(smoothed, np.ones((5, 5), np.uint8))) & (smoothed > height)
    # Grown by one pixel down and right, equal tops at most 2 px apart touch and are one; at 3 px they do not.
    grown = cv2.dilate(top.view(np.uint8), np.ones((2, 2), np.uint8), anchor=(1, 1))
    plateaus, number = label(grown, np.ones((3, 3)))
    pixels = np.argwhere(top)
    which = plateaus[top] - 1
    size = np.bincount(which, minlength=number)
    peaks = np.stack([np.bincount(which, pixels[:, k], number) for k in (0, 1)], axis=1) / size[:, None]
    brightness = np.zeros(number, np.float32)
    brightness[which] = smoothed[top]
    return peaks[np.argsort(-brightness, kind="stable")]


def reduce_map(density: np.ndarray, max_side: int) -> tuple[np.ndarray, int]:
    """Make a map small enough to draw: ``(map, factor)`` with block *means*, still in cells per pixel.

    The sum of the result times ``factor**2`` is the count; edge blocks are filled with zeros.
    """
    factor = -(-max(density.shape) // max_side)
    if factor <= 1:
        return density, 1
    height, width = (-(-side // factor) * factor for side in density.shape)
    padded = np.zeros((height, width), dtype=density.dtype)
    padded[: density.shape[0], : density.shape[1]] = density
    blocks = padded.reshape(height // factor, factor, width // factor, factor)
    return blocks.mean(axis=(1, 3), dtype=np.float64).astype(density.dtype), factor


def resize_map(density: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resample a density map to another grid and keep its sum: the count does not depend on the grid."""
    import cv2

    shrinks = shape[0] < density.shape[0]
    resized = cv2.resize(density, shape[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    # Cells per pixel change with the pixel's area; what interpolation adds or loses is evened out exactly.
    resized *= density.size / resized.size
    total, now = density.sum(dtype=np.float64), resized.sum(dtype=np.float64)
    # Evening out by a factor is safe only where the sums agree closely; near zero the rest is spread evenly.
    if abs(now - total) < 0.05 * abs(total):
        resized *= np.float32(total / now)
    resized += np.float32((total - resized.sum(dtype=np.float64)) / resized.size)
    return resized
