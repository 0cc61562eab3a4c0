"""Dotted images to train on and to measure with: from folders, or from the simulator."""

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from cellapp.dots import Match, check_dots, pair_report, pick, read_dots_file
from cellapp.errors import DotsError
from cellapp.image import plane, read_image
from cellapp.scale import suggest_diameter
from cellapp.simulate import simulate


@dataclass(frozen=True)
class Dotted:
    """One image with its ground truth: ``image`` (H, W) float32 as read, ``points`` (N, 2) float (y, x)."""

    name: str
    image: np.ndarray
    points: np.ndarray


def read_folder(
    images: str | Path,
    dots: str | Path | None = None,
    *,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    channel: str = "auto",
) -> list[Dotted]:
    """Read every image that has dots, in any format of `cellapp.dots.FORMATS`, sorted by name.

    ``include`` and ``exclude`` are shell patterns on the image's file name (``0*cell.png``); without
    ``include`` every image counts. Raises `DotsError` if nothing is left, or if dots lie outside.
    """
    report = pair_report(images, dots)
    wanted = [
        match for match in report.matches
        if (not include or any(fnmatch(match.image.name, p) for p in include))
        and not any(fnmatch(match.image.name, p) for p in exclude)
    ]
    if not wanted:
        with_dots = len(report.matches)
        unread = f" Not read: {report.unread[0]}" if report.unread else ""
        raise DotsError(f"{images}: no image with dots is left of {with_dots + len(report.without_dots)} images "
                        f"({with_dots} with dots); check the folder of the dots and the patterns.{unread}")
    files = {}
    return [_read_match(match, channel, files) for match in wanted]


def _read_match(match: Match, channel: str, files: dict) -> Dotted:
    """``files`` keeps what was read from files that serve several images."""
    grey, _ = plane(read_image(match.image), channel)
    found = files.get(match.file) or read_dots_file(match.file)
    if len(found) > 1:
        files[match.file] = found
    dots = pick(found, match.entry or match.image.name, match.file.name)
    return Dotted(match.image.name, grey, check_dots(dots, grey.shape, match.file.name))


def simulated(preset: str, n: int, seed: int) -> list[Dotted]:
    """``n`` images of a simulator preset; image i depends on the seed and on i alone."""
    scenes = (simulate(preset, seed, index) for index in range(n))
    return [Dotted(f"{preset}-{seed}-{index:05d}", scene.image.astype(np.float32), scene.points)
            for index, scene in enumerate(scenes)]


def split(data: list[Dotted], n_train: int, n_val: int, seed: int) -> tuple[list[Dotted], list[Dotted]]:
    """Draw ``n_train`` and ``n_val`` different images by a seeded shuffle."""
    if n_train < 1 or n_val < 1 or n_train + n_val > len(data):
        raise DotsError(f"{len(data)} dotted images cannot give {n_train} for training and {n_val} for "
                        "validation, at least one of each; ask for fewer or add images.")
    order = np.random.default_rng(seed).permutation(len(data))
    return [data[i] for i in order[:n_train]], [data[i] for i in order[n_train : n_train + n_val]]


def typical_diameter(data: list[Dotted]) -> float:
    """Median of the cell diameters estimated in the images, px; to be stated by hand where none can be estimated."""
    found = [d for item in data if (d := suggest_diameter(item.image)) is not None]
    if not found:
        raise DotsError("The cells' diameter cannot be estimated from these images; give it with --cell-diameter.")
    return round(float(np.median(found)), 2)
