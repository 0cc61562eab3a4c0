"""Intervals of regions: they hold the truth as often as they say, and a note says why there is none."""

import csv
import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import test_calibration
from pydantic import ValidationError
from test_calibration import pixels
from test_cli import cellapp

from cellapp import weights as store
from cellapp.batch import with_regions
from cellapp.calibration_row import RegionErrors, SizeClass
from cellapp.conformal import deviation, fit_spread, rank
from cellapp.density import density_map
from cellapp.hub_config import read as read_config
from cellapp.hub_config import written
from cellapp.methods import Options, load
from cellapp.prediction import Interval, Prediction
from cellapp.region_calibration import EACH, SIZES, Rectangles, calibrate_regions, compared, rectangle, stacked
from cellapp.region_coverage import RegionCoverage, clustered, polygon
from cellapp.region_files import write_regions
from cellapp.regions import Region, box, measure
from cellapp.weights import Hub
from cellapp.workspace_rows import from_json, to_json

SHAPE = (40, 60)
folder = test_calibration.images                             # 24 images with dots


def draw(rng, images, each=EACH):
    """Errors that the rectangles of an image share for the most part, heavy-tailed, and larger than they should be in
    the largest rectangles."""
    size = np.array([8, 40, 120])[:, None] * rng.uniform(0.2, 2, (images, 1, 1))
    truth = rng.poisson(size, (images, len(SIZES), each))
    of_image = rng.standard_t(4, (images, 1, 1)) * np.array([0.05, 0.08, 0.15])[:, None]
    return Rectangles(truth * (1 + of_image) + rng.normal(0, 0.7, truth.shape), truth.astype(float))


@pytest.mark.parametrize("images", [24, 40])
def test_coverage_is_kept_though_the_rectangles_of_an_image_fail_together(rng, images):
    found = []
    for _ in range(150):
        known = calibrate_regions(draw(rng, images))
        new = draw(rng, 100)
        reach = np.array([size.quantile for size in known.sizes])[:, None] * deviation(known.spread, new.counts)
        found.append((np.abs(new.counts - new.truth) <= reach).mean(axis=(0, 2)))
    assert np.mean(found, axis=0) == pytest.approx([0.97] * len(SIZES), abs=0.03)
    assert (np.mean(found, axis=0) > 0.945).all(), "of each size, on the average over images"


def test_too_few_images_with_dots_give_none(rng):
    assert calibrate_regions(None) is None and calibrate_regions(draw(rng, 18)) is None
    assert calibrate_regions(draw(rng, 18), 0.9).images == 18
    assert (rank(19, each=8), rank(60, each=8)) == (19 * 8, 464)
    fit = calibrate_regions(draw(rng, 30))
    again = Rectangles(*(np.repeat(part, 2, axis=2) for part in (draw(rng, 30).counts, draw(rng, 30).truth)))
    assert calibrate_regions(again).images == fit.images == 30, "copies of rectangles are no further images"


def test_rectangles_have_the_sizes_they_are_drawn_for(rng):
    for draw_one, shares in ((d, s) for d in (rectangle, polygon) for s in SIZES):
        for _ in range(50):
            region = draw_one(SHAPE, shares, rng)
            found = measure(Prediction(0.0, SHAPE, np.zeros(SHAPE, np.float32)), region)
            assert shares[0] - 1e-9 <= found.area_px / 2400 <= shares[1] + 1e-9 and not found.note
            assert (np.ptp(region.outline, axis=0) > 0.049 * np.array(SHAPE)).all()


def test_what_is_compared_is_what_regions_count(rng):
    dots = rng.uniform(-0.5, np.array(SHAPE) - 0.5, (90, 2))
    exact = compared(Prediction(90.0, SHAPE, points=dots), dots, 3)
    assert exact.shape == (2, len(SIZES), EACH) and exact[0].tolist() == exact[1].tolist()
    assert exact.tolist() == compared(Prediction(90.0, SHAPE, points=dots), dots, 3).tolist()
    shared = compared(Prediction.from_density(density_map(dots, SHAPE, 2.0)), dots, 3)
    assert shared[1].tolist() == exact[1].tolist() and 0.1 < np.abs(shared[0] - shared[1]).mean() < 3
    assert compared(Prediction(90.0, SHAPE), dots, 3) is None, "one number says nothing about parts"
    assert stacked([None, exact, None, shared]).counts.shape == (2, len(SIZES), EACH) and stacked([None]) is None


