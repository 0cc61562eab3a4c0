"""Results as files: tables, maps, points, overlays, and all of them in one zip."""

import csv
import io
import re
import zipfile
from collections.abc import Iterable
from itertools import count
from pathlib import Path

import numpy as np

from cellapp.batch import COLUMNS, Result
from cellapp.dot_tables import spreadsheet_text
from cellapp.dots import points_csv
from cellapp.overlays import overlay, png
from cellapp.prediction import VIEWS

_NOT_IN_NAMES = re.compile(r'[\\/:*?"<>|\x00-\x1f]')             # on some system or other


def counts_csv(results: Iterable[Result]) -> str:
    """One line per image, columns `COLUMNS`. Text that a spreadsheet would run as a formula gets a ``'``."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for result in results:
        writer.writerow({key: _cell(value) for key, value in result.row().items()})
    return out.getvalue()


def _cell(value):
    if isinstance(value, str):
        return spreadsheet_text(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else value


def density_tiff(density: np.ndarray) -> bytes:
    """A float32 TIFF, (H, W), cells per pixel, as ImageJ opens it; its sum is the count."""
    return _tiff(density.astype(np.float32, copy=False), "density map, cells per pixel")


def labels_tiff(labels: np.ndarray) -> bytes:
    """A TIFF of (H, W) labels, 0 is ground and 1 … N are the cells: uint16, or uint32 above 65,535 cells.

    ImageJ is told the range to show, so that it does not open black; it knows no uint32.
    """
    top = int(labels.max(initial=0))
    return _tiff(labels.astype(np.uint16 if top < 2**16 else np.uint32), "labels of the cells, 0 is ground",
                 min=0.0, max=float(max(1, top)))


def view_tiff(name: str, view: np.ndarray) -> bytes:
    """A float32 TIFF of a further map, by its name in `VIEWS`; "redundant" is larger than the image."""
    return _tiff(view.astype(np.float32, copy=False), f"{VIEWS[name].title.lower()}, {VIEWS[name].unit}")


def _tiff(array: np.ndarray, info: str, **display: float) -> bytes:
    import tifffile

    out = io.BytesIO()
    imagej = array.dtype != np.uint32
    about = {"axes": "YX", "unit": "pixel", "Info": info, **display} if imagej else {"axes": "YX", "Info": info}
    tifffile.imwrite(out, array, imagej=imagej, metadata=about)
    return out.getvalue()


def files_of(result: Result, taken: set[str] | None = None, *, by: str = "method") -> dict[str, bytes]:
    """The files of one counted image by name: overlay PNG, and TIFFs and points CSV as far as the method gives them.

    Parameters
    ----------
    taken : holds the beginnings of the names given before and gets this one: hand in the same set for all images of
        a batch, and a second ``a.png`` (or an ``a.tif``) becomes ``a-2`` instead of replacing the first
    by : what stands in the names after the image's: "method" or "weights"
    """
    prediction = result.prediction
    stem = _free(result, set() if taken is None else taken, by)
    files = {f"{stem}_overlay.png": png(overlay(result.image, prediction, result.options.channel))}
    if prediction.density is not None:
        files[f"{stem}_density.tif"] = density_tiff(prediction.density)
    if prediction.labels is not None:
        files[f"{stem}_labels.tif"] = labels_tiff(prediction.labels)
    if prediction.points is not None:
        files[f"{stem}_points.csv"] = points_csv(prediction.points).encode()
    return files | {f"{stem}_{name}.tif": view_tiff(name, view) for name, view in prediction.views.items()}


def stem_of(result: Result, number: int = 1, by: str = "method") -> str:
    """``<stem>__<method>``, with which the names of an image's files begin; no part of it leads to a folder."""
    stem = _NOT_IN_NAMES.sub("_", Path(result.name).stem).lstrip(".") or "image"
    what = _NOT_IN_NAMES.sub("_", getattr(result.prediction, by))
    return f"{stem}__{what}" if number == 1 else f"{stem}-{number}__{what}"


def _free(result: Result, taken: set[str], by: str) -> str:
    """`stem_of` with the first number that is free; names that differ in case alone are the same."""
    numbered = (stem_of(result, number, by) for number in count(1))
    name = next(name for name in numbered if name.casefold() not in taken)
    taken.add(name.casefold())
    return name


def archive(table: str, files: dict[str, bytes], name: str = "counts.csv") -> bytes:
    """A zip with the table under this name and the files; equal content gives equal bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as box:
        for inside, content in {name: table.encode("utf-8-sig"), **files}.items():
            box.writestr(zipfile.ZipInfo(inside, (2000, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()
