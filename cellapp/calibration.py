"""Intervals for counts from the errors on images whose cells were counted: split conformal prediction.

Each error is divided by what is expected of an image like this one (the *spread*: the network's own standard deviation
where it states one, else a deviation that grows with the count), and the interval reaches as far as the
⌈(n + 1) · level⌉-th smallest of these n ratios (Vovk, Gammerman, Shafer 2005; Papadopoulos et al. 2002 for the
division). Of images like the n, at least ``level`` of the true counts lie inside, whatever the errors' distribution.
That is an average over the images and over the draw of the n: with one such set the share varies as
Beta(k, n + 1 - k), k = ⌈(n + 1) · level⌉. Of other images nothing is promised, so `outside` says which those are.

The deviation that grows with the count is fitted to errors as well. An error is therefore divided by a fit that has not
seen it (``FOLDS`` parts in turn); otherwise the ratios would be too small.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellapp.errors import CalibrationError
from cellapp.image import Image
from cellapp.likeness import Look, Traits, departures, fits, summarise
from cellapp.polarity import bright
from cellapp.prediction import Interval
from cellapp.weights import Calibration, Summary, Weights

if TYPE_CHECKING:
    from cellapp.methods import Counter, Options

LEVEL = 0.95
FOLDS = 10
SPLIT = "split"
_LEAST = 0.05                                                # of the mean square error: no count is sure beyond that
_SURE = 1e-4                                                 # cells²; errors that are all zero still give a spread
_BEYOND = 0.1                                                # of the range of counts, at both ends


def rank(images: int, level: float = LEVEL) -> int:
    """Which of the ratios in rising order bounds the interval, from 1; more than ``images`` where they are too few."""
    return math.ceil(round((images + 1) * level, 9))


def fewest(level: float = LEVEL) -> int:
    """Images without which there is no interval at this level: 19 for 0.95, 9 for 0.9."""
    return math.ceil(round(level / (1 - level), 9))


def check_enough(images: int, level: float = LEVEL) -> None:
    """Raise `CalibrationError` where so many images give no interval of this level."""
    if images >= fewest(level):
        return
    lower = max((percent for percent in range(50, 100) if fewest(percent / 100) <= images), default=None)
    raise CalibrationError(
        f"{images} {'image gives' if images == 1 else 'images give'} no interval of {_percent(level)}: that takes at "
        f"least {fewest(level)}. Count more images by hand"
        + (f", or ask for a lower level (up to {lower} %)." if lower else "."))


@dataclass(frozen=True)
class Measured:
    """What weights say of images whose cells were counted.

    counts, truth : (n,) predicted and true cells; sds : (n,) the network's own standard deviations, None without
    summary : what the images look like; turned : whether some were read as negatives
    """

    counts: np.ndarray
    truth: np.ndarray
    sds: np.ndarray | None
    summary: Summary | None
    turned: bool


def measure(counter: "Counter", cases: "Iterable[tuple[Image | np.ndarray, float, float | None, Options]]") -> Measured:
    """Count images of known counts. A case is (image, true count, how colourful it is, how it is read); the third is
    None where the image still has its colours."""
    counts, truth, sds, turned = [], [], [], []

    def seen():
        for image, true, colour, options in cases:
            image = Image.from_array(image) if isinstance(image, np.ndarray) else image
            prediction, view = counter.examine(image, options)
            counts.append(prediction.count)
            truth.append(true)
            sds.append(prediction.sd)
            turned.append(view.seen.turned)
            yield bright(view.plane, view.seen.dark != view.seen.turned), view.colour if colour is None else colour

    summary = summarise(seen(), counter.weights.input.cell_diameter)
    stated = bool(sds) and None not in sds
    return Measured(np.array(counts), np.array(truth, float), np.array(sds, float) if stated else None, summary,
                    any(turned))


def calibrate(measured: Measured, data: str, level: float = LEVEL, seed: int = 0) -> Calibration:
    """What turns a count of these weights into an interval; raises `CalibrationError` for too few images.

    data : what the images were, for the user; seed : of the parts in which the spread is fitted
    """
    check_enough(len(measured.counts), level)
    k = rank(len(measured.counts), level)
    errors = measured.counts - measured.truth
    if measured.sds is not None:
        spread, scale = None, np.maximum(measured.sds, np.sqrt(_SURE))
    else:
        spread, scale = fit_spread(measured.counts, errors), _others(measured.counts, errors, seed)
    quantile = float(np.sort(np.abs(errors) / scale)[k - 1])
    constant = float(np.sort(np.abs(errors))[k - 1])
    low, high = float(measured.truth.min()), float(measured.truth.max())
    return Calibration(level=level, images=len(errors), data=data, how=SPLIT, quantile=quantile, constant=constant,
                       spread=spread, counts=(low, high), summary=measured.summary, turned=measured.turned)


def _percent(level: float) -> str:
    return f"{100 * level:.3g} %"


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
    return max(float(a), _LEAST * float(squares.mean()), _SURE), float(b / size), float(c / size**2)


def _others(counts: np.ndarray, errors: np.ndarray, seed: int) -> np.ndarray:
    """(n,) the deviation expected of each image by a fit to the other parts."""
    order = np.random.default_rng(seed).permutation(len(counts))
    scale = np.empty(len(counts))
    for part in np.array_split(order, min(FOLDS, len(counts))):
        rest = np.setdiff1d(order, part)
        scale[part] = deviation(fit_spread(counts[rest], errors[rest]), counts[part])
    return scale


def deviation(spread: tuple[float, float, float], counts: np.ndarray | float) -> np.ndarray:
    """The standard deviation, in cells, that `fit_spread` expects at these counts."""
    counts = np.maximum(counts, 0)
    return np.sqrt(spread[0] + spread[1] * counts + spread[2] * counts**2)


def interval(known: Calibration, count: float, sd: float | None) -> Interval:
    """The interval of a count, cut off at 0; ``sd`` is the network's own deviation, needed where it was calibrated."""
    if known.spread is None:
        if sd is None:
            raise ValueError("these weights are calibrated by the network's own deviation, which is missing")
        reach = known.quantile * max(sd, math.sqrt(_SURE))
    else:
        reach = known.quantile * float(deviation(known.spread, count))
    return Interval(max(0.0, count - reach), max(0.0, count + reach), known.level, "conformal")


def outside(row: Weights, count: float, view: Look, own: Traits | None, stride: int = 1) -> str:
    """Why the calibration of ``row`` says nothing of this image, as a sentence for the user; "" where it holds.

    own : traits of the image, `Look.traits`; stride : of `Options`
    """
    known, reasons = row.calibration, []
    low, high = known.counts
    margin = _BEYOND * (high - low)
    if not low - margin <= count <= high + margin:
        reasons.append(f"{'fewer' if count < low else 'more'} cells: {max(0, round(count)):,}, and there {low:.0f} to "
                       f"{high:.0f}")
    if view.seen.turned and not (known.turned or row.input.negatives):
        reasons.append("cells of the other polarity")
    if view.scale.diameter is not None and not fits(row, view.scale.diameter):
        reasons.append("cells of a size that these weights cannot count")
    if known.summary is not None and own is not None:
        reasons += [departure.what[0].lower() + departure.what[1:] for departure in departures(known.summary, own)]
    if stride != 1:
        reasons.append("fewer windows are counted")
    if not reasons:
        return ""
    return (f"Outside calibration, so without an interval: unlike the {known.images} images by which the errors of "
            f"these weights are known ({'; '.join(reasons)}).")
