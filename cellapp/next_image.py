"""Which image to annotate next: the one about which the counts that are there already disagree most.

No counting is done for it. Disagreement of several weights is (largest - smallest) / mean, an interval's width is taken
relative to its count; the larger of the two ranks the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from cellapp.prediction import Prediction

Item = TypeVar("Item")


@dataclass(frozen=True)
class Next(Generic[Item]):
    """An image and why it is useful; ``score`` is None where nothing is known about it."""

    item: Item
    score: float | None
    reason: str


def rank(items: Sequence[tuple[Item, Sequence[Prediction]]]) -> list[Next[Item]]:
    """The most useful first; those without any sign come last, in the order in which they were given."""
    found = [_judge(item, predictions) for item, predictions in items]
    return sorted(found, key=lambda one: -1.0 if one.score is None else one.score, reverse=True)


def _judge(item: Item, predictions: Sequence[Prediction]) -> Next[Item]:
    signs = []
    counts = [prediction.count for prediction in predictions]
    if len(counts) > 1:
        low, high = max(0.0, min(counts)), max(counts)
        score = (high - low) / max(1.0, sum(counts) / len(counts))
        signs.append((score, f"{len(counts)} weights count between {low:.0f} and {high:.0f} cells in it "
                             f"({score:.0%} apart)".replace("%", " %")))
    for prediction in predictions:
        if interval := prediction.interval:
            low, high = max(0.0, interval.low), interval.high
            score = (high - low) / max(1.0, prediction.count)
            signs.append((score, f"its count is unsure: {low:.0f} to {high:.0f} cells, {interval.level:.0%}"
                          .replace("%", " %")))
    if not signs:
        return Next(item, None, "no count tells which image would teach most, so this is the next one in order")
    score, reason = max(signs)
    return Next(item, score, reason)