KNOWN = RegionErrors(level=0.9, images=30, spread=(1.0, 0.5, 0.01), sizes=(
    SizeClass(shares=(0.02, 0.1), quantile=2.0, counts=(0, 10)),
    SizeClass(shares=(0.1, 1), quantile=3.0, counts=(5, 60))))


@pytest.fixture
def counted():
    """100 cells evenly over the image, inside calibration."""
    even = np.full(SHAPE, 100 / 2400, np.float32)
    return replace(Prediction.from_density(even), interval=Interval(80, 120, 0.9, "conformal"), region_errors=KNOWN)


def test_a_region_gets_the_interval_of_its_size_or_a_note(counted):
    half = measure(counted, box("half", -0.5, -0.5, 39.5, 29.5))
    reach = 3 * np.sqrt(1 + 0.5 * 50 + 0.01 * 2500)
    assert (half.count, half.level, half.note) == (pytest.approx(50, rel=1e-5), 0.9, "")
    assert (half.low, half.high) == (pytest.approx(50 - reach, rel=1e-4), pytest.approx(50 + reach, rel=1e-4))
    corner = measure(counted, Region("corner", "polygon", [(-0.5, -0.5), (-0.5, 9.5), (5.5, 9.5), (7.5, -0.5)]))
    assert corner.low == 0 < corner.count < corner.high < 25 and not corner.note
    whole = measure(counted, box("all", -0.5, -0.5, 39.5, 59.5))
    assert (whole.low, whole.high) == (80, 120), "the interval of the image itself"
    notes = {"1 % of the image, and errors are known of regions of 2 to 100 %": (box("a", 0, 0, 4, 6), counted),
             "more cells than in the regions of its size": (box("a", -0.5, -0.5, 39.5, 49.5), counted),
             "Outside calibration, because": (box("a", 0, 0, 20, 30), replace(
                 counted, interval=None, region_errors=None, outside="Outside calibration, because of the weather.")),
             "in parts of it is not known": (box("a", 0, 0, 20, 30), replace(counted, region_errors=None))}
    for words, (region, prediction) in notes.items():
        found = measure(prediction, region)
        assert (found.low, found.high, found.level) == (None, None, None) and found.count > 0
        assert words in found.note
    bare = measure(Prediction.from_density(counted.density), box("a", 0, 0, 20, 30))
    assert bare.low is None and bare.note == "", "weights without any interval need no note"


def test_cells_counted_by_two_sides_have_no_interval(rng):
    cells = Prediction(50.0, SHAPE, points=rng.uniform(0, 39, (50, 2)), cell_diameter=3.0,
                       interval=Interval(40, 60, 0.9, "conformal"), region_errors=KNOWN)
    region = box("a", 0, 0, 20, 30)
    assert measure(cells, region).low is not None
    found = measure(cells, region, border="two sides")
    assert found.low is None and "by their centres" in found.note


def test_kept_results_and_rows_of_tables_keep_it(counted):
    from test_export import result

    one = replace(result(), prediction=replace(counted, outside="why"))
    kept = from_json(json.loads(json.dumps(to_json(one)))).prediction
    assert (kept.region_errors, kept.outside) == (KNOWN, "why")
    older = to_json(one)
    del older["prediction"]["region_errors"], older["prediction"]["outside"]
    assert from_json(older).prediction.region_errors is None
    _, row, small = with_regions(one, [box("half", -0.5, -0.5, 39.5, 29.5), box("s", 0, 0, 4, 6)]).rows()
    assert row["low"] < row["count"] < row["high"] and row["level"] == 0.9 and row["message"] == ""
    assert small["low"] is None and "No interval" in small["message"]


def test_rows_without_errors_of_regions_load_and_keep_their_digest(tiny_weights):
    name = "fcrn-a/untrained"
    about = {"level": 0.95, "images": 24, "data": "x", "how": "split", "quantile": 2.0, "constant": 3.0,
             "spread": [1.0, 0.0, 0.1], "counts": [3.0, 7.0], "summary": None, "turned": False}
    path = store.folder() / store.MANIFEST
    rows = json.loads(path.read_text())
    next(row for row in rows if row["id"] == name)["calibration"] = about
    path.write_text(json.dumps(rows))
    row = store.find(name)
    assert row.calibration.regions is None
    text = json.dumps(about, separators=(",", ":"))
    assert row.digest == hashlib.sha256((row.sha256 + text).encode()).hexdigest(), "results kept before are found again"
    with_errors = row.model_copy(update={"calibration": row.calibration.model_copy(update={"regions": KNOWN})})
    assert with_errors.digest != row.digest


