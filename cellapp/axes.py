"""Which planes of a file are read, and what each of its axes means: decided here, for every format.

A file is a `Stack` of planes, known from its header. Channels are all read; of focal planes a projection or one
plane; of time points one. Pages that a file does not explain are asked about, never guessed.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from cellapp.errors import AxesError, ImageError
from cellapp.image_files import COLOURS, Decoded, check_bytes, distinct

MEANINGS = ("ask", "channels", "z", "time")
PROJECTIONS = {"max": "maximum", "min": "minimum", "mean": "mean"}
MAX_PLANES = 100_000  # of one file
MAX_PROJECTED = 32  # times the memory allowed for one image: what may be decoded, plane by plane, for a projection

_PLANE = "YXS"
_ROLES = {"C": "channels", "E": "channels", "Z": "z", "T": "time"}  # E: wavelengths of a spectral detector
_NOUNS = {"channels": "channels", "z": "focal planes", "time": "time points"}
_OTHERS = {  # axes that are neither: the first is read, and said so
    "A": "angles", "B": "acquisition blocks", "H": "lifetimes", "L": "exposures", "M": "tiles", "P": "positions",
    "R": "rotations", "V": "views",
}


@dataclass(frozen=True)
class Choice:
    """Which planes the user asks for; a value that cannot be is a `ValueError` that lists the choices.

    pages : what the pages of a file mean that does not say so: one of `MEANINGS`
    z : of focal planes the "max", "min" or "mean", or the number of one from 1
    frame : of time points, from 1
    """

    pages: str = "ask"
    z: str = "max"
    frame: int = 1

    def __post_init__(self):
        if self.pages not in MEANINGS:
            raise ValueError(f"pages cannot be {str(self.pages)[:40]!r}; choose ask, channels, z or time")
        number = self.z.isascii() and self.z.isdecimal() and len(self.z) <= 6 and int(self.z) >= 1
        if self.z not in PROJECTIONS and not number:
            raise ValueError(f"z cannot be {self.z[:40]!r}; choose max, min, mean, or a plane's number from 1")
        if self.frame < 1:
            raise ValueError("frame is the number of a time point; choose one from 1")


USUAL = Choice()


def choose(pages: str, z: str | int, frame: str | int) -> Choice:
    """The choice, or an `AxesError` that lists what can be chosen."""
    try:
        number = str(frame).isascii() and str(frame).isdecimal()
        return Choice(pages, str(z), int(frame) if number else 0)
    except ValueError as error:
        raise AxesError(f"{error}.") from error


@dataclass(frozen=True)
class Stack:
    """The planes of one file, from its header alone.

    Attributes
    ----------
    kind : of file, such as "OME-TIFF"
    axes : a letter for each axis of the file: Y and X once each, S for the samples of a pixel, C, Z, T, …
    sizes : a number for each axis
    dtype : of one sample
    bit_depth : significant bits of one sample
    samples : of one pixel of one plane, as they are read: 3 of red, green, blue; alpha is left out
    names : of the channels, as far as the file gives them; empty without
    rgb : a pixel's three samples are red, green, blue
    unknown : positions of axes whose meaning the file does not tell
    load : index (one number for each axis, 0 for Y, X and S) → (H, W, S) pixels; decodes one plane
    whole : decodes everything, in formats of one picture, which have no `load`
    notes : sentences on the file; `load` may add to them
    """

    kind: str
    axes: str
    sizes: tuple[int, ...]
    dtype: np.dtype
    bit_depth: int
    samples: int = 1
    names: tuple[str, ...] = ()
    rgb: bool = False
    unknown: tuple[int, ...] = ()
    orientation: int = 1
    pixel_size_um: float | None = None
    load: Callable[[tuple[int, ...]], np.ndarray] | None = None
    whole: Callable[[], Decoded] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) as the pixels are stored, before they are turned upright."""
        return self.sizes[self.axes.index("Y")], self.sizes[self.axes.index("X")]

    @property
    def pages(self) -> int:
        """How many pages have no known meaning; 1 where nothing has to be asked."""
        return math.prod(self.sizes[k] for k in self.unknown)

    def sought(self, role: str, pages: str = "ask") -> list[int]:
        """Positions of the axes that are "channels", "z" or "time", when unknown pages are `pages`."""
        return [k for k, axis in enumerate(self.axes)
                if (pages == role if k in self.unknown else _ROLES.get(axis) == role)]

    def channels(self, pages: str = "ask") -> tuple[str, ...]:
        """Names of the channels that are read; () while it is not known what the pages are."""
        if self.pages > 1 and pages == "ask":
            return ()
        count = math.prod(self.sizes[k] for k in self.sought("channels", pages)) * self.samples
        return self.named(count)

    def named(self, count: int) -> tuple[str, ...]:
        """A name for each of so many channels."""
        return COLOURS if self.rgb and count == 3 else distinct(self.names if len(self.names) == count else (), count)


