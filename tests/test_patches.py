"""Counting windows: geometry whose answers are known, and networks of the paper's size."""

import http.client
import urllib.error
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator
from torchvision import models

from cellapp import windows
from cellapp.data import Dotted
from cellapp.density import local_maxima
from cellapp.errors import Cancelled, TrainingError, WeightsError
from cellapp.families.patches import BATCH, PatchRegression, class_loss, euclidean_loss
from cellapp.family import Call, zscore
from cellapp.imagenet import SOURCES, imagenet_state
from cellapp.metrics import global_factor
from cellapp.networks.patch_nets import AlexNetCounter, ResNetCounter, three_channels
from cellapp.weights import Settings

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
SHAPES = [(1, 1), (7, 5), (33, 64), (100, 100)]
GRIDS = [(60, 30), (40, 20), (15, 7), (16, 50)]               # side and step; odd ones, gaps between windows


@dataclass(frozen=True)
class Config:
    """The part of a training's configuration that this family reads."""

    crop: int = 40
    batch: int = 8
    gain: float = 0.0
    offset: float = 0.0
    faithful: bool = False
    part: str = "all"
    window_step: int = 0


class Answers(torch.nn.Module):
    """A network that says ``answer`` of each window."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.sizes = answer, []

    def forward(self, batch):
        self.sizes.append(len(batch))
        return self.answer(batch)


def call(side, step, **others) -> Call:
    return Call(CPU, settings=Settings(window=side, step=step, **others))


def middle(batch):
    """A smooth function of the window's middle pixels, which an odd side has exactly one of."""
    return batch[:, :, batch.shape[-2] // 2, batch.shape[-1] // 2]


def spots(points, shape, sigma=1.6) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * sigma**2)) for a, b in points).astype(np.float32)


# --- networks -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("build", "number"), [
    (AlexNetCounter, 56_872_321), (ResNetCounter, 23_510_081), (lambda: ResNetCounter(101), 42_502_209),
    (lambda: ResNetCounter(152), 58_145_857), (lambda: ResNetCounter(50, outputs=11), 23_510_081 + 10 * 2049)])
def test_parameter_counts(build, number):
    with torch.device("meta"):
        assert sum(p.numel() for p in build().parameters()) == number


def test_a_depth_that_does_not_exist_lists_those_that_do():
    with pytest.raises(ValueError, match="18, 34, 50, 101, 152"):
        ResNetCounter(20)


@pytest.mark.parametrize("build", [lambda: AlexNetCounter(3, hidden=16), lambda: ResNetCounter(18, 3, side=32)])
def test_windows_of_any_side(build):
    network = build().eval()
    with torch.inference_mode():
        for side in (40, 60, 200):
            assert network(torch.randn(2, 1, side, side)).shape == (2, 3)
    assert network.head.out_features == 3


def test_windows_are_enlarged_linearly_and_the_same_in_each_channel():
    window = np.random.default_rng(0).normal(size=(60, 60)).astype(np.float32)
    large = three_channels(torch.from_numpy(window)[None, None], 224)
    assert large.shape == (1, 3, 224, 224)
    # Linear between the pixels' centres, the border pixel beyond them.
    places = np.clip((np.arange(224) + 0.5) * 60 / 224 - 0.5, 0, 59)
    expected = RegularGridInterpolator([np.arange(60)] * 2, window)(tuple(np.meshgrid(places, places, indexing="ij")))
    for channel in large[0]:
        np.testing.assert_allclose(channel, expected, atol=1e-4)
    checkers = torch.arange(64)[:, None] + torch.arange(64)[None] & 1
    assert three_channels(checkers[None, None].float(), 16).std() < 0.02, "what is made smaller has to be averaged"


# --- ImageNet -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("fault", [urllib.error.URLError("no route"), TimeoutError("too slow"),
                                   http.client.IncompleteRead(b""), RuntimeError("invalid hash value")])
