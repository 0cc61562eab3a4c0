"""FPN + VGG-11: the published sizes, the likelihood's optimum, frames, saliency, and that both parts can learn."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from cellapp.errors import Cancelled, TrainingError
from cellapp.families.mask_counter import MaskCounter, Masked
from cellapp.family import Call, Sample
from cellapp.networks.fpn_vgg import FPN, FPNVGG11, gaussian_nll, mask_loss, roughness
from cellapp.weights import Settings

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
FAMILY = MaskCounter()
SIDE = 64


def config(part, **changes):
    return SimpleNamespace(**{"part": part, "batch": 4, "devices": 1, "gain": 0.1, "offset": 0.05, "blur": 0.0,
                              "faithful": False} | changes)


def call(**changes):
    return Call(device=CPU, **changes)


def small(height=SIDE, width=SIDE):
    """An untrained network in eval mode that says something else for every image."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = FPNVGG11(height, width)
        with torch.no_grad():
            network.fpn.means[-1][-1].weight *= 200
            network.counter.count[-1].weight *= 20
            network.counter.count[-1].bias += 40
            network(torch.rand(4, 1, height, width))         # statistics of the norms: neither 0 nor 1
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network():
    return small()


def discs(count, shape=(SIDE, SIDE), seed=0):
    """An image of ``count`` bright discs, as read, with its labels."""
    rng = np.random.default_rng([seed, count])
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    for k, (cy, cx) in enumerate(rng.uniform(6, np.array(shape) - 6, (count, 2)), start=1):
        labels[(y - cy) ** 2 + (x - cx) ** 2 < 20] = k
    image = 100 + 900 * (labels > 0) + rng.normal(0, 20, shape)
    return SimpleNamespace(name=f"discs {count}", image=image.astype(np.float32), points=None, labels=labels,
                           counted=None, count=float(count))


