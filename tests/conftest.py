"""What several test files share: seeded randomness, untrained weights, and the data beside the project."""

import copy
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20150707)


@pytest.fixture
def shared_data() -> Path:
    """The folder of labelled images, which is no part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip("there is no folder ../shared/data beside the project")
    return SHARED_DATA


def plausible(method: str):
    """An untrained network whose map looks like a density map: about a third of it above a cell's peak."""
    return copy.deepcopy(_plausible(method))


@cache
def _plausible(method: str):
    import torch

    from cellapp.methods import METHODS

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = METHODS[method].build()
        with torch.inference_mode():
            out = network(torch.randn(1, 1, 64, 64))
    with torch.no_grad():
        network.head.weight *= 2.0 / out.std()
        network.head.bias += 1.0 - 2.0 * (out.mean() - network.head.bias) / out.std()
    return network.requires_grad_(False)


def add_weights(method: str, folder: Path, weights_id: str | None = None, **changes):
    """Write an untrained network of this method and its row into a folder of weights."""
    from cellapp import weights as store

    about = {"id": weights_id or f"{method}/untrained", "title": f"{method}, untrained", "method": method,
             "input": {"cell_diameter": 10.0}, "map_scale": 100.0, "sigma": 2.0, "trained_on": "nothing",
             "licence": "CC0"}
    return store.add(plausible(method).state_dict(), folder, **(about | changes))


@pytest.fixture
def one_thread():
    """Small images on a busy machine are read fastest, and always in the same way, by one thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def _untrained(tmp_path_factory) -> Path:
    from cellapp.methods import METHODS

    folder = tmp_path_factory.mktemp("untrained")
    for method in METHODS:
        add_weights(method, folder)
    return folder


@pytest.fixture
def tiny_weights(_untrained, tmp_path, monkeypatch, one_thread) -> Path:
    """A folder of this test's own with untrained weights of every method, in the place of the bundled ones."""
    folder = tmp_path / "weights"
    shutil.copytree(_untrained, folder)
    monkeypatch.setenv("CELLAPP_WEIGHTS", str(folder))
    return folder
