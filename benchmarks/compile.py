"""Whether `torch.compile` pays: steps of a training and passes of counting, compiled and not, in turn.

    OMP_NUM_THREADS=1 python -m benchmarks.compile [METHOD …] [--steps 15] [--of 500] [--device cuda]

Steps are forward, loss, backward and AdamW of a fine-tuning on batches that were drawn beforehand; a pass counts one
plane of 512×512 px with the network that counts (folded, fused). Compiled and plain ones alternate within one run, on a
CPU in the processor's time of this process. What compiling takes is the first compiled step or pass beyond the median
of the others, in seconds of the wall, with an empty cache. The last figure is that of ``--of`` steps with all of it.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch

from cellapp.data import simulated
from cellapp.methods import fast, find_method
from cellapp.train_defaults import defaults
from cellapp.training import _draw

WARM = 2                                                     # first steps after the compiling, which get going


def step_of(name: str, device: torch.device, compiled: bool) -> Callable[[int], None]:
    """The k-th step of a training from scratch."""
    method, config = find_method(name), defaults(name, None)
    torch.manual_seed(0)
    samples = [method.family.sample(item, config) for item in simulated("vgg-cells", 4, 1)]
    network = method.build().to(device, memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate)
    batches = [_draw(samples, method, config, k, 1000) for k in range(8)]
    if compiled:
        network.compile()

    def step(k: int) -> None:
        images, targets, rng = batches[k % len(batches)]
        images = torch.from_numpy(images).to(device, memory_format=torch.channels_last)
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=device.type == "cuda"):
            loss = method.family.loss(network, images, torch.from_numpy(targets).to(device), config, rng)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def pass_of(name: str, device: torch.device, compiled: bool) -> Callable[[int], None]:
    """One plane through the network that counts."""
    method = find_method(name)
    torch.manual_seed(0)
    network = fast(method, method.build().eval(), device)
    if compiled:
        network.compile()
    plane = torch.randn(1, 1, 512, 512).to(device, memory_format=method.layout)

    def once(k: int) -> None:
        with torch.inference_mode():
            network(plane)

    return once


def measure(make: Callable, name: str, n: int, device: torch.device) -> tuple[float, float, float]:
    """Seconds of a plain one, of a compiled one, and of compiling."""
    def clock() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
            return time.monotonic()
        return time.process_time()

    kinds, times = [make(name, device, False), make(name, device, True)], ([], [])
    begin = time.monotonic()
    kinds[1](0)
    first = time.monotonic() - begin
    for k in range(n + WARM):
        for kind, spent in zip(kinds, times, strict=True):
            begin = clock()
            kind(k)
            spent.append(clock() - begin)
    plain, compiled = (float(np.median(spent[WARM:])) for spent in times)
    return plain, compiled, max(0.0, first - compiled)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("methods", nargs="*", default=["recount", "fcrn-a"])
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--of", type=int, default=500)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    device = torch.device(given.device)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp()
    print(f"{device}, {torch.get_num_threads()} threads, {given.steps} of each in turn, torch {torch.__version__}")
    for name in given.methods:
        for make, what in ((step_of, "a step"), (pass_of, "a pass")):
            plain, compiled, once = measure(make, name, given.steps, device)
            ratio = (once + given.of * compiled) / (given.of * plain)
            print(f"{name}: {what} {plain:.3f} s, compiled {compiled:.3f} s ({compiled / plain:.2f}), compiling "
                  f"{once:.0f} s; {given.of} of them with compiling {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
