"""Count-ception: redundant counting.

Source: Cohen, Boucher, Glastonbury, Lo, Bengio, "Count-ception: Counting by Fully Convolutional Redundant Counting"
(2017). Each output pixel is the number of cells in a window of 32x32 px, so that every cell is counted 1,024 times.
All convolutions have stride 1 and no bias, and each, the last one too, is followed by a batch normalisation and a
leaky ReLU of slope 0.01. Only the first is padded, by 32 px, so an image of HxW gives a map of (H+32)x(W+32).

Departure: the reference code never lets its normalisation layers normalise (they stay at mean 0 and deviation 1, so
only their scale and shift are learned). Here they do normalise while training, as the paper describes; `faithful`
keeps the code's behaviour.
"""

import torch
from torch import Tensor, nn

WINDOW = 32                                                  # px; each output pixel counts the cells in such a square
RIM = WINDOW // 2                                            # px by which the map reaches beyond the image
SLOPE = 0.01


class _Unit(nn.Module):
    """Convolution, batch normalisation, leaky ReLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, padding: int = 0):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, padding=padding, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)
        nn.init.xavier_uniform_(self.conv.weight, gain=nn.init.calculate_gain("relu"))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(self.norm(self.conv(x)), SLOPE, inplace=not self.training)


class _Branches(nn.Module):
    """A 1x1 and a 3x3 convolution side by side."""

    def __init__(self, channels_in: int, ones: int, threes: int):
        super().__init__()
        self.one = _Unit(channels_in, ones, 1)
        self.three = _Unit(channels_in, threes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x)], dim=1)


class CountCeption(nn.Module):
    """``(B, 1, H, W)`` normalised image -> ``(B, 1, H + 32, W + 32)`` redundant count map.

    Output (i, j) counts the cells whose centres lie in rows i - 32 … i - 1 and columns j - 32 … j - 1 of the image.
    1,682,210 parameters for the paper's three input channels; a grey image is given to all three.
    """

    def __init__(self, channels: int = 3):
        super().__init__()
        self.channels = channels
        self.first = _Unit(channels, 64, 3, padding=WINDOW)              # H + 62
        self.pair1 = _Branches(64, 16, 16)
        self.pair2 = _Branches(32, 16, 32)
        self.wide14 = _Unit(48, 16, 14)                                  # H + 49
        self.pair3 = _Branches(16, 112, 48)
        self.pair4 = _Branches(160, 64, 32)
        self.pair5 = _Branches(96, 40, 40)
        self.pair6 = _Branches(80, 32, 96)
        self.wide18 = _Unit(128, 32, 18)                                 # H + 32
        self.mix1 = _Unit(32, 64, 1)
        self.mix2 = _Unit(64, 64, 1)
        self.head = _Unit(64, 1, 1)

    def features(self, image: Tensor) -> Tensor:
        """``(B, 128, H + 49, W + 49)``: what the last wide convolution reads."""
        x = self.first(image.expand(-1, self.channels, -1, -1))
        x = self.wide14(self.pair2(self.pair1(x)))
        return self.pair6(self.pair5(self.pair4(self.pair3(x))))

    def forward(self, image: Tensor, stride: int = 1, row: int = 0, column: int = 0) -> Tensor:
        """With a stride only every stride-th window is counted, from output (row, column) on.

        The skipped windows cost nothing in the last layers; the ones that remain are the same as without a stride.
        """
        x = self.features(image)[:, :, row:, column:]
        wide = self.wide18
        x = nn.functional.conv2d(x, wide.conv.weight, wide.conv.bias, stride=stride) if stride > 1 else wide.conv(x)
        x = nn.functional.leaky_relu(wide.norm(x), SLOPE, inplace=not self.training)
        return self.head(self.mix2(self.mix1(x)))


def redundant_map(dots: Tensor) -> Tensor:
    """The target: ``(B, 1, H, W)`` dots per pixel -> ``(B, 1, H + 32, W + 32)`` dots per window.

    Output (i, j) is the sum of rows i - 32 … i - 1 and columns j - 32 … j - 1, by an integral image: every dot is
    counted exactly 1,024 times.
    """
    padded = nn.functional.pad(dots, [WINDOW] * 4).double()
    whole = nn.functional.pad(padded.cumsum(-1).cumsum(-2), [1, 0, 1, 0])            # (B, 1, H + 65, W + 65)
    n = WINDOW
    sums = whole[..., n:, n:] - whole[..., :-n, n:] - whole[..., n:, :-n] + whole[..., :-n, :-n]
    return sums[..., :-1, :-1].float()                       # of H + 33 windows the last holds no pixel of the image


__all__ = ["RIM", "WINDOW", "CountCeption", "redundant_map"]
