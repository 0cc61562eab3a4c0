"""Results as files: tables, maps, points, shapes, overlays, and all of them in one zip."""

import csv
import datetime
import hashlib
import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

import numpy as np

from cellapp.batch import COLUMNS, Result
from cellapp.dot_tables import spreadsheet_text
from cellapp.dots import points_csv, write_dots
from cellapp.export_shapes import EPOCH, geojson, roi_zip
from cellapp.files import atomic
from cellapp.overlays import coloured, overlay, png
from cellapp.prediction import VIEWS
from cellapp.run_record import Recorder

_NOT_IN_NAMES = re.compile(r'[\\/:*?"<>|\x00-\x1f]')             # on some system or other


def counts_csv(results: Iterable[Result]) -> str:
    """Columns `COLUMNS`: one line per image, and one for each region of it. See `table_csv`."""
    return table_csv(row for result in results for row in result.rows())


def table_csv(rows: Iterable[dict]) -> str:
    """Rows of `COLUMNS` as a table. Text that a spreadsheet would run as a formula gets a ``'``."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _cell(value) for key, value in row.items()})
    return out.getvalue()


def _cell(value):
    if isinstance(value, str):
        return spreadsheet_text(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else value


def density_tiff(density: np.ndarray, pixel_size_um: float | None = None) -> bytes:
    """A float32 TIFF, (H, W), cells per pixel, as ImageJ opens it; its sum is the count.

    pixel_size_um : becomes ImageJ's calibration where it is known; so for the other TIFFs here
    """
    return _tiff(density.astype(np.float32, copy=False), "density map, cells per pixel", pixel_size_um)


def labels_tiff(labels: np.ndarray, pixel_size_um: float | None = None) -> bytes:
    """A TIFF of (H, W) labels, 0 is ground and 1 … N are the cells: uint16, or uint32 above 65,535 cells.

    ImageJ is told the range to show, so that it does not open black; it knows no uint32.
    """
    top = int(labels.max(initial=0))
    return _tiff(labels.astype(np.uint16 if top < 2**16 else np.uint32), "labels of the cells, 0 is ground",
                 pixel_size_um, min=0.0, max=float(max(1, top)))


def view_tiff(name: str, view: np.ndarray, pixel_size_um: float | None = None) -> bytes:
    """A float32 TIFF of a further map, by its name in `VIEWS`; "redundant" is larger than the image."""
    return _tiff(view.astype(np.float32, copy=False), f"{VIEWS[name].title.lower()}, {VIEWS[name].unit}",
                 pixel_size_um)


def _tiff(array: np.ndarray, info: str, pixel_size_um: float | None, **display: float) -> bytes:
    import tifffile

    out = io.BytesIO()
    about = {"axes": "YX", "Info": info}
    imagej = array.dtype != np.uint32
    if imagej:
        about |= {"unit": "um" if pixel_size_um else "pixel", **display}
    scale = {}
    if pixel_size_um and imagej:
        scale = {"resolution": (1 / pixel_size_um,) * 2}
    elif pixel_size_um:
        scale = {"resolution": (1e4 / pixel_size_um,) * 2, "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(out, array, imagej=imagej, metadata=about, **scale)
    return out.getvalue()


def files_of(result: Result, taken: set[str] | None = None, *, by: str = "method") -> dict[str, bytes]:
    """The files of one counted image by name, as far as its method gives them.

    ``<stem>__<method>_overlay.png``, ``_density.tif``, ``_mask.tif`` with a ``_mask.png`` for the eye, ``_points.csv``,
    ``_rois.zip`` for ImageJ, ``.geojson`` for QuPath, a TIFF for each further map, and ``CellCounter_<stem>.xml``.

    Parameters
    ----------
    taken : holds the beginnings of the names given before and gets this one: hand in the same set for all images of
        a batch, and a second ``a.png`` (or an ``a.tif``) becomes ``a-2`` instead of replacing the first
    by : what stands in the names after the image's: "method" or "weights"
    """
    prediction, size = result.prediction, result.image.pixel_size_um
    taken = set() if taken is None else taken
    stem, image_name = _free(result, taken, by), _last(result.name)
    files = {f"{stem}_overlay.png": png(overlay(result.image, prediction, result.options.channel))}
    if prediction.density is not None:
        files[f"{stem}_density.tif"] = density_tiff(prediction.density, size)
    if prediction.labels is not None:
        files[f"{stem}_mask.tif"] = labels_tiff(prediction.labels, size)
        files[f"{stem}_mask.png"] = png(coloured(prediction.labels))
    if prediction.points is not None:
        files[f"{stem}_points.csv"] = points_csv(prediction.points).encode()
        files[_cell_counter_name(stem, taken)] = write_dots(prediction.points, "cell-counter", image_name)
    shapes = {f"{stem}_rois.zip": roi_zip(prediction), f"{stem}.geojson": geojson(prediction, image_name)}
    files |= {name: content for name, content in shapes.items() if content is not None}
    return files | {f"{stem}_{name}.tif": view_tiff(name, view, size) for name, view in prediction.views.items()}


def _cell_counter_name(stem: str, taken: set[str]) -> str:
    """``CellCounter_<stem>.xml``; with the method in it for the second method that counted this image."""
    name = f"CellCounter_{stem.rpartition('__')[0]}.xml"
    name = name if name.casefold() not in taken else f"CellCounter_{stem}.xml"
    taken.add(name.casefold())
    return name


def stem_of(result: Result, number: int = 1, by: str = "method") -> str:
    """``<stem>__<method>``, with which the names of an image's files begin; no part of it leads to a folder."""
    stem = _NOT_IN_NAMES.sub("_", Path(_last(result.name)).stem).lstrip(".") or "image"
    what = _NOT_IN_NAMES.sub("_", getattr(result.prediction, by))
    return f"{stem}__{what}" if number == 1 else f"{stem}-{number}__{what}"