def test_imagenet_weights_that_cannot_be_fetched_say_what_to_do(monkeypatch, tmp_path, fault):
    def fail(*_, **__):
        raise fault

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    with pytest.raises(WeightsError, match=r"ResNet-50 cannot be fetched from https://.*train from scratch") as raised:
        imagenet_state(50)
    assert raised.value.__cause__ is fault
    with pytest.raises(WeightsError, match="depth 20"):
        imagenet_state(20)


@pytest.mark.parametrize("depth", SOURCES)
def test_imagenet_weights_fit_all_but_the_last_layer_and_are_not_unpickled(monkeypatch, depth):
    asked = {}

    with torch.device("meta"):
        network, published = ResNetCounter(depth), getattr(models, f"resnet{depth}")()

    def fetch(url, **how):
        asked.update(how)
        return published.state_dict()

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    state = imagenet_state(depth)
    assert asked["weights_only"] is True
    assert asked["check_hash"] is True
    own = network.state_dict()
    assert own.keys() - state.keys() == {"head.weight", "head.bias"}
    assert {name: own[name].shape for name in state} == {name: value.shape for name, value in state.items()}


# --- the grid and the map -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_constant_density_comes_back_everywhere(shape, grid):
    side, step = grid
    network = Answers(lambda batch: torch.full((len(batch), 1), 0.02 * side**2))
    plane = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    density = PatchRegression().read(network, plane, call(side, step)).density
    assert density.shape == shape
    assert density.dtype == np.float32
    np.testing.assert_allclose(density, 0.02, rtol=1e-6)
    half = PatchRegression().read(network, plane, call(side, step, factor=0.5))
    assert half.count == pytest.approx(0.01 * plane.size, rel=1e-6)
    assert half.points is None
    assert half.labels is None


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_pixel_lies_between_centres_and_scipy_interpolates_the_same(shape, grid, rng):
    side, step = grid
    axes = [windows.firsts(length, side, step) + (side - 1) / 2 for length in shape]
    for centres, length in zip(axes, shape, strict=True):
        assert -0.5 <= centres[0] <= 0
        assert length - 1 <= centres[-1] < length - 1 + step
        np.testing.assert_array_equal(np.diff(centres), step)
    counts = rng.normal(5, 3, [len(centres) for centres in axes]).astype(np.float32)
    density = windows.spread(counts, shape, side, step)
    # scipy wants two centres on an axis; one that has a single centre is constant.
    grid_axes = [np.append(c, c[-1] + step) if len(c) == 1 else c for c in axes]
    known = np.pad(counts, [(0, len(g) - len(c)) for g, c in zip(grid_axes, axes, strict=True)], mode="edge")
    expected = RegularGridInterpolator(grid_axes, known / side**2)(np.moveaxis(np.mgrid[: shape[0], : shape[1]], 0, -1))
    np.testing.assert_allclose(density, expected, atol=1e-6 * np.abs(expected).max())
    assert density.sum(dtype=float) == pytest.approx((windows.shares(shape, side, step) * counts).sum(), rel=1e-5)


