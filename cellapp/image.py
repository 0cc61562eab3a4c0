"""Image files → `Image`: pixels as the file holds them, or one sentence that says why not.

A file is told by its content, never by its name, and is refused from its header, before a pixel
is decoded, when it is too large. Pixel values are never rescaled: contrast for the eye is `preview`.
"""

import hashlib
import operator
import os
import stat
from dataclasses import dataclass, replace

import numpy as np

from cellapp.errors import ImageError
from cellapp.image_files import Decoded, clean, decode_picture, row_blocks
from cellapp.image_tiff import TIFF_MAGIC, decode_tiff

MAX_PIXELS = 100_000_000  # height × width of one image
MAX_BYTES = 512 * 1024**2  # of the file
MAX_DECODED = 1024**3  # bytes of the pixels that are read, all channels together
MAX_UNDEFINED = 0.01  # share of NaN and infinite samples above which an image is refused
DOMINANT = 0.90  # share of the variance from which one channel stands for the picture

_MAX_NAME = 120


@dataclass(frozen=True, eq=False)
class Image:
    """One image as its file holds it.

    Attributes
    ----------
    pixels : (H, W) or (H, W, C) array, C ≥ 2, read-only, in the file's own values
        Any integer or floating type in native byte order; a 1-bit image is uint8 with 0 and 1.
    name : the last part of the file's name, safe to show
    channels : one name for each channel; one name for a grey image
    bit_depth : significant bits of one sample
    axes : the axes found in the file, such as "YX", "YXS", "CYX", "QYX"
    pixel_size_um : width of a pixel in µm where the file states one
    sha256 : of the file's bytes, in hexadecimal
    notes : sentences for the user: what was done to the file to read it
    """

    pixels: np.ndarray
    name: str
    channels: tuple[str, ...]
    bit_depth: int
    axes: str
    pixel_size_um: float | None
    sha256: str
    notes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.pixels.shape[:2]

    @classmethod
    def from_array(cls, pixels: np.ndarray, name: str = "array") -> "Image":
        """Wrap a (H, W) or (H, W, C) array of numbers; three channels are taken for red, green, blue.

        Raises `ImageError` for other shapes, other types, and values that are not finite.
        """
        pixels = np.asarray(pixels)
        shape = "×".join(map(str, pixels.shape))
        if pixels.ndim not in (2, 3) or 0 in pixels.shape or pixels.dtype.kind not in "buif":
            raise ImageError(
                f"{name}: an array of {shape} {pixels.dtype} is no image; give (H, W) or (H, W, C) numbers."
            )
        if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
            raise ImageError(f"{name}: it holds values that are not finite (NaN or infinite); fill them first.")
        if pixels.ndim == 3 and pixels.shape[2] == 1:
            pixels = pixels[:, :, 0]
        channels = ("grey",) if pixels.ndim == 2 else ("red", "green", "blue")
        if len(channels) != 1 and pixels.shape[2] != 3:
            channels = tuple(f"channel {k + 1}" for k in range(pixels.shape[2]))
        view = pixels.view()
        view.setflags(write=False)
        digest = hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest()
        return cls(
            view, name, channels, pixels.dtype.itemsize * 8, "YX" if pixels.ndim == 2 else "YXC", None, digest, ()
        )


def read_image(source: str | os.PathLike | bytes, name: str | None = None) -> Image:
    """Read one image file.

    Parameters
    ----------
    source : a path, or the bytes of the file
    name : the file's name where `source` is bytes; by default the path's last part, or "image"

    Raises
    ------
    ImageError
        When the file cannot be opened, is not an image, is damaged, or is larger than the limits of
        this module. The sentence begins with the file's name.
    """
    is_data = isinstance(source, (bytes, bytearray, memoryview))
    name = _display_name(name if name is not None else "image" if is_data else os.fsdecode(source))
    try:
        data = bytes(source) if is_data else _load(source)
        if len(data) > MAX_BYTES:
            raise ImageError(
                f"the file has more than the {MAX_BYTES // 1024**2} MB read here; crop it or export fewer planes."
            )
        if not data:
            raise ImageError("the file is empty (0 bytes); export it again from the microscope software.")
        decode = decode_tiff if data.startswith(TIFF_MAGIC) else decode_picture
        decoded = decode(data, max_pixels=MAX_PIXELS, max_decoded=MAX_DECODED)
        decoded = _fill_undefined(_turn_upright(decoded))
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except MemoryError as error:
        raise ImageError(f"{name}: there is not enough memory to read it; crop it or reduce it.") from error
    except Exception as error:  # decoders raise anything: ValueError, SyntaxError, struct.error, zlib.error, …
        raise ImageError(
            f"{name}: the file is damaged, cut off, or of a kind this app cannot decode; copy or export it "
            "again, as a plain TIFF or PNG."
        ) from error
    pixels = np.ascontiguousarray(decoded.pixels)
    pixels.setflags(write=False)
    return Image(
        pixels=pixels,
        name=name,
        channels=decoded.channels,
        bit_depth=decoded.bit_depth,
        axes=decoded.axes,
        pixel_size_um=decoded.pixel_size_um,
        sha256=hashlib.sha256(data).hexdigest(),
        notes=tuple(f"{note[0].upper()}{note[1:]}." for note in decoded.notes),
    )


