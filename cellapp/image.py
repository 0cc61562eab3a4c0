"""Image files → `Image`: pixels as the file holds them, or one sentence that says why not.

A file is told by its content, never by its name, and is refused from its header, before a pixel
is decoded, when it is too large. Pixel values are never rescaled: contrast for the eye is `preview`.
"""

import hashlib
import io
import operator
import os
from dataclasses import dataclass

import numpy as np

from cellapp.axes import choose, read
from cellapp.errors import ImageError
from cellapp.image_files import row_blocks
from cellapp.image_open import is_data, name_of, open_file, open_stack, opening, sentences
from cellapp.image_tidy import fill_undefined, turn_upright

MAX_PIXELS = 100_000_000  # height × width of one image
MAX_BYTES = 512 * 1024**2  # of the file
MAX_DECODED = 1024**3  # bytes of the pixels that are read, all channels together
DOMINANT = 0.90  # share of the variance from which one channel stands for the picture


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


def read_image(source: str | os.PathLike | bytes, name: str | None = None, *, pages: str = "ask", z: str | int = "max",
               frame: int = 1) -> Image:
    """Read one image file: all channels of one focal plane, or of a projection, at one time point.

    Parameters
    ----------
    source : a path, or the bytes of the file
    name : the file's name where `source` is bytes; by default the path's last part, or "image"
    pages : what the pages of a file mean that does not say so: "ask", "channels", "z" or "time"
    z : of focal planes the "max", "min" or "mean", or the number of one from 1
    frame : of time points, from 1

    Raises
    ------
    AxesError
        When nobody says what the file's pages are, or it has no such plane.
    ImageError
        When the file cannot be opened, is not an image, is damaged, or is larger than the limits of
        this module. The sentence begins with the file's name.
    """
    name = name_of(source, name)
    with sentences(name):
        choice = choose(pages, z, frame)
        data = bytes(source) if is_data(source) else _load(source)
        check_file(len(data))
        with open_stack(io.BytesIO(data), max_pixels=MAX_PIXELS, max_decoded=MAX_DECODED) as stack:
            decoded = fill_undefined(turn_upright(read(stack, choice, MAX_DECODED)))
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


def check_file(size: int) -> None:
    """Refuse a file of no bytes, or of too many."""
    if size > MAX_BYTES:
        raise ImageError(
            f"the file has more than the {MAX_BYTES // 1024**2} MB read here; crop it or export fewer planes."
        )
    if not size:
        raise ImageError("the file is empty (0 bytes); export it again from the microscope software.")


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
    with open_file(path) as file, opening():
        return file.read(MAX_BYTES + 1)


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
