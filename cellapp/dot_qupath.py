"""Dots of QuPath: GeoJSON, and the old zip of point lists. Pixels of the full image, origin at its corner."""

import json
import uuid

from cellapp.dot_model import Content, Dots, Gather, middle_of
from cellapp.errors import DotsError

_CELLS = ("detection", "cell")
_OLD_IDS = {"PathAnnotationObject": "annotation", "PathDetectionObject": "detection", "PathCellObject": "cell",
            "PathTileObject": "tile"}


def is_geojson(content: Content) -> bool:
    data = content.json
    if isinstance(data, dict):
        return data.get("type") in ("FeatureCollection", "Feature")
    return isinstance(data, list) and bool(data) and isinstance(data[0], dict) and "geometry" in data[0]


def read_geojson(content: Content) -> list[Dots]:
    """Points and multi-points, and the centroids of detections and cells.

    Outlines drawn by hand are counted as cells only where the file holds neither points nor detections.
    """
    data = content.json
    features = data if isinstance(data, list) else data.get("features", [data])
    points = [f for f in features if f["geometry"]["type"] in ("Point", "MultiPoint")]
    outlines = [f for f in features if f["geometry"]["type"] in ("Polygon", "MultiPolygon")]
    cells = [f for f in outlines if _object_type(f) in _CELLS]
    drawn = [f for f in outlines if _object_type(f) == "annotation"]
    gather = Gather(content.name, corner=True)
    gather.image("")
    for feature in points:
        places = feature["geometry"]["coordinates"]
        for place in [places] if feature["geometry"]["type"] == "Point" else places:
            _take(gather, feature, place)
    if cells:
        gather.note(f"{len(cells)} detections are outlines; their centres are the dots.")
    elif drawn and not points:
        gather.note(f"{len(drawn)} outlines drawn by hand are taken for cells; their centres are the dots.")
        cells = drawn
    if len(features) > len(points) + len(cells):
        gather.note(f"{len(features) - len(points) - len(cells)} objects that mark no single cell are left out, such "
                    "as regions and lines.")
    for feature in cells:
        places = feature["geometry"]["coordinates"]
        parts = [places] if feature["geometry"]["type"] == "Polygon" else places
        _take(gather, feature, middle_of([part[0] for part in parts]))
    return gather.dots()


def _object_type(feature: dict) -> str:
    """annotation, detection, cell, tile; a feature that does not say is a detection."""
    properties = feature.get("properties") or {}
    kind = properties.get("objectType") or properties.get("object_type") or _OLD_IDS.get(feature.get("id"))
    return str(kind or "detection").lower()


def _take(gather: Gather, feature: dict, place) -> None:
    kind = (feature.get("properties") or {}).get("classification") or {}
    names = kind.get("names") or [kind.get("name")]
    label = ": ".join(str(name) for name in names if name) or None
    plane = feature["geometry"].get("plane") or {}
    where = f"object {feature.get('id', '')}".strip()
    gather.add(place[0], place[1], where, label=label, plane=(plane.get("z", 0), plane.get("t", 0)))


def write_geojson(dots: Dots, image_name: str, shape) -> bytes:
    """One annotation with many points for each class, as QuPath's *Import objects* reads it."""
    features = []
    for name in dots.class_names + ((None,) if None in dots.classes else ()):
        places = [[x + 0.5, y + 0.5] for (y, x), label in zip(dots.points.tolist(), dots.classes, strict=True)
                  if label == name]
        properties = {"objectType": "annotation", "name": name or "cells"}
        if name:
            properties["classification"] = {"name": name}
        features.append({"type": "Feature", "id": str(uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([image_name, places]))),
                         "geometry": {"type": "MultiPoint", "coordinates": places}, "properties": properties})
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def read_points_text(gather: Gather, text: str) -> None:
    """One ``Points n.txt`` of QuPath's old zip: a name, a colour, a number, then one ``x<tab>y`` a line."""
    label, expected, found = None, None, 0
    for number, line in enumerate(text.splitlines(), 1):
        cells = [cell.strip() for cell in line.split("\t")]
        if cells[0] in ("Name", "Color", "Coordinates"):
            label = cells[1] if cells[0] == "Name" and len(cells) > 1 else label
            expected = int(cells[1]) if cells[0] == "Coordinates" and len(cells) > 1 else expected
        elif any(cells):
            gather.add(cells[0], cells[1] if len(cells) > 1 else None, f"line {number}", label=label)
            found += 1
    if expected is not None and found != expected:
        raise DotsError(f"{gather.name}: a list of points is cut off ({found} of {expected}); export it again.")
