"""Whether an image looks like those that weights were trained on.

`traits` measures an image at the scale of the weights, with its cells bright, in numbers that do not know gain, offset
or bit depth. Their ranges over the training images are kept in the manifest (`summarise`, `Weights.summary`), and what
lies clearly outside is said beside the count (`unlike`). Nothing here changes a number.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import cv2
import numpy as np

from cellapp.calibration_row import Range, Summary
from cellapp.image import Image
from cellapp.polarity import EITHER, Seen, bright, ground
from cellapp.scale import Scale, squares, suggest_diameter, thinned
from cellapp.weights import Weights

EDGE = 1 / 12                                                # of a cell's diameter: blur under which noise has no edges
MOST = 3                                                     # sentences
# Cells that were made smaller are counted as well as before down to about 3.8 px, and far worse at 2.9 px; those made 6
# times as large, as well as before (`python -m benchmarks.bridge`).
TINY = 3.5                                                   # px
ENLARGED, SHRUNK = 5.0, 6.0


@dataclass(frozen=True)
class Traits:
    """What an image looks like.

    sharpness : contrasts of the image that its steepest edges would bridge within one cell's diameter
    grain : standard deviation of the noise, as a share of the contrast
    coverage : share of the pixels in the upper half of the contrast
    ground : where the value that most pixels share lies, from 0 (darkest) to 1 (brightest)
    saturation : share of the pixels at the brightest value
    colour : share of the channels' variation that one colour alone does not explain; 0 where one channel is read
    """

    sharpness: float
    grain: float
    coverage: float
    ground: float
    saturation: float
    colour: float


def traits(plane: np.ndarray, diameter: float, colour: float = 0.0) -> Traits | None:
    """Of a (H, W) float32 image with bright cells of about ``diameter`` px; None if it has no contrast."""
    parts = squares(plane)
    whole = thinned(plane)
    low, high = np.percentile(whole, (1, 99.9))
    if not high - low > 1e-6 * max(abs(low), abs(high)):
        return None
    smooth = [cv2.GaussianBlur(part, (0, 0), max(0.5, EDGE * diameter)) for part in parts]
    slopes = np.hypot(_sample(cv2.Sobel(s, cv2.CV_32F, 1, 0, scale=1 / 8) for s in smooth),
                      _sample(cv2.Sobel(s, cv2.CV_32F, 0, 1, scale=1 / 8) for s in smooth))
    dark, bright = np.percentile(_sample(smooth), (1, 99.9))
    rest = _sample(part - cv2.GaussianBlur(part, (0, 0), 1.0) for part in parts)
    return Traits(sharpness=diameter * float(np.percentile(slopes, 99.9)) / max(float(bright - dark), 1e-12),
                  grain=1.4826 * float(np.median(np.abs(rest))) / float(high - low),
                  coverage=float(np.mean(whole > (low + high) / 2)), ground=ground(whole.ravel()) + 0.5,
                  saturation=float(np.mean(plane == plane.max())), colour=colour)


def _sample(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([thinned(part).ravel() for part in parts])


def colour(image: Image, channel: str = "auto") -> float:
    """Share of the channels' variance that their first principal component leaves, where several channels are read."""
    if image.pixels.ndim == 2 or channel not in ("auto", "mean"):
        return 0.0
    values = thinned(image.pixels).reshape(-1, image.pixels.shape[2]).astype(np.float64)
    parts = np.linalg.eigvalsh(np.cov(values.T))
    return float(np.clip(1 - parts[-1] / parts.sum(), 0, 1)) if parts.sum() > 0 else 0.0


def summarise(seen: Iterable[tuple[np.ndarray, float]], diameter: float) -> Summary | None:
    """The ranges over training images; None where none of them shows anything.

    seen : of each image the (H, W) plane with bright cells, at the scale of the training, and its `colour`
    diameter : of the cells the weights are trained on, px
    """
    found, diameters = [], []
    for plane, colourful in seen:
        own = traits(plane, diameter, colourful)
        if own is not None:
            found.append(asdict(own))
            diameters.append(suggest_diameter(plane) or diameter)
    if not found:
        return None
    ranges = {name: _range([own[name] for own in found]) for name in found[0]}
    return Summary(images=len(found), diameter=_range(diameters), **ranges)


def _range(values: list[float]) -> Range:
    return tuple(float(f"{value:.4g}") for value in np.percentile(values, (1, 50, 99)))


