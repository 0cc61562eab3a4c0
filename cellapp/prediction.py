"""What a method says about one image. The count is always derived, never stated by the caller."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from cellapp.calibration_row import RegionErrors


@dataclass(frozen=True)
class Interval:
    """A range for the count; ``level`` is its nominal coverage, ``source`` says where it comes from."""

    low: float
    high: float
    level: float
    source: str                                             # "aleatoric" | "ensemble" | "conformal"


@dataclass(frozen=True)
class View:
    """How a further map of a prediction is shown: its name, unit, Plotly colour scale and what it means.

    ``top`` is the upper end of the colours; None is the largest value of the map.
    """

    title: str
    unit: str
    colours: str
    top: float | None
    meaning: str


VIEWS: dict[str, View] = {
    "redundant": View("Redundant count map", "cells per window", "Viridis", None,
                      "Each pixel is the number of cells in the window of 32×32 px round it, so every cell is counted "
                      "1,024 times; the map reaches 16 px beyond the image."),
    "foreground": View("Foreground", "probability", "Cividis", 1.0,
                       "How sure the network is that a pixel belongs to a cell."),
    "foreground_sd": View("Uncertainty of the mask", "standard deviation", "Magma", None,
                          "How far the network expects its mask to be off, pixel by pixel."),
    "saliency": View("Saliency of the count", "cells per unit of grey", "Inferno", None,
                     "How much the count would change if a pixel changed: where the network looks."),
}


@dataclass(frozen=True)
class Prediction:
    """One method's answer for one image; build it with `from_density` or `from_labels`.

    Attributes
    ----------
    count : cells in the image; for a density map the sum of the map, so rarely a whole number
    shape : (H, W) of the image as it was read
    density : (H, W) float32, cells per pixel, sums to ``count``; may dip below zero where the network does
    points : (N, 2) float64, (y, x), detected cells; of a density map their number is a second opinion, of labels it
        is the count; None where the method does not say where single cells are
    labels : (H, W) int32, 0 is ground and 1 … N are the cells in the order of ``points``; None without outlines
    views : further maps by the names of `VIEWS`, float32, on the grid of the image; "redundant" is larger by the same
        rim on every side
    interval : None where neither network nor calibration gives one
    outside : why the calibration does not hold for this image, as a sentence for the user; "" where it does
    region_errors : how far counts of parts of an image like this one are off; None where that is not known
    sd : standard deviation of the count, in cells, where the network states one; not calibrated
    method, weights : names in METHODS and in the manifest
    cell_diameter : px of the image, given by the user or estimated; None if unknown
    polarity : "bright" or "dark" cells, given by the user or found in the image; "" where it could not be told
    seconds : wall-clock time of the prediction
    notes : sentences for the user, such as which channel was read
    doubts : sentences for the user: reasons not to trust this count
    """

    count: float
    shape: tuple[int, int]
    density: np.ndarray | None = None
    points: np.ndarray | None = None
    labels: np.ndarray | None = None
    views: Mapping[str, np.ndarray] = field(default_factory=lambda: MappingProxyType({}))
    interval: Interval | None = None
    outside: str = ""
    region_errors: RegionErrors | None = None
    sd: float | None = None
    method: str = ""
    weights: str = ""
    cell_diameter: float | None = None
    polarity: str = ""
    seconds: float = 0.0
    device: str = "cpu"
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @classmethod
    def from_density(cls, density: np.ndarray, points: np.ndarray | None = None, **about) -> "Prediction":
        """Derive the count from a density map by summing it in double precision."""
        count = float(density.sum(dtype=np.float64))
        return cls(count=count, shape=density.shape, density=density, points=points, **about)

    @classmethod
    def from_labels(cls, labels: np.ndarray, points: np.ndarray, **about) -> "Prediction":
        """Derive the count from instance labels 1 … N and their (N, 2) centres: it is N."""
        if labels.max(initial=0) != len(points):
            raise ValueError(f"labels up to {labels.max(initial=0)} do not fit {len(points)} centres")
        return cls(count=float(len(points)), shape=labels.shape, labels=labels, points=points, **about)

    @property
    def rounded(self) -> int:
        """The count as a whole number of cells, never below zero."""
        return max(0, round(self.count))

    def arrays(self) -> dict[str, np.ndarray]:
        """All maps by name (density, labels, those of ``views``): what is large and can be kept elsewhere."""
        own = {name: getattr(self, name) for name in ("density", "labels") if getattr(self, name) is not None}
        return own | dict(self.views)

    def with_arrays(self, arrays: Mapping[str, np.ndarray]) -> "Prediction":
        """The same prediction with these maps in the place of its own; none at all strips them off."""
        return replace(self, density=arrays.get("density"), labels=arrays.get("labels"),
                       views={name: arrays[name] for name in VIEWS if name in arrays})
