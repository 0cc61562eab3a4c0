"""Bytes of a TIFF file (BigTIFF, OME and ImageJ among them) → the pixels of its first plane, all channels.

tifffile understands the layout and decodes. It trusts what a file says of itself, so the sizes, the
list of pages and the place of every strip and tile are checked here first.
"""

import functools
import io
import itertools
import logging
import math
import re
import struct
from xml.etree import ElementTree

import numpy as np

from cellapp.errors import ImageError
from cellapp.image_files import (
    COLOURS,
    Decoded,
    check_bytes,
    check_pixels,
    clean,
    coloured,
    rgb_from_cmyk,
    without_alpha,
)

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MAX_PAGES = 100_000
JPEG = (7, 33007)  # compression schemes whose strips and tiles are whole JPEG pictures
FRAME_MARKERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # of a JPEG picture: where its size stands
RAW_OR_LAB = (32803, 34892, 8, 9, 10)  # photometric: colour filter array, linear raw, three kinds of Lab
MICROSCOPE_FLAGS = ("fluoview", "lsm", "ndpi", "qpi", "scn", "sis", "stk", "svs")
MICROMETRES = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "mm": 1e3, "cm": 1e4}
PLANES = {"Z": "focal planes; the first is read", "T": "time points; the first is read"}
CUT_OFF = "the file is cut off: part of its pixels is missing; copy or export it again."


def decode_tiff(data: bytes, *, max_pixels: int, max_decoded: int) -> Decoded:
    """Decode the first plane of the first series, all channels.

    Of every axis other than rows (Y), columns (X), channels (C) and samples (S) index 0 is read.

    Raises
    ------
    ImageError
        When the file exceeds `max_pixels` (height × width) or `max_decoded` (bytes in memory), or
        holds something other than a picture.
    Exception
        Whatever tifffile or a codec raises on a damaged file.
    """
    _check_pages(data)
    with _tifffile().TiffFile(io.BytesIO(data), name="image.tif", _multifile=False) as tif:
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
        notes = _plane_notes(axes, shape, len(whole))
        pixels = _first_plane(data, tif, series, max_decoded)  # (C, H, W, S)
        pixels, names, depth = _colours(pixels, tif, page, notes)
        tag = page.tags.get(274)
        return Decoded(
            pixels=pixels,
            axes=axes,
            channels=names,
            bit_depth=depth,
            notes=notes,
            orientation=tag.value if tag is not None else 1,
            pixel_size_um=_pixel_size(tif, page),
        )


@functools.cache
def _tifffile():
    """Import tifffile on first use (half a second), and keep its remarks on bad files off the console."""
    import tifffile

    logger = logging.getLogger("tifffile")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return tifffile


def _check_pages(data: bytes) -> None:
    """Walk the list of pages: it must end, inside the file, without turning in a circle."""
    order = "<" if data[:2] == b"II" else ">"
    big = b"+" in data[:4]
    start, count, entry, follow = (8, "Q", 20, "Q") if big else (4, "H", 12, "I")
    try:
        seen = set()
        (offset,) = struct.unpack_from(order + follow, data, start)
        while offset:
            if offset in seen or len(seen) >= MAX_PAGES:
                raise ImageError("the file's list of pages has no end; it is damaged: export it again.")
            seen.add(offset)
            (tags,) = struct.unpack_from(order + count, data, offset)
            offset += struct.calcsize(order + count) + tags * entry
            (offset,) = struct.unpack_from(order + follow, data, offset)
    except struct.error as error:
        raise ImageError(CUT_OFF) from error
    if not seen:
        raise ImageError("the file holds no picture; export it again.")


def _check_ome(tif) -> None:
    """Refuse OME metadata whose numbers would make tifffile build endless lists."""
    lengths = r"\b(?:PlaneCount|NumPlanes|IFD|(?:Size|First)[CZT])\s*=\s*[\"'](\d+)"
    numbers = re.findall(lengths, tif.ome_metadata or "")
    if any(len(number) > 7 or int(number) > MAX_PAGES for number in numbers):
        raise ImageError("the file's OME metadata is damaged (impossible numbers); export it again.")


