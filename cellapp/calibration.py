"""Intervals for counts from the errors on images whose cells were counted: split conformal prediction.

Each error is divided by what is expected of an image like this one (the *spread*: the network's own standard deviation
where it states one, else a deviation that grows with the count), and the interval reaches as far as the
⌈(n + 1) · level⌉-th smallest of these n ratios (Vovk, Gammerman, Shafer 2005; Papadopoulos et al. 2002 for the
division). Of images like the n, at least ``level`` of the true counts lie inside, whatever the errors' distribution.
That is an average over the images and over the draw of the n: with one such set the share varies as
Beta(k, n + 1 - k), k = ⌈(n + 1) · level⌉. Of other images nothing is promised, so `outside` says which those are.

The deviation that grows with the count is fitted to errors as well. An error is therefore divided by a fit that has not
seen it (`conformal.crosswise`); otherwise the ratios would be too small.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellapp.calibration_row import Calibration, Summary
from cellapp.conformal import BEYOND, LEVEL, SURE, check_enough, crosswise, deviation, fit_spread, rank
from cellapp.image import Image
from cellapp.likeness import Look, Traits, departures, fits, summarise
from cellapp.polarity import bright
from cellapp.prediction import Interval
from cellapp.region_calibration import Rectangles, calibrate_regions, compared, stacked
from cellapp.weights import Weights

if TYPE_CHECKING:
    from cellapp.methods import Counter, Options

    Case = tuple[Image | np.ndarray, float | np.ndarray, float | None, Options]

SPLIT = "split"


@dataclass(frozen=True)
class Measured:
    """What weights say of images whose cells were counted.

    counts, truth : (n,) predicted and true cells; sds : (n,) the network's own standard deviations, None without
    summary : what the images look like; turned : whether some were read as negatives
    rectangles : in those images whose dots are known; None where there are none
    """

    counts: np.ndarray
    truth: np.ndarray
    sds: np.ndarray | None
    summary: Summary | None
    turned: bool
    rectangles: Rectangles | None = None


def measure(counter: "Counter", cases: "Iterable[Case]") -> Measured:
    """Count images of known counts, and those with dots in rectangles of theirs, too.

    A case is (image, true count or its (N, 2) dots, how colourful it is, how it is read); the third is None where the
    image still has its colours.
    """
    counts, truth, sds, turned, rectangles = [], [], [], [], []

    def seen():
        for image, true, colour, options in cases:
            image = Image.from_array(image) if isinstance(image, np.ndarray) else image
            prediction, view = counter.examine(image, options)
            counts.append(prediction.count)
            dots = true if isinstance(true, np.ndarray) else None
            truth.append(true if dots is None else len(dots))
            rectangles.append(None if dots is None else compared(prediction, dots, len(counts)))
            sds.append(prediction.sd)
            turned.append(view.seen.turned)
            yield bright(view.plane, view.seen.dark != view.seen.turned), view.colour if colour is None else colour

    summary = summarise(seen(), counter.weights.input.cell_diameter)
    stated = bool(sds) and None not in sds
    return Measured(np.array(counts), np.array(truth, float), np.array(sds, float) if stated else None, summary,
                    any(turned), stacked(rectangles))


def calibrate(measured: Measured, data: str, level: float = LEVEL, seed: int = 0) -> Calibration:
    """What turns a count of these weights into an interval; raises `CalibrationError` for too few images.

    data : what the images were, for the user; seed : of the parts in which the spread is fitted
    """
    n = len(measured.counts)
    check_enough(n, level)
    k = rank(n, level)
    errors = measured.counts - measured.truth
    if measured.sds is not None:
        spread, scale = None, np.maximum(measured.sds, np.sqrt(SURE))
    else:
        spread, scale = fit_spread(measured.counts, errors), crosswise(measured.counts, errors, np.arange(n), seed)
    quantile = float(np.sort(np.abs(errors) / scale)[k - 1])
    constant = float(np.sort(np.abs(errors))[k - 1])
    low, high = float(measured.truth.min()), float(measured.truth.max())
    return Calibration(level=level, images=n, data=data, how=SPLIT, quantile=quantile, constant=constant,
                       spread=spread, counts=(low, high), summary=measured.summary, turned=measured.turned,
                       regions=calibrate_regions(measured.rectangles, level, seed))


def interval(known: Calibration, count: float, sd: float | None) -> Interval:
    """The interval of a count, cut off at 0; ``sd`` is the network's own deviation, needed where it was calibrated."""
    if known.spread is None:
        if sd is None:
            raise ValueError("these weights are calibrated by the network's own deviation, which is missing")
        reach = known.quantile * max(sd, math.sqrt(SURE))
    else:
        reach = known.quantile * float(deviation(known.spread, count))
    return Interval(max(0.0, count - reach), max(0.0, count + reach), known.level, "conformal")


def outside(row: Weights, count: float, view: Look, own: Traits | None, stride: int = 1) -> str:
    """Why the calibration of ``row`` says nothing of this image, as a sentence for the user; "" where it holds.

    own : traits of the image, `Look.traits`; stride : of `Options`
    """
    known, reasons = row.calibration, []
    low, high = known.counts
    margin = BEYOND * (high - low)
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