def plane(image: Image, channel: str | int = "auto") -> tuple[np.ndarray, str]:
    """Give the one plane that a one-channel network reads, and say which it is.

    Parameters
    ----------
    channel : "auto", "mean", the name of a channel in any case, or its index from 0
        "auto" takes the channel that alone holds at least 90 % of the summed variance of all
        channels, such as the one colour of a fluorescence picture, and else their mean.

    Returns
    -------
    values : (H, W) float32, a new array, in the file's own values
        Equal channels give exactly the plane of the grey image.
    which : a short sentence; "" for a grey image

    Raises
    ------
    ImageError
        When there is no such channel; the sentence lists the choices.
    """
    index = _channel_index(image, channel)
    if image.pixels.ndim == 2:
        return image.pixels.astype(np.float32), ""
    which = image.channels[index] if isinstance(index, int) else ""
    if index == "auto":
        variances = _variances(image.pixels)
        best, total = int(variances.argmax()), variances.sum()
        if total > 0 and variances[best] >= DOMINANT * total:
            percent = int(100 * variances[best] / total)
            index, which = best, f"{image.channels[best]}: it holds {percent} % of the variation"
    if isinstance(index, int):
        return image.pixels[:, :, index].astype(np.float32), which
    mean, number = np.empty(image.shape, np.float32), len(image.channels)
    for rows in row_blocks(image.pixels):
        # float64 sums of float32 samples are exact here, so equal channels give back their own values
        total = np.zeros(mean[rows].shape, np.float64)
        for c in range(number):
            total += image.pixels[rows, :, c].astype(np.float32)
        mean[rows] = total / number
    return mean, f"mean of {', '.join(image.channels) if number <= 6 else f'all {number} channels'}"


def preview(plane: np.ndarray, low: float = 0.5, high: float = 99.8, max_side: int | None = None) -> np.ndarray:
    """Stretch a plane's contrast for the eye; never for a network.

    Parameters
    ----------
    plane : (H, W) array of any real type
    low, high : percentiles shown as black and as white, taken from a subsample of a large plane
    max_side : longest side of the result in pixels; a larger plane is reduced by averaging areas

    Returns
    -------
    (H', W') uint8; all 0 where the plane is constant
    """
    plane = np.asarray(plane)
    if plane.ndim != 2:
        raise ValueError(f"preview takes one (H, W) plane, not an array of shape {plane.shape}")
    step = max(1, int(np.ceil((plane.size / 2**20) ** 0.5)))
    black, white = _finite_range(plane[::step, ::step], low, high)
    if not black < white:  # few bright specks on a flat ground: show them all the same
        black, white = _finite_range(plane, 0, 100)
    small = _reduced(plane, max_side, fill=black)
    shown = np.zeros(small.shape, np.uint8)
    if black < white:
        for rows in row_blocks(small):
            share = (small[rows].astype(np.float64) - black) / (white - black)
            shown[rows] = np.clip(np.nan_to_num(share, nan=0.0), 0, 1) * 255 + 0.5
    return shown


