"""The images that weights count worst, and what can be told of why.

Reasons are looked for where dots say where the cells are, and in what the prediction itself says. They are likely
causes, not proofs: an image may fail for none of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cellapp.agreement import Line
from cellapp.data import Dotted
from cellapp.likeness import fits, misfit
from cellapp.metrics import match_pairs
from cellapp.polarity import bright
from cellapp.prediction import Prediction
from cellapp.scale import diameter_at
from cellapp.weights import Weights

MOST = 6                                                     # images of a gallery
WRONG_SIZE = 1.5                                             # times the diameter at which the image was read
TOUCHING = 0.85                                              # of a diameter between two centres
CLUMP = 2.5                                                  # times the distance of neighbours; cells overlap by less
SHARE = 0.25                                                 # of the cells, from which a trait is worth a sentence
FEW = 5                                                      # cells, of which one is much of the count


@dataclass(frozen=True)
class Kind:
    """A row of `KINDS`: what makes an image a failure. ``size`` of a line, the larger the worse; None: it is none."""

    name: str
    title: str
    size: Callable[[Line], float | None]


def _missed(line: Line) -> float | None:
    if line.low is None or line.low <= line.manual <= line.high:
        return None
    return max(line.low - line.manual, line.manual - line.high)


KINDS = {kind.name: kind for kind in (
    Kind("error", "Largest error", lambda line: None if line.error is None else abs(line.error)),
    Kind("relative", "Largest relative error", lambda line: line.relative),
    Kind("missed", "Outside their interval", _missed),
)}


def worst(lines: Sequence[Line], kind: str, most: int = MOST) -> list[int]:
    """The numbers of the worst lines of this kind of `KINDS`, the worst first."""
    sizes = {k: size for k, line in enumerate(lines) if (size := KINDS[kind].size(line))}
    return sorted(sizes, key=sizes.get, reverse=True)[:most]


def reasons(item: Dotted, prediction: Prediction, row: Weights) -> list[str]:
    """Sentences for the user; none where nothing was found."""
    found = [note for note in prediction.notes if note.startswith("Outside calibration")]
    found += prediction.doubts
    if item.points is not None and len(item.points) >= 3:
        found += _at_the_dots(item, prediction, row)
    if 0 < item.count <= FEW:
        found.append(f"There are only {item.count:.0f} cells, so one too many or too few is "
                     f"{100 / item.count:.0f} % of them.")
    return list(dict.fromkeys(found))


def _at_the_dots(item: Dotted, prediction: Prediction, row: Weights) -> list[str]:
    """What the dots say of polarity, size and crowding, and which cells were missed."""
    found, points = [], item.points
    darker = _darker(item)
    read_dark = prediction.polarity == "dark"
    if darker is not None and prediction.polarity and darker != read_dark:
        here, there = ("dark", "bright") if darker else ("bright", "dark")
        found.append(f"The cells were taken for {there} ones, but at the dots they are {here}er than the rest: give "
                     f"the polarity.")
    apart = _nearest(points)
    size = diameter_at(bright(item.image, read_dark if darker is None else darker), points)
    if size is not None and size > CLUMP * np.median(apart):
        size = None                                          # that of a clump, not of a cell
    if size is not None and not fits(row, size):
        found.append(misfit(row, size))
    elif size is not None and (read := prediction.cell_diameter) and not 1 / WRONG_SIZE < read / size < WRONG_SIZE:
        found.append(f"It was read as cells of {read:.3g} px, but at the dots they have {size:.3g} px: give the cells’ "
                     "diameter.")
    size = size or prediction.cell_diameter
    if size is None:
        return found
    near = apart < TOUCHING * size
    missed = _unfound(points, prediction, size)
    if near.mean() > SHARE:
        words = f"{near.sum()} of {len(points)} cells touch or cover a neighbour"
        if missed is not None and missed.sum() >= 3:
            words += f", and so do {(missed & near).sum()} of the {missed.sum()} that were not found"
        found.append(words + ".")
    edge = _to_the_edge(points, item.image.shape) < size / 2
    if missed is not None and missed.sum() >= 3 and (missed & edge).sum() > SHARE * missed.sum() \
            and (missed & edge).mean() > edge.mean() * missed.mean() * 2:
        found.append(f"{(missed & edge).sum()} of the {missed.sum()} cells that were not found are cut by the edge.")
    return found


def _darker(item: Dotted) -> bool | None:
    """Whether the image is darker at the dots than on the whole; None where there is hardly a difference."""
    y, x = (np.clip(np.rint(item.points[:, k]).astype(int), 0, item.image.shape[k] - 1) for k in (0, 1))
    apart = float(np.median(item.image[y, x]) - np.median(item.image))
    return None if abs(apart) < 0.25 * float(item.image.std()) else apart < 0


def _nearest(points: np.ndarray) -> np.ndarray:
    """(N,) px from each point to the next one."""
    from scipy.spatial import cKDTree

    return cKDTree(points).query(points, k=2)[0][:, 1]


def _unfound(points: np.ndarray, prediction: Prediction, size: float) -> np.ndarray | None:
    """(N,) bool: dots without a detected cell within half a diameter; None where no cells are detected at all."""
    if prediction.points is None:
        return None
    hit = match_pairs(prediction.points, points, size / 2)[:, 1]
    return ~np.isin(np.arange(len(points)), hit)


def _to_the_edge(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.minimum(points + 0.5, np.array(shape) - 0.5 - points).min(axis=1)
