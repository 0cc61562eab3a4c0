"""What a training job is to do: the images, the truth that was given for them, the settings, the name of the result.

Everything lies in the job's folder, so that a job depends on nothing that a visitor may change or remove meanwhile:

    job.json                 a `Spec`, written once
    images/<sha256>          the image files
    truth/<number>.npz       (N, 2) points (y, x), or (H, W) labels, or the number of cells alone; where every cell has
                             its dot, if that is a part of the image
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cellapp.errors import TrainingError
from cellapp.partly import inside

if TYPE_CHECKING:
    from cellapp.annotation import Annotation

Side = Literal["learn", "check"]
OWN = "own/"                                                 # begins the id of all weights that a visitor trained
CHECKED = 0.3                                                # share of the images that are kept back


class Item(BaseModel):
    """One image of a job: ``file`` and ``truth`` name its files in the folder, ``options`` say how it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    file: str = Field(pattern=r"^[0-9a-f]{64}$")
    truth: str = Field(pattern=r"^\d+\.npz$")
    options: dict = Field(default_factory=dict)
    group: str = ""
    side: Side = "learn"


class Spec(BaseModel):
    """A job, as ``job.json`` holds it.

    start : weights to begin with, None from scratch; start_folder : where they lie, None for the installed ones
    config : a `TrainingConfig`; minutes : the steps are chosen so that training takes about so long
    diameter : px, of the cells in the images; None where each image's is to be estimated
    out_folder : where the new weights are written
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    title: str
    licence: str = "not stated"
    trained_on: str
    start: str | None = None
    start_folder: Path | None = None
    out_folder: Path
    config: dict
    minutes: float | None = Field(None, gt=0, le=7 * 24 * 60)
    diameter: float | None = Field(None, gt=1, le=1000)
    device: str = "auto"
    threads: int = Field(1, ge=1)
    created: float
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Given:
    """An image file and what is known of it; one of ``points``, ``labels`` and ``count`` is enough. Labels alone give
    the points: the centres of their cells.

    sha256 : of its bytes, which lie at ``path``
    points : (N, 2) float (y, x) px of the image; labels : (H, W) int, 0 ground; count : cells
    options : those of `Options` that are not the default
    counted : (H, W) bool, where every cell has its dot; None for the whole image. Points outside are left out
    """

    name: str
    path: Path
    sha256: str
    options: dict
    points: np.ndarray | None = None
    labels: np.ndarray | None = None
    count: float | None = None
    group: str = ""
    counted: np.ndarray | None = None

    def __post_init__(self):
        if self.labels is not None and self.points is None and self.count is None:
            object.__setattr__(self, "points", centres(self.labels))
        if self.points is not None and self.counted is not None:
            object.__setattr__(self, "points", self.points[inside(self.points, self.counted)])

    @classmethod
    def of_annotation(cls, name: str, path: Path, sha256: str, options: dict, kept: "Annotation") -> "Given":
        """An image with the dots that were set in the browser, learnt from in the fully counted areas only."""
        return cls(name, path, sha256, options, kept.array, counted=kept.counted_mask())

    @property
    def cells(self) -> float:
        """The true number of cells, in the counted area."""
        return float(len(self.points)) if self.points is not None else float(self.count)


def centres(labels: np.ndarray) -> np.ndarray:
    """(N, 2) float (y, x): the centre of mass of each number but 0 in (H, W) labels."""
    from scipy.ndimage import center_of_mass

    found = np.unique(labels[labels > 0])
    return np.array(center_of_mass(labels > 0, labels, found), np.float64).reshape(-1, 2)


def needs(method: str, part: str = "all") -> str:
    """What a method learns from: "dots", "outlines" or "counts"."""
    from cellapp.families.mask_counter import MaskCounter
    from cellapp.families.segmentation import Segmentation
    from cellapp.methods import find_method

    family = find_method(method).family
    if isinstance(family, Segmentation) or (isinstance(family, MaskCounter) and part == "mask"):
        return "outlines"
    return "counts" if isinstance(family, MaskCounter) else "dots"


def usable(item: Given, needed: str) -> bool:
    """Whether an image's truth is what a method learns from; dots and outlines tell the count, too, where the whole
    image has them."""
    return {"dots": item.points is not None, "outlines": item.labels is not None,
            "counts": item.counted is None and (item.points is not None or item.count is not None)}[needed]


def group_of(name: str, rule: str = "image") -> str:
    """The group of an image by its file name, of which no two images lie on different sides.

    rule : "image", each by itself; "folder", by the folder in the name; a number n, by the first n parts between ``_``
    and ``-``; or "mark", by all but the last part
    """
    path = PurePath(name)
    parts = re.split(r"[_\-\s]+", path.stem)
    if rule == "folder":
        return str(path.parent)
    if rule == "mark":
        return "_".join(parts[:-1]) or path.stem
    return "_".join(parts[: int(rule)]) if rule.isdecimal() else name


_IMAGES, _GROUPS = ("image", "file", "filename", "name"), ("group", "slide", "patient", "subject", "animal", "well")


def groups_in(table: bytes) -> dict[str, str]:
    """The groups of images by the last part of their names, from a CSV with a column such as image and one such as
    group or slide; empty for any other file."""
    try:
        text = table.decode("utf-8-sig")
        dialect = csv.Sniffer().sniff(text[:4096], ",;\t")
    except (UnicodeDecodeError, csv.Error):
        return {}
    rows = csv.DictReader(text.splitlines(), dialect=dialect)
    columns = {(name or "").strip().lower(): name for name in rows.fieldnames or ()}
    image = next((columns[name] for name in _IMAGES if name in columns), None)
    group = next((columns[name] for name in _GROUPS if name in columns), None)
    if image is None or group is None:
        return {}
    return {PurePath(row[image]).name: row[group].strip() for row in rows if row[image] and row[group]}


def divide(groups: Sequence[str], seed: int, share: float = CHECKED) -> list[Side]:
    """The side of each image: whole groups are drawn by a seeded shuffle and kept back for checking.

    About ``share`` of the images, at least one, are checked with; at least one group is learnt from. Raises
    `TrainingError` for fewer than two groups.
    """
    names = sorted(set(groups))
    if len(names) < 2:
        what = "only one image" if len(groups) < 2 else f"all {len(groups)} images in one group"
        raise TrainingError(f"There is {what}; training needs two at least, one to learn from and one to check with: "
                            "add images, or group them otherwise.")
    order = np.random.default_rng(seed).permutation(len(names))
    wanted, kept, images = max(1, round(share * len(groups))), set(), 0
    for place in order[:-1]:
        size = groups.count(names[place])
        if images and images + size > wanted:
            continue
        kept.add(names[place])
        images += size
        if images >= wanted:
            break
    return ["check" if group in kept else "learn" for group in groups]
