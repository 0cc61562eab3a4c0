"""How far resizing bridges: ``python -m benchmarks.bridge VGG [--weights ID …] [-n 6]``.

VGG is a folder with images 101–200 of the VGG cells and their dots. They are made smaller or larger, as if photographed
so, and counted with their diameter given, so that the image is brought back to the scale of the weights.
"""

import argparse
from pathlib import Path

import numpy as np

from cellapp import DEFAULT_WEIGHTS, load
from cellapp.data import read_folder
from cellapp.methods import Options
from cellapp.scale import resize

TIMES = (1 / 5, 1 / 4, 1 / 3, 1 / 2, 1 / 1.5, 1, 2, 4, 6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", nargs="+", default=[DEFAULT_WEIGHTS])
    parser.add_argument("-n", type=int, default=6, help="images (default: 6)")
    given = parser.parse_args()
    data = read_folder(given.folder, include=("1?5cell.png",), exclude=("0*",))[: given.n]
    for name in given.weights:
        counter = load(name)
        trained = counter.weights.input.cell_diameter
        for times in TIMES:
            counts = [counter.predict(resize(item.image, times), Options(cell_diameter=trained * times)).count
                      for item in data]
            errors = [abs(count - item.count) / item.count for count, item in zip(counts, data, strict=True)]
            print(f"{name}, cells of {trained * times:.1f} px: mean relative error {np.mean(errors):.1%}", flush=True)


if __name__ == "__main__":
    main()