def test_each_window_is_read_where_it_stands():
    # The middle pixel of an odd window is its centre, so each count is the plane there, mirrored beyond the border.
    side, step, shape = 15, 6, (41, 64)
    plane = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    padded = np.pad(plane, 40, mode="symmetric")
    rows, columns = (windows.firsts(n, side, step) + side // 2 + 40 for n in shape)
    network = Answers(middle)
    steps = []
    density = PatchRegression().read(network, plane,
                                     replace(call(side, step), progress=lambda *now: steps.append(now))).density
    np.testing.assert_allclose(density, windows.spread(padded[np.ix_(rows, columns)], shape, side, step), atol=1e-7)
    total = len(rows) * len(columns)
    assert total > BATCH
    assert steps == [(0, total), *((min(n + BATCH, total), total) for n in range(0, total, BATCH))]
    assert sum(network.sizes) == total
    assert max(network.sizes) == BATCH


@pytest.mark.parametrize(("shape", "side", "step", "off"), [((80, 120), 40, 20, 1e-5), ((180, 90), 60, 30, 1e-5),
                                                           ((100, 110), 60, 30, 0.05), ((300, 260), 200, 50, 0.05)])
def test_windows_that_are_counted_rightly_give_the_count(shape, side, step, off, rng):
    # The mirrored cells of border windows make up for their shares; exactly so where the grid ends on the border and
    # the step is half a window, and without bias where not.
    points = rng.uniform(-0.5, np.array(shape) - 0.5, (150, 2))
    rows, columns = (windows.firsts(length, side, step) for length in shape)
    counts = [[len(windows.cut(np.zeros(shape, np.float32), points, (y, x), side)[1]) for x in columns] for y in rows]
    assert windows.spread(np.array(counts), shape, side, step).sum(dtype=float) == pytest.approx(150, rel=off)


@pytest.mark.parametrize(("length", "pad"), [(1, 40), (3, 40), (50, 40)])
def test_mirroring_is_that_of_numpy(length, pad):
    expected = np.pad(np.arange(length), pad, mode="symmetric")
    np.testing.assert_array_equal(windows.mirrored(-pad, length + pad, length), expected)


def test_classes_are_counts():
    def scores(batch):
        return torch.tensor([0.1, 0.2, 3.0, 2.9]).expand(len(batch), 4)

    reading = PatchRegression(classify=True).read(Answers(scores), np.zeros((50, 30), np.float32), call(40, 20))
    assert reading.count == pytest.approx(2 / 40**2 * 1500, rel=1e-6)


def test_cancelling_comes_out_of_reading():
    def stop(done, total):
        if done:
            raise Cancelled("The user stopped.")

    network = Answers(lambda batch: torch.zeros(len(batch), 1))
    with pytest.raises(Cancelled):
        PatchRegression().read(network, np.zeros((200, 200), np.float32), replace(call(16, 8), progress=stop))
    assert network.sizes == [BATCH]


def test_weights_without_a_window_are_refused():
    with pytest.raises(WeightsError, match="how large the windows are"):
        PatchRegression().read(Answers(middle), np.zeros((9, 9), np.float32), Call(CPU))


# --- training windows ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("side", [24, 25])
def test_quarter_turns_are_those_of_numpy(side, rng):
    image, points = rng.normal(size=(70, 80)).astype(np.float32), rng.uniform(0, 69, (60, 2))
    straight, dots = windows.cut(image, points, (20, 30), side)
    np.testing.assert_allclose(straight, image[20 : 20 + side, 30 : 30 + side], atol=1e-6)
    inside = ((points >= [19.5, 29.5]) & (points < [19.5 + side, 29.5 + side])).all(axis=1)
    np.testing.assert_allclose(dots, points[inside] - [20, 30], atol=1e-9)
    assert len(dots) > 2
    for turns in range(4):
        window, moved = windows.cut(image, points, (20, 30), side, degrees=90 * turns)
        np.testing.assert_allclose(window, np.rot90(straight, turns), atol=1e-5)
        flipped, _ = windows.cut(image, points, (20, 30), side, degrees=90 * turns, flip=True)
        np.testing.assert_allclose(flipped, window[:, ::-1], atol=1e-6)
        assert len(moved) == len(dots)


def matched(window, dots, side):
    """Each dot well inside has its own bright spot, and each bright spot well inside has its dot."""
    peaks = local_maxima(window, 1.6, smooth=0.5)
    near = np.linalg.norm(peaks[:, None] - dots[None], axis=2)
    for values, nearest in ((peaks, near.min(axis=1)), (dots, near.min(axis=0))):
        inner = ((values > 2) & (values < side - 3)).all(axis=1)
        assert (nearest[inner] < 0.9).all()
    return int(((dots > 2) & (dots < side - 3)).all(axis=1).sum())


@pytest.mark.parametrize("first", [(30, 40), (-20, 5), (-15, -18), (75, 85)])
@pytest.mark.parametrize("degrees", range(0, 360, 30))
def test_dots_turn_with_their_cells(degrees, first):
    # Few, far apart and in no symmetric order; windows inside the image and half beyond its borders and corners.
    side, shape = 41, (100, 110)
    points = np.array([(8, 9), (12.4, 30), (35, 44), (50, 49.3), (44, 72), (63, 60), (58, 42), (90, 95), (80.2, 104),
                       (95, 80)])
    image = spots(points, shape)
    for flip in (False, True):
        window, dots = windows.cut(image, points, first, side, degrees=degrees, flip=flip)
        assert window.shape == (side, side)
        assert ((dots >= -0.5) & (dots < side - 0.5)).all()
        assert matched(window, dots, side) >= 2


def test_mirrored_dots_are_found_however_small_the_image_is():
    points = np.array([(0.25, 1.0), (1.0, 3.0)])
    _, dots = windows.cut(np.zeros((2, 4), np.float32), points, (-20, -20), 40)
    assert len(dots) == 2 * 20 * 10                           # each dot once in each of the 20 × 10 copies of the plane
    own = np.pad(np.arange(8).reshape(2, 4), 20, mode="symmetric")[:40, :40]
    assert (np.isin(own, [1, 7])[tuple(np.rint(dots).astype(int).T)]).all()
    assert len(np.unique(dots, axis=0)) == len(dots)


def test_labels_of_a_tiling_add_up_to_the_dots(rng):
    points = rng.uniform(-0.5, [79.5, 119.5], (300, 2))
    points[:3] = [(-0.5, -0.5), (19.5, 39.5), (79.4, 119.4)]
    image = np.zeros((80, 120), np.float32)
    found = [len(windows.cut(image, points, (y, x), 20)[1]) for y in range(0, 80, 20) for x in range(0, 120, 20)]
    assert sum(found) == 300


def dotted(seed=0, shape=(90, 80), number=25) -> Dotted:
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, np.array(shape) - 1, (number, 2))
    return Dotted(f"image-{seed}", spots(points, shape, 2.0) * 100 + rng.normal(0, 2, shape).astype(np.float32), points)


