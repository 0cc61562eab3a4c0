"""Doubts are said where there is a reason, and only there."""

import numpy as np
import pytest

from cellapp.prediction import Prediction
from cellapp.trust import doubts


def prediction(count: float, peaks: int) -> Prediction:
    return Prediction.from_density(np.full((10, 10), count / 100, np.float32), np.zeros((peaks, 2)))


@pytest.mark.parametrize(("count", "peaks", "doubted"), [(100, 98, 0), (100, 70, 0), (100, 60, 1), (100, 140, 1),
                                                         (0, 0, 0), (2, 4, 0), (0.1, 9, 1), (-3, 0, 0)])
def test_map_and_peaks(count, peaks, doubted):
    assert len(doubts(prediction(count, peaks))) == doubted


def test_one_number_alone_cannot_disagree():
    assert doubts(Prediction.from_density(np.ones((10, 10), np.float32), None)) == ()
