"""CV+: intervals where images of known counts are too few to keep some back for a calibration.

Barber, Candès, Ramdas, Tibshirani 2021, "Predictive inference with the jackknife+", section 3. The images are parted
into folds, a network is trained without each fold, and the error of an image is that of the network which has not seen
it. The interval of another image is read from what all these networks say of it, each give or take the errors of its
fold. Errors are divided by the deviation that is expected of an image, as in `cellapp.calibration`, and the expectation
comes from the same network, so that nothing of a fold is in what its errors are divided by.

Of images like the n, at least 1 - 2 (1 - level) - √(2 / n) of the true counts lie inside, whatever the network
(theorem 4); as a rule it is about ``level``.
"""

from collections.abc import Hashable, Sequence

import numpy as np

from cellapp.conformal import check_enough, rank

FOLDS = 5


def folds(groups: Sequence[Hashable], seed: int, k: int = FOLDS) -> list[np.ndarray]:
    """The numbers of the images in ``k`` parts of about the same size, drawn with this seed.

    groups : of each image; those of one group lie in one part. Fewer groups than ``k`` give as many parts.
    """
    rng = np.random.default_rng(seed)
    names = list(dict.fromkeys(groups))
    members = [[i for i, group in enumerate(groups) if group == names[one]] for one in rng.permutation(len(names))]
    parts: list[list[int]] = [[] for _ in range(min(k, len(names)))]
    for some in members:
        min(parts, key=len).extend(some)
    return [np.array(part) for part in parts]


def ends(ratios: np.ndarray, counts: np.ndarray, spreads: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """The lower and upper ends of the intervals of m new images, (m,) cells, cut off at 0.

    Parameters
    ----------
    ratios : (n,) the size of each image's error over its spread, by the network without its fold
    counts, spreads : (n, m) what the network without the fold of image i says of each new image, cells

    Raises
    ------
    CalibrationError where n is too small for this level.
    """
    n = len(ratios)
    check_enough(n, level)
    k = rank(n, level)
    reach = ratios[:, None] * spreads
    # The paper's ⌊α (n + 1)⌋-th smallest is the k-th from above.
    low, high = np.sort(counts - reach, axis=0)[n - k], np.sort(counts + reach, axis=0)[k - 1]
    return np.maximum(low, 0), np.maximum(high, 0)