def test_draw_gives_windows_and_their_counts():
    family, config = PatchRegression(), Config(batch=400)
    samples = [family.sample(dotted(seed), config) for seed in (0, 1)]
    images, targets = family.draw(samples, np.random.default_rng(3), config, stride=1, whole=False)
    assert images.shape == (400, 1, 40, 40)
    assert targets.shape == (400,)
    assert images.dtype == targets.dtype == np.float32
    again, same = family.draw(samples, np.random.default_rng(3), config, stride=1, whole=True)
    np.testing.assert_array_equal(again, images)
    np.testing.assert_array_equal(same, targets)
    # On average a window holds its area's share of the cells: none is lost by turning or at the border.
    assert targets.mean() == pytest.approx(25 * 1600 / 7200, rel=0.07)
    # Bright windows are those with many cells.
    assert np.corrcoef(images.mean(axis=(1, 2, 3)), targets)[0, 1] > 0.9
    jittered, _ = family.draw(samples, np.random.default_rng(3), Config(batch=4, gain=0.3), stride=1, whole=False)
    faithful, _ = family.draw(samples, np.random.default_rng(3), Config(batch=4, gain=0.3, faithful=True),
                              stride=1, whole=False)
    plain, _ = family.draw(samples, np.random.default_rng(3), Config(batch=4, faithful=True), stride=1, whole=False)
    assert np.abs(jittered[0] - images[0]).max() > 1e-3
    np.testing.assert_array_equal(faithful, plain)


