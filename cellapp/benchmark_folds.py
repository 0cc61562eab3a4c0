"""CV+ intervals in a benchmark: one more training for each fold of the images of a draw; see `cellapp.cv_plus`.

The count stays that of the network which learns from the draw as the protocol says. The networks without a fold learn
from fewer images, so their errors are rather too large than too small.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellapp.benchmark_protocols import Draw, Loaded
from cellapp.benchmark_steps import Counted, count_items, trained
from cellapp.conformal import check_enough, deviation, fit_spread, rank
from cellapp.cv_plus import ends, folds
from cellapp.data import Dotted
from cellapp.errors import BenchmarkError
from cellapp.methods import load

if TYPE_CHECKING:
    from cellapp.benchmark import Entry, Plan, Told

LEAST = 0.01                                                 # cells; a spread that no error is divided by less than


@dataclass(frozen=True)
class Spoken:
    """What the network without one fold says: errors and spreads of the fold, counts and spreads of the test images."""

    errors: np.ndarray
    spread: np.ndarray
    counts: np.ndarray
    spreads: np.ndarray


def check(loaded: Loaded, draw: Draw, plan: "Plan") -> None:
    """Raise before any training what would be in the way of CV+."""
    check_enough(len(draw.train) + len(draw.val), plan.level)
    if len(_parts(loaded, draw, plan, 0)) < 2:
        raise BenchmarkError("The images to learn from come from one source, which cannot be parted into folds; take "
                             "more images, or another protocol.")


def crossed(counted: Counted, loaded: Loaded, entry: "Entry", draw: Draw, plan: "Plan", seed: int, folder: Path,
            device: str, told: "Told", what: str) -> Counted:
    """The counts of a draw with CV+ intervals, from one training for each fold of what it learns from."""
    pool, test = [loaded.items[k] for k in (*draw.train, *draw.val)], [loaded.items[k] for k in draw.test]
    parts = _parts(loaded, draw, plan, seed)
    found = [_without(pool, part, test, entry, plan, seed, folder, device, told,
                      f"{what}, without fold {k} of {len(parts)}",
                      share=len(draw.val) / len(pool)) for k, part in enumerate(parts, start=1)]
    errors = np.concatenate([one.errors for one in found])
    low, high = ends(np.concatenate([np.abs(one.errors) / one.spread for one in found]),
                     np.concatenate([np.tile(one.counts, (len(one.errors), 1)) for one in found]),
                     np.concatenate([np.tile(one.spreads, (len(one.errors), 1)) for one in found]), plan.level)
    lines = tuple(replace(line, low=float(a), high=float(b))
                  for line, a, b in zip(counted.lines, low, high, strict=True))
    constant = float(np.sort(np.abs(errors))[rank(len(errors), plan.level) - 1])
    return replace(counted, lines=lines, level=plan.level, constant=constant,
                   how=f"CV+: {len(pool)} images in {len(parts)} folds, each counted by a network that has not seen it")


def _parts(loaded: Loaded, draw: Draw, plan: "Plan", seed: int) -> list[np.ndarray]:
    """Whole sources where the protocol tests whole sources."""
    pool = (*draw.train, *draw.val)
    return folds([loaded.groups[k] if plan.protocol == "source" else k for k in pool], seed)


def _without(pool: Sequence[Dotted], part: np.ndarray, test: Sequence[Dotted], entry: "Entry", plan: "Plan", seed: int,
             folder: Path, device: str, told: "Told", what: str, share: float) -> Spoken:
    """Train on all but ``part``, of which ``share`` chooses the epoch, and count."""
    rest = np.random.default_rng([seed, *part]).permutation(np.setdiff1d(np.arange(len(pool)), part))
    chosen = min(max(1, round(share * len(rest))), len(rest) - 1)
    learn, choose = ([pool[k] for k in some] for some in (rest[chosen:], rest[:chosen]))
    name = trained(entry, learn, choose, seed, folder, device,
                   lambda done, total: told(f"{what}: training", done, total), None)
    counter = load(name, device, folder / "weights")

    def count(items: Sequence[Dotted]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        one = count_items(counter, items, plan, folder / "counts", lambda done, total: told(what, done, total))
        counts = np.array([line.predicted for line in one.lines])
        sds = None if None in one.sds else np.maximum(np.array(one.sds), LEAST)
        return counts, counts - np.array([line.manual for line in one.lines]), sds

    counts, errors, spread = count([pool[k] for k in part])
    tested, _, spreads = count(test)
    if spread is None:                                       # only its shape matters: the errors of the fold scale it
        known, off, _ = count([*learn, *choose])
        shape = fit_spread(known, off)
        spread, spreads = deviation(shape, counts), deviation(shape, tested)
    return Spoken(errors, spread, tested, spreads)
