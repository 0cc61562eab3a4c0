"""What a kind of network must be able to do: be trained from dotted images and read a plane.

The five published systems are five families, our own network is a sixth; each overrides the few methods in which it
differs. A family holds no state: everything it needs comes in, so one object serves all sessions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from cellapp.metrics import global_factor
from cellapp.partly import count_inside
from cellapp.weights import Settings

if TYPE_CHECKING:
    from cellapp.data import Dotted
    from cellapp.training import TrainingConfig

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Sample:
    """One image to train on or to validate with.

    image : (H, W) float32, normalised; None for an image without contrast (validation only)
    targets : (K, H, W) float32 planes that are cropped and turned together with the image
    points : (N, 2) float (y, x), or None where only the number of cells is known
    count : true number of cells
    labels : (H, W) instance labels, or None
    counted : (H, W) bool, where every cell has its dot; None for the whole image. ``count`` is that of this area, and
        targets are nan where they would depend on what lies outside
    places : (M,) int, pixels of the flattened image round which crops are laid; None for anywhere
    """

    name: str
    image: np.ndarray | None
    targets: np.ndarray | None
    points: np.ndarray | None
    count: float
    labels: np.ndarray | None = None
    counted: np.ndarray | None = None
    places: np.ndarray | None = None


@dataclass(frozen=True)
class Call:
    """How a plane is to be read: what the method and the weights fix, and what the caller wants."""

    device: torch.device
    stride: int = 1
    halo: int = 0
    layout: torch.memory_format = torch.contiguous_format
    map_scale: float = 1.0
    sigma: float = 2.0
    settings: Settings = field(default_factory=Settings)
    tile: int = 512
    saliency: bool = False
    quick: bool = False
    progress: Progress | None = None


@dataclass(frozen=True)
class Reading:
    """What a network says about one plane, all on one grid: that of the plane, or a coarser one over the same field.

    Either ``density`` (H, W), which sums to the count, or ``labels`` (H, W) with their centres in ``points``.
    ``sd`` is the standard deviation of the count where the network states one, in cells.
    """

    density: np.ndarray | None = None
    points: np.ndarray | None = None
    labels: np.ndarray | None = None
    views: Mapping[str, np.ndarray] = field(default_factory=dict)
    sd: float | None = None

    @property
    def count(self) -> float:
        """Cells in the plane."""
        return float(self.density.sum(dtype=np.float64)) if self.density is not None else float(len(self.points))


@dataclass(frozen=True)
class Validation:
    """Errors (predicted minus true, cells) of the validation images and the figure that chooses the epoch.

    figure : the smaller the better; by default the mean absolute error
    settings : what reading needs and validation chose, such as a threshold
    """

    errors: np.ndarray
    figure: float
    settings: Settings


def zscore(plane: np.ndarray) -> np.ndarray | None:
    """(x - mean) / std of the whole (H, W) plane as float32, or None for a plane without any contrast."""
    mean, std = plane.mean(dtype=np.float64), plane.std(dtype=np.float64)
    # One part in a million of the values is the rounding of a flat float32 image, not contrast.
    if not std > 1e-6 * abs(mean):
        return None
    return ((plane - np.float32(mean)) / np.float32(std)).astype(np.float32, copy=False)


def scaled(found: Validation, samples: list[Sample]) -> Validation:
    """The validation with all counts times one factor, where `global_factor` finds that these images need it."""
    truth = np.array([sample.count for sample in samples], np.float64)
    factor = global_factor(found.errors + truth, truth)
    errors = factor * (found.errors + truth) - truth
    return Validation(errors, float(np.abs(errors).mean()), found.settings.model_copy(update={"factor": factor}))


class Family:
    """Defaults: image z-score, square crops, all parameters trained, epochs chosen by the counts' MAE."""

    def normalise(self, plane: np.ndarray) -> np.ndarray | None:
        """A (H, W) plane at one scale of grey values, float32; None if it has no contrast. Gain and offset of the
        plane must not matter."""
        return zscore(plane)

    def factor(self, network: nn.Module, shape: tuple[int, int], estimated: float) -> float:
        """At how many times its size an image of (H, W) px is read, where the cells' estimated diameter asks for
        ``estimated``; not asked where the user gave the diameter."""
        return estimated

    def diameter(self, reading: Reading, settings: Settings) -> float | None:
        """Typical diameter of the cells in a reading, px of the plane that was read; None where it does not tell."""
        return None

    def read(self, network: nn.Module, plane: np.ndarray, call: Call) -> Reading:
        """Read a normalised (H, W) float32 plane of any size. The network is in eval mode."""
        raise NotImplementedError

    def sample(self, item: "Dotted", config: "TrainingConfig") -> Sample:
        """What training draws from; raises `TrainingError` for an item that lacks what this family learns from."""
        raise NotImplementedError

    def ready(self, network: nn.Module, samples: list[Sample], config: "TrainingConfig",
              device: torch.device) -> list[Sample]:
        """The samples once the network is built: the place to compute what a frozen part of it gives."""
        return samples

    def draw(self, samples: list[Sample], rng: np.random.Generator, config: "TrainingConfig", *, stride: int,
             whole: bool) -> tuple[np.ndarray, np.ndarray]:
        """A batch: (B, 1, h, w) float32 images and their float32 targets."""
        from cellapp.crops import square_crops

        return square_crops(samples, rng, config, stride=stride, whole=whole)

    def loss(self, network: nn.Module, images: Tensor, targets: Tensor, config: "TrainingConfig",
             rng: np.random.Generator) -> Tensor:
        """The scalar to minimise, in float32, for a batch on the network's device."""
        raise NotImplementedError

    def trained(self, network: nn.Module, config: "TrainingConfig") -> nn.Module:
        """The part of the network whose parameters are trained; the rest stays in eval mode, as it is."""
        return network

    def settings(self, config: "TrainingConfig") -> Settings:
        """What the weights' row keeps for reading, as far as the config fixes it."""
        return Settings()

    def validate(self, network: nn.Module, samples: list[Sample], config: "TrainingConfig", call: Call) -> Validation:
        """Count whole images and compare with the truth, in the counted area where there is one."""
        counts = [0.0 if s.image is None else count_inside(self.read(network, s.image, call), s.counted)
                  for s in samples]
        errors = np.array(counts) - np.array([s.count for s in samples])
        return Validation(errors, float(np.abs(errors).mean()), call.settings)

    def compile(self, network: nn.Module, device: torch.device) -> nn.Module:
        """A faster network with the same answers, for counting only (fused layers, FFT): on a CPU that of its method
        ``fast``, if it has one."""
        return network.fast() if device.type == "cpu" and hasattr(network, "fast") else network
