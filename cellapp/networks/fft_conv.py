"""Large convolutions by FFT: overlap-save, the same answer as `nn.Conv2d` to rounding, for counting only.

A k x k convolution costs k² multiplications per pixel and pair of channels. In tiles of T x T, Fourier transformed,
it costs about 2 (T / (T - k + 1))²: one complex product per frequency, and a real signal has half of them.
"""

import math

import torch
from torch import Tensor, nn

# Tiles that are transformed together, in float32 values: few enough that the memory allocator gives the same memory
# again (glibc, below 32 MB), many enough that reading the spectrum pays. Working memory is about 6 times as much.
_GROUP_VALUES = 8_000_000
TILES = 20, 32, 40, 64, 80, 96, 128  # fast sides for an FFT, px


class FFTConv2d(nn.Module):
    """Stands in for a convolution of stride 1, one group, no dilation and any zero padding, where counting is slow.

    ``(B, C, H, W)`` -> ``(B, O, H + 2p - k + 1, W + 2p - k + 1)`` float32; H and W, padded, at least the kernel.
    The tile is the side in pixels of the transformed squares. Each has (tile - k + 1)² new results; 8 bytes x C x O x
    tile x (tile / 2 + 1) are kept for the kernel's spectrum. None takes the smallest of TILES which is at least four
    times the kernel: on two cores within a few percent of the fastest.

    The weights are copied and frozen: names and shapes in the state dict are those of the convolution, the spectrum
    is not in it, and is computed again when a state dict is loaded.

    Raises ValueError if the convolution is of another kind or its kernel is larger than the tile.
    """

    def __init__(self, conv: nn.Conv2d, tile: int | None = None):
        super().__init__()
        if not _supported(conv):
            raise ValueError(f"only convolutions with stride 1, one group and no dilation can be done by FFT: {conv}")
        tile = _tile(conv) if tile is None else tile
        if tile < max(conv.kernel_size):
            raise ValueError(f"a tile of {tile} is smaller than the kernel: {conv}")
        self.tile, self.kernel_size, self.padding = tile, conv.kernel_size, conv.padding
        self.weight = nn.Parameter(conv.weight.detach().clone(), requires_grad=False)
        bias = conv.bias
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)
        self.register_buffer("spectrum", self._spectrum(), persistent=False)
        self.register_load_state_dict_post_hook(_refresh)

    def _spectrum(self) -> Tensor:
        """(frequencies, C, O) complex. `nn.Conv2d` correlates, hence the conjugate."""
        spectrum = torch.fft.rfft2(self.weight, s=(self.tile, self.tile)).conj()
        return spectrum.permute(2, 3, 1, 0).flatten(0, 1).resolve_conj().contiguous()

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        rows, columns = (n + 2 * p - k + 1 for n, p, k in
                         zip((height, width), self.padding, self.kernel_size, strict=True))
        if min(rows, columns) < 1:
            raise ValueError(f"an input of {height}×{width} is smaller than the kernel {self.kernel_size}")
        steps = [self.tile - k + 1 for k in self.kernel_size]
        corners = [(b, i, j) for b in range(batch) for i in range(0, rows, steps[0])
                   for j in range(0, columns, steps[1])]
        group = _group(channels, self.tile)
        out = x.new_empty(batch, self.weight.shape[0], rows, columns)
        for start in range(0, len(corners), group):
            chosen = corners[start : start + group]
            for (b, i, j), result in zip(chosen, self._convolve(self._cut(x, chosen)), strict=True):
                part = out[b, :, i : i + steps[0], j : j + steps[1]]
                part.copy_(result[:, : part.shape[1], : part.shape[2]])
        return out if self.bias is None else out.add_(self.bias[:, None, None])

    def _cut(self, x: Tensor, corners: list[tuple[int, int, int]]) -> Tensor:
        """(N, C, tile, tile): squares of the zero-padded input. A corner is an index of the output."""
        tiles = x.new_empty(len(corners), x.shape[1], self.tile, self.tile)
        for tile, (b, i, j) in zip(tiles, corners, strict=True):
            top, left = i - self.padding[0], j - self.padding[1]
            part = x[b, :, max(top, 0) : max(top + self.tile, 0), max(left, 0) : max(left + self.tile, 0)]
            down, right = max(-top, 0), max(-left, 0)
            if part.shape != tile.shape:
                tile.zero_()
            tile[:, down : down + part.shape[1], right : right + part.shape[2]] = part
        return tiles

    def _convolve(self, tiles: Tensor) -> Tensor:
        """(N, C, tile, tile) -> (N, O, tile, tile), right in its first tile - k + 1 rows and columns."""
        # Contiguous: on the permuted view the product is several times slower.
        transformed = torch.fft.rfft2(tiles).flatten(2).permute(2, 0, 1).contiguous()
        product = torch.bmm(transformed, self.spectrum).permute(1, 2, 0).contiguous()
        return torch.fft.irfft2(product.unflatten(2, (self.tile, -1)), s=(self.tile, self.tile))


def _refresh(module: FFTConv2d, _incompatible: object) -> None:
    module.spectrum = module._spectrum()


def _supported(conv: nn.Conv2d) -> bool:
    return (conv.stride == (1, 1) and conv.dilation == (1, 1) and conv.groups == 1 and conv.padding_mode == "zeros"
            and not isinstance(conv.padding, str))


def _tile(conv: nn.Conv2d) -> int:
    return next((tile for tile in TILES if tile >= 4 * max(conv.kernel_size)), 4 * max(conv.kernel_size))


def faster_by_fft(conv: nn.Conv2d, height: int, width: int) -> bool:
    """Whether FFTConv2d with its own choice of tile is clearly faster for an input of this size.

    Compares multiplications: those of the convolution; and per pixel of the tiles 300 for each channel that is
    transformed or put in place, 2 for each pair of channels, and 40 for each pair to read the spectrum once a group.
    The factors are measured on two cores; 1.5 keeps away from where it hardly matters.
    """
    if not _supported(conv):
        return False
    (kernel_y, kernel_x), (pad_y, pad_x), tile = conv.kernel_size, conv.padding, _tile(conv)
    rows, columns = height + 2 * pad_y - kernel_y + 1, width + 2 * pad_x - kernel_x + 1
    if min(rows, columns) < 1:
        return False
    pairs, channels = conv.in_channels * conv.out_channels, conv.in_channels + conv.out_channels
    tiles = math.ceil(rows / (tile - kernel_y + 1)) * math.ceil(columns / (tile - kernel_x + 1))
    groups = math.ceil(tiles / _group(conv.in_channels, tile))
    by_fft = tile**2 * (tiles * (300 * channels + 2 * pairs) + groups * 40 * pairs)
    return rows * columns * pairs * kernel_y * kernel_x > 1.5 * by_fft


def _group(channels: int, tile: int) -> int:
    """How many tiles are transformed together."""
    return max(1, _GROUP_VALUES // (channels * tile**2))
