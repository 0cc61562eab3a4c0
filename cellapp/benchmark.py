"""Published protocols at a command: a labelled set, a division of it, and weights or networks trained on the division.

A run has one folder. What was counted is kept there by what it depends on (weights, image, dots, options), and each
training resumes in a folder of its own, so a run that was broken goes on where it was, and one more draw costs one more
draw. The command counts on one thread.

    trainings/<name>/        runs of `cellapp.training`
    weights/                 the weights they made
    counts/<key>.json        one counted image: its line
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from cellapp import weights as store
from cellapp.agreement import Line, compare
from cellapp.benchmark_protocols import PROTOCOLS, Draw, Loaded, divide
from cellapp.checkpoint import best_state
from cellapp.data import Dotted, seen, typical_diameter, uprighted, zoomed
from cellapp.errors import BenchmarkError, DotsError
from cellapp.family import Call
from cellapp.files import write_atomic
from cellapp.image import Image
from cellapp.methods import Counter, Options, build, find_method, load
from cellapp.metrics import Detection
from cellapp.polarity import BRIGHT, DARK, of_images, upright
from cellapp.scale import TOLERATED, diameter_at
from cellapp.training import TrainingConfig, train
from cellapp.verify import calibrated, publish

Told = Callable[[str, int, int], None]                       # what, pieces done, pieces in all; may raise to stop
SIDE = 256                                                   # px of the image whose multiplications are counted
EXAMPLE = "vgg-cells-1-000.png"


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
    """

    protocol: str
    n_test: int
    n_train: int = 0
    n_val: int = 0
    draws: int = 1
    seed: int = 0
    distance: float | None = None
    options: Options = field(default_factory=Options)


@dataclass(frozen=True)
class Counted:
    """What one entry said of the test images of one draw, and what it took.

    level : of the intervals; seconds : of each image; constant : half the width of intervals that are all the same
    """

    lines: tuple[Line, ...]
    level: float | None
    seconds: tuple[float, ...]
    constant: float | None = None


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
            weights_id = _trained(loaded, entry, draw, plan.seed + k, folder, device,
                                  lambda done, total, what=what: told(f"{what}: training", done, total))
            counter = load(weights_id, device, folder / "weights")
        elif counter is None:
            counter = load(entry.weights, device, entry.folder)
        items = [loaded.items[i] for i in draw.test]
        counted.append(count_items(counter, items, plan, folder / "counts",
                                   lambda done, total, what=what: told(what, done, total)))
    return Outcome(entry, tuple(counted), counter.parameters, gmac(counter.weights))


def _trained(loaded: Loaded, entry: Entry, draw: Draw, seed: int, folder: Path, device: str,
             told: Callable[[int, int], None]) -> str:
    """Train on the draw, or take what was trained before; the id in the run's own manifest.

    Images are learnt from and read at the scale at which they come, as in the papers, or where the weights to begin
    with know cells of another size or polarity, as those know them.
    """
    learn, choose = ([loaded.items[k] for k in part] for part in (draw.train, draw.val))
    config = entry.config.model_copy(update={"seed": seed})
    begin = store.find(entry.start) if entry.start else None
    depends = json.dumps(["as known", config.model_dump(), entry.build, begin and begin.sha256,
                          [content(item) for item in learn], [content(item) for item in choose]])
    name = f"{config.method}-n{len(learn)}-{hashlib.sha256(depends.encode()).hexdigest()[:12]}"
    where = folder / "weights"
    if name in store.manifest(where):
        return name
    learn, choose, about = _as_known(learn, choose, begin)
    for progress in train(learn, choose, config, folder / "trainings" / name, build=entry.build, device=device,
                          start=store.read_state(begin) if begin else None):
        told(progress.epoch, progress.epochs)
    best, settings = best_state(folder / "trainings" / name)
    row = publish(best, EXAMPLE, where, id=name, title=entry.title, method=config.method, sigma=config.sigma,
                  build=entry.build, map_scale=find_method(config.method).map_scale, settings=settings,
                  trained_on=f"{len(learn)} images of a benchmark", parent=entry.start or None, licence="not stated",
                  training=config.model_dump() | {"n_train": len(learn), "n_val": len(choose)}, **about)
    calibrated(row, [loaded.items[k] for k in draw.val], where)
    return name


def _as_known(learn: list[Dotted], choose: list[Dotted],
              begin: store.Weights | None) -> tuple[list[Dotted], list[Dotted], dict]:
    """The images as they are learnt from, and what the row says of them, such as by what size they are read."""
    try:
        diameter = typical_diameter(learn)
    except DotsError:                                        # nothing to estimate it from; it only names the scale
        diameter = begin.input.cell_diameter if begin else 12.0
    at_dots = [d for item in learn if item.points is not None and (d := diameter_at(upright(item.image), item.points))]
    if begin is None or not at_dots:
        about = seen(learn, diameter)
        about["input"] |= {"image_diameter": diameter}       # so that no image is resized
        return learn, choose, about
    diameter, trained = float(np.median(at_dots)), begin.input.cell_diameter
    diameter = trained if 1 / TOLERATED <= diameter / trained <= TOLERATED else diameter
    turned = begin.input.polarity == BRIGHT and of_images(item.image for item in learn) == DARK
    learn, choose = ([zoomed(uprighted(item) if turned else item, trained / diameter) for item in part]
                     for part in (learn, choose))
    about = seen(learn, trained, turned)
    about["input"] |= {"image_diameter": diameter}
    return learn, choose, about


def content(item: Dotted) -> str:
    """Names an image with its truth."""
    digest = hashlib.sha256(f"{item.name} {item.image.shape} {item.known}".encode())
    for array in (item.image, item.points):
        digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def count_items(counter: Counter, items: Sequence[Dotted], plan: Plan, cache: Path,
                told: Callable[[int, int], None] = lambda done, total: None) -> Counted:
    """Count and compare images, or take what ``cache`` has of the same weights, image, truth and options."""
    lines, seconds, level = [], [], None
    for k, item in enumerate(items):
        told(k, len(items))
        key = hashlib.sha256("\n".join(("1", counter.weights.digest, content(item), plan.options.model_dump_json(),
                                        str(plan.distance))).encode()).hexdigest()
        path = cache / f"{key}.json"
        kept = _kept(path)
        if kept is None:
            prediction = counter.predict(Image.from_array(item.image), plan.options)
            manual = item.count if item.points is None else item.points
            line = compare(item.name, prediction, manual, plan.distance)
            kept = {"line": asdict(line), "seconds": prediction.seconds,
                    "level": prediction.interval and prediction.interval.level}
            write_atomic(path, json.dumps(kept))
        lines.append(_line(kept["line"]))
        seconds.append(kept["seconds"])
        level = level or kept["level"]
    told(len(items), len(items))
    known = counter.weights.calibration
    return Counted(tuple(lines), level, tuple(seconds), known and known.constant)


def _kept(path: Path) -> dict | None:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):                            # not there, or cut off by a full disk
        return None


def _line(kept: dict) -> Line:
    return Line(**kept | {"game": kept["game"] and tuple(kept["game"]),
                          "found": kept["found"] and Detection(**kept["found"])})


def gmac(row: store.Weights) -> float:
    """Billions of multiplications and additions for one image of `SIDE`², in the plain form of the network."""
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
