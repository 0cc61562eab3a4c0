"""Count-ception: the redundant target counts every dot 1,024 times, and folding it back keeps every cell."""

import numpy as np
import pytest
import torch
from conftest import about_untrained, plausible

from cellapp import weights as store
from cellapp.checkpoint import best_state
from cellapp.data import Dotted
from cellapp.families.redundant import RedundantCounts, dot_raster, fold
from cellapp.family import Call, Sample
from cellapp.methods import METHODS, Counter, Options
from cellapp.networks.count_ception import CountCeption, redundant_map
from cellapp.networks.fcrn import parameters
from cellapp.training import TrainingConfig, train

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
FAMILY = METHODS["count-ception"].family


def windows_by_hand(raster: np.ndarray, step: int = 1) -> np.ndarray:
    padded = np.pad(raster, 32)
    height, width = raster.shape
    return np.array([[padded[i : i + 32, j : j + 32].sum() for j in range(0, width + 32, step)]
                     for i in range(0, height + 32, step)])


def target(raster: np.ndarray) -> np.ndarray:
    return redundant_map(torch.from_numpy(raster)[None, None])[0, 0].numpy()


def some_dots(shape=(40, 53), n=30):
    rng = np.random.default_rng(3)
    corners = np.array([(0, 0), (0, shape[1] - 1), (shape[0] - 1, 0), (shape[0] - 1, shape[1] - 1)], float)
    return np.concatenate([rng.uniform(-0.5, np.array(shape) - 0.5, (n, 2)), corners, corners])


def test_an_image_of_256_gives_a_map_of_288():
    with torch.device("meta"):
        network = CountCeption()
        assert network(torch.empty(1, 1, 256, 256)).shape == (1, 1, 288, 288)
        assert network(torch.empty(1, 1, 300, 300)).shape == (1, 1, 332, 332)
        assert network(torch.empty(2, 1, 256, 256), 8, 3, 5).shape == (2, 1, 36, 36)
        assert parameters(network) == 1_682_210


def test_the_target_counts_every_dot_1024_times_even_in_the_corners():
    raster = dot_raster(some_dots(), (40, 53))
    assert raster.sum() == 38
    assert raster.max() >= 2, "two cells in one pixel are two"
    found = target(raster)
    np.testing.assert_array_equal(found, windows_by_hand(raster))
    assert found.sum() == 38 * 1024


@pytest.mark.parametrize("shape", [(1, 1), (7, 50), (33, 16), (40, 53)])
@pytest.mark.parametrize("step", [1, 2, 8, 32])
def test_folding_keeps_the_count_and_the_place(shape, step):
    points = np.array([(0.0, 0.0), (shape[0] - 1.0, shape[1] - 1.0)])
    density = fold(windows_by_hand(dot_raster(points, shape), step), shape, step)
    assert density.shape == shape
    assert density.sum(dtype=np.float64) == pytest.approx(2, rel=1e-6)
    middle = fold(windows_by_hand(dot_raster(np.array([(50.0, 60.0)]), (101, 121)), step), (101, 121), step)
    y, x = np.mgrid[:101, :121]
    assert (middle * y).sum() == pytest.approx(50, abs=step / 2 + 0.5)
    assert (middle * x).sum() == pytest.approx(60, abs=step / 2 + 0.5)


