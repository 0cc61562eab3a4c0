"""What conformal intervals are made of: which error in rising order bounds them, and the spread that errors are divided
by. `cellapp.calibration` makes those of whole images of it, `cellapp.region_calibration` those of regions.
"""

import math

import numpy as np

from cellapp.errors import CalibrationError

LEVEL = 0.95
FOLDS = 10
SURE = 1e-4                                                  # cells²; errors that are all zero still give a spread
BEYOND = 0.1                                                 # of the range of counts, at both ends
_LEAST = 0.05                                                # of the mean square error: no count is sure beyond that


def rank(images: int, level: float = LEVEL, each: int = 1) -> int:
    """Which of the ratios in rising order bounds the interval, from 1; beyond them where the images are too few.

    each : ratios of one image. They depend on each other, so a new image weighs as much as one of the others: at least
        ``level`` of its ratios are expected within the bound (Lee, Barber, Willett 2023, hierarchical conformal
        prediction: each ratio weighs 1 / ((images + 1) · each), the rest lies at infinity).
    """
    return math.ceil(round((images + 1) * each * level, 9))


def fewest(level: float = LEVEL) -> int:
    """Images without which there is no interval at this level: 19 for 0.95, 9 for 0.9."""
    return math.ceil(round(level / (1 - level), 9))


def check_enough(images: int, level: float = LEVEL) -> None:
    """Raise `CalibrationError` where so many images give no interval of this level."""
    if images >= fewest(level):
        return
    lower = max((percent for percent in range(50, 100) if fewest(percent / 100) <= images), default=None)
    raise CalibrationError(
        f"{images} {'image gives' if images == 1 else 'images give'} no interval of {100 * level:.3g} %: that takes at "
        f"least {fewest(level)}. Count more images by hand"
        + (f", or ask for a lower level (up to {lower} %)." if lower else "."))


def fit_spread(counts: np.ndarray, errors: np.ndarray) -> tuple[float, float, float]:
    """The a, b, c ≥ 0 of error² ≈ a + b · count + c · count², by non-negative least squares.

    Divided by the count's own size first, so that a few large counts do not decide alone, and without what a single
    image that went wrong says: errors above twice the 95th percentile are cut down to it. How often the interval holds
    the truth does not depend on this fit, only how wide it is where.
    """
    from scipy.optimize import nnls

    counts, sizes = np.maximum(np.asarray(counts, float), 0), np.abs(np.asarray(errors, float))
    squares = np.square(np.minimum(sizes, 2 * np.percentile(sizes, 95, method="lower")))
    size = max(float(counts.mean()), 1e-9)
    columns = np.stack([np.ones_like(counts), counts / size, np.square(counts / size)], axis=1)
    weight = 1 / (1 + counts / size)
    a, b, c = nnls(columns * weight[:, None], squares * weight)[0]
    return max(float(a), _LEAST * float(squares.mean()), SURE), float(b / size), float(c / size**2)


def crosswise(counts: np.ndarray, errors: np.ndarray, images: np.ndarray, seed: int) -> np.ndarray:
    """(n,) the deviation expected at each count by a fit to other images.

    images : (n,) int, from 0, the image of each count; those of one image are never on both sides
    """
    number = int(images.max()) + 1
    scale = np.empty(len(counts))
    for part in np.array_split(np.random.default_rng(seed).permutation(number), min(FOLDS, number)):
        mine = np.isin(images, part)
        scale[mine] = deviation(fit_spread(counts[~mine], errors[~mine]), counts[mine])
    return scale


def deviation(spread: tuple[float, float, float], counts: np.ndarray | float) -> np.ndarray:
    """The standard deviation, in cells, that `fit_spread` expects at these counts."""
    counts = np.maximum(counts, 0)
    return np.sqrt(spread[0] + spread[1] * counts + spread[2] * counts**2)
