"""Augmented square crops: what a training step of the map networks reads."""

from typing import TYPE_CHECKING

import numpy as np

from cellapp.family import Sample

if TYPE_CHECKING:
    from cellapp.training import TrainingConfig

LARGEST = 512                                                # px; side of the crops in the stage of whole images


def square_crops(samples: list[Sample], rng: np.random.Generator, config: "TrainingConfig", *, stride: int,
                 whole: bool) -> tuple[np.ndarray, np.ndarray]:
    """Crops at random places, turned by a multiple of 90° and mirrored, with gain and offset jitter.

    Images smaller than a crop are mirrored at the bottom and the right, with their targets. In the stage of whole
    images the crop is the largest square all images hold (at most `LARGEST`, and no smaller than before), and the batch
    shrinks so that a step reads about as many pixels.

    Returns
    -------
    (B, 1, side, side) float32 images and (B, K, side, side) float32 targets, cut and turned in the same way.
    """
    sides = [min(sample.image.shape) for sample in samples]
    side = min(max(sides), config.crop)
    if whole:
        side = max(side, min(min(sides), LARGEST))
    side = side // stride * stride
    size = max(1, round(config.batch * config.crop**2 / side**2)) if whole else config.batch
    planes = len(samples[0].targets)
    images = np.empty((size, 1, side, side), np.float32)
    targets = np.empty((size, planes, side, side), np.float32)
    for k in range(size):
        sample = samples[rng.integers(len(samples))]
        image, wanted = _at_least(sample.image, side), _at_least(sample.targets, side)
        top, left = _corner(sample, image.shape, side, rng)
        square = np.s_[..., top : top + side, left : left + side]
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        images[k, 0] = jitter(turned(image[square], turns, mirrored), rng, config)
        targets[k] = turned(wanted[square], turns, mirrored)
    return images, targets


def _at_least(planes: np.ndarray, side: int) -> np.ndarray:
    """(…, H, W) mirrored at the bottom and the right until both are ``side`` or more."""
    more = [max(0, side - length) for length in planes.shape[-2:]]
    if not any(more):
        return planes
    return np.pad(planes, [(0, 0)] * (planes.ndim - 2) + [(0, n) for n in more], mode="symmetric")


def _corner(sample: Sample, shape: tuple[int, int], side: int, rng: np.random.Generator) -> tuple[int, int]:
    """The first pixel of a crop of an image of ``shape``, mirrored or not: anywhere, or so that one of the pixels that
    can be learnt from is in it."""
    if sample.places is None:
        return tuple(int(rng.integers(length - side + 1)) for length in shape)
    pixel = np.unravel_index(rng.choice(sample.places), sample.image.shape)
    return tuple(int(rng.integers(max(0, at - side + 1), min(at, length - side) + 1))
                 for at, length in zip(pixel, shape, strict=True))


def jitter(image: np.ndarray, rng: np.random.Generator, config: "TrainingConfig") -> np.ndarray:
    """The normalised image with its contrast and its brightness changed a little."""
    gain, offset = 1 + config.gain * rng.uniform(-1, 1), config.offset * rng.uniform(-1, 1)
    return image * np.float32(gain) + np.float32(offset)


def turned(planes: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """(…, H, W) mirrored left to right if asked, then turned by ``turns`` times 90°."""
    return np.rot90(planes[..., ::-1] if mirrored else planes, turns, axes=(-2, -1))
