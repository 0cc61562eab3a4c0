"""Dots set in the browser: what is kept of one image, and how it is kept without ever losing any.

    <workspace>/annotations/<id of the file>.json

Who saves states the revision that was changed. If another one has come in between, nothing is written and
`StaleAnnotation` brings the newer dots, so that both can be laid together: an old revision never replaces a new one.
Dots stay when their image is taken off the list, for the same file under the same name has the same id.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cellapp.density import check_points
from cellapp.dot_model import MAX_DOTS, Dots
from cellapp.errors import AnnotationError, DotsError, StaleAnnotation
from cellapp.image_files import clean
from cellapp.region_geometry import coverage, inside
from cellapp.regions import MAX_CORNERS, Region

if TYPE_CHECKING:
    from cellapp.workspace import Workspace
    from cellapp.workspace_state import StoredFile

CLASSES = 8
FIRST_NAME = "Cells"
_Place = tuple[float, float]


class Area(BaseModel):
    """A part of the image in which every cell has its dot; ``outline`` are its corners (y, x), as `Region` has them."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str = Field("", max_length=60)
    kind: Literal["box", "polygon"] = "polygon"
    outline: tuple[_Place, ...] = Field(min_length=3, max_length=MAX_CORNERS)


class Annotation(BaseModel):
    """The dots of one image.

    revision : 0 as long as nothing was kept, then one more with every save
    shape : (H, W) of the image
    points : (y, x) in pixels of the image, pixel centres at integers, all inside
    labels : the class of each dot, 1 … 8; names : of the classes, in their order
    area : where every cell has its dot; none stands for the whole image
    empty : somebody looked and there is no cell in this image
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    revision: int = Field(0, ge=0)
    shape: tuple[int, int] | None = None
    points: tuple[_Place, ...] = Field((), max_length=MAX_DOTS)
    labels: tuple[int, ...] = Field((), max_length=MAX_DOTS)
    names: tuple[str, ...] = Field((FIRST_NAME,), min_length=1, max_length=CLASSES)
    area: tuple[Area, ...] = Field((), max_length=500)
    empty: bool = False

    @field_validator("names")
    @classmethod
    def _plain_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(clean(name, 40).strip() or f"Class {k}" for k, name in enumerate(names, start=1))

    @model_validator(mode="after")
    def _fits(self) -> "Annotation":
        if len(self.labels) != len(self.points):
            raise ValueError(f"{len(self.points)} dots with {len(self.labels)} classes")
        if self.labels and not 1 <= min(self.labels) <= max(self.labels) <= CLASSES:
            raise ValueError(f"classes are 1 to {CLASSES}")
        if self.points and self.shape is None:
            raise ValueError("dots in an image of unknown size")
        if self.shape is not None:
            try:
                check_points(self.array, self.shape)
            except DotsError as error:
                raise ValueError(str(error)) from error
        corners = [value for area in self.area for corner in area.outline for value in corner]
        if not np.isfinite(corners).all():
            raise ValueError("an area with a corner that is no number")
        return self

    @property
    def array(self) -> np.ndarray:
        """(N, 2) float64, (y, x)."""
        return np.array(self.points, np.float64).reshape(-1, 2)

    @property
    def annotated(self) -> bool:
        """Whether this image can be learnt from: it has dots, or it is known to have no cell."""
        return bool(self.points) or self.empty

    @property
    def regions(self) -> list[Region]:
        """The fully counted areas; none if that is the whole image."""
        return [Region(area.name, area.kind, area.outline) for area in self.area]

    @property
    def counted(self) -> np.ndarray:
        """(N,) bool: the dots in the fully counted areas; all of them if that is the whole image."""
        keep = np.full(len(self.points), not self.area)
        for area in self.area:
            keep |= inside(self.array, np.array(area.outline))
        return keep

    def counted_mask(self) -> np.ndarray | None:
        """(H, W) bool: the pixels of which at least half lies in a fully counted area; None for the whole image."""
        if not self.area or self.shape is None:
            return None
        share = np.zeros(self.shape, np.float32)
        for area in self.area:
            for place, part in coverage(np.array(area.outline), self.shape):
                share[place] = np.maximum(share[place], part)
        return share >= 0.5

    def dots(self, image: str = "") -> Dots:
        """For the writers of dot files and for training; classes by their names if there is more than one."""
        names = dict(enumerate(self.names, start=1))
        classes = tuple(names.get(k, f"Class {k}") for k in self.labels) if len({*self.labels}) > 1 \
            or self.names != (FIRST_NAME,) else ()
        return Dots(self.array, classes, image, self.shape)

    def with_dots(self, dots: Dots, shape: tuple[int, int], *, add: bool = False) -> tuple["Annotation", str]:
        """The dots of a file in the place of these, or beside them; and a sentence where classes had to be joined.

        Raises `DotsError` for dots outside the image.
        """
        points = check_points(dots.points, shape)
        found = [name if name is not None else self.names[0] for name in dots.classes]
        names = list(self.names if add or not dots.class_names else dict.fromkeys(found))
        names += [name for name in dict.fromkeys(found) if name not in names]
        labels = [min(names.index(name) + 1, CLASSES) for name in found]
        note = ""
        if len(names) > CLASSES:
            note = (f"There are {len(names)} classes, and {CLASSES} are told apart here: "
                    f"{', '.join(names[CLASSES:])} went to {names[CLASSES - 1]}.")
        kept = (self.array, self.labels) if add else (np.empty((0, 2)), ())
        return self.moved(np.concatenate([kept[0], points]), (*kept[1], *labels), shape,
                          names=tuple(names[:CLASSES])), note

    def moved(self, points: np.ndarray, labels: Sequence[int], shape: tuple[int, int], **changes) -> "Annotation":
        """The same with other dots, checked."""
        values = self.model_dump() | {"points": [tuple(p) for p in points.tolist()], "labels": tuple(labels),
                                      "shape": shape, "empty": self.empty and not len(points)} | changes
        try:
            return Annotation.model_validate(values)
        except ValidationError as error:
            raise AnnotationError(sentence(error)) from error


def sentence(error: ValidationError) -> str:
    """What is wrong with dots that were sent, in the words of the first thing found."""
    first = error.errors()[0]
    words = first["msg"].removeprefix("Value error, ").rstrip(".")
    return f"These dots cannot be kept ({'.'.join(map(str, first['loc'][:2])) or 'dots'}: {words})."


def read(space: "Workspace", file_id: str) -> Annotation:
    """What is kept of a file; an empty `Annotation` of revision 0 if that is nothing.

    Raises `AnnotationError` for a damaged file, which nothing overwrites.
    """
    path = space.folder / "annotations" / f"{file_id}.json"
    try:
        found = path.stat()
        return _parsed(path, found.st_mtime_ns, found.st_ino)
    except FileNotFoundError:
        return Annotation()


def save(space: "Workspace", file_id: str, new: Annotation) -> Annotation:
    """Keep dots that were made from ``new.revision``; what is kept, one revision on.

    Raises `StaleAnnotation`, with the newer dots, if another revision has come in between; `WorkspaceError` where the
    folder is full or gone.
    """
    def check(kept: Annotation) -> Annotation:
        if kept.revision != new.revision:
            raise StaleAnnotation(kept)
        return new

    return change(space, file_id, check)


def change(space: "Workspace", file_id: str, what: Callable[[Annotation], Annotation]) -> Annotation:
    """Let ``what`` make new dots of those that are kept, with nobody writing in between; what is kept now."""
    if not file_id.isalnum():
        raise AnnotationError("There is no such image in this workspace.")
    made = []

    def rewrite(before: bytes | None) -> str:
        kept = Annotation() if before is None else _parse(before)
        made.append(what(kept).model_copy(update={"revision": kept.revision + 1}))
        return made[0].model_dump_json()

    space.rewrite(f"annotations/{file_id}.json", rewrite)
    return made[0]


def annotations(space: "Workspace") -> list[tuple["StoredFile", Annotation]]:
    """The images of the workspace that have dots, or are known to have no cell, in their order."""
    found = [(file, read(space, file.id)) for file in space.state().images]
    return [(file, kept) for file, kept in found if kept.annotated]


@lru_cache(maxsize=2000)
def _parsed(path: Path, _written: int, _inode: int) -> Annotation:
    return _parse(path.read_bytes())


def _parse(content: bytes) -> Annotation:
    try:
        return Annotation.model_validate_json(content)
    except ValidationError as error:
        raise AnnotationError("The dots of this image cannot be read, so nothing is written over them; tell whoever "
                              "runs this server, or dot a copy of the image under another name.") from error
