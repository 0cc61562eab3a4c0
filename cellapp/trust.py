"""Reasons to doubt a count that lie in the prediction itself. They change no number.

Reasons that lie in the image, such as a ground or a blur the weights have never seen, are those of `cellapp.likeness`.
"""

from cellapp.prediction import Prediction

DISAGREEMENT = 0.35                                          # of the count, between map and peaks


def doubts(prediction: Prediction) -> tuple[str, ...]:
    """Sentences for the user, none where nothing is odd."""
    if prediction.density is None or prediction.points is None:
        return ()                                            # one number only, nothing to disagree
    count, peaks = prediction.count, len(prediction.points)
    if max(count, peaks) > 5 and abs(peaks - count) > DISAGREEMENT * max(count, 1):
        return ("The sum of the map and the number of its peaks differ by more than a third: look at the panes "
                "before you trust this number. Crowded cells, or cells of another kind, are usual causes.",)
    return ()