def _plane_notes(axes: str, shape: tuple[int, ...], series: int) -> list[str]:
    """Say what was left unread."""
    notes = []
    for axis, size in zip(axes, shape, strict=True):
        if axis not in "YXCS" and size > 1:
            notes.append(f"{size} {PLANES.get(axis, 'pages; page 1 is read')}")
    if series > 1:
        notes.append(f"{series} picture series in the file; the first is read")
    return notes


def _first_plane(data: bytes, tif, series, max_decoded: int) -> np.ndarray:
    """(C, H, W, S) pixels in native byte order: index 0 of every other axis."""
    page, shape, axes = series.keyframe, series.shape, series.axes
    # the last axes are those of one page, the axes before them run over pages
    split = next(k for k in range(len(axes)) if math.prod(shape[k:]) == page.size)
    if set(axes[:split]) & set("YXS"):
        raise ImageError("the file cuts one picture over several pages; export it as a plain TIFF.")
    ranges = [range(n) if axis == "C" else (0,) for n, axis in zip(shape[:split], axes[:split], strict=True)]
    check_bytes(math.prod(map(len, ranges)) * page.nbytes, max_decoded)
    check_bytes(math.prod(page.chunks) * series.dtype.itemsize, max_decoded)
    planes = []
    for index in itertools.product(*ranges):
        number = int(np.ravel_multi_index(index, shape[:split])) if split else 0
        planes.append(_page_pixels(data, tif, series, number).reshape(shape[split:]))
    pixels = np.stack(planes) if len(planes) > 1 else planes[0][None]
    axes = "C" + axes[split:] if "C" not in axes[split:] else "I" + axes[split:]
    for axis in [axis for axis in axes if axis not in "YXCS"]:
        pixels = pixels.take(0, axis=axes.index(axis))
        axes = axes.replace(axis, "", 1)
    for axis in "CS":
        if axis not in axes:
            pixels, axes = pixels[None], axis + axes
    pixels = pixels.transpose([axes.index(axis) for axis in "CYXS"])
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _page_pixels(data: bytes, tif, series, number: int) -> np.ndarray:
    """Pixels of one page, once all of them are known to be in the file."""
    page = series.keyframe
    if series.dataoffset is not None:  # all pages in a row, perhaps under one page header (ImageJ)
        start = series.dataoffset + number * page.nbytes
        if start + page.nbytes > len(data):
            raise ImageError(CUT_OFF)
        return np.frombuffer(data, tif.byteorder + series.dtype.char, page.size, start).copy()
    frame = series[number]
    if frame is None:
        raise ImageError("part of this image is kept in another file; export it as one OME-TIFF file.")
    if page.is_contiguous:
        segments = [(frame.dataoffsets[0], page.nbytes)]
    else:
        segments = list(zip(frame.dataoffsets, frame.databytecounts, strict=True))[: math.prod(page.chunked)]
        if len(segments) < math.prod(page.chunked):
            raise ImageError(CUT_OFF)
    for start, size in segments:
        if not start or not size or start + size > len(data):
            raise ImageError(CUT_OFF)
        if page.compression in JPEG and page.jpegheader is None:
            _check_jpeg(data[start : start + size], page.chunks)
    return frame.asarray(maxworkers=1)


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


