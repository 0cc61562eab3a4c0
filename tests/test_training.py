"""Training: the same seed gives the same weights, and a broken run ends where an unbroken one does."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT

from cellapp.checkpoint import best_state
from cellapp.data import Dotted
from cellapp.density import density_map
from cellapp.errors import CellappError, TrainingError
from cellapp.simulate import simulate
from cellapp.training import TrainingConfig, train
from cellapp.training_step import mixed
from cellapp.weights import Settings

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = TrainingConfig(epochs=2, steps=3, batch=2, crop=32, warmup=2, seed=5)


def scenes(n: int = 3) -> list[Dotted]:
    made = [simulate("vgg-cells", 1, k, size=(48, 56)) for k in range(n)]
    return [Dotted(f"scene {k}", scene.image.astype(np.float32), scene.points) for k, scene in enumerate(made)]


def run(folder, config=TINY, data=None, **more):
    data = data or scenes()
    return list(train(data[:2], data[2:], config, folder, device="cpu", **more))


def files(folder) -> dict[str, bytes]:
    """What a run leaves, without the seconds it took."""
    from safetensors.torch import load

    tensors = load((folder / "last.safetensors").read_bytes())
    last = b"".join(name.encode() + tensors[name].numpy().tobytes() for name in sorted(tensors))
    return {"last": last, "best": (folder / "best.safetensors").read_bytes()}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    progress = run(folder)
    torch.set_num_threads(before)
    return folder, progress


def test_progress_is_told_after_every_epoch_and_kept(unbroken):
    folder, progress = unbroken
    assert [(p.epoch, p.step, p.epochs) for p in progress] == [(1, 3, 2), (2, 6, 2)]
    for p in progress:
        assert np.isfinite([p.loss, p.val_mae, p.val_bias]).all()
        assert abs(p.val_bias) <= p.val_mae
        assert p.device == "cpu"
    assert progress[-1].best_figure == min(p.val_mae for p in progress)
    assert progress[progress[-1].best_epoch - 1].val_mae == progress[-1].best_figure
    assert progress[-1].seconds_left == 0
    lines = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert TrainingConfig(**json.loads((folder / "config.json").read_text())["config"]) == TINY


def test_same_seed_same_weights_and_another_seed_others(unbroken, tmp_path):
    torch.manual_seed(987)
    state = torch.get_rng_state()
    run(tmp_path / "again")
    assert torch.equal(torch.get_rng_state(), state), "training must not touch the randomness of the process"
    assert files(tmp_path / "again") == files(unbroken[0])
    run(tmp_path / "other", TINY.model_copy(update={"seed": 6}))
    assert files(tmp_path / "other")["best"] != files(unbroken[0])["best"]


@pytest.mark.parametrize("after", [1, 3, 4, 5])
def test_a_stopped_run_goes_on_where_it_was(unbroken, tmp_path, after):
    steps = []

    def stop():
        steps.append(1)
        return len(steps) == after

    done = run(tmp_path, stop=stop)
    assert len(steps) == after
    assert [p.epoch for p in done] == [1][: after // 4]
    torch.manual_seed(after)                                 # the process's randomness has no say
    rest = run(tmp_path)
    assert [p.epoch for p in done + rest][-1] == 2
    assert files(tmp_path) == files(unbroken[0])
    assert run(tmp_path) == [], "a finished run has nothing left to do"
    assert files(tmp_path) == files(unbroken[0])


CHILD = """
import sys, torch
torch.set_num_threads(1)
sys.path[:0] = [{root!r}, {tests!r}]
from test_training import TINY, scenes, train
data = scenes()
steps = []
def stop():
    steps.append(1)
    if len(steps) == 5:
        print("in the second epoch", flush=True)
        sys.stdin.read()                                     # until it is killed
    return False
