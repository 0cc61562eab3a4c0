"""recount: a small network of our own that counts on the half grid.

No convolution at full resolution, additive skips, batch normalisation that folds away: 0.3 M parameters and about 0.7
billion multiplications for 256×256 px, a ninth of FCRN-A's. Four linear heads on one map of features: the density,
whether a pixel is the centre of a cell, how fast the count's variance grows, and foreground.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEADS = ("density", "centre", "rate", "foreground")
RARE = -4.0                                                  # logit with which a head for rare pixels starts


def _conv(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
                         nn.BatchNorm2d(channels_out), nn.ReLU())


class Recount(nn.Module):
    """``(B, 1, H, W)`` normalised image, H and W multiples of 8 -> ``(B, 4, H/2, W/2)``: density (times the method's
    `map_scale`), logit of a centre, rate of the variance before its softplus, logit of the foreground.

    ``width`` channels on the half grid, twice and four times as many on those below. 282,604 parameters for 24.
    """

    encoder = ("stem", "down1", "down2")                     # what a training may keep as it is

    def __init__(self, width: int = 24):
        super().__init__()
        w1, w2, w3 = width, 2 * width, 4 * width
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), _conv(4, w1), _conv(w1, w1))
        self.down1 = nn.Sequential(_conv(w1, w2, 2), _conv(w2, w2))
        self.down2 = nn.Sequential(_conv(w2, w3, 2), _conv(w3, w3), _conv(w3, w3))
        self.across2, self.up2 = nn.Conv2d(w3, w2, 1), _conv(w2, w2)
        self.across1, self.up1 = nn.Conv2d(w2, w1, 1), nn.Sequential(_conv(w1, w1), _conv(w1, w1))
        self.heads = nn.ModuleDict({name: nn.Conv2d(w1, 1, 1) for name in HEADS})
        for name, head in self.heads.items():
            nn.init.normal_(head.weight, std=0.01)
            nn.init.constant_(head.bias, RARE if name in ("centre", "rate") else 0.0)

    def features(self, image: Tensor) -> Tensor:
        """(B, width, H/2, W/2)."""
        half = self.stem(image)
        quarter = self.down1(half)
        x = self.across2(self.down2(quarter))                # 1×1 before the upsampling: a quarter of the work
        x = self.up2(_twice(x) + quarter)
        return self.up1(_twice(self.across1(x)) + half)

    def forward(self, image: Tensor) -> Tensor:
        x = self.features(image)
        # What says how sure the count is must not change the count.
        return torch.cat([head(x.detach() if name == "rate" else x) for name, head in self.heads.items()], dim=1)

    def fast(self) -> "FastRecount":
        """A copy for counting: the same map to rounding, sooner. Batch normalisation must have been folded."""
        return FastRecount(self)


class FastRecount(Recount):
    """A trained `Recount` for counting only: activations in place, one convolution for all heads."""

    def __init__(self, network: Recount):
        nn.Module.__init__(self)
        for name, part in network.named_children():
            setattr(self, name, copy.deepcopy(part).requires_grad_(False))
        for module in self.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = True

    def forward(self, image: Tensor) -> Tensor:
        heads = self.heads.values()
        return F.conv2d(self.features(image), torch.cat([h.weight for h in heads]), torch.cat([h.bias for h in heads]))


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


__all__ = ["HEADS", "FastRecount", "Recount"]
