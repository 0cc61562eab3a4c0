"""The contract of every row of METHODS: what a user relies on, whatever the network inside."""

import threading
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import about_untrained, add_weights, plausible

from cellapp import load
from cellapp import weights as store
from cellapp.density import density_map
from cellapp.errors import Cancelled, CellappError, ImageError, WeightsError
from cellapp.family import Call, zscore
from cellapp.methods import METHODS, Counter, Options, find_method
from cellapp.networks.fcrn import parameters
from cellapp.prediction import VIEWS

# The papers' numbers; with one output. The classification twins have an output for each of 64 classes.
PARAMETERS = {"fcrn-a": 1_365_249, "fcrn-b": 3_671_553, "count-ception": 1_682_210, "fpn-vgg11": 29_979_816,
              "alexnet": 56_872_321, "alexnet-c": 56_872_321 + 63 * 4097, "resnet-50": 23_510_081,
              "resnet-50-c": 23_510_081 + 63 * 2049, "resnet-101": 42_502_209, "resnet-101-c": 42_502_209 + 63 * 2049,
              "resnet-152": 58_145_857, "resnet-152-c": 58_145_857 + 63 * 2049, "fcn": 1_365_282,
              "recount": 282_604}
# Those that are read in tiles, and the image for it: smaller where the network is slower.
TILED = {"fcrn-a": (300, 260), "fcrn-b": (110, 150), "count-ception": (150, 110), "fcn": (200, 180),
         "recount": (300, 260)}
CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(params=METHODS)
def method(request):
    return METHODS[request.param]


@pytest.fixture
def counter(method):
    return _counter(method.name)


@cache
def _counter(name):
    # A counter has no state, so all tests may share it.
    part = {"file": "untrained.safetensors", "sha256": "0" * 64, "bytes": 0}
    return Counter(store.Weights(files=[part], **about_untrained(name)), plausible(name), CPU)


def test_weights_are_the_same_after_being_written_and_read(counter, method, tmp_path, monkeypatch):
    monkeypatch.setenv("CELLAPP_WEIGHTS", str(tmp_path))
    row = add_weights(method.name, tmp_path)
    assert sum(p.stat().st_size for p in tmp_path.glob("*.safetensors")) == row.bytes
    assert all(p.stat().st_size < 50e6 for p in tmp_path.glob("*.safetensors"))
    image = picture((48, 64))
    assert load(row.id, "cpu").predict(image).count == counter.predict(image).count


def picture(shape, seed=0) -> np.ndarray:
    """Blurred spots on a noisy ground, uint8."""
    rng = np.random.default_rng(seed)
    spots = (rng.random(shape) < 0.01).astype(np.float32) * 2000
    light = 40 + cv2.GaussianBlur(spots, (0, 0), 2.5, borderType=cv2.BORDER_REFLECT) + rng.normal(0, 4, shape)
    return np.clip(light, 0, 255).astype(np.uint8)


def check(prediction, shape):
    """What holds for every prediction of every method."""
    assert prediction.shape == shape
    assert (prediction.density is None) != (prediction.labels is None)
    assert prediction.rounded == max(0, round(prediction.count))
    if prediction.density is not None:
        assert prediction.density.shape == shape
        assert prediction.density.dtype == np.float32
        assert np.isfinite(prediction.density).all()
        assert prediction.density.sum(dtype=np.float64) == pytest.approx(prediction.count, rel=1e-6, abs=1e-6)
    else:
        assert prediction.labels.shape == shape
        assert set(np.unique(prediction.labels)) - {0} == set(range(1, len(prediction.points) + 1))
        assert prediction.count == len(prediction.points)
    if prediction.points is not None:
        assert prediction.points.ndim == 2
        assert prediction.points.shape[1] == 2
        assert prediction.points.dtype == np.float64
        assert (prediction.points >= 0).all()
        assert (prediction.points <= np.array(shape) - 1).all()
    for name, view in prediction.views.items():
        assert name in VIEWS
        assert view.dtype == np.float32
        assert np.isfinite(view).all()
        rim = view.shape[0] - shape[0]
        assert view.shape == (shape[0] + rim, shape[1] + rim)
        assert rim % 2 == 0
        assert (rim > 0) == (name == "redundant")
        assert name == "redundant" or view.min() >= 0
        assert VIEWS[name].top is None or view.max() <= VIEWS[name].top
    if prediction.interval:
        assert 0 <= prediction.interval.low <= prediction.interval.high
        assert prediction.interval.low <= max(prediction.count, 0) <= prediction.interval.high


