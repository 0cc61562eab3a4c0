"""How good the estimated cell diameter is, and what it does to counts: ``python -m benchmarks.diameter DSB``.

DSB is a folder with ``images/``, ``labels/`` (16-bit instance labels) and ``index.csv`` (stem, background) of the 2018
Data Science Bowl. Draws fluorescence images (dark background), or stained and brightfield ones with ``--bright``, and
compares the estimate with the median equivalent diameter of the labels; then counts them at their own size, at the
estimated scale and at the true one.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from cellapp import DEFAULT_WEIGHTS, load
from cellapp.data import outlined_diameter
from cellapp.image import plane, read_image
from cellapp.methods import Options
from cellapp.metrics import count_errors
from cellapp.polarity import bright, detect
from cellapp.scale import suggest_diameter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS)
    parser.add_argument("--bright", action="store_true", help="images of dark cells on bright ground")
    given = parser.parse_args()
    ground = "bright" if given.bright else "dark"
    rows = [row for row in csv.DictReader((given.folder / "index.csv").open()) if row["background"] == ground]
    order = np.random.default_rng(0).permutation(len(rows))[: given.n]
    counter = load(given.weights)
    true, estimated, cells = [], [], []
    counts = {"at its own size": [], "at the estimated diameter": [], "at the true diameter": []}
    for stem in (rows[k]["stem"] for k in order):
        image = read_image(next((given.folder / "images").glob(f"{stem}.*")))
        labels = read_image(next((given.folder / "labels").glob(f"{stem}.*"))).pixels
        true.append(outlined_diameter(labels))
        grey = plane(image)[0]
        dark = detect(grey) == "dark"
        estimated.append(suggest_diameter(bright(grey, dark), dark))
        cells.append(len(np.unique(labels)) - 1)
        for name, diameter in zip(counts, (counter.weights.input.cell_diameter, None, true[-1]), strict=True):
            counts[name].append(counter.predict(image, Options(cell_diameter=diameter)).count)
    ratio = np.log(np.array(estimated) / np.array(true))
    print(f"{len(true)} images, true diameters {min(true):.0f} to {max(true):.0f} px: median of estimated / true "
          f"{np.exp(np.median(ratio)):.2f}, within 25 % {np.mean(np.abs(ratio) < np.log(1.25)):.0%}, "
          f"within a factor of 1.5 {np.mean(np.abs(ratio) < np.log(1.5)):.0%}")
    for name, values in counts.items():
        errors = count_errors(values, cells)
        relative = np.abs(np.array(values) - cells) / np.array(cells)
        print(f"{given.weights}, {name}: MAE {errors.mae:.1f} of {np.mean(cells):.1f} cells, "
              f"median relative error {np.median(relative):.0%}")


if __name__ == "__main__":
    main()