@dataclass(frozen=True)
class Look:
    """An image as weights read it, and what was found out on the way.

    plane : (H, W) float32 at the scale of the weights, with cells of their polarity
    notes : sentences for the user: what was done
    """

    plane: np.ndarray
    seen: Seen
    scale: Scale
    colour: float
    notes: tuple[str, ...] = ()

    def traits(self, row: Weights) -> Traits | None:
        """What it looks like at the scale of ``row``; None where no images are known to compare it with."""
        if row.summary is None and row.calibration is None:
            return None
        plane = bright(self.plane, self.seen.dark != self.seen.turned)
        return traits(plane, row.input.cell_diameter, self.colour)

    def unlike(self, row: Weights) -> tuple[str, ...]:
        """What this image has and no training image of ``row`` had; see `unlike`."""
        return unlike(row, self.traits(row), self.seen, self.scale.diameter)


def unlike(row: Weights, own: Traits | None, seen: Seen, diameter: float | None = None) -> tuple[str, ...]:
    """At most `MOST` sentences for the user about what this image has and no training image of ``row`` had.

    diameter : of the image's cells, px; None where it is not known
    """
    found = []
    if not seen.cells and row.input.polarity != EITHER:
        found.append("It cannot be told whether the cells are brighter or darker than the ground; they were counted as "
                     f"{'dark' if seen.dark else 'bright'} ones. Choose the polarity yourself if that is wrong.")
    if seen.turned and not row.input.negatives:
        here, there = ("dark", "bright") if seen.dark else ("bright", "dark")
        found.append(f"These weights have never seen {here} cells on a {there} ground: compare a few images with a "
                     "count by eye before you trust this number.")
    if diameter is not None and not fits(row, diameter):
        found.append(misfit(row, diameter))
    if row.summary is not None and own is not None:
        found += _outside(row.summary, own)
    return tuple(found[:MOST])


@dataclass(frozen=True)
class Departure:
    """A trait that lies clearly outside its range: what the image is, in words, the trait's name and its unit."""

    what: str
    name: str
    unit: float = 1.0
    sign: str = ""


def _outside(summary: Summary, own: Traits) -> list[str]:
    """A sentence for each departure from the training."""
    found = []
    for d in departures(summary, own):
        low, _, high = (f"{d.unit * v:.2g}" for v in getattr(summary, d.name))
        found.append(f"{d.what} than the images these weights were trained on ({_called[d.name]} "
                     f"{d.unit * getattr(own, d.name):.2g}{d.sign}; training {low} to {high}{d.sign}): trust this "
                     "count less.")
    return found


def departures(summary: Summary, own: Traits) -> list[Departure]:
    """Which traits lie clearly outside their ranges; how clearly is chosen so that images of the same kind have none
    (``python -m benchmarks.likeness``)."""
    found = (
        (own.colour > 2 * summary.colour[2] + 0.003, Departure("More colours", "colour", 100, " %")),
        (own.sharpness < summary.sharpness[0] / 1.25, Departure("Blurrier", "sharpness")),
        (own.sharpness > summary.sharpness[2] * 1.25, Departure("Sharper", "sharpness")),
        (own.grain > 1.5 * summary.grain[2] + 0.01, Departure("Grainier", "grain", 100, " %")),
        (own.saturation > summary.saturation[2] + 0.02, Departure("More overexposed", "saturation", 100, " %")),
        (own.coverage > 1.25 * summary.coverage[2] + 0.05, Departure("Fuller", "coverage", 100, " %")),
        (own.ground > summary.ground[2] + 0.15, Departure("Brighter in its ground", "ground", 100, " %")),
    )
    return [departure for there, departure in found if there]


_called = {"colour": "a second colour's share", "sharpness": "sharpness", "grain": "noise", "coverage": "covered",
           "saturation": "at the brightest value", "ground": "of the contrast"}


def fits(row: Weights, diameter: float) -> bool:
    """Whether cells of ``diameter`` px can be brought to the scale of these weights without losing what shows them.

    Large cells may be shrunk `SHRUNK` times and small ones enlarged `ENLARGED` times, but not if they are `TINY`.
    """
    low, high = reach(row)
    return low <= diameter <= high


def reach(row: Weights) -> tuple[float, float]:
    """Smallest and largest cells, px, that `fits` these weights."""
    trained = row.input.cell_diameter
    return max(TINY, trained / ENLARGED), trained * SHRUNK


def misfit(row: Weights, diameter: float) -> str:
    """The sentence for cells that do not fit."""
    (low, high), trained = reach(row), row.input.cell_diameter
    word, advice = ("small", " or a higher magnification") if diameter < trained else ("large", "")
    return (f"Cells of {diameter:.3g} px are too {word} for these weights, which were trained on {trained:.3g} px and "
            f"can be used from {low:.2g} to {high:.2g} px: choose other weights{advice}.")
