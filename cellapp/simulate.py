"""Simulated cell images with known centres, after Lehmussola et al. 2007 (SIMCEP).

The stages are those the paper describes; the implementation is our own, and the presets are calibrated on
statistics (grey levels, profiles, areas, noise) of the VGG cells and of BBBC005.

    population → shapes → texture → ideal image → optics → illumination → camera

Lengths are in pixels, intensities are fractions of the camera's full scale until the camera makes 8 bits of
them. A `Scene` field that is a (low, high) pair is drawn uniformly between the two, once an image.

Departures from the paper: contours and textures come from banks drawn once from a fixed seed (turned and
mirrored at random); the spline through a contour is uniform; the overlap of two cells is that of two discs;
defocus is rounded to 12 levels; camera noise may be correlated between neighbouring pixels.
"""

from dataclasses import dataclass

import numpy as np

from cellapp.errors import CellappError
from cellapp.light import background, camera, optics
from cellapp.scene import MOST_CELLS, PRESETS, Draw, Scene
from cellapp.shapes import ANGLES, contours, masks, textures

TRIES = 500  # to place one cell before the image is declared full
REDRAWS = 4  # of a clustered position that falls outside the image


@dataclass(frozen=True)
class Simulated:
    """One simulated image and all that is true of it."""

    image: np.ndarray  # (H, W) uint8
    points: np.ndarray  # (N, 2) float64 (y, x), sub-pixel centres
    labels: np.ndarray  # (H, W) int32, 0 = background, k + 1 = the cell of points[k], top-most cell where they overlap
    foreground: np.ndarray  # (H, W) bool, any cell
    blur_sigma: np.ndarray  # (N,) px, each cell's defocus (that of its clump)
    visible: np.ndarray  # (N,) fraction of the cell's area inside the image that no later cell covers
    requested: int  # cells asked for; len(points) is what found room


def simulate(
    scene: Scene | str, seed: int, index: int = 0, *, n: int | None = None, size: tuple[int, int] | None = None
) -> Simulated:
    """One simulated image with its ground truth.

    Parameters
    ----------
    scene : Scene or str
        The parameters, or the name of a preset.
    seed, index : int
        Of the data set, and of the image in it: the same pair gives the same image, in any order.
    n : int, optional
        Number of cells; without it, drawn from the scene's distribution, scaled to the area of `size`.
    size : (int, int), optional
        Height and width in px, instead of the scene's.

    Raises
    ------
    CellappError
        If there is no such preset, or a number is out of range.
    """
    scene = _scene(scene)
    h, w = _size(scene, size)
    rng = _rng(seed, index)
    draw = Draw.of(scene, rng)
    n = _number(scene, rng, (h, w), n)
    # population → shapes → texture
    points, sizes = _population(scene, rng, n, (h, w))
    pixels, owner, values, margin = _cells(scene, rng, points, sizes * draw.radius, (h, w))
    # ideal image: overlapping cells are averaged
    canvas = (h + 2 * margin, w + 2 * margin)
    layers = np.bincount(pixels, minlength=canvas[0] * canvas[1])
    ideal = np.bincount(pixels, weights=values, minlength=layers.size) / np.maximum(layers, 1)
    labels = np.zeros(layers.size, np.int32)
    labels[pixels] = owner + 1
    ideal, layers, labels = (a.reshape(canvas) for a in (ideal, layers, labels))
    # optics → illumination → camera
    light, clump_sigma = optics(scene, rng, ideal, layers > 0, draw)
    inside = (slice(margin, margin + h), slice(margin, margin + w))
    light = light[inside] + background(scene, rng, ideal[inside], draw)
    image = camera(scene, rng, light, draw)
    at = np.round(points).astype(int) + margin
    labels = np.ascontiguousarray(labels[inside])
    own = np.bincount(owner[_is_inside(pixels, canvas, margin)], minlength=len(points))
    seen = np.bincount(labels.ravel(), minlength=len(points) + 1)[1:]
    return Simulated(image, points, labels, labels > 0, clump_sigma[at[:, 0], at[:, 1]], seen / np.maximum(own, 1), n)


def _scene(scene: Scene | str) -> Scene:
    if isinstance(scene, Scene):
        return scene
    if scene not in PRESETS:
        raise CellappError(f"There is no preset {scene!r}; choose one of {', '.join(PRESETS)}.")
    return PRESETS[scene]


def _rng(seed: int, index: int) -> np.random.Generator:
    if seed < 0 or index < 0:
        raise CellappError(f"Seed {seed}, index {index}: neither may be negative.")
    return np.random.default_rng([seed, index])


def _size(scene: Scene, size: tuple[int, int] | None) -> tuple[int, int]:
    h, w = size if size is not None else (scene.height, scene.width)
    if not (16 <= h <= 4096 and 16 <= w <= 4096):
        raise CellappError(f"A simulated image of {h} × {w} px cannot be made; choose sides of 16 to 4096 px.")
    return int(h), int(w)


# --- population -------------------------------------------------------------------------------------------


