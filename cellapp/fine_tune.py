"""Fine-tuning on a visitor's images: what is known of them, and the job that begins with it.

The page and the API start their trainings here, in the workspace of the visitor.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from cellapp import train_jobs
from cellapp import weights as store
from cellapp.agreement import FEWEST, Figure, Line, figures, number
from cellapp.annotation import read
from cellapp.dots import IMAGE_SUFFIXES, read_labels
from cellapp.errors import CellappError
from cellapp.image import plane, read_image
from cellapp.methods import METHODS, Options, pick_device
from cellapp.polarity import bright, look
from cellapp.scale import diameter_at
from cellapp.train_spec import OWN, Given, Side
from cellapp.train_work import EXAMPLE, usual_threads
from cellapp.training import TrainingConfig
from cellapp.verify import check_publishable
from cellapp.weights import Weights
from cellapp.workspace import Workspace
from cellapp.workspace_state import StoredFile

_READ = {"channel", "cell_diameter", "pages", "z", "frame", "polarity"}
_SAMPLED = 5                                                 # images whose dots tell the cells' diameter
_ROUND = 1024                                                # px; side of the part of an image that is looked at
_ENOUGH = 256                                                # dots that are looked at while more are being set


def given_of(space: Workspace, file: StoredFile, options: Options, truth: np.ndarray | float,
             source: StoredFile | None) -> Given:
    """An image with what is known of it.

    truth : (N, 2) dots (y, x), or the number of cells; source : the file it comes from, whose outlines are taken along
    where it is a label mask
    """
    dots = np.ndim(truth) > 0
    labels = None
    if source is not None and Path(source.name).suffix.lower() in IMAGE_SUFFIXES:
        labels = _labels(space.path(source))
    return Given(file.name, space.path(file), file.sha256, _how_read(options), truth if dots else None, labels,
                 None if dots else float(truth))


def given_partly(space: Workspace, file: StoredFile, options: Options) -> Given:
    """An image of which a part was dotted in the browser; raises `AnnotationError` for damaged dots."""
    return Given.of_annotation(file.name, space.path(file), file.sha256, _how_read(options), read(space, file.id))


def _how_read(options: Options) -> dict:
    return options.model_dump(exclude_defaults=True, include=_READ)


@lru_cache(maxsize=50)
def _labels(path: Path) -> np.ndarray | None:
    try:
        return read_labels(path)
    except CellappError:
        return None


def typical_diameter(given: Sequence[Given]) -> float | None:
    """Middle of the cells' diameters (px) at the dots of a few images; None where the user gave one, or without dots.
    """
    if any("cell_diameter" in one.options for one in given):
        return None
    found = [d for one in given[:_SAMPLED] if one.points is not None
             and (d := _at_dots(one.path, one.name, Options(**one.options), one.points.tobytes())) is not None]
    return round(float(np.median(found)), 1) if found else None


@lru_cache(maxsize=200)
def _at_dots(path: Path, name: str, options: Options, points: bytes) -> float | None:
    try:
        grey, _ = plane(read_image(path, name, pages=options.pages, z=options.z, frame=options.frame), options.channel)
    except CellappError:
        return None                                          # the job says what is wrong with it
    dark = look(grey, options.polarity, "bright on dark").dark
    return diameter_at(*_part(bright(grey, dark), np.frombuffer(points).reshape(-1, 2)))


def _part(grey: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of a large image the part round its middle dot, with the dots in it; the whole would take seconds."""
    first = np.clip(np.median(points, axis=0).astype(int) - _ROUND // 2, 0, None) if len(points) else np.zeros(2, int)
    part = grey[first[0] : first[0] + _ROUND, first[1] : first[1] + _ROUND]
    inside = points[((points >= first) & (points < first + part.shape)).all(axis=1)] - first
    return (part, inside) if len(inside) >= min(len(points), 3) else (grey, points)


def diameter_for(space: Workspace, file: StoredFile, options: Options) -> float | None:
    """Middle of the cells' diameters (px) by which a training would read an image that is being dotted: as given, or as
    found at its dots, anew whenever there are twice as many."""
    if options.cell_diameter:
        return options.cell_diameter
    one = given_partly(space, file, options)
    dots = min(_ENOUGH, 1 << len(one.points).bit_length() - 1) if len(one.points) else 0
    return typical_diameter([replace(one, points=one.points[:dots])])


def begin(space: Workspace, given: Sequence[Given], sides: Sequence[Side], config: TrainingConfig, *,
          start: Weights | None, minutes: float | None, diameter: float | None, name: str,
          licence: str, device: str = "auto") -> train_jobs.Job:
    """Start a training in a process of its own; its new weights will be ``own/…`` of this workspace.

    Parameters
    ----------
    given, sides : the images and what each is for, of `train_spec.divide`
    start : weights to begin with, None from scratch
    minutes : how long it may take; None for the epochs and steps of ``config``
    diameter : of the cells in the images, px; None where each image's is to be estimated

    Raises
    ------
    CellappError where the settings do not fit together, or the disk is full.
    """
    learn, check = sides.count("learn"), sides.count("check")
    about = {"id": _free_id(name, space), "title": name, "licence": licence or "not stated",
             "trained_on": f"{learn} images of a visitor ({check} more to choose the epoch)"
                           + (f", beginning with {start.title}" if start else "")}
    check_publishable(EXAMPLE, **about, method=config.method, sigma=config.sigma,
                      input={"cell_diameter": 10.0}, map_scale=METHODS[config.method].map_scale)
    job = train_jobs.create(
        space.trainings, given, sides, **about, start=start.id if start else None,
        start_folder=store.home(start, space.weights) if start else None, out_folder=space.weights,
        config=config.model_dump(), minutes=minutes, diameter=diameter, device=pick_device(device).type,
        threads=usual_threads())
    job.start()
    return job


def maes(images: Sequence[Mapping]) -> dict[str, Figure]:
    """Mean absolute error on the images kept back, "before" (not from scratch) and "after"; of ``result.json``."""
    return {when: figures([Line(one["name"], one["manual"], one[when]) for one in images])["mae"]
            for when in ("before", "after") if images[0][when] is not None}


def is_better(errors: Mapping[str, Figure]) -> bool | None:
    """Whether a training was of use; None from scratch."""
    return errors["after"].value < errors["before"].value if "before" in errors else None


def verdict(errors: Mapping[str, Figure], n: int, start: str | None) -> str:
    """What ``errors`` (of `maes`) on ``n`` images say, told honestly: the verdict, then what to think of it."""
    about = "1 image" if n == 1 else f"{n} images"
    kept = f" The weights you began with ({start}) stay as they are." if start else ""
    last = f" The best epoch was chosen on the same images, so expect a little more error on others.{kept}"
    better = is_better(errors)
    if better is None:
        return (f"Trained from scratch. On the {about} kept back a count is off by "
                f"{number(errors['after'].value, 'cells')} cells on average.{last}")
    before, after = errors["before"], errors["after"]
    apart = None not in (before.low, after.low) and (after.high < before.low or before.high < after.low)
    words = f"{'Better' if better else 'Not better'} than before. It was measured on the {about} kept back"
    words += "." if apart else ", though the intervals overlap: more images would tell." if n >= FEWEST else \
        ", too few to be sure: compare counts of more images with your own."
    return words + ("" if better else " Keep the weights you began with, or give more images.") + last


def _free_id(name: str, space: Workspace) -> str:
    """An id made of a name, which no weights of this workspace have: none is ever written over."""
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or f"weights-{time.strftime('%Y%m%d-%H%M')}"
    taken = {*store.manifest(space.weights), *(job.spec().id for job in train_jobs.jobs(space.trainings))}
    return next(wanted for k in range(1, 10_000)
                if (wanted := OWN + stem + (f"-{k}" if k > 1 else "")) not in taken)
