"""``python -m cellapp train`` and ``evaluate``: making weights and measuring them."""

import argparse
import json
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from cellapp import weights as store
from cellapp.axes import choose
from cellapp.commands import declared, show
from cellapp.errors import CellappError


def train(given: argparse.Namespace) -> int:
    """Train from a folder or from the simulator, and publish the best epoch under the name given by ``--out``."""
    import torch

    from cellapp.checkpoint import best_state
    from cellapp.data import seen, typical_diameter
    from cellapp.methods import find_method
    from cellapp.training import TrainingConfig
    from cellapp.training import train as run
    from cellapp.verify import calibrated, check_publishable, publish

    config = declared(TrainingConfig, given)
    if (given.preset is None) == (given.images is None):
        raise CellappError("Give either --preset (simulated images) or --images (a folder of dotted images).")
    if given.threads:
        torch.set_num_threads(given.threads)
    method = find_method(config.method)
    start = store.find(given.start) if given.start else None
    if start and start.method != config.method:
        raise CellappError(f"--start {start.id} is a {start.method} network, not {config.method}; choose others.")
    if start and given.imagenet:
        raise CellappError("--start and --imagenet both say what to begin with; leave one of them out.")
    depth = config.method.removesuffix("-c").removeprefix("resnet-")
    if given.imagenet and not depth.isdecimal():
        raise CellappError(f"--imagenet is for ResNets only, not for {config.method}; leave it out.")
    learn, choose, name = _sets(given, config.seed)
    n_train = len(learn)
    learn, choose = _prepared(given, learn, choose, config.seed)
    build = dict(given.build) or (start.build if start else {})
    about = {"id": given.out, "title": given.title or given.out, "method": config.method, "sigma": config.sigma,
             "build": build,
             **seen(learn, given.cell_diameter or typical_diameter(learn), given.upright, sizes=bool(given.zoom)),
             "map_scale": method.map_scale, "trained_on": given.data_name or name,
             "parent": "ImageNet" if given.imagenet else given.start, "licence": given.licence,
             "training": config.model_dump() | {"n_train": n_train, "n_val": len(choose)}}
    check_publishable(given.example, **about)               # now, not after hours of training
    folder = given.folder or Path("runs") / given.out.replace("/", "--")
    state = store.read_state(start) if start else None
    if given.imagenet:
        from cellapp.imagenet import imagenet_state

        state = imagenet_state(int(depth))
    try:
        for p in run(learn, choose, config, folder, start=state, build=build, device=given.device):
            show(given, asdict(p), f"epoch {p.epoch}/{p.epochs}: loss {p.loss:.4f}, validation MAE {p.val_mae:.2f} "
                 f"(bias {p.val_bias:+.2f}), figure {p.figure:.4f}, best {p.best_figure:.4f} in epoch {p.best_epoch}, "
                 f"{p.seconds_left / 60:.0f} min left on {p.device}")
    except torch.OutOfMemoryError as error:
        raise CellappError(f"The memory of the GPU does not suffice for {config.batch} crops of {config.crop} px in a "
                           f"step; give a smaller --batch or --crop, and another --run than {folder}.") from error
    best, settings = best_state(folder)
    row = publish(best, given.example, **about, settings=settings)
    row, sure = calibrated(row, choose)
    files = ", ".join(str(store.folder() / part.file) for part in row.files)
    show(given, row.model_dump(mode="json"), f"{row.id}: saved as {files}\n{sure}")
    return 0


def _sets(given: argparse.Namespace, seed: int) -> tuple[list, list, str]:
    """Images to learn from and to choose the epoch with, and what the manifest calls them."""
    from cellapp import data as sets

    if given.preset:
        total = sets.simulated(given.preset, given.n_train + given.n_val, seed)
        name = f"{given.n_train} images of the simulator preset {given.preset}"
    else:
        total = read_dotted(given)
        name = f"{given.n_train} images of {given.images.name}"
    if given.val_include:
        chosen = [any(fnmatch(item.name, p) for p in given.val_include) for item in total]
        learn = sets.drawn([item for item, c in zip(total, chosen, strict=True) if not c], given.n_train, seed)
        choose = sets.drawn([item for item, c in zip(total, chosen, strict=True) if c], given.n_val, seed)
    else:
        learn, choose = sets.split(total, given.n_train, given.n_val, seed)
    return learn, choose, " and ".join([name, *(f"{n} of the simulator preset {preset}" for preset, n in given.mix)])


