"""What ``count`` and ``rerun`` do; `cellapp.cli` declares their flags."""

import argparse
import sys
from contextlib import closing
from pathlib import Path

from cellapp import DEFAULT_WEIGHTS
from cellapp import weights as store
from cellapp.commands import declared, show
from cellapp.errors import CellappError

_KEYS = ("image", "region", "method", "weights", "count", "low", "high", "level", "seconds", "device", "status",
         "message")


def count(given: argparse.Namespace) -> int:
    """Count images, folders and zips; results are printed and written as they come."""
    from cellapp.batch import count_many
    from cellapp.export import files_of, table_csv
    from cellapp.files import write_atomic
    from cellapp.methods import Options
    from cellapp.run_record import Recorder, command_line

    options, weights_id, regions = declared(Options, given), _weights_id(given), _regions(given.regions)
    todo = _images(given.images)
    command = command_line(given.images, weights_id, options, given.regions and str(given.regions))
    recorder = Recorder(store.find(weights_id), options, regions, command=command)
    rows, taken, failed = [], set(), False
    with closing(count_many(todo, weights_id, options, regions=regions, scheduler=given.scheduler,
                            device=given.device, maps=given.out is not None)) as results:
        try:
            for result in results:
                _print_count(given, result)
                if given.out and result.prediction is not None:
                    for name, content in files_of(result, taken).items():
                        write_atomic(given.out / name, content)
                rows += result.rows()
                recorder.add(result)
                failed |= result.status != "ok"
        finally:                                             # stopped by hand, what is counted stays
            if given.out and rows:
                write_atomic(given.out / "counts.csv", table_csv(rows).encode("utf-8-sig"))
                for name, content in recorder.files():
                    write_atomic(given.out / name, content)
    return int(failed)


def _print_count(given: argparse.Namespace, result) -> None:
    whole, *regions = result.rows()
    line = f"error: {result.message}"
    if result.prediction:
        points = result.prediction.points
        peaks = "" if points is None or result.prediction.density is None else f"{len(points)} peaks, "
        line = f"{result.name}: {_cells(whole)} ({peaks}{whole['seconds']:.2f} s)"
        line += f". {result.message}" if result.message else ""
    show(given, {key: whole[key] for key in _KEYS}, line)
    for row in regions:
        note = f" {row['message']}" if row["message"] else ""
        show(given, {key: row[key] for key in _KEYS}, f"    {row['region']}: {_cells(row)}.{note}")


def _cells(row: dict) -> str:
    if row["count"] is None:
        return "not counted"
    between = "" if row["low"] is None else f", {row['low']:.1f} to {row['high']:.1f} at {row['level']:.0%}"
    return f"{row['count']:.1f} cells{between}"


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


def _regions(path: Path | None) -> list:
    from cellapp.region_files import read_regions

    if path is None:
        return []
    found = read_regions(path)
    for note in found.notes:
        _say(f"{path.name}: {note}")
    return found.regions


def _images(given: list[str]) -> list:
    """The images of all files, folders and zips; what is set aside is said."""
    from cellapp.dot_model import listed
    from cellapp.dots import IMAGE_SUFFIXES
    from cellapp.inputs import gather

    found = gather(given)
    if found.aside:
        _say(f"{len(found.aside)} files are set aside: {listed(f'{a.path} ({a.reason})' for a in found.aside)}.")
    for path in map(Path, given):
        if (path.is_dir() or len(given) == 1) and not (found if len(given) == 1 else gather([path])).inputs:
            what = "folder" if path.is_dir() else "zip"
            raise CellappError(f"{path}: there is no image in this {what} "
                               f"({', '.join(sorted(IMAGE_SUFFIXES))} are looked for).")
    return found.inputs


def rerun(given: argparse.Namespace) -> int:
    """Count what a ``run.json`` records again, and print where the counts differ."""
    from cellapp.inputs import gather
    from cellapp.rerun import changes, versions_that_differ
    from cellapp.rerun import rerun as again
    from cellapp.run_record import read_run

    run = read_run(given.record)
    changed = changes(run)
    for sentence in changed:
        _say(sentence)
    number = different = 0
    for one in again(run, gather([given.images or given.record.parent]).inputs, scheduler=given.scheduler,
                     device=given.device):
        number, different = number + 1, different + bool(one.difference)
        then, now = ("none" if value is None else f"{value:.2f}" for value in (one.then, one.now))
        place = f"{one.name}, {one.region}" if one.region != "whole image" else one.name
        record = {"image": one.name, "region": one.region, "then": one.then, "now": one.now,
                  "difference": one.difference}
        show(given, record, f"{'DIFFERENT' if one.difference else 'same'}  {place}: {then} then, {now} now"
                            f"{f' ({one.difference})' if one.difference else ''}")
    _say(f"{number} counts again, {different or 'none'} of them different."
         + (f" {versions_that_differ(run)}" if different else ""))
    return int(bool(different or changed))


def _say(sentence: str) -> None:
    """To the user, not into the table."""
    print(f"cellapp: {sentence}".rstrip(), file=sys.stderr, flush=True)
