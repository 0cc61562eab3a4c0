"""The weights on this machine, for Gradio: listed, verified, downloaded."""

import gradio as gr

from cellapp import weights as store
from cellapp.errors import CellappError
from cellapp.ui import gradio_server
from cellapp.ui.counters import rows
from cellapp.ui.gradio_count import find
from cellapp.ui.weights_zip import packed
from cellapp.verify import verify

SHOWN = {"Weights": 220, "Id": 190, "Trained on": 340, "MAE": 70, "MB": 70, "Licence": 300}   # px
ROWS = {"type": "array", "items": {"type": "object", "properties": {
    name: {} for name in store.Weights.model_fields}}}
VERDICT = {"type": "object", "properties": {"weights": {"type": "string"}, "ok": {"type": "boolean"},
                                            "message": {"type": "string"}}}


def weights(session=None):
    """List the weights that /count, /compare and /fine_tune can use.

    Returns:
        rows: one object for each, as its row in the manifest: id, title, method, files with their sha256, input,
        trained_on, licence, scores, …
    """
    yield [row.model_dump(mode="json") for row in rows(gradio_server.space_of(session)).values()]


def check(weights, session=None):
    """Count the known answer of some weights, and say whether they do here what they did where they were made.

    Parameters:
        weights: their id; /weights lists them
    Returns:
        answer: weights, ok, and a sentence
    """
    row = find(weights, session)
    try:
        difference = verify(row, _home(row, session))
    except CellappError as error:
        yield {"weights": row.id, "ok": False, "message": str(error)}
        return
    yield {"weights": row.id, "ok": True, "message": f"{row.check.count:.3f} cells in {row.check.image}, off by "
                                                     f"{difference:+.4f}: as where they were made."}


def download(weights, session=None):
    """The files of some weights with their manifest, as a zip: a folder that CELLAPP_WEIGHTS can name.

    Parameters:
        weights: their id; /weights lists them
    Returns:
        archive: the zip
    """
    row = find(weights, session)
    with gradio_server.folder() as folder:
        path = folder / f"{row.id.replace('/', '--')}.zip"
        path.write_bytes(packed(row, _home(row, session)))
        yield str(path)


def _home(row: store.Weights, session: str | None):
    space = gradio_server.space_of(session)
    return store.home(row, space.weights) if space is not None else None


def table(there: dict[str, store.Weights]) -> list[list]:
    """The table on the page."""
    return [[row.title, row.id, row.trained_on,
             round(row.scores[0].mae, 2) if row.scores else None, round(row.bytes / 1e6, 1), row.licence]
            for row in there.values()]


def shown(weights, session=None):
    """The verdict on the page."""
    for answer in check(weights, session):
        yield gr.update(value=f"{'✓' if answer['ok'] else '✗'} {answer['weights']}: {answer['message']}", visible=True)


def saved(weights, session=None):
    """The zip on the page."""
    for path in download(weights, session):
        yield gr.update(value=path, visible=True)
