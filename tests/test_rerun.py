"""``run.json``: what it holds, that its command and `rerun` give the same counts, and that it is only data."""

import json
import os
import shlex
import zipfile

import numpy as np
import pytest
from conftest import add_weights
from PIL import Image as PillowImage
from test_cli import cellapp

from cellapp import __version__
from cellapp import weights as store
from cellapp.methods import Options
from cellapp.region_files import write_regions
from cellapp.regions import box
from cellapp.run_record import command_line, read_run

A = "fcrn-a/untrained"


@pytest.fixture
def run(capsys, tiny_weights, tmp_path, monkeypatch):
    """A folder of images counted in a region, with a bad file among them; the path of its run.json."""
    monkeypatch.chdir(tmp_path)
    for k, name in enumerate(("a.png", "b.png", "c 1/a.png")):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        PillowImage.fromarray(np.random.default_rng(k).integers(0, 256, (40, 48), dtype=np.uint8)).save(path)
    (tmp_path / "images" / "bad.png").write_text("no picture")
    (tmp_path / "roi.geojson").write_bytes(write_regions([box("corner", -0.5, -0.5, 19.5, 19.5)]))
    code, _, err = cellapp(capsys, "count", "images", "--weights", A, "--cell-diameter", 8, "--regions", "roi.geojson",
                           "--out", "out")
    assert (code, err) == (1, "")
    return tmp_path / "out" / "run.json"


def test_it_says_what_the_counts_depend_on(run):
    record = json.loads(run.read_bytes())
    assert record["versions"].keys() == {"cellapp", "python", "torch", "numpy"}
    assert record["versions"]["cellapp"] == __version__
    assert (record["weights"], record["weights_sha256"]) == (A, store.find(A).sha256)
    assert (record["options"]["cell_diameter"], record["device"]) == (8, "cpu")
    assert record["command"] == ("python -m cellapp count images --weights fcrn-a/untrained --cell-diameter 8.0 "
                                 "--regions roi.geojson")
    images = {one["name"]: one for one in record["inputs"]}
    assert list(images) == ["a.png", "b.png", "bad.png", "c 1/a.png"]
    assert images["bad.png"]["status"] == "error" and images["bad.png"]["count"] is None
    assert len(images["a.png"]["sha256"]) == 64 and images["a.png"]["regions"].keys() == {"corner"}
    assert str(run.parent.parent) not in run.read_text()


def test_its_command_counts_the_same(capsys, run):
    before = read_run(run)
    words = shlex.split(before.command)
    cellapp(capsys, *words[3:], "--out", "again")
    after = read_run(run.parents[1] / "again" / "run.json")
    assert after.model_dump(exclude={"date"}) == before.model_dump(exclude={"date"})
    given = Options(channel="Ch 1 (DAPI)", cell_diameter=12.25, tile=128, saliency=True)
    line = command_line(["my images"], A, given)
    assert shlex.split(line)[3:] == ["count", "my images", "--weights", A, "--channel", "Ch 1 (DAPI)",
                                     "--cell-diameter", "12.25", "--tile", "128", "--saliency"]


def test_rerun_gives_the_same_counts(capsys, run):
    code, lines, err = cellapp(capsys, "rerun", run, "--images", "images")
    assert code == 0
    assert [line.split(":")[0] for line in lines] == ["same  a.png", "same  a.png, corner", "same  b.png",
                                                      "same  b.png, corner", "same  bad.png", "same  c 1/a.png",
                                                      "same  c 1/a.png, corner"]
    assert err == "cellapp: 7 counts again, none of them different.\n"
    with zipfile.ZipFile("packed.zip", "w") as box_:
        for name in ("a.png", "b.png", "bad.png", "c 1/a.png"):
            box_.write(run.parents[1] / "images" / name, f"folder/{name}")
    code, lines, _ = cellapp(capsys, "rerun", run, "--images", "packed.zip", "--json")
    assert code == 0
    assert [json.loads(line)["difference"] for line in lines] == [""] * 7