def _prepared(given: argparse.Namespace, learn: list, choose: list, seed: int) -> tuple[list, list]:
    """The images at the scale and of the polarity in which they are learnt from, with those that are added."""
    from cellapp import data as sets

    if given.size:
        learn, choose = ([sets.resized(item, given.size) for item in part] for part in (learn, choose))
    if given.rescale:
        if not given.cell_diameter:
            raise CellappError("--rescale needs the diameter to which cells are brought; give --cell-diameter.")
        learn, choose = ([sets.rescaled(item, given.cell_diameter, given.rescale) for item in part]
                         for part in (learn, choose))
    learn += [sets.zoomed(item, factor) for factor in given.zoom for item in learn]
    for preset, number in given.mix:
        more = sets.simulated(preset, number, seed)
        learn += [sets.rescaled(item, given.cell_diameter, given.rescale) for item in more] if given.rescale else more
    if given.zoom or given.mix:
        learn = sets.drawn(learn, len(learn), seed)         # the first ones tell what all look like
    if given.upright:
        learn, choose = ([sets.uprighted(item) for item in part] for part in (learn, choose))
    return learn, choose


def read_dotted(given: argparse.Namespace, channel: str = "auto") -> list:
    """The images of ``--images`` with their dots, or with the counts of ``--table`` where there are no dots."""
    from cellapp import data as sets

    if given.where and not given.table:
        raise CellappError("--where chooses rows of a table; give it with --table.")
    table = sets.read_table(given.table, tuple(given.where)) if given.table else None
    planes = choose(given.pages or "ask", given.z or "max", given.frame or 1)
    rules = {"include": tuple(given.include), "exclude": tuple(given.exclude), "channel": channel, "planes": planes}
    if table and given.dots is None:
        return sets.read_counted(given.images, table, **rules)
    return sets.read_folder(given.images, given.dots, table=table, **rules)


def describe(given: argparse.Namespace) -> int:
    """Keep in a row what its training images look like: those of a folder, or of the simulator as training makes them.
    """
    from cellapp import data as sets

    row = store.find(given.id)
    if (given.preset is None) == (given.images is None):
        raise CellappError("Give either --preset (simulated images) or --images (the folder of the training images).")
    data = sets.simulated(given.preset, given.n, 0) if given.preset else sets.drawn(read_dotted(given), given.n, 0)
    if given.size:
        data = [sets.resized(item, given.size) for item in data]
    if given.rescale:
        data = [sets.rescaled(item, row.input.cell_diameter, given.rescale) for item in data]
    if given.upright:
        data = [sets.uprighted(item) for item in data]
    found = sets.seen(data, row.input.cell_diameter, given.upright)
    row = store.find(given.id)                              # other rows, and this one, may have changed meanwhile
    told = {name: found["input"][name] for name in ("polarity", "negatives")}
    read = row.input.model_copy(update=told | {"sizes": given.second_look or row.input.sizes})
    row = row.model_copy(update={"input": read, "summary": found["summary"]})
    store.replace(row)
    ranges = row.summary.model_dump(exclude={"images"}) if row.summary else {}
    show(given, row.model_dump(mode="json"), f"{row.id}: {read.polarity}, {len(data)} images; " + ", ".join(
        f"{name} {low:.3g} to {high:.3g}" for name, (low, _, high) in ranges.items()))
    return 0


def evaluate(given: argparse.Namespace) -> int:
    """Count images whose truth is known and print every figure of the comparison."""
    from cellapp.data import resized
    from cellapp.methods import Options, load
    from cellapp.region_coverage import RegionCoverage

    options = declared(Options, given)
    counter = load(given.weights, given.device)
    data = read_dotted(given, options.channel)
    if given.size:
        data = [resized(item, given.size) for item in data]
    tally = Tally(counter.weights.settings.threshold, given.distance)
    parts = RegionCoverage(given.regions) if given.regions else None
    for item in data:
        prediction = counter.predict(item.image, options)
        tally.add(prediction, item)
        if parts and item.points is not None:
            parts.add(prediction, item.points)
        if given.json:
            print(json.dumps({"image": item.name, "count": prediction.count, "true": item.count}), flush=True)
    figures = tally.figures()
    held = parts.figures() if parts else []
    show(given, {"weights": given.weights, **figures, "regions": [asdict(one) for one in held]},
         "\n".join([f"{given.weights} on {figures['images']} images: {tally.sentence()}",
                    *(f"    {one.sentence()}" for one in held)]))
    if given.record:
        _record(given, options, tally)
    return 0


