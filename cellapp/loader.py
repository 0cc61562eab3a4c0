"""Batches for the steps of a training; for a GPU they are drawn one step ahead and wait in pinned memory."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

Drawn = tuple                                               # two arrays, and whatever goes with them


class Loader:
    """What each step reads.

    draw : (images, targets, …) of a step, (B, 1, h, w) float32 and any shape, and what goes with them, such as the
        generator as it was left; it must depend on the number of the step alone
    last : steps in all; ahead : draw in a thread while the device works, by default where that is a GPU
    """

    def __init__(self, draw: Callable[[int], Drawn], last: int, where: torch.device, ahead: bool | None = None):
        self._draw, self._last, self._where = draw, last, where
        # On a CPU the network itself wants every core.
        self._thread = ThreadPoolExecutor(1) if (where.type == "cuda" if ahead is None else ahead) else None
        self._next: tuple[int, Future] | None = None

    def __call__(self, step: int) -> tuple:
        """Images (channels last) and targets of a step on the device, and what was drawn with them."""
        if self._thread is None:
            images, targets, *rest = self._ready(step)
        else:
            drawn = self._next[1] if self._next and self._next[0] == step else self._thread.submit(self._ready, step)
            images, targets, *rest = drawn.result()
            self._next = None
            if step + 1 < self._last:
                self._next = step + 1, self._thread.submit(self._ready, step + 1)
        images = images.to(self._where, memory_format=torch.channels_last, non_blocking=True)
        return images, targets.to(self._where, non_blocking=True), *rest

    def _ready(self, step: int) -> tuple:
        images, targets, *rest = self._draw(step)
        ready: list[Tensor] = [torch.from_numpy(array) for array in (images, targets)]
        if self._where.type == "cuda":                       # from pinned memory the copy runs beside the network
            ready = [tensor.pin_memory() for tensor in ready]
        return *ready, *rest

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
