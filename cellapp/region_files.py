"""Regions in files: GeoJSON as QuPath writes it, ImageJ's ``.roi`` and ``RoiSet.zip``. Told by content.

Both put the origin at the corner of the image, x before y, so half a pixel is subtracted on reading and added on
writing. What is no plain polygon is made of some: ovals get 180 corners, holes are cut open, parts become regions of
their own; a sentence says so.
"""

import io
import json
import re
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from functools import reduce
from os import PathLike
from typing import NamedTuple

import numpy as np

from cellapp.dot_model import Content, listed
from cellapp.dot_rois import members_of
from cellapp.errors import DotsError, RegionError
from cellapp.image_files import clean
from cellapp.regions import MAX_CORNERS, Region, check

MAX_REGIONS = 2_000                                          # of one file
_OVAL = 180                                                  # corners of an oval: its area is off by 0.02 %
_SPECK = 0.01                                                # of an outline's area: loops where a hand trembled
_CELLS = ("detection", "cell", "tile")                       # what QuPath found by itself, thousands of them


class RegionFile(NamedTuple):
    """What a file holds: regions whose names differ, and sentences on what is left out or was changed."""

    regions: list[Region]
    notes: list[str]


class _Drawn(NamedTuple):
    """One object of a file: its name, and rings of (x, y) that enclose what lies in an odd number of them."""

    name: str
    rings: list[np.ndarray]


def read_regions(source: str | PathLike | bytes, shape: tuple[int, int] | None = None,
                 name: str | None = None) -> RegionFile:
    """The regions of a file.

    Parameters
    ----------
    source : path or bytes
    shape : (H, W) of the image they are for; a region outside it is left out, with a sentence
    name : of the file, for the sentences

    A file that holds no usable region, or too much, is a `RegionError`.
    """
    content = Content(source, name)
    try:
        content = content.unpacked() if content.kind == "gzip" else content
        kind = content.kind
        if kind == "json":
            drawn, notes = _of_geojson(content)
        elif kind in ("roi", "zip"):
            files = [content.data] if kind == "roi" else list(members_of(content).values())
            drawn, notes = _of_rois(content.name, [data for data in files if data.startswith(b"Iout")])
        else:
            raise RegionError(f"{content.name}: it is neither GeoJSON nor ImageJ ROIs (.roi, .zip); export the regions "
                              "from QuPath or from ImageJ's ROI Manager.")
    except DotsError as error:
        raise RegionError(str(error)) from error
    if len(drawn) > MAX_REGIONS:
        raise RegionError(f"{content.name}: it has {len(drawn):,} regions, more than the {MAX_REGIONS:,} read here; "
                          "export fewer.")
    regions: list[Region] = []
    for one in drawn:
        try:
            found, said = _regions_of(one, {region.name for region in regions})
            regions += [check(region, shape) for region in found]
            notes += said
        except RegionError as error:
            notes.append(str(error))
    if not regions:
        why = listed(notes, 1) if notes else "it holds no outlines."
        raise RegionError(f"{content.name}: there is no region in it: {why}")
    return RegionFile(regions, notes)


def _of_geojson(content: Content) -> tuple[list[_Drawn], list[str]]:
    """The outlines drawn by hand; what a program found cell by cell is left out."""
    data = content.json
    features = data if isinstance(data, list) else data.get("features", [data])
    drawn, left = [], 0
    try:
        for feature in features:
            geometry, properties = feature["geometry"], feature.get("properties") or {}
            kind = str(properties.get("objectType") or properties.get("object_type") or "annotation").lower()
            if geometry["type"] not in ("Polygon", "MultiPolygon") or kind in _CELLS:
                left += 1
                continue
            parts = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
            label = properties.get("name") or (properties.get("classification") or {}).get("name") or ""
            drawn.append(_Drawn(str(label), [np.array([[float(x), float(y)] for x, y, *_ in ring])
                                             for part in parts for ring in part]))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise RegionError(f"{content.name}: this is no GeoJSON of regions, or it is damaged; export it "
                          "again.") from error
    note = f"{left} objects that are no regions drawn by hand (points, lines, cells) are left out."
    return drawn, [note] if left else []


def _of_rois(name: str, files: list[bytes]) -> tuple[list[_Drawn], list[str]]:
    from roifile import ROI_TYPE, ImagejRoi

    areas = (ROI_TYPE.POLYGON, ROI_TYPE.RECT, ROI_TYPE.OVAL, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED)
    try:
        rois = [ImagejRoi.frombytes(data) for data in files]
        drawn = [_Drawn(roi.name or "", _rings_of(roi)) for roi in rois if roi.roitype in areas]
    except Exception as error:                               # roifile raises anything on a damaged file
        raise RegionError(f"{name}: an ImageJ ROI in it is damaged or cut off; save it again.") from error
    left = len(rois) - len(drawn)
    return drawn, [f"{left} ROIs that enclose nothing (points, lines) are left out."] if left else []


