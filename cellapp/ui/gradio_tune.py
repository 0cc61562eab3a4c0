"""Fine-tune, for Gradio: a training in its own process, watched until it ends, and its weights as a zip."""

import html
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import gradio as gr

from cellapp import fine_tune as core
from cellapp import weights as store
from cellapp.declared import checked
from cellapp.errors import TrainingError
from cellapp.figure_training import before_after, curves
from cellapp.image import read_image
from cellapp.manual import match
from cellapp.methods import Method, Options, find_method
from cellapp.train_defaults import LICENCES, MINUTES, SCRATCH, defaults
from cellapp.train_jobs import Job, State
from cellapp.train_spec import Given, divide, group_of, needs, usable
from cellapp.training import TrainingConfig
from cellapp.ui import gradio_server
from cellapp.ui.gradio_count import find
from cellapp.ui.gradio_form import rows_of
from cellapp.ui.weights_zip import packed
from cellapp.workspace import Workspace

SETTINGS = ("part", "epochs", "steps", "batch", "crop", "sigma", "learning_rate", "seed")
GROUPS = {"Each image by itself": "image", "Names alike but for the last part": "mark", "First part of the name": "1",
          "First two parts of the name": "2"}
SHOWN = {"Image": 100, "By hand": 84, "Before": 72, "After": 66}   # px; all of them on a phone
ROWS = rows_of(["name"], ["manual", "before", "after"])
SUMMARY = {"type": "object", "properties": {
    **{name: {"type": "string"} for name in ("weights", "title", "verdict")},
    **{name: {"type": "number"} for name in ("mae_before", "mae_after")}}}
_BETWEEN = 0.5                                               # s between two looks at the training
_DOING = {"reading": "Reading the images", "measuring": "Measuring how long a step takes", "training": "Training",
          "scoring": "Counting the images kept back"}


@dataclass
class Tuned:
    """How a training stands: its epochs so far, and at the end the new weights as a zip."""

    session: str
    epochs: list[dict] = field(default_factory=list)
    planned: int = 0
    images: list[dict] = field(default_factory=list)
    summary: dict | None = None
    archive: str | None = None


def fine_tune(images, truth, start, minutes, name, licence, keep_together, settings, session=None,
              progress=gr.Progress()):  # noqa: B008
    """Teach weights on your own images; about a third of them is kept back to measure the error before and after.

    Parameters:
        images: two to ten image files
        truth: what was counted in them by hand: dots in the format of your tool, label masks, or a table with the
            columns image and count; matched with the images by name
        start: id of the weights to begin with, or “from scratch: METHOD”
        minutes: how long it may train; epochs or steps, where they are given, count instead
        name: of the new weights
        licence: terms of the images, kept with the weights
        keep_together: image, mark, 1 or 2: images whose names are alike in this part are never on both sides
    Returns:
        rows: of each image kept back its name, the cells by hand, and the counts before and after
        summary: id of the new weights, their mean absolute error before and after, and a verdict in a sentence; the id
        can be used in /count and /compare by the same client
        archive: a zip of the weights and their manifest, a folder that CELLAPP_WEIGHTS can name
    """
    for now in tuned(images, truth, start, minutes, name, licence, keep_together, settings, session, progress):
        yield now.images, now.summary, now.archive, now.session


def page(images, truth, start, minutes, name, licence, keep_together, settings, session=None,
         narrow=False, progress=gr.Progress()):  # noqa: B008
    """The same for the page: the verdict, the curves, the counts before and after, the zip."""
    for now in tuned(images, truth, start, minutes, name, licence, keep_together, settings, session, progress):
        words = ""                                           # the progress bar lies there
        if now.summary:
            words = f"<p><b>{html.escape(now.summary['title'])}</b>: {html.escape(now.summary['verdict'])}</p>"
        lines = [[one["name"], *(None if (value := one[which]) is None else round(value, 1)
                                 for which in ("manual", "before", "after"))] for one in now.images]
        drawn = gradio_server.white(curves(now.epochs, now.planned)) if now.epochs else None
        scatter = gradio_server.white(before_after(now.images)) if now.images else None
        yield (words, gr.update(value=drawn, visible=bool(now.epochs)),
               gr.update(value=scatter, visible=bool(now.images)),
               gr.update(value=lines, visible=bool(lines)),
               gr.update(value=now.archive, visible=now.archive is not None), now.session)


