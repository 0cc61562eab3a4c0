"""A PNG, JPEG, BMP, GIF or WebP file → its header and its one picture; and what no decoder here reads."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from cellapp.axes import Stack
from cellapp.errors import ImageError
from cellapp.image_files import (
    COLOURS,
    TRANSPARENT,
    Decoded,
    check_bytes,
    check_pixels,
    coloured,
    looks_like,
    rgb_from_cmyk,
    without_alpha,
)

# Pillow's classes are called directly: Image.open would try other formats, and would warn or raise by
# limits that belong to the whole process.
PICTURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG", PngImagePlugin.PngImageFile),
    (b"\xff\xd8\xff", "JPEG", JpegImagePlugin.JpegImageFile),
    (b"BM", "BMP", BmpImagePlugin.BmpImageFile),
    (b"GIF87a", "GIF", GifImagePlugin.GifImageFile),
    (b"GIF89a", "GIF", GifImagePlugin.GifImageFile),
    (b"RIFF", "WebP", WebPImagePlugin.WebPImageFile),
)
MICROSCOPE_FILES = (  # offset, magic bytes, what it is
    (0, b"\xd0\xcf\x11\xe0", "an Olympus OIB or Zeiss ZVI file"),
    (0, b"\x89HDF", "an HDF5 file, such as Imaris"),
    (0, b"\0\0\0\x0cjP  ", "a Nikon ND2 file of the older kind, or JPEG 2000"),
    (128, b"DICM", "a DICOM file"),
)


@contextmanager
def open_picture(file: BinaryIO, *, max_pixels: int, max_decoded: int) -> Iterator[Stack]:
    """Describe the first frame of a file; it can be decoded until the block ends.

    Raises
    ------
    ImageError
        When the bytes are not an image of a format read here, or exceed `max_pixels` (height × width)
        or `max_decoded` (bytes in memory).
    Exception
        Whatever a decoder raises on a damaged file.
    """
    file.seek(0)
    start = file.read(4096)
    for magic, kind, plugin in PICTURES:
        if start.startswith(magic) and (magic != b"RIFF" or start[8:12] == b"WEBP"):
            if kind == "WebP":  # Pillow takes memory for the whole picture on opening
                width, height = _webp_size(start)
                check_pixels(height, width, max_pixels)
            file.seek(0)
            with plugin(file) as picture:
                yield _stack(file, picture, kind, start, max_pixels, max_decoded)
            return
    for offset, magic, kind in MICROSCOPE_FILES:
        if start.startswith(magic, offset):
            raise ImageError(
                f"this is {kind}, which this app does not read; export it as OME-TIFF, from the microscope's "
                "software or from Fiji."
            )
    raise ImageError(
        f"this is not an image this app reads (looks like {looks_like(start)}); save it as TIFF, PNG or JPEG."
    )


def _stack(file: BinaryIO, picture, kind: str, start: bytes, max_pixels: int, max_decoded: int) -> Stack:
    depth, colour = (start[24], start[25]) if kind == "PNG" else (8, 0)
    width, height = picture.size
    deep = depth == 16 and colour != 0
    check_pixels(height, width, max_pixels)
    check_bytes((8 if deep else 4) * width * height, max_decoded)
    mode = picture.mode
    rgb = colour in (2, 6) if deep else mode not in ("1", "L", "LA", "I", "I;16", "P")
    if mode == "P":
        table = _header_palette(picture)
        rgb = bool((table != table[:, :1]).any())
    small = kind == "PNG" and depth < 8 and mode in ("1", "L")
    notes = ["an animation; frame 1 is read"] if getattr(picture, "is_animated", False) else []
    # asking a PNG for the EXIF data that it does not begin with would decode it
    orientation = _orientation(picture, []) if "exif" in picture.info else 1
    return Stack(
        kind=kind,
        axes="YXS" if rgb else "YX",
        sizes=(height, width, 3) if rgb else (height, width),
        dtype=np.dtype(np.uint16 if depth == 16 else np.uint8),
        bit_depth=1 if mode == "1" else depth if small or depth == 16 else 8,
        samples=3 if rgb else 1,
        rgb=rgb,
        orientation=orientation,
        whole=lambda: _decode(file, picture, depth, colour, notes),
        notes=notes,
    )


def _header_palette(picture) -> np.ndarray:
    """(N, 3) uint8 colour table; asking Pillow for it, as `_palette` does, would decode the picture."""
    order, data = picture.palette.getdata()
    table = np.array(bytearray(data[: len(data) // len(order) * len(order)]), np.uint8).reshape(-1, len(order))
    return table[:, [order.index(colour) for colour in "RGB"]]


def _palette(picture) -> np.ndarray:
    """(N, 3) uint8 colour table of a decoded picture."""
    return np.array(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)


def _decode(file: BinaryIO, picture, png_depth: int, png_type: int, notes: list[str]) -> Decoded:
    """Decode the first frame."""
    notes = list(notes)
    width, height = picture.size
    picture.seek(0)
    picture.load()
    mode, has_key = picture.mode, "transparency" in picture.info
    orientation = _orientation(picture, notes)
    values = np.array(picture)
    bit_depth = 8 * values.dtype.itemsize
    if png_depth == 16 and png_type != 0:  # Pillow keeps only the upper 8 bits of these
        import imagecodecs

        file.seek(0)
        values, bit_depth = imagecodecs.png_decode(file.read()), 16
        values = values.reshape(height, width, -1)[:, :, : {2: 3, 4: 2, 6: 4}[png_type]]
    elif mode == "1":
        values, bit_depth = values.astype(np.uint8), 1
    elif mode == "L" and png_depth < 8:  # Pillow stretches 2 and 4 bits to 0…255
        values, bit_depth = values // (255 // (2**png_depth - 1)), png_depth
    elif mode == "P":
        values = coloured(values, _palette(picture), notes)
    elif mode == "CMYK":
        values = rgb_from_cmyk(values)
        notes.append("converted from CMYK to red, green, blue; colours may shift")
    if values.ndim == 3 and values.shape[2] in (2, 4):
        values = without_alpha(values, [values.shape[2] - 1], notes)
    if has_key:
        notes.append(f"transparency dropped: {TRANSPARENT}")
    grey = values.ndim == 2
    return Decoded(
        pixels=values,
        axes="YX" if grey else "YXS",
        channels=("grey",) if grey else COLOURS,
        bit_depth=bit_depth,
        notes=notes,
        orientation=orientation,
    )


def _webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) from the header of a WebP file (RFC 9649)."""
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _orientation(picture: PngImagePlugin.PngImageFile, notes: list[str]) -> int:
    """EXIF orientation, 1 to 8; damaged EXIF data is no reason to refuse the pixels."""
    try:
        return picture.getexif().get(0x0112, 1)
    except Exception:
        notes.append("its EXIF data is damaged and was ignored; check that the image is upright")
        return 1
