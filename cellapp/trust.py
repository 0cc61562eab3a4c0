"""Reasons to doubt a count, said beside it. They change no number."""

import numpy as np

from cellapp.prediction import Prediction

# Where the median lies between the 1st and the 99th percentile: near 0 in fluorescence, near 1 in brightfield.
BRIGHT_GROUND = 0.45
DISAGREEMENT = 0.35                                          # of the count, between map and peaks


def dark_on_bright(plane: np.ndarray) -> bool:
    """Whether most of a (H, W) image lies near its bright end: a bright ground, or bright cells that cover it."""
    low, median, high = np.percentile(plane[:: 1 + plane.shape[0] // 1024, :: 1 + plane.shape[1] // 1024], (1, 50, 99))
    return bool(high > low and (median - low) / (high - low) > BRIGHT_GROUND)


def doubts(plane: np.ndarray, prediction: Prediction, polarity: str) -> tuple[str, ...]:
    """Sentences for the user, none where nothing is odd. ``polarity`` is what the weights were trained on."""
    found = []
    if polarity == "bright on dark" and dark_on_bright(plane):
        found.append("Most of this image is bright. These weights count bright cells on a dark ground: if yours are "
                     "dark on a bright ground, do not trust this number.")
    if prediction.density is None or prediction.points is None:
        return tuple(found)                                  # one number only, nothing to disagree
    count, peaks = prediction.count, len(prediction.points)
    if max(count, peaks) > 5 and abs(peaks - count) > DISAGREEMENT * max(count, 1):
        found.append("The sum of the map and the number of its peaks differ by more than a third: look at the panes "
                     "before you trust this number. Crowded cells, or cells of another kind, are usual causes.")
    return tuple(found)
