"""Repositories made to harm: nothing changes on the disk outside the folder of downloads, and one sentence says why."""

import hashlib
import json
import pickle

import pytest
import torch
from hub_fixtures import ALICE, provable
from safetensors.torch import load as tensors
from safetensors.torch import save

from cellapp import hub, hub_config
from cellapp.errors import CellappError

pytest_plugins = ["hub_fixtures"]


class Trap:
    """Says it was opened by making a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return torch.os.mkdir, (str(self.path),)


@pytest.fixture
def repo(server, mine):
    """A repository with good weights, to be spoilt."""
    hub.push("own/mine", "alice/cells", token=ALICE, private=False, folder=mine)
    return server.repos["alice/cells"]


def spoil(repo, content=None, **changes):
    """Exchange the weights for ``content``, with a config that agrees with it, and fields of the config."""
    config = json.loads(repo.files["config.json"].content)
    if content is not None:
        config["files"] = [{"file": "model.safetensors", "bytes": len(content),
                            "sha256": hashlib.sha256(content).hexdigest()}]
        repo.put(model__safetensors=content)
    repo.put(config__json=json.dumps(config | changes).encode())


def refused(tmp_path, *words):
    folder = tmp_path / "home" / "weights"
    folder.mkdir(parents=True)
    everything = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if folder not in path.parents}
    with pytest.raises(CellappError) as caught:
        hub.pull("alice/cells", token=False, folder=folder)
    sentence = str(caught.value)
    assert all(word in sentence for word in words), sentence
    assert "\n" not in sentence
    assert not [path for path in folder.rglob("*") if path.is_file() and "downloads" not in path.parts]
    del everything[folder]
    assert {path: path.stat().st_mtime_ns for path in everything} == everything


def test_a_pickle_is_named_and_never_opened(repo, tmp_path):
    spoil(repo, pickle.dumps({"head.bias": Trap(tmp_path / "sprung")}) + bytes(100))
    refused(tmp_path, "is a pickle, which could run code, and was not opened")
    assert not (tmp_path / "sprung").exists()


def test_an_archive_of_torch_is_named_and_never_opened(repo, tmp_path):
    torch.save({"head.bias": Trap(tmp_path / "sprung")}, tmp_path / "t.pt")
    spoil(repo, (tmp_path / "t.pt").read_bytes())
    refused(tmp_path, "is a pickle")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("header", [2**63, 10**9, hub_config.MAX_HEADER + 1, 1])
def test_an_oversized_header_is_refused_before_it_is_read(repo, tmp_path, header):
    spoil(repo, header.to_bytes(8, "little") + b"{" + b" " * (hub_config.MAX_HEADER + 100))
    refused(tmp_path, "not a safetensors file")


def changed(repo, change):
    state = tensors(repo.files["model.safetensors"].content)
    name = next(iter(sorted(state)))
    return save(state | {name: change(state[name])})


@pytest.mark.parametrize(("change", "words"), [
    (lambda tensor: tensor[None], "does not hold a fcrn-a network"),
    (lambda tensor: tensor * float("nan"), "not finite"),
    (lambda tensor: tensor + 1, "instead of")])
def test_tensors_that_are_not_what_the_row_says_are_refused(repo, tmp_path, change, words):
    spoil(repo, changed(repo, change))
    refused(tmp_path, words)


def test_truncated_tensors_are_refused(repo, tmp_path):
    spoil(repo, repo.files["model.safetensors"].content[:-10])
    refused(tmp_path, "is not a safetensors file")


@pytest.mark.parametrize("name", ["../../evil.safetensors", "/etc/evil.safetensors", "a/b.safetensors", "evil.pt",
                                  "..\\evil.safetensors", "model.safetensors\u0000", "-model.safetensors"])
def test_names_of_files_lead_nowhere(repo, tmp_path, name):
    content = repo.files["model.safetensors"].content
    repo.put(**{name: content})
    spoil(repo, files=[{"file": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}])
    refused(tmp_path, "files.0.file")


@pytest.mark.parametrize(("fields", "words"), [
    ({"method": "os.system"}, "names the method “os.system”, which this version of cellapp does not know"),
    ({"method": "fcrn-a\n\u202eevil"}, "“fcrn-aevil”"),
    ({"cellapp": 2}, "written by a newer cellapp"),
    ({"auto_map": {"AutoModel": "evil.Model"}}, "auto_map"),
    ({"__class__": "evil"}, "__class__"),
    ({"build": {"outputs": 10**9}}, "build"),
    ({"method": "alexnet", "map_scale": 1, "build": {"hidden": 9_999}}, "too small for the network alexnet"),
    ({"build": {"no such argument": 1}}, "build"),
    ({"build": {"depth": 5}}, "build does not fit the method"),
    ({"check": None}, "check"),
    ({"check": {"image": "../../../etc/passwd", "count": 1, "tolerance": 0.05}}, "check"),
    ({"check": {"image": "nuclei-1-000.png", "count": 1, "tolerance": 1e9}}, "check"),
    ({"check": {"image": "nuclei-1-000.png", "count": 1, "tolerance": 0.05}}, "instead of"),
    ({"sigma": 1e9}, "sigma"), ({"map_scale": 1e-9}, "map_scale"), ({"map_scale": "NaN"}, "map_scale"),
    ({"input": {"cell_diameter": 1e8}}, "input"), ({"input": {"cell_diameter": 20, "image_diameter": 1.01}}, "input"),
    ({"input": {"cell_diameter": 20, "normalisation": "exec"}}, "input"),
    ({"settings": {"window": 10**6}}, "settings.window"),
    ({"files": []}, "files")])
def test_configs_are_data_within_bounds(repo, tmp_path, fields, words):
    spoil(repo, **fields)
    refused(tmp_path, words)


@pytest.mark.parametrize(("content", "words"), [
    (b"not json", "is damaged"), (b"[" * 200_000, "is damaged"), (b'{"cellapp": NaN}', "is damaged"),
    (b"\xff\xfe", "is damaged"),
    (b"[]", "written by something else"), (b'{"model_type": "bert"}', "written by something else"),
    (b" " * (hub_config.MAX_CONFIG + 1), "too large")])
def test_what_is_no_config_is_said(repo, tmp_path, content, words):
    repo.put(config__json=content)
    refused(tmp_path, words)


def test_a_repository_of_something_else_is_said(repo, tmp_path):
    repo.commit({name: file for name, file in repo.files.items() if name != "config.json"})
    refused(tmp_path, "holds no weights of cellapp: it has no config.json")


def test_files_that_the_hub_lists_otherwise_are_not_fetched(repo, server, tmp_path):
    spoil(repo, files=[{"file": "model.safetensors", "bytes": 10**12, "sha256": "0" * 64}])
    refused(tmp_path, "files is not as in weights of cellapp")
    spoil(repo, files=[{"file": "model.safetensors", "bytes": 1000, "sha256": "0" * 64}])
    (tmp_path / "home" / "weights").rmdir()
    refused(tmp_path, "is not the file that its config.json describes")
    spoil(repo, files=[{"file": "other.safetensors", "bytes": 1000, "sha256": "0" * 64}])
    (tmp_path / "home" / "weights").rmdir()
    refused(tmp_path, "other.safetensors, which its config.json names, is not there")
    assert not any("resolve" in line and "model.safetensors" in line for line in server.log)


def test_words_of_strangers_are_cut_and_hold_no_command(repo, tmp_path):
    score = {"data": "x" * 5000, "images": 1, "mae": 1, "bias": 0, "command": "rm -rf ~"}
    spoil(repo, title="Good\u202e \x1b[31mweights\n" + "y" * 500, trained_on="a\x00b", scores=[score], parent="\u202ex")
    row = hub.pull("alice/cells", token=False, folder=tmp_path / "there")
    assert row.title.startswith("Good [31mweightsyyy")
    assert row.title.endswith(" · alice/cells")
    assert len(row.title) < 150
    assert (row.trained_on, row.parent, row.scores[0].command) == ("ab", "x", "")
    assert len(row.scores[0].data) == 1000


def test_large_networks_may_be_pulled_but_no_larger_than_their_files(server, tmp_path, one_thread):
    provable(tmp_path / "other", "own/other", build={"outputs": 1})
    hub.push("own/other", "alice/other", token=ALICE, folder=tmp_path / "other")
    assert hub.pull("alice/other", token=ALICE, folder=tmp_path / "there").build == {"outputs": 1}
