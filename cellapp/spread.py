"""How far several methods agree on one image: a sanity check, not a proof that any of them is right."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

AGREEMENT = 0.25                                             # of the median, between the lowest and the highest count


@dataclass(frozen=True)
class Spread:
    """Median, lowest and highest of some counts, and their coefficient of variation.

    cv : standard deviation (n - 1) over the mean; None where the mean is not above zero or for one count alone
    """

    number: int
    median: float
    low: float
    high: float
    cv: float | None

    @classmethod
    def of(cls, counts: Sequence[float]) -> "Spread":
        """Of at least one count, in cells."""
        values = np.asarray(counts, float)
        mean = float(values.mean())
        cv = float(values.std(ddof=1)) / mean if len(values) > 1 and mean > 0 else None
        return cls(len(values), float(np.median(values)), float(values.min()), float(values.max()), cv)

    @property
    def agrees(self) -> bool:
        """Whether all counts lie within one cell, or within `AGREEMENT` of the median."""
        return self.high - self.low <= max(1.0, AGREEMENT * self.median)

    @property
    def sentence(self) -> str:
        """What it means, for the user."""
        if self.number < 2:
            return "One method alone: choose a second one to see how far they agree."
        if not self.agrees:
            low, high = (max(0, round(end)) for end in (self.low, self.high))
            return (f"The methods disagree: from {low:,} to {high:,} cells. Look at the maps; the image may be unlike "
                    "the training data of some.")
        if self.high - self.low <= 1:
            return "The methods agree within one cell."
        return f"The methods agree within {ceil(100 * (self.high - self.low) / self.median)} %."