def check(stack: Stack, choice: Choice, max_decoded: int) -> None:
    """Refuse, from the header, pages nobody has explained, a choice the file does not offer, and what is too large.

    The errors are those of `read`.
    """
    planes = math.prod(n for axis, n in zip(stack.axes, stack.sizes, strict=True) if axis not in "YX")
    if planes > MAX_PLANES or 0 in stack.sizes:
        raise ImageError(f"the file speaks of {planes:,} planes; it is damaged, or has to be exported in parts.")
    if stack.pages > 1:
        open_to = [meaning for meaning in MEANINGS[1:] if math.prod(stack.sizes[k] for k in stack.sought(meaning)) < 2]
        if not open_to:
            raise AxesError(f"its axes {stack.axes} hold pages of no known meaning; export the planes to count alone.")
        if choice.pages not in open_to:
            nouns = _either([_NOUNS[meaning] for meaning in open_to])
            raise AxesError(f"its {stack.pages} pages may be {nouns}; say which (--pages {_either(open_to)}).")
    for role, number, flag in (("z", choice.z, "--z"), ("time", choice.frame, "--frame")):
        size = len(_indices(stack, role, choice.pages))
        if str(number).isdecimal() and int(number) > size:
            noun = _NOUNS[role] if size > 1 else _NOUNS[role][:-1]
            raise AxesError(f"it has {size} {noun}, so there is no number {number}; choose a lower one ({flag}).")
    channels, depth = (len(_indices(stack, role, choice.pages)) for role in ("channels", "z"))
    how = choice.z if choice.z in PROJECTIONS and depth > 1 else ""
    plane = math.prod(stack.shape) * stack.samples
    check_bytes(channels * plane * _working_type(stack.dtype, how).itemsize, max_decoded)
    whole = depth * channels * plane * stack.dtype.itemsize
    if how and whole > MAX_PROJECTED * max_decoded:
        raise ImageError(
            f"its {depth:,} focal planes take {whole / 1024**3:,.0f} GB when opened, more than can be projected "
            "here; choose one by its number (--z 1)."
        )


def read(stack: Stack, choice: Choice, max_decoded: int) -> Decoded:
    """Read all channels of the chosen planes, one plane in memory at a time.

    Raises
    ------
    AxesError
        When the file does not say what its pages are, or has no such plane.
    ImageError
        When the result exceeds `max_decoded` bytes, or the stack is too long to be projected.
    """
    check(stack, choice, max_decoded)
    if stack.whole is not None:
        return stack.whole()
    notes = [*stack.notes, *_notes(stack, choice)]
    said = len(stack.notes)
    channels = _indices(stack, "channels", choice.pages)
    depth, times = _indices(stack, "z", choice.pages), _indices(stack, "time", choice.pages)
    chosen = depth if choice.z in PROJECTIONS else depth[int(choice.z) - 1 : int(choice.z)]
    how = choice.z if len(chosen) > 1 else ""
    pixels = None
    for z in chosen:
        for c, channel in enumerate(channels):  # the innermost loop: files keep the channels of a plane together
            plane = stack.load(_merged(len(stack.axes), times[choice.frame - 1], z, channel))
            samples = plane.shape[2]
            if pixels is None:
                pixels = np.empty((*plane.shape[:2], samples * len(channels)), _working_type(plane.dtype, how))
            _project(pixels[:, :, c * samples : (c + 1) * samples], plane, how, first=z is chosen[0])
    if how == "mean":
        pixels /= len(chosen)
        pixels = pixels.astype(np.float32) if stack.dtype.itemsize <= 2 else pixels
    count = pixels.shape[2]
    return Decoded(
        pixels=pixels if count > 1 else pixels[:, :, 0],
        axes=stack.axes,
        channels=stack.named(count),
        bit_depth=stack.bit_depth,
        notes=notes + stack.notes[said:],
        orientation=stack.orientation,
        pixel_size_um=stack.pixel_size_um,
    )


def _indices(stack: Stack, role: str, pages: str) -> list[dict[int, int]]:
    """Every combination of indices of the axes of this role, in the order of the file."""
    axes = stack.sought(role, pages)
    return [dict(zip(axes, index, strict=True)) for index in itertools.product(*(range(stack.sizes[k]) for k in axes))]


def _merged(length: int, *parts: dict[int, int]) -> tuple[int, ...]:
    merged = {k: v for part in parts for k, v in part.items()}
    return tuple(merged.get(k, 0) for k in range(length))


def _working_type(dtype: np.dtype, how: str) -> np.dtype:
    return np.dtype(np.float64) if how == "mean" else dtype


def _project(result: np.ndarray, plane: np.ndarray, how: str, first: bool) -> None:
    """Take one more plane into a (H, W, S) result, which starts as the first one."""
    if first:
        result[...] = plane
    elif how == "mean":
        result += plane
    else:
        {"max": np.maximum, "min": np.minimum}[how](result, plane, out=result)


def _notes(stack: Stack, choice: Choice) -> list[str]:
    """Say of every axis what is read of it, where that is not all."""
    notes = []
    if stack.pages > 1:
        rest = {"channels": "", "z": f"; {_depth(choice)} was read", "time": f"; number {choice.frame} was read"}
        notes.append(f"{stack.pages} pages, taken as {_NOUNS[choice.pages]} as chosen{rest[choice.pages]}")
    for k, (axis, size) in enumerate(zip(stack.axes, stack.sizes, strict=True)):
        role = _ROLES.get(axis)
        if size < 2 or axis in _PLANE or k in stack.unknown or role == "channels":
            continue
        if role is None:
            notes.append(f"{size} {_OTHERS.get(axis, f'planes along an axis {axis}')}; the first is read")
        else:
            which = _depth(choice) if role == "z" else f"number {choice.frame}"
            notes.append(f"{size} {_NOUNS[role]}; {which} was read")
    return notes


def _depth(choice: Choice) -> str:
    return f"their {PROJECTIONS[choice.z]}" if choice.z in PROJECTIONS else f"number {choice.z}"


def _either(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def is_told(axis: str) -> bool:
    """Whether a letter of tifffile's says what an axis is; "Q" (other) and "I" (a sequence of pages) do not."""
    return axis in _PLANE or axis in _ROLES or axis in _OTHERS
