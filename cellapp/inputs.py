"""Files, folders and zips → the images to count, in natural order, and what was set aside.

Nothing is unpacked to the disk. A zip's directory is judged first, its members are read one at a time, and their names
are only ever shown. What is no image by its name is set aside with a reason; what may be an image and cannot be given
out stays in the list with the sentence that becomes its row.
"""

import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path

from cellapp.dot_pairing import IMAGE_SUFFIXES
from cellapp.errors import ImageError
from cellapp.image import MAX_BYTES
from cellapp.image_files import clean
from cellapp.image_open import open_file

MAX_FILES = 100_000                                          # in a folder and its folders
MAX_MEMBERS = 10_000                                         # of a zip, whose directory is read again for each image
MAX_UNPACKED = 64 * 1024**3                                  # bytes of all images in a zip
MAX_RATIO = 200                                              # of unpacked to packed bytes, for members above _SMALL
_SMALL = 1024**2
_MAX_PATH = 4096

# What a microscope writes is never set aside: where it cannot be read, its row says how to export it.
_PICTURES = IMAGE_SUFFIXES | {".lsm", ".stk", ".czi", ".nd2", ".lif", ".oib", ".oif", ".zvi", ".ims", ".vsi", ".dcm"}
_OF_THE_SYSTEM = "a file of the system"
_SYSTEM = {"thumbs.db", "desktop.ini", "icon\r"}
_OURS = re.compile(r"__[a-z0-9._-]+_(overlay|density|mask|labels|redundant|foreground|foreground_sd|saliency)$", re.I)
_MASKS = re.compile(r"[_-](labels?|cp_masks|masks?)$", re.IGNORECASE)
_DOTS = re.compile(r"([_-]|\d)dots?$", re.IGNORECASE)
_DIGITS = re.compile(r"(\d+)")

Source = str | os.PathLike | tuple[str, bytes | str | os.PathLike]


@dataclass(frozen=True)
class Input:
    """One image to count.

    Attributes
    ----------
    name : its file name; with the folders before it where another image of the batch has the same one
    path : where it was found: folders of its zip or folder, ``/`` between them; only to be shown and compared
    size : bytes of the file, None where it is not known
    error : the sentence that becomes its row, where it cannot be given out
    """

    name: str
    path: str
    size: int | None
    _content: Callable[[], bytes] | Path | None
    error: str = ""

    def source(self) -> bytes | Path:
        """What `read_image` takes: the path of a file, or the bytes of what lies in a zip or came by itself."""
        return self._content if isinstance(self._content, Path) else self.read()

    def read(self) -> bytes:
        """The bytes of the image file; `ImageError` in one sentence."""
        if self.error:
            raise ImageError(self.error)
        try:
            return _read_path(self._content) if isinstance(self._content, Path) else self._content()
        except ImageError as error:
            raise ImageError(f"{self.name}: {error}") from error


