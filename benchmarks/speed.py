"""What counting costs, and what the memory layout gains: ``python -m benchmarks.speed [--threads N]``.

Each method reads the same image as `Counter` does (its own memory layout, tiles) and plainly (PyTorch's default
layout, the whole image at once), by turns, so that only ratios of one run are compared. Prints medians, the ratio
and the largest difference between the two maps.
"""

import argparse
import platform
import time
from copy import deepcopy
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
    print("| method | parameters | image | plain, s | as counted, s | gain | largest difference |")
    print("|---|---|---|---|---|---|---|")
    for method in METHODS.values():
        torch.manual_seed(0)
        plain_network = method.build().eval()
        network = deepcopy(plain_network).to(memory_format=method.layout)

        def plainly(image, network=plain_network):
            with torch.inference_mode():
                return network(torch.from_numpy(image)[None, None])[0, 0].numpy()

        def fast(image, network=network, method=method):
            return run_map(network, method, image, device=torch.device("cpu"))

        for side in given.sides:
            image = normalise(simulate("vgg-cells", 0, size=(side, side)).image.astype(np.float32))
            seconds, maps = ([], []), [None, None]
            for _ in range(TURNS):
                for k, read in enumerate((plainly, fast)):
                    begin = time.perf_counter()
                    maps[k] = read(image)
                    seconds[k].append(time.perf_counter() - begin)
            slow, quick = (median(s) for s in seconds)
            apart = np.abs(maps[0] - maps[1]).max() / np.abs(maps[0]).max()
            print(f"| {method.title} | {parameters(network):,} | {side}² | {slow:.3f} | {quick:.3f} | "
                  f"{slow / quick:.2f}× | {apart:.1e} |", flush=True)


if __name__ == "__main__":
    main()