@pytest.mark.parametrize("step", [2, 8, 32])
def test_a_stride_gives_the_same_windows_only_fewer(step):
    network = plausible("count-ception")
    image = torch.randn(1, 1, 40, 57)
    with torch.inference_mode():
        whole = network(image)
        some = network(image, step, 1, 0)
    torch.testing.assert_close(some, whole[:, :, 1::step, ::step], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("step", [2, 16])
def test_a_stride_is_read_alike_in_tiles(step):
    network, image = plausible("count-ception"), np.random.default_rng(0).standard_normal((90, 75)).astype(np.float32)
    settings = store.Settings(step=step)
    whole = FAMILY.read(network, image, Call(device=CPU, halo=22, settings=settings))
    tiled = FAMILY.read(network, image, Call(device=CPU, halo=22, settings=settings, tile=40))
    assert tiled.count == pytest.approx(whole.count, rel=1e-4)
    np.testing.assert_allclose(tiled.density, whole.density, atol=1e-5 * np.abs(whole.density).max())
    assert whole.views["redundant"].shape == (122, 107)


def test_the_stride_is_an_option_of_counting():
    part = {"file": "untrained.safetensors", "sha256": "0" * 64, "bytes": 0}
    counter = Counter(store.Weights(files=[part], **about_untrained("count-ception")), plausible("count-ception"), CPU)
    image = (np.random.default_rng(0).random((64, 64)) * 255).astype(np.uint8)
    full, coarse = (counter.predict(image, Options(cell_diameter=10, stride=s)) for s in (1, 32))
    np.testing.assert_allclose(coarse.views["redundant"][::32, ::32], full.views["redundant"][::32, ::32], rtol=1e-3,
                               atol=1e-4)
    assert full.count == pytest.approx(full.views["redundant"].sum() / 1024, rel=1e-5)
    with pytest.raises(ValueError, match="1, 2, 4, 8, 16 or 32"):
        Options(stride=3)


def test_the_loss_of_a_strided_step_is_the_full_loss_on_average():
    network, config = plausible("count-ception"), TrainingConfig(method="count-ception", window_step=4)
    image = torch.randn(1, 1, 32, 32)
    dots = torch.from_numpy(dot_raster(some_dots((32, 32), 5), (32, 32)))[None, None]

    class Phase:
        def __init__(self, row, column):
            self.phase = np.array([row, column])

        def integers(self, high, size):
            assert size == 2
            return self.phase % high

    with torch.inference_mode():
        parts = [FAMILY.loss(network, image, dots, config, Phase(r, c)) for r in range(4) for c in range(4)]
        full = FAMILY.loss(network, image, dots, config.model_copy(update={"window_step": 0}), Phase(0, 0))
        faithful = config.model_copy(update={"faithful": True})
        assert FAMILY.loss(network, image, dots, faithful, None) == parts[0], "the paper's grid does not move"
    assert float(sum(parts) / 16) == pytest.approx(float(full), rel=1e-5)
    assert float(full) == pytest.approx(float((network(image) - redundant_map(dots)).abs().mean()), rel=1e-5)


def test_dots_are_needed_and_kept():
    sample = FAMILY.sample(type("Item", (), {"name": "a", "image": np.random.default_rng(0).random((20, 30)),
                                             "points": np.array([(3.4, 3.6)]), "counted": None}), TrainingConfig())
    assert isinstance(sample, Sample)
    assert sample.targets.shape == (1, 20, 30)
    assert sample.targets[0, 3, 4] == 1
    assert isinstance(FAMILY, RedundantCounts)


def test_faithful_training_leaves_the_batch_statistics_alone(tmp_path):
    rng = np.random.default_rng(0)
    data = [Dotted(f"{k}", rng.random((40, 40)).astype(np.float32), rng.uniform(0, 39, (5, 2))) for k in range(2)]
    config = TrainingConfig(method="count-ception", epochs=1, steps=2, batch=1, crop=32, window_step=16, faithful=True)
    list(train(data[:1], data[1:], config, tmp_path, device="cpu"))
    state, _ = best_state(tmp_path)
    for name, value in state.items():
        if name.endswith("running_mean"):
            assert not value.any()
        elif name.endswith("running_var"):
            assert torch.equal(value, torch.ones_like(value))


def test_a_fresh_network_begins_with_the_mean_of_the_target():
    samples = [Sample("a", np.zeros((40, 53), np.float32), dot_raster(some_dots(), (40, 53))[None], some_dots(), 38)]
    network = CountCeption()
    FAMILY.ready(network, samples, TrainingConfig(method="count-ception"), CPU)
    truth = target(samples[0].targets[0])
    assert network.head.norm.bias.item() == pytest.approx(truth.mean(), rel=1e-5)
    before = network.head.norm.bias.clone()
    FAMILY.ready(network, [Sample("b", samples[0].image, samples[0].targets * 2, None, 76)],
                 TrainingConfig(method="count-ception"), CPU)
    assert torch.equal(network.head.norm.bias, before), "what has begun to learn stays as it is"
