"""What several test files share: seeded randomness, untrained weights, and the data beside the project."""

import copy
import os
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.register_assert_rewrite("app_testing", "browsing", "clusters", "hub_fixtures", "small_jobs")

if "PYTEST_XDIST_WORKER" in os.environ:                      # the workers share the cores among themselves
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20150707)


@pytest.fixture(autouse=True)
def _own_workspaces(tmp_path_factory, monkeypatch):
    """No test writes into the workspaces of whoever runs it."""
    monkeypatch.setenv("CELLAPP_WORKSPACES", str(tmp_path_factory.getbasetemp() / "workspaces"))


@pytest.fixture
def shared_data() -> Path:
    """The folder of labelled images, which is no part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip("there is no folder ../shared/data beside the project")
    return SHARED_DATA


@pytest.fixture
def queue(tmp_path, monkeypatch) -> Path:
    """A queue of this test's own for trainings, which take one thread each."""
    monkeypatch.setenv("CELLAPP_WORKSPACES", str(tmp_path / "workspaces"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    from cellapp import train_queue

    return train_queue.default_root()


# The networks as small as they can be built: the contract is about what surrounds them.
SMALL = {"fpn-vgg11": {"height": 64, "width": 64}, "alexnet": {"hidden": 16}, "alexnet-c": {"hidden": 16}} | {
    name: {"side": 32} for name in ("resnet-50", "resnet-50-c", "resnet-101", "resnet-101-c", "resnet-152",
                                    "resnet-152-c")}


def plausible(method: str):
    """An untrained network, small where it can be, whose map has both ground and peaks."""
    return copy.deepcopy(_plausible(method))


@cache
def _plausible(method: str):
    import torch

    from cellapp.methods import METHODS

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = METHODS[method].build(**SMALL.get(method, {}))
        if method.startswith("fcrn"):
            with torch.inference_mode():
                out = network(torch.randn(1, 1, 64, 64))
            with torch.no_grad():
                network.head.weight *= 2.0 / out.std()
                network.head.bias += 1.0 - 2.0 * (out.mean() - network.head.bias) / out.std()
        elif method.startswith(("alexnet", "resnet")):
            torch.nn.init.normal_(network.head.weight, std=0.5)
        elif method == "recount":
            network.eval()
            with torch.inference_mode():
                centre = network(torch.randn(1, 1, 64, 64))[:, 1]
            with torch.no_grad():                            # a tenth of the pixels look like centres
                head = network.heads["centre"]
                head.weight *= 2.0 / centre.std()
                head.bias.fill_(float(-2.0 * ((centre - head.bias).mean() / centre.std() + 1.3)))
    return network.requires_grad_(False).eval()


def add_weights(method: str, folder: Path, weights_id: str | None = None, **changes):
    """Write an untrained network of this method and its row into a folder of weights."""
    from cellapp import weights as store

    return store.add(plausible(method).state_dict(), folder, **(about_untrained(method, weights_id) | changes))


def about_untrained(method: str, weights_id: str | None = None) -> dict:
    """What the manifest row of untrained weights says, but for their files."""
    from cellapp.methods import METHODS

    windows = {"window": 40, "step": 20} if method.startswith(("alexnet", "resnet")) else {}
    return {"id": weights_id or f"{method}/untrained", "title": f"{method}, untrained", "method": method,
             "input": {"cell_diameter": 10.0}, "map_scale": METHODS[method].map_scale, "sigma": 2.0,
             "build": SMALL.get(method, {}), "settings": windows, "trained_on": "nothing", "licence": "CC0"}


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
    folder = tmp_path_factory.mktemp("untrained")
    for method in ("fcrn-a", "fcrn-b", "count-ception", "fpn-vgg11", "alexnet", "fcn"):
        add_weights(method, folder)
    return folder


@pytest.fixture
def tiny_weights(_untrained, tmp_path, monkeypatch, one_thread) -> Path:
    """A folder of this test's own with untrained weights of one method of each kind, in the place of the bundled ones.
    """
    folder = tmp_path / "weights"
    shutil.copytree(_untrained, folder)
    monkeypatch.setenv("CELLAPP_WEIGHTS", str(folder))
    return folder
