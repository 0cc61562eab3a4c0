"""A benchmark beside the page: one for each workspace, in a thread of the server; its progress, Cancel, its error."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from cellapp import benchmark as bench
from cellapp import weights as store
from cellapp.benchmark_protocols import SETS, TEST, Loaded, divide, read_set
from cellapp.data import Dotted
from cellapp.errors import CellappError
from cellapp.image import plane, read_image
from cellapp.likeness import colour
from cellapp.methods import Options
from cellapp.ui import agreement_form, agreement_report, count_questions, desk, visit
from cellapp.ui.beside import Beside
from cellapp.ui.text import plain
from cellapp.weights import Weights

_jobs: dict[str, "Job"] = {}
_KEPT = 10                                                   # benchmarks that have ended and hold their images


@dataclass(frozen=True)
class Order:
    """What is to be measured; ``read`` fetches the images, ``key`` names everything it depends on."""

    key: str
    title: str
    images: int | None
    read: Callable[[], Loaded]
    rows: tuple[Weights, ...]
    plan: bench.Plan


class Job(Beside):
    """One benchmark. ``doing``, ``done``, ``total``: how far it is; ``outcomes`` at the end."""

    fault = "The benchmark ended because of a fault of this app; its log says more."

    def __init__(self, order: Order, folder: Path, own: Path):
        super().__init__("benchmark")
        self.order, self.doing, self.done, self.total = order, "Reading the images", 0, 1
        self.loaded: Loaded | None = None
        self.outcomes: list[bench.Outcome] = []
        self._folder, self._own = folder, own

    def _work(self) -> None:
        self.loaded = self.order.read()
        entries = [bench.Entry(row.title, row.id, folder=store.home(row, self._own)) for row in self.order.rows]
        self.outcomes = bench.run(self.loaded, entries, self.order.plan, self._folder, told=self._told, threads=None)

    def _told(self, what: str, done: int, total: int) -> None:
        self.doing, self.done, self.total = what, done, total
        self._check()


def order(chosen: str | None, offered: dict[str, Path], rows: list[Weights], distance: float | None) -> Order:
    """What the controls ask for; of own images, what belongs together is told first."""
    options = Options(cell_diameter=st.session_state.get("diameter") or None,
                      polarity=st.session_state.get("polarity") or "auto")
    about = [distance, options.model_dump_json(), [row.digest for row in rows]]
    if chosen is not None:
        one, folder = SETS[chosen], offered[chosen]
        plan = bench.Plan(one.protocols[0], one.n_test, distance=distance, options=options)
        return Order(_key(chosen, *about), one.title, None, lambda: read_set(chosen, folder), tuple(rows), plan)
    work = desk.desk(rows[0] if rows else next(iter(visit.rows().values())))
    count_questions.ask(work)
    report = st.container()
    picked, found = agreement_form.choices(work.space, work.files)
    pairs = agreement_report.pairs(work, picked, found)
    with report:
        agreement_report.show(pairs, picked, found, brief=False)
    cases = [(pair.file.name, work.space.path(pair.file), pair.truth, work.options(pair.file)) for pair in pairs
             if not pair.message]
    truth = [(name, path.name, str(manual if isinstance(manual, float) else manual.tolist()), str(how))
             for name, path, manual, how in cases]
    plan = bench.Plan("split", len(cases), distance=distance, options=options)
    return Order(_key(truth, *about), "My images", len(cases), lambda: _own(cases), tuple(rows), plan)


def _key(*parts) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _own(cases: list) -> Loaded:
    """All images of one's own are tested."""
    items = []
    for name, path, truth, how in cases:
        image = read_image(path, name, pages=how.pages, z=how.z, frame=how.frame)
        grey, _ = plane(image, how.channel)
        points, known = (None, float(truth)) if isinstance(truth, float) else (truth, float("nan"))
        items.append(Dotted(name, grey, points, known=known, colour=colour(image, how.channel)))
    return Loaded(tuple(items), tuple(item.name for item in items), (TEST,) * len(items))


def buttons(order: Order) -> Job | None:
    """Start, progress with Cancel, and the job of exactly this order, if there is one."""
    space = visit.space()
    job = _jobs.get(space.id) if space is not None else None
    if job is not None and job.running:
        st.fragment(_watch, run_every=1.0)(job)
        return None
    mine = job if job is not None and job.order.key == order.key else None
    if mine is not None and mine.error:
        st.error(plain(mine.error), icon=":material/error:")
    if mine is None or not mine.outcomes:
        words = "" if order.images is None else f" on {order.images:,} images"
        st.button(f"Measure {len(order.rows)} weights{words}", type="primary", icon=":material/play_arrow:",
                  disabled=not order.rows or order.images == 0, on_click=_start, args=(order,), key="benchmark-start")
        st.caption("What was counted before is not counted again.")
    return mine


def _watch(job: Job) -> None:
    if not job.running:
        st.rerun()
    left, right = st.columns([5, 1], vertical_alignment="center")
    left.progress(min(1.0, job.done / max(1, job.total)), text=plain(f"{job.doing}: {job.done:,} of {job.total:,}"))
    right.button("Cancel", on_click=job.cancel, icon=":material/stop:", width="stretch", key="benchmark-cancel")


def _start(order: Order) -> None:
    try:
        space = visit.begin()
        for name in [name for name, job in _jobs.items() if not job.running][:-_KEPT]:
            del _jobs[name]                                  # what they counted stays in their workspaces
        job = _jobs[space.id] = Job(order, space.folder / "benchmark", space.weights)
        job.start()
    except CellappError as error:
        visit.say(str(error))


def tested(job: Job) -> list[Dotted]:
    """The images in the order of the lines."""
    plan = job.order.plan
    draw = divide(job.loaded, plan.protocol, plan.n_test, 0, 0, plan.seed)
    return [job.loaded.items[k] for k in draw.test]
