"""A TIFF file (BigTIFF, OME and ImageJ among them) → the stack of its planes.

tifffile understands the layout and decodes. It trusts what a file says of itself, so the sizes, the
list of pages and the place of every strip and tile are checked here first.
"""

import functools
import io
import logging
import math
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

from cellapp.axes import Stack, is_told
from cellapp.errors import ImageError
from cellapp.image_files import (
    CUT_OFF,
    check_bytes,
    check_pixels,
    coloured,
    refuse_doctype,
    rgb_from_cmyk,
    without_alpha,
)
from cellapp.image_tiff_metadata import imagej_names, ome_names, ome_pixels, pixel_size

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MAX_PAGES = 100_000
JPEG = (7, 33007)  # compression schemes whose strips and tiles are whole JPEG pictures
FRAME_MARKERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # of a JPEG picture: where its size stands
RAW_OR_LAB = (32803, 34892, 8, 9, 10)  # photometric: colour filter array, linear raw, three kinds of Lab


@contextmanager
def open_tiff(file: BinaryIO, *, max_pixels: int, max_decoded: int) -> Iterator[Stack]:
    """Describe the first series of a TIFF file; its planes can be loaded until the block ends.

    Raises
    ------
    ImageError
        When a plane exceeds `max_pixels` (height × width) or `max_decoded` (bytes in memory), or the
        file holds something other than a picture.
    Exception
        Whatever tifffile or a codec raises on a damaged file.
    """
    _check_pages(file)
    file.seek(0)
    with _tifffile().TiffFile(file, name="image.tif", _multifile=False) as tif:
        _check_ome(tif)
        whole = [series for series in tif.series if not series.keyframe.is_reduced]
        if not whole:
            raise ImageError("the file holds thumbnails only; export it as a plain TIFF.")
        series = whole[0]
        page, axes, shape = series.keyframe, series.axes, series.shape
        if axes.count("Y") != 1 or axes.count("X") != 1:
            raise ImageError(f"the file's axes are {axes}: no picture; export one plane as a plain TIFF.")
        if page.photometric in RAW_OR_LAB:
            raise ImageError("the file is a camera raw or Lab colour file; export it as grey or RGB TIFF.")
        check_pixels(shape[axes.index("Y")], shape[axes.index("X")], max_pixels)
        if series.dtype is None:
            raise ImageError("the file's number type is not read here; export it as uint8, uint16 or float32.")
        if series.dtype.kind not in "buif":
            raise ImageError("its numbers are complex; export the magnitude as float32.")
        check_bytes(page.nbytes, max_decoded)
        check_bytes(math.prod(page.chunks) * series.dtype.itemsize, max_decoded)
        yield _stack(file, tif, series, len(whole))


@functools.cache
def _tifffile():
    """Import tifffile on first use (half a second), and keep its remarks on bad files off the console."""
    import tifffile

    logger = logging.getLogger("tifffile")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return tifffile


def _check_pages(file: BinaryIO) -> None:
    """Walk the list of pages: it must end, inside the file, without turning in a circle."""

    def number(kind: str, offset: int) -> int:
        file.seek(offset)
        return struct.unpack(order + kind, file.read(struct.calcsize(order + kind)))[0]

    file.seek(0)
    magic = file.read(4)
    order = "<" if magic[:2] == b"II" else ">"
    start, count, entry, follow = (8, "Q", 20, "Q") if b"+" in magic else (4, "H", 12, "I")
    try:
        seen = set()
        offset = number(follow, start)
        while offset:
            if offset in seen or len(seen) >= MAX_PAGES:
                raise ImageError("the file's list of pages has no end; it is damaged: export it again.")
            seen.add(offset)
            tags = number(count, offset)
            offset = number(follow, offset + struct.calcsize(order + count) + tags * entry)
    except (struct.error, OverflowError, OSError, ValueError) as error:  # beyond the end of the file
        raise ImageError(CUT_OFF) from error
    if not seen:
        raise ImageError("the file holds no picture; export it again.")


