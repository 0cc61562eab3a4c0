"""What a microscope makes of simulated cells: optics, uneven light and the camera, the last stages of `simulate`.

All draw from the generator of the image, one after the other, so their order is a part of what a seed means.
"""

import cv2
import numpy as np

from cellapp.scene import Draw, Scene
from cellapp.shapes import interpolation, smooth

DEFOCUS_SIGMAS = np.geomspace(0.5, 5.0, 12)  # px; 0.5 = in focus


# --- optics -----------------------------------------------------------------------------------------------


def optics(
    scene: Scene, rng: np.random.Generator, ideal: np.ndarray, union: np.ndarray, draw: Draw
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


def background(scene: Scene, rng: np.random.Generator, ideal: np.ndarray, draw: Draw) -> np.ndarray:
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


def camera(scene: Scene, rng: np.random.Generator, light: np.ndarray, draw: Draw) -> np.ndarray:
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