def _last(name: str) -> str:
    """The image's own file name, where folders are in front of it to tell it from another one."""
    return name.rpartition("/")[2] or "image"


def _free(result: Result, taken: set[str], by: str) -> str:
    """`stem_of` with the first number that is free; names that differ in case alone are the same."""
    numbered = (stem_of(result, number, by) for number in count(1))
    name = next(name for name in numbered if name.casefold() not in taken)
    taken.add(name.casefold())
    return name


def archive_name(table: str, day: datetime.date | None = None) -> str:
    """``counts_<date>_<short-hash>.zip``; equal tables of one day have the same name."""
    mark = hashlib.sha256(table.encode()).hexdigest()[:8]
    return f"counts_{(day or datetime.date.today()).isoformat()}_{mark}.zip"


def archive(table: str, files: dict[str, bytes], name: str = "counts.csv") -> bytes:
    """A zip with the table under this name and the files; equal content gives equal bytes."""
    out = io.BytesIO()
    _pack(out, {name: table.encode("utf-8-sig"), **files}.items())
    return out.getvalue()


def write_archive(path: str | Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write a zip of (name, content) as they come, so that many images never lie in memory together.

    The zip is there when it is whole, or not at all.
    """
    with atomic(path) as file:
        _pack(file, files)


def all_files(results: Iterable[Result], recorder: Recorder | None = None, *, by: str = "method",
              table: str = "counts.csv") -> Iterator[tuple[str, bytes]]:
    """(name, content) of everything about these results, made as they are asked for.

    The files of each counted image, then the table, and with a recorder ``run.json`` and the regions.
    """
    taken: set[str] = set()
    rows: list[dict] = []
    for result in results:
        rows += result.rows()
        if recorder:
            recorder.add(result)
        if result.prediction is not None:
            yield from files_of(result, taken, by=by).items()
    yield table, table_csv(rows).encode("utf-8-sig")
    if recorder:
        yield from recorder.files()


def _pack(out, files: Iterable[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as box:
        for inside, content in files:
            box.writestr(zipfile.ZipInfo(inside, EPOCH), content, zipfile.ZIP_DEFLATED)