class Tally:
    """Adds up how predictions compare with the truth, image after image."""

    def __init__(self, threshold: float | None, distance: float):
        from cellapp.metrics import Detection
        from cellapp.pixel_metrics import ThresholdCurve

        self.threshold, self.distance = threshold, distance
        self.counts, self.true, self.lines = [], [], []
        self.inside, self.inside_rounded, self.widths = [], [], []
        self.found, self.points = Detection(0, 0, 0), False
        self.curve, self.masks = ThresholdCurve(), False

    def add(self, prediction, item) -> None:
        """Compare one prediction with its dotted image."""
        from cellapp import agreement

        line = agreement.compare(item.name, prediction, item.truth, self.distance)
        self.lines.append(line)
        self.counts.append(prediction.count)
        self.true.append(item.count)
        if prediction.interval:
            low, high = prediction.interval.low, prediction.interval.high
            self.inside.append(low <= item.count <= high)
            self.inside_rounded.append(np.floor(low) <= item.count <= np.ceil(high))
            self.widths.append(high - low)
        if line.found is not None:
            self.points = True
            self.found += line.found
        if "foreground" in prediction.views and item.labels is not None and self.threshold is not None:
            self.masks = True
            self.curve.add(prediction.views["foreground"], item.labels > 0)

    def figures(self) -> dict:
        """Every figure by name; those that do not apply are left out."""
        from cellapp import agreement
        from cellapp.metrics import count_errors

        figures = asdict(count_errors(self.counts, self.true))
        sure = agreement.figures(self.lines)
        figures |= {name: figure.value for name, figure in sure.items() if name.startswith("game")}
        figures["intervals"] = {name: [f.low, f.high] for name, f in sure.items() if f.low is not None}
        if limits := agreement.bland_altman(self.lines):
            figures["limits_of_agreement"] = [limits.low[0], limits.high[0]]
        if self.inside:
            figures |= {"coverage": float(np.mean(self.inside)), "with_interval": len(self.inside),
                        "coverage_rounded": float(np.mean(self.inside_rounded)),
                        "mean_width": float(np.mean(self.widths))}
        if self.points:
            figures |= {name: getattr(self.found, name) for name in ("precision", "recall", "f1")}
        if self.masks:
            pixels = self.curve.at(self.threshold)
            figures |= {f"pixel_{name}": getattr(pixels, name)
                        for name in ("mcc", "precision", "recall", "specificity", "accuracy", "f1")}
            figures["pixel_auc"] = self.curve.auc()
        return figures

    def sentence(self) -> str:
        """The figures for a reader."""
        f = self.figures()
        sure = f["intervals"].get("mae")
        text = (f"MAE {f['mae']:.2f}" + (f" ({sure[0]:.2f} to {sure[1]:.2f}, 95 %)" if sure else "")
                + f", RMSE {f['rmse']:.2f}, MRE {f['mre']:.4f}, bias {f['bias']:+.2f}, R² {f['r2']:.4f}, largest error "
                f"{f['max_error']:.1f}")
        if "limits_of_agreement" in f:
            text += ", limits of agreement {:+.1f} to {:+.1f}".format(*f["limits_of_agreement"])
        if "game1" in f:
            text += f"; GAME(1–3) {f['game1']:.1f}, {f['game2']:.1f}, {f['game3']:.1f}"
        if self.inside:
            text += (f"; {f['coverage']:.1%} of the true counts in their interval, {f['coverage_rounded']:.1%} once it "
                     f"is rounded outwards (mean width {f['mean_width']:.1f}, {f['with_interval']} images)")
        if self.points:
            text += (f"; detection within {self.distance:g} px: precision {f['precision']:.3f}, "
                     f"recall {f['recall']:.3f}, F1 {f['f1']:.3f}")
        if self.masks:
            text += (f"; pixels: MCC {f['pixel_mcc']:.3f}, F {f['pixel_f1']:.3f}, accuracy {f['pixel_accuracy']:.3f}, "
                     f"area under the ROC curve {f['pixel_auc']:.4f}")
        return text


def _record(given: argparse.Namespace, options, tally: Tally) -> None:
    row, figures = store.find(given.weights), tally.figures()
    flags = [f"--images {given.images}", *([f"--dots {given.dots}"] if given.dots else []),
             *([f"--table {given.table}"] if given.table else []), *(f"--where {w}" for w in given.where),
             *(f"--include '{p}'" for p in given.include), *(f"--exclude '{p}'" for p in given.exclude),
             *([f"--size {given.size[0]}x{given.size[1]}"] if given.size else []),
             *([f"--distance {given.distance:g}"] if tally.points else []),
             *(f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}")
               for name, value in options.model_dump(exclude_defaults=True).items())]
    kept = {name: round(figures[name], 4)
            for name in ("mae", "mre", "bias", "r2", "coverage", "f1", "pixel_mcc", "pixel_auc")
            if name in figures and np.isfinite(figures[name])}
    if tally.masks:
        kept["roc"] = tally.curve.thinned()
    score = store.Score(data=given.record, images=figures["images"], **kept,
                        command=" ".join(["python -m cellapp evaluate", *flags, f"--weights {given.weights}"]))
    others = tuple(s for s in row.scores if s.data != given.record)
    store.replace(row.model_copy(update={"scores": (*others, score)}))