def test_parameter_counts_are_those_of_the_paper(method):
    with torch.device("meta"):
        assert parameters(method.build()) == PARAMETERS[method.name]
    assert method.halo % method.stride == 0


def test_every_method_says_what_its_map_means(method):
    assert METHODS[method.name] is method
    assert method.meaning.endswith(".")
    assert len(method.source) > 20
    assert set(method.extras) <= set(Options.model_fields)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (1, 40), (33, 64), (100, 100)])
def test_any_size(counter, method, shape):
    image = picture(shape)
    image.flat[0] = 255                                      # a 1x1 image has no contrast, the others do
    prediction = counter.predict(image)
    check(prediction, shape)
    assert prediction.method == method.name
    assert prediction.weights == f"{method.name}/untrained"
    assert prediction.device == "cpu"
    assert prediction.seconds > 0


def main_map(prediction):
    """What tiles could spoil: the map from which the count follows."""
    return prediction.density if prediction.density is not None else prediction.views["foreground"]


@pytest.mark.parametrize("method", TILED, indirect=True)   # the others read windows or frames
def test_tiles_equal_the_whole(counter, method):
    shape = TILED[method.name]
    image = picture(shape)
    whole = counter.predict(image, Options(tile=512, cell_diameter=10))
    check(whole, shape)
    largest = np.abs(main_map(whole)).max()
    for tile in (64, 72, 96):
        steps = []
        options = Options(tile=tile, cell_diameter=10)         # 10 px: read at its own size
        tiled = counter.predict(image, options, progress=lambda *now, to=steps: to.append(now))
        assert len(steps) >= 5
        assert tiled.count == pytest.approx(whole.count, rel=1e-4)
        assert np.abs(main_map(tiled) - main_map(whole)).max() <= 2e-5 * largest
        for name, view in whole.views.items():
            np.testing.assert_allclose(tiled.views[name], view, atol=2e-5 * np.abs(view).max())
        if whole.points is not None:
            assert len(whole.points) > (10 if whole.density is not None else 0)
            np.testing.assert_array_equal(np.sort(tiled.points, axis=0), np.sort(whole.points, axis=0))


@pytest.mark.parametrize("method", TILED, indirect=True)   # the others read windows or frames
def test_the_halo_reaches_as_far_as_the_network_sees(method):
    # With positive weights, no bias and one lit pixel, the map is positive exactly where the pixel has a say.
    network = plausible(method.name)
    for name, value in network.named_parameters():
        value.copy_(torch.zeros_like(value) if name.endswith("bias") else value.abs())
    centre, reach = 52, 0
    for phase in range(method.stride):
        image = torch.zeros(1, 1, 112, 112)
        image[0, 0, centre + phase, centre + phase] = 1
        with torch.inference_mode():
            found = network(image)
            if found.shape[-1] == 56:                        # a map on the half grid is brought to that of the image
                found = F.interpolate(found, scale_factor=2, mode="bilinear", align_corners=False)
            shift = (found.shape[-1] - 112) // 2             # a map with a rim begins outside the image
            lit = torch.nonzero(found[0, 0]) - (centre + phase + shift)
        reach = max(reach, int(lit.abs().max()))
    assert reach <= method.halo
    assert reach > method.halo - 2 * method.stride, "a halo this much larger than needed only costs time"


@pytest.mark.parametrize("method", TILED, indirect=True)   # the others read windows or frames
def test_without_its_halo_a_method_shows_seams(method):
    network, image = plausible(method.name), zscore(picture((136, 96)).astype(np.float32))
    call = Call(device=CPU, stride=method.stride, halo=method.halo, tile=64)
    whole, seamed = (method.family.read(network, image, c) for c in (call, replace(call, halo=0)))
    maps = [r.density if r.density is not None else r.views["foreground"] for r in (whole, seamed)]
    assert np.abs(maps[1] - maps[0]).max() > 1e-2 * np.abs(maps[0]).max()


