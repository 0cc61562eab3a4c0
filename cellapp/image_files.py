"""Bytes of a PNG, JPEG, BMP, GIF or WebP file → pixels, and what every other file looks like.

The rules, here and in `image_tiff`: a size is checked from the header before anything is decoded;
errors are sentences without the file's name, which `read_image` puts in front.
"""

import io
import struct
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from cellapp.errors import ImageError

# Pillow's classes are called directly: Image.open would try other formats, and would warn or raise by
# limits that belong to the whole process.
PICTURES = (
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"GIF87a", GifImagePlugin.GifImageFile),
    (b"GIF89a", GifImagePlugin.GifImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
)
MICROSCOPE_FILES = (  # offset, magic bytes, what it is
    (0, b"ZISRAWFILE", "a Zeiss CZI file"),
    (0, b"\xda\xce\xbe\x0a", "a Nikon ND2 file"),
    (0, b"p\0\0\0", "a Leica LIF file"),
    (0, b"\xd0\xcf\x11\xe0", "an Olympus OIB or Zeiss ZVI file"),
    (0, b"\x89HDF", "an HDF5 file, such as Imaris"),
    (128, b"DICM", "a DICOM file"),
)
OTHER_FILES = (
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"PK\x05\x06", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"7z\xbc\xaf", "a 7z archive"),
    (0, b"Rar!", "a rar archive"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (4, b"ftyp", "HEIC, AVIF or a film"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"RIFF", "a film or a sound"),
    (0, b"\0\0\1\0", "an icon"),
)
COLOURS = ("red", "green", "blue")
TRANSPARENT = "transparent parts show the colour stored under them"
BLOCK = 2**22  # samples worked on at a time


@dataclass(frozen=True)
class Decoded:
    """What a decoder found: (H, W) or (H, W, C) pixels, still as the file orients them."""

    pixels: np.ndarray
    axes: str
    channels: tuple[str, ...]
    bit_depth: int
    notes: list[str] = field(default_factory=list)
    orientation: int = 1
    pixel_size_um: float | None = None


def decode_picture(data: bytes, *, max_pixels: int, max_decoded: int) -> Decoded:
    """Decode the first frame of a file that is not a TIFF.

    Raises
    ------
    ImageError
        When the bytes are not an image of a format read here, or exceed `max_pixels` (height × width)
        or `max_decoded` (bytes in memory).
    Exception
        Whatever a decoder raises on a damaged file.
    """
    for magic, plugin in PICTURES:
        if data.startswith(magic) and (magic != b"RIFF" or data[8:12] == b"WEBP"):
            return _decode_with(plugin, data, max_pixels, max_decoded)
    for offset, magic, kind in MICROSCOPE_FILES:
        if data.startswith(magic, offset):
            raise ImageError(
                f"this is {kind}, which this app does not read; export it as OME-TIFF, from the microscope's "
                "software or from Fiji."
            )
    raise ImageError(
        f"this is not an image this app reads (looks like {_looks_like(data)}); save it as TIFF, PNG or JPEG."
    )


def _looks_like(data: bytes) -> str:
    """Name the kind of a file that is not an image read here."""
    for offset, magic, kind in OTHER_FILES:
        if data.startswith(magic, offset):
            return kind
    start = data[:4096]
    text = start.decode("utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8", "replace")
    if "<svg" in text.lower():
        return "SVG, a drawing"
    if "<html" in text.lower():
        return "a web page"
    strange = sum(c == "�" or (c < " " and c not in "\t\r\n\f") for c in text)
    return "text" if strange <= 0.02 * len(text) else "some other kind of data"


def clean(text: str, length: int) -> str:
    """Cut a text and take out the characters that steer a terminal or the direction of the text."""
    steering = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    return "".join(c for c in text if unicodedata.category(c) not in steering)[:length].strip()


def check_pixels(height: int, width: int, max_pixels: int) -> None:
    """Refuse, from the numbers of the header, an image of too many pixels, or of none."""
    if height < 1 or width < 1:
        raise ImageError(f"the image has no pixels ({width} x {height}); export it again.")
    if height * width > max_pixels:
        raise ImageError(
            f"the image has {width:,} x {height:,} pixels, more than the {max_pixels / 1e6:,g} million read "
            "here; crop it or reduce it."
        )