@pytest.mark.parametrize("bad", [{"spread": [-1, 0, 0]}, {"spread": [1e999, 0, 0]}, {"spread": [1, 0]}, {"level": 1},
                                 {"sizes": []}, {"sizes": [{"shares": [0, 2], "quantile": 1, "counts": [0, 1]}]},
                                 {"sizes": [{"shares": [0, 1], "quantile": float("nan"), "counts": [0, 1]}]},
                                 {"sizes": [{"shares": [0, 1], "quantile": 1, "counts": [0, 1e999]}]}, {"more": 1}])
def test_errors_that_no_calibration_gives_are_refused(bad):
    with pytest.raises(ValidationError):
        RegionErrors.model_validate(KNOWN.model_dump() | bad)


def test_they_go_to_the_hub_and_come_back(tiny_weights):
    row = store.find("fcrn-a/simulated" if "fcrn-a/simulated" in store.manifest() else "fcrn-a/untrained")
    about = {"level": 0.95, "images": 24, "data": "x", "how": "split", "quantile": 2.0, "counts": (3, 7)}
    row = store.Weights.model_validate(row.model_dump() | {"calibration": about | {"regions": KNOWN}, "check": {
        "image": "vgg-cells-1-000.png", "count": 1.0, "tolerance": 0.05}})
    text, _ = written(row, "MIT")
    assert read_config(text.encode(), Hub(repo="a/b", revision="0" * 40)).calibration.regions == KNOWN


def test_from_dots_to_the_table_and_back(capsys, tiny_weights, folder, tmp_path, monkeypatch):
    name = "fcrn-a/untrained"
    code, out, err = cellapp(capsys, "weights", "calibrate", name, "--images", folder, "--cell-diameter", 14)
    assert code == 0 and "in regions, from the dots of 24 images" in out[0], err
    let_in(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "roi.geojson").write_bytes(write_regions([box("half", -0.5, -0.5, 63.5, 31.5), box("s", 0, 0, 2, 3)]))
    count = ["count", folder, "--weights", name, "--cell-diameter", 14, "--regions", "roi.geojson", "--out", "out"]
    code, lines, err = cellapp(capsys, *count)
    assert code == 0, err
    assert " to " in lines[1] and " at 95%" in lines[1] and "No interval" in lines[2]
    with open(tmp_path / "out" / "counts.csv", encoding="utf-8-sig", newline="") as file:
        table = [row for row in csv.DictReader(file) if row["region"] == "half"]
    assert len(table) == 24 and all(0 <= float(row["low"]) < float(row["high"]) for row in table)
    run = json.loads((tmp_path / "out" / "run.json").read_bytes())
    for one, row in zip(run["inputs"], table, strict=True):
        assert one["interval"][2] == 0.95 and list(one["region_intervals"]) == ["half"]
        assert one["region_intervals"]["half"][0] == pytest.approx(float(row["low"]), rel=1e-4)
    code, lines, _ = cellapp(capsys, "rerun", "out/run.json", "--images", folder)
    assert code == 0 and len(lines) == 72 and all(line.startswith("same") for line in lines)
    let_in(name, 2.0)
    code, lines, _ = cellapp(capsys, "rerun", "out/run.json", "--images", folder)
    told = [line for line in lines if line.startswith("DIFFERENT")]
    assert code == 1 and len(told) == 24 and all("half" in line and "another interval" in line for line in told)


def test_counts_without_places_give_none_for_regions(capsys, tiny_weights, folder):
    name = "fcrn-a/untrained"
    (folder / "counts.csv").write_text("file,count\n" + "".join(f"{k:02d}.png,{3 + k % 5}\n" for k in range(24)))
    for k in range(24):
        (folder / f"{k:02d}.csv").unlink()
    code, out, err = cellapp(capsys, "weights", "calibrate", name, "--images", folder, "--table", folder / "counts.csv",
                             "--cell-diameter", 14)
    assert code == 0 and "none in regions" in out[0], err
    assert store.find(name).calibration.regions is None


