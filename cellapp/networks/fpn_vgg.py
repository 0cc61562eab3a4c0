"""A feature pyramid that draws the mask of the cells, and a VGG-11 that counts on it, each with its own uncertainty.

Source: Hernández, Sultan, Pande, "Using deep learning for segmentation and counting within microscopy data"
(2018, arXiv 1802.10548). Every output is a pair (mean, s) with s = log σ², the log-variance of a Gaussian.

Readings where text and code of the paper disagree, or where we depart:

- The way down has no convolution but the first (3 → 1 channel): it halves by average pooling, as in the code.
- Convolution, then batch normalisation, then leaky ReLU (0.01), as in the code; the text has the norm first.
- The log-variance is linear and bounded below at -6. In the code it passes a leaky ReLU, so that a standard deviation
  of 0.1 would need an output of -460, and a threshold that puts *zero* in the place of all that lies below -6:
  the most certain pixels would become the least certain ones. Neither is copied.
- The count is linear, where the code has a ReLU: once that is below zero for all images it has no gradient and
  training is dead. Reading clips at zero. The mean mask keeps its ReLU, and starts above zero.
- The loss has the ½ before s that a Gaussian likelihood has; see `gaussian_nll`.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cellapp.networks.thin_conv import ThinConv2d

SCALES = 4                                                  # 1/16, 1/8, 1/4 and 1/2 of the image
CHANNELS = 128
LOWEST = -6.0                                               # of a log-variance: σ = 0.05
SMOOTHING = 1e-6


def _block(channels_in: int, channels_out: int) -> list[nn.Module]:
    """Convolution, norm, activation: in this order, so that the norm can be folded into the convolution."""
    return [nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.BatchNorm2d(channels_out), nn.LeakyReLU(0.01)]


def _mask_head() -> nn.Sequential:
    return nn.Sequential(*_block(CHANNELS, 256), *_block(256, 256), nn.Conv2d(256, 1, 3, padding=1))


def _count_head(features: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, 1024), nn.BatchNorm1d(1024), nn.LeakyReLU(0.01),
                         nn.Linear(1024, 512), nn.BatchNorm1d(512), nn.LeakyReLU(0.01), nn.Linear(512, 1))


def _initialise(network: nn.Module) -> None:
    """He's weights for leaky ReLUs, biases zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, a=0.01, nonlinearity="leaky_relu")
            nn.init.zeros_(module.bias)


def _start_at(last: nn.Conv2d | nn.Linear, value: float) -> None:
    """Let a head start near one value, whatever the image."""
    nn.init.orthogonal_(last.weight, gain=0.1)
    nn.init.constant_(last.bias, value)


