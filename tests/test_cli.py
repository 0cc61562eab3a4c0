"""``python -m cellapp``: every verb, on good files and bad ones."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from conftest import ROOT
from PIL import Image as PillowImage

from cellapp import load
from cellapp import weights as store
from cellapp.cli import main
from cellapp.dots import read_dots
from cellapp.errors import Cancelled
from cellapp.methods import METHODS

A, B = "fcrn-a/untrained", "fcrn-b/untrained"
KEYS = ["image", "region", "method", "weights", "count", "low", "high", "level", "seconds", "device", "status",
        "message"]
EXAMPLE = "cli-test.png"


@pytest.fixture(autouse=True)
def _weights(tiny_weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def example(tmp_path, monkeypatch):
    """A small image in the place of the examples, so that a known answer is quick."""
    monkeypatch.setattr("cellapp.verify.EXAMPLES", tmp_path / "examples")
    (tmp_path / "examples").mkdir()
    picture(tmp_path / "examples" / EXAMPLE)
    return EXAMPLE


def picture(path, seed=0, shape=(40, 48)):
    PillowImage.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


def cellapp(capsys, *arguments):
    """Run one command; the exit code, the lines on stdout and the text on stderr."""
    capsys.readouterr()
    try:
        code = main([str(a) for a in arguments])
    except SystemExit as stopped:                            # argparse
        code = stopped.code
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out.splitlines(), err


@pytest.fixture
def mixed(tmp_path):
    """A good image among files that only look like one."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    good = picture(folder / "good.png", shape=(120, 100))
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("only text, no picture\n" * 9)
    (folder / "half.png").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    tifffile.imwrite(folder / "nan.tif", np.full((30, 30), np.nan, np.float32))
    return folder


def test_bad_files_get_a_line_each_and_the_good_one_counts(capsys, mixed):
    files = sorted(mixed.iterdir())
    code, lines, err = cellapp(capsys, "count", *files, "no-such-file.png", "--weights", A)
    assert code == 1
    assert err == ""
    assert len(lines) == len(files) + 1
    for path, line in zip(files, lines, strict=False):
        if path.name == "good.png":
            count = load(A, "cpu").predict(np.asarray(PillowImage.open(path))).count
            assert line.startswith(f"good.png: {count:.1f} cells (")
        else:
            assert line.startswith(f"error: {path.name}: ")
            assert line.endswith(".")
    assert lines[-1].startswith("error: no-such-file.png: ")


def test_json_has_one_object_a_line_with_the_promised_keys(capsys, mixed):
    code, lines, _ = cellapp(capsys, "count", mixed, "--weights", A, "--json", "--device", "cpu")
    records = [json.loads(line) for line in lines]
    assert code == 1
    assert [list(record) for record in records] == [KEYS] * 5
    assert [r["image"] for r in records] == ["empty.png", "good.png", "half.png", "nan.tif", "text.png"]
    assert [r["status"] for r in records] == ["error", "ok", "error", "error", "error"]
    good = records[1]
    assert isinstance(good["count"], float)
    assert (good["method"], good["weights"], good["device"], good["low"]) == ("fcrn-a", A, "cpu", None)
    assert all(r["message"] and r["count"] is None for r in records if r["status"] == "error")


def test_out_holds_a_table_and_the_files_of_every_counted_image(capsys, mixed, tmp_path):
    picture(mixed / "good.tif", seed=1)                      # the same stem
    code, _, _ = cellapp(capsys, "count", mixed, "--weights", A, "--out", tmp_path / "new" / "out")
    assert code == 1
    out = tmp_path / "new" / "out"
    ends = "_density.tif", "_overlay.png", "_points.csv", "_rois.zip", ".geojson"
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["counts.csv", "run.json", "CellCounter_good.xml", "CellCounter_good-2.xml",
         *(f"{stem}__fcrn-a{end}" for stem in ("good", "good-2") for end in ends)])
    with open(out / "counts.csv", encoding="utf-8-sig", newline="") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert len(rows) == 6
    for name, stem in (("good.png", "good"), ("good.tif", "good-2")):
        density = tifffile.imread(out / f"{stem}__fcrn-a_density.tif")
        assert density.sum(dtype=float) == pytest.approx(float(rows[name]["count"]), rel=1e-4)
    assert rows["half.png"]["status"] == "error"


