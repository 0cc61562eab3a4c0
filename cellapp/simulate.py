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

import cv2
import numpy as np

from cellapp.errors import CellappError
from cellapp.scene import MOST_CELLS, PRESETS, Scene
from cellapp.shapes import ANGLES, contours, interpolation, masks, smooth, textures

TRIES = 500  # to place one cell before the image is declared full
REDRAWS = 4  # of a clustered position that falls outside the image
DEFOCUS_SIGMAS = np.geomspace(0.5, 5.0, 12)  # px; 0.5 = in focus


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
    draw = _draw(scene, rng)
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
    light, clump_sigma = _optics(scene, rng, ideal, layers > 0, draw)
    inside = (slice(margin, margin + h), slice(margin, margin + w))
    light = light[inside] + _background(scene, rng, ideal[inside], draw)
    image = _camera(scene, rng, light, draw)
    at = np.round(points).astype(int) + margin
    labels = np.ascontiguousarray(labels[inside])
    own = np.bincount(owner[_is_inside(pixels, canvas, margin)], minlength=len(points))
    seen = np.bincount(labels.ravel(), minlength=len(points) + 1)[1:]
    return Simulated(image, points, labels, labels > 0, clump_sigma[at[:, 0], at[:, 1]], seen / np.maximum(own, 1), n)


@dataclass(frozen=True)
class _Draw:
    """The value, in this image, of each of the scene's (low, high) pairs."""

    radius: float
    global_blur: float
    illumination: float
    misalignment: float
    autofluorescence: float
    noise_amplitude: float
    noise_wavelength: float
    gain: float
    read_noise: float
    soft_noise: float


def _draw(scene: Scene, rng: np.random.Generator) -> _Draw:
    values = {}
    for name in _Draw.__annotations__:
        low, high = getattr(scene, name)
        share = rng.random()
        if name == "global_blur" and scene.global_blur_steps > 1:
            share = int(share * scene.global_blur_steps) / (scene.global_blur_steps - 1)
        values[name] = low + share * (high - low)
    return _Draw(**values)


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


# --- optics -----------------------------------------------------------------------------------------------


def _optics(
    scene: Scene, rng: np.random.Generator, ideal: np.ndarray, union: np.ndarray, draw: _Draw
) -> tuple[np.ndarray, np.ndarray]:
    """The blurred image, and the defocus σ of every pixel's clump in px.

    Cells that touch share one depth |N(0, 1)|; depths are scaled so that the deepest clump has `depth_blur`.
    Every pixel is spread with the Gaussian of its own clump (truncated, energy kept).
    """
    number, clump = cv2.connectedComponents(union.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    depth = np.abs(rng.standard_normal(number))
    depth[0] = 0
    sigma = 0.5 + (scene.depth_blur - 0.5) * depth / max(depth.max(), 1e-9)
    level = np.abs(np.log(sigma[:, None] / DEFOCUS_SIGMAS)).argmin(1)
    offset = np.arange(scene.blur_window) - scene.blur_window // 2
    blurred = np.zeros_like(ideal)
    per_pixel = level[clump]
    for k in np.unique(level):
        kernel = np.exp(-0.5 * (offset / DEFOCUS_SIGMAS[k]) ** 2)
        kernel /= kernel.sum()
        part = np.where(per_pixel == k, ideal, 0)
        blurred += cv2.sepFilter2D(part, cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_CONSTANT)
    whole = draw.global_blur
    if whole > 0.1:
        blurred = cv2.GaussianBlur(blurred, (0, 0), whole, borderType=cv2.BORDER_CONSTANT)
    return blurred, np.hypot(sigma, whole)[clump]


# --- illumination and background --------------------------------------------------------------------------


def _background(scene: Scene, rng: np.random.Generator, ideal: np.ndarray, draw: _Draw) -> np.ndarray:
    """Uneven light, autofluorescence and simplex noise, their energies relative to the cells'."""
    h, w = ideal.shape
    energy = np.square(ideal).sum()
    y, x = np.linspace(-1, 1, h)[:, None], np.linspace(-1, 1, w)
    direction = rng.uniform(0, 2 * np.pi)
    cy, cx = draw.misalignment * np.sin(direction), draw.misalignment * np.cos(direction)
    distance = (y - cy) ** 2 + (x - cx) ** 2
    light = _with_energy(1 - distance / distance.max(), draw.illumination * energy)
    cloud = np.zeros((h, w))
    for cells in (2, 4):
        rows, cols = (interpolation(np.linspace(0, cells - 1, m), cells) for m in (h, w))
        cloud += rows @ smooth(rng.random((cells, cells))) @ cols.T
    cloud -= cloud.min()
    light += _with_energy(cloud, draw.autofluorescence * energy)
    if rng.random() < scene.noise_share and ideal.any():
        height = draw.noise_amplitude * np.median(ideal[ideal > 0])
        light += height * _simplex(rng, (h, w), draw.noise_wavelength)
    return light


def _with_energy(field: np.ndarray, energy: float) -> np.ndarray:
    """`field` scaled so that the sum of its squares is `energy`."""
    return field * np.sqrt(energy / max(np.square(field).sum(), 1e-12))


def _simplex(rng: np.random.Generator, size: tuple[int, int], wavelength: float, octaves: int = 3) -> np.ndarray:
    """Simplex noise in [0, 1]: gradient noise on a triangular lattice (Perlin 2001), halving octaves."""
    total = np.zeros(size)
    for k in range(octaves):
        y, x = np.mgrid[: size[0], : size[1]] / (wavelength / 2**k)
        skew = (x + y) * (np.sqrt(3) - 1) / 2
        i, j = np.floor(x + skew).astype(int), np.floor(y + skew).astype(int)
        unskew = (3 - np.sqrt(3)) / 6
        x0, y0 = x - i + (i + j) * unskew, y - j + (i + j) * unskew
        turn = rng.uniform(0, 2 * np.pi, (j.max() + 2, i.max() + 2))
        right = x0 > y0
        for di, dj in ((0, 0), (right.astype(int), (~right).astype(int)), (1, 1)):
            dx, dy = x0 - di + (di + dj) * unskew, y0 - dj + (di + dj) * unskew
            t = turn[j + dj, i + di]
            reach = np.maximum(0.5 - dx**2 - dy**2, 0) ** 4
            total += 0.5**k * reach * (dx * np.cos(t) + dy * np.sin(t))
    return (total - total.min()) / max(np.ptp(total), 1e-12)


# --- camera -----------------------------------------------------------------------------------------------


def _camera(scene: Scene, rng: np.random.Generator, light: np.ndarray, draw: _Draw) -> np.ndarray:
    """Gain, shot noise, read noise, clipping: 8-bit grey levels."""
    light = light * draw.gain
    if scene.photons:
        light = light + np.sqrt(np.maximum(light, 0) / scene.photons) * rng.standard_normal(light.shape)
    levels = 255 * np.minimum(light, scene.saturation) + draw.read_noise * rng.standard_normal(light.shape)
    if draw.soft_noise:
        sigma = scene.soft_noise_reach
        kernel = cv2.getGaussianKernel(2 * int(np.ceil(3 * sigma)) + 1, sigma)
        noise = cv2.sepFilter2D(rng.standard_normal(light.shape), cv2.CV_64F, kernel, kernel)
        levels += draw.soft_noise / np.square(kernel).sum() * noise
    return np.clip(np.round(levels), 0, 255).astype(np.uint8)
