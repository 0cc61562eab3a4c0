"""Median time of one simulated image, one thread: `python -m benchmarks.simulate` from the repository's root."""

from statistics import median
from time import perf_counter

import cv2

from cellapp.simulate import simulate

CASES = {"vgg-cells": 174, "nuclei": 5, "bbbc005": 100, "bbbc005-bodies": 100}  # preset: number of cells
REPEATS = 41


def milliseconds(preset: str, n: int) -> float:
    """Median over `REPEATS` images, after one that fills the banks."""
    simulate(preset, 0, 0, n=n)
    times = []
    for index in range(REPEATS):
        start = perf_counter()
        simulate(preset, 1, index, n=n)
        times.append(1000 * (perf_counter() - start))
    return median(times)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    for preset, n in CASES.items():
        print(f"{preset:15s} {n:4d} cells  {milliseconds(preset, n):7.1f} ms")
