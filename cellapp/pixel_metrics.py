"""How well pixels are told apart, cell or ground: confusion, Matthews' correlation (MCC), the ROC curve.

A threshold is chosen and a curve drawn from two histograms, of the pixels that are cell and of those that are
ground, so that any number of images needs the memory of none.
"""

import math
from dataclasses import dataclass

import numpy as np

BINS = 1000
_EDGES = (np.arange(1, BINS) / BINS).astype(np.float32)    # float32 as the maps are: `add` and `>=` agree on a tie
_CANDIDATES = np.arange(50, 951, 10)                       # 0.05 … 0.95, in bins


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


@dataclass(frozen=True)
class Confusion:
    """Numbers of pixels by prediction and truth; "positive" is cell. Several images add up with ``+``.

    tp : cell, found; fp : ground, taken for cell; tn : ground, left out; fn : cell, missed

    A ratio without anything to divide by is nan; ``mcc`` is 0 then.
    """

    tp: int
    fp: int
    tn: int
    fn: int

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(self.tp + other.tp, self.fp + other.fp, self.tn + other.tn, self.fn + other.fn)

    @property
    def specificity(self) -> float:
        """Part of the ground that is left out."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def precision(self) -> float:
        """Part of the pixels taken for cell that are cell."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Part of the cells' pixels that are found."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def accuracy(self) -> float:
        """Part of all pixels that are right."""
        return _ratio(self.tp + self.tn, self.tp + self.fp + self.tn + self.fn)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; of masks also called Dice."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def mcc(self) -> float:
        """Matthews' correlation of prediction and truth, -1 … 1.

        0 where all pixels are predicted alike or are alike in truth: the formula is 0/0 there, and such a
        prediction tells no more than chance does.
        """
        tp, fp, tn, fn = (int(n) for n in (self.tp, self.fp, self.tn, self.fn))  # the product outgrows 64 bits
        product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
        return (tp * tn - fp * fn) / math.sqrt(product) if product else 0.0


def roc(positives: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ROC curve of two histograms of probabilities over equal bins of 0 … 1.

    Parameters
    ----------
    positives, negatives : (K,) numbers of pixels that are truly cell, and truly ground

    Returns
    -------
    (false positive rate, true positive rate, thresholds), (K + 1,) each, from (0, 0) to (1, 1); pixels from the
    threshold on are taken for cell, and the first threshold is infinite. A rate without pixels is nan.
    """
    def rate(histogram: np.ndarray) -> np.ndarray:
        above = np.concatenate([[0], np.cumsum(histogram[::-1], dtype=np.int64)])
        return above / above[-1] if above[-1] else np.full(len(above), np.nan)

    thresholds = np.arange(len(positives), -1, -1) / len(positives)
    thresholds[0] = np.inf
    return rate(negatives), rate(positives), thresholds


def area_under(false_positive_rate: np.ndarray, true_positive_rate: np.ndarray) -> float:
    """Area under a ROC curve: how often a cell's pixel is above a ground pixel, half a win for the same bin."""
    return float(np.trapezoid(true_positive_rate, false_positive_rate))


class ThresholdCurve:
    """What every threshold on P(cell) would give, over the pixels of all images added.

    Thresholds lie on a grid of 1/1000; others are rounded to it.
    """

    def __init__(self):
        self.positives = np.zeros(BINS, np.int64)
        self.negatives = np.zeros(BINS, np.int64)

    def add(self, probability: np.ndarray, truth: np.ndarray) -> None:
        """Count the pixels of an image: ``probability`` (H, W) float32 in 0 … 1, ``truth`` (H, W) bool, True for cell.

        Raises `ValueError` for arrays of different shapes and for probabilities outside of 0 … 1 (nan included).
        """
        if probability.shape != truth.shape:
            raise ValueError(f"probabilities {probability.shape} and truth {truth.shape} differ in shape")
        probability = probability.astype(np.float32, copy=False).ravel()
        if not ((probability >= 0) & (probability <= 1)).all():
            raise ValueError("probabilities must lie in 0 … 1")
        bins = np.searchsorted(_EDGES, probability, side="right")
        truth = truth.ravel().astype(bool, copy=False)
        positives = np.bincount(bins[truth], minlength=BINS)
        self.positives += positives
        self.negatives += np.bincount(bins, minlength=BINS) - positives

    def at(self, threshold: float) -> Confusion:
        """The confusion if pixels with a probability of at least ``threshold`` are taken for cell; at 1 none is."""
        return self._from_bin(round(threshold * BINS))

    def _from_bin(self, first: int) -> Confusion:
        tp, fp = int(self.positives[first:].sum()), int(self.negatives[first:].sum())
        return Confusion(tp, fp, int(self.negatives.sum()) - fp, int(self.positives.sum()) - tp)

    def best_by_mcc(self) -> tuple[float, Confusion]:
        """The threshold of 0.05, 0.06 … 0.95 with the highest MCC, the middle one of equals, and its confusion."""
        mcc = np.array([self._from_bin(first).mcc for first in _CANDIDATES])
        equals = _CANDIDATES[np.isclose(mcc, mcc.max(), rtol=0, atol=1e-12)]
        best = int(equals[len(equals) // 2])
        return best / BINS, self._from_bin(best)

    def roc(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(false positive rate, true positive rate, thresholds), see `roc`."""
        return roc(self.positives, self.negatives)

    def thinned(self) -> tuple[tuple[float, float, float], ...]:
        """(false positive rate, true positive rate, threshold) at every fiftieth threshold, from 1 down to 0."""
        false, true, _ = self.roc()
        at = range(BINS, -1, -BINS // 20)
        return tuple((round(float(false[BINS - k]), 4), round(float(true[BINS - k]), 4), k / BINS) for k in at)

    def auc(self) -> float:
        """Area under the ROC curve; nan if all pixels are cell or all are ground."""
        rates = self.roc()
        return area_under(rates[0], rates[1])
