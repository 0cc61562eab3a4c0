"""Count, for Gradio: the same results as the command line's, as rows, as files, and on the page."""

import html
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import gradio as gr

from cellapp import DEFAULT_WEIGHTS
from cellapp import weights as store
from cellapp.batch import COLUMNS, Result, count_many
from cellapp.declared import checked
from cellapp.dot_model import listed
from cellapp.errors import CellappError
from cellapp.export import archive_name, files_of, table_csv, write_archive
from cellapp.figures import panes
from cellapp.files import write_atomic
from cellapp.inputs import Input, gather
from cellapp.methods import Options
from cellapp.overlays import overlay, png
from cellapp.run_record import Recorder, command_line
from cellapp.ui import gradio_server
from cellapp.ui.counters import load_counter, rows
from cellapp.ui.gradio_form import rows_of
from cellapp.ui.text import interval_text

SHOWN = {"Image": 190, "Count": 90, "Interval": 130, "Remark": 440}   # px
_TEXT = ("image", "channel", "region", "method", "weights", "device", "status", "message")
ROWS = rows_of(_TEXT, [name for name in COLUMNS if name not in _TEXT])
MOST_PICTURES = 100                                          # on the page; the files hold those of all images


@dataclass
class Counted:
    """What is counted so far; ``archive`` is the zip, at the end."""

    total: int
    results: list[Result] = field(default_factory=list)      # without maps
    last: Result | None = None                               # with them
    aside: str = ""
    folder: Path | None = None
    pictures: list[tuple[str, str]] = field(default_factory=list)
    archive: str | None = None

    @property
    def rows(self) -> list[dict]:
        """The lines of counts.csv."""
        return [row for result in self.results for row in result.rows()]


def count(images, weights, settings, session=None, progress=gr.Progress()):  # noqa: B008
    """Count the cells in microscopy images, as “python -m cellapp count” does.

    Parameters:
        images: image files, or zips of them
        weights: which weights count, by their id; /weights lists them
    Returns:
        rows: one object for each image with the columns of counts.csv; count is null where status is "error", and
        message says why
        archive: a zip with counts.csv, run.json, and of each image density map, points, overlay and files for Fiji,
        ImageJ and QuPath
    """
    for now in counted(images, weights, settings, session, progress):
        yield now.rows, now.archive


def count_image(image, weights, settings, session=None, progress=gr.Progress()):  # noqa: B008
    """Count the cells in one microscopy image: /count for clients that cannot send lists of files, as of assistants.

    Parameters:
        image: an image file
        weights: which weights count, by their id; /weights lists them
    Returns:
        rows: one object with the columns of counts.csv; count is null where status is "error", and message says why
        archive: a zip with counts.csv, run.json, density map, points, overlay and files for Fiji, ImageJ and QuPath
    """
    yield from count([image] if image else [], weights, settings, session, progress)


def page(images, weights, settings, session=None, narrow=False, progress=gr.Progress()):  # noqa: B008
    """The same for the page: the number, the maps of the last image, the table, the pictures, the zip."""
    for now in counted(images, weights, settings, session, progress):
        result, done = now.last, now.archive is not None
        figure = None
        if done and result is not None and result.prediction is not None:
            figure = panes(result.image, result.prediction, channel=result.options.channel, stacked=narrow)
        several = len(now.pictures) > 1
        yield (hero(now), gr.update(value=figure, visible=figure is not None),
               gr.update(value=table(now.results), visible=True),
               gr.update(value=now.pictures if done and several else None, visible=done and several),
               gr.update(value=now.archive, visible=done))