def let_in(name, factor=1.0):
    """Untrained networks count far more than there is, so every count is let in; ``factor`` widens the intervals of
    regions."""
    row = store.find(name)
    known = row.calibration
    sizes = tuple(size.model_copy(update={"counts": (-1e9, 1e9), "quantile": factor * size.quantile})
                  for size in known.regions.sizes)
    store.replace(row.model_copy(update={"calibration": known.model_copy(update={
        "counts": (-1e9, 1e9), "regions": known.regions.model_copy(update={"sizes": sizes})})}))


def test_shares_of_clusters():
    alone = np.arange(100)
    held = np.ones(100)
    held[:10] = 0
    share, low, high = clustered(held, alone)
    assert share == 0.9 and (low, high) == (pytest.approx(0.826, abs=0.002), pytest.approx(0.945, abs=0.002))
    together = clustered(held, alone // 10)                  # ten images, one of them wrong altogether
    assert together[0] == 0.9 and together[1] < low - 0.15 and together[2] > high
    assert clustered(np.ones(80), np.arange(80) // 8)[1] == pytest.approx(1 / (1 + 1.96**2 / 10), abs=1e-3)


def test_coverage_is_measured_on_rectangles_and_polygons(rng, capsys, tiny_weights, folder):
    measured = RegionCoverage(2)
    dots = rng.uniform(-0.5, np.array(SHAPE) - 0.5, (100, 2))
    wide = KNOWN.model_copy(update={"spread": (400.0, 0.0, 0.0), "sizes": tuple(
        size.model_copy(update={"counts": (0, 100)}) for size in KNOWN.sizes)})
    for errors in (wide, None):
        measured.add(Prediction(100.0, SHAPE, points=dots, region_errors=errors), dots)
    figures = measured.figures()
    whole = [one for one in figures if one.size == "2 to 100 %"]
    assert [one.kind for one in whole] == ["rectangles", "polygons"]
    for one in whole:
        assert (one.regions, one.with_interval, one.images, one.share) == (12, 6, 1, 1.0) and one.width > 40
    assert sum(one.regions for one in figures) == 2 * (12 + 12), "each is of one size"
    code, out, err = cellapp(capsys, "evaluate", "--images", folder, "--weights", "fcrn-a/untrained", "--regions", 1)
    assert code == 0 and "polygons of 40 to 80 %" in "\n".join(out), err


def test_the_networks_that_are_counted_with_carry_it(capsys, tiny_weights, folder):
    name, options = "fcrn-a/untrained", Options(cell_diameter=14)
    cellapp(capsys, "weights", "calibrate", name, "--images", folder, "--cell-diameter", 14)
    let_in(name)
    counter = load(name)
    shown = counter.predict(pixels(folder, 1), options)
    assert shown.region_errors == counter.weights.calibration.regions and shown.outside == ""
    other = counter.predict(pixels(folder, 1) + np.random.default_rng(0).normal(0, 60, (64, 64)), options)
    assert other.region_errors is None and other.outside in other.notes
    found = measure(other, box("a", 0, 0, 40, 40))
    assert found.low is None and found.note == other.outside and "Outside calibration" in found.note
    assert fit_spread(np.full(9, 5.0), np.zeros(9))[0] > 0


def test_a_training_that_was_checked_on_dots_has_them_too(tiny_weights, folder):
    from types import SimpleNamespace

    from cellapp.train_spec import Given
    from cellapp.train_work import known_errors

    line = SimpleNamespace(tell=lambda *_, **__: None, check=lambda: None)
    dots = {k: np.loadtxt(folder / f"{k:02d}.csv", delimiter=",", skiprows=1, ndmin=2)[:, ::-1] for k in range(19)}
    given = {"points": dots, "count": {k: len(points) for k, points in dots.items()}}
    for what, regions in (("points", 19), ("count", None)):
        checked = [Given(f"{k}", folder / f"{k:02d}.png", "", {"cell_diameter": 14}, **{what: given[what][k]})
                   for k in range(19)]
        known = known_errors(load("fcrn-a/untrained"), checked, line)
        assert known.images == 19 and (known.regions and known.regions.images) == regions