def _check_ome(tif) -> None:
    """Refuse OME metadata whose numbers or definitions would make a reader build endless lists."""
    metadata = tif.pages[0].description
    refuse_doctype(metadata)
    lengths = r"\b(?:PlaneCount|NumPlanes|IFD|(?:Size|First)[CZT])\s*=\s*[\"'](\d+)"
    if any(len(number) > 7 or int(number) > MAX_PAGES for number in re.findall(lengths, metadata)):
        raise ImageError("the file's OME metadata is damaged (impossible numbers); export it again.")


def _stack(file: BinaryIO, tif, series, number: int) -> Stack:
    page, axes, shape = series.keyframe, series.axes, series.shape
    # the last axes are those of one page, the axes before them run over pages
    split = next(k for k in range(len(axes)) if math.prod(shape[k:]) == page.size)
    if set(axes[:split]) & set("YXS"):
        raise ImageError("the file cuts one picture over several pages; export it as a plain TIFF.")
    vague = _vague_samples(tif, page)
    unknown = tuple(k for k, axis in enumerate(axes) if not is_told(axis) or (axis == "S" and vague))
    notes = [f"{number} picture series in the file; the first is read"] if number > 1 else []
    ome = ome_pixels(tif)
    names, significant = ome_names(ome)
    bits, stored = page.bitspersample, 8 * series.dtype.itemsize
    depth = bits if isinstance(bits, int) and bits < stored else stored
    palette = page.photometric == 3 and page.colormap is not None
    depth = 1 if series.dtype.kind == "b" else 8 if palette else depth
    tag = page.tags.get(274)
    _segments(file, series, 0)
    loaded = {}  # the page loaded last: a page may hold several planes

    def load(index: tuple[int, ...]) -> np.ndarray:
        k = int(np.ravel_multi_index(index[:split], shape[:split])) if split else 0
        if k not in loaded:
            loaded.clear()
            loaded[k] = _page_pixels(file, tif, series, k).reshape(shape[split:])
        plane = _plane(loaded[k], axes[split:], index[split:], unknown, split)
        return _converted(plane, tif, page, depth, notes, alone=plane.size == math.prod(shape))

    return Stack(
        kind="OME-TIFF" if tif.is_ome else "ImageJ TIFF" if tif.is_imagej else "TIFF",
        axes=axes,
        sizes=tuple(shape),
        dtype=np.dtype(np.uint8) if palette or series.dtype.kind == "b" else series.dtype.newbyteorder("="),
        bit_depth=min(depth, significant or depth),
        samples=_samples(page, axes, shape, vague),
        names=names or imagej_names(tif, axes, shape),
        rgb=page.photometric in (2, 3, 5, 6),
        unknown=unknown,
        orientation=tag.value if tag is not None else 1,
        pixel_size_um=pixel_size(tif, page, ome),
        load=load,
        notes=notes,
    )


def _samples(page, axes: str, shape: tuple[int, ...], vague: bool) -> int:
    """Samples of a pixel once a colour table is looked up, ink is light and alpha is gone."""
    stored = shape[axes.index("S")] if "S" in axes and not vague else 1
    if page.photometric == 3 and page.colormap is not None and stored == 1:
        table = page.colormap >> 8
        return 3 if (table != table[:1]).any() else 1
    stored -= len(_alpha(page)) if stored == page.samplesperpixel else 0
    return 3 if page.photometric == 5 and stored == 4 else stored


def _vague_samples(tif, page) -> bool:
    """Whether grey samples lie plane after plane in one page, as stacks do that were saved without a word."""
    several = page.samplesperpixel > 1 and not _alpha(page)
    return several and page.planarconfig == 2 and page.photometric in (0, 1) and not tif.is_ome


