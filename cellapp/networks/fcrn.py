"""FCRN-A and FCRN-B: fully convolutional regression networks for density maps.

Source: Xie, Noble, Zisserman, "Microscopy cell counting and detection with fully convolutional
regression networks" (2015/2018). All convolutions have stride 1, "same" zero padding and a bias; every
one but the last is followed by a ReLU; there is no batch normalisation; upsampling is bilinear.

Readings where the paper leaves a choice:

- FCRN-A ends in a 3x3 convolution to 32 channels and a linear 1x1 convolution to the map.
- FCRN-B is read as 32-64-pool-128-256-pool, "fully connected" 5x5 to 256, then 5x5 to 256 and 5x5 to 1;
  this gives the paper's receptive field of 32 px at the "fully connected" layer and its 3.6 M parameters.
- Upsampling goes to the size of the mirrored encoder level, so a patch of 100x100 (the paper's own, not
  a multiple of 8) comes back as 100x100.
"""

import copy

import torch.nn.functional as F
from torch import Tensor, nn

from cellapp.networks.fft_conv import FFTConv2d
from cellapp.networks.small_upconv import SmallUpConv2d
from cellapp.networks.upconv import UpConv2d


def _conv(channels_in: int, channels_out: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2)


def _up(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _initialise(network: nn.Module) -> None:
    """Orthogonal weights as in the paper, scaled for ReLU; biases zero; the map starts near zero."""
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    for m in convolutions:
        nn.init.orthogonal_(m.weight, gain=nn.init.calculate_gain("relu"))
        nn.init.zeros_(m.bias)
    nn.init.orthogonal_(convolutions[-1].weight, gain=0.1)


class FCRNA(nn.Module):
    """FCRN-A: three 3x3 levels down to 1/8, 512 channels there, three levels up.

    ``(B, channels, H, W)`` normalised image -> ``(B, outputs, H, W)`` map, any H and W of at least 8.
    1,365,249 parameters for one channel and one output.
    """

    encoder = ("down1", "down2", "down3", "middle")          # what a training may keep as it is

    def __init__(self, channels: int = 1, outputs: int = 1):
        super().__init__()
        self.down1 = _conv(channels, 32, 3)
        self.down2 = _conv(32, 64, 3)
        self.down3 = _conv(64, 128, 3)
        self.middle = _conv(128, 512, 3)
        self.up3 = _conv(512, 128, 3)
        self.up2 = _conv(128, 64, 3)
        self.up1 = _conv(64, 32, 3)
        self.head = _conv(32, outputs, 1)
        _initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        d1 = F.relu(self.down1(image))                     # (B, 32, H, W)
        d2 = F.relu(self.down2(F.max_pool2d(d1, 2)))       # (B, 64, H/2, W/2)
        d3 = F.relu(self.down3(F.max_pool2d(d2, 2)))       # (B, 128, H/4, W/4)
        x = F.relu(self.middle(F.max_pool2d(d3, 2)))       # (B, 512, H/8, W/8)
        x = F.relu(self.up3(_up(x, d3.shape[-2:])))
        x = F.relu(self.up2(_up(x, d2.shape[-2:])))
        x = F.relu(self.up1(_up(x, d1.shape[-2:])))
        return self.head(x)

    def fast(self) -> "FastFCRNA":
        """A copy for counting: the same map to rounding, sooner."""
        return FastFCRNA(self)


class FastFCRNA(nn.Module):
    """A trained FCRN-A for counting only: its widest layer, after the first upsampling, from the small map.

    Input, output and state dict are those of FCRNA. Maps that are not needed any more are given back or written over.
    """

    def __init__(self, network: FCRNA):
        super().__init__()
        for name, layer in network.named_children():
            setattr(self, name, copy.deepcopy(layer).requires_grad_(False))
        self.up3 = SmallUpConv2d(network.up3)

    def forward(self, image: Tensor) -> Tensor:
        x, sizes = image, []
        for down in (self.down1, self.down2, self.down3):
            x = F.relu_(down(x))
            sizes.append(x.shape[-2:])
            x = F.max_pool2d(x, 2)
        x = F.relu_(self.middle(x))
        x = F.relu_(self.up3(x, sizes[2]))
        for up, size in ((self.up2, sizes[1]), (self.up1, sizes[0])):
            x = F.relu_(up(_up(x, size)))
        return self.head(x)


class FCRNB(nn.Module):
    """FCRN-B: pooling after every two convolutions, down to 1/4 only, 5x5 kernels in the deep part.

    ``(B, channels, H, W)`` normalised image -> ``(B, outputs, H, W)`` map, any H and W of at least 4.
    3,671,553 parameters for one channel and one output.
    """

    encoder = ("down1", "down2", "down3", "down4", "middle")

    def __init__(self, channels: int = 1, outputs: int = 1):
        super().__init__()
        self.down1 = _conv(channels, 32, 3)
        self.down2 = _conv(32, 64, 3)
        self.down3 = _conv(64, 128, 3)
        self.down4 = _conv(128, 256, 3)
        self.middle = _conv(256, 256, 5)
        self.up2 = _conv(256, 256, 5)
        self.head = _conv(256, outputs, 5)
        _initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        d2 = F.relu(self.down2(F.relu(self.down1(image))))               # (B, 64, H, W)
        x = F.relu(self.down3(F.max_pool2d(d2, 2)))
        d4 = F.relu(self.down4(x))                                       # (B, 256, H/2, W/2)
        x = F.relu(self.middle(F.max_pool2d(d4, 2)))                     # (B, 256, H/4, W/4)
        x = F.relu(self.up2(_up(x, d4.shape[-2:])))
        return self.head(_up(x, d2.shape[-2:]))

    def fast(self) -> "FastFCRNB":
        """A copy for counting: the same map to rounding, sooner."""
        return FastFCRNB(self)


class FastFCRNB(nn.Module):
    """A trained FCRN-B for counting only: its two wide 5x5 layers by FFT, its head from the small map.

    Input, output and state dict are those of FCRNB; it keeps 230 MB more for the spectra.
    """

    def __init__(self, network: FCRNB):
        super().__init__()
        for name in ("down1", "down2", "down3", "down4"):
            setattr(self, name, copy.deepcopy(getattr(network, name)).requires_grad_(False))
        self.middle, self.up2 = FFTConv2d(network.middle), FFTConv2d(network.up2)
        self.head = UpConv2d(network.head)

    def forward(self, image: Tensor) -> Tensor:
        d2 = F.relu(self.down2(F.relu(self.down1(image))))
        d4 = F.relu(self.down4(F.relu(self.down3(F.max_pool2d(d2, 2)))))
        x = F.relu(self.middle(F.max_pool2d(d4, 2)))
        x = F.relu(self.up2(_up(x, d4.shape[-2:])))
        if d2.shape[-2:] == (2 * x.shape[-2], 2 * x.shape[-1]):
            return self.head(x)
        return self.head.plain(_up(x, d2.shape[-2:]))


def parameters(network: nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in network.parameters())


__all__ = ["FCRNA", "FCRNB", "FastFCRNA", "FastFCRNB", "parameters"]
