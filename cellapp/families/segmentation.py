"""Segmentation: the network says for each pixel cell or ground, the mask is split into cells, the cells are counted.

Source: Marzo and La Rosa 2016. The threshold on P(cell) is the one with the highest Matthews correlation. The paper
does not say on which images it was chosen; here on the validation images, over all their pixels together.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cellapp.errors import TrainingError
from cellapp.families.density_maps import contrast_of
from cellapp.family import Call, Family, Reading, Sample, Validation
from cellapp.instances import label_cells
from cellapp.partly import inside, places, sure
from cellapp.pixel_metrics import ThresholdCurve
from cellapp.tiling import apply_tiled

if TYPE_CHECKING:
    from cellapp.data import Dotted
    from cellapp.training import TrainingConfig

_UNKNOWN = -1
THRESHOLD = 0.5  # until a validation has chosen one


def cell_probability(network: nn.Module, plane: np.ndarray, call: Call) -> np.ndarray:
    """P(cell) of each pixel of a normalised (H, W) float32 plane, (H, W) float32, from logits (1, 2, h, w)."""
    def forward(square: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(np.ascontiguousarray(square))[None, None].to(call.device, memory_format=call.layout)
        with torch.inference_mode():
            return network(x).float().softmax(dim=1)[0, 1].cpu().numpy()

    return apply_tiled(plane, forward, stride=call.stride, halo=call.halo, tile=call.tile, progress=call.progress)


class Segmentation(Family):
    """Learns from instance labels; counts the pieces of the mask."""

    def read(self, network: nn.Module, plane: np.ndarray, call: Call) -> Reading:
        """Labels, their centres, and the view "foreground": P(cell)."""
        probability = cell_probability(network, plane, call)
        threshold = THRESHOLD if call.settings.threshold is None else call.settings.threshold
        labels, centres = label_cells(probability >= threshold)
        return Reading(points=centres, labels=labels, views={"foreground": probability})

    def sample(self, item: "Dotted", config: "TrainingConfig") -> Sample:
        """The image and its mask, (1, H, W) float32: 1 in cells, 0 elsewhere, nan outside of the counted area."""
        if item.labels is None:
            raise TrainingError(f"{item.name} has no label mask, and segmentation learns from the cells' outlines; "
                                "give a mask with a number for each cell, or choose a method that learns from dots.")
        mask, known = (item.labels > 0).astype(np.float32), None
        if item.counted is not None:
            known = sure(item.name, item.counted, 0, 0)
            mask[~known] = np.nan
        return Sample(item.name, contrast_of(self, item), mask[None], item.points, item.count, item.labels,
                      item.counted, places(known))

    def loss(self, network: nn.Module, images: Tensor, targets: Tensor, config: "TrainingConfig",
             rng: np.random.Generator) -> Tensor:
        """Cross-entropy of the softmax over (ground, cell), mean over all known pixels of the batch."""
        truth = targets[:, 0].nan_to_num(_UNKNOWN).long()
        return F.cross_entropy(network(images).float(), truth, ignore_index=_UNKNOWN)

    def validate(self, network: nn.Module, samples: list[Sample], config: "TrainingConfig", call: Call) -> Validation:
        """Choose the threshold; the figure is 1 - MCC at it, the errors are those of the counts at it."""
        # An image without contrast holds no cell at any threshold, so it has no say in the choice.
        curve, maps = ThresholdCurve(), []
        for sample in samples:
            maps.append(None if sample.image is None else cell_probability(network, sample.image, call))
            if sample.image is not None:
                seen = np.s_[:] if sample.counted is None else sample.counted
                curve.add(maps[-1][seen], sample.labels[seen] > 0)
        threshold, confusion = curve.best_by_mcc()
        counts = [0 if cells is None else int(inside(label_cells(cells >= threshold)[1], sample.counted).sum())
                  for cells, sample in zip(maps, samples, strict=True)]
        errors = np.array(counts, float) - np.array([sample.count for sample in samples])
        return Validation(errors, 1 - confusion.mcc, call.settings.model_copy(update={"threshold": threshold}))
