"""Any image file → the stack of its planes, or one sentence: the table of formats, told by content, never by name."""

import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import BinaryIO

from cellapp.axes import Stack
from cellapp.errors import ImageError
from cellapp.image_czi import CZI_MAGIC, open_czi
from cellapp.image_files import clean
from cellapp.image_lif import LIF_MAGIC, open_lif
from cellapp.image_nd2 import ND2_MAGIC, open_nd2
from cellapp.image_pictures import open_picture
from cellapp.image_tiff import TIFF_MAGIC, open_tiff

_MAX_NAME = 120

FORMATS = ((TIFF_MAGIC, open_tiff), (CZI_MAGIC, open_czi), (ND2_MAGIC, open_nd2), (LIF_MAGIC, open_lif))


def open_stack(file: BinaryIO, *, max_pixels: int, max_decoded: int) -> AbstractContextManager[Stack]:
    """Describe a seekable file; its planes can be loaded until the block ends.

    Raises `ImageError` for what is no image, or is larger than the limits, and whatever a decoder
    raises on a damaged file.
    """
    file.seek(0)
    start = file.read(16)
    opener = next((opener for magic, opener in FORMATS if start.startswith(magic)), open_picture)
    return opener(file, max_pixels=max_pixels, max_decoded=max_decoded)


def is_data(source: str | os.PathLike | bytes) -> bool:
    """Whether it is the bytes of a file, not its path."""
    return isinstance(source, (bytes, bytearray, memoryview))


def name_of(source: str | os.PathLike | bytes, name: str | None) -> str:
    """The last part of the file's name, safe to show."""
    if name is None:
        name = "image" if is_data(source) else os.fsdecode(source)
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return clean(last, _MAX_NAME) or "image"


@contextmanager
def sentences(name: str) -> Iterator[None]:
    """Turn whatever goes wrong with a file into an `ImageError` whose sentence begins with its name."""
    try:
        yield
    except ImageError as error:
        raise type(error)(f"{name}: {error}") from error
    except MemoryError as error:
        raise ImageError(f"{name}: there is not enough memory to read it; crop it or reduce it.") from error
    except Exception as error:  # decoders raise anything: ValueError, SyntaxError, struct.error, zlib.error, …
        raise ImageError(
            f"{name}: the file is damaged, cut off, or of a kind this app cannot decode; copy or export it "
            "again, as a plain TIFF or PNG."
        ) from error


@contextmanager
def open_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a regular file for reading; what prevents it is told in a sentence."""
    with ExitStack() as held:
        with opening():
            mode = os.stat(path).st_mode
            if stat.S_ISDIR(mode):
                raise ImageError("this is a folder, not an image file; give the files in it one by one.")
            if not stat.S_ISREG(mode):
                raise ImageError("this is a device or a pipe, not a file; give an image file.")
            file = held.enter_context(open(path, "rb"))
        yield file  # outside of `opening`: errors in the caller's block have other reasons


@contextmanager
def opening() -> Iterator[None]:
    """Say in a sentence why a path cannot be opened or read."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError("there is no such file; check its name and its folder.") from error
    except PermissionError as error:
        raise ImageError("the file may not be opened; ask for the right to read it.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "bad name"
        raise ImageError(f"the file cannot be opened ({reason}); check its name and the disk.") from error
