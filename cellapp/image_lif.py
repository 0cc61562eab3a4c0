"""A Leica LIF file → the stack of its first picture. liffile reads the layout; sizes are bounded here."""

import io
import logging
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

from cellapp.axes import Stack
from cellapp.errors import ImageError
from cellapp.image_files import CUT_OFF, check_bytes, check_pixels, checked_xml, micrometres

LIF_MAGIC = (b"p\0\0\0",)
CHANNELS = "./Data/Image/ImageDescription/Channels/ChannelDescription"
WIDTH = "./Data/Image/ImageDescription/Dimensions/DimensionDescription[@DimID='1']"
LETTERS = {"λ": "E", "Λ": "E", "N": "B", "Q": "B", "L": "B"}  # of liffile → of tifffile


@contextmanager
def open_lif(file: BinaryIO, *, max_pixels: int, max_decoded: int) -> Iterator[Stack]:
    """Describe the first picture of a LIF file; its planes can be loaded until the block ends.

    Raises `ImageError` for what is too large or not read here, and whatever liffile raises on a damaged file.
    """
    from liffile import LifFile

    logging.getLogger("liffile").addHandler(logging.NullHandler())
    logging.getLogger("liffile").propagate = False  # remarks on bad files stay off the console
    _check_xml(file)
    file.seek(0)
    with LifFile(file, squeeze=False) as lif:
        pictures = [image for image in lif.images if not image.is_flim]
        if not pictures:
            raise ImageError("the file holds no picture read here; export it as OME-TIFF from LAS X.")
        yield _stack(file, pictures[0], len(pictures), max_pixels, max_decoded)


def _check_xml(file: BinaryIO) -> None:
    """Refuse a header with definitions of its own before it is interpreted."""
    file.seek(0)
    _, _, mark, letters = struct.unpack("<IIBI", file.read(13))
    if mark == 0x2A:
        checked_xml(file.read(2 * letters).decode("utf-16-le"))


def _stack(file: BinaryIO, image, number: int, max_pixels: int, max_decoded: int) -> Stack:
    sizes = {axis: size for axis, size in image.sizes.items() if size != 1 or axis in "YX"}
    frame = [axis for axis in image.frames.frame_sizes if axis in sizes]
    if sorted(frame) not in (["X", "Y"], ["S", "X", "Y"]) or frame[-1] == "Y" or any(n < 1 for n in sizes.values()):
        raise ImageError("its first picture is no plane of rows and columns; export it as OME-TIFF from LAS X.")
    check_pixels(sizes["Y"], sizes["X"], max_pixels)
    samples = sizes.get("S", 1) if "S" in frame else 1
    check_bytes(sizes["Y"] * sizes["X"] * samples * image.dtype.itemsize, max_decoded)
    memory = image.memory_block
    whole = math.prod(image.sizes.values()) * image.dtype.itemsize
    if memory.offset < 0 or whole > memory.size or memory.offset + memory.size > file.seek(0, io.SEEK_END):
        raise ImageError(CUT_OFF)
    names = tuple(channel.get("LUTName", "") for channel in image.xml_element.findall(CHANNELS))
    depths = {channel.get("Resolution", "") for channel in image.xml_element.findall(CHANNELS)}
    stored, bits = 8 * image.dtype.itemsize, depths.pop() if len(depths) == 1 else ""

    def load(index: tuple[int, ...]) -> np.ndarray:
        at = {axis: k for axis, k in zip(sizes, index, strict=True) if axis not in frame}
        plane, order = image.frame(**at), list(image.frames.frame_sizes)
        plane = plane.reshape(image.frames.frame_shape)
        if "S" not in order:
            plane, order = plane[..., None], [*order, "S"]
        return plane.transpose([order.index(axis) for axis in "YXS"]).astype(image.dtype.newbyteorder("="), copy=False)

    return Stack(
        kind="LIF",
        axes="".join(LETTERS.get(axis, axis[0]) for axis in sizes),
        sizes=tuple(sizes.values()),
        dtype=image.dtype.newbyteorder("="),
        bit_depth=int(bits) if bits.isdecimal() and 0 < int(bits) < stored else stored,
        samples=samples,
        names=names,
        rgb=samples == 3,
        pixel_size_um=_pixel_size(image),
        load=load,
        notes=[f"{number} pictures in the file; the first is read"] if number > 1 else [],
    )


def _pixel_size(image) -> float | None:
    """Width of a pixel in µm; the length that a LIF file states runs from the first pixel's centre to the last's."""
    width = image.xml_element.find(WIDTH)
    if width is None or width.get("Unit") != "m" or not width.get("NumberOfElements", "").isdecimal():
        return None
    return micrometres(width.get("Length", ""), 1e6 / max(1, int(width.get("NumberOfElements")) - 1))