def tuned(images, truth, start, minutes, name, licence, keep_together, settings: dict, session: str | None,
          progress: gr.Progress) -> Iterator[Tuned]:
    """Check everything, start the training, watch it. A visitor who leaves ends it: nobody else could find it."""
    space = gradio_server.begun(session)
    from_scratch = str(start or "").startswith(SCRATCH)
    row = None if from_scratch else find(start, space.id)
    method = find_method(start.removeprefix(SCRATCH)).name if from_scratch else row.method
    config = checked(TrainingConfig, defaults(method, row).model_dump() | settings)
    given = _given(space, images or (), truth or (), needs(method, config.part))
    sides = divide([group_of(one.name, keep_together or "image") for one in given], config.seed)
    by_steps = {"epochs", "steps"} & settings.keys()
    job = core.begin(space, given, sides, config, start=row, diameter=core.typical_diameter(given),
                     minutes=None if by_steps else minutes or MINUTES, name=(name or "").strip() or "my cells",
                     licence=licence or LICENCES[0], device="cpu" if gradio_server.ZERO_GPU else "auto")
    now = Tuned(space.id)
    try:
        yield from _watched(job, now, progress)
    except GeneratorExit:
        job.ask("cancel")
        raise
    with gradio_server.folder() as folder:
        _finish(job, now, space, folder)
        yield now


def _watched(job: Job, now: Tuned, progress: gr.Progress) -> Iterator[Tuned]:
    yield now
    while (state := job.state()).working:
        progress((state.step, state.steps) if state.steps else 0, desc=_words(state), unit="steps")
        epochs = job.progress()
        if len(epochs) != len(now.epochs):
            now.epochs, now.planned = epochs, epochs[-1]["epochs"]
            yield now
        time.sleep(_BETWEEN)
    if state.phase != "done":
        raise TrainingError(state.message)


def _words(state: State) -> str:
    if state.phase == "queued":
        return f"Waiting: place {state.ahead + 1} in the queue" if state.ahead else "Beginning"
    left = f", {state.seconds_left:.0f} s left" if state.seconds_left is not None else ""
    return _DOING.get(state.doing, "Working") + left


def _finish(job: Job, now: Tuned, space: Workspace, folder: Path) -> None:
    spec = job.spec()
    row = store.find(spec.id, space.weights)
    now.epochs = job.progress()
    now.planned = now.epochs[-1]["epochs"] if now.epochs else 0
    now.images = (job.result() or {}).get("images", [])
    now.summary = {"weights": row.id, "title": row.title, "mae_before": None, "mae_after": None,
                   "verdict": "These weights paint the mask of the cells. Train once more, beginning with them, to "
                              "learn the count."}
    if now.images:
        errors = core.maes(now.images)
        now.summary |= {f"mae_{when}": found.value for when, found in errors.items()}
        now.summary["verdict"] = core.verdict(errors, len(now.images), spec.start)
    path = folder / f"{row.id.replace('/', '--')}.zip"
    path.write_bytes(packed(row, space.weights))
    now.archive = str(path)


def _given(space: Workspace, images: Sequence[str], truth: Sequence[str], needed: str) -> list[Given]:
    """The images with what the method learns from, kept in the workspace; what is wrong with a file is said."""
    pictures, sources = (_kept(space, paths, kind) for paths, kind in ((images, "image"), (truth, "dots")))
    if not pictures or not sources:
        raise TrainingError("Give at least two images, and what was counted in them by hand (dots, label masks or a "
                            "table of counts).")
    found = match([file.name for file in pictures], [(file.name, space.path(file).read_bytes()) for file in sources])
    files, given = {file.name: file for file in sources}, []
    for file in pictures:
        if file.name in found.found:
            manual = found.found[file.name]
            known = manual.checked(read_image(space.path(file), file.name).shape)
            given.append(core.given_of(space, file, Options(), known, files.get(manual.file)))
    fit = [one for one in given if usable(one, needed)]
    if not fit:
        wrong = f" {found.unread[0]}" if found.unread else ""
        raise TrainingError(f"None of the {len(pictures)} images has {needed}, which this method learns from: name the "
                            f"files like their images, such as a.png and a_dots.csv.{wrong}")
    return fit


def _kept(space: Workspace, paths: Sequence[str], kind: str) -> list:
    kept = []
    for path in map(Path, paths):
        with path.open("rb") as file:
            kept.append(space.keep(path.name, file, kind=kind))
    space.include(kept)
    return kept


def starts(methods: Iterable[Method]) -> list[tuple[str, str]]:
    """What a training can begin with, besides weights: nothing."""
    return [(f"From scratch: {method.title}", SCRATCH + method.name) for method in methods]
