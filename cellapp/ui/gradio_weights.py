"""The weights on this machine, for Gradio: listed, verified, downloaded."""

import gradio as gr

from cellapp import weights as store
from cellapp.errors import CellappError
from cellapp.ui import gradio_server
from cellapp.ui.counters import rows
from cellapp.ui.gradio_count import find
from cellapp.ui.gradio_form import titles
from cellapp.ui.weights_zip import packed
from cellapp.verify import verify
from cellapp.workspace import Workspace

SHOWN = {"Weights": 220, "Id": 190, "Trained on": 340, "MAE": 70, "MB": 70, "Licence": 300}   # px
ROW = {"type": "object", "properties": {name: {} for name in store.Weights.model_fields}}
ROWS = {"type": "array", "items": ROW}
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
        difference = verify(row, home(row, gradio_server.space_of(session)))
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
        path.write_bytes(packed(row, home(row, gradio_server.space_of(session))))
        yield str(path)


def pull(repository, token=None, session=None, progress=gr.Progress()):  # noqa: B008
    """Fetch weights from the Hugging Face Hub for this visit, checked and pinned to a commit.

    Parameters:
        repository: user/repo or user/repo@revision
        token: yours, for a private or gated repository; it is neither kept nor logged, and the server's own is not used
    Returns:
        row: the new row of the manifest; its id can be used in /count and /compare by the same client
    """
    from cellapp import hub

    space = gradio_server.begun(session)
    row = hub.pull((repository or "").strip(), token=own_token(token), folder=space.weights,
                   room=space.limits.room(space.folder),
                   progress=lambda done, total: progress((done, total), desc="Fetching", unit="bytes"))
    yield row.model_dump(mode="json"), space.id


def pulled(repository, token=None, session=None, progress=gr.Progress()):  # noqa: B008
    """The same for the page."""
    for row, name in pull(repository, token, session, progress):
        there = rows(gradio_server.space_of(name))
        yield (gr.update(value=f"✓ {row['id']} is here until you leave, in the lists of all tabs.", visible=True),
               gr.update(choices=titles(there), value=row["id"]), table(there), name)


def home(row: store.Weights, space: Workspace | None):
    """The folder of some weights, None for installed ones where the visit has no workspace."""
    return store.home(row, space.weights) if space is not None else None


def own_token(given: str | None) -> str | bool:
    """What the visitor typed, or False: None would let huggingface_hub take the login of the server."""
    return (given or "").strip() or False


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
