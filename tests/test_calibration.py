"""Calibrated intervals hold the truth as often as they say, and are left out where nothing is known."""

import json

import numpy as np
import pytest
from PIL import Image as PillowImage
from scipy.stats import beta
from test_cli import cellapp

from cellapp import weights as store
from cellapp.calibration import Measured, calibrate, interval
from cellapp.conformal import deviation, fewest, fit_spread, rank
from cellapp.data import not_learnt, split
from cellapp.errors import CalibrationError
from cellapp.methods import Options, load
from cellapp.polarity import Seen
from cellapp.simulate import simulate


def draw(rng, n, own):
    """Counts whose errors grow with them and have heavy tails; where ``own``, the network knows which are bad."""
    truth = rng.integers(1, 300, n).astype(float)
    sd = 0.05 * truth + 1
    if own:
        sd = sd * rng.choice([0.5, 2.0], n)
    return Measured(truth + sd * rng.standard_t(4, n), truth, sd / 3 if own else None, None, False)


@pytest.mark.parametrize("own", [False, True])
def test_coverage_is_that_of_the_theory_over_many_draws(own, rng):
    n, found, widths = 40, [], []
    for _ in range(200):
        known = calibrate(draw(rng, n, own), "simulated")
        new = draw(rng, 300, own)
        ends = [interval(known, count, new.sds[k] if own else None) for k, count in enumerate(new.counts)]
        found.append(np.mean([end.low <= true <= end.high for end, true in zip(ends, new.truth, strict=True)]))
        widths.append(np.mean([end.high - end.low for end in ends]))
    law = beta(rank(n), n + 1 - rank(n))
    assert np.mean(found) == pytest.approx(law.mean(), abs=0.015), "the fit of the spread must not cost coverage"
    assert np.mean(np.array(found) < law.ppf(0.05) - 0.02) < 0.1
    if not own:
        truth = np.sort(draw(rng, 4000, own).truth)
        assert deviation(known.spread, truth[-1]) > 2 * deviation(known.spread, truth[0])


def test_too_few_images_give_no_interval_at_this_level(rng):
    assert (fewest(), fewest(0.9), rank(19), rank(100)) == (19, 9, 19, 96)
    with pytest.raises(CalibrationError, match=r"18 images give no interval of 95 %.*at least 19.*up to 94 %"):
        calibrate(draw(rng, 18, False), "x")
    assert calibrate(draw(rng, 18, False), "x", 0.9).level == 0.9
    assert calibrate(draw(rng, 19, False), "x").images == 19


def test_the_spread_is_never_zero_and_the_interval_never_negative(rng):
    exact = Measured(np.arange(20.0), np.arange(20.0), None, None, False)
    known = calibrate(exact, "x")
    assert interval(known, 7.0, None).low == pytest.approx(7, abs=0.1)
    wide = calibrate(draw(rng, 40, False), "x")
    low = interval(wide, 0.2, None)
    assert low.low == 0 < low.high and low.source == "conformal"
    a, b, c = fit_spread(np.full(30, 50.0), rng.normal(0, 3, 30))
    assert min(a, b, c) >= 0 and deviation((a, b, c), 50.0) == pytest.approx(3, rel=0.4)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for k in range(24):
        scene = simulate("nuclei", 3, k, size=(64, 64), n=3 + k % 5)
        PillowImage.fromarray(scene.image).save(folder / f"{k:02d}.png")
        (folder / f"{k:02d}.csv").write_text("x,y\n" + "".join(f"{x},{y}\n" for y, x in scene.points))
    return folder


def test_calibrated_weights_give_intervals_or_say_why_not(capsys, tiny_weights, images):
    name = "fcrn-a/untrained"
    before = store.find(name).digest
    assert load(name).predict(pixels(images, 1)).interval is None
    code, out, err = cellapp(capsys, "weights", "calibrate", name, "--images", images, "--cell-diameter", 14, "--json")
    assert code == 0, err
    row = store.find(name)
    assert json.loads(out[0])["images"] == row.calibration.images == 24
    assert row.digest != before and row.sha256 == before, "kept results know that the interval changed"
    counter, options = any_count(name), Options(cell_diameter=14)
    shown = counter.predict(pixels(images, 1), options)
    assert (shown.interval.source, shown.interval.level) == ("conformal", 0.95)
    assert shown.interval.low <= shown.count <= shown.interval.high
    assert not any("Outside" in note for note in shown.notes)
    noise = np.random.default_rng(0).normal(0, 60, (64, 64))
    other = counter.predict(pixels(images, 1) + noise, options)
    (note,) = [note for note in other.notes if "Outside calibration" in note]
    assert other.interval is None and "grainier" in note and "24 images" in note
    code, _, err = cellapp(capsys, "weights", "calibrate", name, "--images", images, "--include", "0*.png")
    assert code == 2 and "10 images give no interval of 95 %" in err and "up to 90 %" in err
    assert store.find(name).calibration == counter.weights.calibration, "what was there stays"


def test_the_networks_own_deviation_is_scaled_and_its_own_interval_gives_way(capsys, tiny_weights, images):
    name = "fpn-vgg11/untrained"
    own = load(name).predict(pixels(images, 2), Options(quick=True))
    assert own.interval.source == "aleatoric" and own.sd > 0
    code, _, err = cellapp(capsys, "weights", "calibrate", name, "--images", images, "--quick")
    assert code == 0, err
    counter = any_count(name)
    known = counter.weights.calibration
    shown = counter.predict(pixels(images, 2), Options(quick=True))
    assert known.spread is None and shown.interval.source == "conformal"
    assert shown.interval.high - shown.count == pytest.approx(known.quantile * own.sd)


def test_outside_are_other_counts_polarities_and_strides(rng, tiny_weights):
    from types import SimpleNamespace

    from cellapp.calibration import outside

    row = store.find("count-ception/untrained")
    row = row.model_copy(update={"calibration": calibrate(draw(rng, 40, False), "x")})
    low, high = row.calibration.counts
    view = SimpleNamespace(seen=Seen("bright", False, False), scale=SimpleNamespace(diameter=None))
    assert outside(row, (low + high) / 2, view, None) == ""
    assert "more cells: 900" in outside(row, 900, view, None)
    assert "fewer windows" in outside(row, (low + high) / 2, view, None, stride=8)
    view.seen = Seen("dark", True, True)
    assert "other polarity" in outside(row, (low + high) / 2, view, None)


def test_what_was_not_learnt_is_the_rest_of_the_same_draw():
    data = list(range(30))
    learnt, chosen = split(data, 8, 4, seed=5)
    rest = not_learnt(data, 8, seed=5)
    assert sorted(learnt + rest) == data and set(chosen) <= set(rest)


def any_count(name):
    """The counter of a calibrated row; untrained networks count far more than there is, so every count is let in."""
    row = store.find(name)
    assert row.calibration.counts == (3, 7)
    store.replace(row.model_copy(update={"calibration": row.calibration.model_copy(update={"counts": (-1e9, 1e9)})}))
    return load(name)


def pixels(folder, k):
    return np.asarray(PillowImage.open(folder / f"{k:02d}.png"), np.float32)
