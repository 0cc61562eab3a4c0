"""Pushing weights to the Hub, for Gradio: what would leave this server first, then that and nothing else."""

import contextvars
from collections.abc import Collection

import gradio as gr

from cellapp.errors import CellappError
from cellapp.hub_push import Upload, listing
from cellapp.ui import gradio_server, pushing
from cellapp.ui.gradio_count import find
from cellapp.ui.gradio_weights import home, own_token

STATED = "as the weights state"
INCLUDES = [("The images of the training", "images"), ("Their dots", "dots")]
SHOWN = {"File": 172, "Bytes": 98, "What it is": 520}        # px
FILES = {"type": "array", "items": {"type": "object", "properties": {
    "file": {"type": "string"}, "bytes": {"type": "integer"}, "about": {"type": "string"}}}}
PUSHED = {"type": "object", "properties": {
    **{name: {"type": "string"} for name in ("weights", "repository", "url", "revision", "message")},
    "public": {"type": "boolean"}}}


def push(weights, repository, token=None, public=False, licence=None, include=None, dry_run=False, session=None,
         progress=gr.Progress()):  # noqa: B008
    """Send weights to a repository on the Hugging Face Hub, in one commit; it is made if it is not there.

    Parameters:
        weights: their id; /weights lists them
        repository: user/repo
        token: yours, with the right to write; it is neither kept nor logged, and the server's own is not used
        public: everybody may see the repository; otherwise only you
        licence: such as MIT or CC BY 4.0, where the weights state none
        include: images, dots or both: what else goes along of the training that made the weights in this visit
        dry_run: only list what would leave this server
    Returns:
        files: what leaves this server, told before it does: file (in the repository), bytes, about
        answer: weights, repository, url, revision (the commit), public and a sentence; null in a dry run
    """
    row, space = find(weights, session), gradio_server.space_of(session)
    about = _about(row, space, licence, include)
    repository = _where(repository)
    files = [{"file": one.path, "bytes": one.bytes, "about": one.about}
             for one in listing(row.id, repository, **about)]
    yield files, None
    if dry_run:
        return
    here = contextvars.copy_context()                        # which visitor's bar it is; files go up in other threads

    def tell(done: int, total: int) -> None:
        here.copy().run(progress, (done, total), desc="Pushing", unit="bytes")

    there = pushing.send(row, repository, space, token=own_token(token), private=not public, progress=tell, **about)
    yield files, {"weights": row.id, "repository": there.hub.repo, "url": there.url, "revision": there.revision,
                  "public": bool(public), "message": pushing.told(row, there, not public)}


def look(weights, repository, public=False, licence=None, include=None, session=None):
    """What would leave, on the page: the files, the model card, the button that sends them, and what it may send."""
    row = find(weights, session)
    uploads = listing(row.id, _where(repository), **_about(row, gradio_server.space_of(session), licence, include))
    card = next(one.content.decode() for one in uploads if one.path == "README.md")
    yield (gr.update(value=_words(uploads, public), visible=True),
           gr.update(value=[[one.path, f"{one.bytes:,}", one.about] for one in uploads], visible=True),
           gr.update(value=card), gr.update(visible=True), gr.update(visible=True),
           _asked(weights, repository, public, licence, include))


def pushed(weights, repository, token=None, public=False, licence=None, include=None, seen=None, session=None,
           progress=gr.Progress()):  # noqa: B008
    """The same as `push` for the page, where only what was looked at is sent."""
    if seen != _asked(weights, repository, public, licence, include):
        raise CellappError("Something was changed since the files were listed; list them again, then push.")
    for _, answer in push(weights, repository, token, public, licence, include, False, session, progress):
        if answer:
            yield gr.update(value=f"✓ {answer['message']}", visible=True), gr.update(visible=False), None
        else:
            yield gr.update(value="", visible=True), gr.update(), gr.update()       # the progress bar lies there


def unseen():
    """After a change: what was listed is no longer what would be sent."""
    return (*[gr.update(visible=False)] * 4, None)


def _where(repository: str | None) -> str:
    if not (repository or "").strip():
        raise CellappError("Write the repository to push to: your name on the Hub, a slash, and a name for it.")
    return repository.strip()


def _about(row, space, licence: str | None, include: Collection[str] | None) -> dict:
    stated = None if licence in (None, "", STATED) else licence
    return {"licence": stated, "include": include or (), "folder": home(row, space),
            "job": pushing.training(row, space)}


def _asked(weights, repository, public, licence, include) -> list:
    return [weights, (repository or "").strip(), bool(public), licence or "", sorted(include or ())]


def _words(uploads: tuple[Upload, ...], public: bool) -> str:
    seen, size = "Everybody" if public else "Only you", sum(one.bytes for one in uploads) / 1e6
    return (f"**What leaves this server**: {len(uploads)} files, {size:,.1f} MB, and nothing else. {seen} can see them "
            "on the Hub.")
