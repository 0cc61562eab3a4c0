"""What the readers of dot files share: `Dots`, the file as they see it, and the limits.

The readers hand over x and y as their format has them; `Gather` turns them into ``(y, x)`` with pixel
centres at integers, in one place.
"""

import gzip
import io
import json
import math
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cellapp.errors import DotsError
from cellapp.image_files import clean

MAX_DOTS = 200_000                                          # of one image
MAX_ALL_DOTS = 2_000_000                                    # of all images in one file
MAX_BYTES = 64 * 1024**2                                    # of a file that is read as a whole: JSON, XML, zip, ROI
MAX_IMAGES = 100_000                                        # in one file
HEAD = 4096

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True, eq=False)
class Dots:
    """The dots of one image.

    Attributes
    ----------
    points : (N, 2) float64, (y, x) in pixels, pixel centres at integers
    classes : one name per dot, None where the file gives none
    image : the image's name as the file has it; "" where it names none
    shape : (H, W) of the image where the file states it
    notes : sentences for the user: what was left out or taken together
    annotator : who set them, where the file says so
    others : the dots that other people set in the same image, each with its annotator
    """

    points: np.ndarray
    classes: tuple[str | None, ...] = ()
    image: str = ""
    shape: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    annotator: str = ""
    others: tuple["Dots", ...] = ()

    def __post_init__(self):
        points = np.asarray(self.points, dtype=np.float64).reshape(-1, 2)
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "classes", tuple(self.classes) or (None,) * len(points))
        if len(self.classes) != len(points):
            raise ValueError(f"{len(points)} dots with {len(self.classes)} classes")

    @property
    def class_names(self) -> tuple[str, ...]:
        """The different classes, in the order of their first dot."""
        return tuple(dict.fromkeys(name for name in self.classes if name is not None))


