"""How often the intervals of regions hold the truth, in images whose dots are known.

Rectangles are drawn as `cellapp.region_calibration` draws them, and so are polygons with 24 corners within such a
rectangle, which no calibration has seen. Regions of one image depend on each other, so the interval of a share is
Wilson's with as many draws as would vary as the images do (n over the design effect of the clusters; Kish 1965); where
all or no regions are inside, nothing is known of that effect, and it is taken with the number of images.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cellapp.prediction import Prediction
from cellapp.region_calibration import SIZES, rectangle
from cellapp.region_geometry import inside
from cellapp.regions import Region, measure

BINS = (0.02, 0.1, 0.4, 0.8, 1.0)                            # shares of the image
_CORNERS = 24
_SURE = 1.959964                                             # standard deviations of a Gaussian that hold 95 %


@dataclass(frozen=True)
class Covered:
    """Of regions of one kind and size: how many there are, which of them have an interval, and what these hold.

    images : with at least one interval; share, low, high : of the true counts inside, and its 95 % interval
    width : mean, in cells; like these None where no region has an interval
    """

    kind: str
    size: str
    regions: int
    with_interval: int
    images: int
    share: float | None
    low: float | None
    high: float | None
    width: float | None

    def sentence(self) -> str:
        """For a reader."""
        if not self.with_interval:
            return f"{self.kind} of {self.size}: {self.regions}, none with an interval"
        return (f"{self.kind} of {self.size}: {self.share:.1%} inside ({self.low:.1%} to {self.high:.1%}), mean width "
                f"{self.width:.1f}; {self.with_interval} of {self.regions} have an interval, in {self.images} images")


class RegionCoverage:
    """Collects image after image.

    each : rectangles, and as many polygons, of each size in an image
    """

    def __init__(self, each: int, seed: int = 0):
        self.each, self.seed = each, seed
        self._images = 0
        self._lines: list[tuple[str, int, float, float, float]] = []  # kind, image, share, inside or nan, width

    def add(self, prediction: Prediction, dots: np.ndarray) -> None:
        """Draw regions in one image and compare them with its (N, 2) dots."""
        rng = np.random.default_rng([self.seed, self._images, 1])    # other draws than those of a calibration
        pixels = prediction.shape[0] * prediction.shape[1]
        for shares in SIZES:
            for _ in range(self.each):
                for kind, draw in (("rectangles", rectangle), ("polygons", polygon)):
                    region = draw(prediction.shape, shares, rng)
                    found = measure(prediction, region)
                    held = width = np.nan
                    if found.low is not None:
                        held = found.low <= inside(dots, region.outline).sum() <= found.high
                        width = found.high - found.low
                    self._lines.append((kind, self._images, found.area_px / pixels, float(held), width))
        self._images += 1

    def figures(self) -> list[Covered]:
        """Rectangles, then polygons; of all sizes, then of each that was drawn."""
        kinds = np.array([line[0] for line in self._lines])
        table = np.array([line[1:] for line in self._lines]).reshape(-1, 4)
        spans = [("2 to 100 %", 0.0, 1.0), *((f"{100 * a:.0f} to {100 * b:.0f} %", a, b)
                                              for a, b in pairwise(BINS))]
        parts = [(kind, size, table[(kinds == kind) & (table[:, 1] > low) & (table[:, 1] <= high)])
                 for kind in ("rectangles", "polygons") for size, low, high in spans]
        return [_covered(*part) for part in parts if len(part[2])]


def polygon(shape: tuple[int, int], shares: tuple[float, float], rng: np.random.Generator) -> Region:
    """A round, uneven outline inside an image of (H, W) that covers one of these shares of it."""
    import shapely

    while True:
        around = rectangle(shape, (shares[0], min(1.0, 1.6 * shares[1])), rng).outline
        middle, half = (around.min(axis=0) + around.max(axis=0)) / 2, np.ptp(around, axis=0) / 2
        angles = np.sort(rng.uniform(0, 2 * np.pi, _CORNERS))
        far = rng.uniform(0.75, 1, _CORNERS)[:, None]
        outline = middle + half * far * np.stack([np.sin(angles), np.cos(angles)], axis=1)
        drawn = shapely.Polygon(outline)
        if drawn.is_valid and shares[0] <= drawn.area / (shape[0] * shape[1]) <= shares[1]:
            return Region("", "polygon", outline)


def _covered(kind: str, size: str, lines: np.ndarray) -> Covered:
    image, _, held, width = lines[np.isfinite(lines[:, 2])].T
    names, which = np.unique(image, return_inverse=True)
    if len(held) == 0:
        return Covered(kind, size, len(lines), 0, 0, None, None, None, None)
    return Covered(kind, size, len(lines), len(held), len(names), *clustered(held, which), float(width.mean()))


def clustered(held: np.ndarray, image: np.ndarray) -> tuple[float, float, float]:
    """The mean of (n,) zeros and ones that come in clusters, and its 95 % interval.

    image : (n,) int, the cluster of each, from 0
    """
    n, share, images = len(held), float(held.mean()), int(image.max()) + 1
    draws = float(images)
    if 0 < share < 1 and images > 1:
        apart = np.bincount(image, held - share)
        variance = images / (images - 1) * float(np.square(apart).sum()) / n**2
        draws = min(float(n), share * (1 - share) / variance) if variance else float(n)
    middle = (share + _SURE**2 / (2 * draws)) / (1 + _SURE**2 / draws)
    half = _SURE / (1 + _SURE**2 / draws) * np.sqrt(share * (1 - share) / draws + (_SURE / (2 * draws)) ** 2)
    return share, max(0.0, middle - half), min(1.0, middle + half)
