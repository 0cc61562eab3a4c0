"""What each command of ``python -m cellapp`` does; `cellapp.cli` declares their flags.

Every function takes the parsed flags and returns the exit code.
"""

import argparse
import json
import math
from pathlib import Path

from pydantic import BaseModel, ValidationError

from cellapp import DEFAULT_WEIGHTS
from cellapp import weights as store
from cellapp.errors import CellappError


def declared(model: type[BaseModel], given: argparse.Namespace) -> BaseModel:
    values = {name: getattr(given, name) for name in model.model_fields if getattr(given, name) is not None}
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        flag = str(first["loc"][0]).replace("_", "-")
        raise CellappError(f"--{flag} {first['input']}: {first['msg'].lower()}.") from error


def show(given: argparse.Namespace, record: dict, line: str) -> None:
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

    options = declared(Options, given)
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
        points = result.prediction.points
        peaks = "" if points is None or result.prediction.density is None else f"{len(points)} peaks, "
        between = "" if row["low"] is None else f", {row['low']:.1f} to {row['high']:.1f} at {row['level']:.0%}"
        line = f"{result.name}: {row['count']:.1f} cells{between} ({peaks}{row['seconds']:.2f} s)"
        line += f". {result.message}" if result.message else ""
    show(given, {key: row[key] for key in keys}, line)


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
        show(given, record, f"{method.name}: {method.title} ({method.source})\n    {method.meaning}\n"
                              f"    weights: {', '.join(have) or 'none here'}")
    return 0


def weights(given: argparse.Namespace) -> int:
    if given.action == "verify":
        return verify(given)
    for row in store.manifest().values():
        scores = "; ".join(f"MAE {s.mae:.2f} on {s.data}" for s in row.scores)
        show(given, row.model_dump(mode="json"), f"{row.id}: {row.title}, {row.bytes / 1e6:.1f} MB\n"
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
            show(given, {"weights": row.id, "ok": True, "difference": difference},
                   f"{row.id}: ok ({row.check.count:.3f} cells in {row.check.image}, off by {difference:+.4f})")
        except CellappError as error:
            failed += 1
            show(given, {"weights": row.id, "ok": False, "message": str(error)}, f"FAILED {error}")
    return int(failed > 0)


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
        show(given, {"image": f"{stem}.png", "cells": len(scene.points), "requested": scene.requested},
               f"{given.out / stem}.png: {len(scene.points)} cells")
    return 0