class FPN(nn.Module):
    """The mask of the cells at four scales.

    ``(B, 1, H, W)`` grey image, or ``(B, 3, H, W)`` in colour, sides of at least 16 px. A grey plane is read as three
    equal channels. The mean mask is the part of a pixel that belongs to cells, at least 0. 7,113,254 parameters.
    """

    layout = torch.contiguous_format

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(*_block(3, 1))
        self.across = nn.ModuleList(nn.Sequential(*_block(1, CHANNELS)) for _ in range(SCALES - 1))
        self.means = nn.ModuleList(_mask_head() for _ in range(SCALES))
        self.log_variances = nn.ModuleList(_mask_head() for _ in range(SCALES))
        _initialise(self)
        for mean, log_variance in zip(self.means, self.log_variances, strict=True):
            _start_at(mean[-1], 0.1)                        # above zero: a ReLU that starts below learns nothing
            _start_at(log_variance[-1], 0.0)                # wide: a narrow start weighs the dark ground so heavily
                                                            # that it can drive the finest mean to zero for good

    def forward(self, image: Tensor) -> list[tuple[Tensor, Tensor]]:
        """(mean, log-variance) of the mask, ``(B, 1, h, w)`` each, at 1/16, 1/8, 1/4 and 1/2 of the image."""
        return [(self._mean(k, x), self._log_variance(k, x)) for k, x in enumerate(self._features(image))]

    def finest(self, image: Tensor, uncertainty: bool = True) -> tuple[Tensor, Tensor | None]:
        """The last pair of `forward` and the same numbers, without the heads of the coarser scales.

        Without ``uncertainty`` its head is left out as well and None is in its place.
        """
        x = self._features(image)[-1]
        return self._mean(SCALES - 1, x), self._log_variance(SCALES - 1, x) if uncertainty else None

    def _features(self, image: Tensor) -> list[Tensor]:
        """(B, 128, h, w) at each scale, coarse to fine."""
        x = self.first(image.expand(-1, 3, -1, -1))
        levels = []
        for _ in range(SCALES):
            x = F.adaptive_avg_pool2d(x, (x.shape[-2] // 2, x.shape[-1] // 2))
            levels.append(x)
        coarse_to_fine = levels[::-1]
        # In the layout of the network from here on, or every larger map would be copied to it on its way.
        features = [coarse_to_fine[0].expand(-1, CHANNELS, -1, -1).contiguous(memory_format=self.layout)]
        for level, across in zip(coarse_to_fine[1:], self.across, strict=True):
            up = F.interpolate(features[-1], size=level.shape[-2:], mode="bilinear", align_corners=True)
            features.append(up + across(level))
        return features

    def _mean(self, scale: int, features: Tensor) -> Tensor:
        return F.relu(self.means[scale](features))

    def _log_variance(self, scale: int, features: Tensor) -> Tensor:
        return self.log_variances[scale](features).clamp(min=LOWEST)


class VGG11Counter(nn.Module):
    """VGG-11 with batch normalisation, which reads a mean mask and says how many cells it shows.

    ``(B, 1, height, width)`` mask -> (count, log-variance), ``(B,)`` each; only masks of this one size, with sides of
    at least 32. The count is linear and may be slightly negative. 22,866,562 parameters for 96×128.
    """

    def __init__(self, height: int = 96, width: int = 128):
        super().__init__()
        if min(height, width) < 32:
            raise ValueError(f"a mask of {height}x{width} is too small to be halved five times")
        self.size = height, width
        layers, channels = [], 1
        for convolutions in ((64,), (128,), (256, 256), (512, 512), (512, 512)):
            for wanted in convolutions:
                layers += _block(channels, wanted)
                channels = wanted
            layers.append(nn.MaxPool2d(2))
        self.body = nn.Sequential(*layers)
        features = channels * (height // 32) * (width // 32)  # five floored halvings
        self.count = _count_head(features)
        self.log_variance = _count_head(features)
        _initialise(self)
        _start_at(self.count[-1], 0.0)
        _start_at(self.log_variance[-1], 0.0)

    def forward(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        if mask.shape[1:] != (1, *self.size):
            raise ValueError(f"masks of {tuple(mask.shape)} for a counter of (B, 1, {self.size[0]}, {self.size[1]})")
        x = self.body(mask).flatten(1)
        with torch.autocast(x.device.type, enabled=False):  # in bfloat16 a count near 100 has steps of half a cell
            x = x.to(self.count[-1].weight.dtype)
            return self.count(x).squeeze(1), self.log_variance(x).squeeze(1).clamp(min=LOWEST)

    def start_at(self, mean: float, variance: float) -> bool:
        """Let a fresh counter begin with the mean and variance of the counts it will learn.

        Adam moves a bias by one learning rate a step; from zero to 50 cells that is most of a training. A counter
        that has been trained (its biases are not zero) stays as it is. Returns whether it was fresh.
        """
        biases = self.count[-1].bias, self.log_variance[-1].bias
        fresh = not any(bool(bias.any()) for bias in biases)
        if fresh:
            for bias, value in zip(biases, (mean, math.log(max(variance, 1e-2))), strict=True):
                nn.init.constant_(bias, value)
        return fresh


class FPNVGG11(nn.Module):
    """`FPN` and, on its finest mean mask, `VGG11Counter`, for images of one size with sides of at least 64 px.

    ``(B, 1, height, width)`` image -> (count, log-variance), ``(B,)`` each. 29,979,816 parameters for the paper's
    192×256, 38,368,424 for the 256×342 of its code.
    """

    def __init__(self, height: int = 192, width: int = 256):
        super().__init__()
        self.size = height, width
        self.fpn = FPN()
        self.counter = VGG11Counter(height // 2, width // 2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return self.counter(self.fpn.finest(image, uncertainty=False)[0])

    def fast(self) -> "FPNVGG11":
        """A copy for counting in the layout channels-last, whose activations are written over the maps they are taken
        of and whose mask heads end in a `ThinConv2d`."""
        network = copy.deepcopy(self)
        network.fpn.layout = torch.channels_last
        for head in (*network.fpn.means, *network.fpn.log_variances):
            head[-1] = ThinConv2d(head[-1])
        for module in network.modules():
            if isinstance(module, nn.LeakyReLU):
                module.inplace = True
        return network


def gaussian_nll(mean: Tensor, log_variance: Tensor, truth: Tensor, faithful: bool = False) -> Tensor:
    """Mean of e²/(2 exp s) + s/2, with e = mean - truth and s = log σ²: a scalar.

    Its optimum is σ² = E e². ``faithful`` takes the paper's e²/(2 exp s) + s, whose optimum is σ² = E e²/2, so that a
    band of ±1.96 σ covers 83 % of Gaussian errors instead of 95 %. That is the paper's "80 % within the band".

    The three must have one and the same shape (ValueError): with (N, 1) and (N,) the differences would silently be
    N×N, which regresses every prediction on every truth of the batch.
    """
    if not mean.shape == log_variance.shape == truth.shape:
        raise ValueError(f"one shape is needed: mean {tuple(mean.shape)}, log-variance {tuple(log_variance.shape)}, "
                         f"truth {tuple(truth.shape)}")
    weight = 1.0 if faithful else 0.5
    return ((mean - truth).square() * (-log_variance).exp() / 2 + weight * log_variance).mean()


def roughness(mask: Tensor) -> Tensor:
    """Σ (∂x)² + (∂y)² of (B, 1, h, w) masks, summed over the pixels and averaged over the batch: a scalar."""
    return (mask.diff(dim=-1).square().sum() + mask.diff(dim=-2).square().sum()) / len(mask)


def mask_loss(scales: list[tuple[Tensor, Tensor]], truth: Tensor, faithful: bool = False) -> Tensor:
    """What `FPN.forward` gave against the ``(B, 1, H, W)`` mask in [0, 1]: a scalar.

    Sum over the scales of the Gaussian likelihood and 1e-6 of the roughness. The truth is averaged down to each scale;
    it is one channel in [0, 1], where the paper's code sums three (0 … 3).
    """
    total = truth.new_zeros(())
    for mean, log_variance in scales:
        target = F.adaptive_avg_pool2d(truth, mean.shape[-2:])
        total = total + gaussian_nll(mean, log_variance, target, faithful) + SMOOTHING * roughness(mean)
    return total


__all__ = ["FPN", "FPNVGG11", "SCALES", "VGG11Counter", "gaussian_nll", "mask_loss", "roughness"]
