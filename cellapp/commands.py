"""What each command of ``python -m cellapp`` does; `cellapp.cli` declares their flags.

Every function takes the parsed flags and returns the exit code.
"""

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel, ValidationError

from cellapp import DEFAULT_WEIGHTS
from cellapp import weights as store
from cellapp.errors import CellappError


def _declared(model: type[BaseModel], given: argparse.Namespace) -> BaseModel:
    values = {name: getattr(given, name) for name in model.model_fields if getattr(given, name) is not None}
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        flag = str(first["loc"][0]).replace("_", "-")
        raise CellappError(f"--{flag} {first['input']}: {first['msg'].lower()}.") from error


def _print(given: argparse.Namespace, record: dict, line: str) -> None:
    print(json.dumps(_jsonable(record), ensure_ascii=False) if given.json else line, flush=True)


def _jsonable(value):
    """JSON knows no nan: a figure that does not exist is null."""
    if isinstance(value, dict):
        return {key: _jsonable(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def count(given: argparse.Namespace) -> int:
    from cellapp.batch import count_one
    from cellapp.export import counts_csv, files_of
    from cellapp.files import write_atomic
    from cellapp.methods import Options, load

    options = _declared(Options, given)
    counter = load(_weights_id(given), given.device)
    results, taken = [], set()
    try:
        for path in _image_files(given.images):
            result = count_one(path, counter, options)
            _print_count(given, result)
            if given.out and result.status == "ok":
                for name, content in files_of(result, taken).items():
                    write_atomic(given.out / name, content)
            results.append(result.without_arrays())
    finally:                                                 # stopped by hand, what is counted stays
        if given.out and results:
            write_atomic(given.out / "counts.csv", counts_csv(results).encode("utf-8-sig"))
    return int(any(result.status != "ok" for result in results))


def _print_count(given: argparse.Namespace, result) -> None:
    row = result.row()
    keys = ("image", "method", "weights", "count", "low", "high", "level", "seconds", "device", "status", "message")
    line = f"error: {result.message}"
    if result.prediction:
        line = (f"{result.name}: {row['count']:.1f} cells ({len(result.prediction.points)} peaks, "
                f"{row['seconds']:.2f} s)")
        line += f". {result.message}" if result.message else ""
    _print(given, {key: row[key] for key in keys}, line)


def _weights_id(given: argparse.Namespace) -> str:
    """The weights asked for; those of ``--method`` where only that is given. Never others than asked for."""
    if given.method is None:
        return given.weights or DEFAULT_WEIGHTS
    if given.weights:
        row = store.find(given.weights)
        if row.method != given.method:
            raise CellappError(f"{row.id} is a {row.method} network, not {given.method}; leave one of the two out.")
        return row.id
    have = [row.id for row in store.manifest().values() if row.method == given.method]
    if not have:
        raise CellappError(f"There are no weights of {given.method} here; train some or choose another method.")
    return DEFAULT_WEIGHTS if DEFAULT_WEIGHTS in have else have[0]


def _image_files(given: list[str]) -> list[Path]:
    from cellapp.dots import IMAGE_SUFFIXES, image_files

    files = []
    for path in map(Path, given):
        inside = image_files(path) if path.is_dir() else [path]
        if not inside:
            raise CellappError(f"{path}: there is no image in this folder "
                               f"({', '.join(sorted(IMAGE_SUFFIXES))} are looked for).")
        files += inside
    return files


def methods(given: argparse.Namespace) -> int:
    from cellapp.methods import METHODS

    for method in METHODS.values():
        have = [row.id for row in store.manifest().values() if row.method == method.name]
        record = {"method": method.name, "title": method.title, "source": method.source, "meaning": method.meaning,
                  "weights": have}
        _print(given, record, f"{method.name}: {method.title} ({method.source})\n    {method.meaning}\n"
                              f"    weights: {', '.join(have) or 'none here'}")
    return 0


def weights(given: argparse.Namespace) -> int:
    if given.action == "verify":
        return verify(given)
    for row in store.manifest().values():
        scores = "; ".join(f"MAE {s.mae:.2f} on {s.data}" for s in row.scores)
        _print(given, row.model_dump(mode="json"), f"{row.id}: {row.title}, {row.bytes / 1e6:.1f} MB\n"
               f"    trained on {row.trained_on}\n    licence: {row.licence}\n    {scores or 'not measured'}")
    return 0


def verify(given: argparse.Namespace) -> int:
    from cellapp.verify import verify as check

    failed, rows = 0, store.manifest().values()
    if not rows:
        raise CellappError(f"{store.folder()}: there are no weights here to verify.")
    for row in rows:
        try:
            difference = check(row)
            _print(given, {"weights": row.id, "ok": True, "difference": difference},
                   f"{row.id}: ok ({row.check.count:.3f} cells in {row.check.image}, off by {difference:+.4f})")
        except CellappError as error:
            failed += 1
            _print(given, {"weights": row.id, "ok": False, "message": str(error)}, f"FAILED {error}")
    return int(failed > 0)


def evaluate(given: argparse.Namespace) -> int:
    from cellapp.data import read_folder
    from cellapp.methods import Options, load
    from cellapp.metrics import Detection, count_errors, match_points

    options = _declared(Options, given)
    counter = load(given.weights, given.device)
    data = read_folder(given.images, given.dots, include=tuple(given.include), exclude=tuple(given.exclude),
                       channel=options.channel)
    counts, found = [], Detection(0, 0, 0)
    for item in data:
        prediction = counter.predict(item.image, options)
        counts.append(prediction.count)
        found += match_points(prediction.points, item.points, given.distance)
        if given.json:
            print(json.dumps({"image": item.name, "count": prediction.count, "true": len(item.points)}))
    errors = count_errors(counts, [len(item.points) for item in data])
    record = {"weights": given.weights, **asdict(errors), "precision": found.precision, "recall": found.recall,
              "f1": found.f1}
    _print(given, record, f"{given.weights} on {errors.images} images: MAE {errors.mae:.2f}, RMSE {errors.rmse:.2f}, "
           f"MRE {errors.mre:.4f}, bias {errors.bias:+.2f}, R² {errors.r2:.4f}, largest error {errors.max_error:.1f}; "
           f"detection within {given.distance:g} px: precision {found.precision:.3f}, recall {found.recall:.3f}, "
           f"F1 {found.f1:.3f}")
    if given.record:
        _record(given, errors)
    return 0


def _record(given: argparse.Namespace, errors) -> None:
    row = store.find(given.weights)
    command = " ".join(["python -m cellapp evaluate", f"--images {given.images}", f"--weights {given.weights}",
                        *(f"--include '{p}'" for p in given.include), *(f"--exclude '{p}'" for p in given.exclude)])
    score = store.Score(data=given.record, images=errors.images, mae=round(errors.mae, 3), mre=round(errors.mre, 4),
                        bias=round(errors.bias, 3), command=command)
    others = tuple(s for s in row.scores if s.data != given.record)
    store.replace(row.model_copy(update={"scores": (*others, score)}))


def train(given: argparse.Namespace) -> int:
    import torch

    from cellapp import data as sets
    from cellapp.checkpoint import best_state
    from cellapp.methods import find_method
    from cellapp.training import TrainingConfig
    from cellapp.training import train as run
    from cellapp.verify import check_publishable, publish

    config = _declared(TrainingConfig, given)
    if (given.preset is None) == (given.images is None):
        raise CellappError("Give either --preset (simulated images) or --images (a folder of dotted images).")
    if given.threads:
        torch.set_num_threads(given.threads)
    start = store.find(given.start) if given.start else None
    if start and start.method != config.method:
        raise CellappError(f"--start {start.id} is a {start.method} network, not {config.method}; choose others.")
    if given.preset:
        total = sets.simulated(given.preset, given.n_train + given.n_val, config.seed)
        name = given.data_name or f"{given.n_train} images of the simulator preset {given.preset}"
    else:
        total = sets.read_folder(given.images, given.dots, include=tuple(given.include), exclude=tuple(given.exclude))
        name = given.data_name or f"{given.n_train} images of {given.images.name}"
    learn, choose = sets.split(total, given.n_train, given.n_val, config.seed)
    diameter = given.cell_diameter or sets.typical_diameter(learn)
    about = {"id": given.out, "title": given.title or given.out, "method": config.method, "sigma": config.sigma,
             "input": {"cell_diameter": diameter}, "map_scale": find_method(config.method).map_scale,
             "trained_on": name, "parent": given.start, "licence": given.licence,
             "training": config.model_dump() | {"n_train": given.n_train, "n_val": given.n_val}}
    check_publishable(given.example, **about)               # now, not after hours of training
    folder = given.folder or Path("runs") / given.out.replace("/", "--")
    state = store.read_state(start) if start else None
    for p in run(learn, choose, config, folder, start=state, device=given.device):
        _print(given, asdict(p), f"epoch {p.epoch}/{p.epochs}: loss {p.loss:.4f}, validation MAE {p.val_mae:.2f} "
               f"(bias {p.val_bias:+.2f}), best {p.best_mae:.2f} in epoch {p.best_epoch}, {p.seconds_left / 60:.0f} "
               f"min left on {p.device}")
    row = publish(best_state(folder), given.example, **about)
    _print(given, row.model_dump(mode="json"), f"{row.id}: saved as {store.folder() / row.file}")
    return 0


def simulate(given: argparse.Namespace) -> int:
    from cellapp.dots import points_csv
    from cellapp.figures import png
    from cellapp.files import write_atomic
    from cellapp.simulate import simulate as make

    for index in range(given.n):
        scene = make(given.preset, given.seed, index, n=given.cells)
        stem = f"{given.preset}-{given.seed}-{index:03d}"
        write_atomic(given.out / f"{stem}.png", png(scene.image))
        write_atomic(given.out / f"{stem}_dots.csv", points_csv(scene.points))
        write_atomic(given.out / f"{stem}_labels.png", png(scene.labels.astype("uint16")))
        _print(given, {"image": f"{stem}.png", "cells": len(scene.points), "requested": scene.requested},
               f"{given.out / stem}.png: {len(scene.points)} cells")
    return 0
