"""The house network: its size, its four heads, its loss, and what a reading says."""

import numpy as np
import pytest
import torch
from torch import nn

from cellapp.data import Dotted
from cellapp.families.recount import UNKNOWN, Recounting
from cellapp.family import Call
from cellapp.methods import METHODS, fast
from cellapp.networks.fcrn import FCRNA, parameters
from cellapp.networks.recount import Recount
from cellapp.training import TrainingConfig
from cellapp.weights import Settings

CPU = torch.device("cpu")
FAMILY = Recounting()
CONFIG = TrainingConfig(method="recount")


def network(seed: int = 0) -> Recount:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Recount().eval()
        for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.running_mean.normal_(0, 0.2)
            norm.running_var.uniform_(0.5, 2)
        return net.requires_grad_(False)


class Drawn(nn.Module):
    """In the place of a network: maps that are given."""

    def __init__(self, maps: torch.Tensor):
        super().__init__()
        self.maps = nn.Parameter(maps)

    def forward(self, image):
        return self.maps


def dotted(labels: bool = False) -> Dotted:
    points = np.array([[5.0, 5.0], [20.4, 30.0], [63.0, 0.0]])
    image = np.random.default_rng(0).normal(size=(64, 48)).astype(np.float32)
    mask = np.zeros((64, 48), np.int32)
    mask[3:8, 3:8] = 1
    return Dotted("a.png", image, points, mask if labels else None)


def test_it_is_small():
    assert parameters(Recount()) == 282_604
    assert parameters(Recount()) < parameters(FCRNA()) / 4


@pytest.mark.parametrize("size", [(8, 8), (64, 48), (200, 104)])
def test_the_form_that_counts_is_the_trained_one(size):
    net, image = network(), torch.randn(2, 1, *size)
    expected = net(image)
    found = fast(METHODS["recount"], net, CPU)(image.to(memory_format=torch.channels_last))
    assert found.shape == expected.shape == (2, 4, size[0] // 2, size[1] // 2)
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5


def test_targets_hold_every_cell_once_and_know_what_they_do_not_know():
    sample = FAMILY.sample(dotted(), CONFIG)
    density, centres, foreground = sample.targets
    assert density.sum() / FAMILY.map_scale == pytest.approx(3, abs=1e-4)
    assert centres.sum() == 9 + 9 + 4, "3×3 px a centre, of which four lie inside at a corner"
    assert (foreground == UNKNOWN).all()
    assert FAMILY.sample(dotted(labels=True), CONFIG).targets[2].sum() == 25


def test_a_perfect_map_has_no_loss_but_that_of_its_variance():
    sample = FAMILY.sample(dotted(labels=True), CONFIG)
    targets = torch.from_numpy(sample.targets)[None]
    maps = torch.zeros(1, 4, 32, 24)
    maps[:, 0] = 4 * nn.functional.avg_pool2d(targets[:, 0], 2)
    maps[:, 1] = 40 * nn.functional.max_pool2d(targets[:, 1], 2) - 20
    maps[:, 2] = -30
    maps[:, 3] = 40 * nn.functional.avg_pool2d(targets[:, 2], 2).round() - 20
    image = torch.from_numpy(sample.image)[None, None]

    def loss(change=None):
        changed = maps.clone()
        if change:
            change(changed)
        return float(FAMILY.loss(Drawn(changed), image, targets, CONFIG, None).detach())

    best = loss()
    assert best < 0.2, "outlines that cross a pixel of the half grid leave a little"
    for head in (0, 1, 3):
        assert loss(lambda m, head=head: m[:, head].mul_(-1)) > best + 0.1, f"head {head} is not in the loss"


def test_the_variance_learns_from_errors_and_leaves_the_count_alone():
    net = Recount()
    image = torch.randn(2, 1, 64, 48)
    targets = torch.from_numpy(FAMILY.sample(dotted(), CONFIG).targets)[None].repeat(2, 1, 1, 1)
    only = dict.fromkeys(("PIXELS", "CENTRE", "FOREGROUND"), 0.0)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in only.items():
            patch.setattr(f"cellapp.families.recount.{name}", value)
        patch.setattr("cellapp.families.recount.BOXES", {})
        FAMILY.loss(net, image, targets, CONFIG, None).backward()
    touched = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert touched == {"heads.rate.weight", "heads.rate.bias"}


def test_a_reading_sums_to_the_count_on_the_grid_of_the_image():
    maps = torch.full((1, 4, 32, 24), -30.0)
    maps[:, 0] = 0
    maps[0, 0, 10, 12] = 100.0                               # one cell at map_scale 100
    maps[0, 1, 10, 12] = 4.0
    maps[0, 2] = 0.0                                         # softplus(0) = log 2 in each pixel of the half grid
    call = Call(device=CPU, stride=8, halo=56, map_scale=100.0)
    reading = FAMILY.read(Drawn(maps), np.zeros((64, 48), np.float32), call)
    assert reading.density.shape == (64, 48) and reading.count == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(reading.points, [[20.5, 24.5]], atol=0.51)
    assert reading.sd == pytest.approx(np.sqrt(32 * 24 * np.log(2)), rel=1e-4)
    assert not reading.views
    outlined = FAMILY.read(Drawn(maps), np.zeros((64, 48), np.float32),
                           Call(device=CPU, stride=8, halo=56, map_scale=100.0, settings=Settings(threshold=0.5)))
    assert outlined.views["foreground"].shape == (64, 48)


def test_small_images_are_mirrored_and_do_not_shrink_the_crops_of_the_others():
    rng = np.random.default_rng(1)
    samples = [FAMILY.sample(Dotted(f"{side}.png", rng.normal(size=(side, side + 8)).astype(np.float32),
                                    rng.uniform(4, side - 5, (3, 2))), CONFIG) for side in (40, 200)]
    config = CONFIG.model_copy(update={"crop": 96, "batch": 16, "gain": 0.0, "offset": 0.0})
    for whole in (False, True):
        images, targets = FAMILY.draw(samples, np.random.default_rng(0), config, stride=8, whole=whole)
        assert images.shape == (16, 1, 96, 96) and targets.shape == (16, 3, 96, 96)
        assert images.std() == pytest.approx(1, abs=0.2), "nothing was filled up with a constant"
        seen = targets[:, 0].sum(axis=(1, 2)) / FAMILY.map_scale
        assert seen.max() > 6, "dots are mirrored with the image"
