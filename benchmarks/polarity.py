"""How often dark and bright cells are told apart: ``python -m benchmarks.polarity DATA [-n 200]``.

DATA is a folder with any of ``vgg/``, ``bbbc005/``, ``dsb2018/`` (the latter two with their ``index.csv``), ``mbm/``,
``adi/`` and ``crc/``. Of each set at most ``-n`` images are judged, and each as its negative as well.
Fluorescence holds bright cells; nuclei in stained tissue and in brightfield are dark, and so is the tissue round the
bright fat cells of ``adi``.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from cellapp.image import plane, read_image
from cellapp.polarity import detect


def sets(folder: Path) -> dict[str, tuple[list[Path], str]]:
    """Name → image files and the polarity of their cells, for the sets that are there."""
    found = {"vgg": (sorted((folder / "vgg").glob("*cell.png")), "bright"),
             "mbm": ([p for p in sorted((folder / "mbm").glob("*.png")) if "dots" not in p.name], "dark"),
             "adi": (sorted((folder / "adi" / "images").glob("*")), "dark"),
             "crc": (sorted((folder / "crc" / "images").glob("*")), "dark")}
    for stain, shown in (("1", "nuclei"), ("2", "whole bodies")):
        rows = [row for row in _table(folder / "bbbc005") if row["stain"] == stain]
        found[f"bbbc005, {shown}"] = [folder / "bbbc005" / "images" / row["file"] for row in rows], "bright"
    for mode, ground in (("grey", "dark"), ("colour", "bright"), ("grey", "bright")):
        rows = [row for row in _table(folder / "dsb2018") if (row["mode"], row["background"]) == (mode, ground)]
        stems = {row["stem"] for row in rows}
        paths = [p for p in sorted((folder / "dsb2018" / "images").glob("*")) if p.stem in stems]
        found[f"dsb2018, {mode} on {ground} ground"] = paths, "bright" if ground == "dark" else "dark"
    return {name: entry for name, entry in found.items() if entry[0]}


def _table(folder: Path) -> list[dict]:
    path = folder / "index.csv"
    return list(csv.DictReader(path.open(encoding="utf-8"))) if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-n", type=int, default=200, help="images of each set (default: 200)")
    given = parser.parse_args()
    for name, (paths, truth) in sets(given.folder).items():
        some = [paths[k] for k in np.random.default_rng(0).permutation(len(paths))[: given.n]]
        planes = [plane(read_image(path))[0] for path in some]
        told = [detect(grey) for grey in planes]
        same = sum({"bright": "dark", "dark": "bright", None: None}[detect(-grey)] == found
                   for grey, found in zip(planes, told, strict=True))
        print(f"{name}: {len(told)} images of {truth} cells, {told.count(truth) / len(told):.1%} right, "
              f"{told.count(None) / len(told):.1%} undecided; negatives: {same / len(told):.1%} told the other way")


if __name__ == "__main__":
    main()
