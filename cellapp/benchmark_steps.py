"""The two steps of a benchmark, each kept by what it depends on: one training, and counting images with one network."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellapp import weights as store
from cellapp.agreement import Line, compare
from cellapp.checkpoint import best_state
from cellapp.conformal import fewest
from cellapp.data import Dotted, seen, typical_diameter, uprighted, zoomed
from cellapp.errors import DotsError
from cellapp.files import write_atomic
from cellapp.image import Image
from cellapp.methods import Counter, find_method
from cellapp.metrics import Detection
from cellapp.polarity import BRIGHT, DARK, of_images, upright
from cellapp.scale import TOLERATED, diameter_at
from cellapp.training import train
from cellapp.verify import calibrated, publish

if TYPE_CHECKING:
    from cellapp.benchmark import Entry, Plan

EXAMPLE = "vgg-cells-1-000.png"


@dataclass(frozen=True)
class Counted:
    """What one entry said of the test images of one draw, and what it took.

    level : of the intervals; how : where they come from, or why there are none, in words
    seconds : of each image; sds : the network's own deviations, where it states them
    constant : half the width of intervals that are all the same, from the same errors
    weights : the id of the weights that counted, "" for baselines
    """

    lines: tuple[Line, ...]
    level: float | None
    seconds: tuple[float, ...]
    constant: float | None = None
    how: str = ""
    sds: tuple[float | None, ...] = ()
    weights: str = ""


def trained(entry: "Entry", learn: Sequence[Dotted], choose: Sequence[Dotted], seed: int, folder: Path, device: str,
            told: Callable[[int, int], None], level: float | None) -> str:
    """Train on ``learn``, or take what was trained before; the id in the run's own manifest.

    Images are learnt from and read at the scale at which they come, as in the papers, or where the weights to begin
    with know cells of another size or polarity, as those know them.
    level : of the intervals from the errors on ``choose``, where these suffice; None without any
    """
    config = entry.config.model_copy(update={"seed": seed})
    begin = store.find(entry.start) if entry.start else None
    depends = json.dumps(["as known", config.model_dump(), entry.build, begin and begin.sha256,
                          [content(item) for item in learn], [content(item) for item in choose]])
    name = f"{config.method}-n{len(learn)}-{hashlib.sha256(depends.encode()).hexdigest()[:12]}"
    where = folder / "weights"
    if name not in store.manifest(where):
        learnt, chosen, about = _as_known(list(learn), list(choose), begin)
        for progress in train(learnt, chosen, config, folder / "trainings" / name, build=entry.build, device=device,
                              start=store.read_state(begin) if begin else None):
            told(progress.epoch, progress.epochs)
        best, settings = best_state(folder / "trainings" / name)
        publish(best, EXAMPLE, where, id=name, title=entry.title, method=config.method, sigma=config.sigma,
                build=entry.build, map_scale=find_method(config.method).map_scale, settings=settings,
                trained_on=f"{len(learn)} images of a benchmark", parent=entry.start or None, licence="not stated",
                training=config.model_dump() | {"n_train": len(learn), "n_val": len(choose)}, **about)
    _calibrate(store.find(name, where), choose, where, level)
    return name


def _calibrate(row: store.Weights, choose: Sequence[Dotted], where: Path, level: float | None) -> None:
    """With intervals of this level from the errors on the images that chose the epoch, or without any."""
    known = row.calibration
    if level is not None and len(choose) >= fewest(level):
        if known is None or known.level != level:
            calibrated(row, list(choose), where, level)
    elif known is not None:
        store.replace(row.model_copy(update={"calibration": None}), where)


def _as_known(learn: list[Dotted], choose: list[Dotted],
              begin: store.Weights | None) -> tuple[list[Dotted], list[Dotted], dict]:
    """The images as they are learnt from, and what the row says of them, such as by what size they are read."""
    try:
        diameter = typical_diameter(learn)
    except DotsError:                                        # nothing to estimate it from; it only names the scale
        diameter = begin.input.cell_diameter if begin else 12.0
    at_dots = [d for item in learn if item.points is not None and (d := diameter_at(upright(item.image), item.points))]
    if begin is None or not at_dots:
        about = seen(learn, diameter)
        about["input"] |= {"image_diameter": diameter}       # so that no image is resized
        return learn, choose, about
    diameter, trained = float(np.median(at_dots)), begin.input.cell_diameter
    diameter = trained if 1 / TOLERATED <= diameter / trained <= TOLERATED else diameter
    turned = begin.input.polarity == BRIGHT and of_images(item.image for item in learn) == DARK
    learn, choose = ([zoomed(uprighted(item) if turned else item, trained / diameter) for item in part]
                     for part in (learn, choose))
    about = seen(learn, trained, turned)
    about["input"] |= {"image_diameter": diameter}
    return learn, choose, about


def content(item: Dotted) -> str:
    """Names an image with its truth."""
    digest = hashlib.sha256(f"{item.name} {item.image.shape} {item.known}".encode())
    for array in (item.image, item.points):
        digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def count_items(counter: Counter, items: Sequence[Dotted], plan: "Plan", cache: Path,
                told: Callable[[int, int], None] = lambda done, total: None) -> Counted:
    """Count and compare images, or take what ``cache`` has of the same weights, image, truth and options."""
    lines, seconds, sds, level = [], [], [], None
    for k, item in enumerate(items):
        told(k, len(items))
        path = cache / f"{key_of(counter.weights, item, plan)}.json"
        kept = _kept(path)
        if kept is None:
            prediction = counter.predict(Image.from_array(item.image), plan.options)
            line = compare(item.name, prediction, item.truth, plan.distance)
            kept = {"line": asdict(line), "seconds": prediction.seconds, "sd": prediction.sd,
                    "level": prediction.interval and prediction.interval.level}
            write_atomic(path, json.dumps(kept))
        lines.append(_line(kept["line"]))
        seconds.append(kept["seconds"])
        sds.append(kept.get("sd"))
        level = level or kept["level"]
    told(len(items), len(items))
    known = counter.weights.calibration
    how = f"{known.how}: {known.data}" if known else "the network’s own deviation, not calibrated" if level else ""
    return Counted(tuple(lines), level, tuple(seconds), known and known.constant, how, tuple(sds),
                   counter.weights.id)


def key_of(row: store.Weights, item: Dotted, plan: "Plan") -> str:
    """Names what a counted image depends on: weights, image, truth and options."""
    return hashlib.sha256("\n".join(("1", row.digest, content(item), plan.options.model_dump_json(),
                                     str(plan.distance))).encode()).hexdigest()


def _kept(path: Path) -> dict | None:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):                            # not there, or cut off by a full disk
        return None


def _line(kept: dict) -> Line:
    return Line(**kept | {"game": kept["game"] and tuple(kept["game"]),
                          "found": kept["found"] and Detection(**kept["found"])})
