"""Count-ception: a redundant count map, and the density it folds back to.

Source: Cohen et al. 2017. The target is the number of dots in every window of 32x32 px, the loss its mean absolute
error, the count the sum of the map divided by 1,024 (by (32/s)² with a stride s).

Departures: grey values are z-scored by image instead of raw 0…255; while training with a stride s (`window_step`), the
grid of windows is shifted at random in each step, which is the full loss on average and much cheaper, where the paper
keeps it fixed (as `faithful` does).

The absolute error is least for the median, not the mean, of what a window may hold, so counts tend to be low: unless
`faithful`, validation fits one factor for all counts if it is needed beyond doubt. The redundant map is shown as read.

With one image in a step its batch statistics normalise its count away, since the last layer is normalised too: train so
with ``freeze`` near 1, which keeps the statistics of the first steps.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from cellapp.families.density_maps import contrast_of, points_of
from cellapp.family import Call, Family, Reading, Sample, Validation, scaled
from cellapp.networks.count_ception import RIM, WINDOW, redundant_map
from cellapp.partly import places, sure
from cellapp.tiling import count_tiles, tiles


class RedundantCounts(Family):
    """The network's map is larger than the image by `RIM` on every side."""

    def read(self, network: nn.Module, plane: np.ndarray, call: Call) -> Reading:
        step = call.settings.step or 1
        counts = self._map(network, plane, call, step)
        density = fold(counts, plane.shape, step)
        density *= np.float32(call.settings.factor)
        shown = counts if step == 1 else counts.repeat(step, 0).repeat(step, 1)
        height, width = plane.shape
        return Reading(density=density, views={"redundant": shown[: height + WINDOW, : width + WINDOW]})

    def _map(self, network, plane, call: Call, step: int) -> np.ndarray:
        """Every ``step``-th row and column of the (H + 32, W + 32) map, read tile by tile."""
        height, width = plane.shape
        out = np.empty((-(-(height + WINDOW) // step), -(-(width + WINDOW) // step)), np.float32)
        total = count_tiles(plane.shape, call.tile)
        if call.progress:
            call.progress(0, total)
        for done, (inner, outer) in enumerate(tiles(plane.shape, call.tile, call.halo), start=1):
            first = [-o.start % step for o in outer]
            x = torch.from_numpy(np.ascontiguousarray(plane[outer]))[None, None]
            with torch.inference_mode():
                found = network(x.to(call.device, memory_format=call.layout), step, *first)[0, 0].float().cpu().numpy()
            there, here = [], []
            for axis in (0, 1):
                begin, end = _windows(inner[axis], plane.shape[axis])
                begin, end = -(-begin // step), -(-end // step)
                offset = (outer[axis].start + first[axis]) // step
                there.append(slice(begin, end))
                here.append(slice(begin - offset, end - offset))
            out[tuple(there)] = found[tuple(here)]
            if call.progress:
                call.progress(done, total)
        return out

    def sample(self, item, config) -> Sample:
        points = points_of(item)
        image = contrast_of(self, item)
        raster, known = dot_raster(points, image.shape), None
        if item.counted is not None:
            raster[~item.counted] = np.nan                   # and so is every window that holds such a pixel
            known = sure(item.name, item.counted, WINDOW // 2, WINDOW // 2)
        return Sample(item.name, image, raster[None], points, len(points), None, item.counted, places(known))

    def ready(self, network, samples, config, device) -> list[Sample]:
        """A fresh network begins with the mean and the deviation of the target.

        Its last layer is a normalisation, whose scale and shift would otherwise need thousands of steps to get there.
        """
        norm = network.head.norm
        if not config.faithful and torch.equal(norm.weight, torch.ones_like(norm.weight)) and not norm.bias.any():
            rasters = [torch.from_numpy(sample.targets)[None] for sample in samples[:64] if sample.targets is not None]
            truth = torch.cat([counts[known] for counts, known in map(_windows_of, rasters)])
            with torch.no_grad():
                norm.weight.fill_(truth.std())
                norm.bias.fill_(truth.mean())
        return samples

    def loss(self, network, images, targets, config, rng):
        step = config.window_step or 1
        if config.faithful:                                  # the reference code never lets them normalise
            for module in network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        row, column = (0, 0) if config.faithful else (int(k) for k in rng.integers(step, size=2))
        truth, known = (of[:, :, row::step, column::step] for of in _windows_of(targets))
        counts = network(images, step, row, column).float()
        if counts.shape != truth.shape:
            raise ValueError(f"map {tuple(counts.shape)} and target {tuple(truth.shape)} differ")
        return torch.where(known, counts - truth, 0).abs().sum() / known.sum().clamp(min=1)

    def validate(self, network, samples, config, call: Call) -> Validation:
        """With the stride of the training: a small loss of exactness (paper, table 3) for a fraction of the time.

        Errors are those after `scaled`.
        """
        quick = replace(call, settings=call.settings.model_copy(update={"step": config.window_step or None}))
        found = super().validate(network, samples, config, quick)
        if config.faithful:
            return replace(found, settings=call.settings)
        return scaled(replace(found, settings=call.settings), samples)

    def compile(self, network: nn.Module, device: torch.device) -> nn.Module:
        """On a CPU the two wide convolutions go through the FFT."""
        if device.type != "cpu":
            return network
        from cellapp.networks.fft_conv import FFTConv2d

        for unit in (network.wide14, network.wide18):
            unit.conv = FFTConv2d(unit.conv)
        return network


def _windows_of(raster: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 1, H, W) dots per pixel, nan where they are not known -> dots per window, and bool where that is known."""
    unknown = raster.isnan()
    both = redundant_map(torch.cat([raster.masked_fill(unknown, 0), unknown.to(raster.dtype)], dim=1))
    return both[:, :1], both[:, 1:] == 0


def _windows(inner: slice, length: int) -> tuple[int, int]:
    """The rows of the map that belong to rows ``inner`` of the image: shifted by `RIM`, first and last with the rim."""
    return (0 if inner.start == 0 else inner.start + RIM,
            length + WINDOW if inner.stop == length else inner.stop + RIM)


def dot_raster(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) float32, the number of dots in each pixel."""
    raster = np.zeros(shape, np.float32)
    pixels = np.clip(np.rint(points).astype(int), 0, np.array(shape) - 1)
    np.add.at(raster, tuple(pixels.T), 1)
    return raster


def fold(counts: np.ndarray, shape: tuple[int, int], step: int = 1) -> np.ndarray:
    """A redundant count map back on the image's grid: (H, W) float32 cells per pixel, sum = sum(counts) / (32/step)².

    Each window gives its part to the pixel at its centre; windows whose centre lies outside the image give it to the
    pixel of the edge that is nearest.
    """
    out = counts.astype(np.float64)
    for axis in (0, 1):
        index = np.clip(np.arange(counts.shape[axis]) * step - RIM, 0, shape[axis] - 1)
        starts = np.flatnonzero(np.diff(index, prepend=-1))
        sums = np.add.reduceat(out, starts, axis=axis)
        size = list(out.shape)
        size[axis] = shape[axis]
        out = np.zeros(size)
        out[(slice(None),) * axis + (index[starts],)] = sums
    return (out * (step / WINDOW) ** 2).astype(np.float32)
