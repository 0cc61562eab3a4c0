"""Doubts are said where there is a reason, and only there."""

import numpy as np
import pytest

from cellapp.prediction import Prediction
from cellapp.simulate import simulate
from cellapp.trust import dark_on_bright, doubts


def prediction(count: float, peaks: int) -> Prediction:
    return Prediction.from_density(np.full((10, 10), count / 100, np.float32), np.zeros((peaks, 2)))


@pytest.mark.parametrize("preset", ["vgg-cells", "bbbc005", "nuclei"])
def test_polarity(preset):
    image = simulate(preset, 1).image.astype(np.float32)
    assert not dark_on_bright(image)
    assert dark_on_bright(255 - image)
    assert not dark_on_bright(np.full((9, 9), 200.0))


@pytest.mark.parametrize(("count", "peaks", "doubted"), [(100, 98, 0), (100, 70, 0), (100, 60, 1), (100, 140, 1),
                                                         (0, 0, 0), (2, 4, 0), (0.1, 9, 1), (-3, 0, 0)])
def test_map_and_peaks(count, peaks, doubted):
    image = simulate("vgg-cells", 1).image
    assert len(doubts(image, prediction(count, peaks), "bright on dark")) == doubted


def test_a_bright_ground_is_doubted_only_by_weights_for_dark_ones():
    image = 255 - simulate("vgg-cells", 1).image
    (doubt,) = doubts(image, prediction(10, 10), "bright on dark")
    assert "bright" in doubt
    assert doubts(image, prediction(10, 10), "dark on bright") == ()