def _colours(pixels: np.ndarray, tif, page, notes: list[str]) -> tuple[np.ndarray, tuple[str, ...], int]:
    """(C, H, W, S) samples → (H, W) or (H, W, C) pixels, the names of the channels, significant bits."""
    kind, bits = page.photometric, page.bitspersample
    depth = bits if isinstance(bits, int) and bits < 8 * pixels.dtype.itemsize else 8 * pixels.dtype.itemsize
    if pixels.dtype.kind not in "buif":
        raise ImageError("its numbers are complex; export the magnitude as float32.")
    if pixels.dtype.kind == "b":
        pixels, depth = pixels.astype(np.uint8), 1
    own = page.samplesperpixel - len(page.extrasamples)
    alpha = [own + i for i, extra in enumerate(page.extrasamples) if extra in (1, 2)]
    if kind == 3 and page.colormap is not None and pixels.shape[3] == 1:
        table = (page.colormap.T >> 8).astype(np.uint8)
        pixels, depth = np.stack([np.atleast_3d(coloured(plane[..., 0], table, notes)) for plane in pixels]), 8
    elif kind == 5 and pixels.shape[3] == 4 and pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2:
        pixels = np.stack([rgb_from_cmyk(plane) for plane in pixels])
        notes.append("converted from CMYK to red, green, blue; colours may shift")
    elif kind == 0 and pixels.dtype.kind == "u" and not (depth == 1 and tif.is_shaped):
        # tifffile marks every 1-bit array so, whatever it means: those are kept as they are
        pixels = (2**depth - 1) - pixels
        notes.append("the file says that 0 is white; values were turned round so that bright is high")
    if alpha and pixels.shape[3] == page.samplesperpixel:
        pixels = without_alpha(pixels, alpha, notes)
        pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    names, significant = _ome_names(tif)
    if significant and significant < depth:
        depth = significant
    count = pixels.shape[0] * pixels.shape[3]
    rgb = pixels.shape[3] == 3 and kind in (2, 3, 5, 6) and len(pixels) == 1
    pixels = np.moveaxis(pixels, 0, 2).reshape(*pixels.shape[1:3], count)
    if rgb:
        return pixels, COLOURS, depth
    names = _distinct(names if len(names) == count else _imagej_names(tif, count), count)
    return (pixels, names, depth) if count > 1 else (pixels[..., 0], names, depth)


def _ome_names(tif) -> tuple[list[str], int | None]:
    """Names of the channels and the significant bits that OME metadata give; ([], None) without."""
    pixels = _ome_pixels(tif)
    if pixels is None:
        return [], None
    names = [child.get("Name", "") for child in pixels if child.tag.endswith("Channel")]
    bits = pixels.get("SignificantBits", "")
    return names, int(bits) if bits.isdigit() and 0 < int(bits) <= 64 else None


def _ome_pixels(tif) -> ElementTree.Element | None:
    """Pixels element of the first image."""
    if not tif.is_ome:
        return None
    try:
        root = ElementTree.fromstring(tif.ome_metadata)
    except ElementTree.ParseError:
        return None
    return next((element for element in root.iter() if element.tag.endswith("}Pixels")), None)


def _imagej_names(tif, count: int) -> list[str]:
    """Labels that ImageJ gives the first planes."""
    labels = (tif.imagej_metadata or {}).get("Labels", []) if tif.is_imagej else []
    return list(labels[:count]) if count > 1 and len(labels) >= count else []


def _distinct(names: list[str], count: int) -> tuple[str, ...]:
    """Make as many names, none empty, none twice."""
    if not any(names):
        return ("grey",) if count == 1 else tuple(f"channel {i + 1}" for i in range(count))
    result = []
    for i, name in enumerate(names):
        name = clean(str(name), 60) or f"channel {i + 1}"
        result.append(f"{name} ({i + 1})" if name in result else name)
    return tuple(result)


def _pixel_size(tif, page) -> float | None:
    """Width of a pixel in µm where the file states it; print resolutions (dots per inch) say nothing."""
    ome = _ome_pixels(tif)
    try:
        if ome is not None:
            unit, units = ome.get("PhysicalSizeXUnit", "µm"), float(ome.get("PhysicalSizeX", "0"))
        else:
            numerator, denominator = page.tags[282].value  # XResolution: pixels for each unit
            units = denominator / numerator
            unit = ""
            if tif.is_imagej:
                unit = (tif.imagej_metadata or {}).get("unit", "")
            elif page.resolutionunit == 3 and any(getattr(tif, f"is_{flag}") for flag in MICROSCOPE_FLAGS):
                unit = "cm"
    except (KeyError, TypeError, ValueError, ZeroDivisionError):  # none stated, or nonsense
        return None
    size = units * MICROMETRES.get(str(unit).replace("\\u00B5", "µ").replace("μ", "µ"), 0.0)
    return size if 1e-4 < size < 1e4 else None
