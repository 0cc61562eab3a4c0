"""AlexNet and ResNets that count the cells of one window.

Source: Xue, Ray, Hugh, Bigras, "Cell counting by regression using convolutional neural network" (2016): Caffe's AlexNet
trained from scratch, and ResNets of which only the last layer is trained. With one output the network states the
count; its classification twin has an output for each of the counts 0 … outputs - 1.

Readings and departures:

- The paper does not say how windows come to the side the network asks for; here it is bilinear.
- Windows are one grey plane, z-scored as a whole, repeated three times; the paper reads RGB minus ImageNet's mean.
  AlexNet's response normalisation keeps Caffe's constants, which were chosen for values of 0 … 255: on z-scored
  values it does little.
- He's initialisation instead of Caffe's fixed deviations, as the scale of the input is another.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

DEPTHS = {18: models.resnet18, 34: models.resnet34, 50: models.resnet50, 101: models.resnet101, 152: models.resnet152}


def three_channels(windows: Tensor, side: int) -> Tensor:
    """(B, 1, p, p) grey windows as (B, 3, side, side), bilinear; what is made smaller is averaged first."""
    p = max(windows.shape[-2:])
    if windows.shape[-2:] != (side, side):
        windows = F.interpolate(windows, size=(side, side), mode="bilinear", align_corners=False, antialias=p > side)
    return windows.expand(-1, 3, -1, -1)


def _grey(conv: nn.Conv2d) -> nn.Conv2d:
    """A first layer for one channel that gives what ``conv`` gives for three equal ones."""
    one = nn.Conv2d(1, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, bias=conv.bias is not None)
    one.weight = nn.Parameter(conv.weight.detach().double().sum(1, keepdim=True).to(conv.weight.dtype))
    if conv.bias is not None:
        one.bias = nn.Parameter(conv.bias.detach().clone())
    return one.requires_grad_(False)


def _small(layer: nn.Linear) -> nn.Linear:
    """The last layer at the start: counts near zero, whatever the features."""
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


class ResponseNorm(nn.Module):
    """What `torch.nn.LocalResponseNorm` with k = 1 and beta = ¾ gives, in a third of its time on a CPU.

    ``(B, C, H, W)`` -> the same shape. The sum over neighbouring channels is a 1×1 convolution with a band matrix, the
    power of -¾ two roots.
    """

    def __init__(self, norm: nn.LocalResponseNorm):
        super().__init__()
        if (norm.k, norm.beta, norm.size % 2) != (1.0, 0.75, 1):
            raise ValueError(f"{norm} has another k, another beta or an even size")
        self.reach, self.share = norm.size // 2, norm.alpha / norm.size

    def forward(self, x: Tensor) -> Tensor:
        numbers = torch.arange(x.shape[1], device=x.device)
        near = (numbers[:, None] - numbers).abs() <= self.reach
        band = (near * self.share).to(x.dtype)[:, :, None, None]
        root = F.conv2d(x.square(), band, torch.ones_like(band[:, 0, 0, 0])).rsqrt_()
        return x * root * root.sqrt()


class AlexNetCounter(nn.Module):
    """Caffe's AlexNet on windows of 227×227 px: convolutions 2, 4 and 5 in two groups, dropout of one half.

    ``(B, 1, p, p)`` windows of any p -> ``(B, outputs)``. ``head`` is the last layer. 56,872,321 parameters with one
    output and ``hidden`` = 4096, the paper's. Departure: a smaller ``hidden`` narrows the two fully connected layers,
    which hold 96 % of the parameters, so that the weights make a small file.
    """

    side = 227

    def __init__(self, outputs: int = 1, hidden: int = 4096):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 11, stride=4)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.norm = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)
        self.fc6 = nn.Linear(256 * 6 * 6, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(hidden, outputs)
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5, self.fc6, self.fc7):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        _small(self.head)

    def forward(self, windows: Tensor) -> Tensor:
        x = three_channels(windows, self.side)[:, : self.conv1.in_channels]      # (B, 3, 227, 227)
        x = F.max_pool2d(self.norm(F.relu(self.conv1(x))), 3, stride=2)          # (B, 96, 27, 27)
        x = F.max_pool2d(self.norm(F.relu(self.conv2(x))), 3, stride=2)          # (B, 256, 13, 13)
        x = F.relu(self.conv4(F.relu(self.conv3(x))))
        x = F.max_pool2d(F.relu(self.conv5(x)), 3, stride=2)                     # (B, 256, 6, 6)
        x = self.drop(F.relu(self.fc6(x.flatten(1))))
        x = self.drop(F.relu(self.fc7(x)))
        return self.head(x)

    def fast(self) -> nn.Module:
        """A copy with the same answers for counting on a CPU."""
        network = copy.deepcopy(self)
        network.norm, network.conv1 = ResponseNorm(self.norm), _grey(self.conv1)
        return network


class ResNetCounter(nn.Module):
    """torchvision's ResNet (``body``) with another last layer (``head``).

    ``(B, 1, p, p)`` windows of any p -> ``(B, outputs)``. With one output 23,510,081 parameters at depth 50, 42,502,209
    at 101 and 58,145,857 at 152, the paper's; 18 and 34 exist as well. Departure: ``side`` other than 224 makes it
    faster, windows of 60 px need not be blown up to 224.
    """

    def __init__(self, depth: int = 50, outputs: int = 1, side: int = 224):
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"there is no ResNet of depth {depth}; choose one of {', '.join(map(str, DEPTHS))}")
        self.side = side
        self.body = DEPTHS[depth]()
        self.head = _small(nn.Linear(self.body.fc.in_features, outputs))
        self.body.fc = nn.Identity()

    def forward(self, windows: Tensor) -> Tensor:
        return self.head(self.body(three_channels(windows, self.side)))

    def fast(self) -> nn.Module:
        """The same answers for counting on a CPU, where oneDNN is at hand: it keeps its own layout from the first
        layer to the last, and the weights are brought to it once. Batch normalisation must have been folded."""
        return OneDNNResNet(self) if torch.backends.mkldnn.is_available() else self


class OneDNNResNet(nn.Module):
    """A `ResNetCounter` in eval mode whose body runs in oneDNN's layout."""

    def __init__(self, network: ResNetCounter):
        super().__init__()
        self.side, self.head, self.body = network.side, network.head, copy.deepcopy(network.body)
        self.body.conv1 = _grey(self.body.conv1)
        for parent in list(self.body.modules()):
            for name, layer in list(parent.named_children()):
                if isinstance(layer, nn.Conv2d):
                    setattr(parent, name, _OneDNNConv2d(layer))

    def forward(self, windows: Tensor) -> Tensor:
        images = three_channels(windows, self.side)[:, :1].contiguous()
        return self.head(self.body(images.to_mkldnn()).to_dense())


class _OneDNNConv2d(nn.Module):
    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.how = conv.stride, conv.padding, conv.dilation, conv.groups
        self.weight = conv.weight.detach().contiguous().to_mkldnn()
        self.bias = conv.bias.detach().to_mkldnn()

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, *self.how)


__all__ = ["DEPTHS", "AlexNetCounter", "OneDNNResNet", "ResNetCounter", "ResponseNorm", "three_channels"]
