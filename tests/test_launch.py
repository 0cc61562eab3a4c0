"""Several processes that share a training learn what one would; whatever ends one of them ends all."""

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file
from small_jobs import new, tensors
from test_train_jobs import happening
from test_training import TINY, scenes

from cellapp.data import Dotted
from cellapp.errors import TrainingError
from cellapp.methods import find_method
from cellapp.share import Share
from cellapp.simulate import simulate
from cellapp.train_worker import main
from cellapp.training import TrainingConfig, train

pytestmark = pytest.mark.usefixtures("one_thread")


def processes() -> list[psutil.Process]:
    """Those that take a share of a training of this process."""
    return [child for child in psutil.Process().children(recursive=True)
            if "spawn_main" in " ".join(child.cmdline())]


def alike(one: dict, other: dict) -> None:
    """Weights and Adam's moments (the gradients) as whole tensors: rounding turns single steps round where a gradient
    is next to nothing."""
    assert one.keys() == other.keys()
    for name in one:
        apart = np.linalg.norm(one[name] - other[name])
        assert apart <= 1e-3 * np.linalg.norm(one[name]) + 1e-6, name


def test_a_job_of_two_processes_survives_one_that_is_killed_and_learns_what_one_learns(tiny_weights, queue, tmp_path,
                                                                                      monkeypatch):
    alone, shared = (new(tmp_path, name, config={"devices": devices}) for name, devices in (("alone", 1), ("two", 2)))
    assert main(alone.folder) == 0
    assert happening(shared, monkeypatch, lambda: processes()[1].kill()) == 1
    assert not processes(), "the other one ended with it"
    state = shared.state()
    assert state.phase == "failed" and state.message.startswith("One of the 2 processes of this training was killed")
    assert len(shared.progress()) == 1
    assert main(shared.folder) == 0, "it goes on"
    assert [line["epoch"] for line in shared.progress()] == [1, 2, 3]
    alike(tensors(alone), tensors(shared))
    for one, other in zip(alone.progress(), shared.progress(), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4), "the mean over both, not that of the first"


def test_a_part_of_a_network_in_uneven_shares_is_learnt_alike_and_stopping_ends_both(tmp_path):
    made = [simulate("nuclei", 1, k, size=(64, 64), n=4) for k in range(3)]
    data = [Dotted(f"{k}", scene.image.astype(np.float32), scene.points) for k, scene in enumerate(made)]
    config = TrainingConfig(method="fpn-vgg11", part="count", epochs=2, steps=2, batch=5, freeze=1, warmup=1, seed=3)
    torch.manual_seed(3)
    network = find_method("fpn-vgg11").build(height=64, width=64)
    network.fpn.first[1].running_mean.fill_(0.1)             # as one that has seen images
    start, last = network.state_dict(), {}
    for devices in (1, 2):
        asked = []
        folder, own = tmp_path / str(devices), config.model_copy(update={"devices": devices})
        done = list(train(data[:2], data[2:], own, folder, start=start, build={"height": 64, "width": 64}, device="cpu",
                          stop=lambda asked=asked: bool(asked.append(1)) or len(asked) == 3))
        assert [p.epoch for p in done] == [1] and len(asked) == 3 and not processes()
        last[devices] = {name: value.numpy() for name, value in load_file(folder / "last.safetensors").items()}
    alike(last[1], last[2])
    learnt = "network.counter."
    assert any(not np.array_equal(value, start[name.removeprefix("network.")].numpy())
               for name, value in last[2].items() if name.startswith(learnt))


@pytest.mark.parametrize(("crops", "number"), [(8, 2), (5, 2), (7, 3), (1, 4)])
def test_shares_are_all_crops_and_their_weighted_means_the_whole(crops, number):
    values = np.random.default_rng(crops).random((crops, 3))
    seen, total = [], 0.0
    for rank in range(number):
        share = Share()
        share.rank, share.of = rank, number
        images, targets, weight = share.cut(values, values * 2)
        assert len(images), "a loss needs a crop"
        np.testing.assert_array_equal(targets, images * 2)
        seen += [images] if weight else []
        total += images.mean() * weight / number
    np.testing.assert_array_equal(np.concatenate(seen), values)
    assert total == pytest.approx(values.mean())
    assert Share().cut(values, values)[2] == 1


def test_what_cannot_be_shared_is_told_at_the_call(tmp_path, monkeypatch):
    data, four = scenes(2), TINY.model_copy(update={"devices": 4})
    with pytest.raises(TrainingError, match="4 devices cannot share a step of 2 crops"):
        train(data[:1], data[1:], four, tmp_path / "run", device="cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(TrainingError, match="4 GPUs are asked for and this machine shows 2"):
        train(data[:1], data[1:], four, tmp_path / "run")
    with pytest.raises(TrainingError, match="“cuda:1” names a single one"):
        train(data[:1], data[1:], four, tmp_path / "run", device="cuda:1")
    assert not (tmp_path / "run").exists()
