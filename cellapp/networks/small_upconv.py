"""A 3x3 convolution of a map upsampled bilinearly, most of it computed on the small map: the same answer, less work.

Upsampling mixes pixels and a convolution mixes channels, and the two can change places: the nine 1x1 convolutions that
a 3x3 kernel consists of are taken of the small map, where they are one matrix product at a quarter of the cost for
twofold upsampling, and what they give is then upsampled, shifted and summed, rows first. Both of these are products
with small matrices, which hold the rim's zeros and any ratio of sizes. It gains where channels are many and maps small.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SmallUpConv2d(nn.Module):
    """``conv(F.interpolate(x, size=size, mode="bilinear", align_corners=False))``, for counting only.

    ``forward(x, size)``: ``(B, C, h, w)`` -> ``(B, O, H, W)`` in the layout channels-last, for a 3x3 convolution with
    bias and zero padding 1. The weights are copied and frozen; names and shapes in the state dict are those of the
    convolution.

    Raises ValueError if the convolution is of another kind.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        kind = conv.kernel_size, conv.padding, conv.stride, conv.dilation, conv.groups, conv.padding_mode
        if kind != ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros") or conv.bias is None:
            raise ValueError(f"only 3×3 convolutions with bias, padding 1, stride 1, one group can be joined: {conv}")
        self.weight = nn.Parameter(conv.weight.detach().clone(), requires_grad=False)
        self.bias = nn.Parameter(conv.bias.detach().clone(), requires_grad=False)
        _refresh(self)
        self.register_load_state_dict_post_hook(_refresh)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        (height, width), outputs = x.shape[-2:], self.weight.shape[0]
        rows = _taps(height, size[0], x).permute(1, 0, 2).flatten(1)                  # (H, 3 h)
        columns = _taps(width, size[1], x).permute(1, 2, 0).flatten(1)                # (W, w 3)
        results = []
        for one in x.permute(0, 2, 3, 1):                                             # (h, w, C)
            small = torch.matmul(one.reshape(height * width, -1), self.kernels)       # (3, h w, 3 O)
            tall = rows @ small.view(3 * height, -1)                                  # (H, w 3 O)
            results.append(torch.matmul(columns, tall.view(size[0], 3 * width, outputs)))
        return torch.stack(results).add_(self.bias).permute(0, 3, 1, 2)


def _taps(short: int, long: int, like: Tensor) -> Tensor:
    """(3, long, short): what each of the kernel's three taps sees of ``short`` values upsampled to ``long``."""
    identity = torch.eye(short, dtype=torch.float64, device=like.device)[None, None]
    up = F.interpolate(identity, size=(long, short), mode="bilinear", align_corners=False)[0, 0]
    padded = F.pad(up, (0, 0, 1, 1))
    return torch.stack([padded[k : k + long] for k in range(3)]).to(like.dtype)


def _refresh(module: SmallUpConv2d, _incompatible: object = None) -> None:
    """(3 rows, C, 3 columns x O): the kernel as three matrices."""
    kernels = module.weight.permute(2, 1, 3, 0).flatten(2).contiguous()
    module.register_buffer("kernels", kernels, persistent=False)


__all__ = ["SmallUpConv2d"]