def noise(shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


# --- the networks --------------------------------------------------------------------------------------------------


def count_parameters(network):
    return sum(p.numel() for p in network.parameters())


def test_parameter_counts_are_those_of_the_paper():
    with torch.device("meta"):
        paper, code = FPNVGG11(), FPNVGG11(256, 342)
    assert count_parameters(paper.fpn) == 7_113_254
    assert count_parameters(paper) == 29_979_816
    assert count_parameters(code) == 38_368_424


def test_four_scales_and_the_finest_alone_gives_the_same_numbers(network):
    image = torch.rand(2, 1, SIDE, 96)
    with torch.inference_mode():
        scales = network.fpn(image)
        mean, log_variance = network.fpn.finest(image)
        alone, nothing = network.fpn.finest(image, uncertainty=False)
        colour, _ = network.fpn.finest(image.expand(-1, 3, -1, -1))
    assert [tuple(mean.shape) for mean, _ in scales] == [(2, 1, 4, 6), (2, 1, 8, 12), (2, 1, 16, 24), (2, 1, 32, 48)]
    assert all(mean.shape == log_variance.shape for mean, log_variance in scales)
    assert all((mean >= 0).all() and (log_variance >= -6).all() for mean, log_variance in scales)
    assert (mean > 0).any()
    assert torch.equal(mean, scales[-1][0])
    assert torch.equal(log_variance, scales[-1][1])
    assert torch.equal(alone, mean)
    assert torch.equal(colour, mean)
    assert nothing is None


def test_the_finest_scale_runs_no_head_of_another(network):
    ran = []
    hooks = [head.register_forward_hook(lambda *_, name=name: ran.append(name))
             for name, head in network.fpn.named_modules() if name.count(".") == 1 and name.split(".")[0] != "first"]
    network.fpn.finest(torch.rand(1, 1, SIDE, SIDE), uncertainty=False)
    for hook in hooks:
        hook.remove()
    assert ran == ["across.0", "across.1", "across.2", "means.3"]


def test_odd_sizes_of_the_code(network):
    with torch.inference_mode():
        shapes = [tuple(mean.shape[-2:]) for mean, _ in network.fpn(torch.rand(1, 1, 64, 86))]
    assert shapes == [(4, 5), (8, 10), (16, 21), (32, 43)]
    with pytest.raises(ValueError, match="too small"):
        FPNVGG11(32, 64)


def test_the_counter_reads_one_size_and_gives_flat_outputs(network):
    count, log_variance = network.counter(torch.rand(3, 1, 32, 32))
    assert count.shape == log_variance.shape == (3,)
    with pytest.raises(ValueError, match="masks of"):
        network.counter(torch.rand(3, 1, 32, 64))


def test_counts_keep_their_precision_under_autocast(network):
    masks = torch.rand(3, 1, 32, 32)
    with torch.inference_mode():
        exact = network.counter(masks)[0]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mean = network.fpn.finest(torch.rand(1, 1, SIDE, SIDE))[0]
            count, log_variance = network.counter(masks)
    assert mean.dtype == torch.bfloat16, "or autocast is not on"
    assert count.dtype == log_variance.dtype == torch.float32
    assert count.tolist() == pytest.approx(exact.tolist(), rel=0.05)


def test_the_log_variance_is_bounded_and_not_turned_to_zero():
    fpn = FPN().eval()
    torch.nn.init.constant_(fpn.log_variances[-1][-1].bias, -50.0)
    with torch.inference_mode():
        assert (fpn.finest(torch.rand(1, 1, 32, 32))[1] == -6).all()


def test_a_fresh_counter_starts_at_the_counts_and_a_trained_one_stays():
    counter = FPNVGG11(SIDE, SIDE).counter
    assert counter.start_at(50.0, 400.0)
    assert counter.count[-1].bias.item() == 50
    assert counter.log_variance[-1].bias.item() == pytest.approx(math.log(400))
    assert not counter.start_at(7.0, 1.0)
    assert counter.count[-1].bias.item() == 50


# --- losses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("faithful", "part", "coverage"), [(False, 1.0, 0.95), (True, 0.5, 0.834)])
def test_optimum_of_the_likelihood_and_what_its_band_covers(rng, faithful, part, coverage):
    errors = torch.from_numpy(3.0 * rng.standard_normal(50_000))
    s = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([s], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = gaussian_nll(errors, s.expand_as(errors), torch.zeros_like(errors), faithful)
        loss.backward()
        return loss

    optimiser.step(closure)
    assert s.exp().item() == pytest.approx(part * errors.square().mean().item(), rel=1e-4)
    covered = (errors.abs() < 1.96 * (s / 2).exp()).double().mean().item()
    assert covered == pytest.approx(coverage, abs=4 * math.sqrt(coverage * (1 - coverage) / 50_000))
    assert 2 * norm.cdf(1.96 * math.sqrt(part)) - 1 == pytest.approx(coverage, abs=1e-3)


def test_likelihood_of_known_numbers():
    mean, s, truth = torch.tensor([3.0]), torch.tensor([math.log(4.0)]), torch.tensor([1.0])
    assert gaussian_nll(mean, s, truth).item() == pytest.approx(0.5 + math.log(2))
    assert gaussian_nll(mean, s, truth, faithful=True).item() == pytest.approx(0.5 + math.log(4))


def test_shapes_that_would_broadcast_are_refused():
    column, flat = torch.zeros(5, 1), torch.zeros(5)
    for three in ((column, column, flat), (flat, flat, column), (flat, column, flat), (flat, torch.zeros(()), flat)):
        with pytest.raises(ValueError, match="one shape is needed"):
            gaussian_nll(*three)


def test_mask_loss_of_known_masks():
    ramp = torch.arange(4.0).repeat(2, 1, 3, 1)              # three rows of 0 1 2 3: nine steps of one
    assert roughness(ramp).item() == 9
    truth = torch.zeros(1, 1, 8, 8)
    truth[..., :4] = 1
    exact = [(truth[..., ::k, ::k], torch.zeros(1, 1, 8 // k, 8 // k)) for k in (4, 2)]
    assert mask_loss(exact, truth).item() == pytest.approx(1e-6 * (2 + 4)), "one edge, as long as the map is high"
    wrong = [(1 - mean, log_variance) for mean, log_variance in exact]
    assert mask_loss(wrong, truth).item() == pytest.approx(1.0 + 1e-6 * (2 + 4))


# --- normalisation and reading -------------------------------------------------------------------------------------


def test_gain_offset_and_one_hot_pixel_do_not_matter():
    plane = noise((80, 90))
    normal = FAMILY.normalise(plane)
    assert normal.dtype == np.float32
    assert np.percentile(normal, (1, 99.9)) == pytest.approx([0, 1], abs=1e-5)
    np.testing.assert_allclose(FAMILY.normalise(plane * 250 + 31), normal, atol=1e-4)
    plane[3, 4] = 1e4
    np.testing.assert_allclose(np.delete(FAMILY.normalise(plane), 4, 1), np.delete(normal, 4, 1), atol=2e-3)


def test_planes_almost_without_contrast():
    assert FAMILY.normalise(np.full((50, 60), 7, np.float32)) is None
    assert FAMILY.normalise(np.zeros((1, 1), np.float32)) is None
    speck = np.full((100, 100), 5, np.float32)
    speck[40:42, 40:42] = 9                                  # less than a thousandth of the plane
    assert np.unique(FAMILY.normalise(speck)).tolist() == [0, 1]


def test_the_reading_of_one_frame_is_what_the_network_says(network):
    plane = noise((SIDE, SIDE))
    reading = FAMILY.read(network, plane, call(settings=Settings(factor=1.5)))
    with torch.inference_mode():
        image = torch.from_numpy(plane)[None, None]
        count, s = network(image)
        mask, mask_s = network.fpn.finest(image)
    assert count.item() > 1
    assert reading.count == pytest.approx(1.5 * count.item(), rel=1e-5)
    assert reading.sd == pytest.approx(1.5 * math.exp(s.item() / 2), rel=1e-5)
    assert reading.points is None
    assert set(reading.views) == {"foreground", "foreground_sd"}
    assert mask.max() > 1, "or the view's upper bound is not tested"
    inner = np.s_[1:-1, 1:-1]                                # the mean of four is the pixel, but for the edge
    for name, half in (("density", mask), ("foreground_sd", (mask_s / 2).exp())):
        full = torch.nn.functional.interpolate(half, scale_factor=2, mode="bilinear")[0, 0].numpy()
        seen = reading.density if name == "density" else reading.views[name]
        ratio = seen.sum(dtype=float) / full.sum(dtype=float)
        np.testing.assert_allclose(seen[inner], full[inner] * ratio, rtol=1e-4, atol=1e-7)
    assert reading.views["foreground"].min() >= 0
    assert reading.views["foreground"].max() == 1


def test_two_frames_are_two_readings(network):
    left, right = noise((SIDE, SIDE), 1), noise((SIDE, SIDE), 2) ** 4
    steps = []
    both = FAMILY.read(network, np.hstack([left, right]), call(progress=lambda *now: steps.append(now)))
    alone = [FAMILY.read(network, half, call()) for half in (left, right)]
    assert steps == [(0, 2), (1, 2), (2, 2)]
    assert alone[0].count != pytest.approx(alone[1].count, rel=1e-3)
    assert both.count == pytest.approx(alone[0].count + alone[1].count, rel=1e-5)
    assert both.sd == pytest.approx(alone[0].sd + alone[1].sd, rel=1e-6), "added, not in squares"
    np.testing.assert_array_equal(both.density, np.hstack([reading.density for reading in alone]))
    np.testing.assert_array_equal(both.views["foreground"], np.hstack([r.views["foreground"] for r in alone]))


@pytest.mark.parametrize("shape", [(1, 1), (5, 64), (64, 76), (75, 31), (140, 40)])
def test_any_size_keeps_count_and_shape(network, shape):
    frames = math.ceil(shape[0] / SIDE) * math.ceil(shape[1] / SIDE)
    steps = []
    reading = FAMILY.read(network, noise(shape), call(saliency=True, progress=lambda *now: steps.append(now)))
    assert steps[-1] == (frames, frames)
    for values in (reading.density, *reading.views.values()):
        assert values.shape == shape
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
    assert reading.density.min() >= 0
    padded = np.zeros((SIDE, SIDE), np.float32)
    padded[: shape[0], : shape[1]] = noise(shape)[:SIDE, :SIDE]
    if frames == 1:
        assert reading.count == pytest.approx(FAMILY.read(network, padded, call()).count, rel=1e-5)


def test_a_portrait_is_turned_where_that_saves_frames():
    wide = small(64, 96)
    plane = noise((96, 64))
    steps = []
    turned = FAMILY.read(wide, plane, call(saliency=True, progress=lambda *now: steps.append(now)))
    straight = FAMILY.read(wide, np.rot90(plane), call(saliency=True))
    assert steps[-1] == (1, 1)
    assert turned.density.shape == (96, 64)
    np.testing.assert_array_equal(np.rot90(turned.density), straight.density)
    for name in ("foreground", "foreground_sd", "saliency"):
        np.testing.assert_array_equal(np.rot90(turned.views[name]), straight.views[name])
    assert FAMILY.read(wide, noise((64, 128)), call()).density.shape == (64, 128)


def test_an_empty_mask_spreads_its_count_evenly():
    empty = small()
    empty.fpn.means[-1][-1].weight.zero_()
    empty.fpn.means[-1][-1].bias.fill_(-1)
    reading = FAMILY.read(empty, noise((SIDE, 40)), call())
    assert reading.count > 1
    np.testing.assert_allclose(reading.density, reading.count / (SIDE * 40), rtol=1e-5)
    empty.counter.count[-1].bias.fill_(-1000)
    assert FAMILY.read(empty, noise((SIDE, 40)), call()).count == 0, "a negative count is none"


def test_saliency_is_the_slope_of_the_count_and_leaves_the_network_alone(network):
    plane = noise((SIDE, SIDE))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.inference_mode():                             # as a caller may
        reading = FAMILY.read(network, plane, call(saliency=True))
    assert reading.count == pytest.approx(FAMILY.read(network, plane, call()).count, rel=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in network.parameters())
    exact = small().double()
    saliency = reading.views["saliency"]
    for y, x in [(20, 30), (41, 7), np.unravel_index(saliency.argmax(), saliency.shape)]:
        image = torch.from_numpy(plane.astype(np.float64))[None, None].repeat(2, 1, 1, 1)
        image[0, 0, y, x] += 1e-6
        image[1, 0, y, x] -= 1e-6
        with torch.inference_mode():
            up, down = exact(image)[0].tolist()
        assert saliency[y, x] == pytest.approx(abs(up - down) / 2e-6, rel=2e-2, abs=1e-5 * saliency.max())


def test_cancelling_goes_through(network):
    def stop(done, total):
        if done == 1:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        FAMILY.read(network, noise((SIDE, 3 * SIDE)), call(progress=stop))


# --- training ------------------------------------------------------------------------------------------------------


def fit(network, samples, settings, steps):
    """Loss on one batch before and after some steps on others, with the statistics of the batch in both."""
    part = FAMILY.trained(network, settings)
    network.eval().requires_grad_(False)
    part.train().requires_grad_(True)
    optimiser = torch.optim.AdamW(part.parameters(), lr=1e-3)

    def step(k):
        rng = np.random.default_rng([0, k])
        images, targets = FAMILY.draw(samples, rng, settings, stride=1, whole=False)
        return FAMILY.loss(network, torch.from_numpy(images), torch.from_numpy(targets), settings, rng)

    with torch.no_grad():
        first = step(0).item()
    for k in range(1, steps + 1):
        optimiser.zero_grad()
        step(k).backward()
        optimiser.step()
    with torch.no_grad():
        last = step(0).item()
    network.eval().requires_grad_(False)
    return first, last


def fresh():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FPNVGG11(SIDE, SIDE)


@pytest.mark.parametrize(("part", "frozen"), [("mask", "counter"), ("count", "fpn")])
def test_a_few_steps_of_each_part_lower_its_loss_and_leave_the_other_part_alone(part, frozen):
    network, settings = fresh(), config(part)
    samples = [FAMILY.sample(discs(count), settings) for count in (3, 6, 9, 12)]
    if part == "count":                                      # the true masks, so that there is something to count on
        masks = [(sample.labels[::2, ::2] > 0).astype(np.float16) for sample in samples]
        samples = [Masked(**vars(sample), masks=np.stack([mask, mask[:, ::-1]]))
                   for sample, mask in zip(samples, masks, strict=True)]
    before = {name: value.clone() for name, value in network.get_submodule(frozen).state_dict().items()}
    first, last = fit(network, samples, settings, 8)
    assert last < first - 1
    assert all(torch.equal(value, before[name])
               for name, value in network.get_submodule(frozen).state_dict().items())


def test_masks_are_computed_once_and_give_the_counts_of_reading(network):
    settings, items = config("count"), [discs(count) for count in (2, 8, 14)]
    samples = FAMILY.ready(network, [FAMILY.sample(item, settings) for item in items], settings, CPU)
    assert all(sample.image is None for sample in samples), "the images are not kept in memory"
    flat = Sample("flat", None, None, None, 5.0)             # without contrast: no mask, no cell
    how = call(settings=Settings(factor=2.0))
    validation = FAMILY.validate(network, [*samples, flat], settings, how)
    read = [FAMILY.read(network, FAMILY.normalise(item.image), how).count - item.count for item in items]
    assert validation.errors == pytest.approx([*read, -5.0], rel=1e-2), "masks are kept as float16"
    assert validation.figure == pytest.approx(np.abs(validation.errors).mean())
    assert FAMILY.ready(network, [flat, FAMILY.sample(items[0], settings)], settings, CPU)[0] is flat


def test_the_figure_of_the_mask_is_its_mean_absolute_error(network):
    settings, item = config("mask"), discs(6)
    sample = FAMILY.sample(item, settings)
    validation = FAMILY.validate(network, [sample], settings, call())
    with torch.inference_mode():
        mask = network.fpn.finest(torch.from_numpy(sample.image)[None, None])[0][0, 0].numpy()
    truth = (item.labels > 0).reshape(SIDE // 2, 2, SIDE // 2, 2).mean((1, 3))
    assert validation.figure == pytest.approx(np.abs(mask - truth).mean(), rel=1e-5)
    assert np.isnan(validation.errors).all(), "a count cannot be judged yet"
    flat = Sample("flat", None, None, None, 6.0, item.labels)
    assert FAMILY.validate(network, [flat], settings, call()).figure == pytest.approx(truth.mean()), "an empty mask"


def test_drawn_masks_are_flipped_with_their_images():
    settings = config("mask", gain=0.0, offset=0.0, batch=40)
    sample = FAMILY.sample(discs(7), settings)
    images, targets = FAMILY.draw([sample], np.random.default_rng(0), settings, stride=1, whole=True)
    assert images.shape == targets.shape == (40, 1, SIDE, SIDE)
    assert images.dtype == targets.dtype == np.float32
    assert set(np.unique(targets)) == {0, 1}
    flips = [sample.targets, sample.targets[:, ::-1], sample.targets[:, :, ::-1], sample.targets[:, ::-1, ::-1]]
    kinds = [next(k for k, flip in enumerate(flips) if np.array_equal(flip, target)) for target in targets]
    assert set(kinds) == {0, 1, 2, 3}
    assert kinds.count(0) > kinds.count(1) > kinds.count(3), "a quarter each"
    assert ((images > 0.5) == (targets > 0.5)).mean() > 0.99


def test_drawn_counts_come_with_the_mask_of_the_image_or_its_mirror_image(network):
    settings = config("count", batch=30)
    item = discs(5)
    ready = FAMILY.ready(network, [FAMILY.sample(item, settings)], settings, CPU)
    masks, counts = FAMILY.draw(ready, np.random.default_rng(1), settings, stride=1, whole=False)
    assert masks.shape == (30, 1, SIDE // 2, SIDE // 2)
    assert counts.tolist() == [5.0] * 30
    with torch.inference_mode():
        image = torch.from_numpy(FAMILY.normalise(item.image))[None, None]
        both = [network.fpn.finest(x)[0][0, 0].numpy() for x in (image, image.flip(-1))]
    kinds = [int(np.abs(mask[0] - both[1]).max() < np.abs(mask[0] - both[0]).max()) for mask in masks]
    assert 8 <= sum(kinds) <= 22
    for mask, kind in zip(masks, kinds, strict=True):
        np.testing.assert_allclose(mask[0], both[kind], rtol=2e-3, atol=1e-3)


def test_what_training_refuses(network):
    with pytest.raises(TrainingError, match="first --part mask, then --part count --start ID"):
        FAMILY.sample(discs(3), config("all"))
    item = discs(3)
    item.labels = None
    with pytest.raises(TrainingError, match="discs 3: the mask of its cells is not known"):
        FAMILY.sample(item, config("mask"))
    assert FAMILY.sample(item, config("count")).count == 3, "counts alone are enough"
    item.image = np.ones_like(item.image)
    with pytest.raises(TrainingError, match="no contrast"):
        FAMILY.sample(item, config("count"))
    for part in ("mask", "count"):
        large = FAMILY.sample(discs(3, (64, 100)), config(part))
        with pytest.raises(TrainingError, match=r"discs 3 is 100×64 px.*--size 64x64"):
            FAMILY.ready(network, [large], config(part), CPU)
    sample = FAMILY.sample(discs(3), config("count"))
    with pytest.raises(TrainingError, match="has not been trained yet"):
        FAMILY.ready(FPNVGG11(SIDE, SIDE), [sample], config("count"), CPU)
    blind = small()
    blind.fpn.means[-1][-1].weight.zero_()
    blind.fpn.means[-1][-1].bias.fill_(-1)
    with pytest.raises(TrainingError, match="an empty mask for every image"):
        FAMILY.ready(blind, [sample], config("count"), CPU)
    with pytest.raises(TrainingError, match="at least two images"):
        FAMILY.ready(network, [sample], config("count", batch=1), CPU)


def test_a_plane_a_little_too_large_is_shrunk_to_whole_frames(network):
    from cellapp.frames import fitted

    height, width = network.size
    rng = np.random.default_rng(0)
    for shape, wanted in (((height, width), (height, width)), ((height + 5, width + 6), (height, width)),
                          ((2 * height + 4, width - 20), (2 * height, width - 20)),
                          ((height + height // 2, width), (height + height // 2, width)), ((7, 5), (7, 5))):
        plane = rng.random(shape, dtype=np.float32)
        assert fitted(plane, network.size).shape == wanted
    item = discs(3, (height - 10, width + 6))
    [learnt] = FAMILY.ready(network, [FAMILY.sample(item, config("mask"))], config("mask"), CPU)
    seen = FAMILY.read(network, FAMILY.normalise(item.image), call())
    again = FAMILY.read(network, learnt.image, call())
    assert learnt.image.shape == learnt.labels.shape == learnt.targets.shape[1:] == network.size
    assert again.count == pytest.approx(seen.count, rel=1e-4), "what is learnt from is what is read"
    assert (learnt.targets[0] == (learnt.labels > 0)).all() and learnt.labels.max() == 3
    steps = []
    FAMILY.read(network, rng.random((height + 5, width + 6), dtype=np.float32),
                call(progress=lambda *now: steps.append(now)))
    assert steps == [(0, 1), (1, 1)], "one frame, not four"


def test_an_image_of_about_one_frame_is_read_as_one_frame(network):
    height, width = network.size
    assert FAMILY.factor(network, (2 * height, 2 * width), 0.4) == 0.5
    assert FAMILY.factor(network, (2 * height, 2 * width), 0.1) == 0.1, "cells so large that their scale decides"
    assert FAMILY.factor(network, (5 * height, 5 * width), 1.0) == 1.0, "many frames"
    assert FAMILY.factor(network, (height, width), 1.2) == 1


def test_a_quick_count_is_the_same_count(network):
    plane = noise((SIDE, 2 * SIDE))
    whole, quick = FAMILY.read(network, plane, call()), FAMILY.read(network, plane, call(quick=True))
    np.testing.assert_array_equal(quick.density, whole.density)
    assert quick.sd == whole.sd and set(quick.views) == {"foreground"}
