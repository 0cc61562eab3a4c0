"""What each command of ``python -m cellapp`` does; `cellapp.cli` declares their flags.

Every function takes the parsed flags and returns the exit code.
"""

import argparse
import json
import math

from pydantic import BaseModel

from cellapp import weights as store
from cellapp.declared import checked
from cellapp.errors import CellappError


def declared(model: type[BaseModel], given: argparse.Namespace) -> BaseModel:
    values = {name: getattr(given, name) for name in model.model_fields if getattr(given, name, None) is not None}
    return checked(model, values, lambda name: f"--{name.replace('_', '-')}")


def show(given: argparse.Namespace, record: dict, line: str) -> None:
    print(json.dumps(_jsonable(record), ensure_ascii=False) if given.json else line, flush=True)


def _jsonable(value):
    """JSON knows no nan: a figure that does not exist is null."""
    if isinstance(value, dict):
        return {key: _jsonable(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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


def space(given: argparse.Namespace) -> int:
    from cellapp.space import write

    written = write(given.folder, given.kind, given.weights, zero_gpu=given.zero_gpu)
    size = sum((given.folder / path).stat().st_size for path in written)
    show(given, {"folder": str(given.folder), "kind": given.kind, "files": len(written), "bytes": size},
         f"{given.folder}: {len(written)} files, {size / 1e6:.0f} MB. Send it with\n"
         f"    hf upload USER/NAME {given.folder} --repo-type space")
    return 0
