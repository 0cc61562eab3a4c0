"""Contours and textures of simulated cells, from banks drawn once from a fixed seed."""

from functools import lru_cache

import numpy as np
from scipy.interpolate import CubicSpline

BANK_SEED = 20070707  # of the contours and textures, the same for every image
ANGLES = 128  # samples of a contour


@lru_cache(maxsize=16)
def contours(roughness: float, wander: float, bank: int = 1024) -> np.ndarray:
    """(bank, ANGLES + 1) radius over angle of contours of mean radius about 1; the last column is the first.

    Ten points of the unit circle, each shifted along the contour (`wander`) and displaced (`roughness`),
    joined by a closed cubic spline (Lehmussola et al. 2007, equation of the shape model).
    """
    rng = np.random.default_rng(BANK_SEED)
    shift = rng.uniform(-1, 1, (4, bank, 10))
    t = 2 * np.pi * np.arange(10) / 10
    xy = np.stack([roughness * shift[0] + np.cos(t + wander * shift[1]),
                   roughness * shift[2] + np.sin(t + wander * shift[3])], -1)  # fmt: skip
    xy = np.concatenate([xy, xy[:, :1]], 1)
    curve = CubicSpline(np.arange(11), xy, axis=1, bc_type="periodic")(np.linspace(0, 10, 1000, endpoint=False))
    angle, radius = np.arctan2(curve[..., 1], curve[..., 0]), np.linalg.norm(curve, axis=-1)
    order = np.argsort(angle, axis=1)
    angle, radius = np.take_along_axis(angle, order, 1), np.take_along_axis(radius, order, 1)
    grid = np.linspace(-np.pi, np.pi, ANGLES + 1)
    return _frozen(np.stack([np.interp(grid, a, r, period=2 * np.pi) for a, r in zip(angle, radius, strict=True)]))


@lru_cache(maxsize=16)
def textures(side: int, box: float, persistence: float, first: int, octaves: int, floor: float) -> np.ndarray:
    """(bank, side, side) textures in [floor, 1]; their grids span `box` px around the middle.

    Value noise: octave k is a smoothed random grid of 2^k × 2^k, bicubic, weighted persistence^k. Octaves far
    finer than a pixel are left out.
    """
    bank = int(np.clip(2_000_000 // side**2, 32, 1024))
    rng = np.random.default_rng(BANK_SEED)
    total = np.zeros((bank, side, side))
    where = np.clip((np.arange(side) - (side - 1) / 2) / box + 0.5, 0, 1)
    for k in range(first, first + octaves):
        cells = 2**k
        if k > first and cells > 4 * box:
            break
        weights = interpolation(where * cells - 0.5, cells)
        total += persistence**k * (weights @ smooth(rng.random((bank, cells, cells))) @ weights.T)
    low, high = total.min((1, 2), keepdims=True), total.max((1, 2), keepdims=True)
    return _frozen(floor + (1 - floor) * (total - low) / (high - low))


def _frozen(bank: np.ndarray) -> np.ndarray:
    bank.flags.writeable = False  # cached and shared between threads
    return bank


def smooth(grid: np.ndarray) -> np.ndarray:
    """Mean over 3 × 3 of the last two axes, edges repeated."""
    cells = grid.shape[-1]
    grid = np.pad(grid, [(0, 0)] * (grid.ndim - 2) + [(1, 1)] * 2, mode="edge")
    return sum(grid[..., i : i + cells, j : j + cells] for i in range(3) for j in range(3)) / 9


def interpolation(where: np.ndarray, cells: int) -> np.ndarray:
    """(len(where), cells) weights of cubic convolution (a = −½; linear below 3 cells), edges repeated."""
    base = np.floor(where).astype(int)
    weights = np.zeros((len(where), cells))
    for tap in range(-1, 3):
        d = np.abs(where - (base + tap))
        if cells < 3:
            w = np.maximum(1 - d, 0)
        else:
            w = np.where(d <= 1, (1.5 * d - 2.5) * d**2 + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2)
        np.add.at(weights, (np.arange(len(where)), np.clip(base + tap, 0, cells - 1)), w)
    return weights


def masks(contours: np.ndarray, turn: np.ndarray, radii: np.ndarray, shift: np.ndarray, half: int) -> np.ndarray:
    """(n, side, side) pixels inside each contour, turned by `turn` of ANGLES, centred at `shift` (y, x)."""
    step = np.arange(-half, half + 1)
    dy = (step - shift[:, :1])[:, :, None]
    dx = (step - shift[:, 1:])[:, None, :]
    angle = (np.arctan2(dy, dx) / (2 * np.pi) + 0.5) * ANGLES
    low = np.minimum(angle.astype(int), ANGLES - 1)
    at = (low + turn[:, None, None]) % ANGLES
    k = np.arange(len(contours))[:, None, None]
    edge = contours[k, at] + (angle - low) * (contours[k, at + 1] - contours[k, at])
    mask = dy**2 + dx**2 <= (radii[:, None, None] * edge) ** 2
    mask[:, half, half] = True
    return mask
