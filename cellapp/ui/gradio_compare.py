"""Compare, for Gradio: one image, several weights, and whether they agree."""

import html
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import gradio as gr

from cellapp import weights as store
from cellapp.batch import Result, count_one
from cellapp.declared import checked
from cellapp.errors import CellappError
from cellapp.export import archive, counts_csv, files_of
from cellapp.figure_spread import dot_plot
from cellapp.figures import compare as panes
from cellapp.inputs import Input, gather
from cellapp.methods import Options
from cellapp.spread import Spread
from cellapp.ui import gradio_server
from cellapp.ui.counters import load_counter
from cellapp.ui.gradio_count import find, sendable
from cellapp.ui.text import interval_text

SHOWN = {"Weights": 240, "Count": 90, "Interval": 130, "Seconds": 90, "Remark": 440}   # px

AGREEMENT = {"type": "object", "properties": {
    "number": {"type": "integer"}, **{name: {"type": "number"} for name in ("median", "low", "high", "cv")},
    "agrees": {"type": "boolean"}, "sentence": {"type": "string"}}}


@dataclass
class Compared:
    """What has counted so far: the rows of the weights with their results; ``archive`` at the end."""

    done: list[tuple[store.Weights, Result]] = field(default_factory=list)
    archive: str | None = None

    @property
    def counted(self) -> list[tuple[store.Weights, Result]]:
        """Those that gave a count."""
        return [(row, result) for row, result in self.done if result.prediction is not None]

    @property
    def spread(self) -> Spread | None:
        """How far the counts lie apart; None without any."""
        return Spread.of([result.prediction.count for _, result in self.counted]) if self.counted else None


def compare(image, weights, settings, session=None, progress=gr.Progress()):  # noqa: B008
    """Count one image with several weights and say how far they agree.

    Parameters:
        image: one image file
        weights: ids of the weights to compare; /weights lists them
    Returns:
        rows: one object for each of the weights with the columns of counts.csv
        agreement: number, median, low, high and cv (coefficient of variation) of the counts, agrees (true or false)
        and sentence (what that means)
        archive: a zip with compare.csv and of each method maps, points and overlay
    """
    for now in compared(image, weights, settings, session, progress):
        spread = now.spread
        agreement = spread and asdict(spread) | {"agrees": spread.agrees, "sentence": spread.sentence}
        yield [result.row() for _, result in now.done], agreement, now.archive


def page(image, weights, settings, session=None, narrow=False, progress=gr.Progress()):  # noqa: B008
    """The same for the page."""
    for now in compared(image, weights, settings, session, progress):
        dots = maps = None
        if now.archive and now.counted:
            predictions = {row.title: result.prediction for row, result in now.counted}
            first = now.counted[0][1]
            dots = gradio_server.white(dot_plot(predictions, now.spread, narrow=narrow))
            maps = panes(first.image, predictions, channel=first.options.channel, stacked=narrow)
        yield (_hero(now), gr.update(value=dots, visible=dots is not None),
               gr.update(value=maps, visible=maps is not None), gr.update(value=_table(now), visible=True),
               gr.update(value=now.archive, visible=now.archive is not None))


def compared(image: str | None, weights: list[str] | None, settings: dict, session: str | None,
             progress: gr.Progress) -> Iterator[Compared]:
    """Count with one after the other; weights that cannot count become a row that says why."""
    options = checked(Options, settings)
    chosen = [find(name, session) for name in dict.fromkeys(weights or ())]
    if not chosen:
        raise CellappError("Choose at least one of the weights to count with.")
    todo = gather([(Path(image).name, image)]).inputs if image else []
    if len(todo) != 1:
        raise CellappError("Give one image to compare the methods on: PNG, JPEG, TIFF, CZI, LIF or ND2.")
    now = Compared()
    with gradio_server.folder() as folder:
        for k, row in enumerate(chosen):
            def told(part: int, parts: int, k=k, row=row) -> None:
                progress((k + part / parts) / len(chosen), desc=f"{row.title} ({k + 1} of {len(chosen)})")

            now.done.append((row, _result(todo[0], row, options, session, told)))
            yield now
        path = folder / "compare.zip"
        path.write_bytes(_packed([result for _, result in now.done]))
        now.archive = str(path)
        yield now


def _result(one: Input, row: store.Weights, options: Options, session: str | None, told) -> Result:
    try:
        load_counter(row, gradio_server.space_of(session))   # before a GPU is lent
        return _counted(one, row, options, session, None if gradio_server.ZERO_GPU else told)
    except CellappError as error:
        return Result(one.name, "error", str(error), method=row.method, weights=row.id)


@gradio_server.on_gpu
def _counted(one: Input, row: store.Weights, options: Options, session: str | None, told) -> Result:
    counter = load_counter(row, gradio_server.space_of(session))
    return sendable(count_one(one.source(), counter, options, name=one.name, progress=told))


def _packed(results: list[Result]) -> bytes:
    files, taken = {}, set()
    for result in results:
        if result.prediction is not None:
            files |= files_of(result, taken, by="weights")
    return archive(counts_csv(results), files, "compare.csv")


def _hero(now: Compared) -> str:
    spread = now.spread
    if spread is None:
        return f"<p>{html.escape(now.done[0][1].message)}</p>"
    name = html.escape(now.counted[0][1].name)
    words = f"cells in {name}, the median of {spread.number} methods" if spread.number > 1 else f"cells in {name}"
    return (f'<div class="hero">{max(0, round(spread.median)):,} <small>{words}</small></div>'
            f"<p>{html.escape(spread.sentence)}</p>" if now.archive else f"<p>{len(now.done)} counted …</p>")


def _table(now: Compared) -> list[list]:
    return [[row.title, None if (p := result.prediction) is None else round(p.count, 1),
             interval_text(p and p.interval), None if p is None else round(p.seconds, 2),
             result.message if p is None else " ".join(p.doubts)] for row, result in now.done]


def first_of_each(rows: dict[str, store.Weights]) -> list[str]:
    """The ids of the first weights of each method."""
    first = {row.method: name for name, row in reversed(rows.items())}
    return [name for name, row in rows.items() if first[row.method] == name]
