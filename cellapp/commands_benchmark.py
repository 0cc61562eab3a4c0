"""``python -m cellapp benchmark``: a published protocol, or one's own images, in one command."""

import argparse
from dataclasses import asdict
from pathlib import Path

from cellapp import DEFAULT_WEIGHTS
from cellapp import weights as store
from cellapp.commands import declared, show
from cellapp.errors import BenchmarkError
from cellapp.files import write_atomic

OWN = "own"


def benchmark(given: argparse.Namespace) -> int:
    """Measure weights, networks that learn in each draw, and two baselines; write the tables."""
    from cellapp import benchmark as bench
    from cellapp import benchmark_protocols as protocols
    from cellapp import benchmark_report as report
    from cellapp.methods import Options

    if given.set == OWN:
        loaded, title, usual = protocols.own_set(given.data, given.dots, given.split), given.data.name, None
    else:
        if given.dots or given.split:
            raise BenchmarkError(f"--dots and --split are for images of your own (the set “{OWN}”); {given.set} has "
                                 "its own layout, leave them out.")
        loaded, usual = protocols.read_set(given.set, given.data), protocols.SETS[given.set]
        title = usual.title
    protocol = given.protocol or (usual.protocols[0] if usual else "split" if given.split else "shuffled")
    n_test = given.n_test or (usual.n_test if usual else 0) or max(1, len(loaded.items) // 4)
    entries = _entries(given)
    plan = bench.Plan(protocol, n_test, given.n_train, given.n_val or given.n_train, given.draws, given.seed,
                      given.distance, declared(Options, given), given.intervals, given.level)
    folder = given.out or Path("runs") / f"benchmark-{given.set}"

    def told(what: str, done: int, total: int) -> None:
        if done == total or done % 10 == 0:
            show(given, {"doing": what, "done": done, "of": total}, f"{what}: {done} of {total}")

    outcomes = bench.run(loaded, entries, plan, folder, device=given.device, told=told)
    rows = [report.row(outcome, given.n_train) for outcome in outcomes]
    about = (f"{title}, {len(loaded.items)} images; protocol “{protocol}”: "
             f"{protocols.PROTOCOLS[protocol].title}; seed {given.seed}.")
    for name, text in (("benchmark.csv", report.table_csv(rows)), ("benchmark.md", report.markdown(rows, about)),
                       ("benchmark.tex", report.latex(rows, about)), ("images.csv", report.lines_csv(outcomes))):
        write_atomic(folder / name, text)
    if given.worst:
        _galleries(loaded, outcomes, plan, folder, given)
    if given.json:
        for one in rows:
            show(given, {"set": given.set, "protocol": protocol, **asdict(one)}, "")
    else:
        print(report.markdown(rows, about) + f"\nWritten to {folder}: benchmark.csv, .md, .tex and images.csv.")
    return 0


def _galleries(loaded, outcomes, plan, folder: Path, given: argparse.Namespace) -> None:
    """The worst images of each entry's first draw, counted once more for their maps, as a page of its own."""
    from cellapp.benchmark_protocols import divide
    from cellapp.failure_gallery import failure, page
    from cellapp.failures import KINDS, worst
    from cellapp.image import Image
    from cellapp.methods import load

    learns = any(outcome.entry.learns for outcome in outcomes)
    n_train, n_val = (plan.n_train, plan.n_val) if learns else (0, 0)
    test = divide(loaded, plan.protocol, plan.n_test, n_train, n_val, plan.seed).test
    for outcome in outcomes:
        first = outcome.draws[0]
        if not first.weights:
            continue
        counter = load(first.weights, given.device, folder / "weights" if outcome.entry.learns else None)
        shown = []
        for k in dict.fromkeys(k for kind in KINDS for k in worst(first.lines, kind, given.worst)):
            item = loaded.items[test[k]]
            prediction = counter.predict(Image.from_array(item.image), plan.options)
            shown.append(failure(item, prediction, first.lines[k], counter.weights))
        name = f"worst-{first.weights.replace('/', '--')}.html"
        about = (f"{outcome.entry.title}: the {given.worst} worst of {len(first.lines)} images by their error, by "
                 "their relative error and by how far their interval misses the truth.")
        write_atomic(folder / name, page("The worst images", about, shown))
        show(given, {"wrote": str(folder / name)}, f"The worst images of {outcome.entry.title}: {folder / name}")


def _entries(given: argparse.Namespace) -> list:
    from cellapp.benchmark import Entry
    from cellapp.training import TrainingConfig

    rows = [store.find(weights_id) for weights_id in given.weights]
    entries = [Entry(row.id, weights=row.id) for row in rows]
    begin = store.find(given.start) if given.start else None
    for method in given.method:
        if begin and begin.method != method:
            raise BenchmarkError(f"--start {begin.id} is a {begin.method} network, not {method}; choose others.")
        config = declared(TrainingConfig, argparse.Namespace(**vars(given) | {"method": method, "seed": None}))
        title = f"{method}, " + (f"beginning with {begin.id}" if begin else "from scratch")
        entries.append(Entry(title, config=config, start=given.start or "",
                             build=dict(given.build) or (begin.build if begin else {})))
    if begin and not given.method:
        raise BenchmarkError("--start says what a network begins with; give its --method.")
    if given.baselines and entries:
        raise BenchmarkError("--baselines means without weights and networks; leave --weights and --method out.")
    if entries or given.baselines:
        return entries
    return [Entry(DEFAULT_WEIGHTS, weights=DEFAULT_WEIGHTS)]
