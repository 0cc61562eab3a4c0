"""The cell diameter: estimated from the image, followed where it is given."""

import numpy as np
import pytest

from cellapp.errors import ImageError
from cellapp.image import MAX_PIXELS
from cellapp.scale import TOLERATED, choose_scale, diameter_at, resize, resize_labels, resize_view, suggest_diameter
from cellapp.simulate import simulate


def discs(diameter: float, shape=(300, 340), spacing=2.2) -> np.ndarray:
    """A grid of soft-edged bright discs on a dark ground."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    step = spacing * diameter
    distance = np.hypot((y + step / 2) % step - step / 2, (x + step / 2) % step - step / 2)
    return (200 / (1 + np.exp((distance - diameter / 2) * 2 / max(1, diameter / 12))) + 10).astype(np.float32)


@pytest.mark.parametrize("diameter", [8, 12, 20, 33, 55])
def test_discs_are_measured(diameter):
    assert suggest_diameter(discs(diameter)) == pytest.approx(diameter, rel=0.25)


@pytest.mark.parametrize("off", [0, 2])
def test_at_the_dots_cells_are_measured_and_not_their_texture(off):
    """As in stained nuclei with coarse chromatin, whose specks answer more strongly than the nucleus."""
    import cv2

    rng = np.random.default_rng(0)
    smooth = discs(16.0)
    specks = cv2.GaussianBlur(rng.normal(0, 1, smooth.shape).astype(np.float32), (0, 0), 1.2)
    textured = smooth * (1 + 1.6 * specks / specks.std())
    step = 2.2 * 16
    dots = np.stack(np.meshgrid(*(np.arange(0, side, step) for side in smooth.shape), indexing="ij"), -1).reshape(-1, 2)
    dots = np.clip(dots + rng.uniform(-off, off, dots.shape), 0, np.array(smooth.shape) - 1)
    assert diameter_at(smooth, dots) == pytest.approx(16, rel=0.25)
    assert diameter_at(textured, dots) == pytest.approx(16, rel=0.5)


def test_the_estimate_does_not_know_gain_offset_or_type():
    image = simulate("vgg-cells", 5).image
    here = suggest_diameter(image)
    assert suggest_diameter(image.astype(np.uint16) * 200 + 3000) == pytest.approx(here, rel=1e-3)
    assert suggest_diameter(image / 255.0) == pytest.approx(here, rel=1e-3)


def test_a_large_image_is_judged_at_its_own_size():
    image = simulate("vgg-cells", 5).image
    assert suggest_diameter(np.tile(image, (5, 7))) == pytest.approx(suggest_diameter(image), rel=0.05)


@pytest.mark.parametrize("image", [np.zeros((64, 64)), np.full((1, 1), 7.0), np.full((300, 20), 1e9),
                                   np.ones((15, 400)) * np.arange(400)])
def test_an_image_that_shows_nothing_gives_no_estimate(image):
    assert suggest_diameter(image) is None
    assert choose_scale(image, None, 11.5).factor == 1


def test_cells_of_about_the_right_size_are_taken_as_they_are():
    image = discs(20)
    found = suggest_diameter(image)
    assert choose_scale(image, None, found * (TOLERATED - 0.01)).factor == 1
    other = choose_scale(image, None, found / 2)
    assert other.factor == pytest.approx(0.5)
    assert "estimated" in other.note


def test_a_given_diameter_is_followed_even_if_it_differs_little():
    scale = choose_scale(discs(20), 10.0, 11.0)
    assert scale.factor == pytest.approx(1.1)
    assert scale.diameter == 10 and "as given" in scale.note


def test_beyond_the_limit_a_given_diameter_is_refused_and_an_estimated_one_is_not_followed():
    side = int(MAX_PIXELS**0.5)
    image = np.broadcast_to(np.float32(0), (side, side))
    with pytest.raises(ImageError, match="check the cell diameter"):
        choose_scale(image, 5.0, 11.5)
    noise = np.tile(np.random.default_rng(0).normal(size=(500, 500)).astype(np.float32), (18, 18))
    assert suggest_diameter(noise) < 11.5 / TOLERATED
    assert choose_scale(noise, None, 11.5).factor == 1


def test_resizing_keeps_means_and_sizes():
    image = discs(20)
    assert resize(image, 1) is image
    half = resize(image, 0.5)
    assert half.shape == (150, 170)
    assert half.mean() == pytest.approx(image.mean(), rel=1e-4)


@pytest.mark.parametrize("shape", [(40, 60), (97, 31), (20, 30)])
def test_views_stay_in_their_range_and_keep_their_rim(shape):
    view = np.zeros((20, 30), np.float32)
    view[3:9, 5:20] = 1
    there = resize_view(view, (20, 30), shape)
    assert there.shape == shape
    assert there.min() == 0
    assert there.max() == 1
    assert resize_view(np.ones((30, 40), np.float32), (20, 30), (40, 60)).shape == (60, 80)


def test_no_label_is_lost_on_a_coarser_grid():
    labels = np.zeros((40, 40), np.int32)
    labels[4:20, 4:20] = 1
    labels[30, 31] = 2
    points = np.array([(11.5, 11.5), (30.0, 31.0)])
    small = resize_labels(labels, (points + 0.5) / 8 - 0.5, (5, 5))
    assert sorted(np.unique(small)) == [0, 1, 2]
    assert small[3, 3] == 2
