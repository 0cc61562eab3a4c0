"""Whether the cells of an image are brighter or darker than the ground, told from the image alone.

Two signs that do not know gain or offset, each between -1 (bright cells) and 1 (dark ones): where the ground lies,
which is the grey value that most pixels share, and the skew that the cells give to what is left without uneven light.
Turning the image into its negative changes only their sign. How often they are right:
``python -m benchmarks.polarity``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from cellapp.scale import SMALLEST, squares, thinned

Polarity = Literal["bright", "dark"]
BRIGHT, DARK, EITHER = "bright on dark", "dark on bright", "either"    # as the rows of weights say it
DECIDED = 0.2                                                # of at most 1; below it the signs contradict each other
SHARED = 0.05                                                # of the grey values: so narrow is the ground
GROUND = 0.2                                                 # of the grey values, from the middle: a clear ground
SKEW = 0.5                                                   # a clear skew
CLIPPED, CLIPPED_SKEW = 0.05, -0.1                         # share of the pixels, and what a ground would not show
BLOCK = 8                                                    # px; the uneven light is found on this coarser grid
AGREED = 0.66                                                # of the training images make the polarity of the weights


def detect(plane: np.ndarray) -> Polarity | None:
    """"bright" or "dark" cells in a (H, W) image; None where it cannot be told."""
    if min(plane.shape) < SMALLEST or not plane.std(dtype=np.float64) > 1e-6 * abs(plane.mean(dtype=np.float64)):
        return None
    parts = [part.astype(np.float32, copy=False) for part in squares(plane)]
    values = np.concatenate([thinned(part).ravel() for part in parts])
    skew = _skew(np.concatenate([thinned(_without_light(part)).ravel() for part in parts]))
    sign = (2 * np.clip(ground(values) / GROUND, -1, 1) + np.clip(-skew / SKEW, -1, 1)) / 3
    # Many pixels at the very brightest value are overexposed ground, or overexposed cells: then the skew is not dark.
    overexposed = sign > 0 and skew > CLIPPED_SKEW and np.mean(values == values.max()) > CLIPPED
    if overexposed or abs(sign) < DECIDED:
        return None
    return "dark" if sign > 0 else "bright"


def ground(values: np.ndarray) -> float:
    """Where the value that most pixels share lies, from -0.5 (the dark end) to 0.5 (the bright end)."""
    low, high = np.percentile(values, (0.5, 99.5))
    if not high > low:
        return 0.0
    bins = round(4 / SHARED)
    counts, _ = np.histogram(values, bins, (low, high))
    shared = np.convolve(counts, np.ones(4), "same")         # pixels within SHARED of the range round each bin
    most = np.flatnonzero(shared == shared.max())
    return float((most.mean() - 0.5) / (bins - 1) - 0.5)


def _without_light(part: np.ndarray) -> np.ndarray:
    """What is left of a part when its slow changes of light are taken away; a few odd pixels are cut off before."""
    part = np.clip(part, *np.percentile(thinned(part), (0.05, 99.95)))
    height, width = part.shape
    coarse = cv2.resize(part, (max(1, width // BLOCK), max(1, height // BLOCK)), interpolation=cv2.INTER_AREA)
    light = cv2.GaussianBlur(coarse, (0, 0), 2.0, borderType=cv2.BORDER_REFLECT)
    return part - cv2.resize(light, (width, height), interpolation=cv2.INTER_LINEAR)


def _skew(values: np.ndarray) -> float:
    values = values - values.mean(dtype=np.float64)
    sd = np.sqrt(np.mean(values**2))
    if not sd > 0:
        return 0.0
    values = values / sd
    return float(np.mean(values * values * values))         # numpy's power takes twenty times as long


def bright(plane: np.ndarray, dark: bool) -> np.ndarray:
    """The (H, W) image with bright cells: its negative if they are ``dark``.

    Every family normalises gain and offset away, so the plain sign will do; it rounds nothing, and an image without
    contrast stays one.
    """
    return -plane if dark else plane


def upright(plane: np.ndarray) -> np.ndarray:
    """The (H, W) image with bright cells, as far as that can be told from it."""
    return bright(plane, detect(plane) == "dark")


@dataclass(frozen=True)
class Seen:
    """How the cells of an image stand out, and what that means for weights.

    cells : "bright" or "dark", given or found; "" where it could not be told
    dark : whether they are taken for dark
    turned : whether the weights must read the negative
    note : a sentence for the user; "" where the image is read as it is
    """

    cells: Polarity | Literal[""]
    dark: bool
    turned: bool
    note: str = ""


def look(plane: np.ndarray, given: Polarity | Literal["auto"], trained: str) -> Seen:
    """The polarity of a (H, W) image for weights ``trained`` on `BRIGHT`, `DARK` or `EITHER`.

    A given one is always followed; where it cannot be told, the cells are taken for those of the training.
    """
    cells = given if given != "auto" else detect(plane) or ""
    if (cells, trained) not in (("dark", BRIGHT), ("bright", DARK)):
        return Seen(cells, cells == "dark" or (not cells and trained == DARK), False)
    other = "bright" if cells == "dark" else "dark"
    why = "as given" if given != "auto" else "choose the polarity yourself if that is wrong"
    return Seen(cells, cells == "dark", True, f"Cells {cells}er than the ground ({why}): the image was inverted, as "
                                              f"these weights were trained on {other} cells.")


def of_images(planes: Iterable[np.ndarray]) -> str:
    """What the row of weights trained on these (H, W) images says of the cells: `BRIGHT`, `DARK` or `EITHER`."""
    found = [polarity for plane in planes if (polarity := detect(plane))]
    dark = found.count("dark") / len(found) if found else 0.0
    return DARK if dark >= AGREED else BRIGHT if dark <= 1 - AGREED else EITHER
