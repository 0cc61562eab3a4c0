"""Do predicted counts agree with counts by hand? One line for each image, figures over all of them, and how sure
these are.

The intervals of the figures are bootstrap intervals over images (Efron and Tibshirani 1993, chapter 14: BCa); the
limits of agreement are those of Bland and Altman (1999), whose own intervals come from Student's t.
"""

import csv
import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cellapp.dot_tables import spreadsheet_text
from cellapp.metrics import GAME_LEVELS, Detection, game, match_points, parts_of_map, parts_of_points
from cellapp.prediction import Prediction

FEWEST = 5                                                   # images below which nothing is said about the spread
TOO_FEW = "too few images"
LEVEL = 0.95
RESAMPLES = 2000
DISTANCE = 5.0                                               # px, where the cells' diameter is not known


@dataclass(frozen=True)
class Line:
    """One image: its count by hand and the predicted one.

    Attributes
    ----------
    manual, predicted : cells; ``predicted`` is None where the image could not be compared, and ``message`` says why
    low, high : the prediction's own interval
    game : GAME(1), (2), (3) in cells; None without dots
    found : detection within ``distance`` px; None without dots or without points
    swapped : detection would be far better if x and y of the dots were exchanged
    """

    image: str
    manual: float
    predicted: float | None = None
    low: float | None = None
    high: float | None = None
    game: tuple[float, ...] | None = None
    found: Detection | None = None
    distance: float | None = None
    swapped: bool = False
    message: str = ""

    @property
    def error(self) -> float | None:
        """Predicted minus manual, cells."""
        return None if self.predicted is None else self.predicted - self.manual

    @property
    def relative(self) -> float | None:
        """The error's size in relation to the count by hand; None where no cell was counted by hand."""
        return abs(self.error) / self.manual if self.predicted is not None and self.manual > 0 else None


def compare(image: str, prediction: Prediction, manual: np.ndarray | float, distance: float | None = None) -> Line:
    """Compare one prediction with the image's (N, 2) dots or with a count alone.

    distance : px between a detected cell and its dot; None takes half of the cells' diameter
    """
    low, high = (prediction.interval.low, prediction.interval.high) if prediction.interval else (None, None)
    if np.ndim(manual) == 0:
        return Line(image, float(manual), prediction.count, low, high)
    distance = distance or (prediction.cell_diameter / 2 if prediction.cell_diameter else DISTANCE)
    found, swapped = None, False
    if prediction.points is not None:
        found = match_points(prediction.points, manual, distance)
        other = match_points(prediction.points, manual[:, ::-1], distance)
        swapped = other.hits > max(4, 2 * found.hits) and other.f1 > 0.5
    return Line(image, float(len(manual)), prediction.count, low, high, _game(prediction, manual), found, distance,
                swapped)


def _game(prediction: Prediction, dots: np.ndarray) -> tuple[float, ...] | None:
    true = parts_of_points(dots, prediction.shape)
    if prediction.density is not None:
        return game(parts_of_map(prediction.density), true)
    return None if prediction.points is None else game(parts_of_points(prediction.points, prediction.shape), true)


class Columns:
    """The compared lines as arrays of (n,) float64; what does not apply to an image is nan."""

    def __init__(self, lines: Sequence[Line]):
        lines = [line for line in lines if line.predicted is not None]
        none = Detection(0, 0, 0)
        # Which images a figure is about: all, those with cells, with dots, and with dots and detected cells.
        self.about = {"all": np.ones(len(lines), bool), "cells": np.array([line.manual > 0 for line in lines], bool),
                      "dots": np.array([line.game is not None for line in lines], bool),
                      "found": np.array([line.found is not None for line in lines], bool)}
        self.manual = np.array([line.manual for line in lines])
        self.predicted = np.array([line.predicted for line in lines])
        self.error = self.predicted - self.manual
        self.relative = np.array([np.nan if line.relative is None else line.relative for line in lines])
        unknown = (np.nan,) * len(GAME_LEVELS)
        self.game = np.array([line.game or unknown for line in lines]).reshape(-1, len(GAME_LEVELS))
        self.hits, self.points, self.dots = (np.array([getattr(line.found or none, name) for line in lines], float)
                                             for name in ("hits", "predicted", "true"))