def test_samples_need_dots_and_contrast():
    family = PatchRegression()
    sample = family.sample(dotted(), Config())
    assert sample.count == 25
    np.testing.assert_allclose(sample.image, zscore(dotted().image))
    with pytest.raises(TrainingError, match="image-0"):
        family.sample(replace(dotted(), points=None), Config())
    with pytest.raises(TrainingError, match="no contrast"):
        family.sample(replace(dotted(), image=np.ones((40, 40), np.float32)), Config())


def test_losses_have_known_values_and_refuse_to_broadcast():
    output, targets = torch.tensor([[1.0], [2.0], [5.0]]), torch.tensor([1.0, 4.0, 2.0])
    assert euclidean_loss(output, targets).item() == pytest.approx((0 + 4 + 9) / 6)
    for wrong in (targets[:, None], targets[:2]):
        with pytest.raises(ValueError, match="expected"):
            euclidean_loss(output, wrong)
        with pytest.raises(ValueError, match="expected"):
            class_loss(output.expand(3, 4), wrong)
    with pytest.raises(ValueError, match="two classes"):
        class_loss(output, targets)
    scores = torch.tensor([[0.0, 1.0, 2.0]])
    last = -torch.log_softmax(scores, dim=1)[0, 2].item()
    for count in (2.0, 3.0, 50.0):
        assert class_loss(scores, torch.tensor([count])).item() == pytest.approx(last)
    assert class_loss(scores, torch.tensor([0.0])).item() == pytest.approx(last + 2)


def test_parts_that_can_be_trained():
    network, family = ResNetCounter(18, side=32), PatchRegression()
    assert family.trained(network, Config()) is network
    assert family.trained(network, Config(part="head")) is network.head
    with pytest.raises(TrainingError, match="“mask”"):
        family.trained(network, Config(part="mask"))
    assert family.settings(Config(crop=60)) == Settings(window=60, step=30)
    assert family.settings(Config(crop=200, window_step=50)) == Settings(window=200, step=50)


# --- validation ---------------------------------------------------------------------------------------------------

def test_the_factor_is_the_regression_through_the_origin_if_it_is_certain():
    truth = np.array([100.0, 120, 80, 150, 60, 90])
    assert global_factor(truth / 1.25, truth) == pytest.approx(1.25)
    assert global_factor(truth[:4] / 1.25, truth[:4]) == 1
    assert global_factor(truth * (1 + 0.2 * np.array([1, -1, 1, -1, -1, 1])), truth) == 1
    assert global_factor(-truth, truth) == 1
    assert global_factor(0 * truth, truth) == 1


def test_validation_returns_the_factor_and_the_errors_after_it():
    family = PatchRegression()
    samples = [replace(family.sample(dotted(seed, number=20 + seed), Config()), image=np.ones((90, 80), np.float32),
                       count=50.0 + seed) for seed in range(6)]
    network = Answers(lambda batch: torch.full((len(batch), 1), 50 / 7200 * 1600 / 2))
    result = family.validate(network, samples, Config(), call(40, 20, factor=3.0))
    b = np.mean([s.count for s in samples]) / 25
    assert (result.settings.window, result.settings.step) == (40, 20)
    assert result.settings.factor == pytest.approx(b)
    np.testing.assert_allclose(result.errors, [25 * b - s.count for s in samples], atol=1e-3)
    assert result.figure == pytest.approx(np.abs(result.errors).mean())
    blank = [replace(samples[0], image=None)]
    assert family.validate(network, blank, Config(), call(40, 20)).errors == [-50]


@pytest.mark.parametrize("classify", [False, True])
def test_training_learns_a_batch_by_heart(classify):
    torch.manual_seed(0)
    family, config = PatchRegression(classify), Config(crop=32, batch=8)
    network = ResNetCounter(18, outputs=12 if classify else 1, side=32)
    samples = [family.sample(dotted(), config)]
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(20):
        rng = np.random.default_rng([0, 0])
        images, targets = family.draw(samples, rng, config, stride=1, whole=False)
        loss = family.loss(network, torch.from_numpy(images), torch.from_numpy(targets), config, rng)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
