"""Frames of the network that reads images of one size: how a plane is laid into them, in reading and in training."""

from dataclasses import replace

import cv2
import numpy as np

from cellapp.errors import TrainingError
from cellapp.family import Sample
from cellapp.scale import resize_labels

SNAP = 0.15                                                  # of a frame, by which a plane may be too long


def turns(shape: tuple[int, int], size: tuple[int, int]) -> int:
    """1 for a portrait that needs fewer frames when it is turned by 90°, else 0."""
    upright, lying = (np.ceil(np.array(s) / size - SNAP).clip(1).prod() for s in (shape, shape[::-1]))
    return int(shape[0] > shape[1] and lying < upright)


def fitted_shape(shape: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """(H, W) of a plane, less by what its sides are longer than whole frames, if that is at most `SNAP` of a frame.

    Otherwise a plane a few pixels too large would be read in four frames, three of them nearly empty.
    """
    frames = [max(1, int(np.ceil(length / frame - SNAP))) for length, frame in zip(shape, size, strict=True)]
    return tuple(min(length, n * frame) for length, n, frame in zip(shape, frames, size, strict=True))


def fitted(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The plane, shrunk to its `fitted_shape`."""
    shape = fitted_shape(plane.shape, size)
    if shape == plane.shape:
        return plane
    return cv2.resize(np.ascontiguousarray(plane), shape[::-1], interpolation=cv2.INTER_AREA)


def places(shape: tuple[int, int], size: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Frames side by side, from the top left; the last ones end with the plane."""
    (height, width), (h, w) = shape, size
    return [np.s_[y : min(y + h, height), x : min(x + w, width)]
            for y in range(0, height, h) for x in range(0, width, w)]


def framed(sample: Sample, size: tuple[int, int]) -> Sample:
    """A sample to learn from, laid into one frame as reading lays it: turned, shrunk a little, filled with dark ground.

    Raises `TrainingError` for an image that is larger than one frame: only its whole count is known, not a frame's.
    """
    if sample.image is None:
        return sample
    quarter = turns(sample.image.shape, size)
    image = fitted(np.rot90(sample.image, quarter), size)
    if any(side > most for side, most in zip(image.shape, size, strict=True)):
        height, width = sample.image.shape
        raise TrainingError(f"{sample.name} is {width}×{height} px at the scale at which it is read, but this network "
                            f"learns from one frame of {size[1]}×{size[0]}; crop the image, or resize it with "
                            f"--size {size[0]}x{size[1]}.")
    rest = [(0, most - side) for side, most in zip(image.shape, size, strict=True)]
    labels = targets = None
    if sample.labels is not None:
        labels = np.pad(resize_labels(np.rot90(sample.labels, quarter), None, image.shape), rest)
    if sample.targets is not None:
        targets = np.stack([np.pad(resize_labels(np.rot90(one, quarter), None, image.shape), rest)
                            for one in sample.targets])
    return replace(sample, image=np.pad(image, rest), targets=targets, labels=labels, points=None)
