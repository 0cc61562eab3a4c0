"""Weights are read only when they are exactly what the manifest says, and nothing in them is ever run."""

import hashlib
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from conftest import add_weights, plausible
from pydantic import ValidationError

from cellapp import load
from cellapp import weights as store
from cellapp.errors import WeightsError
from cellapp.files import write_atomic

ID = "fcrn-a/untrained"
pytestmark = pytest.mark.usefixtures("one_thread")


def change(folder: Path, **fields) -> None:
    """Change fields of the first row in the manifest, or of its first file, whatever they are."""
    path = folder / "manifest.json"
    rows = json.loads(path.read_text())
    rows[0]["files"][0] |= {k: v for k, v in fields.items() if k in ("file", "bytes", "sha256", "url")}
    rows[0] |= {k: v for k, v in fields.items() if k not in ("file", "bytes", "sha256", "url")}
    path.write_text(json.dumps(rows))


def exchange(folder: Path, content: bytes) -> None:
    """Put other bytes in the place of the first row's weights, with a row that fits them."""
    row = store.find(ID, folder)
    (folder / row.files[0].file).write_bytes(content)
    change(folder, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def test_what_is_added_is_found_and_read_again(tmp_path):
    state = {"b": torch.randn(3, 4), "a": torch.tensor([1.5, -2.0])}
    about = {"id": "fcrn-a/mine", "title": "Mine", "method": "fcrn-a", "input": store.Input(cell_diameter=12.5),
             "map_scale": 100.0, "sigma": 2.0, "trained_on": "zellen, “Größe” 5 µm", "licence": "CC0",
             "check": store.Check(image="x.png", count=5, tolerance=0.1), "training": {"seed": 3}}
    row = store.add(state, tmp_path, **about)
    assert store.find("fcrn-a/mine", tmp_path) == row
    assert [part.file for part in row.files] == ["fcrn-a--mine.safetensors"]
    assert row.sha256 == row.files[0].sha256
    read = store.read_state(row, tmp_path)
    assert sorted(read) == ["a", "b"]
    assert all(torch.equal(read[name], state[name]) for name in state)
    half = store.add({name: tensor.half() for name, tensor in state.items()}, tmp_path, **about)
    assert list(store.manifest(tmp_path)) == ["fcrn-a/mine"], "the same id replaces its row"
    assert half.bytes < row.bytes
    assert {tensor.dtype for tensor in store.read_state(half, tmp_path).values()} == {torch.float32}


def test_rows_keep_their_order(tiny_weights):
    first = store.find(ID)
    store.replace(first.model_copy(update={"title": "changed"}))
    assert list(store.manifest())[:2] == [ID, "fcrn-b/untrained"]
    assert store.find(ID).title == "changed"


def test_large_weights_are_split_and_come_back_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "MAX_FILE", 1000)
    state = {name: torch.randn(200) for name in "abc"} | {"n": torch.tensor(7)}
    about = {"id": "big", "title": "Big", "method": "fcrn-a", "input": store.Input(cell_diameter=12.5),
             "map_scale": 100.0, "sigma": 2.0, "trained_on": "nothing", "licence": "CC0"}
    row = store.add(state, tmp_path, **about)
    names = [f"big-{k:05d}-of-00003.safetensors" for k in (1, 2, 3)]
    assert [part.file for part in row.files] == names
    assert row.bytes == sum((tmp_path / name).stat().st_size for name in names)
    read = store.read_state(store.find("big", tmp_path), tmp_path)
    assert set(read) == set(state)
    assert all(torch.equal(read[name], state[name]) for name in state)
    assert read["n"].dtype == torch.int64, "numbers of batches stay whole"
    digest = row.sha256
    (tmp_path / names[1]).write_bytes((tmp_path / names[1]).read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match=r"big-00002-of-00003\.safetensors does not have the sha256"):
        store.read_state(row, tmp_path)
    small = store.add({"a": torch.zeros(3)}, tmp_path, **about)
    assert small.sha256 != digest
    left = sorted(path.name for path in tmp_path.glob("[!.]*"))
    assert left == ["big.safetensors", "manifest.json"], "the old files are gone"


def test_two_names_never_share_a_file(tmp_path):
    add_weights("fcrn-a", tmp_path, "fcrn-a/x")
    with pytest.raises(WeightsError, match="is that of fcrn-a/x; choose another name"):
        add_weights("fcrn-a", tmp_path, "fcrn-a--x")
    store.read_state(store.find("fcrn-a/x", tmp_path), tmp_path)


def test_the_folder_is_that_of_the_environment(tiny_weights, tmp_path, monkeypatch):
    assert store.folder() == tiny_weights
    assert ID in store.manifest()
    monkeypatch.setenv("CELLAPP_WEIGHTS", str(tmp_path / "empty"))
    assert store.manifest() == {}
    with pytest.raises(WeightsError, match="none are installed"):
        store.find(ID)
    monkeypatch.delenv("CELLAPP_WEIGHTS")
    assert store.folder() == store.BUNDLED


@pytest.mark.parametrize("position", [0, 20, 50_000, -1])
def test_one_flipped_bit_is_noticed(tiny_weights, position):
    path = tiny_weights / store.find(ID).files[0].file
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"fcrn-a/untrained: .* does not have the sha256"):
        load(ID)