def _load(path: str | os.PathLike) -> bytes:
    """Read a regular file, at most one byte more than the limit."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise ImageError("this is a folder, not an image file; give the files in it one by one.")
        if not stat.S_ISREG(mode):
            raise ImageError("this is a device or a pipe, not a file; give an image file.")
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError("there is no such file; check its name and its folder.") from error
    except PermissionError as error:
        raise ImageError("the file may not be opened; ask for the right to read it.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "bad name"
        raise ImageError(f"the file cannot be opened ({reason}); check its name and the disk.") from error


def _display_name(name: str) -> str:
    """Give the last part of a path, safe to show."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return clean(last, _MAX_NAME) or "image"


def _turn_upright(decoded: Decoded) -> Decoded:
    """Apply the EXIF or TIFF orientation (2 to 8), once."""
    turns = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a.swapaxes(0, 1)[:, ::-1],
        7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
        8: lambda a: a.swapaxes(0, 1)[::-1],
    }
    turn = turns.get(decoded.orientation)
    if turn is None:
        return decoded
    note = f"turned upright as the file's orientation mark ({decoded.orientation}) says"
    return replace(decoded, pixels=turn(decoded.pixels), orientation=1, notes=[*decoded.notes, note])


def _fill_undefined(decoded: Decoded) -> Decoded:
    """Fill the few NaN, infinite and unusably large samples of each channel with its median."""
    if decoded.pixels.dtype.kind != "f":
        return decoded
    undefined = ~(np.abs(decoded.pixels) <= np.finfo(np.float32).max)
    number = int(np.count_nonzero(undefined.any(axis=2) if undefined.ndim == 3 else undefined))
    if not number:
        return decoded
    worst = float(undefined.mean(axis=(0, 1)).max())
    if worst > MAX_UNDEFINED:
        raise ImageError(
            f"{100 * worst:.3g} % of its pixels have no value (NaN or infinite) and up to 1 % are filled; "
            "crop the image or fill them in the program that made it."
        )
    pixels = decoded.pixels.copy()
    channels = np.atleast_3d(pixels)  # a view: writing to it writes to `pixels`
    for c, holes in enumerate(np.moveaxis(np.atleast_3d(undefined), 2, 0)):
        if holes.any():
            channels[:, :, c][holes] = np.median(channels[:, :, c][~holes])
    subject = "1 pixel without a value was" if number == 1 else f"{number} pixels without a value were"
    return replace(decoded, pixels=pixels, notes=[*decoded.notes, f"{subject} filled with the median"])


def _channel_index(image: Image, channel: str | int) -> str | int:
    """Give "auto", "mean" or an index from 0."""
    if isinstance(channel, str):
        wanted = channel.strip().casefold()
        if wanted in ("auto", "mean"):
            return wanted
        names = [name.casefold() for name in image.channels]
        if wanted in names:
            return names.index(wanted)
        if wanted == "grey" and len(names) == 1:
            return 0
    else:
        index = operator.index(channel)
        if 0 <= index < len(image.channels):
            return index
    choices = ", ".join(("auto", "mean", *image.channels))
    raise ImageError(
        f"{image.name}: it has no channel {str(channel)[:40]!r}; choose one of {choices}, or a number from "
        f"0 to {len(image.channels) - 1}."
    )


def _variances(pixels: np.ndarray) -> np.ndarray:
    """(C,) float64 variance of each channel of (H, W, C) pixels."""
    variances = []
    for channel in np.moveaxis(pixels, 2, 0):
        mean = channel.mean(dtype=np.float64)
        blocks = ((channel[rows] - mean).ravel() for rows in row_blocks(channel))
        variances.append(sum(float(block @ block) for block in blocks) / channel.size)
    return np.array(variances)


def _finite_range(plane: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Two percentiles of the finite values; (0, 0) where there are none."""
    finite = plane[np.isfinite(plane)]
    if not finite.size:
        return 0.0, 0.0
    if (low, high) == (0, 100):
        return float(finite.min()), float(finite.max())
    black, white = np.percentile(finite.astype(np.float64), (low, high))
    return float(black), float(white)


def _reduced(plane: np.ndarray, max_side: int | None, fill: float) -> np.ndarray:
    """Average areas until the longest side is `max_side`; values that are not finite become `fill`."""
    longest = max(plane.shape)
    if max_side is None or longest <= max_side:
        return plane
    import cv2

    small = np.asarray(plane, np.float32)
    finite = np.isfinite(small)
    if not finite.all():
        small = np.where(finite, small, np.float32(fill))
    width, height = (max(1, round(side * max_side / longest)) for side in plane.shape[::-1])
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_AREA)
