"""``train`` and ``evaluate`` on every kind of truth: dots, label masks, and numbers of cells in a table."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as PillowImage
from test_cli import EXAMPLE, cellapp, picture

from cellapp import load
from cellapp import weights as store
from cellapp.cli import main
from cellapp.data import outlined_diameter, read_counted, read_folder, read_table, rescaled, resized
from cellapp.errors import DotsError
from cellapp.simulate import simulate


@pytest.fixture(autouse=True)
def _weights(tiny_weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cellapp.verify.EXAMPLES", tmp_path / "examples")
    (tmp_path / "examples").mkdir()
    picture(tmp_path / "examples" / EXAMPLE)


@pytest.fixture
def counted(tmp_path):
    """Six images of 64×64 px of which a table tells the number of cells, two of them for testing."""
    folder = tmp_path / "counted"
    folder.mkdir()
    lines = ["file,count,split"]
    for k in range(6):
        scene = simulate("nuclei", 1, k, size=(64, 64))
        PillowImage.fromarray(scene.image).save(folder / f"{k}.png")
        lines.append(f"{k}.png,{len(scene.points)},{'test' if k > 3 else 'train'}")
    (tmp_path / "index.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture
def masked(tmp_path):
    """Four images with label masks beside them, in a folder of their own."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for k in range(4):
        scene = simulate("nuclei", 2, k, size=(64, 64), n=4)
        PillowImage.fromarray(scene.image).save(tmp_path / "images" / f"{k}.png")
        PillowImage.fromarray(scene.labels.astype(np.uint16)).save(tmp_path / "labels" / f"{k}.png")
    return tmp_path


def test_tables_choose_images_and_tell_their_counts(counted, tmp_path):
    table = read_table(tmp_path / "index.csv", ("split=test",))
    assert list(table) == ["4.png", "5.png"]
    items = read_counted(counted, table)
    assert [item.name for item in items] == ["4.png", "5.png"]
    assert [item.count for item in items] == list(table.values())
    assert all(item.points is None for item in items)
    with pytest.raises(DotsError, match=r"no column “stain”; its columns are: file, count, split"):
        read_table(tmp_path / "index.csv", ("stain=1",))
    with pytest.raises(DotsError, match="no row meets split=val"):
        read_table(tmp_path / "index.csv", ("split=val",))
    with pytest.raises(DotsError, match="does not say how many cells"):
        read_counted(counted, {"4.png": float("nan")})
    (tmp_path / "odd.csv").write_text("stem,count\na,many\n")
    with pytest.raises(DotsError, match="number of cells cannot be read"):
        read_table(tmp_path / "odd.csv")


def test_label_masks_are_kept_and_resized_with_their_image(masked):
    [item, *_] = read_folder(masked / "images", masked / "labels")
    scene = simulate("nuclei", 2, 0, size=(64, 64), n=4)
    np.testing.assert_array_equal(item.labels, scene.labels)
    assert item.count == 4
    double = resized(item, (128, 128))
    assert double.image.shape == double.labels.shape == (128, 128)
    assert set(np.unique(double.labels)) == set(np.unique(item.labels))
    np.testing.assert_allclose(double.points, (item.points + 0.5) * 2 - 0.5)
    for point, number in zip(double.points, np.unique(item.labels)[1:], strict=True):
        assert np.hypot(*(np.argwhere(double.labels == number).mean(0) - point)) < 1.5
    larger = rescaled(item, 60.0)
    assert larger.image.shape[0] > 100, "cells of about 22 px are brought to 60"
    true = outlined_diameter(item.labels)
    assert outlined_diameter(rescaled(item, true / 2, "outlines").labels) == pytest.approx(true / 2, rel=0.1)
    assert rescaled(replace(item, labels=None), 60.0, "outlines").image.shape == larger.image.shape
    assert outlined_diameter(None) is outlined_diameter(np.zeros((4, 4), int)) is None
    PillowImage.fromarray(np.ones((9, 9), np.uint8)).save(masked / "labels" / "0.png")
    with pytest.raises(DotsError, match="an image of 9×9 px, but this one has 64×64 px"):
        read_folder(masked / "images", masked / "labels")