class Content:
    """A file of dots as the readers see it: a path, which may be large, or bytes; read once, and only if needed.

    ``pixel_size`` is that of the image in the unit of a table that ImageJ measured with a scale; None without one.
    """

    def __init__(self, source: str | os.PathLike | bytes, name: str | None = None, pixel_size: float | None = None):
        self.pixel_size = pixel_size
        self.source = bytes(source) if isinstance(source, (bytes, bytearray, memoryview)) else Path(source)
        last = name if name is not None else "dots" if isinstance(self.source, bytes) else self.source.name
        self.name = clean(last.replace("\\", "/").rstrip("/").rpartition("/")[2], 120) or "dots"

    def open(self) -> BinaryIO:
        """The bytes from their beginning."""
        if isinstance(self.source, bytes):
            return io.BytesIO(self.source)
        try:
            if not self.source.is_file() and self.source.exists():
                raise DotsError(f"{self.name}: this is no file; give one file of dots.")
            return self.source.open("rb")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "bad name"
            raise DotsError(f"{self.name}: the file cannot be opened ({reason}); check its name and its "
                            "folder.") from error

    @cached_property
    def head(self) -> bytes:
        """The first bytes."""
        with self.open() as file:
            return file.read(HEAD)

    @cached_property
    def data(self) -> bytes:
        """All bytes; refuses large files."""
        with self.open() as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise DotsError(f"{self.name}: the file has more than the {MAX_BYTES // 1024**2} MB read here; export "
                            "fewer images at a time, without image data inside.")
        return data

    @property
    def encoding(self) -> str:
        """UTF-16 where the file begins with its mark, as Excel's "Unicode text" does; else UTF-8."""
        return "utf-16" if self.head.startswith(_UTF16) else "utf-8-sig"

    @cached_property
    def start(self) -> str:
        """The first characters, as far as they can be read."""
        return self.head.decode(self.encoding, "replace").lstrip("\ufeff \t\r\n")

    @cached_property
    def kind(self) -> str:
        """What the first bytes say: picture, tiff, zip, gzip, roi, xml, json, or text."""
        if self.head.startswith(_TIFF):
            return "tiff"
        if self.head.startswith(_PICTURES) or (self.head.startswith(b"BM") and self.head[6:10] == bytes(4)):
            return "picture"
        for magic, kind in ((b"PK\x03\x04", "zip"), (b"PK\x05\x06", "zip"), (b"\x1f\x8b", "gzip"), (b"Iout", "roi")):
            if self.head.startswith(magic):
                return kind
        return {"<": "xml", "{": "json", "[": "json"}.get(self.start[:1], "text")

    @cached_property
    def json(self):
        """The parsed JSON; None where the file holds none."""
        if self.kind != "json":
            return None
        try:
            return json.loads(self.data.decode(self.encoding))
        except (ValueError, RecursionError) as error:
            place = f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else "bad text"
            raise DotsError(f"{self.name}: the JSON is damaged or cut off ({place}); export it again.") from error

    def unpacked(self) -> "Content":
        """The content of a gzip file, in memory."""
        try:
            with gzip.open(io.BytesIO(self.data)) as file:
                data = file.read(MAX_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise DotsError(f"{self.name}: the gzip archive is damaged or cut off; export it again.") from error
        if len(data) > MAX_BYTES:
            raise DotsError(f"{self.name}: unpacked, it has more than the {MAX_BYTES // 1024**2} MB read here; "
                            "export fewer images at a time.")
        return Content(data, self.name.removesuffix(".gz"), self.pixel_size)


class Gather:
    """Collects the dots of a file, image by image.

    With ``corner`` the origin of the format is the corner of the corner pixel, so that a pixel's centre lies
    at +0.5; without it integers name the pixels themselves.
    """

    def __init__(self, name: str, *, corner: bool = False):
        self.name, self._offset, self._total = name, 0.5 if corner else 0.0, 0
        self._images: dict[str, tuple[list, list, dict]] = {}
        self._shapes: dict[str, tuple[int, int]] = {}
        self._planes: dict[str, set] = {}

    def image(self, image: str, shape: tuple | None = None) -> str:
        """Make an image known, also one without dots; its name as it is kept here."""
        image = clean(str(image), 300)
        if image not in self._images:
            if len(self._images) == MAX_IMAGES:
                raise DotsError(f"{self.name}: it names more than the {MAX_IMAGES:,} images read here; split it.")
            self._images[image] = [], [], {}
        if shape and all(shape):
            self._shapes[image] = int(shape[0]), int(shape[1])
        return image

    def add(self, x, y, where: str, *, image: str = "", label=None, plane=None) -> None:
        """Take one dot; ``where`` says which one it is if x or y is no number."""
        try:
            y, x = float(y) - self._offset, float(x) - self._offset
        except (TypeError, ValueError):
            raise DotsError(f"{self.name}: {where} has no two numbers ({_short(x)}, {_short(y)}); correct it or "
                            "export the file again.") from None
        if not (math.isfinite(x) and math.isfinite(y)):
            raise DotsError(f"{self.name}: {where} is not finite ({x}, {y}); remove it.")
        if image not in self._images:
            image = self.image(image)
        points, labels, _ = self._images[image]
        self._total += 1
        if len(points) == MAX_DOTS or self._total > MAX_ALL_DOTS:
            raise DotsError(f"{self.name}: it has more than {MAX_DOTS:,} dots an image or {MAX_ALL_DOTS:,} in all, "
                            f"the most read here ({where}); check that it holds dots, or crop the image.")
        points.append((y, x))
        labels.append(None if label is None or str(label) == "" else clean(str(label), 200))
        if plane is not None:
            self._planes.setdefault(image, set()).add(plane)

    def note(self, text: str, image: str = "") -> None:
        """Remember a sentence for the user, once."""
        self._images[self.image(image)][2][text] = None

    def note_all(self, text: str) -> None:
        """The same sentence for every image."""
        for image in self._images:
            self.note(text, image)

    def dots(self) -> list[Dots]:
        """One `Dots` per image, in the order in which the file names them."""
        found = []
        for image, (points, labels, notes) in self._images.items():
            planes = self._planes.get(image, ())
            if len(planes) > 1:
                notes[f"The dots of {len(planes)} planes of a stack are taken together."] = None
            found.append(Dots(np.array(points, np.float64).reshape(-1, 2), tuple(labels), image,
                              self._shapes.get(image), tuple(notes)))
        return found


def _short(value) -> str:
    return clean(str(value), 40)


def listed(names: Iterable[str], most: int = 6) -> str:
    """Names in a sentence; of many only the first ones."""
    names = [clean(str(name), 60) for name in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def centroid(corners) -> tuple[float, float, float]:
    """(x, y) of a polygon's centre of area, and its area; the corners' mean where it has no area.

    corners : (N, 2) numbers, x before y, first one repeated at the end or not
    """
    points = np.array([(float(corner[0]), float(corner[1])) for corner in corners]).reshape(-1, 2)
    if len(points) == 0:
        raise ValueError("an outline without corners")
    base = points[0]
    x, y = (points - base).T
    cross = x * np.roll(y, -1) - np.roll(x, -1) * y
    area = cross.sum() / 2
    if not np.isfinite(area) or abs(area) < 1e-9:
        mean = points.mean(axis=0)
        return float(mean[0]), float(mean[1]), 0.0
    return (float(base[0] + ((x + np.roll(x, -1)) * cross).sum() / (6 * area)),
            float(base[1] + ((y + np.roll(y, -1)) * cross).sum() / (6 * area)), float(abs(area)))


def middle_of(rings: list) -> tuple[float, float]:
    """(x, y): the centre of area of several outlines together."""
    middles = [centroid(ring) for ring in rings]
    total = math.fsum(area for *_, area in middles)
    if not total:
        return middles[0][:2]
    return tuple(math.fsum(m[k] * m[2] for m in middles) / total for k in (0, 1))


def check_swap(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray | None:
    """The points with x and y exchanged if that, and only that, brings all of them into the image; else None."""
    points = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    swapped = points[:, ::-1]
    return swapped.copy() if not inside(points, shape).all() and inside(swapped, shape).all() else None


def inside(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(N,) bool: which points lie in the image; a pixel reaches half a unit around its centre."""
    return (points >= -0.5).all(axis=1) & (points < np.array(shape) - 0.5).all(axis=1)


def pixels_of(points: np.ndarray) -> np.ndarray:
    """(N, 2) int: the pixel in which each point lies."""
    return np.floor(points + 0.5).astype(np.int64)
