"""Dots of the VGG Image Annotator (VIA): its CSV and its JSON, whole or inside a project file.

Places are measured on the picture from its corner; one table or file serves many images.
"""

import csv
import io
import json
from collections.abc import Iterator

from cellapp.dot_model import Content, Dots, Gather, centroid
from cellapp.errors import DotsError

_SHAPES = "region_shape_attributes"


def is_via(content: Content) -> bool:
    if content.kind == "text":
        return _SHAPES in content.start.partition("\n")[0]
    data = content.json
    return isinstance(data, dict) and bool(_pictures(data)) and all(
        isinstance(row, dict) and {"filename", "regions"} <= row.keys() for row in _pictures(data).values())


def read_via(content: Content) -> list[Dots]:
    """Points as they are, of boxes, circles, ellipses and polygons the middle; an image without regions has no dots."""
    gather = Gather(content.name, corner=True)
    rows = _in_table(content) if content.kind == "text" else _in_json(content.json)
    for where, name, shape, about in rows:
        image = gather.image(name)
        if not shape:
            continue
        middle = _middle(shape)
        if middle is None:
            gather.note(f"Shapes of the kind {shape.get('name')} are no cells and are left out.", image)
            continue
        gather.add(*middle, where, image=image, label=_class_of(about))
    return gather.dots()


def _in_table(content: Content) -> Iterator[tuple[str, str, dict, dict]]:
    """(place, image, shape, attributes) of the lines of a CSV; those of an image without regions have no shape."""
    reader = csv.DictReader(io.StringIO(content.data.decode(content.encoding, "replace"), newline=""))
    try:
        for row in reader:
            where = f"line {reader.line_num}"
            name = row.get("filename") or row.get("#filename")
            if not name:
                raise DotsError(f"{content.name}: {where} names no image; export the annotations again.")
            yield where, name, json.loads(row[_SHAPES] or "{}"), json.loads(row.get("region_attributes") or "{}")
    except (csv.Error, json.JSONDecodeError) as error:
        raise DotsError(f"{content.name}: line {reader.line_num} is not as VIA writes it ({error}); export the "
                        "annotations again.") from error


def _pictures(data: dict) -> dict:
    """The images of a file: by themselves, or in a project."""
    inside = data.get("_via_img_metadata", data)
    return inside if isinstance(inside, dict) else {}


def _in_json(data: dict) -> Iterator[tuple[str, str, dict, dict]]:
    for row in _pictures(data).values():
        regions = row["regions"].values() if isinstance(row["regions"], dict) else row["regions"]   # VIA 1 numbers them
        yield "", row["filename"], {}, {}
        for number, region in enumerate(regions, 1):
            yield (f"region {number} of {row['filename']}", row["filename"], region["shape_attributes"],
                   region.get("region_attributes") or {})


def _middle(shape: dict) -> tuple | None:
    """(x, y) of the cell that a shape marks; None for a line."""
    kind = shape["name"]
    if kind in ("point", "circle", "ellipse"):
        return shape["cx"], shape["cy"]
    if kind == "rect":
        return shape["x"] + shape["width"] / 2, shape["y"] + shape["height"] / 2
    if kind == "polygon":
        return centroid(zip(shape["all_points_x"], shape["all_points_y"], strict=True))[:2]
    return None


def _class_of(about: dict) -> str | None:
    """The first attribute that says something: a word, or the options that are ticked."""
    for value in about.values():
        if isinstance(value, dict):
            value = ", ".join(name for name, ticked in value.items() if ticked)
        if value not in (None, ""):
            return str(value)
    return None
