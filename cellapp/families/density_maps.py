"""Networks whose output is the density map itself (FCRN-A, FCRN-B).

Source: Xie, Noble, Zisserman 2015. The target is a Gaussian of unit mass for each dot, times `map_scale`; the loss is
the pixels' mean squared error. Departure: the paper normalises each training patch by itself and does not say what it
does with images; here both are normalised by the whole image, so that the network sees the same statistics.
"""

import numpy as np
import torch
from torch import nn

from cellapp.density import density_map, local_maxima
from cellapp.errors import TrainingError
from cellapp.family import Call, Family, Reading, Sample
from cellapp.partly import places, sure
from cellapp.tiling import apply_tiled


class DensityMaps(Family):
    """``map_scale``: the network's map is this many times the density (100 in the paper)."""

    def __init__(self, map_scale: float = 100.0):
        self.map_scale = map_scale

    def read(self, network: nn.Module, plane: np.ndarray, call: Call) -> Reading:
        density = scaled_map(network, plane, call)
        density /= np.float32(call.map_scale)
        return Reading(density=density, points=local_maxima(density, call.sigma))

    def sample(self, item, config) -> Sample:
        points = points_of(item)
        image = contrast_of(self, item)
        target = density_map(points, item.image.shape, config.sigma) * np.float32(self.map_scale)
        known = None
        if item.counted is not None:                         # 2 sigma away, a cell without a dot adds next to nothing
            reach = int(np.ceil(2 * config.sigma))
            known = sure(item.name, item.counted, reach, reach)
            target[~known] = np.nan
        return Sample(item.name, image, target[None], points, len(points), None, item.counted, places(known))

    def loss(self, network, images, targets, config, rng):
        density = network(images).float()
        if density.shape != targets.shape:
            raise ValueError(f"map {tuple(density.shape)} and target {tuple(targets.shape)} differ")
        known = targets.isfinite()
        return torch.where(known, density - targets, 0).square().sum() / known.sum().clamp(min=1)


def scaled_map(network: nn.Module, plane: np.ndarray, call: Call) -> np.ndarray:
    """The one-channel map of a normalised (H, W) plane of any size, still times `map_scale`."""
    def forward(square: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(np.ascontiguousarray(square))[None, None].to(call.device, memory_format=call.layout)
        with torch.inference_mode():
            return network(x)[0, 0].float().cpu().numpy()

    return apply_tiled(plane, forward, stride=call.stride, halo=call.halo, tile=call.tile, progress=call.progress)


def points_of(item) -> np.ndarray:
    """The dots of a training image; `TrainingError` where only their number is known."""
    if item.points is None:
        raise TrainingError(f"{item.name}: only the number of its cells is known, but this network learns from dots; "
                            "give a folder with dots.")
    return item.points


def contrast_of(family: Family, item) -> np.ndarray:
    """The normalised image; `TrainingError` for one without contrast."""
    image = family.normalise(item.image)
    if image is None:
        raise TrainingError(f"{item.name} has no contrast, nothing can be learnt from it; leave it out.")
    return image
