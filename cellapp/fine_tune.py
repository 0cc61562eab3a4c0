"""Fine-tuning on a visitor's images: what is known of them, and the job that begins with it.

The page and the API start their trainings here, in the workspace of the visitor.
"""

import re
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from cellapp import train_jobs
from cellapp import weights as store
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
    return Given(file.name, space.path(file), file.sha256, options.model_dump(exclude_defaults=True, include=_READ),
                 truth if dots else None, labels, None if dots else float(truth))


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
    return diameter_at(bright(grey, dark), np.frombuffer(points).reshape(-1, 2))


def begin(space: Workspace, given: Sequence[Given], sides: Sequence[Side], config: TrainingConfig, *,
          start: Weights | None, minutes: float | None, diameter: float | None, name: str,
          licence: str) -> train_jobs.Job:
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
        config=config.model_dump(), minutes=minutes, diameter=diameter, device=pick_device("auto").type,
        threads=usual_threads())
    job.start()
    return job


def _free_id(name: str, space: Workspace) -> str:
    """An id made of a name, which no weights of this workspace have: none is ever written over."""
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or f"weights-{time.strftime('%Y%m%d-%H%M')}"
    taken = {*store.manifest(space.weights), *(job.spec().id for job in train_jobs.jobs(space.trainings))}
    return next(wanted for k in range(1, 10_000)
                if (wanted := OWN + stem + (f"-{k}" if k > 1 else "")) not in taken)
