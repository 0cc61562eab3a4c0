"""What counting costs, and what channels-last memory gains: ``python benchmarks/speed.py [--threads N]``.

Each method counts the same image with its network as `Counter` runs it and in PyTorch's default layout, by
turns, so that only the ratio of one run is compared. Prints medians, the ratio and the largest difference.
"""

import argparse
import platform
import time
from statistics import median

import numpy as np
import torch

from cellapp.methods import METHODS, normalise, run_map
from cellapp.networks.fcrn import parameters
from cellapp.simulate import simulate

TURNS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 1024])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"torch {torch.__version__}, {given.threads} threads, {platform.processor() or platform.machine()}; "
          f"medians of {TURNS} interleaved runs")
    print("| method | parameters | image | default layout, s | channels last, s | gain | largest difference |")
    print("|---|---|---|---|---|---|---|")
    for method in METHODS.values():
        torch.manual_seed(0)
        networks = [method.build().eval().to(memory_format=layout)
                    for layout in (torch.contiguous_format, torch.channels_last)]
        networks[1].load_state_dict(networks[0].state_dict())
        for side in given.sides:
            image = normalise(simulate("vgg-cells", 0, size=(side, side)).image.astype(np.float32))
            seconds, maps = ([], []), [None, None]
            for _ in range(TURNS):
                for k, network in enumerate(networks):
                    begin = time.perf_counter()
                    maps[k] = run_map(network, method, image, device=torch.device("cpu"))
                    seconds[k].append(time.perf_counter() - begin)
            plain, fast = (median(s) for s in seconds)
            apart = np.abs(maps[0] - maps[1]).max() / np.abs(maps[0]).max()
            print(f"| {method.title} | {parameters(networks[0]):,} | {side}² | {plain:.3f} | {fast:.3f} | "
                  f"{plain / fast:.2f}× | {apart:.1e} |", flush=True)


if __name__ == "__main__":
    main()
