"""Dots in tables: CSV and TSV of napari, BiaPy, Spotiflow, ImageJ, QuPath, Excel and scripts.

Every table names its columns in the first line. Tables are read line by line, so that a huge one ends at the
limit of dots and not at the limit of the memory. Integers name the pixels, but for QuPath's TSV, whose origin
is the corner of the image.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cellapp.dot_model import Content, Dots, Gather, listed
from cellapp.errors import DotsError

COORDINATES = (("y", "x"), ("axis-0", "axis-1"), ("row", "column"), ("row", "col"), ("centroid-0", "centroid-1"))
IMAGES = ("image", "image_name", "image name", "filename", "file_name", "file name", "file")
CLASSES = ("class", "classification", "label", "category", "type", "cell_type", "counter", "channel")
COUNTS = ("count", "counts", "cells", "n_manual", "manual", "number", "n")
_COUNTER = re.compile(r"ctr \d+")
PLANES = ("slice", "z", "t", "frame")
_SUMMARY = {"mean", "sd", "min", "max"}                     # rows that ImageJ's Summarize adds
_FORMULA = ("=", "+", "-", "@", "\t")
_LINE = 2**20                                               # characters of a line that are read at a time
NO_SCALE = ("X and Y are taken for pixels; if the image had a scale, they are not: give its pixel size, or choose "
            "Analyze > Set Scale > Click to Remove Scale in ImageJ and measure again.")


@dataclass(frozen=True)
class Columns:
    """Where a table has what: indices into its rows, None where it has no such column."""

    header: list[str]
    y: int
    x: int
    image: int | None
    label: int | None
    planes: list[int]
    area: int | None = None


def is_imagej(content: Content) -> bool:
    """A Results table of ImageJ: the first column, which numbers the rows, has no name."""
    header = _first(content)
    return len(header) > 1 and header[0] == "" and {"x", "y"} <= set(header)


def is_qupath(content: Content) -> bool:
    """Points as QuPath writes them: tabs, also after the last column, and a colour."""
    header = _first(content)
    return content.kind == "text" and header[:2] == ["x", "y"] and ("color" in header or header[-1] == "") \
        and "\t" in content.start.partition("\n")[0]


def is_napari(content: Content) -> bool:
    """A points layer of napari, or BiaPy's detections."""
    return "axis-0" in _first(content)


def is_text(content: Content) -> bool:
    """Text that is neither XML nor JSON; the last guess."""
    return content.kind == "text" and (b"\0" not in content.head or content.encoding == "utf-16")


def read_table(content: Content) -> list[Dots]:
    """A table with columns such as ``x,y``, ``y,x`` or ``axis-0,axis-1``, maybe with an image and a class."""
    gather = Gather(content.name)
    for line, row, columns in _rows(content, IMAGES, CLASSES):
        _take(gather, line, row, columns)
    return gather.dots() or [Dots(np.empty((0, 2)))]


def is_counts(content: Content) -> bool:
    """A table without places that says how many cells an image has: ``image,count``, or ImageJ's ``Counts_…``."""
    header = _first(content)
    places = any(y in header and x in header for y, x in COORDINATES)
    return is_text(content) and not places and (bool({*COUNTS} & {*header}) or any(map(_COUNTER.fullmatch, header)))


def read_counts(content: Content) -> dict[str, float]:
    """Image → number of cells, of a table that `is_counts`; "" where it names no image.

    ImageJ's counters (``Ctr 0``, ``Ctr 1``, …) are added up, and so are its slices.
    """
    with io.TextIOWrapper(content.open(), encoding=content.encoding, newline="") as text:
        lines = [line for line in text.read(_LINE * 16).splitlines() if line.strip()]
    lines = lines[1:] if lines[0].lower().startswith("sep=") else lines
    delimiter = _delimiter(lines[0])
    header = [cell.strip().lower() for cell in _cells(lines[0], delimiter)]
    name = next((header.index(word) for word in IMAGES if word in header), None)
    of_imagej = [k for k, word in enumerate(header) if _COUNTER.fullmatch(word)]
    places = of_imagej or [next(header.index(word) for word in COUNTS if word in header)]
    found: dict[str, float] = {}
    for number, row in enumerate(csv.reader(lines[1:], delimiter=delimiter), 2):
        row = [cell.strip() for cell in row] + [""] * len(header)
        if of_imagej and "total" in (cell.lower() for cell in row[: places[0]]):
            continue
        try:
            values = [float(row[k].replace(",", ".") or "nan") for k in places]
        except ValueError:
            values = [float("nan")]
        if not all(np.isfinite(values)) or min(values) < 0:
            raise DotsError(f"{content.name}: line {number} has no number of cells ({delimiter.join(row)[:40]}); write "
                            "one number of at least 0 a line.")
        image = "" if name is None else _without_mark(row[name])
        if image in found and not of_imagej:
            raise DotsError(f"{content.name}: line {number} gives a second count of {image or 'the image'}; leave one.")
        found[image] = found.get(image, 0.0) + sum(values)
    return found