def test_a_folder_gives_its_images_and_leaves_out_label_masks(capsys, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("b.png", "a.TIF", "a_labels.png"):
        picture(folder / name.lower()).rename(folder / name)
    (folder / "notes.txt").write_text("no image")
    code, lines, err = cellapp(capsys, "count", folder, "--weights", A)
    assert code == 0
    assert [line.split(":")[0] for line in lines] == ["a.TIF", "b.png"]
    assert err == ("cellapp: 2 files are set aside: a_labels.png (a label mask by its name), notes.txt (no image by "
                   "its name).\n")
    (tmp_path / "none").mkdir()
    code, lines, err = cellapp(capsys, "count", tmp_path / "none", "--weights", A)
    assert (code, lines) == (2, [])
    assert "there is no image in this folder" in err


def test_options_reach_the_network_and_their_errors_name_the_image(capsys, tmp_path):
    path = picture(tmp_path / "grey.png")
    _, lines, _ = cellapp(capsys, "count", path, "--weights", A, "--json")
    _, other, _ = cellapp(capsys, "count", path, "--weights", A, "--json", "--cell-diameter", "20", "--tile", "64")
    assert json.loads(lines[0])["count"] != json.loads(other[0])["count"]
    assert "0.5 times its size" in json.loads(other[0])["message"]
    code, lines, _ = cellapp(capsys, "count", path, "--weights", A, "--channel", "DAPI")
    assert code == 1
    assert lines[0].startswith("error: grey.png: it has no channel")
    monster = tifffile.imwrite(tmp_path / "big.tif", np.zeros((2000, 2000), np.uint8)) or tmp_path / "big.tif"
    code, lines, _ = cellapp(capsys, "count", monster, "--weights", A, "--cell-diameter", "1.5")
    assert code == 1
    assert lines[0].startswith("error: big.tif: ")


def test_weights_are_those_asked_for_or_none(capsys, tmp_path):
    path = picture(tmp_path / "a.png")
    _, lines, _ = cellapp(capsys, "count", path, "--method", "fcrn-b", "--json")
    assert json.loads(lines[0])["weights"] == B
    code, _, err = cellapp(capsys, "count", path, "--method", "fcrn-b", "--weights", A)
    assert code == 2
    assert "is a fcrn-a network, not fcrn-b" in err
    code, lines, err = cellapp(capsys, "count", path)
    assert (code, lines) == (2, [])
    assert f"“fcrn-a/simulated” here; choose one of: {A}, {B}" in err


@pytest.mark.parametrize("arguments", [
    ["count", "a.png", "--weights", A, "--tile", "5"], ["count", "a.png", "--weights", A, "--cell-diameter", "nan"],
    ["count", "a.png", "--weights", A, "--cell-diameter", "ten"], ["count", "a.png", "--weights", A, "--device", "tpu"],
    ["count", "a.png", "--method", "unet"], ["count"], ["count", "a.png", "--weights", A, "--out", "a.png"],
    ["simulate", "--preset", "cats", "--out", "x"], ["simulate", "--preset", "nuclei", "--out", "x", "-n", "0"],
    ["simulate", "--preset", "nuclei", "--out", "x", "--seed", "-1"],
    ["simulate", "--preset", "nuclei", "--out", "x", "--cells", "-1"],
    ["evaluate", "--images", "nowhere", "--weights", A],
    ["train", "--out", "fcrn-a/mine"], ["train", "--out", "fcrn-a/mine", "--preset", "nuclei", "--images", "."],
    ["train", "--out", "Not A Name", "--preset", "nuclei"], ["train", "--out", "../up", "--preset", "nuclei"],
    ["train", "--out", "mine", "--preset", "nuclei", "--example", "nothing.png"],
    ["train", "--out", "mine", "--preset", "nuclei", "--epochs", "0"],
    ["train", "--out", "mine", "--preset", "nuclei", "--learning-rate", "nan"],
    ["train", "--out", "mine", "--preset", "nuclei", "--method", "unet"],
    ["train", "--out", "mine", "--preset", "nuclei", "--n-train", "0"],
    ["train", "--out", "mine", "--preset", "nuclei", "--threads", "0"],
    ["train", "--out", "mine", "--preset", "nuclei", "--start", B],
    ["train", "--out", "mine", "--preset", "nuclei", "--cell-diameter", "-3"],
    ["train", "--out", "mine", "--preset", "nuclei", "--n-train", "2", "--n-val", "1", "--device", "tpu"],
    ["paint"], [],
])
def test_wrong_values_are_one_sentence_and_leave_nothing(capsys, tmp_path, arguments):
    picture(tmp_path / "a.png")
    before = sorted(tmp_path.rglob("*"))
    code, _, err = cellapp(capsys, *arguments)
    assert code == 2
    sentence = err.splitlines()[-1]                          # argparse puts the usage in front
    assert ": " in sentence
    assert sum(line.startswith(("cellapp: ", "python -m cellapp")) for line in err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_methods_and_weights_are_listed(capsys):
    code, lines, _ = cellapp(capsys, "methods", "--json")
    records = [json.loads(line) for line in lines]
    assert code == 0
    listed = {r["method"]: r["weights"] for r in records}
    assert listed["fcrn-a"] == [A]
    assert listed["resnet-152-c"] == []
    assert set(listed) == set(METHODS)
    code, lines, _ = cellapp(capsys, "weights", "list")
    assert code == 0
    assert [line.split(":")[0] for line in lines if not line.startswith(" ")] == list(store.manifest())
    score = store.Score(data="x", images=1, mae=1.0, mre=float("nan"), bias=0.0, command="")
    store.replace(store.find(A).model_copy(update={"scores": (score,)}))
    code, lines, _ = cellapp(capsys, "weights", "list", "--json")
    first = json.loads(lines[0], parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert first["scores"][0]["mre"] is None


def test_verify_counts_the_known_answers(capsys, example):
    row = store.find(A)
    count = load(A, "cpu").predict(np.asarray(PillowImage.open(picture("same.png")))).count
    (store.folder() / "manifest.json").unlink()
    assert cellapp(capsys, "verify")[0] == 2, "nothing to verify is no success"
    store.replace(row.model_copy(update={"check": store.Check(image=example, count=count, tolerance=0.05)}))
    code, lines, _ = cellapp(capsys, "verify")
    assert code == 0
    assert lines[0].startswith(f"{A}: ok ({count:.3f} cells in {example}")
    store.replace(row.model_copy(update={"check": store.Check(image=example, count=count + 0.1, tolerance=0.05)}))
    code, lines, _ = cellapp(capsys, "weights", "verify")
    assert code == 1
    assert lines == [f"FAILED {A}: counts {count:.3f} cells in {example} instead of {count + 0.1:.3f}; these weights "
                     "do not work as they should on this machine."]
    store.replace(row)
    code, lines, _ = cellapp(capsys, "verify", "--json")
    assert code == 1
    assert "no known answer" in json.loads(lines[0])["message"]


def test_simulate_gives_the_same_bytes_for_the_same_seed(capsys, tmp_path):
    for out, seed in (("one", 3), ("two", 3), ("three", 4)):
        code, lines, _ = cellapp(capsys, "simulate", "--preset", "nuclei", "-n", 2, "--seed", seed, "--cells", 5,
                                 "--out", tmp_path / out, "--json")
        assert code == 0
        assert [json.loads(line)["requested"] for line in lines] == [5, 5]
    one, two, three = ({path.name.replace("-4-", "-3-"): path.read_bytes() for path in (tmp_path / out).iterdir()}
                       for out in ("one", "two", "three"))
    assert len(one) == 6
    assert one == two
    assert one.keys() == three.keys()
    assert one["nuclei-3-000.png"] != three["nuclei-3-000.png"]


def test_what_was_simulated_can_be_evaluated(capsys, tmp_path):
    folder = tmp_path / "set"
    cellapp(capsys, "simulate", "--preset", "nuclei", "-n", 3, "--out", folder)
    true = [len(read_dots(path)) for path in sorted(folder.glob("*_dots.csv"))]
    code, lines, _ = cellapp(capsys, "evaluate", "--images", folder, "--weights", A, "--json", "--record", "nuclei")
    *images, total = map(json.loads, lines)
    assert code == 0
    assert [image["true"] for image in images] == true, "one line an image, none for its label mask"
    errors = np.array([image["count"] - image["true"] for image in images])
    assert total["images"] == 3
    assert total["mae"] == pytest.approx(np.abs(errors).mean())
    assert total["bias"] == pytest.approx(errors.mean())
    score = store.find(A).scores[0]
    assert (score.data, score.images) == ("nuclei", 3)
    assert score.mae == pytest.approx(total["mae"], abs=1e-3)
    cellapp(capsys, "evaluate", "--images", folder, "--weights", A, "--record", "nuclei", "--include", "*-000.png")
    assert [s.images for s in store.find(A).scores] == [1], "a score of the same name is replaced"


def test_train_then_count_with_the_new_weights(capsys, tmp_path, example):
    train = ["train", "--preset", "nuclei", "--n-train", 2, "--n-val", 1, "--epochs", 1, "--steps", 2, "--batch", 2,
             "--crop", 32, "--out", "fcrn-a/mine", "--title", "Mine", "--example", example, "--device", "cpu"]
    code, lines, err = cellapp(capsys, *train)
    assert (code, err) == (0, "")
    assert lines[0].startswith("epoch 1/1: loss ")
    row = store.find("fcrn-a/mine")
    assert (row.title, row.check.image, row.training["n_train"]) == ("Mine", example, 2)
    assert (tmp_path / "runs" / "fcrn-a--mine" / "best.safetensors").exists()
    path = picture(tmp_path / "a.png")
    code, lines, _ = cellapp(capsys, "count", path, "--weights", "fcrn-a/mine", "--json")
    assert code == 0
    assert json.loads(lines[0])["count"] == pytest.approx(row.check.count, abs=1e-3)
    code, lines, _ = cellapp(capsys, *train, "--json", "--start", "fcrn-a/mine", "--run", "another folder")
    assert code == 0
    assert json.loads(lines[-1])["id"] == "fcrn-a/mine"
    code, _, err = cellapp(capsys, *train, "--seed", 1)
    assert code == 2
    assert "holds a run with other settings" in err


def test_training_on_a_folder(capsys, tmp_path, example):
    cellapp(capsys, "simulate", "--preset", "nuclei", "-n", 3, "--out", tmp_path / "set")
    code, _, err = cellapp(capsys, "train", "--images", tmp_path / "set", "--n-train", 2, "--n-val", 1, "--epochs", 1,
                           "--steps", 1, "--batch", 1, "--crop", 16, "--out", "mine", "--example", example)
    assert (code, err) == (0, "")
    assert store.find("mine").trained_on == "2 images of set"
    code, _, err = cellapp(capsys, "train", "--images", tmp_path / "set", "--n-train", 3, "--n-val", 1,
                           "--out", "other", "--example", example)
    assert code == 2
    assert "3 dotted images cannot give 3 for training and 1" in err


def test_a_keyboard_interrupt_ends_without_a_traceback(capsys, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("cellapp.methods.Counter.predict", stop)
    assert cellapp(capsys, "count", picture(tmp_path / "a.png"), "--weights", A)[::2] == (130, "cellapp: stopped.\n")


def test_cancelling_is_not_a_problem_of_the_file(tmp_path):
    from cellapp.batch import count_one

    def stop(done, total):
        raise Cancelled("The user stopped.")

    with pytest.raises(Cancelled):
        count_one(picture(tmp_path / "a.png"), load(A, "cpu"), progress=stop)


def test_python_m_cellapp(tiny_weights, mixed):
    def start(*arguments):
        environment = {**os.environ, "CELLAPP_WEIGHTS": str(tiny_weights), "OMP_NUM_THREADS": "1"}
        return subprocess.run([sys.executable, "-m", "cellapp", *map(str, arguments)], cwd=ROOT, capture_output=True,
                              text=True, env=environment)

    done = start("count", mixed / "good.png", mixed / "empty.png", "--weights", A)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == ""
