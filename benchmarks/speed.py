"""What counting costs, and what the fast paths gain: ``python -m benchmarks.speed [METHOD…] [--threads N]``.

Each method reads the same simulated image as `Counter` does (batch normalisation folded, FFT and polyphase
convolutions, its own memory layout, tiles, dead branches left out) and plainly (PyTorch's default layout, direct
convolutions, nothing folded, every branch, one tile), by turns in one process, so that only ratios of one run are
compared. Prints medians, the gain, the memory each form needs beyond the loaded network (Linux), and the largest
difference of the two maps. Networks are untrained: their arithmetic is the same.

What would take longer than ``--patience`` seconds, judged by the smaller image, is not run but calculated: marked ≈.
"""

import argparse
import platform
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import nn

from cellapp.family import Call
from cellapp.methods import METHODS, Method, fast
from cellapp.networks.fcrn import parameters
from cellapp.scene import MOST_CELLS
from cellapp.simulate import simulate
from cellapp.weights import Settings

CPU = torch.device("cpu")
TURNS = 3
# As in the bundled weights: windows of 40 px every 20 px, brought to 64 px for the ResNets.
BUILD = {name: {"side": 64} for name in METHODS if name.startswith("resnet")}
WINDOWS = Settings(window=40, step=20)


class EveryBranch(nn.Module):
    """The FPN as it is trained: all scales and heads, of which counting uses the finest."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def finest(self, image: torch.Tensor, uncertainty: bool = True):
        return self.network(image)[-1]


def forms(method: Method, quick: bool = False) -> dict[str, tuple[nn.Module, Call]]:
    """The plain and the fast form of an untrained network, each with how it is called; ``quick`` as in `Options`."""
    torch.manual_seed(0)
    network = method.build(**BUILD.get(method.name, {})).eval().requires_grad_(False)
    call = Call(device=CPU, stride=method.stride, halo=method.halo, map_scale=method.map_scale, settings=WINDOWS
                if "alexnet" in method.name or "resnet" in method.name else Settings())
    plain = deepcopy(network)
    if hasattr(plain, "fpn"):
        plain.fpn = EveryBranch(plain.fpn)
    return {"plain": (plain, replace(call, tile=4096)), "fast": (fast(method, network, CPU),
                                                                 replace(call, layout=method.layout, quick=quick))}


def peak(work) -> tuple[float, float, object]:
    """(seconds, memory beyond what was there before in MB, what ``work`` returns)."""
    clear = Path("/proc/self/clear_refs")
    before = 0.0
    if clear.exists():
        clear.write_text("5")                                # the peak begins at what is in use now
        before = resident("VmRSS")
    begin = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - begin
    return seconds, resident("VmHWM") - before if clear.exists() else float("nan"), result


def resident(field: str) -> float:
    """A line of /proc/self/status, MB."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(field)).split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", metavar="METHOD", help="default: all")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 2048])
    parser.add_argument("--patience", type=float, default=60, help="seconds for one reading (default: 60)")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"torch {torch.__version__}, {given.threads} threads, {platform.processor() or platform.machine()}; "
          f"medians of {TURNS} interleaved runs, of one where a run takes more than 10 s\n")
    print("| method | parameters | image | plain, s | as counted, s | gain | plain, MB | as counted, MB | difference |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in given.methods or METHODS:
        measure(METHODS[name], given.sides, given.patience)
        if "quick" in METHODS[name].extras:
            measure(METHODS[name], given.sides, given.patience, quick=True)


def measure(method: Method, sides: list[int], patience: float, quick: bool = False) -> None:
    """Print one line for each image size."""
    both, title = forms(method, quick), f"{method.title}, count alone" if quick else method.title
    size, known = parameters(both["plain"][0]), {}
    for side in sides:
        cells = min(MOST_CELLS, round(176 * (side / 256) ** 2))
        scene = simulate("vgg-cells", 0, n=cells, size=(side, side))
        image = method.family.normalise(scene.image.astype(np.float32))
        seconds = {name: [] for name in both}
        memory, maps = {}, {}
        for _ in range(TURNS):
            for name, (network, call) in both.items():
                guess = known.get(name, 0) * (side / sides[0]) ** 2
                if guess > patience or sum(seconds[name]) > 10:
                    continue
                taken, used, reading = peak(lambda network=network, call=call, image=image:
                                            method.family.read(network, image, call))
                seconds[name].append(taken)
                memory[name] = max(memory.get(name, 0), used)
                maps[name] = reading.density if reading.density is not None else reading.views["foreground"]
        shown = {name: f"{median(s):.3f}" if s else f"≈ {known[name] * (side / sides[0]) ** 2:.0f}"
                 for name, s in seconds.items()}
        gain = f"{median(seconds['plain']) / median(seconds['fast']):.2f}×" if all(seconds.values()) else "–"
        # An untrained mask may be empty everywhere.
        apart = (f"{np.abs(maps['plain'] - maps['fast']).max() / max(np.abs(maps['plain']).max(), 1e-9):.0e}"
                 if len(maps) == 2 else "–")
        used = [f"{memory[name]:.0f}" if name in memory else "–" for name in both]
        print(f"| {title} | {size:,} | {side}² | {shown['plain']} | {shown['fast']} | {gain} | {used[0]} | "
              f"{used[1]} | {apart} |", flush=True)
        known = known or {name: median(s) for name, s in seconds.items()}


if __name__ == "__main__":
    main()
