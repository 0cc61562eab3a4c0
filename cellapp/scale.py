"""How large the cells of an image are, estimated from the image alone.

A network counts well only at the scale it was trained at: fluorescence images of the 2018 Data Science Bowl, counted
at their own size, are off by 177 % on the median (``python -m benchmarks.diameter``).
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from cellapp.errors import ImageError
from cellapp.image import MAX_PIXELS

TOLERATED = 1.25                                             # what a network trained at one scale takes without harm
SQUARE = 512                                                 # px; larger images are judged by a few squares
SQUARES = 4
SAMPLED = 256                                                # px of a side are enough for percentiles
SMALLEST = 16                                                # px; a smaller image tells nothing
STEPS = 4                                                    # scales in an octave
# A disc answers most strongly at sigma = radius / sqrt(2) (Lindeberg 1998). Real nuclei have soft edges and answer
# at a smaller one: the factor makes the estimate unbiased on fluorescence images of the 2018 Data Science Bowl.
SOFT_EDGES = 1.12
# Blobs of at least this part of the strongest one's answer are cells. In transmitted light weaker ones are texture,
# small and plentiful in stained tissue: at 0.2 the estimate for bone marrow is 0.4 of the nuclei's diameter, at 0.5 it
# is 0.8.
STRONG, STRONG_IF_DARK = 0.2, 0.5


def suggest_diameter(plane: np.ndarray, dark: bool = False) -> float | None:
    """Typical diameter, in px, of the bright blobs in a (H, W) image; None if it shows none.

    dark : the cells are dark and ``plane`` is the negative (`cellapp.polarity.bright`)

    Blobs are maxima of the scale-normalised Laplacian of Gaussians over position and scale (Lindeberg 1998);
    the answer is the mean of their log diameters, weighted by strength. Between about 4 px and a third
    of the image. An estimate: on 200 fluorescence images of the 2018 Data
    Science Bowl it was within 25 % of the true median for 81 % and within a factor of 1.5 for 96 %
    (``python -m benchmarks.diameter``).
    """
    plane = plane.astype(np.float32, copy=False)
    if min(plane.shape) < SMALLEST or not plane.std(dtype=np.float64) > 1e-6 * abs(plane.mean(dtype=np.float64)):
        return None
    found = [_blobs(square) for square in squares(plane)]
    strength = np.concatenate([s for s, _ in found])
    sigma = np.concatenate([s for _, s in found])
    strong = strength > (STRONG_IF_DARK if dark else STRONG) * strength.max(initial=0)
    if not strong.any():
        return None
    mean = np.average(np.log(sigma[strong]), weights=strength[strong])
    return float(2 * np.sqrt(2) * np.exp(mean) * SOFT_EDGES)


def diameter_at(plane: np.ndarray, points: np.ndarray) -> float | None:
    """Typical diameter, in px, of the bright cells of a (H, W) image whose centres are the (N, 2) ``points``.

    The scale at which the middle dot answers most strongly, as in `suggest_diameter`; dots may be off by 2 px. Grain
    and texture, which the estimate without dots may take for small cells, do not lead it astray. None without contrast,
    or below 3 dots.
    """
    if len(points) < 3 or min(plane.shape) < SMALLEST or not plane.std(dtype=np.float64) > 0:
        return None
    plane = plane.astype(np.float32, copy=False)
    places = tuple(np.clip(np.rint(points).astype(int), 0, np.array(plane.shape) - 1).T)
    answers, sigma = {}, 1.5
    while sigma <= min(64.0, min(plane.shape) / 5):
        smooth = cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        answer = -cv2.Laplacian(smooth, cv2.CV_32F, borderType=cv2.BORDER_REFLECT) * sigma**2
        # The best of the pixels round each dot would be the brightest speck of a textured nucleus.
        answers[sigma] = float(np.median(answer[places]))
        sigma *= 2 ** (1 / STEPS)
    best = max(answers, key=answers.get)
    return 2 * np.sqrt(2) * best * SOFT_EDGES if answers[best] > 0 else None


def squares(plane: np.ndarray) -> list[np.ndarray]:
    """The whole image, or of a larger one the squares with the most contrast."""
    if max(plane.shape) <= SQUARE:
        return [plane]
    rows, columns = (np.unique(np.linspace(0, max(0, side - SQUARE), -(-side // SQUARE)).astype(int))
                     for side in plane.shape)
    squares = [plane[y : y + SQUARE, x : x + SQUARE] for y in rows for x in columns]
    return sorted(squares, key=lambda s: -s.std(dtype=np.float64))[:SQUARES]


def thinned(values: np.ndarray) -> np.ndarray:
    """Every n-th pixel of a (H, W, …) image in each direction, at least `SAMPLED` of a longer side: enough to tell how
    its values are spread."""
    rows, columns = (max(1, side // SAMPLED) for side in values.shape[:2])
    return values[::rows, ::columns]


def _blobs(square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Strength and sigma (px) of each bright blob, at most one within 3 px of a stronger one."""
    top = np.full(square.shape, -np.inf, np.float32)
    answers, sigmas = [], []
    level, reduction, blurred = square, 1, 0.0               # `level` has `reduction` px to its pixel
    sigma = 1.5
    while sigma <= min(64.0, min(square.shape) / 5):
        if sigma / reduction > 4 and min(level.shape) > 32:  # a coarser grid shows these scales as well
            level = cv2.resize(cv2.GaussianBlur(level, (0, 0), 1.0), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            reduction *= 2
            blurred = np.hypot(blurred, reduction / 2)
        own = np.sqrt(max(sigma**2 - blurred**2, 0.01)) / reduction
        smooth = cv2.GaussianBlur(level, (0, 0), own, borderType=cv2.BORDER_REFLECT)
        answer = cv2.Laplacian(smooth, cv2.CV_32F, scale=-((sigma / reduction) ** 2), borderType=cv2.BORDER_REFLECT)
        if reduction > 1:
            answer = cv2.resize(answer, square.shape[::-1], interpolation=cv2.INTER_LINEAR)
        cv2.max(top, answer, top)
        answers.append(answer)
        sigmas.append(sigma)
        sigma *= 2 ** (1 / STEPS)
    where = tuple(_peaks(top).T)
    return top[where], np.array(sigmas)[np.argmax([answer[where] for answer in answers], axis=0)]


def _peaks(top: np.ndarray) -> np.ndarray:
    """(N, 2) maxima within 3 px, as skimage's ``peak_local_max(top, 3, threshold_rel=0.2, exclude_border=False)`` gives
    them, in a tenth of its time."""
    found = (top == cv2.dilate(top, np.ones((7, 7), np.uint8))) & (top > 0.2 * top.max())
    _, groups = cv2.connectedComponents(found.view(np.uint8))
    places, group = np.argwhere(found), groups[found]
    keep = np.ones(len(places), bool)
    for plateau in np.flatnonzero(np.bincount(group) > 1):   # equal maxima side by side: of those the ones 3 px apart
        for k in (members := np.flatnonzero(group == plateau)):
            if keep[k]:
                near = np.abs(places[members] - places[k]).max(axis=1) < 3
                keep[members[near & (members > k)]] = False
    return places[keep]


@dataclass(frozen=True)
class Scale:
    """How an image is brought to the scale of the weights.

    factor : the image is counted at this many times its size; 1 as it is
    diameter : the cells' diameter in px of the image, given or estimated; None if unknown
    note : a sentence for the user; "" where the image is taken as it is
    """

    factor: float
    diameter: float | None
    note: str = ""


def choose_scale(plane: np.ndarray, given: float | None, trained: float,
                 adjust: Callable[[float], float] = lambda factor: factor, *, dark: bool = False,
                 why: str = "as given") -> Scale:
    """The scale for a (H, W) image and weights trained on cells of ``trained`` px.

    ``given`` is the user's diameter and is always followed; without it the diameter is estimated, and the image is
    taken as it is unless its cells look smaller or larger than those of the training by more than `TOLERATED`.
    ``adjust`` may change the factor of an estimated diameter; ``dark`` is that of `suggest_diameter`; ``why`` says
    where a given one is from.
    Raises `ImageError` where a given diameter asks for an image beyond the limit.
    """
    diameter = given or suggest_diameter(plane, dark)
    if diameter is None:
        return Scale(1.0, None)
    factor = trained / diameter
    adjusted = factor if given else adjust(factor)
    if adjusted != factor:
        return Scale(adjusted, diameter, "" if adjusted == 1 else f"Counted at {adjusted:.3g} times its size, as one "
                                                                  "frame of the network, as in its training.")
    too_large = plane.size * factor**2 > MAX_PIXELS
    if given is None and (too_large or 1 / TOLERATED <= factor <= TOLERATED):
        return Scale(1.0, diameter)
    if too_large:
        raise ImageError(f"With cells of {given:g} px the image would have to be enlarged {factor:.1f} times, beyond "
                         f"{MAX_PIXELS // 10**6} megapixels; check the cell diameter or crop the image.")
    if factor == 1:
        return Scale(1.0, diameter)
    why = why if given else "estimated; give the diameter if that is wrong"
    return Scale(factor, diameter, f"Counted at {factor:.3g} times its size, where cells of {diameter:.3g} px ({why}) "
                                   f"are the {trained:.3g} px of the training images.")


def resize(plane: np.ndarray, factor: float) -> np.ndarray:
    """A (H, W) image at ``factor`` times its size: area means where it shrinks, linear where it grows."""
    if factor == 1:
        return plane
    height, width = (max(1, round(side * factor)) for side in plane.shape)
    return cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)


