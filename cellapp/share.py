"""What one process does of each step of a training: all of it, or its share where several devices work together.

All processes draw the same batch from the same random numbers, so what is learnt from does not depend on how many
there are; each then takes its own crops of it. Gradients, losses and statistics are those of all crops: the first two
as means weighted by crops. Where images are dotted in part, a pixel weighs as much as others of the same share.
"""

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from cellapp.family import Family
    from cellapp.training import TrainingConfig

_PATIENCE = timedelta(days=7)                                # the others wait while the first one validates


class Learning(nn.Module):
    """The network and its loss as one forward pass.

    A family calls its network, or parts of it, as it likes; what shares out the gradients sees this one call.
    """

    def __init__(self, network: nn.Module, family: "Family", config: "TrainingConfig"):
        super().__init__()
        self.network, self._family, self._config = network, family, config

    def forward(self, images: Tensor, targets: Tensor, rng: np.random.Generator) -> Tensor:
        """The loss of a batch."""
        return self._family.loss(self.network, images, targets, self._config, rng)


class Share:
    """All of each step, in this process alone. ``rank`` of ``of`` processes; the first one also validates and writes.
    """

    rank, of = 0, 1

    def cut(self, images: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """The crops of this process, and by what its loss is to be multiplied so that the mean over the processes is
        that over all crops. With fewer crops than processes some take one that weighs nothing."""
        first, last = (len(images) * k // self.of for k in (self.rank, self.rank + 1))
        kept = slice(first, max(last, first + 1))
        return images[kept], targets[kept], (last - first) * self.of / len(images)

    def wrapped(self, learning: Learning) -> nn.Module:
        """What computes the loss, and after its backward pass holds the gradients of all crops."""
        return learning

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes."""
        return value

    def settle(self, norms: list[nn.Module]) -> None:
        """Give the batch statistics of these layers the same values in all processes."""


class AmongDevices(Share):
    """The share of this process, which accelerate's launcher started; ``device`` is its own."""

    def __init__(self, cpu: bool):
        from accelerate import Accelerator
        from accelerate.utils import InitProcessGroupKwargs

        self._accelerator = Accelerator(cpu=cpu, mixed_precision="no",
                                        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)])
        self.device: torch.device = self._accelerator.device
        self.rank, self.of = self._accelerator.process_index, self._accelerator.num_processes

    def wrapped(self, learning: Learning) -> nn.Module:
        if self.device.type == "cuda":                       # batch statistics of all crops; there is none for CPUs
            learning = nn.SyncBatchNorm.convert_sync_batchnorm(learning)
        return self._accelerator.prepare_model(learning)

    def mean(self, value: Tensor) -> Tensor:
        return self._accelerator.reduce(value, "mean")

    def settle(self, norms: list[nn.Module]) -> None:
        for norm in norms:
            if norm.training and not isinstance(norm, nn.SyncBatchNorm):
                for kept in (norm.running_mean, norm.running_var):
                    kept.copy_(self.mean(kept))
