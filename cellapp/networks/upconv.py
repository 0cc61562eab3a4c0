"""A 5x5 convolution of a map upsampled by two, computed from the small map: the same answer, less work.

Upsampling and convolution are both linear. Each of the four kinds of output pixel (row and column even or odd) is a
4x4 convolution of the small map: 16 multiplications instead of 25 and no large map to write and read again.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Bilinear, corners not aligned. Row r: the upsampled value 2j - 3 + r from the small values j - 2, j - 1, j, j + 1.
_BILINEAR = ((0.75, 0.25, 0.0, 0.0), (0.25, 0.75, 0.0, 0.0), (0.0, 0.75, 0.25, 0.0),
             (0.0, 0.25, 0.75, 0.0), (0.0, 0.0, 0.75, 0.25), (0.0, 0.0, 0.25, 0.75))


class UpConv2d(nn.Module):
    """``conv(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))``, for counting only.

    ``(B, C, H, W)`` -> ``(B, O, 2H, 2W)`` float32 for a 5x5 convolution with zero padding 2. The weights are copied and
    frozen; names and shapes in the state dict are those of the convolution.

    Raises ValueError if the convolution is of another kind.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        if (conv.kernel_size, conv.padding, conv.stride, conv.dilation, conv.groups, conv.padding_mode) != (
                (5, 5), (2, 2), (1, 1), (1, 1), 1, "zeros"):
            raise ValueError(f"only 5×5 convolutions with padding 2, stride 1 and one group can be joined: {conv}")
        self.weight = nn.Parameter(conv.weight.detach().clone(), requires_grad=False)
        bias = conv.bias
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)
        _refresh(self)
        self.register_load_state_dict_post_hook(_refresh)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        if min(height, width) < 4:  # nothing but rim
            return self.plain(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
        # Rows 1 to 2H - 2 of the result: in row j of the convolution lie the rows 2j - 1 and 2j.
        bias = None if self.bias is None else self.bias.repeat_interleave(4)
        inner = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), self.phases, bias)
        out = x.new_empty(batch, self.weight.shape[0], 2 * height, 2 * width)
        out[:, :, 1:-1, 1:-1] = F.pixel_shuffle(inner, 2)
        # The outermost two rows and columns reach into the zeros around the large map, so they go the plain way.
        out[:, :, :2] = self._strip(x[:, :, :3], (slice(4), slice(None)), (2, 2, 2, 0))
        out[:, :, -2:] = self._strip(x[:, :, -3:], (slice(-4, None), slice(None)), (2, 2, 0, 2))
        out[:, :, :, :2] = self._strip(x[:, :, :, :3], (slice(None), slice(4)), (2, 0, 2, 2))
        out[:, :, :, -2:] = self._strip(x[:, :, :, -3:], (slice(None), slice(-4, None)), (0, 2, 2, 2))
        return out

    def plain(self, upsampled: Tensor) -> Tensor:
        """The convolution itself, for a map that is not exactly twice as large: (B, C, H, W) -> (B, O, H, W)."""
        return F.conv2d(upsampled, self.weight, self.bias, padding=2)

    def _strip(self, x: Tensor, right: tuple[slice, slice], padding: tuple[int, int, int, int]) -> Tensor:
        """Three rows or columns at an edge -> the outermost two of the result; `right`: not upsampled at the cut."""
        upsampled = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)[:, :, *right]
        return F.conv2d(F.pad(upsampled, padding), self.weight, self.bias)


def _refresh(module: UpConv2d, _incompatible: object = None) -> None:
    """(4 O, C, 4, 4) kernels, in the order of pixel_shuffle: first the odd then the even rows, so too the columns."""
    weight = module.weight
    bilinear = torch.tensor(_BILINEAR, dtype=torch.float64, device=weight.device)
    basis = torch.stack([bilinear[:5], bilinear[1:]])
    phases = torch.einsum("adt,bes,ocde->oabcts", basis, basis, weight.double()).flatten(0, 2).to(weight.dtype)
    module.register_buffer("phases", phases, persistent=False)
