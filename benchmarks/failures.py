"""Where weights fail, on simulated images made for it: ``python -m benchmarks.failures [--weights ID] [--out DIR]``.

Each scene takes one thing further than a training goes (overlap, size, blur, noise), and is counted as any image is:
without a given diameter or polarity. Writes ``FAILURES.md`` and its pictures below DIR. Simulated images alone, so they
may be shown to anybody.
"""

import argparse
from pathlib import Path

import numpy as np

from cellapp.agreement import compare
from cellapp.data import Dotted
from cellapp.failure_gallery import failure, files
from cellapp.files import write_atomic
from cellapp.methods import load
from cellapp.scene import PRESETS
from cellapp.simulate import simulate

# Title: preset, what is changed in it, cells, (H, W) in px.
SCENES = {
    "Cells that lie on each other": ("vgg-cells", {}, 260, (256, 256)),
    "Tiny cells": ("vgg-cells", {"radius": (1.6, 1.6)}, 260, (192, 192)),
    "Heavy blur": ("variety", {"global_blur": (8.0, 8.0), "noise_share": 0.0, "gain": (1.0, 1.0)}, 60, (256, 256)),
    "Clusters": ("nuclei", {"clusters": 2, "cluster_share": 1.0, "cluster_spread": 0.1, "overlap": 0.6}, 40,
                 (256, 256)),
    "Faint cells in noise": ("variety", {"gain": (0.12, 0.12), "read_noise": (12.0, 12.0), "autofluorescence": (0, 0)},
                             50, (256, 256)),
    "Overexposed cells": ("variety", {"gain": (4.0, 4.0)}, 60, (256, 256)),
}


def scene(title: str) -> Dotted:
    """The image of this title, always the same."""
    preset, changes, cells, shape = SCENES[title]
    made = simulate(PRESETS[preset].model_copy(update=changes), 0, n=cells, size=shape)
    return Dotted(title, made.image.astype(np.float32), made.points)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="recount/general", metavar="ID", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("docs"), metavar="DIR", help="default: %(default)s")
    given = parser.parse_args()
    counter = load(given.weights, "cpu")
    found = []
    for title in SCENES:
        item = scene(title)
        prediction = counter.predict(item.image)
        found.append(failure(item, prediction, compare(title, prediction, item.points), counter.weights))
        print(f"{title}: {found[-1].words}", *found[-1].reasons, sep="\n  ")
    about = (f"Simulated images on which `{given.weights}` counts badly, made for that by "
             f"`python -m benchmarks.failures --weights {given.weights}`: one of each kind, not a measurement.")
    for name, content in files(f"Where {given.weights} fails", about, found, "FAILURES").items():
        write_atomic(given.out / name, content)


if __name__ == "__main__":
    main()
