"""What a file holds, told from its header before anything is counted; and small pictures to choose a channel by."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from cellapp import image as gate
from cellapp.axes import Choice, Stack, check, choose, read
from cellapp.errors import AxesError, ImageError
from cellapp.image import preview
from cellapp.image_open import is_data, name_of, open_file, open_stack, sentences
from cellapp.image_tidy import SWAPPED, fill_undefined, turn_upright

MAX_PAGES_SHOWN = 12  # thumbnails of pages that nobody has explained yet
SIDE = 256  # of a thumbnail, px at most


@dataclass(frozen=True)
class FileInfo:
    """One file, from its header alone. What is not known, or not readable, is None or empty.

    Attributes
    ----------
    name : the last part of the file's name, safe to show
    status : "ready"; "asks": the user has to say what its pages are; "error": it cannot be read
    message : why, where the status is not "ready"
    kind : such as "OME-TIFF", "PNG", "CZI"
    bytes : of the file
    shape : (H, W) in pixels, upright
    bit_depth : significant bits of one sample
    axes : of the file, one letter each, such as "TZCYX"
    sizes : axis → number, all axes but Y and X
    channels : their names; () while the file asks what its pages are
    pages : how many pages nobody has explained; 0 where nothing is asked
    pixel_size_um : width of a pixel in µm where the file states one
    layout : equal for files that are built the same, for which one answer holds
    """

    name: str
    status: str
    message: str = ""
    kind: str = ""
    bytes: int = 0
    shape: tuple[int, int] | None = None
    bit_depth: int | None = None
    axes: str = ""
    sizes: dict[str, int] | None = None
    channels: tuple[str, ...] = ()
    pages: int = 0
    pixel_size_um: float | None = None
    layout: str = ""


def probe(source: str | os.PathLike | bytes, name: str | None = None, *, pages: str = "ask", z: str | int = "max",
          frame: int = 1) -> FileInfo:
    """Tell what a file holds, without decoding a pixel and without raising for a file that cannot be read.

    A file that `read_image` would refuse by its header has the status "error" and the same sentence; damage further
    inside shows only on reading. The other parameters are those of `read_image`: an answer turns "asks" to "ready".
    """
    name = name_of(source, name)
    about = {"name": name, "bytes": len(source) if is_data(source) else 0}
    try:
        with _opened(source, name) as (stack, size):
            about |= {"bytes": size, **_described(stack, pages)}
            check(stack, choose(pages, z, frame), gate.MAX_DECODED)
        return FileInfo(**about, status="ready")
    except AxesError as error:
        asked = about.get("pages", 0) and pages == "ask"
        return FileInfo(**about, status="asks" if asked else "error", message=str(error))
    except ImageError as error:
        return FileInfo(**about, status="error", message=str(error))


def thumbnails(source: str | os.PathLike | bytes, name: str | None = None, *, pages: str = "ask",
               z: str | int = "max", frame: int = 1, side: int = SIDE) -> list[tuple[str, np.ndarray]]:
    """A small picture of every channel, each in its own contrast; of pages that nobody has explained, of each page.

    Returns
    -------
    (label, (h, w) uint8) pairs, h and w at most `side`: at most 12 pages, with "page 1" and so on as labels, or all
    channels with their names

    Raises
    ------
    ImageError
        As `read_image` does, but for pages without a meaning.
    """
    name = name_of(source, name)
    with _opened(source, name) as (stack, _):
        if stack.pages > 1 and pages == "ask":
            return [(f"page {k + 1}", _small(stack, Choice("time", str(z), k + 1), side)[0][1])
                    for k in range(min(stack.pages, MAX_PAGES_SHOWN))]
        return _small(stack, choose(pages, z, frame), side)


@contextmanager
def _opened(source: str | os.PathLike | bytes, name: str) -> Iterator[tuple[Stack, int]]:
    """The stack of a file and the file's bytes; the file is read where it lies."""
    limits = {"max_pixels": gate.MAX_PIXELS, "max_decoded": gate.MAX_DECODED}
    with sentences(name), io.BytesIO(source) if is_data(source) else open_file(source) as file:
        size = file.seek(0, io.SEEK_END)
        gate.check_file(size)
        with open_stack(file, **limits) as stack:
            yield stack, size


def _described(stack: Stack, pages: str) -> dict:
    sizes = {}
    for axis, size in zip(stack.axes, stack.sizes, strict=True):
        if axis not in "YX":
            sizes[axis] = sizes.get(axis, 1) * size
    names = stack.channels(pages)
    parts = [stack.axes, *(f"{axis}{size}" for axis, size in sizes.items()), str(stack.dtype), *stack.channels()]
    shape = stack.shape[::-1] if stack.orientation in SWAPPED else stack.shape
    return {"kind": stack.kind, "shape": shape, "bit_depth": stack.bit_depth, "axes": stack.axes, "sizes": sizes,
            "channels": names, "pages": stack.pages if stack.pages > 1 else 0, "pixel_size_um": stack.pixel_size_um,
            "layout": " ".join(parts)}


def _small(stack: Stack, choice: Choice, side: int) -> list[tuple[str, np.ndarray]]:
    decoded = fill_undefined(turn_upright(read(stack, choice, gate.MAX_DECODED)))
    pixels = np.atleast_3d(decoded.pixels)
    return [(label, preview(pixels[:, :, c], max_side=side)) for c, label in enumerate(decoded.channels)]