def counted(images: list[str] | None, weights: str, settings: dict, session: str | None,
            progress: gr.Progress) -> Iterator[Counted]:
    """Count image after image; a bad file is a row that says why. The last answer has the zip."""
    options = checked(Options, settings)
    row = find(weights, session)
    found = gather([(Path(path).name, path) for path in images or ()])
    if not found.inputs:
        raise CellappError("There is no image yet: give PNG, JPEG, TIFF, CZI, LIF or ND2 files, or a zip of them." if
                           not found.aside else f"None of these files is an image: {_aside(found.aside)}.")
    names = [one.name for one in found.inputs]
    recorder = Recorder(row, options, command=command_line(names if len(names) <= 20 else ["IMAGES"], row.id, options))
    now = Counted(len(names), aside=_aside(found.aside))

    def told(done: int, part: int, parts: int) -> None:
        progress((done + part / parts) / len(names), desc=f"{names[done]} ({done + 1} of {len(names)})")

    load_counter(row, gradio_server.space_of(session))       # before a GPU is lent
    with gradio_server.folder() as folder:
        now.folder, taken = folder, set()
        for result in _results(found.inputs, row, options, session, None if gradio_server.ZERO_GPU else told):
            if result.prediction is not None:
                for name, content in files_of(result, taken).items():
                    write_atomic(folder / "files" / name, content)
                _picture(now, result)
            recorder.add(result)
            now.results.append(result.without_arrays())
            now.last = result if result.prediction is not None else now.last
            yield now
        now.archive = str(_packed(folder, now.rows, recorder))
        yield now


@gradio_server.on_gpu
def _results(todo: list[Input], row: store.Weights, options: Options, session: str | None, told):
    counter = load_counter(row, gradio_server.space_of(session))
    yield from map(sendable, count_many(todo, counter, options, progress=told))


def sendable(result: Result) -> Result:
    """The same for another process: on ZeroGPU, counting runs in one of its own."""
    prediction = result.prediction
    return replace(result, prediction=prediction and replace(prediction, views=dict(prediction.views)))


def find(weights: str | None, session: str | None) -> store.Weights:
    """The row of these weights, installed or trained in this visit; the error lists the choices."""
    there = rows(gradio_server.space_of(session))
    name = weights or DEFAULT_WEIGHTS
    return there[name] if name in there else store.find(name)


def _aside(aside) -> str:
    return listed(f"{one.path} ({one.reason})" for one in aside) if aside else ""


def _picture(now: Counted, result: Result) -> None:
    if len(now.pictures) < MOST_PICTURES:
        path = now.folder / f"{len(now.pictures):04d}.png"
        path.write_bytes(png(overlay(result.image, result.prediction, result.options.channel)))
        now.pictures.append((str(path), f"{result.name}: {result.prediction.count:,.1f} cells"))


def _packed(folder: Path, lines: list[dict], recorder: Recorder) -> Path:
    text = table_csv(lines)
    made = sorted((folder / "files").iterdir()) if (folder / "files").is_dir() else []
    path = folder / archive_name(text)
    write_archive(path, [("counts.csv", text.encode("utf-8-sig")), *recorder.files(),
                         *((one.name, one.read_bytes()) for one in made)])
    return path


def table(results: list[Result]) -> list[list]:
    """The table on the page."""
    return [[r.name, None if r.prediction is None else round(r.prediction.count, 1),
             interval_text(r.prediction and r.prediction.interval), r.message] for r in results]


def hero(now: Counted) -> str:
    """The big number: of the image, or of all of them."""
    done = [result for result in now.results if result.prediction is not None]
    failed = len(now.results) - len(done)
    if not done:
        return f"<p>{html.escape(now.results[0].message)}</p>" if now.results else ""
    if now.total == 1:
        only = done[0].prediction
        between = f" ({html.escape(interval_text(only.interval))})" if only.interval else ""
        words = f"cells in {html.escape(done[0].name)}{between}"
        number = f"{only.rounded:,}"
    else:
        number = f"{sum(result.prediction.rounded for result in done):,}"
        words = f"cells in {len(done)} of {now.total} images"
        words += f"; {failed} could not be counted" if failed else ""
    remark = f"<p>Set aside: {html.escape(now.aside)}.</p>" if now.aside else ""
    doubts = "".join(f"<p>⚠ {html.escape(one)}</p>" for one in (done[0].prediction.doubts if now.total == 1 else ()))
    return f'<div class="hero">{number} <small>{words}</small></div>{doubts}{remark}'