def _number(scene: Scene, rng: np.random.Generator, size: tuple[int, int], n: int | None) -> int:
    """Number of cells asked for; one draw is spent in any case, so that `n` changes nothing before it."""
    if scene.counts:
        drawn = float(rng.choice(scene.counts))
    else:
        drawn = float(np.clip(rng.normal(scene.count_mean, scene.count_sd), *scene.count_limits))
    if n is None:
        n = round(drawn * size[0] * size[1] / (scene.height * scene.width))
    if not 0 <= n <= MOST_CELLS:
        raise CellappError(f"{n} cells cannot be simulated; choose 0 to {MOST_CELLS}.")
    return int(n)


def _population(scene: Scene, rng: np.random.Generator, n: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Centres (N, 2) and relative sizes (N,) of the cells that found room."""
    sizes = 1 + scene.radius_cv * np.clip(rng.standard_normal(n), -4, 4)
    centres = rng.uniform(-0.5, np.subtract(size, 0.5), (scene.clusters, 2))
    if scene.overlap >= 1:
        return _positions(scene, rng, n, size, centres), sizes
    radii = sizes * (scene.placement_radius or np.mean(scene.radius))
    points = np.empty((n, 2))
    placed = 0
    for r in radii:
        for point in _positions(scene, rng, TRIES, size, centres):
            gap = np.hypot(*(points[:placed] - point).T)
            near = gap < r + radii[:placed]
            shared = _lens(gap[near], r, radii[:placed][near])
            if (shared <= scene.overlap * np.pi * np.minimum(r, radii[:placed][near]) ** 2).all():
                points[placed] = point
                placed += 1
                break
        else:
            break  # the image is full
    return points[:placed], sizes[:placed]


def _positions(
    scene: Scene, rng: np.random.Generator, n: int, size: tuple[int, int], centres: np.ndarray
) -> np.ndarray:
    """`n` positions inside the image, in clusters or uniform; uniform too if a cluster keeps putting it outside."""
    points = rng.uniform(-0.5, np.subtract(size, 0.5), (n, 2))
    if not len(centres) or not scene.cluster_share:
        return points
    chosen = centres[rng.integers(len(centres), size=n)]
    clustered = rng.random(n) < scene.cluster_share
    for _ in range(REDRAWS):
        near = chosen + rng.standard_normal((n, 2)) * scene.cluster_spread * np.array(size)
        good = clustered & ((near >= -0.5) & (near < np.subtract(size, 0.5))).all(1)
        points[good] = near[good]
        clustered &= ~good
    return points


def _lens(gap: np.ndarray, r: float, other: np.ndarray) -> np.ndarray:
    """Area shared by two discs of radii `r` and `other` at a distance `gap` < r + other."""
    gap = np.maximum(gap, np.abs(r - other) + 1e-9)
    a = np.arccos(np.clip((gap**2 + r**2 - other**2) / (2 * gap * r), -1, 1))
    b = np.arccos(np.clip((gap**2 + other**2 - r**2) / (2 * gap * other), -1, 1))
    return r**2 * (a - np.sin(2 * a) / 2) + other**2 * (b - np.sin(2 * b) / 2)


# --- shapes and texture -----------------------------------------------------------------------------------


def _cells(
    scene: Scene, rng: np.random.Generator, points: np.ndarray, radii: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Pixels of all cells: flat index on a canvas with a margin, owner, intensity; and the margin in px."""
    n = len(points)
    bank = contours(scene.roughness, scene.wander)
    half = int(np.ceil(scene.radius[1] * bank.max() * (1 + 4 * scene.radius_cv))) + 1
    margin = half + scene.blur_window // 2 + 1
    pictures = textures(2 * half + 1, float(sum(scene.radius)), scene.texture_persistence, scene.texture_first,
                        scene.texture_octaves, scene.texture_floor)  # fmt: skip
    contour, texture = rng.integers(len(bank), size=n), rng.integers(len(pictures), size=n)
    turn, mirror = rng.integers(ANGLES, size=n), rng.random(n) < 0.5
    bright = np.maximum(1 + scene.brightness_cv * rng.standard_normal(n), 0.05)
    middle = np.round(points).astype(int)
    parts = []
    for some in np.array_split(np.arange(n), 1 + n * half**2 // 500_000):  # to bound the memory
        mask = masks(bank[contour[some]], turn[some], radii[some], points[some] - middle[some], half)
        owner, i, j = np.nonzero(mask)
        owner = some[owner]
        values = pictures[texture[owner], i, np.where(mirror[owner], 2 * half - j, j)] * bright[owner]
        row, col = middle[owner, 0] + margin - half + i, middle[owner, 1] + margin - half + j
        parts.append((row * (size[1] + 2 * margin) + col, owner, values))
    return *(np.concatenate(columns) for columns in zip(*parts, strict=True)), margin


def _is_inside(pixels: np.ndarray, canvas: tuple[int, int], margin: int) -> np.ndarray:
    row, col = np.divmod(pixels, canvas[1])
    return (row >= margin) & (row < canvas[0] - margin) & (col >= margin) & (col < canvas[1] - margin)
