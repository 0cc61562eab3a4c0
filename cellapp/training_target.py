"""What a network would learn from the dots of an image, as a map to look at before any training.

The map is that of the method's family, made small enough to draw.
"""

from dataclasses import dataclass

import numpy as np

from cellapp.density import density_map, reduce_map
from cellapp.families.density_maps import DensityMaps
from cellapp.families.patches import PatchRegression
from cellapp.families.recount import Recounting
from cellapp.families.redundant import RedundantCounts, dot_raster
from cellapp.methods import find_method
from cellapp.networks.count_ception import WINDOW
from cellapp.weights import Weights

PATCH = 40                                                   # px, of patch networks whose weights do not say


@dataclass(frozen=True)
class Target:
    """A map over the image.

    Attributes
    ----------
    values : (h, w) float32 ``unit``, on a grid as large as the image or coarser; None where a method learns no map
    total : the cells that the map holds, read from it
    words : a sentence on what the network learns
    """

    values: np.ndarray | None
    unit: str
    total: float
    words: str


def uses_sigma(method: str) -> bool:
    """Whether the target of this method depends on a Gaussian's width."""
    return isinstance(find_method(method).family, DensityMaps | Recounting)


def uses_window(method: str) -> bool:
    """Whether this method learns from windows whose size can be chosen. That of Count-ception is its field of view."""
    return isinstance(find_method(method).family, PatchRegression)


def window_of(row: Weights) -> int | None:
    """Side of the windows whose dots these weights learn to count, px as they read an image; None without windows."""
    family = find_method(row.method).family
    if isinstance(family, RedundantCounts):
        return WINDOW
    return (row.settings.window or PATCH) if isinstance(family, PatchRegression) else None


def width_as_read(width: float, diameter: float | None, trained: float) -> float:
    """A width in px of the image, in px of the grid on which the network reads it.

    ``diameter`` is that of the cells in the image, px; they are read at ``trained`` px. None: as it is.
    """
    return width if diameter is None else width * trained / diameter


def width_in_image(width: float, diameter: float | None, trained: float) -> float:
    """The other way round: a width in px of the grid on which the network reads, in px of the image."""
    return width if diameter is None else width * diameter / trained


def target(points: np.ndarray, shape: tuple[int, int], row: Weights, width: float, *, most: int = 1024) -> Target:
    """The target that the method of these weights makes of (N, 2) dots (y, x) in an image of (H, W) px.

    Parameters
    ----------
    width : px of the image: σ of the Gaussian that stands for one cell, or the side of the windows, for methods that
        learn from windows
    most : px of the longer side of the map that is given back
    """
    family = find_method(row.method).family
    points = np.asarray(points, np.float64).reshape(-1, 2)
    if isinstance(family, DensityMaps | Recounting):
        # Gaussians are drawn on the coarse grid at once: in full, 4096² px would take seconds with every dot.
        factor = max(1, -(-max(shape) // most))
        coarse = tuple(-(-side // factor) for side in shape)
        values = density_map((points + 0.5) / factor - 0.5, coarse, width / factor)
        total = float(values.sum(dtype=np.float64))
        return Target(values / np.float32(factor**2), "cells per pixel", total,
                      f"{row.title} learns a density map: each dot is a Gaussian of σ = {width:.3g} px that sums to 1.")
    if isinstance(family, RedundantCounts | PatchRegression):
        side = max(1, round(width))
        values = window_counts(points, shape, side)
        # Beyond the border there are windows too, which the map of the image's size does not show.
        words = (f"{row.title} learns the number of dots in the {side}×{side} px round each pixel, "
                 + ("so every dot is counted 1,024 times."
                    if isinstance(family, RedundantCounts) else "in windows drawn at random."))
        return Target(reduce_map(values, most)[0], "cells per window", float(len(points)), words)
    return Target(None, "", float(len(points)), f"{row.title} does not learn from the places of dots but from masks of "
                  "the cells or from their number; the dots still tell how far off it is.")


def window_counts(points: np.ndarray, shape: tuple[int, int], side: int) -> np.ndarray:
    """(H, W) float32: dots in the ``side`` × ``side`` px round each pixel, from side // 2 px before it on."""
    import cv2

    return cv2.boxFilter(dot_raster(points, shape), -1, (side, side), anchor=(side // 2, side // 2), normalize=False,
                         borderType=cv2.BORDER_CONSTANT)


def picture(values: np.ndarray) -> bytes:
    """A PNG of a map: viridis up to its largest value, transparent where it is zero."""
    import cv2

    from cellapp.overlays import png

    top = float(values.max(initial=0.0))
    share = np.clip(values / top, 0, 1) if top > 0 else np.zeros_like(values)
    rgb = cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    alpha = np.clip(share * 6, 0, 1) * 255                   # opaque from a sixth of the highest value on
    return png(np.dstack([rgb, alpha.astype(np.uint8)]))
