"""Dots to density maps and back: the sum is the count, wherever the dots lie and whatever the grid."""

import numpy as np
import pytest

from cellapp.density import check_points, density_map, local_maxima, reduce_map, resize_map
from cellapp.errors import DotsError

SHAPE = 40, 56


def brute_force(points, shape, sigma):
    """Each dot's Gaussian on the whole grid, cut to its window, scaled to unit mass inside the image."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    total, reach = np.zeros(shape), np.ceil(4 * sigma)
    for cy, cx in points:
        one = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * sigma**2))
        one[(np.abs(y - np.rint(cy)) > reach) | (np.abs(x - np.rint(cx)) > reach)] = 0
        total += one / one.sum()
    return total


@pytest.mark.parametrize("sigma", [0.5, 2.0, 7.0])
def test_every_dot_has_unit_mass_even_at_the_border(sigma):
    height, width = SHAPE
    for point in [(0, 0), (height - 1, width - 1), (-0.5, width - 0.501), (0, 20.37), (height - 0.51, -0.5),
                  (20, 30), (19.25, 30.5)]:
        density = density_map(np.array([point]), SHAPE, sigma)
        assert density.shape == SHAPE
        assert density.dtype == np.float32
        assert density.min() >= 0
        assert density.sum(dtype=float) == pytest.approx(1, abs=1e-6)


def test_many_dots_sum_to_their_number(rng):
    points = rng.uniform(-0.5, np.array(SHAPE) - 0.5, (3000, 2))
    assert density_map(points, SHAPE, 3.0).sum(dtype=float) == pytest.approx(3000, rel=1e-6)
    assert density_map(np.empty((0, 2)), SHAPE, 3.0).sum() == 0


def test_a_dot_larger_than_the_image_still_counts_once():
    assert density_map(np.array([[0.0, 0.0]]), (1, 1), 5.0).tolist() == [[1.0]]


def test_centre_of_mass_lies_at_the_dot():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    density = density_map(np.array([[20.3, 27.8]]), SHAPE, 2.0)
    assert (density * y).sum() == pytest.approx(20.3, abs=2e-3)
    assert (density * x).sum() == pytest.approx(27.8, abs=2e-3)


def test_map_is_the_sum_of_its_dots_and_equals_the_slow_way(rng):
    points = rng.uniform(-0.5, np.array(SHAPE) - 0.5, (25, 2))
    whole = density_map(points, SHAPE, 2.5)
    np.testing.assert_allclose(whole, brute_force(points, SHAPE, 2.5), atol=1e-6)
    parts = density_map(points[:9], SHAPE, 2.5) + density_map(points[9:], SHAPE, 2.5)
    np.testing.assert_allclose(whole, parts, atol=1e-6)


@pytest.mark.parametrize("outside", [(5, 56), (40, 5), (-0.6, 5), (5, -1), (np.nan, 5), (5, np.inf)])
def test_dots_outside_are_named(outside):
    points = np.array([(1, 1), outside, (2, 2)])
    with pytest.raises(DotsError, match=r"1 of 3 dots lie outside the image of 56×40 px \(dot 2: x = .*swapped"):
        density_map(points, SHAPE, 2.0)
    with pytest.raises(DotsError, match="dot 2"):
        check_points(points, SHAPE)


def test_local_maxima_find_separated_cells():
    # A grid 9 px = 4.5 sigma apart, shifted off the pixel centres.
    points = np.array([(y + 0.3, x - 0.4) for y in range(6, 60, 9) for x in range(6, 75, 9)])
    found = local_maxima(density_map(points, (64, 80), 2.0), 2.0)
    assert len(found) == len(points)
    distances = np.hypot(*(found[:, None] - points[None]).transpose(2, 0, 1))
    assert distances.min(axis=0).max() <= 1
    assert len(set(distances.argmin(axis=1))) == len(points)


def test_local_maxima_of_special_maps():
    assert local_maxima(np.zeros(SHAPE, np.float32), 2.0).shape == (0, 2)
    assert local_maxima(np.full(SHAPE, -1, np.float32), 2.0).shape == (0, 2)
    assert len(local_maxima(np.full((1, 1), 1, np.float32), 2.0)) <= 1
    plateau = np.zeros(SHAPE, np.float32)
    plateau[20:23, 30:33] = 0.1
    assert local_maxima(plateau, 2.0).tolist() == [[21, 31]]
    plateau[10:35, 10:41] = 0.1
    assert local_maxima(plateau, 2.0).tolist() == [[22, 25]], "one point for a plateau of any size"
    faint = density_map(np.array([[20.0, 30.0]]), SHAPE, 2.0) * np.float32(0.2)
    assert len(local_maxima(faint, 2.0)) == 0, "a fifth of a cell is no cell"


def test_peaks_are_as_far_apart_as_promised_and_the_brightest_comes_first(rng):
    ties = rng.integers(0, 4, (60, 70)).astype(np.float32)
    found = local_maxima(ties, 2.0, smooth=0)
    gaps = np.abs(found[:, None] - found[None]).max(axis=2)
    assert len(found) > 5
    assert gaps[~np.eye(len(found), dtype=bool)].min() > 2
    steps = np.zeros(SHAPE, np.float32)
    steps[5, 5], steps[20, 20], steps[35, 50] = 1, 3, 2
    assert local_maxima(steps, 2.0).tolist() == [[20, 20], [35, 50], [5, 5]]


def test_local_maxima_at_the_border_are_inside():
    points = np.array([(0, 0), (0, 30), (20, 0), (39, 55)])
    found = np.array(sorted(local_maxima(density_map(points, SHAPE, 2.0), 2.0).tolist()))
    assert len(found) == len(points)
    assert np.abs(found - points).max() <= 1
    check_points(found, SHAPE)


@pytest.mark.parametrize("shape", [(40, 56), (20, 28), (13, 19), (80, 112), (97, 61), (20, 112), (1, 1), (200, 3)])
def test_resizing_keeps_the_sum(rng, shape):
    density = density_map(rng.uniform(0, SHAPE[0] - 1, (30, 2)), SHAPE, 2.0)
    resized = resize_map(density, shape)
    assert resized.shape == shape
    assert resized.dtype == np.float32
    assert resized.sum(dtype=float) == pytest.approx(30, rel=1e-5)


@pytest.mark.parametrize("shape", [(20, 28), (97, 131)])
def test_resizing_keeps_sums_of_maps_that_dip_below_zero(rng, shape):
    noisy = rng.normal(0.001, 0.02, SHAPE).astype(np.float32)
    assert resize_map(noisy, shape).sum(dtype=float) == pytest.approx(noisy.sum(dtype=float), abs=1e-4)
    zero = (noisy - noisy.mean(dtype=float)).astype(np.float32)
    resized = resize_map(zero, shape)
    assert resized.sum(dtype=float) == pytest.approx(zero.sum(dtype=float), abs=1e-4)
    assert np.abs(resized).max() < 10 * np.abs(zero).max(), "a sum near zero must not blow the map up"
    negative = -density_map(np.array([[20.0, 30.0]]), SHAPE, 3.0)
    assert resize_map(negative, shape).sum(dtype=float) == pytest.approx(-1, abs=1e-5)


def test_resizing_keeps_cells_where_they_are():
    density = density_map(np.array([[9.5, 41.5]]), SHAPE, 2.0)
    double, half = resize_map(density, (80, 112)), resize_map(density, (20, 28))
    for resized, factor in ((double, 2), (half, 0.5)):
        y, x = np.mgrid[: resized.shape[0], : resized.shape[1]]
        assert (resized * y).sum() == pytest.approx(10 * factor - 0.5, abs=0.05)
        assert (resized * x).sum() == pytest.approx(42 * factor - 0.5, abs=0.05)


@pytest.mark.parametrize("max_side", [1, 7, 20, 55])
def test_reduced_maps_keep_units_and_count(rng, max_side):
    density = density_map(rng.uniform(0, SHAPE[0] - 1, (30, 2)), SHAPE, 2.0)
    small, factor = reduce_map(density, max_side)
    assert max(small.shape) <= max_side
    assert small.sum(dtype=float) * factor**2 == pytest.approx(30, rel=1e-5)
    flat, factor = reduce_map(np.full((60, 60), 0.25, np.float32), 20)
    assert factor == 3
    assert (flat == 0.25).all(), "the reduced map is still in cells per pixel"


def test_a_small_map_is_not_reduced():
    density = np.ones(SHAPE, np.float32)
    small, factor = reduce_map(density, 56)
    assert small is density
    assert factor == 1