def test_a_mask_network_is_trained_in_two_parts_and_its_interval_is_measured(capsys, counted, tmp_path):
    common = ["train", "--method", "fpn-vgg11", "--build", "height=64", "--build", "width=64", "--size", "64x64",
              "--epochs", 1, "--steps", 2, "--batch", 2, "--example", EXAMPLE, "--threads", 1]
    code, _, err = cellapp(capsys, *common, "--preset", "nuclei", "--n-train", 2, "--n-val", 1, "--out", "fpn/all")
    assert code == 2
    assert "--part mask" in err
    code, _, err = cellapp(capsys, *common, "--part", "mask", "--preset", "nuclei", "--n-train", 2, "--n-val", 1,
                           "--learning-rate", "0.0001", "--out", "fpn/masks")
    assert code == 0, err
    second = [*common, "--part", "count", "--images", counted, "--table", "index.csv", "--where", "split=train",
              "--val-include", "3.png", "--cell-diameter", 20, "--start", "fpn/masks", "--out", "fpn/mine"]
    code, _, err = cellapp(capsys, *second)
    assert code == 0, err
    row = store.find("fpn/mine")
    assert (row.training["n_train"], row.training["n_val"], row.parent) == (3, 1, "fpn/masks")
    assert row.build == {"height": 64, "width": 64}
    code, lines, err = cellapp(capsys, "evaluate", "--images", counted, "--table", "index.csv", "--where", "split=test",
                               "--weights", "fpn/mine", "--record", "counted", "--json")
    assert code == 0, err
    figures = json.loads(lines[-1])
    assert figures["images"] == 2
    assert figures["coverage"] in (0, 0.5, 1)
    assert store.find("fpn/mine").scores[0].coverage == figures["coverage"]
    assert figures["intervals"] == {} and "limits_of_agreement" not in figures, "two images are too few"
    assert "--table index.csv --where split=test" in store.find("fpn/mine").scores[0].command
    prediction = load("fpn/mine").predict(np.asarray(PillowImage.open(counted / "4.png")))
    assert prediction.interval.source == "aleatoric"


def test_segmentation_keeps_the_threshold_of_its_validation(capsys, masked):
    code, _, err = cellapp(capsys, "train", "--method", "fcn", "--images", "images", "--dots", "labels", "--n-train", 3,
                           "--n-val", 1, "--epochs", 1, "--steps", 2, "--batch", 2, "--crop", 32, "--example", EXAMPLE,
                           "--threads", 1, "--out", "fcn/mine")
    assert code == 0, err
    row = store.find("fcn/mine")
    assert 0.05 <= row.settings.threshold <= 0.95
    assert row.input.polarity == "bright on dark"
    assert row.summary.images == row.training["n_train"]
    code, lines, err = cellapp(capsys, "evaluate", "--images", "images", "--dots", "labels", "--weights", "fcn/mine",
                               "--record", "masked", "--json")
    assert code == 0, err
    figures = json.loads(lines[-1])
    assert figures["mae"] <= figures["game1"] <= figures["game2"] <= figures["game3"]
    [score] = store.find("fcn/mine").scores
    assert score.pixel_mcc == pytest.approx(figures["pixel_mcc"], abs=1e-4)
    assert score.roc[0][:2] == (0, 0)
    assert score.roc[-1][:2] == (1, 1)
    code, _, err = cellapp(capsys, "train", "--method", "fcn", "--images", "images", "--dots", "labels", "--out", "x",
                           "--n-train", 3, "--n-val", 1, "--imagenet", "--example", EXAMPLE)
    assert code == 2
    assert "for ResNets only" in err


def test_a_patch_network_keeps_its_windows(capsys, masked):
    code, _, err = cellapp(capsys, "train", "--method", "alexnet", "--build", "hidden=16", "--images", "images",
                           "--dots", "labels", "--n-train", 3, "--n-val", 1, "--epochs", 1, "--steps", 1,
                           "--batch", 2, "--crop", 40, "--example", EXAMPLE, "--threads", 1, "--out", "alexnet/mine")
    assert code == 0, err
    row = store.find("alexnet/mine")
    assert (row.settings.window, row.settings.step) == (40, 20)
    assert row.build == {"hidden": 16}


def test_more_sizes_and_simulated_images_are_learnt_from_as_well(capsys, masked, tmp_path, monkeypatch):
    learnt = []
    monkeypatch.setattr("cellapp.training.train", lambda learn, *rest, **named: learnt.extend(learn) or iter(()))
    common = ["train", "--method", "recount", "--images", masked / "images", "--dots", masked / "labels",
              "--n-train", 2, "--n-val", 1, "--run", tmp_path / "run", "--out", "recount/mixed", "--example", EXAMPLE]
    code, _, err = cellapp(capsys, *common, "--rescale", "outlines", "--cell-diameter", 12, "--zoom", 1.5,
                           "--mix", "nuclei=3")
    assert code == 2 and "recount/mixed" not in store.manifest(), err  # nothing was trained: there is no best epoch
    assert len(learnt) == 2 * 2 + 3
    sizes = sorted(outlined_diameter(item.labels) for item in learnt)
    assert sizes[:5] == pytest.approx([12] * 5, rel=0.15) and sizes[5:] == pytest.approx([18] * 2, rel=0.15)
    for wrong, why in ((["--zoom", 9], "not a number between"), (["--mix", "cats=3"], "the presets are")):
        with pytest.raises(SystemExit):
            main([str(part) for part in (*common, *wrong)])
        assert why in capsys.readouterr().err
