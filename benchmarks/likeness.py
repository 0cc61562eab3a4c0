"""How often an image is called unlike those of the training: ``python -m benchmarks.likeness DATA [-n 100]
[--others 30] [--weights ID …]``.

DATA is as for `benchmarks.polarity`. For each of the weights: held-out images like those of the training, where a
warning is a false alarm; the same made worse (blurred by half a cell, drowned in noise, overexposed); images of
other sets. Warnings about the count itself, such as a map and its peaks that disagree, are no part of this.
"""

import argparse
from fnmatch import fnmatch
from pathlib import Path

import cv2
import numpy as np

from benchmarks.polarity import sets
from cellapp import load
from cellapp import weights as store
from cellapp.image import Image, plane, read_image
from cellapp.methods import Options
from cellapp.simulate import simulate

OTHERS = ("mbm", "adi", "crc", "dsb2018, colour on bright ground", "dsb2018, grey on bright ground", "vgg",
          "bbbc005, whole bodies", "dsb2018, grey on dark ground")


def held_out(weights_id: str, folder: Path, found: dict, n: int) -> list[Image]:
    """Images like those the weights were trained on, and none of these."""
    if weights_id.endswith("/simulated") or weights_id == "fcn/nuclei-simulated":
        preset = "nuclei" if weights_id.startswith("fcn/") else "vgg-cells"
        return [Image.from_array(simulate(preset, 77, index).image) for index in range(n)]
    if weights_id == "fcn/dsb2018":
        paths = [p for p in found["dsb2018, grey on dark ground"][0] if fnmatch(p.name, "[0-2]*")]
    elif weights_id == "fpn-vgg11/bbbc005":
        paths = sorted((folder / "bbbc005" / "images").glob("*_s0[1-5]_w1.*"))
    else:
        paths = found["vgg"][0][100:]
    return drawn(paths, n)


def drawn(paths: list[Path], n: int) -> list[Image]:
    return [read_image(paths[k]) for k in np.random.default_rng(0).permutation(len(paths))[:n]]


def worse(image: Image, how: str, diameter: float, rng: np.random.Generator) -> Image:
    """The image's plane, made worse."""
    grey = plane(image)[0]
    low, high = np.percentile(grey, (1, 99.9))
    if how == "blurred":
        return Image.from_array(cv2.GaussianBlur(grey, (0, 0), diameter / 2))
    if how == "noisy":
        return Image.from_array(grey + rng.normal(0, 0.2 * (high - low), grey.shape).astype(np.float32))
    return Image.from_array(np.minimum(grey, np.percentile(grey, 90)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-n", type=int, default=100, help="held-out images (default: 100)")
    parser.add_argument("--others", type=int, default=30, help="images of each other kind (default: 30)")
    parser.add_argument("--weights", nargs="+", metavar="ID", help="default: all")
    parser.add_argument("--show", action="store_true", help="print the warnings of the held-out images")
    given = parser.parse_args()
    found = sets(given.folder)
    others = {name: drawn(found[name][0], given.others) for name in OTHERS if name in found}
    for row in map(store.find, given.weights or store.manifest()):
        counter, rng = load(row.id), np.random.default_rng(0)
        own = held_out(row.id, given.folder, found, given.n)
        groups = {"held out": own, **others}
        for how in ("blurred", "noisy", "overexposed"):
            groups[how] = [worse(image, how, counter.look(image, Options()).scale.diameter, rng)
                           for image in own[: given.others]]
        told = {name: [counter.look(image, Options()).unlike(row) for image in group]
                for name, group in groups.items()}
        print(f"{row.id}: " + ", ".join(f"{name} {np.mean([bool(t) for t in group]):.0%}"
                                        for name, group in told.items()), flush=True)
        if given.show:
            print(*(f"    {sentence}" for t in told["held out"] for sentence in t), sep="\n")


if __name__ == "__main__":
    main()
