"""How far the counts of regions are off, from rectangles drawn at random in images whose dots are known.

In every image as many rectangles are drawn in each class of sizes, wherever they fall. What was counted in them, as
`cellapp.regions` counts a region, is held against the dots in them. Each class has a quantile of its own: a part of 3 %
of an image fails by the cells on its border, one of half an image by what is wrong with the image as a whole.

The rectangles of an image are no independent draws: `conformal.rank` takes that into account, and the spread by which
an error is divided was fitted without its image. Of the regions that are drawn like that in an image like those, at
least ``level`` hold the truth in their interval: of each size, on the average over images. Rectangles were measured;
other outlines of the same area are taken for alike (`python -m cellapp evaluate --regions` says how well that holds).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cellapp.calibration_row import RegionErrors, SizeClass
from cellapp.conformal import LEVEL, crosswise, fewest, fit_spread, rank
from cellapp.prediction import Prediction
from cellapp.region_geometry import inside
from cellapp.regions import Region, box, measure

SIZES = ((0.02, 0.1), (0.1, 0.4), (0.4, 1.0))                # shares of the image
EACH = 8                                                     # rectangles of each size in an image
_NARROW = 0.05                                               # of the image's side; no rectangle is narrower


@dataclass(frozen=True)
class Rectangles:
    """counts, truth : (images, sizes, each) float64, predicted and true cells in rectangles"""

    counts: np.ndarray
    truth: np.ndarray


def rectangle(shape: tuple[int, int], shares: tuple[float, float], rng: np.random.Generator) -> Region:
    """One inside an image of (H, W): its share of the area log-uniform, its form between broad and tall, its place
    uniform."""
    share = np.exp(rng.uniform(*np.log(shares)))
    most = min(1.0, np.log(_NARROW) / np.log(share)) if share < 1 else 1.0
    lean = rng.uniform(1 - most, most)
    sides = np.array(shape) * [share**lean, share ** (1 - lean)]
    top, left = rng.uniform(0, 1, 2) * (np.array(shape) - sides) - 0.5
    return box("", top, left, top + sides[0], left + sides[1])


def compared(prediction: Prediction, dots: np.ndarray, seed: int) -> np.ndarray | None:
    """(2, sizes, each) predicted and true cells in rectangles of an image; None from methods of one number.

    dots : (N, 2) float (y, x)
    """
    rng = np.random.default_rng(seed)
    regions = [rectangle(prediction.shape, shares, rng) for shares in SIZES for _ in range(EACH)]
    counts = [measure(prediction, region).count for region in regions]
    if None in counts:
        return None
    truth = [inside(dots, region.outline).sum() for region in regions]
    return np.array([counts, truth], float).reshape(2, len(SIZES), EACH)


def stacked(images: Sequence[np.ndarray | None]) -> Rectangles | None:
    """Those of several images, as `compared` gives them, without the ones that have none."""
    there = [image for image in images if image is not None]
    return Rectangles(*np.stack(there, axis=1)) if there else None


def calibrate_regions(rectangles: Rectangles | None, level: float = LEVEL, seed: int = 0) -> RegionErrors | None:
    """What turns the count of a region into an interval; None for too few images.

    seed : of the parts in which the spread is fitted
    """
    if rectangles is None or len(rectangles.counts) < fewest(level):
        return None
    images, _, each = rectangles.counts.shape
    errors = rectangles.counts - rectangles.truth
    image = np.broadcast_to(np.arange(images)[:, None, None], errors.shape)
    scale = crosswise(rectangles.counts.ravel(), errors.ravel(), image.ravel(), seed).reshape(errors.shape)
    ratios = np.sort((np.abs(errors) / scale).transpose(1, 0, 2).reshape(len(SIZES), -1), axis=1)
    bounds = ratios[:, rank(images, level, each) - 1]
    sizes = [SizeClass(shares=shares, quantile=float(bound), counts=(float(truth.min()), float(truth.max())))
             for shares, bound, truth in zip(SIZES, bounds, rectangles.truth.transpose(1, 0, 2), strict=True)]
    return RegionErrors(level=level, images=images, sizes=tuple(sizes),
                        spread=fit_spread(rectangles.counts.ravel(), errors.ravel()))
