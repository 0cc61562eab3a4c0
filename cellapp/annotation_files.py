"""Dots of the workspace from files and to files, in every format of `dots.FORMATS`."""

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from cellapp.annotation import Annotation, change
from cellapp.dot_spacing import is_new
from cellapp.dots import FORMATS, Dots, check_dots, pick, read_dots_file, write_dots
from cellapp.errors import CellappError, DotsError
from cellapp.image_files import clean
from cellapp.manual import match

if TYPE_CHECKING:
    from cellapp.workspace import Workspace
    from cellapp.workspace_state import StoredFile

WRITABLE = tuple(name for name, row in FORMATS.items() if row.writer)
_SAME = 1.0                                                  # px within which a dot is the one that is there already


def as_file(kept: Annotation, image_name: str, form: str) -> tuple[str, bytes]:
    """The name and the bytes of a file with the dots of one image; ``form`` is one of `WRITABLE`."""
    last = PurePath(image_name.replace("\\", "/")).name
    content = write_dots(kept.dots(last), form, last, kept.shape)
    stem = clean(last.rpartition(".")[0] or last, 120).replace("/", "_")
    name = f"CellCounter_{stem}" if form == "cell-counter" else f"{stem}_dots"
    return name + FORMATS[form].suffixes[0], content


def as_zip(pairs: Iterable[tuple["StoredFile", Annotation]], form: str) -> bytes:
    """A zip with one file for each image; of images with one name the further ones get a number."""
    out, taken = io.BytesIO(), set()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for file, kept in pairs:
            name, content = as_file(kept, file.name, form)
            stem, dot, suffix = name.rpartition(".")
            for k in range(2, 10**6):
                if name.lower() not in taken:
                    break
                name = f"{stem}-{k}{dot}{suffix}"
            taken.add(name.lower())
            packed.writestr(name, content)
    return out.getvalue()


def take(space: "Workspace", images: Sequence["StoredFile"], shapes: Mapping[str, tuple[int, int]],
         files: Sequence[tuple[str, bytes]], shown: "StoredFile", *, add: bool) -> tuple[int, list[str]]:
    """Take dots from files, matched with the images by name; a single file of one image fits the image ``shown``.

    Parameters
    ----------
    images, shapes : the images to match with, and (H, W) of each by its id
    files : (name, bytes)
    add : put dots beside those that an image has, but for those that are there already; else in their place

    Returns
    -------
    The number of images that got dots, and sentences about what was left out or joined.
    """
    found = match([file.name for file in images], files)
    dots = {file: found.found[file.name] for file in images if file.name in found.found}
    if not dots and len(files) == 1 and not found.unread:
        dots, found = {shown: _only(files[0], shown.name)}, None
    done, notes = 0, list(found.unread) if found else []
    for file, manual in dots.items():
        try:
            own, name = (manual, files[0][0]) if isinstance(manual, Dots) else (manual.dots, manual.file)
            if own is None:
                raise DotsError(f"{name}: it holds the number of cells of {file.name} and not their places; give a "
                                "file of dots.")
            check_dots(own, shapes[file.id], name)
            notes += own.notes
            if note := _lay(space, file, own, shapes[file.id], add):
                notes.append(f"{file.name}: {note}")
            done += 1
        except CellappError as error:
            notes.append(str(error))
    if found:
        notes += [f"{name}: there is no image of this name here." for name in found.unused]
        notes += [f"{name}: several images have this name, so nothing is matched with it." for name in found.twice]
    return done, list(dict.fromkeys(notes))


def _only(file: tuple[str, bytes], image_name: str) -> Dots:
    return pick(read_dots_file(file[1], file[0]), image_name, file[0])


def _lay(space, file, own: Dots, shape: tuple[int, int], add: bool) -> str:
    told = []

    def put(kept: Annotation) -> Annotation:
        fresh = own
        if add and len(kept.points):
            new = is_new(own.points, kept.array, _SAME)
            fresh = replace(own, points=own.points[new], others=(), classes=tuple(
                label for label, one in zip(own.classes, new, strict=True) if one))
        made, note = kept.with_dots(fresh, shape, add=add)
        told.append(note)
        # A file that lists an image without dots says that there is no cell in it.
        return made if made.points else made.model_copy(update={"empty": True})

    change(space, file.id, put)
    return told[0]
