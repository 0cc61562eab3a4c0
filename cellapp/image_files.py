"""What the decoders of image files share: limits told from the header, colour tables, ink and alpha, names.

Errors are sentences without the file's name, which `read_image` puts in front.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree

import numpy as np

from cellapp.errors import ImageError

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
CUT_OFF = "the file is cut off: part of its pixels is missing; copy or export it again."
MAX_XML = 64 * 1024**2  # letters
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


def looks_like(data: bytes) -> str:
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


def refuse_doctype(xml: str) -> None:
    """Refuse metadata with definitions of its own: microscopes write none, and XML bombs are made of them."""
    if re.search(r"<!\s*(DOCTYPE|ENTITY)", xml, re.IGNORECASE):
        raise ImageError("the file's metadata hold XML definitions, which may be an attack; export the image again.")


def checked_xml(xml: str) -> ElementTree.Element:
    """The root of a file's metadata, which neither define anything nor are longer than 64 MB."""
    refuse_doctype(xml)
    if len(xml) > MAX_XML:
        raise ImageError("the file's metadata are longer than any microscope's; export it as OME-TIFF.")
    return ElementTree.fromstring(xml)


def micrometres(value: str | float, factor: float) -> float | None:
    """A pixel's width in µm, from a number in another unit; None for nonsense."""
    try:
        size = float(value) * factor
    except ValueError:
        return None
    return size if 1e-4 < size < 1e4 else None


def distinct(names: Sequence[str], count: int) -> tuple[str, ...]:
    """Make as many names of channels, safe to show, none empty, none twice."""
    if not any(names):
        return ("grey",) if count == 1 else tuple(f"channel {i + 1}" for i in range(count))
    result = []
    for i, name in enumerate(names):
        name = clean(str(name), 60) or f"channel {i + 1}"
        result.append(f"{name} ({i + 1})" if name in result else name)
    return tuple(result)


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


def row_blocks(array: np.ndarray) -> Iterator[slice]:
    """Cut the rows into blocks whose copies, in any type, stay small."""
    step = max(1, BLOCK // max(1, array[0].size))
    for start in range(0, len(array), step):
        yield slice(start, start + step)


def coloured(indices: np.ndarray, table: np.ndarray, notes: list[str], alone: bool = True) -> np.ndarray:
    """Look (H, W) indices up in an (N, 3) uint8 table: (H, W) if every colour in use is grey, else RGB.

    Of several planes (not ``alone``) each may use other colours, so all of the table must be grey there.
    """
    numbers = sum(np.bincount(indices[rows].ravel(), minlength=2**16) for rows in row_blocks(indices))
    used = np.flatnonzero(numbers)
    if used[-1] >= len(table):
        raise ImageError("the file's colour table is too short for its pixels; save it again as RGB.")
    if (table[used if alone else ...] == table[used if alone else ...][:, :1]).all():
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
