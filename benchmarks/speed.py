"""What counting costs, and what the fast paths gain: ``python -m benchmarks.speed [METHOD…] [--threads N]``.

Each method reads the same simulated image as `Counter` does (batch normalisation folded, FFT and polyphase
convolutions, its own memory layout, tiles, dead branches left out) and plainly (PyTorch's default layout, direct
convolutions, nothing folded, every branch, one tile), by turns in one process, so that only ratios of one run are
compared. Prints medians, the gain, the memory each form needs beyond the loaded network (Linux), and the largest
difference of the two maps. Networks are untrained: their arithmetic is the same.

``--against recount`` prints instead how many times as long as that method each of the others takes, with all of them by
turns.

What would take longer than ``--patience`` seconds, judged by the smaller image, is not run but calculated: marked ≈.
"""

import argparse
import platform
import time
from copy import deepcopy
from dataclasses import dataclass, field, replace
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


class OneByOne(nn.Module):
    """The counter of masks as it reads each mask by itself."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, masks: torch.Tensor):
        return tuple(torch.cat(parts) for parts in zip(*(self.network(mask[None]) for mask in masks), strict=True))


def forms(method: Method, quick: bool = False) -> dict[str, tuple[nn.Module, Call]]:
    """The plain and the fast form of an untrained network, each with how it is called; ``quick`` as in `Options`."""
    torch.manual_seed(0)
    network = method.build(**BUILD.get(method.name, {})).eval().requires_grad_(False)
    call = Call(device=CPU, stride=method.stride, halo=method.halo, map_scale=method.map_scale, settings=WINDOWS
                if "alexnet" in method.name or "resnet" in method.name else Settings())
    plain = deepcopy(network)
    if hasattr(plain, "fpn"):
        plain.fpn, plain.counter = EveryBranch(plain.fpn), OneByOne(plain.counter)
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
    parser.add_argument("--against", choices=METHODS, metavar="METHOD",
                        help="instead, all of them by turns with this one: how many times as long they take")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"torch {torch.__version__}, {given.threads} threads, {platform.processor() or platform.machine()}; "
          f"medians of {TURNS} interleaved runs, of one where a run takes more than 10 s\n")
    if given.against:
        compare(given.against, given.methods or list(METHODS), given.sides, given.patience)
        return
    print("| method | parameters | image | plain, s | as counted, s | gain | plain, MB | as counted, MB | difference |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in given.methods or METHODS:
        measure(METHODS[name], given.sides, given.patience)
        if "quick" in METHODS[name].extras:
            measure(METHODS[name], given.sides, given.patience, quick=True)


def picture(method: Method, side: int) -> np.ndarray:
    """A simulated image of ``side``² px, normalised as the method does."""
    scene = simulate("vgg-cells", 0, n=min(MOST_CELLS, round(176 * (side / 256) ** 2)), size=(side, side))
    return method.family.normalise(scene.image.astype(np.float32))


@dataclass
class Taken:
    """What the turns of one form took: seconds of each, the most memory (MB), and its map."""

    seconds: list[float] = field(default_factory=list)
    memory: float = float("nan")
    map: np.ndarray | None = None


def by_turns(runs: dict, side: int, guesses: dict, patience: float) -> dict:
    """Let every one of ``runs``, name → (method, network, call), read the image in turn.

    guesses : name → seconds expected; what is expected to take longer than ``patience`` is not run
    """
    images = {method.name: picture(method, side) for method, *_ in runs.values()}
    taken = {name: Taken() for name in runs}
    for _ in range(TURNS):
        for name, (method, network, call) in runs.items():
            one = taken[name]
            if guesses.get(name, 0) > patience or sum(one.seconds) > 10:
                continue
            seconds, used, reading = peak(lambda method=method, network=network, call=call:
                                          method.family.read(network, images[method.name], call))
            one.seconds.append(seconds)
            one.memory = float(np.fmax(one.memory, used))
            one.map = reading.density if reading.density is not None else reading.views["foreground"]
    return taken


def measure(method: Method, sides: list[int], patience: float, quick: bool = False) -> None:
    """Print one line for each image size."""
    both, title = forms(method, quick), f"{method.title}, count alone" if quick else method.title
    size, known = parameters(both["plain"][0]), {}
    for side in sides:
        guesses = {name: seconds * (side / sides[0]) ** 2 for name, seconds in known.items()}
        found = by_turns({name: (method, *form) for name, form in both.items()}, side, guesses, patience)
        plain, quick_form = found["plain"], found["fast"]
        shown = {name: f"{median(one.seconds):.3f}" if one.seconds else f"≈ {guesses[name]:.0f}"
                 for name, one in found.items()}
        whole = all(one.seconds for one in found.values())
        gain = f"{median(plain.seconds) / median(quick_form.seconds):.2f}×" if whole else "–"
        # An untrained mask may be empty everywhere.
        apart = f"{np.abs(plain.map - quick_form.map).max() / max(np.abs(plain.map).max(), 1e-9):.0e}" if whole else "–"
        used = ["–" if np.isnan(one.memory) else f"{one.memory:.0f}" for one in found.values()]
        print(f"| {title} | {size:,} | {side}² | {shown['plain']} | {shown['fast']} | {gain} | {used[0]} | "
              f"{used[1]} | {apart} |", flush=True)
        known = known or {name: median(one.seconds) for name, one in found.items()}


def compare(own: str, names: list[str], sides: list[int], patience: float) -> None:
    """Print how many times as long as ``own`` each of the others takes, all of them by turns, in both forms."""
    runs = {(name, form): (METHODS[name], *what) for name in dict.fromkeys([own, *names])
            for form, what in forms(METHODS[name]).items()}
    title, known = METHODS[own].title, {}
    print(f"| method | form | image | s | times {title} as counted | times {title}, plain |")
    print("|---|---|---|---|---|---|")
    for side in sides:
        guesses = {name: seconds * (side / sides[0]) ** 2 for name, seconds in known.items()}
        found = by_turns(runs, side, guesses, patience)
        for (name, form), one in found.items():
            words = f"| {METHODS[name].title} | {'as counted' if form == 'fast' else 'plain'} | {side}² |"
            seconds = median(one.seconds) if one.seconds else guesses[name, form]
            about = "" if one.seconds else "≈ "
            shares = [f"{about}{seconds / median(found[own, other].seconds):.1f}×"
                      if found[own, other].seconds else "–" for other in ("fast", "plain")]
            print(words, f"{about}{seconds:.3f} | {shares[0]} | {shares[1]} |", flush=True)
        known = known or {name: median(one.seconds) for name, one in found.items()}


if __name__ == "__main__":
    main()