def resize_labels(labels: np.ndarray, points: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) instance labels on another grid by the nearest pixel.

    Where ``points`` gives the centres (y, x) on that grid of the cells 1 … N, a cell too small to own a pixel there
    keeps the one at its centre, so that none gets lost.
    """
    rows, columns = (np.minimum(((np.arange(n) + 0.5) * m / n).astype(int), m - 1)
                     for n, m in zip(shape, labels.shape, strict=True))
    out = labels[np.ix_(rows, columns)]
    if points is not None:
        lost = np.setdiff1d(np.arange(1, len(points) + 1), np.unique(out))
        pixels = np.rint(points[lost - 1]).astype(int)
        out[tuple(pixels.T)] = lost
    return out


def resize_view(view: np.ndarray, read: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """A further map on the image's grid of ``shape``; values stay. It was read on ``read`` px, or larger by a rim.

    The rim is brought along, as the same whole number of pixels on every side.
    """
    rim = (view.shape[0] - read[0]) // 2
    there = round(rim * shape[0] / read[0])
    size = shape[1] + 2 * there, shape[0] + 2 * there
    resized = cv2.resize(view, size, interpolation=cv2.INTER_AREA if size[1] < view.shape[0] else cv2.INTER_LINEAR)
    return resized.clip(view.min(), view.max())              # a probability of 1 must not become 1.0000001