def test_what_was_changed_is_named(capsys, run):
    images = run.parents[1] / "images"
    PillowImage.fromarray(np.random.default_rng(9).integers(0, 256, (40, 48), dtype=np.uint8)).save(images / "b.png")
    (images / "c 1" / "a.png").unlink()
    (images / "a.png").rename(images / "c 1" / "a.png")      # the content of a.png, found by its sha256 alone
    code, lines, err = cellapp(capsys, "rerun", run, "--images", images)
    assert code == 1
    told = {line.split(":")[0]: line for line in lines}
    assert "the file was changed: it has another sha256; " in told["DIFFERENT  b.png"]
    assert "cells)" in told["DIFFERENT  b.png"]
    assert "the file was changed" in told["DIFFERENT  c 1/a.png"]
    assert "same  a.png" in told and "same  bad.png" in told
    assert "of them different" in err
    (images / "b.png").unlink()
    code, lines, _ = cellapp(capsys, "rerun", run, "--images", images, "--json")
    gone = [record for record in map(json.loads, lines) if record["image"] == "b.png"]
    assert (code, len(gone), gone[0]["now"], gone[0]["difference"]) == (1, 1, None, "it is not here")
    code, _, err = cellapp(capsys, "rerun", run)             # among the results there are no images
    assert code == 2
    assert "None of the 4 images of the run is here; give their folder or zip with --images." in err


def test_other_weights_are_named(capsys, run, tiny_weights):
    import torch

    state = {name: tensor + 0.01 * torch.ones_like(tensor) if tensor.is_floating_point() else tensor
             for name, tensor in store.read_state(store.find(A)).items()}
    about = store.find(A).model_dump(exclude={"files"})
    store.add(state, tiny_weights, **about)
    code, lines, err = cellapp(capsys, "rerun", run, "--images", "images")
    assert code == 1
    assert f"The weights {A} are not those of the run: sha256 " in err
    assert any(line.startswith("DIFFERENT  a.png: ") for line in lines)
    os.remove(tiny_weights / "manifest.json")
    add_weights("fcrn-b", tiny_weights)
    code, lines, err = cellapp(capsys, "rerun", run, "--images", "images")
    assert (code, lines) == (2, []) and "There are no weights called" in err


def test_its_names_lead_nowhere(capsys, run, tmp_path):
    record = json.loads(run.read_bytes())
    PillowImage.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "secret.png")
    for one, name in zip(record["inputs"], ("../secret.png", str(tmp_path / "secret.png"), "b.png", "\x1b[31mx.png"),
                         strict=True):
        one["name"] = name
    record["command"] = "rm -rf /"
    run.write_text(json.dumps(record))
    code, lines, _ = cellapp(capsys, "rerun", run, "--images", "images")
    assert code == 1
    assert sum("it is not here" in line for line in lines) == 3
    assert not any("\x1b" in line for line in lines)


@pytest.mark.parametrize(("change", "why"), [
    ({"format": "cellapp run 9"}, "it is of another version"), ({"options": {"magic": 1}}, "its option magic"),
    ({"options": {"tile": 1}}, "its option tile"), ({"inputs": [{"name": "a"}]}, "inputs.0.status"),
    ({"inputs": [{"name": "a", "status": "ok", "count": "NaN"}]}, "inputs.0.count"), ({"extra": 1}, "extra"),
    ({"regions": [{"name": 1}]}, "A region in the saved settings is damaged"),
    ({"weights": "../x"}, "no weights called"),
])
def test_a_damaged_record_is_one_sentence(capsys, run, change, why):
    run.write_text(json.dumps(json.loads(run.read_bytes()) | change))
    code, lines, err = cellapp(capsys, "rerun", run, "--images", "images")
    assert (code, lines) == (2, [])
    assert why in err and err.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff\xfe", b"null", b'{"format": 1e999}'])
def test_what_is_no_record_is_one_sentence(capsys, tiny_weights, tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    code, lines, err = cellapp(capsys, "rerun", tmp_path / "run.json")
    assert (code, lines) == (2, [])
    assert err.startswith("cellapp: run.json: this is no record of a count") and err.count("\n") == 1
    assert cellapp(capsys, "rerun", tmp_path / "none.json")[0] == 2
