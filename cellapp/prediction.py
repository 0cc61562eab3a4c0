"""What a method says about one image. The count is always derived, never stated by the caller."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A range for the count; ``level`` is its nominal coverage, ``source`` says where it comes from."""

    low: float
    high: float
    level: float
    source: str                                             # "aleatoric" | "ensemble" | "conformal"


@dataclass(frozen=True)
class Prediction:
    """One method's answer for one image; build it with `from_density`.

    Attributes
    ----------
    count : cells in the image; for a density map the sum of the map, so rarely a whole number
    shape : (H, W) of the image as it was read
    density : (H, W) float32, cells per pixel, sums to ``count``; may dip below zero where the network does
    points : (N, 2) float64, (y, x), detected cells; their number is a second opinion, not the count
    interval : None where the weights carry no calibration
    method, weights : names in METHODS and in the manifest
    cell_diameter : px of the image, given by the user or estimated; None if unknown
    seconds : wall-clock time of the prediction
    notes : sentences for the user, such as which channel was read
    doubts : sentences for the user: reasons not to trust this count
    """

    count: float
    shape: tuple[int, int]
    density: np.ndarray | None = None
    points: np.ndarray | None = None
    interval: Interval | None = None
    method: str = ""
    weights: str = ""
    cell_diameter: float | None = None
    seconds: float = 0.0
    device: str = "cpu"
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @classmethod
    def from_density(cls, density: np.ndarray, points: np.ndarray | None = None, **about) -> "Prediction":
        """Derive the count from a density map by summing it in double precision."""
        count = float(density.sum(dtype=np.float64))
        return cls(count=count, shape=density.shape, density=density, points=points, **about)

    @property
    def rounded(self) -> int:
        """The count as a whole number of cells, never below zero."""
        return max(0, round(self.count))