@dataclass(frozen=True)
class Aside:
    """A file that is not counted, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Found:
    """What `gather` found: the images to count, and the files set aside."""

    inputs: list[Input]
    aside: list[Aside]


def inputs(sources: Iterable[Source]) -> list[Input]:
    """The images alone of `gather`."""
    return gather(sources).inputs


def gather(sources: Iterable[Source]) -> Found:
    """Find the images to count.

    Parameters
    ----------
    sources : paths of images, folders and zips, in whose order the images come; or (file name, its bytes or its path)
        for uploads, which are sorted by name, and where foreign files are set aside too. An image that is named by its
        path always has a row, whatever it is called.

    Returns
    -------
    Found. Below a folder or a zip the order is natural: ``a2`` before ``a10``. Names are different as far as the paths
    are.
    """
    found, aside = [], []
    sources = list(sources)
    uploads = [(_shown(name), content) for name, content in (s for s in sources if isinstance(s, tuple))]
    for name, content in sorted(uploads, key=lambda upload: natural(upload[0])):
        _sort_in(_upload(name, content), found, aside)
    for path in (Path(s) for s in sources if not isinstance(s, tuple)):
        if path.is_dir():
            _sort_in(_folder(path), found, aside)
        elif path.suffix.lower() == ".zip":
            _sort_in(_zip(path.name, path), found, aside)
        else:
            found.append(Input(_shown(path.name), _shown(str(path)), _size(path), path))
    return Found(_told_apart(found), aside)


def natural(path: str) -> tuple:
    """The key that sorts ``a2`` before ``a10``, and the files of a folder together."""
    return tuple([(int(part), "") if part.isdecimal() else (-1, part) for part in _DIGITS.split(step.casefold())]
                 for step in path.replace("\\", "/").split("/"))


def foreign(path: str) -> str:
    """Why a file of this name is not counted; "" for an image."""
    parts = path.replace("\\", "/").split("/")
    name = parts[-1]
    stem, suffix = os.path.splitext(name)
    hidden = any(part.startswith(".") and part not in (".", "..") for part in parts)
    if hidden or "__MACOSX" in parts or name.casefold() in _SYSTEM:
        return _OF_THE_SYSTEM
    if suffix.lower() not in _PICTURES:
        return "a zip inside a folder; give it by itself" if suffix.lower() == ".zip" else "no image by its name"
    if _OURS.search(stem):
        return "a result of an earlier count"
    if _MASKS.search(stem):
        return "a label mask by its name"
    return "dots by its name" if _DOTS.search(stem) else ""


def _sort_in(listed: Iterator[Input | Aside], found: list[Input], aside: list[Aside]) -> None:
    for one in sorted(listed, key=lambda i: natural(i.path)):
        (aside if isinstance(one, Aside) else found).append(one)


def _told_apart(found: list[Input]) -> list[Input]:
    """The last part of a path is the name, unless several have it; the same path twice stays the same twice."""
    paths: dict[str, set[str]] = {}
    for one in found:
        paths.setdefault(one.name.casefold(), set()).add(one.path)
    return [one if len(paths[one.name.casefold()]) == 1 else replace(one, name=one.path) for one in found]


def _upload(name: str, content: bytes | str | os.PathLike) -> Iterator[Input | Aside]:
    is_data = isinstance(content, bytes)
    if name.lower().endswith(".zip"):
        yield from _zip(name, content if is_data else Path(content))
        return
    if reason := foreign(name):
        yield Aside(name, reason)
        return
    read = partial(_read_data, content) if is_data else Path(content)
    yield Input(name.rpartition("/")[2] or "image", name, len(content) if is_data else _size(Path(content)), read)


def _folder(folder: Path) -> Iterator[Input | Aside]:
    """The files below a folder; links to other folders are not followed, so that none goes round in a circle."""
    number = 0
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            number += 1
            if number > MAX_FILES:
                yield _refused(str(folder), f"it holds more than the {MAX_FILES:,} files looked at here; give the "
                                            "folder with the images.")
                return
            path = Path(where, name)
            shown = _shown(path.relative_to(folder).as_posix())
            if reason := foreign(shown):
                yield Aside(shown, reason)
            else:
                yield Input(_shown(name), shown, _size(path), path)


def _zip(name: str, source: Path | bytes) -> Iterator[Input | Aside]:
    """The files of a zip, from its directory."""
    name = _shown(name).rpartition("/")[2] or "zip"
    try:
        with zipfile.ZipFile(_openable(source)) as box:
            rows = [(k, row) for k, row in enumerate(box.infolist()) if not row.is_dir()]
    except FileNotFoundError:
        yield _refused(name, "there is no such file; check its name and its folder.")
        return
    except Exception:                                        # zipfile raises anything: BadZipFile, struct.error, …
        yield _refused(name, "the zip is damaged, cut off or none at all; pack the images again.")
        return
    images = [row for _, row in rows if not foreign(row.filename)]
    if len(rows) > MAX_MEMBERS:
        yield _refused(name, f"the zip holds more than the {MAX_MEMBERS:,} files read here; split it.")
    elif sum(row.file_size for row in images) > MAX_UNPACKED:
        yield _refused(name, f"unpacked, the images in it have more than the {MAX_UNPACKED // 1024**3} GB read here; "
                             "split it.")
    elif images and all(row.flag_bits & 1 for row in images):
        yield _refused(name, "the zip is locked with a password; pack the images again without one.")
    else:
        for k, row in rows:
            yield _member(name, source, k, row)


def _member(name: str, source: Path | bytes, k: int, row: zipfile.ZipInfo) -> Input | Aside:
    """The ``k``-th row in the directory of the zip ``name``."""
    shown, reason = _shown(row.filename), foreign(row.filename)
    last = shown.rpartition("/")[2] or "image"
    if reason and (reason == _OF_THE_SYSTEM or not last.lower().endswith(".zip")):
        return Aside(f"{name}/{shown}", reason)
    if problem := _problem(row):
        return Input(last, f"{name}/{last}", row.file_size, None, f"{last} in {name}: {problem}")
    return Input(last, f"{name}/{shown}", row.file_size, partial(_read_member, source, k, row.filename))


def _refused(name: str, why: str) -> Input:
    return Input(_shown(name), _shown(name), None, None, f"{_shown(name)}: {why}")


def _problem(row: zipfile.ZipInfo) -> str:
    """Why a member of a zip is not read; "" where nothing is wrong with it."""
    path = row.filename.replace("\\", "/")
    if path.lower().endswith(".zip"):
        return "a zip in a zip is not opened; unpack it and give it by itself."
    if path.startswith("/") or ".." in path.split("/") or re.match(r"[A-Za-z]:", path):
        return "its name leads out of the zip, which no name of an image does, so it is not read; pack it again."
    if stat.S_ISLNK(row.external_attr >> 16):
        return "it is a link to another file and not an image; pack the image itself."
    if row.flag_bits & 1:
        return "it is locked with a password; pack it again without one."
    if row.file_size > MAX_BYTES:
        return f"it has more than the {MAX_BYTES // 1024**2} MB read here; crop it or export fewer planes."
    if row.file_size > max(_SMALL, MAX_RATIO * row.compress_size):
        return (f"it is packed more than {MAX_RATIO} times smaller than it is, as in an attack, so it is not unpacked; "
                "give the image itself.")
    return ""


def _read_member(source: Path | bytes, k: int, name: str) -> bytes:
    """One member of a zip, by its place; never more than the size that was judged."""
    try:
        with zipfile.ZipFile(_openable(source)) as box:
            row = box.infolist()[k]
            if row.filename != name:
                raise ImageError("the zip was changed meanwhile; give it again.")
            with box.open(row) as file:
                data = file.read(row.file_size + 1)
    except ImageError:
        raise
    except Exception as error:                               # zlib.error, NotImplementedError for rare packings, …
        raise ImageError("it cannot be taken out of the zip, which is damaged or packed in a rare way; pack it "
                         "again.") from error
    return data


def _openable(source: Path | bytes) -> Path | BytesIO:
    return BytesIO(source) if isinstance(source, bytes) else source   # which shares the bytes


def _read_path(path: Path) -> bytes:
    """A regular file, at most one byte more than `MAX_BYTES`, which `read_image` then refuses."""
    with open_file(path) as file:
        return file.read(MAX_BYTES + 1)


def _read_data(data: bytes) -> bytes:
    return data


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return None


def _shown(name: str) -> str:
    """A path safe to show, with ``/`` between its parts."""
    return clean(name.replace("\\", "/"), _MAX_PATH)
