"""Published protocols at a command: a labelled set, a division of it, and weights or networks trained on the division.

A run has one folder. What was counted is kept there by what it depends on (weights, image, dots, options), and each
training resumes in a folder of its own, so a run that was broken goes on where it was, and one more draw costs one more
draw. The command counts on one thread.

    trainings/<name>/        runs of `cellapp.training`
    weights/                 the weights they made
    counts/<key>.json        one counted image: its line
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from cellapp import weights as store
from cellapp.agreement import Line
from cellapp.benchmark_folds import check, crossed
from cellapp.benchmark_protocols import PROTOCOLS, Draw, Loaded, divide
from cellapp.benchmark_steps import Counted, count_items, trained
from cellapp.calibration import SPLIT
from cellapp.conformal import LEVEL, fewest
from cellapp.errors import BenchmarkError
from cellapp.family import Call
from cellapp.methods import Options, build, find_method, load
from cellapp.training import TrainingConfig

Told = Callable[[str, int, int], None]                       # what, pieces done, pieces in all; may raise to stop
SIDE = 256                                                   # px of the image whose multiplications are counted
CV_PLUS = "cv+"


@dataclass(frozen=True)
class Entry:
    """What is measured: installed weights as they are, or a network that learns in each draw.

    weights, folder : an id of the manifest, for the former, and where it lies if it is not an installed one
    config, start, build : for the latter; ``start`` is an id to begin with
    """

    title: str
    weights: str = ""
    config: TrainingConfig | None = None
    start: str = ""
    build: dict = field(default_factory=dict)
    folder: Path | None = None

    @property
    def learns(self) -> bool:
        return self.config is not None


@dataclass(frozen=True)
class Plan:
    """How a set is divided and read.

    distance : px between a detected cell and its dot; None takes half of the cells' diameter
    intervals : of networks that learn: `SPLIT` from the errors on the images that chose the epoch, `CV_PLUS` from five
        more trainings
    level : of these intervals
    """

    protocol: str
    n_test: int
    n_train: int = 0
    n_val: int = 0
    draws: int = 1
    seed: int = 0
    distance: float | None = None
    options: Options = field(default_factory=Options)
    intervals: str = SPLIT
    level: float = LEVEL


@dataclass(frozen=True)
class Outcome:
    """One entry over all draws; gmac : billions of multiplications for an image of `SIDE`², None for baselines."""

    entry: Entry
    draws: tuple[Counted, ...]
    parameters: int = 0
    gmac: float | None = None


def run(loaded: Loaded, entries: Sequence[Entry], plan: Plan, folder: Path, *, device: str = "auto",
        told: Told = lambda what, done, total: None, threads: int | None = 1) -> list[Outcome]:
    """Measure every entry, and two baselines beside them; see `Plan` and `cellapp.benchmark_report`.

    threads : that count; None takes as many as the process uses, which others in it may need
    Weights that do not learn are measured once where the protocol tests the same images in every draw.
    """
    learns = any(entry.learns for entry in entries)
    if plan.protocol not in PROTOCOLS:
        raise BenchmarkError(f"There is no protocol “{plan.protocol}”; choose one of: {', '.join(PROTOCOLS)}.")
    if not 0 < plan.n_test < len(loaded.items) and plan.protocol != "split":
        raise BenchmarkError(f"{plan.n_test} of {len(loaded.items)} images cannot be tested; leave some to learn from.")
    if learns and (plan.n_train < 1 or plan.n_val < 1):
        raise BenchmarkError("A network that learns needs images to learn from and images to choose the epoch with, "
                             "at least one of each.")
    n_train, n_val = (plan.n_train, plan.n_val) if learns else (0, 0)
    draws = [divide(loaded, plan.protocol, plan.n_test, n_train, n_val, plan.seed + k) for k in range(plan.draws)]
    if learns and plan.intervals == CV_PLUS:
        for draw in draws:
            check(loaded, draw, plan)
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        found = [_measured(loaded, entry, draws, plan, folder, device, told) for entry in entries]
    finally:
        torch.set_num_threads(before)
    once = draws[:1] if PROTOCOLS[plan.protocol].fixed else draws
    return [*found, *_baselines(loaded, once)]


def _measured(loaded: Loaded, entry: Entry, draws: list[Draw], plan: Plan, folder: Path, device: str,
              told: Told) -> Outcome:
    if not entry.learns and PROTOCOLS[plan.protocol].fixed:
        draws = draws[:1]
    counted, counter = [], None
    for k, draw in enumerate(draws):
        what = f"{entry.title}, draw {k + 1} of {len(draws)}" if len(draws) > 1 else entry.title
        if entry.learns:
            learn, choose = ([loaded.items[i] for i in part] for part in (draw.train, draw.val))
            weights_id = trained(entry, learn, choose, plan.seed + k, folder, device,
                                 lambda done, total, what=what: told(f"{what}: training", done, total), plan.level)
            counter = load(weights_id, device, folder / "weights")
        elif counter is None:
            counter = load(entry.weights, device, entry.folder)
        items = [loaded.items[i] for i in draw.test]
        one = count_items(counter, items, plan, folder / "counts",
                          lambda done, total, what=what: told(what, done, total))
        if entry.learns and plan.intervals == CV_PLUS:
            one = crossed(one, loaded, entry, draw, plan, plan.seed + k, folder, device, told, what)
        elif entry.learns and one.level is None and len(draw.val) < fewest(plan.level):
            one = replace(one, how=f"none: {len(draw.val)} images that choose the epoch are too few, "
                                   f"{fewest(plan.level)} give one of {100 * plan.level:.3g} %")
        counted.append(one)
    return Outcome(entry, tuple(counted), counter.parameters, gmac(counter.weights))


def gmac(row: store.Weights) -> float:
    """Billions of multiplications and additions for one image of `SIDE`², in the plain form of the network.

    What only the uncertainty of a mask needs (`Options.quick`) is left out.
    """
    from torch.utils.flop_counter import FlopCounterMode

    method = find_method(row.method)
    network = build(row).eval().requires_grad_(False)
    call = Call(torch.device("cpu"), method.stride, method.halo, method.layout, row.map_scale, row.sigma, row.settings,
                tile=4 * SIDE, quick=True)
    plane = np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32)
    with FlopCounterMode(display=False) as flops:
        method.family.read(network, plane, call)
    return flops.get_total_flops() / 2e9


def _baselines(loaded: Loaded, draws: Sequence[Draw]) -> list[Outcome]:
    """The mean count, and a parabola through the sum of all grey values, from all images that are not tested."""
    sums = np.array([item.image.sum(dtype=np.float64) for item in loaded.items])
    truth = np.array([item.count for item in loaded.items])
    found = []
    if any(len(draw.rest) < 2 for draw in draws):
        return []
    for title, degree in (("mean of the other images", 0), ("total intensity of the other images", 2)):
        counted = []
        for draw in draws:
            rest, test = list(draw.rest), list(draw.test)
            scale = sums[rest].std() or 1.0
            middle = sums[rest].mean()
            fit = np.polyfit((sums[rest] - middle) / scale, truth[rest], min(degree, len(rest) - 1))
            told = np.polyval(fit, (sums[test] - middle) / scale)
            counted.append(Counted(tuple(Line(loaded.items[k].name, truth[k], float(count))
                                         for k, count in zip(test, told, strict=True)), None, ()))
        found.append(Outcome(Entry(title), tuple(counted)))
    return found
