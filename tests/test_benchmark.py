"""The published protocols on simulated miniatures of the same layouts, and their figures."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as PillowImage
from test_cli import EXAMPLE, cellapp, picture

from cellapp.agreement import Line
from cellapp.benchmark import Counted, Entry, Outcome, Plan, gmac, run
from cellapp.benchmark_protocols import Loaded, divide, own_set, read_set
from cellapp.benchmark_report import interval_score, latex, markdown, row, table_csv
from cellapp.benchmark_steps import _as_known
from cellapp.data import Dotted, resized
from cellapp.errors import BenchmarkError
from cellapp.image import Image
from cellapp.methods import Options, load
from cellapp.metrics import Detection
from cellapp.simulate import simulate
from cellapp.weights import BUNDLED, find


def scene(k, n=None):
    made = simulate("nuclei", 9, k, size=(64, 64), n=n or 2 + k % 6)
    red = np.zeros((64, 64, 3), np.uint8)
    red[tuple(np.rint(made.points).astype(int).T)] = (255, 0, 0)
    return PillowImage.fromarray(made.image), PillowImage.fromarray(red), made


def vgg(folder, n=24):
    folder.mkdir(parents=True)
    for k in range(n):
        image, dots, _ = scene(k)
        image.save(folder / f"{k + 1:03d}cell.png")
        dots.save(folder / f"{k + 1:03d}dots.png")
    return folder


def mbm(folder):
    folder.mkdir()
    for source in range(4):
        for k in range(4):
            image, dots, _ = scene(4 * source + k)
            stem = f"BM_GRAZ_HE_{source:04d}_01"
            image.save(folder / f"{stem}_{k:03d}.png")
            dots.convert("L").point(lambda v: 255 * (v > 0)).convert("1").save(folder / f"{stem}_dots_{k:03d}.png")
    return folder


def adi(folder):
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True)
    for k in range(6):
        made = simulate("nuclei", 9, k, size=(64, 64), n=2)
        name = f"{k}-1_GTEX-{'ABC'[k % 3]}_Adipose.jpeg"
        PillowImage.fromarray(made.image).convert("RGB").save(folder / "images" / name, quality=95)
        red = np.zeros((64, 64, 3), np.uint8)
        red[10, 20] = red[40, 50] = (255, 0, 0)
        PillowImage.fromarray(red).save(folder / "annotations" / name, quality=95)
    return folder


def crc(folder):
    for name in ("images", "dots"):
        (folder / name).mkdir(parents=True)
    for k in range(6):
        image, _, made = scene(k)
        image.save(folder / "images" / f"img{k:03d}.png")
        (folder / "dots" / f"img{k:03d}.csv").write_text("x,y\n" + "".join(f"{x},{y}\n" for y, x in made.points))
    return folder


def bbbc005(folder):
    """Grey values add up to the number of cells, as in that set."""
    (folder / "images").mkdir(parents=True)
    lines = ["file,count,blur,stain,split"]
    for k in range(24):
        image = np.full((64, 64), 10, np.uint8)
        image[: 2 * (1 + k), :20] = 90
        name = f"A{k:02d}_C{1 + k:03d}_F01_s{k % 3:02d}_w{1 + k % 2}.png"
        PillowImage.fromarray(image).save(folder / "images" / name)
        lines.append(f"{name},{1 + k},1,{1 + k % 2},{'test' if k % 3 == 0 else 'train'}")
    (folder / "index.csv").write_text("\n".join(lines))
    return folder


def test_the_layouts_of_the_papers_are_read(tmp_path):
    read = {name: read_set(name, make(tmp_path / name)) for name, make in
            (("vgg", vgg), ("mbm", mbm), ("adi", adi), ("crc", crc))}
    assert [len(one.items) for one in read.values()] == [24, 16, 6, 6]
    assert [item.count for item in read["vgg"].items[:6]] == [2, 3, 4, 5, 6, 7]
    assert len(set(read["mbm"].groups)) == 4 and read["mbm"].items[5].count == 7
    assert set(read["adi"].groups) == {"GTEX-A", "GTEX-B", "GTEX-C"}
    assert all(item.count == 2 for item in read["adi"].items), "red dots in a JPEG"
    nuclei = read_set("bbbc005-nuclei", bbbc005(tmp_path / "b"))
    assert len(nuclei.items) == 12 and set(nuclei.sides) == {"train", "test"}
    assert nuclei.groups[0] == "C001_s00"
    with pytest.raises(BenchmarkError, match=r"no such folder; give the one that holds 001cell.png"):
        read_set("vgg", tmp_path / "nothing")


def test_no_protocol_learns_from_what_it_tests(tmp_path):
    loaded = read_set("mbm", mbm(tmp_path / "mbm"))
    tests = []
    for protocol in ("last", "shuffled", "source"):
        for seed in range(5):
            draw = divide(loaded, protocol, 4, 5, 3, seed)
            parts = [set(part) for part in (draw.train, draw.val, draw.test)]
            assert [len(part) for part in parts] == [5, 3, 4] and len(set.union(*parts)) == 12
            assert draw == divide(loaded, protocol, 4, 5, 3, seed)
            tests.append((protocol, frozenset(draw.test)))
            if protocol == "source":
                assert not {loaded.groups[k] for k in draw.test} & {loaded.groups[k] for k in draw.rest}
    assert {test for name, test in tests if name == "last"} == {frozenset(range(12, 16))}
    assert len({test for name, test in tests if name == "shuffled"}) == 5
    with pytest.raises(BenchmarkError, match="10 images to learn from and 10 to choose the epoch are more than the 12"):
        divide(loaded, "last", 4, 10, 10, 0)


def test_own_images_follow_their_split(tmp_path):
    folder = vgg(tmp_path / "own", 6)
    table = tmp_path / "split.csv"
    table.write_text("image,split\n001cell.png,train\n002cell,val\n003cell.png,test\n004cell.png,test\n")
    loaded = own_set(folder, None, table)
    draw = divide(loaded, "split", 1, 1, 1, 0)
    assert [loaded.items[k].name for k in (*draw.train, *draw.val, *draw.test)] == [
        "001cell.png", "002cell.png", "003cell.png", "004cell.png"]
    with pytest.raises(BenchmarkError, match="has 1 images to learn from and 1 to choose"):
        divide(loaded, "split", 1, 2, 0, 0)
    table.write_text("image,split\n001cell.png,train\n009cell.png,test\n")
    with pytest.raises(BenchmarkError, match=r"split\.csv: there is no image with dots called “009cell.png”"):
        own_set(folder, None, table)
    table.write_text("image,split\n001cell.png,exam\n")
    with pytest.raises(BenchmarkError, match="is “exam”; it must be train, val or test"):
        own_set(folder, None, table)


def line(manual, predicted, low=None, high=None):
    return Line("a", manual, predicted, low, high, (1.0, 2.0, 3.0), Detection(3, 4, 5), 5.0)


def test_figures_are_averaged_over_draws_and_coverage_over_images():
    draws = (Counted((line(10, 12, 9, 15), line(20, 20, 19, 21)), 0.95, (0.1, 0.3)),
             Counted((line(10, 16, 14, 18), line(20, 18, 15, 21)), 0.95, (0.2, 0.2)))
    found = row(Outcome(Entry("x"), draws, 1000, 0.5), 8)
    assert (found.mae, found.mae_sd) == pytest.approx((2.5, np.std([1, 4], ddof=1)))
    assert (found.bias, found.max_error, found.images, found.draws, found.n_train) == (1.5, 6, 2, 2, 0)
    assert found.coverage == 0.75 and found.coverage_low < 0.4 and found.coverage_high > 0.9
    assert found.interval_score == pytest.approx((6 + 2 + 4 + 40 * 4 + 6) / 4)
    same = [Counted(draw.lines, 0.95, (), 3.0) for draw in draws]
    assert found.constant_score is None
    assert row(Outcome(Entry("x"), tuple(same)), 0).constant_score == pytest.approx((6 + 6 + 6 + 40 * 3 + 6) / 4)
    assert (found.game2, found.f1, found.seconds) == (2, 6 / 9, 0.2)
    np.testing.assert_allclose(interval_score(np.array([0.0]), np.array([4.0]), np.array([5.0]), 0.9), [24])
    none = row(Outcome(Entry("a|b & 50 %_"), (Counted((Line("a", 3.0, 3.0),), None, ()),)), 0)
    assert none.coverage is None and none.mae_sd is None and none.r2 is None
    rows = [found, none]
    table = list(csv.DictReader(io.StringIO(table_csv(rows))))
    assert float(table[0]["coverage"]) == 0.75 and table[1]["coverage"] == ""
    assert "2.50 ± 2.12" in markdown(rows, "x") and "a\\|b" in markdown(rows, "x")
    assert r"a|b \& 50 \%\_" in latex(rows, "x") and r"2.50 $\pm$ 2.12" in latex(rows, "x")


def test_total_intensity_tells_the_counts_of_a_set_that_is_so_made(tmp_path):
    loaded = read_set("bbbc005-bodies", bbbc005(tmp_path / "b"))
    outcomes = run(loaded, [], Plan("source", 4), tmp_path / "run")
    mean, intensity = (row(outcome, 0) for outcome in outcomes)
    assert intensity.mae < 0.1 < 2 < mean.mae


def test_intensity_on_the_real_set_is_what_is_published(shared_data, tmp_path):
    for name, mae in (("bbbc005-nuclei", 1.09), ("bbbc005-bodies", 1.50)):
        loaded = read_set(name, shared_data / "bbbc005")
        assert len(loaded.items) == 1800 and len(set(loaded.groups)) == 600
        assert row(run(loaded, [], Plan("source", 360, draws=5), tmp_path)[1], 0).mae == pytest.approx(mae, abs=0.1)


def test_the_command_measures_and_trains_and_goes_on_where_it_was(capsys, tmp_path, tiny_weights, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cellapp.verify.EXAMPLES", tmp_path / "examples")
    monkeypatch.setattr("cellapp.benchmark_steps.EXAMPLE", EXAMPLE)
    (tmp_path / "examples").mkdir()
    picture(tmp_path / "examples" / EXAMPLE)
    vgg(tmp_path / "vgg", 12)
    command = ["benchmark", "vgg", "--data", "vgg", "--n-test", 5, "--weights", "fcrn-a/untrained", "--method",
               "fcrn-a", "--n-train", 2, "--n-val", 2, "--draws", 2, "--epochs", 1, "--steps", 1, "--batch", 1,
               "--crop", 32, "--out", "run", "--device", "cpu", "--json", "--worst", 2]
    code, out, err = cellapp(capsys, *command)
    assert code == 0, err
    rows = [json.loads(text) for text in out if "mae" in text]
    assert [(r["method"], r["draws"], r["images"], r["n_train"]) for r in rows] == [
        ("fcrn-a/untrained", 1, 5, 0), ("fcrn-a, from scratch", 2, 5, 2), ("mean of the other images", 1, 5, 0),
        ("total intensity of the other images", 1, 5, 0)]
    assert rows[1]["mae_sd"] is not None and rows[1]["seconds"] > 0 and rows[1]["parameters"] == 1_365_249
    assert len(list((tmp_path / "run" / "counts").iterdir())) == 15
    assert "| fcrn-a, from scratch | 2 | 2 | 5 |" in (tmp_path / "run" / "benchmark.md").read_text()
    assert (tmp_path / "run" / "images.csv").read_text().count("\n") == 1 + 5 * 5

    pages = [(tmp_path / "run" / name).read_text() for text in out if "wrote" in text
             for name in [json.loads(text)["wrote"].rpartition("/")[2]]]
    assert len(pages) == 2 and all(4 <= text.count("data:image/jpeg") <= 12 for text in pages)
    command = command[:-2]

    def never(*_, **__):
        raise AssertionError("counted or trained again")

    monkeypatch.setattr("cellapp.benchmark_steps.train", never)
    monkeypatch.setattr("cellapp.methods.Counter.predict", never)
    code, again, err = cellapp(capsys, *command)
    assert code == 0, err
    assert [json.loads(text) for text in again if "mae" in text] == rows
    for wrong, words in ((["--split", "x.csv"], "--dots and --split are for images of your own"),
                         (["--n-train", 0, "--n-val", 0], "needs images to learn from"),
                         (["--n-test", 12], "12 of 12 images cannot be tested")):
        code, _, err = cellapp(capsys, *command, *wrong)
        assert code == 2 and words in err


def test_images_are_learnt_from_as_the_weights_to_begin_with_know_them():
    """Dark cells of half the size of those that the weights know: counting then reads what training has learnt from."""
    begin = find("recount/general")
    scenes = [simulate("nuclei", 9, k, size=(128, 128), n=6) for k in range(4)]
    small = [resized(Dotted(str(k), s.image.astype(np.float32), s.points), (48, 48)) for k, s in enumerate(scenes)]
    dark = [replace(item, image=255 - item.image) for item in small]
    _, choose, about = _as_known(dark[:3], dark[3:], begin)
    diameter = about["input"]["image_diameter"]
    assert about["input"]["cell_diameter"] == begin.input.cell_diameter and diameter < 0.8 * begin.input.cell_diameter
    assert (about["input"]["polarity"], about["input"]["negatives"]) == ("bright on dark", True)
    counter = load("recount/general")
    counter.weights = begin.model_copy(update={"input": begin.input.model_copy(update=about["input"])})
    read = counter.look(Image.from_array(dark[3].image), Options()).plane
    np.testing.assert_allclose(read, choose[0].image, atol=1e-3)
    assert choose[0].count == dark[3].count == 6
    untouched, *_ = _as_known(dark[:3], dark[3:], None)
    assert untouched[0].image is dark[0].image


def test_multiplications_are_those_of_the_layers(tiny_weights):
    # 256² · 9 · 32 of the first layer, 128² · 9 · 32 · 64 of the second, … : added up by hand from the layers
    assert gmac(find("fcrn-a/untrained")) == pytest.approx(6.0608, abs=1e-3)
    assert gmac(find("fcrn-b/untrained")) == pytest.approx(41.24, abs=0.01)
    assert gmac(find("recount/general", BUNDLED)) == pytest.approx(0.7054, abs=1e-3)


def test_a_set_that_is_too_small_is_said(tmp_path):
    empty = Loaded((), ())
    with pytest.raises(BenchmarkError, match="cannot be tested"):
        run(empty, [], Plan("last", 1), tmp_path)
    with pytest.raises(BenchmarkError, match="no protocol “x”"):
        run(empty, [], Plan("x", 1), tmp_path)
