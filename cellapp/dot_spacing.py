"""How far dots lie apart, and what follows: a width for the target of training, and which suggestions are new."""

import numpy as np

# Of the distance between neighbours: Zhang et al. 2016 (MCNN), "geometry-adaptive kernels". Two neighbours then stay
# two peaks, and their Gaussians hardly overlap.
SHARE = 0.3
NARROWEST, WIDEST = 1.0, 25.0                                # px


def spacing(points: np.ndarray) -> float | None:
    """The median distance in px from a dot to the nearest other one; None below two dots."""
    from scipy.spatial import cKDTree

    points = np.asarray(points, np.float64).reshape(-1, 2)
    if len(points) < 2:
        return None
    return float(np.median(cKDTree(points).query(points, k=2)[0][:, 1]))


def suggested_sigma(points: np.ndarray, diameter: float | None = None) -> float | None:
    """A width in px for the Gaussian that stands for one cell; None below two dots.

    `SHARE` of the median distance between neighbours, but where cells lie far apart no more than a quarter of their
    ``diameter`` (px), for a wider one would cover more than the cell.
    """
    apart = spacing(points)
    if apart is None:
        return None
    wide = SHARE * apart if diameter is None else min(SHARE * apart, diameter / 4)
    return float(np.clip(wide, NARROWEST, WIDEST))


def is_new(found: np.ndarray, there: np.ndarray, distance: float) -> np.ndarray:
    """(N,) bool: which of the ``found`` points lie farther than ``distance`` px from all that are ``there``."""
    from scipy.spatial import cKDTree

    found, there = (np.asarray(p, np.float64).reshape(-1, 2) for p in (found, there))
    if not len(found) or not len(there):
        return np.ones(len(found), bool)
    return cKDTree(there).query(found)[0] > distance