def _rings_of(roi) -> list[np.ndarray]:
    from roifile import ROI_TYPE

    if roi.roitype in (ROI_TYPE.RECT, ROI_TYPE.OVAL) and not roi.composite:
        left, top, right, bottom = roi.left, roi.top, roi.right, roi.bottom
        if roi.subpixelrect:
            left, top, right, bottom = roi.xd, roi.yd, roi.xd + roi.widthd, roi.yd + roi.heightd
        if roi.roitype == ROI_TYPE.OVAL:
            angles = np.linspace(0, 2 * np.pi, _OVAL, endpoint=False)
            turned = np.stack([np.cos(angles), np.sin(angles)], axis=1)
            return [np.array([left + right, top + bottom]) / 2 + turned * np.array([right - left, bottom - top]) / 2]
        return [np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)]
    return [np.asarray(ring, np.float64) for ring in roi.coordinates(multi=True)]


def _regions_of(drawn: _Drawn, taken: set[str]) -> tuple[list[Region], list[str]]:
    """One object as one region, or as several that make it up."""
    import shapely

    name = _free(clean(drawn.name, 60).strip() or "Region", taken)
    simple = Region(name, "polygon", _to_yx(drawn.rings[0]) if drawn.rings else ())
    if len(drawn.rings) == 1:
        try:
            return [_as_box(check(simple))], []
        except RegionError:
            if len(simple.outline) < 3 or len(simple.outline) > MAX_CORNERS or not np.isfinite(simple.outline).all():
                raise
    rings = [ring for ring in drawn.rings if len(ring) > 2 and np.isfinite(ring).all()]
    if sum(map(len, rings)) > MAX_CORNERS:
        raise RegionError(f"Region {name!r} has more than {MAX_CORNERS:,} corners; simplify it.")
    areas = [shapely.MultiPolygon(_polygons(shapely.make_valid(shapely.Polygon(ring)))) for ring in rings]
    area = reduce(shapely.symmetric_difference, areas, shapely.MultiPolygon())
    parts = [part for part in _without_holes(area) if part.area > _SPECK * area.area]
    if not parts:
        check(simple)                                        # says what is wrong
        raise RegionError(f"Region {name!r} encloses nothing; draw it again.")
    outlines = [_to_yx(np.array(part.exterior.coords)[:-1]) for part in parts]
    if len(parts) == 1:
        return [_as_box(Region(name, "polygon", outlines[0]))], [f"The outline of region {name!r} crossed itself in "
                                                                 "specks, which are left out."]
    regions = [Region(_free(f"{name} part {k}", taken), "polygon", outline) for k, outline in enumerate(outlines, 1)]
    return regions, [f"Region {name!r} has holes, crossings or several parts, so it is read as {len(parts)} regions, "
                     "which make it up."]


def _without_holes(area) -> Iterator:
    """The polygons of a shapely geometry; one with a hole is cut in two through it, until none is left."""
    import shapely

    for part in _polygons(area):
        if not part.interiors:
            yield part
            continue
        left, bottom, right, top = part.bounds
        middle = part.interiors[0].centroid.x
        for half in (shapely.box(left, bottom, middle, top), shapely.box(middle, bottom, right, top)):
            yield from _without_holes(part.intersection(half))


def _polygons(geometry) -> list:
    """The polygons in a shapely geometry, also those inside its collections."""
    import shapely

    return [part for part in shapely.get_parts(shapely.get_parts(geometry)) if part.geom_type == "Polygon"]


def _to_yx(ring: np.ndarray) -> np.ndarray:
    return ring[:, ::-1] - 0.5


def _as_box(region: Region) -> Region:
    """A rectangle with upright sides is a box, its corners from the top left clockwise."""
    low, high = region.outline.min(axis=0), region.outline.max(axis=0)
    corners = np.array([low, (low[0], high[1]), high, (high[0], low[1])])
    same = len(region.outline) == 4 and {*map(tuple, corners)} == {*map(tuple, region.outline)}
    return Region(region.name, "box", corners) if same else region


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number if another region has it: the table tells regions apart by their names."""
    if name not in taken:
        return name
    return next(f"{name} {k}" for k in range(2, len(taken) + 3) if f"{name} {k}" not in taken)


def write_regions(regions: Sequence[Region]) -> bytes:
    """GeoJSON that QuPath imports: an annotation for each region, with its name."""
    features = []
    for region in regions:
        ring = [[x + 0.5, y + 0.5] for y, x in region.outline.tolist()]
        mark = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([region.name, ring]))
        features.append({"type": "Feature", "id": str(mark),
                         "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
                         "properties": {"objectType": "annotation", "name": region.name}})
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def write_roi_zip(regions: Sequence[Region]) -> bytes:
    """ROIs that ImageJ's ROI Manager opens, positions to a fraction of a pixel (float32)."""
    from roifile import ROI_TYPE, ImagejRoi

    if not regions:
        raise RegionError("There are no regions, and ImageJ has no set of ROIs without a ROI; draw one first.")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as box:
        for number, region in enumerate(regions, start=1):
            roi = ImagejRoi.frompoints((region.outline[:, ::-1] + 0.5).astype(np.float32), name=region.name)
            roi.roitype = ROI_TYPE.POLYGON
            safe = re.sub(r"[^\w .-]+", "_", region.name)[:80]  # the name itself is inside
            box.writestr(zipfile.ZipInfo(f"{number:04d} {safe}.roi", (2000, 1, 1, 0, 0, 0)), roi.tobytes(),
                         zipfile.ZIP_DEFLATED)
    return out.getvalue()