def _plane(pixels: np.ndarray, axes: str, index: tuple[int, ...], unknown: tuple[int, ...], split: int) -> np.ndarray:
    """One (H, W, S) plane of the pixels of a page, whose axes begin at `split` of the file's."""
    kept = [k for k, axis in enumerate(axes) if axis in "YXS" and k + split not in unknown]
    pixels = pixels[tuple(slice(None) if k in kept else index[k] for k in range(len(axes)))]
    left = "".join(axes[k] for k in kept)
    if "S" not in left:
        pixels, left = pixels[..., None], left + "S"
    pixels = pixels.transpose([left.index(axis) for axis in "YXS"])
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _segments(file: BinaryIO, series, number: int) -> list[tuple[int, int]]:
    """Where the pixels of one page lie: (offset, bytes), all of them known to be in the file."""
    page, length = series.keyframe, file.seek(0, io.SEEK_END)
    if series.dataoffset is not None:  # all pages in a row, perhaps under one page header (ImageJ)
        start = series.dataoffset + number * page.nbytes
        if start + page.nbytes > length:
            raise ImageError(CUT_OFF)
        return [(start, page.nbytes)]
    frame = series[number]
    if frame is None:
        raise ImageError("part of this image is kept in another file; export it as one OME-TIFF file.")
    if page.is_contiguous:
        segments = [(frame.dataoffsets[0], page.nbytes)]
    else:
        segments = list(zip(frame.dataoffsets, frame.databytecounts, strict=True))[: math.prod(page.chunked)]
        if len(segments) < math.prod(page.chunked):
            raise ImageError(CUT_OFF)
    if any(not start or not size or start + size > length for start, size in segments):
        raise ImageError(CUT_OFF)
    return segments


def _page_pixels(file: BinaryIO, tif, series, number: int) -> np.ndarray:
    page, segments = series.keyframe, _segments(file, series, number)
    if series.dataoffset is not None:
        file.seek(segments[0][0])
        return np.frombuffer(file.read(page.nbytes), tif.byteorder + series.dtype.char)
    if page.compression in JPEG and page.jpegheader is None:
        for start, size in segments:
            file.seek(start)
            _check_jpeg(file.read(size), page.chunks)
    return series[number].asarray(maxworkers=1)


def _check_jpeg(jpeg: bytes, chunks: tuple[int, ...]) -> None:
    """Refuse a JPEG strip or tile that does not end, or that is larger than the TIFF says."""
    if jpeg.rstrip(b"\0\xff")[-2:] != b"\xff\xd9":
        raise ImageError(CUT_OFF)
    position = 2
    while jpeg[position + 1] not in FRAME_MARKERS:
        position += 2 + struct.unpack_from(">H", jpeg, position + 2)[0]
    height, width = struct.unpack_from(">HH", jpeg, position + 5)
    if height * width > 2 * math.prod(chunks) + 4096:
        raise ImageError("the file contradicts itself about its size; it is damaged: export it again.")


def _alpha(page) -> list[int]:
    """Which of a pixel's samples are alpha."""
    own = page.samplesperpixel - len(page.extrasamples)
    return [own + i for i, extra in enumerate(page.extrasamples) if extra in (1, 2)]


def _converted(plane: np.ndarray, tif, page, depth: int, notes: list[str], alone: bool) -> np.ndarray:
    """(H, W, S) samples as the file stores them → (H, W, C) values: light, not ink or indices, without alpha.

    ``alone``: there is no other plane, which might use other colours of the colour table.
    """
    kind, said = page.photometric, []
    if plane.dtype.kind == "b":
        plane = plane.astype(np.uint8)
    if kind == 3 and page.colormap is not None and plane.shape[2] == 1:
        table = (page.colormap.T >> 8).astype(np.uint8)
        plane = np.atleast_3d(coloured(plane[..., 0], table, said, alone))
    elif kind == 5 and plane.shape[2] == 4 and plane.dtype.kind == "u" and plane.dtype.itemsize <= 2:
        plane = rgb_from_cmyk(plane)
        said.append("converted from CMYK to red, green, blue; colours may shift")
    elif kind == 0 and plane.dtype.kind == "u" and not (depth == 1 and tif.is_shaped):
        # tifffile marks every 1-bit array so, whatever it means: those are kept as they are
        plane = (2**depth - 1) - plane
        said.append("the file says that 0 is white; values were turned round so that bright is high")
    if _alpha(page) and plane.shape[2] == page.samplesperpixel:
        plane = without_alpha(plane, _alpha(page), said)
        plane = plane[..., None] if plane.ndim == 2 else plane
    notes.extend(note for note in said if note not in notes)  # once for all planes
    return plane