def test_grey_equals_rgb_of_itself(counter):
    image = picture((64, 48))
    grey, colour = counter.predict(image), counter.predict(np.repeat(image[..., None], 3, axis=2))
    assert colour.count == grey.count
    np.testing.assert_array_equal(main_map(colour), main_map(grey))


def test_one_stained_channel_equals_its_grey_image(counter):
    image = picture((64, 48))
    blue = np.zeros((*image.shape, 3), np.uint8)
    blue[..., 2] = image
    assert counter.predict(blue).count == counter.predict(image).count
    assert counter.predict(blue, Options(channel="BLUE")).count == counter.predict(image).count
    with pytest.raises(ImageError, match="red, green, blue"):
        counter.predict(blue, Options(channel="DAPI"))


def test_bit_depth_gain_and_offset_do_not_change_the_count(counter):
    image = picture((64, 48))
    true = counter.predict(image)
    others = [image.astype(np.uint16) * 257, image.astype(np.uint16) * 11 + 3000, image.astype(np.int32) - 10_000,
              image.astype(np.float32) / 255, image.astype(np.float64) * -1e-3 * -1 + 7]
    for other in others:
        found = counter.predict(other)
        assert found.count == pytest.approx(true.count, rel=1e-3), other.dtype
        if true.points is not None:
            assert len(found.points) == len(true.points)


@pytest.mark.parametrize("image", [np.zeros((40, 30), np.uint8), np.full((40, 30), 65535, np.uint16),
                                   np.full((40, 30), 0.1, np.float32), np.full((40, 30, 3), 7, np.uint8)])
def test_an_image_without_contrast_has_no_cells_and_says_so(counter, image):
    prediction = counter.predict(image)
    check(prediction, (40, 30))
    assert prediction.count == 0
    assert len(prediction.points) == 0
    assert any("no contrast" in note for note in prediction.notes)


def test_values_that_are_not_finite_are_refused(counter):
    image = picture((20, 20)).astype(np.float32)
    image[3, 4] = np.nan
    with pytest.raises(ImageError, match="not finite"):
        counter.predict(image)


def test_same_image_same_answer_and_the_image_stays_as_it_was(counter):
    image = picture((48, 40))
    before = image.copy()
    first, second = counter.predict(image), counter.predict(image)
    assert first.count == second.count
    for name, array in first.arrays().items():
        np.testing.assert_array_equal(array, second.arrays()[name])
    if first.points is not None:
        np.testing.assert_array_equal(first.points, second.points)
    np.testing.assert_array_equal(image, before)
    assert image.flags.writeable


def test_threads_share_one_counter(counter):
    images = [picture((40 + 8 * k, 72), seed=k) for k in range(4)]
    alone = [counter.predict(image) for image in images]
    found = [None] * 4

    def work(k):
        found[k] = counter.predict(images[k], Options(tile=64))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for one, other in zip(alone, found, strict=True):
        assert other.count == pytest.approx(one.count, rel=1e-5)
        np.testing.assert_allclose(main_map(other), main_map(one), atol=1e-5 * np.abs(main_map(one)).max())


@pytest.mark.parametrize("diameter", [6.0, 8.5, 10.0, 23.0, 400.0])
def test_cell_diameter_keeps_the_grid_and_the_sum(counter, diameter):
    image = picture((61, 90))
    prediction = counter.predict(image, Options(cell_diameter=diameter))
    check(prediction, (61, 90))
    assert any("times its size" in note for note in prediction.notes) == (diameter != 10)


class Brightness(torch.nn.Module):
    """A network whose answer is known: every pixel brighter than the mean holds cells."""

    def forward(self, image):
        return torch.relu(image) * 10


@pytest.fixture
def known(tiny_weights):
    return Counter(store.find("fcrn-a/untrained"), Brightness(), CPU)


