"""Dot annotations: one dot, one cell. The one place (with `export`) where x comes before y.

Read here: dot masks (PNG, one pixel a cell, any of the first channel's values above half of its maximum)
and CSV files whose header names the two coordinates. Written here: CSV ``x,y``.
"""

import csv
import io
import re
from pathlib import Path

import numpy as np

from cellapp.errors import DotsError
from cellapp.image import read_image

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"}
DOT_SUFFIXES = {".png", ".csv"}
_HEADERS = (("y", "x"), ("axis-0", "axis-1"))               # both as (row, column)
_LABELS = re.compile(r"[_-]labels?$", re.IGNORECASE)         # a label mask, as `simulate` writes beside its images
_DECORATION = re.compile(r"[_-]?(dots|dot|cells|cell|points|point|labels|annotation)(?=$|_)", re.IGNORECASE)


def read_dots(path: str | Path) -> np.ndarray:
    """Read one file of dots: ``(N, 2)`` float64, ``(y, x)`` in pixels.

    A dot mask gives one dot per set pixel, never one per connected component: touching pixels are
    separate cells. Raises `DotsError` with the row number for anything that is not a number.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        return _from_csv(path)
    mask = read_image(path).pixels
    mask = mask[..., 0] if mask.ndim == 3 else mask
    top = mask.max()
    return np.argwhere(mask > top / 2).astype(np.float64) if top else np.empty((0, 2))


def _from_csv(path: Path) -> np.ndarray:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DotsError(f"{path.name}: cannot be read as text ({error}); save it as a UTF-8 CSV.") from error
    rows = csv.reader(io.StringIO(text), delimiter=";" if ";" in text.partition("\n")[0] else ",")
    try:
        header = [cell.strip().lower() for cell in next(rows, [])]
        if "axis-2" in header:
            raise DotsError(f"{path.name}: these points are 3-D (there is a column axis-2); export those of one plane.")
        for row_name, column_name in _HEADERS:
            if row_name in header and column_name in header:
                return _coordinates(path.name, rows, header.index(row_name), header.index(column_name))
    except csv.Error as error:
        raise DotsError(f"{path.name}: line {rows.line_num} is not CSV ({error}); save the table again.") from error
    raise DotsError(f"{path.name}: no columns named x and y (found: {', '.join(header) or 'nothing'}); "
                    "name the coordinate columns x and y in the first line.")


def _coordinates(name: str, rows, row_column: int, column_column: int) -> np.ndarray:
    points = []
    for line, row in enumerate(rows, start=2):
        if not any(cell.strip() for cell in row):
            continue
        try:
            point = float(row[row_column]), float(row[column_column])
        except (ValueError, IndexError):
            raise DotsError(f"{name}: line {line} has no two numbers ({','.join(row)[:40]}); "
                            "write decimals with a point and leave no coordinate empty.") from None
        if not np.isfinite(point).all():
            raise DotsError(f"{name}: line {line} is not finite ({','.join(row)[:40]}); remove that line.")
        points.append(point)
    return np.array(points, dtype=np.float64).reshape(-1, 2)


def points_csv(points: np.ndarray) -> str:
    """The text of a CSV file, header ``x,y``, one line per point; `read_dots` gives back exactly the same numbers."""
    def number(value: float) -> str:
        return np.format_float_positional(value, trim="-")   # all digits: a rounded dot may lie outside

    return "x,y\n" + "".join(f"{number(x)},{number(y)}\n" for y, x in points)


def image_files(folder: Path) -> list[Path]:
    """The images in a folder, sorted by name; label masks (``*_labels.png``) are not images to count."""
    return sorted(p for p in folder.iterdir()
                  if p.suffix.lower() in IMAGE_SUFFIXES and not _LABELS.search(p.stem))


def pair(images: str | Path, dots: str | Path | None = None) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Match the images of one folder with the dot files of another (or of the same one) by name.

    Exact stem first, then the stem without a decoration such as ``cell``, ``_dots`` or ``-points``
    (``001cell.png`` and ``001dots.png``); never by order. Returns the pairs, sorted by image name, and
    the images that have no dots.
    """
    images, dots = Path(images), Path(dots or images)
    for folder in (images, dots):
        if not folder.is_dir():
            raise DotsError(f"{folder}: there is no such folder; give the folder that holds the files.")
    same = images.resolve() == dots.resolve()
    files = image_files(images)
    annotations = sorted(p for p in dots.iterdir() if p.suffix.lower() in DOT_SUFFIXES)
    if same:
        annotations = [p for p in annotations if p.suffix.lower() == ".csv" or "dot" in p.stem.lower()]
        files = [p for p in files if p not in set(annotations)]
    by_stem = {p.stem: p for p in annotations}
    by_core = {_core(p.stem): p for p in annotations}
    pairs, alone = [], []
    for path in files:
        match = by_stem.get(path.stem) or by_core.get(_core(path.stem))
        if match:
            pairs.append((path, match))
        else:
            alone.append(path)
    return pairs, alone


def _core(stem: str) -> str:
    return _DECORATION.sub("", stem).lower()
