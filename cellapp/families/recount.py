"""The family of our own network: redundant counting as a loss, positions and the count's variance from further heads.

The map is a density on the half grid. Its loss is the pixels' squared error, which keeps cells apart, and the error of
the counts in boxes of 8, 16 and 32 px at every place: what Count-ception puts out, Cohen et al. 2017, costs nothing
here when counting. Their absolute error, as there, is least for the median and biases counts low; errors below one cell
enter squared (Huber). A second head learns where centres are, a third the variance of the count as a sum over the
pixels, from errors that it cannot change, and where training data have outlines a fourth learns the foreground.
"""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cellapp.density import density_map, summits
from cellapp.families.density_maps import contrast_of, points_of
from cellapp.family import Call, Family, Reading, Sample, Validation, scaled
from cellapp.partly import places, sure
from cellapp.tiling import apply_tiled

PIXELS = 0.1                                                 # weight of the pixels' squared error
BOXES = {4: 0.2, 8: 0.2, 16: 0.4}                          # side on the half grid, weight of its count's error
CENTRE, RATE, FOREGROUND = 0.5, 0.01, 0.2                    # weights of the other heads
LOCATED = 0.3                                                # probability from which a summit is a cell
OUTLINED = 0.5                                               # probability from which a pixel is foreground
FEW = 4                                                      # cells; the size of so few says little
UNKNOWN = -1.0                                               # in the place of a foreground that nobody outlined


class Recounting(Family):
    """``map_scale``: the network's map is this many times the density."""

    def __init__(self, map_scale: float = 100.0):
        self.map_scale = map_scale

    def read(self, network: nn.Module, plane: np.ndarray, call: Call) -> Reading:
        """Density, the cells' places, the standard deviation of the count and, from weights that learnt outlines, the
        view "foreground"."""
        outlined = call.settings.threshold is not None

        def forward(square: np.ndarray) -> np.ndarray:
            x = torch.from_numpy(np.ascontiguousarray(square))[None, None].to(call.device, memory_format=call.layout)
            with torch.inference_mode():
                out = network(x).float()
                maps = [out[:, :1], out[:, 1:2].sigmoid(), F.softplus(out[:, 2:3])]
                out = torch.cat([*maps, out[:, 3:].sigmoid()] if outlined else maps, 1)
                # Bilinear, and a quarter in each of four pixels: the sum stays.
                out = F.interpolate(out, scale_factor=2, mode="bilinear", align_corners=False)
                return out[0].cpu().numpy()

        # Maps of the half grid are small: a tile twice as wide takes FCRN-A's memory, and there is less halo to read.
        density, centre, rate, *foreground = apply_tiled(plane, forward, stride=call.stride, halo=call.halo,
                                                         tile=2 * call.tile, progress=call.progress)
        density *= np.float32(0.25 / call.map_scale * call.settings.factor)
        views = {"foreground": foreground[0]} if outlined else {}
        sd = call.settings.factor * float(np.sqrt(0.25 * rate.sum(dtype=np.float64)))
        return Reading(density=density, points=summits(centre, LOCATED), views=views, sd=sd)

    def diameter(self, reading: Reading, settings) -> float | None:
        """Of circles that share the foreground out among the cells counted; from weights that learnt outlines."""
        if settings.threshold is None or reading.count < FEW:
            return None
        area = np.count_nonzero(reading.views["foreground"] > settings.threshold)
        return float(2 * np.sqrt(area / np.pi / reading.count)) if area else None

    def sample(self, item, config) -> Sample:
        """Targets: density times `map_scale`, pixels within one of a centre, foreground or `UNKNOWN`."""
        points, image = points_of(item), contrast_of(self, item)
        shape = item.image.shape
        density = density_map(points, shape, config.sigma) * np.float32(self.map_scale)
        centres = np.zeros(shape, np.float32)
        pixels = np.clip(np.rint(points).astype(int), 0, np.array(shape) - 1)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                y, x = pixels[:, 0] + dy, pixels[:, 1] + dx
                inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
                centres[y[inside], x[inside]] = 1
        outlined = np.full(shape, UNKNOWN, np.float32) if item.labels is None else (item.labels > 0).astype(np.float32)
        targets, known = np.stack([density, centres, outlined]), None
        if item.counted is not None:
            reach = int(np.ceil(2 * config.sigma))
            known = sure(item.name, item.counted, reach, reach)
            targets[:, ~known] = np.nan
        return Sample(item.name, image, targets, points, len(points), item.labels, item.counted, places(known))

    def loss(self, network: nn.Module, images: Tensor, targets: Tensor, config, rng) -> Tensor:
        out = network(images).float()
        if out.shape[-2:] != tuple(side // 2 for side in targets.shape[-2:]):
            raise ValueError(f"map {tuple(out.shape)} and target {tuple(targets.shape)} do not belong together")
        density, centre, rate, foreground = out.split(1, dim=1)
        counted = F.max_pool2d(targets[:, :1].isnan().float(), 2) == 0
        targets = torch.cat([targets[:, :2].nan_to_num(0), targets[:, 2:].nan_to_num(UNKNOWN)], dim=1)
        share = counted.float() / counted.float().mean().clamp(min=1e-6)   # a mean over what is known
        error = (density - 4 * F.avg_pool2d(targets[:, :1], 2)) * counted
        total = PIXELS * (share * error.square()).mean()
        for side, weight in BOXES.items():
            boxes = F.avg_pool2d(error, side, stride=side // 4, padding=side // 2) * side**2 / self.map_scale
            total = total + weight * F.huber_loss(boxes, torch.zeros_like(boxes))
        centres = F.max_pool2d(targets[:, 1:2], 2)
        total = total + CENTRE * F.binary_cross_entropy_with_logits(centre, centres, weight=share)
        missed = error.detach().sum(dim=(1, 2, 3)) / self.map_scale
        variance = (F.softplus(rate) * counted).sum(dim=(1, 2, 3)) + 1e-3
        total = total + RATE * (missed.square() / variance + variance.log()).mean() / 2
        outlined = F.avg_pool2d(targets[:, 2:], 2)
        known = (outlined >= 0) & counted
        if known.any():
            total = total + FOREGROUND * F.binary_cross_entropy_with_logits(foreground[known], outlined[known])
        return total

    def validate(self, network: nn.Module, samples: list[Sample], config, call: Call) -> Validation:
        """Errors after `scaled`; where training saw outlines, the foreground is shown."""
        found = scaled(super().validate(network, samples, config, call), samples)
        if all(sample.labels is None for sample in samples):
            return found
        return replace(found, settings=found.settings.model_copy(update={"threshold": OUTLINED}))


__all__ = ["Recounting"]
