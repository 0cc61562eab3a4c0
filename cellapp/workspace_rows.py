"""A `Result` as JSON, for the disk: all but pixels and maps, which lie beside it as arrays."""

from dataclasses import asdict, fields

import numpy as np

from cellapp.batch import Result
from cellapp.calibration_row import RegionErrors
from cellapp.image import Image
from cellapp.methods import Options
from cellapp.prediction import Interval, Prediction

_MAPS = ("density", "labels", "views")


def to_json(result: Result) -> dict:
    """What `from_json` needs; regions, exclusions and dots are no part of a count and are left out."""
    kept = {"name": result.name, "status": result.status, "message": result.message, "method": result.method,
            "weights": result.weights}
    if result.image is not None:
        kept["image"] = _fields(result.image, but=("pixels",)) | {"shape": list(result.image.pixels.shape)}
    if result.prediction is not None:
        p = result.prediction
        kept["prediction"] = _fields(p, but=("points", "interval", "region_errors", *_MAPS)) | {
            "points": None if p.points is None else np.asarray(p.points, float).tolist(),
            "interval": p.interval and asdict(p.interval),
            "region_errors": p.region_errors and p.region_errors.model_dump(mode="json")}
    if result.options is not None:
        kept["options"] = result.options.model_dump(mode="json")
    return kept


def from_json(kept: dict) -> Result:
    """The result without pixels and maps, as `Result.without_arrays` gives it.

    Raises `KeyError`, `TypeError` or `ValueError` for what another version wrote in another form.
    """
    image = prediction = None
    if "image" in kept:
        about = dict(kept["image"])
        pixels = np.broadcast_to(np.uint8(0), tuple(about.pop("shape")))
        image = Image(pixels=pixels, **_tuples(about))
    if "prediction" in kept:
        about = dict(kept["prediction"])
        points, interval = about.pop("points"), about.pop("interval")
        errors = about.pop("region_errors", None)
        prediction = Prediction(points=None if points is None else np.array(points, float).reshape(-1, 2),
                                interval=interval and Interval(**interval),
                                region_errors=errors and RegionErrors(**errors), **_tuples(about))
    options = Options(**kept["options"]) if "options" in kept else None
    return Result(kept["name"], kept["status"], kept["message"], image, prediction, options, kept["method"],
                  kept["weights"])


def _fields(thing, but: tuple[str, ...]) -> dict:
    return {f.name: _plain(getattr(thing, f.name)) for f in fields(thing) if f.name not in but}


def _plain(value):
    """Numbers as networks give them (``np.float32``) are no JSON."""
    return value.item() if isinstance(value, np.generic) else value


def _tuples(about: dict) -> dict:
    """JSON knows lists alone; inside, sequences are tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in about.items()}