def read_qupath_points(content: Content) -> list[Dots]:
    """QuPath's points as TSV: pixels of the full image, origin at its corner."""
    gather = Gather(content.name, corner=True)
    for line, row, columns in _rows(content, (), ("class",)):
        _take(gather, line, row, columns)
    return gather.dots() or [Dots(np.empty((0, 2)))]


def read_imagej(content: Content) -> list[Dots]:
    """A Results table of ImageJ or of Fiji's Cell Counter.

    Points name pixels; the centroids of particles (rows with an area) are measured from the image's corner. With
    ``content.pixel_size`` X and Y are in its unit, as in an image with a scale.
    """
    gather, fractions, summary = Gather(content.name), False, False
    for line, row, columns in _rows(content, ("label", *IMAGES), ("counter", "type")):
        if columns.image is not None and row[columns.image].strip().lower() in _SUMMARY:
            summary = True
            continue
        y, x = row[columns.y].strip(), row[columns.x].strip()
        fractions |= not (y.isdecimal() and x.isdecimal())
        if columns.image is not None:                       # image:roi:slice
            row[columns.image] = row[columns.image].partition(":")[0]
        of_area = columns.area is not None and row[columns.area].strip(" 0.") != ""
        _take(gather, line, row, columns, shift=0.5 if of_area else 0.0, unit=content.pixel_size or 1.0)
    if summary:
        gather.note_all("The rows Mean, SD, Min and Max of the table are left out.")
    if content.pixel_size:
        gather.note_all(f"X and Y are divided by the pixel size of {content.pixel_size:g}.")
    elif fractions:
        gather.note_all(NO_SCALE)
    return gather.dots() or [Dots(np.empty((0, 2)))]


def _take(gather: Gather, line: int, row: list[str], columns: Columns, shift: float = 0.0, unit: float = 1.0) -> None:
    point, shown = [], ",".join(row)[:40]
    for cell in (row[columns.x], row[columns.y]):
        try:
            point.append(float(cell) / unit - shift)
        except ValueError:
            raise DotsError(f"{gather.name}: line {line} has no two numbers ({shown}); write decimals with a point "
                            "and leave no coordinate empty.") from None
    if not np.isfinite(point).all():
        raise DotsError(f"{gather.name}: line {line} is not finite ({shown}); remove that line.")
    image = "" if columns.image is None else row[columns.image].strip()
    label = None if columns.label is None else _without_mark(row[columns.label].strip())
    plane = tuple(row[k].strip() for k in columns.planes) or None
    gather.add(*point, f"line {line}", image=image, label=label, plane=plane)


def _rows(content: Content, images: tuple, classes: tuple) -> Iterator[tuple[int, list[str], Columns]]:
    """The rows that hold something: (line number, cells filled up to the header's length, columns)."""
    columns, comma = None, False
    with io.TextIOWrapper(content.open(), encoding=content.encoding, newline="") as text:
        lines = iter(lambda: text.readline(_LINE), "")      # a line of a gigabyte comes in pieces
        try:
            first = next(lines, "")
            skipped = first.lower().startswith("sep=")      # Excel's own first line
            first = next(lines, "") if skipped else first
            delimiter = _delimiter(first)
            columns = _columns(content.name, _cells(first, delimiter), images, classes)
            comma = delimiter != ","
            rows = csv.reader(lines, delimiter=delimiter)
            for row in rows:
                if not any(cell.strip() for cell in row):
                    continue
                number = rows.line_num + 1 + skipped
                yield number, _whole(content.name, number, row, columns, comma), columns
        except csv.Error as error:
            line = rows.line_num + 1 if columns else 1
            raise DotsError(f"{content.name}: line {line} is not CSV ({error}); save the table again.") from error
        except UnicodeError as error:
            raise DotsError(f"{content.name}: cannot be read as text ({error}); save it as a UTF-8 CSV.") from error