@pytest.mark.parametrize("change_size", [lambda content: content[:-1], lambda content: content + b"\0",
                                         lambda content: b""])
def test_another_length_is_noticed_before_the_file_is_read(tiny_weights, change_size, monkeypatch):
    path = tiny_weights / store.find(ID).files[0].file
    path.write_bytes(change_size(path.read_bytes()))
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("read before its size was checked"))
    with pytest.raises(WeightsError, match=r"bytes instead of \d+"):
        load(ID)


def test_a_missing_file_is_named(tiny_weights):
    (tiny_weights / store.find(ID).files[0].file).unlink()
    with pytest.raises(WeightsError, match=r"fcrn-a--untrained\.safetensors is missing"):
        load(ID)


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_a_pickle_with_a_right_hash_is_refused_and_never_run(tiny_weights, tmp_path, kind):
    sprung = tmp_path / "sprung"
    if kind == "pickle":
        content = pickle.dumps({"head.bias": Trap(sprung)})
    else:
        torch.save({"head.bias": Trap(sprung)}, tmp_path / "t.pt")
        content = (tmp_path / "t.pt").read_bytes()
    exchange(tiny_weights, content)
    with pytest.raises(WeightsError, match="is not a safetensors file"):
        load(ID)
    assert not sprung.exists()


def saved(state) -> bytes:
    from safetensors.torch import save

    return save(state)


def test_values_that_are_not_finite_are_refused(tiny_weights):
    state = {name: tensor.clone() for name, tensor in plausible("fcrn-a").state_dict().items()}
    state["middle.weight"][7, 3, 1, 1] = float("nan")
    exchange(tiny_weights, saved(state))
    with pytest.raises(WeightsError, match=r"tensor middle\.weight holds values that are not finite"):
        load(ID)


def test_weights_of_another_network_are_refused(tiny_weights):
    state = dict(plausible("fcrn-a").state_dict())
    for wrong in (plausible("fcrn-b").state_dict(), {**state, "more": torch.zeros(1)},
                  {name: tensor for name, tensor in state.items() if name != "head.bias"},
                  {**state, "head.weight": torch.zeros(2, 32, 1, 1)}):
        exchange(tiny_weights, saved({name: tensor.contiguous() for name, tensor in wrong.items()}))
        with pytest.raises(WeightsError, match="does not hold a fcrn-a network"):
            load(ID)
    exchange(tiny_weights, saved(state))
    assert load(ID).weights.id == ID


@pytest.mark.parametrize(("fields", "sentence"), [
    ({"method": "unet"}, r"no method called “unet”; choose one of"),
    ({"build": {"depth": 5}}, r"does not fit fcrn-a"),
    ({"build": {"channels": -1}}, r"does not fit fcrn-a"),
    ({"build": {"channels": 3}}, r"does not hold a fcrn-a network"),
])
def test_rows_that_do_not_fit_are_refused(tiny_weights, fields, sentence):
    change(tiny_weights, **fields)
    with pytest.raises(WeightsError, match=sentence):
        load(ID)


@pytest.mark.parametrize("fields", [
    {"files": []}, {"settings": {"threshold": 2}}, {"settings": {"window": 0}}, 
    {"url": "https://example.org"}, {"bytes": "many"}, {"sha256": "0" * 63}, {"sha256": "G" * 64}, {"input": {}},
    {"file": "../evil.safetensors"}, {"file": "/etc/passwd"}, {"file": "a/b.safetensors"}, {"file": "weights.pt"},
    {"file": "a.safetensors\n"}, {"file": "a\\b.safetensors"}, {"id": "../fcrn-a"}, {"id": "fcrn-a/../x"},
    {"id": "a/b/c"}, {"id": ""}, {"id": "FCRN"}, {"id": "a b"}, {"id": "a\n"}, {"id": "x" * 121},
    {"map_scale": 0}, {"sigma": -1}, {"sigma": float("nan")},
])
def test_a_row_outside_its_declaration_is_a_damaged_manifest(tiny_weights, fields):
    change(tiny_weights, **fields)
    with pytest.raises(WeightsError, match="manifest of the weights is damaged"):
        store.manifest()


@pytest.mark.parametrize("content", [b"", b"[", b"{}x", b"5", b"null", b'"text"', b"[5]", b"[{}]", b"\xff\xfe\0",
                                     b'{"a": 1}'])
def test_a_damaged_manifest_is_one_sentence(tiny_weights, content):
    (tiny_weights / "manifest.json").write_bytes(content)
    with pytest.raises(WeightsError, match=r"manifest\.json: the manifest of the weights is damaged"):
        load(ID)


@pytest.mark.parametrize("weights_id", ["../escape", "a/../../b", "/absolute", "Upper", "a b", "", "a/b/c", "a\0b"])
def test_weights_cannot_be_added_outside_their_folder(tmp_path, weights_id):
    folder = tmp_path / "in" / "weights"
    with pytest.raises((ValidationError, WeightsError)):
        store.add({"a": torch.zeros(1)}, folder, id=weights_id, title="t", method="fcrn-a",
                  input={"cell_diameter": 10}, map_scale=1, sigma=1, trained_on="", licence="")
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_writing_replaces_the_whole_file(tmp_path):
    path = tmp_path / "new folder" / "ä.txt"
    write_atomic(path, "old, and longer")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["ä.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]
