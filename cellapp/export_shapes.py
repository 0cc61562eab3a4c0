"""Cells as shapes for other programs: ImageJ's ROI Manager and QuPath. Outlines where there are labels, else points.

Here x comes before y, and the origin is the corner of the image: pixel centres lie at + 0.5.
"""

import io
import json
import uuid
import zipfile
from collections.abc import Iterator

import numpy as np

from cellapp.dot_model import centroid
from cellapp.dots import write_dots
from cellapp.overlays import outlines
from cellapp.prediction import Prediction

EPOCH = (2000, 1, 1, 0, 0, 0)                                # in zips: equal content gives equal bytes


def roi_zip(prediction: Prediction) -> bytes | None:
    """A ``RoiSet.zip``: a polygon for each label, or else one multi-point ROI; None without any cell."""
    if prediction.points is None or not len(prediction.points):
        return None
    if prediction.labels is None:
        return write_dots(prediction.points, "roi-zip")
    from roifile import ROI_TYPE, ImagejRoi

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as box:
        for number, corners in _polygons(prediction.labels):
            roi = ImagejRoi.frompoints(corners.astype(np.float32), name=f"cell-{number}")
            roi.roitype = ROI_TYPE.POLYGON
            box.writestr(zipfile.ZipInfo(f"{number:06d}.roi", EPOCH), roi.tobytes(), zipfile.ZIP_DEFLATED)
    return out.getvalue()


def geojson(prediction: Prediction, image_name: str) -> bytes | None:
    """QuPath's GeoJSON: a detection for each label, or else one annotation with all points; None without places."""
    if prediction.points is None:
        return None
    if prediction.labels is None:
        return write_dots(prediction.points, "geojson", image_name)
    features = [{
        "type": "Feature", "id": str(uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([image_name, number]))),
        "geometry": {"type": "Polygon", "coordinates": [[*corners.tolist(), corners[0].tolist()]]},
        "properties": {"objectType": "detection", "name": f"cell-{number}"},
    } for number, corners in _polygons(prediction.labels)]
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def _polygons(labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each label with the corners (V, 2), (x, y), of its largest outline: neither format has cells in parts here."""
    largest: dict[int, tuple[float, np.ndarray]] = {}
    for number, line in outlines(labels):
        corners = np.round(line[:-1, ::-1] + 0.5, 2)
        area = centroid(corners)[2]
        if number not in largest or area > largest[number][0]:
            largest[number] = area, corners
    for number in sorted(largest):
        yield number, largest[number][1]
