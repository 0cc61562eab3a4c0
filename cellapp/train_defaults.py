"""Settings of a fine-tuning that work for two to ten images, beginning with trained weights or from scratch."""

import os

import torch

from cellapp.dask_client import ADDRESS
from cellapp.families.mask_counter import MaskCounter
from cellapp.families.patches import PatchRegression
from cellapp.methods import find_method
from cellapp.training import TrainingConfig
from cellapp.weights import Weights

MINUTES = 10.0
SCRATCH = "from scratch: "                                   # begins the name of a method in a list of weights
LICENCES = ("not stated", "CC0", "CC BY 4.0", "CC BY-NC 4.0", "MIT", "research use only")
# Of the training that made the weights to begin with; everything else is that of a fine-tuning.
_INHERITED = ("part", "window_step", "batch")


def parts(method: str) -> tuple[str, ...]:
    """Which parts of a network can be trained by themselves; the first is the usual one."""
    family = find_method(method).family
    if isinstance(family, MaskCounter):
        return ("count", "mask")
    return ("all", "head") if isinstance(family, PatchRegression) else ("all",)


def most_devices() -> int:
    """GPUs of this machine that can share a training of its jobs; 1 without, and where workers of a cluster train."""
    return 1 if os.environ.get(ADDRESS) else max(1, torch.cuda.device_count())


def defaults(method: str, start: Weights | None) -> TrainingConfig:
    """The settings of a fine-tuning; from scratch the learning rate is higher, and a mask is learnt before a count."""
    values = {"method": method, "epochs": 16, "steps": 60, "batch": 4, "crop": 160, "sigma": 3.0, "warmup": 20,
              "whole": 0.0, "ema": 0.98, "gain": 0.2, "learning_rate": 1e-3}
    if start is not None:
        values |= {name: start.training[name] for name in _INHERITED if name in start.training}
    elif "mask" in parts(method):
        values |= {"part": "mask"}
    if isinstance(find_method(method).family, PatchRegression):
        values |= {"crop": (start.settings.window if start else None) or 40, "batch": 16}
    if values.get("part") not in parts(method):
        values["part"] = parts(method)[0]
    return TrainingConfig(**values)
