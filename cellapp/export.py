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
from cellapp.figures import overlay, png

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
    import tifffile

    out = io.BytesIO()
    tifffile.imwrite(out, density.astype(np.float32, copy=False), imagej=True,
                     metadata={"axes": "YX", "unit": "pixel", "Info": "density map, cells per pixel"})
    return out.getvalue()


def files_of(result: Result, taken: set[str] | None = None) -> dict[str, bytes]:
    """The files of one counted image by name: density TIFF, points CSV, overlay PNG.

    ``taken`` holds the beginnings of the names given before and gets this one: hand in the same set for all
    images of a batch, and a second ``a.png`` (or an ``a.tif``) becomes ``a-2`` instead of replacing the first.
    """
    prediction = result.prediction
    stem = _free(result, set() if taken is None else taken)
    files = {f"{stem}_overlay.png": png(overlay(result.image, prediction, result.options.channel))}
    if prediction.density is not None:
        files[f"{stem}_density.tif"] = density_tiff(prediction.density)
    if prediction.points is not None:
        files[f"{stem}_points.csv"] = points_csv(prediction.points).encode()
    return files


def stem_of(result: Result, number: int = 1) -> str:
    """``<stem>__<method>``, with which the names of an image's files begin; no part of it leads to a folder."""
    stem = _NOT_IN_NAMES.sub("_", Path(result.name).stem).lstrip(".") or "image"
    return f"{stem}__{result.prediction.method}" if number == 1 else f"{stem}-{number}__{result.prediction.method}"


def _free(result: Result, taken: set[str]) -> str:
    """`stem_of` with the first number that is free; names that differ in case alone are the same."""
    numbered = (stem_of(result, number) for number in count(1))
    name = next(name for name in numbered if name.casefold() not in taken)
    taken.add(name.casefold())
    return name


def archive(table: str, files: dict[str, bytes]) -> bytes:
    """A zip with ``counts.csv`` and the files; equal content gives equal bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as box:
        for name, content in {"counts.csv": table.encode("utf-8-sig"), **files}.items():
            box.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()