def _whole(name: str, line: int, row: list[str], columns: Columns, decimal_comma: bool) -> list[str]:
    """The row with a cell for every column, and with decimal points."""
    size = len(columns.header)
    if any(cell.strip() for cell in row[size:]):
        raise DotsError(f"{name}: line {line} has more cells than the first line has names ({','.join(row)[:40]}); if "
                        "decimals are written with a comma, put ; between the columns.")
    row = row[:size] + [""] * (size - len(row))
    for k in (columns.y, columns.x):
        if decimal_comma and row[k].count(",") == 1 and "." not in row[k]:
            row[k] = row[k].replace(",", ".")
    return row


def _first(content: Content) -> list[str]:
    """The names in the first line, in lower case."""
    lines = content.head.decode(content.encoding, "replace").splitlines()
    lines = lines[1:] if lines and lines[0].lower().startswith("sep=") else lines
    try:
        return [cell.strip().lower() for cell in _cells(lines[0], _delimiter(lines[0]))] if lines else []
    except csv.Error:
        return []


def _delimiter(line: str) -> str:
    return next((mark for mark in "\t;" if mark in line), ",")


def _cells(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


def _columns(name: str, cells: list[str], images: tuple, classes: tuple) -> Columns:
    header = [cell.strip().lower() for cell in cells]

    def find(names: tuple) -> int | None:
        return next((header.index(word) for word in names if word in header), None)

    if "axis-2" in header:
        raise DotsError(f"{name}: these points are 3-D (there is a column axis-2); export those of one plane.")
    for y, x in COORDINATES:
        if y in header and x in header:
            return Columns(header, header.index(y), header.index(x), find(images), find(classes),
                           [header.index(word) for word in PLANES if word in header], find(("area",)))
    found = listed(filter(None, header), 20)[:300] or "nothing"
    if "count" in header or "counts" in header:
        raise DotsError(f"{name}: this table holds counts, not the places of the cells (found: {found}); give a table "
                        "with the columns x and y.")
    raise DotsError(f"{name}: no columns named x and y (found: {found}); name the coordinate columns x and y in the "
                    "first line.")


def points_csv(points: np.ndarray) -> str:
    """The text of a CSV file, header ``x,y``, one line per point; reading it gives back exactly the same numbers."""
    return "x,y\n" + "".join(f"{_number(x)},{_number(y)}\n" for y, x in points)


def write_csv(dots: Dots, image_name: str, shape) -> bytes:
    """``x,y``, and the class where there are classes."""
    if not dots.class_names:
        return points_csv(dots.points).encode()
    rows = ((_number(x), _number(y), spreadsheet_text(label or ""))
            for (y, x), label in zip(dots.points, dots.classes, strict=True))
    return _csv(("x", "y", "class"), rows)


def write_napari(dots: Dots, image_name: str, shape) -> bytes:
    """A points layer as napari saves and opens it: ``index,axis-0,axis-1``, axis 0 being the row."""
    named = bool(dots.class_names)
    rows = ((k, _number(y), _number(x), *([spreadsheet_text(label or "")] if named else []))
            for k, ((y, x), label) in enumerate(zip(dots.points, dots.classes, strict=True)))
    return _csv(("index", "axis-0", "axis-1", *(["label"] if named else [])), rows)


def _csv(header, rows) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue().encode()


def _number(value: float) -> str:
    return np.format_float_positional(value, trim="-")      # all digits: a rounded dot may lie outside


def spreadsheet_text(text: str) -> str:
    """One line of text with a ``'`` before it where a spreadsheet would run it as a formula."""
    text = " ".join(text.splitlines())                      # the csv module leaves a lone \r unquoted
    # Spreadsheets skip spaces, also no-break ones, before they look for a formula.
    return "'" + text if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


def _without_mark(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].lstrip().startswith(_FORMULA) else text
