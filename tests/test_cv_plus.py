"""CV+ holds what its theorem promises, whatever the regressor, and a benchmark trains it without ever looking ahead."""

import json

import numpy as np
import pytest
from test_benchmark import vgg
from test_cli import EXAMPLE, cellapp, picture

from cellapp import benchmark_steps
from cellapp.conformal import deviation, fit_spread
from cellapp.cv_plus import ends, folds
from cellapp.errors import CalibrationError

LEVEL = 0.9


def test_the_ends_are_the_papers_order_statistics():
    # Four images in two folds; the 3rd of four in rising order is the upper end at 60 %, the 2nd the lower one.
    counts = np.array([[10.0], [10.0], [14.0], [14.0]])
    ratios, spreads = np.array([1.0, 4.0, 2.0, 3.0]), np.ones((4, 1))
    low, high = ends(ratios, counts, spreads, 0.6)
    assert (low, high) == (9, 16), "of 6, 9, 11, 12 and of 11, 14, 16, 17"
    low, high = ends(ratios, counts, 2 * spreads, 0.6)
    assert (low, high) == (8, 18), "of 2, 8, 8, 10 and of 12, 18, 18, 20"
    assert ends(ratios, np.zeros((4, 1)), spreads, 0.6)[0] == 0, "no count is below 0"
    with pytest.raises(CalibrationError, match=r"4 images give no interval of 95 %.*at least 19.*up to 80 %"):
        ends(ratios, counts, spreads, 0.95)


def test_folds_part_the_images_and_keep_sources_together():
    parts = folds(range(23), 0)
    assert sorted(np.concatenate(parts)) == list(range(23)) and sorted(map(len, parts)) == [4, 4, 5, 5, 5]
    same, other = ([part.tolist() for part in folds(range(23), seed)] for seed in (0, 1))
    assert same == [part.tolist() for part in parts] != other
    groups = [k // 4 for k in range(16)]
    parts = folds(groups, 3)
    assert sorted(map(len, parts)) == [4] * 4 and all(len({groups[k] for k in part}) == 1 for part in parts)


def mean(x, y):
    return lambda new: np.full(len(new), y.mean())


def line(x, y):
    fit = np.polyfit(x[:, 0], y, 1)
    return lambda new: np.polyval(fit, new[:, 0])


def nearest(x, y):
    return lambda new: y[np.argmin(np.abs(new[:, :1] - x[:, 0]), axis=1)]


def interpolating(x, y):
    """Least squares with almost as many columns as images: the case in which the plain jackknife fails."""
    fit = np.linalg.lstsq(x, y, rcond=None)[0]
    return lambda new: new @ fit


def draw(rng, n):
    x = np.column_stack([rng.uniform(1, 10, n), rng.normal(size=(n, 22))])
    return x, 20 * x[:, 0] + x[:, 0] * rng.standard_t(5, n)


def covered(fit, rng, n=30, new=200, own=False):
    """Share of the truth in the intervals of one draw, their mean width where x is small and where it is large."""
    (x, y), (x_new, y_new) = draw(rng, n), draw(rng, new)
    ratios, counts, spreads = [], [], []
    for part in folds(range(n), int(rng.integers(2**31))):
        rest = np.setdiff1d(np.arange(n), part)
        model = fit(x[rest], y[rest])
        shape = fit_spread(model(x[rest]), model(x[rest]) - y[rest])

        def spread(points, shape=shape, model=model):
            return points[:, 0] if own else deviation(shape, model(points))

        ratios.append(np.abs(model(x[part]) - y[part]) / spread(x[part]))
        counts.append(np.tile(model(x_new), (len(part), 1)))
        spreads.append(np.tile(spread(x_new), (len(part), 1)))
    low, high = ends(np.concatenate(ratios), np.concatenate(counts), np.concatenate(spreads), LEVEL)
    few = x_new[:, 0] < 4
    return np.mean((low <= y_new) & (y_new <= high)), np.mean((high - low)[few]), np.mean((high - low)[~few])


@pytest.mark.parametrize("fit, own", [(mean, False), (line, False), (line, True), (nearest, False),
                                      (interpolating, False)])
def test_coverage_over_many_draws(fit, own, rng):
    found = np.array([covered(fit, rng, own=own) for _ in range(150)])
    share = found[:, 0].mean()
    # The law promises 1 - 2 · 0.1 less a little for every regressor; stable ones come near 0.9, others lie above.
    assert share >= 1 - 2 * (1 - LEVEL)
    assert share >= LEVEL - 0.02, share
    if fit is line:
        assert share <= LEVEL + 0.04, share
        assert found[:, 2].mean() > 1.5 * found[:, 1].mean(), "the interval does not grow where the errors do"


def test_a_benchmark_with_cv_plus(capsys, tmp_path, tiny_weights, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cellapp.verify.EXAMPLES", tmp_path / "examples")
    monkeypatch.setattr("cellapp.benchmark_steps.EXAMPLE", EXAMPLE)
    (tmp_path / "examples").mkdir()
    picture(tmp_path / "examples" / EXAMPLE)
    vgg(tmp_path / "vgg", 24)
    command = ["benchmark", "vgg", "--data", "vgg", "--n-test", 4, "--method", "fcrn-a", "--n-train", 12, "--n-val", 8,
               "--epochs", 1, "--steps", 1, "--batch", 1, "--crop", 32, "--out", "run", "--device", "cpu", "--json",
               "--intervals", "cv+"]
    seen, real = [], benchmark_steps.train

    def watched(learn, choose, *rest, **more):
        seen.append(({item.name for item in learn}, {item.name for item in choose}))
        return real(learn, choose, *rest, **more)

    monkeypatch.setattr("cellapp.benchmark_steps.train", watched)
    code, out, err = cellapp(capsys, *command)
    assert code == 0, err
    (row,) = [json.loads(text) for text in out if "from scratch" in text and "mae" in text]
    assert row["level"] == 0.95 and row["intervals"].startswith("CV+: 20 images in 5 folds")
    assert row["coverage"] is not None and row["constant_score"] > 0 and row["without_interval"] == 0
    assert "95 %, CV+: 20 images in 5 folds" in (tmp_path / "run" / "benchmark.md").read_text()
    (first, chose), *without = seen
    pool = first | chose
    assert len(pool) == 20 and len(without) == 5
    held = [pool - learn - choose for learn, choose in without]
    assert sorted(map(len, held)) == [4] * 5 and set.union(*held) == pool, "each image is left out once"
    assert all(not learn & choose and len(choose) == 6 for learn, choose in without)
    assert {f"{k:03d}cell.png" for k in range(21, 25)}.isdisjoint(pool)

    seen.clear()
    code, again, err = cellapp(capsys, *command)
    assert code == 0 and not seen, "what was trained is not trained again"
    assert next(json.loads(text) for text in again if "mae" in text) == row
    code, split, _ = cellapp(capsys, *command[:-1], "split")
    (plain,) = [json.loads(text) for text in split if "from scratch" in text and "mae" in text]
    assert not seen and plain["mae"] == row["mae"] and plain["coverage"] is None
    assert plain["intervals"] == "none: 8 images that choose the epoch are too few, 19 give one of 95 %"
    code, _, err = cellapp(capsys, *command, "--n-train", 8)
    assert code == 2 and "16 images give no interval of 95 %" in err and "up to 94 %" in err and not seen
