"""Errors of counts and detection at a distance, against answers worked out by hand."""

from itertools import pairwise

import numpy as np
import pytest

from cellapp.metrics import Detection, count_errors, game, match_pairs, match_points, parts_of_map, parts_of_points


def test_count_errors_by_hand():
    errors = count_errors([12, 18, 0, 33], [10, 20, 0, 30])
    assert errors.images == 4
    assert errors.mae == pytest.approx(7 / 4)
    assert errors.rmse == pytest.approx(np.sqrt(17 / 4))
    assert errors.mre == pytest.approx((0.2 + 0.1 + 0.1) / 3), "the empty image has no relative error"
    assert errors.bias == pytest.approx(3 / 4)
    assert errors.r2 == pytest.approx(1 - 17 / 500)
    assert errors.max_error == 3


def test_perfect_and_undefined_figures():
    perfect = count_errors([3, 5], [3, 5])
    assert (perfect.mae, perfect.rmse, perfect.mre, perfect.bias, perfect.r2) == (0, 0, 0, 0, 1)
    assert np.isnan(count_errors([1.0], [5]).r2)
    assert np.isnan(count_errors([1.0, 2.0], [0, 0]).mre)
    assert count_errors([5, 5], [4, 6]).r2 == pytest.approx(0), "predicting the mean explains nothing"


@pytest.mark.parametrize(("predicted", "true"), [([], []), ([1, 2], [1]), ([[1, 2]], [[1, 2]])])
def test_counts_that_do_not_belong_together_are_refused(predicted, true):
    with pytest.raises(ValueError, match="as many predicted counts as true ones"):
        count_errors(predicted, true)


def test_matching_finds_the_most_pairs_where_the_nearest_first_fails():
    # The nearest pair is (4, 5); taking it leaves 0 and 9 alone. Only 0-4 and 5-9 pair them all.
    true, predicted = np.array([(0.0, 0.0), (0.0, 5.0)]), np.array([(0.0, 4.0), (0.0, 9.0)])
    assert match_points(predicted, true, 4) == Detection(2, 2, 2)
    assert match_points(predicted[::-1], true[::-1], 4) == Detection(2, 2, 2)
    assert match_points(true, predicted, 4) == Detection(2, 2, 2)
    assert match_points(predicted, true, 3.99) == Detection(1, 2, 2)


def test_a_chain_pairs_completely(rng):
    true = np.stack([np.zeros(50), np.arange(50) * 3.0], axis=1)
    predicted = true + np.array([0, 1.5])
    assert match_points(rng.permutation(predicted), rng.permutation(true), 1.5).hits == 50


def test_points_at_the_very_same_place_match_once():
    points = np.array([(3.0, 4.0), (10.0, 10.0)])
    assert match_points(points, points, 0) == Detection(2, 2, 2)
    assert match_points(np.repeat(points, 3, axis=0), points, 1) == Detection(2, 6, 2)


def test_matching_equals_the_slow_way(rng):
    from itertools import permutations

    for _ in range(20):
        true, predicted = rng.uniform(0, 10, (5, 2)), rng.uniform(0, 10, (5, 2))
        near = np.hypot(*(true[:, None] - predicted[None]).transpose(2, 0, 1)) <= 3
        best = max(sum(near[i, j] for i, j in enumerate(order)) for order in permutations(range(5)))
        assert match_points(predicted, true, 3).hits == best


def test_empty_images_and_sums():
    none, two = np.empty((0, 2)), np.array([(1.0, 1.0), (9.0, 9.0)])
    assert match_points(none, two, 5) == Detection(0, 0, 2)
    assert match_points(two, none, 5) == Detection(0, 2, 0)
    empty = match_points(none, none, 5)
    assert np.isnan([empty.precision, empty.recall, empty.f1]).all()
    assert match_points(none, two, 5).recall == 0
    total = Detection(6, 8, 12) + Detection(2, 2, 4)
    assert total == Detection(8, 10, 16)
    assert (total.precision, total.recall) == (0.8, 0.5)
    assert total.f1 == pytest.approx(2 * 0.8 * 0.5 / 1.3)


def test_pairs_say_who_belongs_to_whom():
    true, predicted = np.array([(0.0, 0.0), (0.0, 5.0), (50, 50)]), np.array([(0.0, 9.0), (0.0, 4.0)])
    assert match_pairs(predicted, true, 4).tolist() == [[1, 0], [0, 1]]
    assert match_pairs(predicted, np.empty((0, 2)), 4).shape == (0, 2)


def test_game_by_hand():
    """A cell in the right half of the image counted in its left half: no error in all, two in its parts."""
    true = parts_of_points(np.array([(5.0, 5.0), (5.0, 30.0)]), (40, 40))
    density = np.zeros((40, 40), np.float32)
    density[5, 5], density[8, 12] = 1, 1
    found = parts_of_map(density)
    assert (found.sum(), true.sum()) == (2, 2)
    assert game(found, true) == (2, 2, 2)
    near = parts_of_points(np.array([(5.0, 5.0), (5.0, 38.0)]), (40, 40))
    assert game(near, true) == (0, 0, 2), "30 and 38 are in one half and one quarter, but not in one eighth"
    assert game(true, true) == (0, 0, 0)


@pytest.mark.parametrize("shape", [(64, 64), (37, 101), (1, 1), (3, 200), (9, 2)])
def test_parts_hold_every_cell_once_and_game_never_falls(rng, shape):
    density = rng.uniform(0, 1, shape).astype(np.float32)
    parts = parts_of_map(density)
    assert parts.sum() == pytest.approx(density.sum(dtype=float))
    pixels = np.argwhere(np.ones(shape, bool))
    ones = parts_of_points(pixels + rng.uniform(-0.5, 0.49, pixels.shape), shape)
    np.testing.assert_array_equal(ones, parts_of_map(np.ones(shape, np.float32)), "a dot lies where its pixel lies")
    errors = [abs(parts.sum() - ones.sum()), *game(parts, ones)]
    assert all(a <= b + 1e-9 for a, b in pairwise(errors))