def test_cell_diameter_finds_enlarged_cells_at_the_same_places(known):
    places = np.array([(12, 20), (30, 45), (40, 10), (8, 60)])
    image = density_map(places, (48, 64), 3.0)
    double = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    here, there = known.predict(image, Options(cell_diameter=10)), known.predict(double, Options(cell_diameter=20))
    assert there.count == pytest.approx(here.count, rel=0.01)
    as_it_is = known.predict(double, Options(cell_diameter=10))
    assert as_it_is.count == pytest.approx(4 * here.count, rel=0.01)
    estimated = known.predict(double)
    assert estimated.cell_diameter == pytest.approx(18, rel=0.25)   # Gaussians of 6 px, about as wide as such discs
    assert estimated.count < 2 * here.count
    assert len(there.points) == len(here.points) == len(places)
    order = np.argsort(here.points[:, 0]), np.argsort(there.points[:, 0])
    np.testing.assert_allclose(there.points[order[1]], here.points[order[0]] * 2 + 0.5, atol=1)


def test_points_lie_on_the_density_even_where_the_scale_was_rounded(known):
    # 55 px at a tenth are 6 px, not 5.5: the middle of the fifth of them lies at 41 px, not at 45.
    image = np.zeros((55, 55), np.float32)
    image[37:46, 37:46] = 1
    prediction = known.predict(image, Options(cell_diameter=100))
    y, _ = np.mgrid[:55, :55]
    centre = (prediction.density * y).sum() / prediction.density.sum()
    assert len(prediction.points) == 1
    assert prediction.points[0] == pytest.approx([41, 41], abs=1)
    assert centre == pytest.approx(41, abs=1)


def test_a_cell_diameter_that_would_blow_up_the_image_is_refused(counter):
    with pytest.raises(ImageError, match=r"check the cell diameter"):
        counter.predict(picture((2000, 2000)), Options(cell_diameter=1.5))


def test_cancelling_comes_out_and_leaves_the_counter_usable(counter):
    image = picture((100, 100))

    def stop(done, total):
        if done:
            raise Cancelled("The user stopped.")

    with pytest.raises(Cancelled):
        counter.predict(image, Options(tile=64), progress=stop)
    check(counter.predict(image, Options(tile=64)), (100, 100))


@pytest.mark.parametrize("values", [{"tile": 63}, {"tile": 5000}, {"cell_diameter": 1}, {"cell_diameter": float("nan")},
                                    {"cell_diameter": -5}, {"tiles": 64}])
def test_options_outside_their_limits_are_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        Options(**values)


def test_unknown_weights_and_methods_list_the_choices(tiny_weights):
    with pytest.raises(WeightsError, match=r"“fcrn-z”.*fcrn-a/untrained, fcrn-b/untrained"):
        load("fcrn-z")
    with pytest.raises(WeightsError, match=r"“unet”.*fcrn-a, fcrn-b, count-ception"):
        find_method("unet")


@pytest.mark.parametrize("device", ["banana", "cuda:x", "meta", "", "cpu:3", "mps"])
def test_an_unknown_device_is_an_error_not_a_fallback(tiny_weights, device):
    with pytest.raises(CellappError, match="choose one of: auto, cpu"):
        load("fcrn-a/untrained", device)


def test_a_missing_gpu_is_an_error_not_a_fallback(tiny_weights, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert load("fcrn-a/untrained", "auto").device.type == "cpu"
    with pytest.raises(WeightsError, match="no CUDA device"):
        load("fcrn-a/untrained", "cuda")


def test_who_waits_for_another_session_can_stop(known):
    import threading

    holding, let_go = threading.Event(), threading.Event()

    def hold(done, total):
        holding.set()
        let_go.wait(60)

    first = threading.Thread(target=lambda: known.predict(picture((64, 64)), progress=hold))
    first.start()
    try:
        assert holding.wait(60)

        def stop(done, total):
            raise Cancelled("stopped while waiting")

        with pytest.raises(Cancelled, match="while waiting"):
            known.predict(picture((64, 64)), progress=stop)
    finally:
        let_go.set()
        first.join()
    assert np.isfinite(known.predict(picture((64, 64))).count)
