"""The baseline that any count on BBBC005 must stand beside: ``python -m benchmarks.intensity FOLDER [--stain 1]``.

A straight line through the sum of all grey values, fitted on the scenes 06 to 25 of each count and measured
on those of 01 to 05. Defocus does not change that sum, so on these simulated images one number nearly gives the
count. Such a line knows nothing of cells: with the gain of each image changed at random by up to 20 % it fails, which
is printed as well.
"""

import argparse
import csv
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from cellapp.image import plane, read_image
from cellapp.metrics import count_errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stain", default="1")
    given = parser.parse_args()
    with open(given.folder / "index.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["stain"] == given.stain]
    sums = np.array([plane(read_image(given.folder / "images" / row["file"]), "auto")[0].sum(dtype=np.float64)
                     for row in rows])
    counts = np.array([float(row["count"]) for row in rows])
    test = np.array([fnmatch(row["file"], "*_s0[1-5]_*") for row in rows])
    line = np.polyfit(sums[~test], counts[~test], 1)
    gain = np.random.default_rng(0).uniform(0.8, 1.2, len(rows))
    for name, x in (("as it is", sums), ("gain ±20 %", sums * gain)):
        errors = count_errors(np.polyval(line, x[test]), counts[test])
        print(f"stain {given.stain}, {name}, {errors.images} test images: MAE {errors.mae:.2f}, "
              f"RMSE {errors.rmse:.2f}, R² {errors.r2:.4f}, largest error {errors.max_error:.1f}")


if __name__ == "__main__":
    main()
