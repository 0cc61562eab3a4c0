"""The squares of counting chambers, laid over an image of known pixel size."""

import math
from dataclasses import dataclass

import numpy as np

from cellapp.errors import RegionError
from cellapp.regions import Region

_LEAST = 4.0                                                 # px of a square's side; smaller ones hold no cell
_TOLERANCE = 0.5                                             # px by which a square may reach beyond the image


@dataclass(frozen=True)
class Pattern:
    """Equal squares in a grid.

    side_mm : of a square; pitch_mm : from one square to the next; depth_mm : of the chamber above it
    rows, columns : how many there are at most
    """

    title: str
    side_mm: float
    pitch_mm: float
    rows: int
    columns: int
    depth_mm: float


PATTERNS = {
    "neubauer-large": Pattern("Improved Neubauer, large squares of 1 mm", 1.0, 1.0, 3, 3, 0.1),
    "neubauer-corner": Pattern("Improved Neubauer, corner squares of 0.25 mm", 0.25, 0.25, 4, 4, 0.1),
    "neubauer-group": Pattern("Improved Neubauer, group squares of 0.2 mm in the centre", 0.2, 0.2, 5, 5, 0.1),
    "neubauer-small": Pattern("Improved Neubauer, smallest squares of 0.05 mm", 0.05, 0.05, 20, 20, 0.1),
    "fuchs-rosenthal-large": Pattern("Fuchs-Rosenthal, large squares of 1 mm", 1.0, 1.0, 4, 4, 0.2),
    "fuchs-rosenthal-small": Pattern("Fuchs-Rosenthal, small squares of 0.25 mm", 0.25, 0.25, 16, 16, 0.2),
    "buerker-large": Pattern("Bürker, large squares of 1 mm", 1.0, 1.0, 3, 3, 0.1),
    # Double lines of 0.05 mm lie between the group squares and belong to none.
    "buerker-group": Pattern("Bürker, group squares of 0.2 mm", 0.2, 0.25, 12, 12, 0.1),
}


def chamber(shape: tuple[int, int], pixel_size_um: float | None, pattern: str, *,
            origin: tuple[float, float] = (-0.5, -0.5), rotation: float = 0.0) -> list[Region]:
    """The squares of a chamber that lie wholly in an image.

    Parameters
    ----------
    shape : (H, W) of the image
    pixel_size_um : µm per pixel
    pattern : a name in `PATTERNS`
    origin : (y, x) in pixels of the upper left corner of square A1
    rotation : degrees, clockwise on the screen, by which the rows fall to the right

    Returns
    -------
    Regions "A1", "A2", … (rows A, B, …, columns 1, 2, …), row by row. `measure` with ``border="two sides"`` counts
    them by the rule of chambers. Without a pixel size, or if no square fits, it is a `RegionError`.
    """
    if pattern not in PATTERNS:
        raise RegionError(f"There is no counting chamber {pattern!r}; choose one of {', '.join(PATTERNS)}.")
    chosen = PATTERNS[pattern]
    if not pixel_size_um or not (math.isfinite(pixel_size_um) and pixel_size_um > 0):
        raise RegionError("The squares of a counting chamber need the size of a pixel in µm, which the file does not "
                          "state; give it first.")
    side, pitch = (1000 * mm / pixel_size_um for mm in (chosen.side_mm, chosen.pitch_mm))
    if side < _LEAST:
        raise RegionError(f"A square of {chosen.side_mm:g} mm would be {side:.2g} px wide at {pixel_size_um:g} µm a "
                          "pixel; check the pixel size.")
    angle = math.radians(rotation)
    right, down = np.array([math.sin(angle), math.cos(angle)]), np.array([math.cos(angle), -math.sin(angle)])
    kind = "box" if rotation == 0 else "polygon"
    squares = []
    for row in range(chosen.rows):
        for column in range(chosen.columns):
            corner = np.asarray(origin, np.float64) + pitch * (row * down + column * right)
            outline = corner + side * np.array([0 * down, right, right + down, down])
            if (outline >= -0.5 - _TOLERANCE).all() and (outline <= np.array(shape) - 0.5 + _TOLERANCE).all():
                squares.append(Region(f"{chr(65 + row)}{column + 1}", kind, outline))
    if not squares:
        raise RegionError(f"No square of {chosen.side_mm:g} mm, {side:.0f} px at {pixel_size_um:g} µm a pixel, fits "
                          f"into the image of {shape[1]}×{shape[0]} px from there; choose smaller squares or another "
                          "corner.")
    return squares


def along(start: tuple[float, float], end: tuple[float, float]) -> dict:
    """``origin`` and ``rotation`` of `chamber` from a line (y, x) drawn along the upper side of square A1."""
    return {"origin": (float(start[0]), float(start[1])),
            "rotation": math.degrees(math.atan2(end[0] - start[0], end[1] - start[1]))}


def per_ml(density_per_mm2: float, pattern: str, dilution: float = 1.0) -> float:
    """Cells per millilitre of the undiluted sample, from a density under the chamber's depth."""
    return density_per_mm2 / PATTERNS[pattern].depth_mm * 1000 * dilution
