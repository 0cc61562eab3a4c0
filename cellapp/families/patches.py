"""Counting windows: a network states the cells of each, the map lies between their centres.

Source: Xue, Ray, Hugh, Bigras 2016. Windows of side p every ``step`` px (60/30 px for nuclei, 40/20 for bacteria,
200/50 for Ki67) are counted one by one; count/p² stands at the centre of each and is interpolated linearly to every
pixel; the count is the sum of that map. The classification twin gives each window its most probable whole number.

Readings and departures:

- **Border.** The centres of windows inside the plane leave a rim of p/2 without a value, and the paper is silent on it.
  Here the plane is mirrored by half a window (and at the bottom and the right by what the grid needs), so that all
  pixels lie between centres. Cells in the mirror count, in training as in reading.
- **Rotations** by multiples of 30°: the corners are read from the image round the window and the turned dots counted
  again; the paper does not say. Unless ``faithful``, windows are mirrored and their contrast jittered as well.
- **Grey values**: one plane, z-scored as a whole, instead of RGB minus ImageNet's mean.
- **One factor** for all counts is fitted in validation if it is needed beyond doubt; the paper has none.

Overlapping windows cannot share their features exactly: each is resized by itself and padded with zeros at its own
border in every layer. So each window costs a whole pass.
"""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cellapp.crops import jitter
from cellapp.errors import TrainingError, WeightsError
from cellapp.families.density_maps import contrast_of, points_of
from cellapp.family import Call, Family, Reading, Sample, Validation, scaled
from cellapp.partly import places, sure
from cellapp.weights import Settings
from cellapp.windows import cut, firsts, mirrored, spread

BATCH = 64                                                   # windows that are in memory at once


class PatchRegression(Family):
    """``classify``: the network's outputs are the counts 0 … outputs - 1; more cells belong to the last."""

    def __init__(self, classify: bool = False):
        self.classify = classify

    def read(self, network: nn.Module, plane: np.ndarray, call: Call) -> Reading:
        """A density and nothing else: the windows do not say where single cells are. ``call.progress`` is told of
        windows."""
        side, step = call.settings.window, call.settings.step
        if side is None or step is None:
            raise WeightsError("The row of these weights does not say how large the windows are and how far apart; "
                               "install the weights again.")
        counts = self._count_windows(network, plane, side, step, call)
        density = spread(counts, plane.shape, side, step)
        density *= np.float32(call.settings.factor)
        return Reading(density=density)

    def _count_windows(self, network, plane: np.ndarray, side: int, step: int, call: Call) -> np.ndarray:
        """(rows, columns) float32 cells in each window of the grid."""
        starts = [firsts(length, side, step) for length in plane.shape]
        padded = plane[np.ix_(*(mirrored(first[0], first[-1] + side, length)
                                for first, length in zip(starts, plane.shape, strict=True)))]
        windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side))[::step, ::step]   # a view, no copy
        shape = windows.shape[:2]
        total = shape[0] * shape[1]
        counts = np.empty(total, np.float32)
        if call.progress:
            call.progress(0, total)
        for first in range(0, total, BATCH):
            some = np.arange(first, min(first + BATCH, total))
            batch = torch.from_numpy(windows[np.unravel_index(some, shape)])[:, None]
            with torch.inference_mode():
                output = network(batch.to(call.device, memory_format=call.layout))
                counts[some] = self._counts(output).cpu().numpy()
            if call.progress:
                call.progress(int(some[-1]) + 1, total)
        return counts.reshape(shape)

    def _counts(self, output: Tensor) -> Tensor:
        """(B, outputs) -> (B,) float32 cells. Small negative counts of a regression stay: without them the positive
        ones on empty ground would add up to cells."""
        return (output.argmax(dim=1) if self.classify else output[:, 0]).float()

    def sample(self, item, config) -> Sample:
        points, known = points_of(item), None
        if item.counted is not None:
            known = sure(item.name, item.counted, config.crop // 2, config.crop - 1 - config.crop // 2)
        return Sample(item.name, contrast_of(self, item), None, points, len(points), None, item.counted, places(known))

    def draw(self, samples, rng, config, *, stride=1, whole=False):
        """(B, 1, p, p) windows and (B,) cells in them. There is no stage of whole images."""
        side = config.crop
        images, targets = np.empty((config.batch, 1, side, side), np.float32), np.empty(config.batch, np.float32)
        for k in range(config.batch):
            sample = samples[rng.integers(len(samples))]
            first, degrees = _place(sample, side, rng)
            flip = not config.faithful and bool(rng.integers(2))
            window, dots = cut(sample.image, sample.points, first, side, degrees=degrees, flip=flip)
            images[k, 0] = window if config.faithful else jitter(window, rng, config)
            targets[k] = len(dots)
        return images, targets

    def loss(self, network, images, targets, config, rng):
        output = network(images).float()
        return class_loss(output, targets) if self.classify else euclidean_loss(output, targets)

    def trained(self, network, config) -> nn.Module:
        """All of it ("all"), or only the last layer ("head", the paper's way with ResNets)."""
        if config.part not in ("all", "head"):
            raise TrainingError(f"A network that counts windows has no part called “{config.part}”; "
                                "choose all or head.")
        return network if config.part == "all" else network.head

    def settings(self, config) -> Settings:
        return Settings(window=config.crop, step=config.window_step or config.crop // 2)

    def validate(self, network, samples, config, call: Call) -> Validation:
        """Errors after `scaled`."""
        plain = replace(call, settings=call.settings.model_copy(update={"factor": 1.0}))
        return scaled(super().validate(network, samples, config, plain), samples)


def _place(sample: Sample, side: int, rng: np.random.Generator) -> tuple[tuple[int, int], int]:
    """The first pixel of a window and the degrees by which it is turned."""
    if sample.places is None:
        # Centres lie anywhere on the plane up to its very border, as they do in reading.
        first = tuple(int(rng.integers(length + (side + 1) % 2)) - side // 2 for length in sample.image.shape)
        return first, 30 * int(rng.integers(12))
    centre = np.unravel_index(rng.choice(sample.places), sample.image.shape)
    # Turned otherwise, its corners would reach out of the counted area.
    return tuple(int(c) - side // 2 for c in centre), 90 * int(rng.integers(4))


def euclidean_loss(output: Tensor, targets: Tensor) -> Tensor:
    """Caffe's: half the mean squared error of (B, 1) counts against (B,) true ones."""
    if targets.ndim != 1 or output.shape != (len(targets), 1):
        raise ValueError(f"(B, 1) outputs and (B,) targets are expected, not {tuple(output.shape)} and "
                         f"{tuple(targets.shape)}")
    return 0.5 * F.mse_loss(output[:, 0], targets)


def class_loss(output: Tensor, targets: Tensor) -> Tensor:
    """Softmax cross-entropy of (B, classes) scores against (B,) true counts; the last class takes what is above."""
    if targets.ndim != 1 or output.ndim != 2 or len(output) != len(targets) or output.shape[1] < 2:
        raise ValueError(f"(B, classes) outputs with two classes or more and (B,) targets are expected, not "
                         f"{tuple(output.shape)} and {tuple(targets.shape)}")
    return F.cross_entropy(output, targets.round().long().clamp(0, output.shape[1] - 1))