# What a figure is computed from: the columns and (..., n) indices of images; it gives (...) values.
Statistic = Callable[[Columns, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Kind:
    """A row of `KINDS`: how a figure is named, in what unit it is, what it means, how it is computed and from which
    images (`Columns.about`)."""

    name: str
    title: str
    unit: str
    meaning: str
    statistic: Statistic
    images: str = "all"


def _r2(c: Columns, k: np.ndarray) -> np.ndarray:
    manual = c.manual[k]
    spread = ((manual - manual.mean(-1, keepdims=True)) ** 2).sum(-1)
    return 1 - (c.error[k] ** 2).sum(-1) / np.where(spread > 0, spread, np.nan)


def _game_mean(level: int) -> Statistic:
    return lambda c, k: c.game[k][..., level - 1].mean(-1)


KINDS = {kind.name: kind for kind in (
    Kind("mae", "MAE", "cells", "Mean absolute error: how far a count is off, on average.",
         lambda c, k: np.abs(c.error[k]).mean(-1)),
    Kind("rmse", "RMSE", "cells", "Root mean square error: like the MAE, but large errors weigh more.",
         lambda c, k: np.sqrt((c.error[k] ** 2).mean(-1))),
    Kind("mre", "Mean relative error", "%", "The error in relation to the count by hand, averaged over the images that "
         "hold cells.", lambda c, k: c.relative[k].mean(-1), "cells"),
    Kind("bias", "Bias", "cells", "Mean of predicted minus manual: above 0 too many cells are counted.",
         lambda c, k: c.error[k].mean(-1)),
    Kind("r2", "R²", "", "The share of the differences between images that the predictions explain; 1 is perfect.",
         _r2),
    *(Kind(f"game{level}", f"GAME({level})", "cells", f"The error added up over {4**level} equal parts of an image: "
           "cells counted in the wrong place do not make up for missed ones.", _game_mean(level), "dots")
      for level in GAME_LEVELS),
    Kind("precision", "Precision", "", "The share of the detected cells that have a dot beside them.",
         lambda c, k: c.hits[k].sum(-1) / c.points[k].sum(-1), "found"),
    Kind("recall", "Recall", "", "The share of the dots that have a detected cell beside them.",
         lambda c, k: c.hits[k].sum(-1) / c.dots[k].sum(-1), "found"),
    Kind("f1", "F1", "", "Precision and recall in one number (harmonic mean).",
         lambda c, k: 2 * c.hits[k].sum(-1) / (c.points[k].sum(-1) + c.dots[k].sum(-1)), "found"),
)}


@dataclass(frozen=True)
class Figure:
    """A figure over ``images`` images, and the ends of its interval; None where there are too few images to tell."""

    kind: Kind
    value: float
    images: int
    low: float | None = None
    high: float | None = None


def figures(lines: Sequence[Line], seed: int = 0) -> dict[str, Figure]:
    """Every figure of `KINDS` that applies to these lines, with its 95 % interval."""
    columns = Columns(lines)
    found = {}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")                      # figures that do not apply are nan, and are left out
        for name, kind in KINDS.items():
            own = np.flatnonzero(columns.about[kind.images])
            value = float(kind.statistic(columns, own)) if len(own) else np.nan
            if np.isfinite(value) and not (name == "r2" and len(own) < FEWEST):
                ends = _interval(columns, kind, own, seed) or (None, None)
                found[name] = Figure(kind, value, len(own), *ends)
    return found


def _interval(columns: Columns, kind: Kind, own: np.ndarray, seed: int) -> tuple[float, float] | None:
    """BCa; plain percentiles where that has no answer, as when all images are alike."""
    from scipy.stats import bootstrap

    if len(own) < FEWEST:
        return None
    result = bootstrap((own,), lambda k, axis: kind.statistic(columns, k.astype(np.int64)), axis=-1,
                       vectorized=True, n_resamples=RESAMPLES, batch=max(1, 2_000_000 // len(own)),
                       confidence_level=LEVEL, method="BCa", rng=np.random.default_rng(seed))
    ends = float(result.confidence_interval.low), float(result.confidence_interval.high)
    if np.isfinite(ends).all():
        return ends
    drawn = result.bootstrap_distribution[np.isfinite(result.bootstrap_distribution)]
    if len(drawn) < RESAMPLES / 2:
        return None
    return tuple(float(end) for end in np.percentile(drawn, (50 * (1 - LEVEL), 50 * (1 + LEVEL))))


@dataclass(frozen=True)
class BlandAltman:
    """The mean difference (predicted minus manual) and the limits between which 95 % of the differences are expected.

    Each of ``mean``, ``low`` and ``high`` is (value, lower end, upper end) of its 95 % interval, in cells. ``grows``
    says that differences grow with the counts, so that the limits are too wide for few cells and too narrow for many.
    """

    mean: tuple[float, float, float]
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    grows: bool


def bland_altman(lines: Sequence[Line]) -> BlandAltman | None:
    """Bland and Altman (1999), sections 2 and 2.1; None below `FEWEST` images."""
    from scipy.stats import spearmanr, t

    columns = Columns(lines)
    n = len(columns.error)
    if n < FEWEST:
        return None
    mean, sd = float(columns.error.mean()), float(columns.error.std(ddof=1))
    reach = float(t.ppf((1 + LEVEL) / 2, n - 1))
    of_mean, of_limit = reach * sd / np.sqrt(n), reach * sd * np.sqrt(1 / n + 1.96**2 / (2 * (n - 1)))
    grows = False
    middle = (columns.predicted + columns.manual) / 2
    if n >= 2 * FEWEST and np.ptp(middle) > 0 and sd > 0:
        trend = spearmanr(middle, np.abs(columns.error - mean))
        grows = bool(trend.statistic > 0 and trend.pvalue < 0.01)
    ends = ((mean, of_mean), (mean - 1.96 * sd, of_limit), (mean + 1.96 * sd, of_limit))
    return BlandAltman(*((float(v), float(v - half), float(v + half)) for v, half in ends), grows)


COLUMNS = ("image", "manual", "predicted", "error", "relative_error", "low", "high",
           *(f"game{level}" for level in GAME_LEVELS), "precision", "recall", "f1", "distance_px", "message")


def row_of(line: Line) -> dict:
    """The image's line of ``agreement.csv``; what does not apply is None."""
    row = dict.fromkeys(COLUMNS) | {
        "image": line.image, "manual": line.manual, "predicted": line.predicted, "error": line.error,
        "relative_error": line.relative, "low": line.low, "high": line.high, "message": line.message}
    if line.game:
        row |= {f"game{level}": value for level, value in zip(GAME_LEVELS, line.game, strict=True)}
    if line.found:
        row |= {name: getattr(line.found, name) for name in ("precision", "recall", "f1")}
        row["distance_px"] = line.distance
    return row


def agreement_csv(lines: Sequence[Line]) -> str:
    """One line per image, columns `COLUMNS`; text that a spreadsheet would run as a formula gets a ``'``."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in lines:
        writer.writerow([_cell(value) for value in row_of(line).values()])
    return out.getvalue()


def _cell(value) -> str:
    if isinstance(value, str):
        return spreadsheet_text(value)
    return "" if value is None or value != value else f"{value:.6g}"


def number(value: float | None, unit: str = "") -> str:
    """A figure in words: cells and per cent (of a share) with one decimal, others with three."""
    if value is None:
        return "–"
    shown, decimals = (100 * value, 1) if unit == "%" else (value, 1 if unit == "cells" else 3)
    return f"{shown:,.{decimals}f}".replace("-", "−") + (" %" if unit == "%" else "")


def markdown(lines: Sequence[Line], about: str, seed: int = 0) -> str:
    """The figures as a table in Markdown; ``about`` says what was counted with what."""
    text = ["".join(f"\\{c}" if c in "|\\`*_[]<>" else c for c in about), "",
            f"| figure | value | {LEVEL:.0%} interval |".replace("%", " %"), "|---|---:|---:|"]
    for figure in figures(lines, seed).values():
        unit = figure.kind.unit
        ends = TOO_FEW if figure.low is None else f"{number(figure.low, unit)} to {number(figure.high, unit)}"
        words = f" ({unit})" if unit == "cells" else ""
        text.append(f"| {figure.kind.title}{words} | {number(figure.value, unit)} | {ends} |")
    limits = bland_altman(lines)
    for title, part in (("Mean difference", "mean"), ("Lower limit of agreement", "low"),
                        ("Upper limit of agreement", "high")):
        if limits:
            value, low, high = (number(v, "cells") for v in getattr(limits, part))
            text.append(f"| {title} (cells) | {value} | {low} to {high} |")
    return "\n".join([*text, ""])