def check_bytes(decoded_bytes: int, max_decoded: int) -> None:
    """Refuse, from the numbers of the header, pixels that take too much memory."""
    if decoded_bytes > max_decoded:
        raise ImageError(
            f"the image takes {decoded_bytes / 1024**3:,.2f} GB when opened, more than the "
            f"{max_decoded / 1024**3:g} GB allowed; crop it or export fewer channels."
        )


def _decode_with(plugin: type, data: bytes, max_pixels: int, max_decoded: int) -> Decoded:
    """Decode the first frame with one of Pillow's plugins."""
    if plugin is WebPImagePlugin.WebPImageFile:  # it takes memory for the whole picture on opening
        width, height = _webp_size(data)
        check_pixels(height, width, max_pixels)
    png_depth, png_type = (data[24], data[25]) if plugin is PngImagePlugin.PngImageFile else (8, 0)
    deep_colour = png_depth == 16 and png_type != 0
    with plugin(io.BytesIO(data)) as picture:
        width, height = picture.size
        check_pixels(height, width, max_pixels)
        check_bytes((8 if deep_colour else 4) * width * height, max_decoded)
        notes = ["an animation; frame 1 is read"] if getattr(picture, "is_animated", False) else []
        picture.seek(0)
        picture.load()
        mode, has_key = picture.mode, "transparency" in picture.info
        orientation = _orientation(picture, notes)
        values = np.array(picture)
        palette = np.array(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3) if mode == "P" else None
    bit_depth = 8 * values.dtype.itemsize
    if deep_colour:  # Pillow keeps only the upper 8 bits of these
        import imagecodecs

        values, bit_depth = imagecodecs.png_decode(data), 16
        values = values.reshape(height, width, -1)[:, :, : {2: 3, 4: 2, 6: 4}[png_type]]
    elif mode == "1":
        values, bit_depth = values.astype(np.uint8), 1
    elif mode == "L" and png_depth < 8:  # Pillow stretches 2 and 4 bits to 0…255
        values, bit_depth = values // (255 // (2**png_depth - 1)), png_depth
    elif mode == "P":
        values = coloured(values, palette, notes)
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


def row_blocks(array: np.ndarray) -> Iterator[slice]:
    """Cut the rows into blocks whose copies, in any type, stay small."""
    step = max(1, BLOCK // max(1, array[0].size))
    for start in range(0, len(array), step):
        yield slice(start, start + step)


def coloured(indices: np.ndarray, table: np.ndarray, notes: list[str]) -> np.ndarray:
    """Look (H, W) indices up in an (N, 3) uint8 table: (H, W) if every colour in use is grey, else RGB."""
    numbers = sum(np.bincount(indices[rows].ravel(), minlength=2**16) for rows in row_blocks(indices))
    used = np.flatnonzero(numbers)
    if used[-1] >= len(table):
        raise ImageError("the file's colour table is too short for its pixels; save it again as RGB.")
    if (table[used] == table[used][:, :1]).all():
        table = table[:, 0]
    else:
        notes.append("the colours of its colour table were read as red, green, blue")
    values = np.empty((*indices.shape, *table.shape[1:]), np.uint8)
    for rows in row_blocks(indices):
        values[rows] = table[indices[rows]]
    return values


def rgb_from_cmyk(ink: np.ndarray) -> np.ndarray:
    """(H, W, 4) ink, unsigned → (H, W, 3) light: (full − ink)(full − black) / full, as Pillow does."""
    full = int(np.iinfo(ink.dtype).max)
    rgb = np.empty((*ink.shape[:2], 3), ink.dtype)
    for rows in row_blocks(ink):
        light = full - ink[rows].astype(np.uint32)
        rgb[rows] = (light[:, :, :3] * light[:, :, 3:] + full // 2) // full
    return rgb


def without_alpha(values: np.ndarray, alpha: list[int], notes: list[str]) -> np.ndarray:
    """Drop the alpha samples of (..., S) values, with a note; (...,) where one sample is left."""
    for index in alpha:
        constant = values[..., index].min() == values[..., index].max()
        notes.append("alpha channel dropped" if constant else f"alpha channel dropped; it varied: {TRANSPARENT}")
    values = np.delete(values, alpha, axis=-1)
    return values[..., 0] if values.shape[-1] == 1 else values