list(train(data[:2], data[2:], TINY, sys.argv[1], device="cpu", stop=stop))
"""


def test_a_killed_run_goes_on_where_it_was(unbroken, tmp_path):
    code = CHILD.format(root=str(ROOT), tests=str(ROOT / "tests"))
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        assert process.stdout.readline() == "in the second epoch\n"
        assert (tmp_path / "last.safetensors").exists()
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert [p.epoch for p in run(tmp_path)] == [2]
    assert files(tmp_path) == files(unbroken[0])
    assert not list(tmp_path.glob("*.part"))


def test_frozen_batch_statistics_are_those_of_the_average_and_survive_a_break(tmp_path):
    config = TINY.model_copy(update={"method": "count-ception", "epochs": 3, "steps": 2, "freeze": 0.5,
                                     "window_step": 16, "whole": 0.0})
    run(tmp_path / "whole", config)
    stopped = []
    run(tmp_path / "broken", config, stop=lambda: bool(stopped.append(1)) or len(stopped) == 5)
    run(tmp_path / "broken", config)
    assert files(tmp_path / "broken") == files(tmp_path / "whole")
    from safetensors.torch import load_file

    last = load_file(tmp_path / "whole" / "last.safetensors")
    assert int(last["network.first.norm.num_batches_tracked"]) == 3, "the second half of the steps is frozen"
    for kind in ("running_mean", "running_var"):
        torch.testing.assert_close(last[f"network.first.norm.{kind}"], last[f"average.first.norm.{kind}"])


def test_a_folder_belongs_to_one_run(unbroken, tmp_path):
    run(tmp_path)
    before = files(tmp_path)
    data = scenes()
    fewer_dots = [Dotted(data[0].name, data[0].image, data[0].points[:-1]), *data[1:]]
    attempts = [
        lambda: run(tmp_path, TINY.model_copy(update={"epochs": 3})),
        lambda: run(tmp_path, data=data[::-1]),
        lambda: run(tmp_path, data=fewer_dots),
        lambda: run(tmp_path, start=best_state(unbroken[0])[0]),
        lambda: train(data[:1], data[1:], TINY, tmp_path, device="cpu"),    # the same images, split otherwise
    ]
    for attempt in attempts:
        with pytest.raises(TrainingError, match="holds a run with other settings or other images; choose another"):
            attempt()
    assert files(tmp_path) == before


def test_a_damaged_checkpoint_is_one_sentence(tmp_path):
    run(tmp_path, TINY.model_copy(update={"epochs": 1}))
    path = tmp_path / "last.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(TrainingError, match="checkpoint cannot be read"):
        run(tmp_path, TINY.model_copy(update={"epochs": 1}))


def test_training_begins_with_the_weights_it_is_given(unbroken, tmp_path):
    start, settings = best_state(unbroken[0])
    assert settings == Settings()
    slow = TINY.model_copy(update={"epochs": 1, "steps": 1, "learning_rate": 1e-12, "weight_decay": 0.0})
    run(tmp_path, slow, start=start)
    for name, tensor in best_state(tmp_path)[0].items():
        torch.testing.assert_close(tensor, start[name], rtol=0, atol=1e-9)


def test_a_frozen_encoder_stays_as_it_was_and_the_rest_learns(tmp_path):
    from cellapp.methods import METHODS

    for name in ("fcrn-b", "recount"):                       # without batch normalisation, and with it
        start = METHODS[name].build().state_dict()
        own = TINY.model_copy(update={"method": name, "epochs": 1, "freeze_encoder": True})
        run(tmp_path / name, own, start=start)
        kept = METHODS[name].build.encoder
        changed = {tensor.split(".")[0] for tensor, value in best_state(tmp_path / name)[0].items()
                   if not torch.equal(value, start[tensor])}
        assert changed and not changed & set(kept)
        with pytest.raises(TrainingError, match="only where a training begins with weights"):
            run(tmp_path / "scratch", own)
    with pytest.raises(TrainingError, match="Count-ception has no encoder"):
        run(tmp_path / "none", own.model_copy(update={"method": "count-ception"}),
            start=METHODS["count-ception"].build().state_dict())


def test_no_weights_before_the_first_epoch_ends(tmp_path):
    assert run(tmp_path, stop=lambda: True) == []
    with pytest.raises(TrainingError, match="no epoch has ended yet"):
        best_state(tmp_path)


def flat(shape=(48, 48)):
    return Dotted("flat.png", np.full(shape, 7, np.float32), np.array([(3.0, 3.0)]))


@pytest.mark.parametrize(("learn", "choose", "sentence"), [
    ([], scenes(1), "at least one image to learn from"),
    (scenes(1), [], "one to validate with"),
    ([*scenes(1), flat()], scenes(1), r"flat\.png has no contrast"),
    ([*scenes(1), Dotted("tiny", np.eye(7, dtype=np.float32), np.empty((0, 2)))], scenes(1), "side of 7 px"),
    ([Dotted("out", scenes(1)[0].image, np.array([(3.0, 90.0)]))], scenes(1), "dots lie outside"),
    ([Dotted("counted", scenes(1)[0].image, None, None, 5.0)], scenes(1), "counted: only the number of its cells"),
])
def test_what_cannot_be_trained_is_told_at_the_call(tmp_path, learn, choose, sentence):
    folder = tmp_path / "run"
    with pytest.raises(CellappError, match=sentence):
        train(learn, choose, TINY, folder, device="cpu")     # not read: the check must not wait for that
    assert not folder.exists(), "what never began leaves nothing that would refuse the next try"


def test_unknown_methods_and_devices_are_told_at_the_call(tmp_path):
    with pytest.raises(CellappError, match="choose one of: fcrn-a, fcrn-b"):
        train(scenes(1), scenes(1), TINY.model_copy(update={"method": "unet"}), tmp_path / "run")
    with pytest.raises(CellappError, match="choose one of: auto, cpu"):
        train(scenes(1), scenes(1), TINY, tmp_path / "run", device="tpu")


def test_a_loss_that_explodes_ends_the_run_with_a_sentence(tmp_path):
    wild = TINY.model_copy(update={"learning_rate": 1e30, "warmup": 0, "clip": 1e30})
    with pytest.raises(TrainingError, match="lower learning rate"):
        run(tmp_path, wild)


def test_bfloat16_is_for_gpus_that_are_built_for_it(monkeypatch):
    gpu = torch.device("cuda")
    for able in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, able=able: able)
        assert mixed(gpu) is able and not mixed(torch.device("cpu"))


def test_validation_images_may_be_small_or_empty(tmp_path):
    data = [*scenes(2), Dotted("small", np.eye(5, dtype=np.float32), np.empty((0, 2)))]
    assert len(run(tmp_path / "small", data=data)) == 2
    [first, _] = run(tmp_path / "flat", data=[*scenes(2), flat()])
    assert first.val_mae == first.val_bias * -1 == 1, "nothing is seen in it, and it has one dot"


def test_the_network_learns_one_image(tmp_path):
    rng = np.random.default_rng(0)
    points = rng.uniform(4, 44, (6, 2))
    image = density_map(points, (48, 48), 2.0) * 1000 + rng.normal(0, 1, (48, 48)).astype(np.float32)
    data = [Dotted("one", image.astype(np.float32), points)]
    config = TrainingConfig(epochs=4, steps=20, batch=2, crop=32, warmup=5, whole=0, learning_rate=2e-3, ema=0.9)
    progress = list(train(data, data, config, tmp_path, device="cpu"))
    empty_map = np.mean((100 * density_map(points, (48, 48), 2.0)) ** 2)
    assert progress[-1].loss < 0.6 * min(empty_map, progress[0].loss)
    assert progress[-1].best_figure < 1


@pytest.mark.parametrize("values", [{"crop": 8}, {"epochs": 0}, {"learning_rate": 0}, {"learning_rate": float("nan")},
                                    {"ema": 1}, {"seed": -1}, {"epoch": 3}, {"sigma": float("inf")}])
def test_settings_outside_their_limits_are_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        TrainingConfig(**values)
