"""Pushing weights to the Hugging Face Hub: what would leave this machine, and one commit that takes it there."""

import io
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, get_token
from huggingface_hub.hf_api import ModelInfo

from cellapp import hub_card, hub_config
from cellapp import weights as store
from cellapp.dots import Dots, write_dots
from cellapp.errors import HubError
from cellapp.hub_net import Address, Progress, Stop, Token, check, checked_token, hub, look, patiently, sentences
from cellapp.train_jobs import Job, given_of
from cellapp.train_spec import OWN
from cellapp.weights import Hub, Weights

INCLUDES = ("images", "dots")                                # of the training; never unless asked for
NOT_STATED = "not stated"
_OURS = (hub_config.NAME, hub_card.NAME, hub_card.FIGURE)


@dataclass(frozen=True)
class Upload:
    """A file that would leave this machine: its path in the repository, what it holds in words, its bytes."""

    path: str
    about: str
    content: bytes = field(repr=False)

    @property
    def bytes(self) -> int:
        """Its size."""
        return len(self.content)


@dataclass(frozen=True)
class Pushed:
    """Where weights lie now: the page of the repository, and the commit."""

    url: str
    hub: Hub

    @property
    def revision(self) -> str:
        """The commit, 40 digits."""
        return self.hub.revision


def listing(weights_id: str, repo: str, *, licence: str | None = None, include: Collection[str] = (),
            folder: Path | None = None, job: Job | None = None) -> tuple[Upload, ...]:
    """Every file that `push` would send with the same arguments; nothing is sent, and the Hub is not asked.

    Parameters
    ----------
    licence : in the place of “not stated”; weights with terms of their own keep them
    include : of `INCLUDES`, what else goes along; both need the job
    folder : where the weights lie; None: the installed ones
    job : the training that made them, for the card's figures and for ``include``
    """
    row, address = store.find(weights_id, folder), Address.parse(repo)
    licence = _licence(row, licence)
    config, parts = hub_config.written(row, licence)
    run = hub_card.run_of(job) if job is not None else None
    parent = _parent(row, folder)
    card = hub_card.card(row, address.repo, licence, run, parent)
    files = [Upload(name, f"the weights: numbers of the network, {part.bytes / 1e6:.1f} MB",
                    store.verified_bytes(row, part, folder)) for name, part in parts.items()]
    files += [Upload(hub_config.NAME, "how the network is built and read, its scores, its known answer",
                     config.encode()),
              Upload(hub_card.NAME, "the model card: what everybody reads on the Hub", card.encode())]
    if run is not None and run.lines:
        files.append(Upload(hub_card.FIGURE, "a figure: counts by hand against predicted ones, no names",
                            hub_card.figure(run)))
    return (*files, *_included(include, job))


def push(weights_id: str, repo: str, *, token: Token = None, private: bool = True, licence: str | None = None,
         include: Collection[str] = (), folder: Path | None = None, job: Job | None = None,
         progress: Progress | None = None, stop: Stop | None = None) -> Pushed:
    """Send what `listing` lists to a repository, which is made if it is not there, in one commit.

    Files that are there already are not sent again, so a push that failed can simply be repeated. ``progress`` is
    called with bytes sent and bytes in all; ``stop`` is asked often, and ends it with `Cancelled` before the commit.

    Raises
    ------
    HubError, WeightsError
        One sentence for whatever is wrong. A public repository is never written where a private one was asked for, nor
        one that holds something else than weights of cellapp.
    """
    address, token = Address.parse(repo), checked_token(token)
    if address.revision is not None:
        raise HubError(f"{repo}: weights are pushed to the main branch; leave out what follows the @.")
    uploads = listing(weights_id, repo, licence=licence, include=include, folder=folder, job=job)
    if not private and licence in (None, NOT_STATED) and store.find(weights_id, folder).licence == NOT_STATED:
        raise HubError("Everybody may see what is pushed publicly, so say under which licence they may use it.")
    if token is False or (token is None and get_token() is None):
        raise HubError("Pushing needs a token that may write: make one at huggingface.co/settings/tokens.")
    with sentences(address.repo, "write"):
        api = hub()
        patiently(lambda: api.create_repo(address.repo, private=private, exist_ok=True, token=token), stop)
        there = look(address, token, stop)
        _fits(there, private)
        sent = _Sent(uploads, progress, stop)
        names = {upload.path for upload in uploads}
        old = [s.rfilename for s in there.siblings or () if s.rfilename not in names and _ours(s.rfilename)]
        check(stop)
        commit = api.create_commit(
            address.repo, [*sent.operations(), *map(CommitOperationDelete, old)], token=token,
            commit_message=f"Weights of cellapp: {weights_id}", parent_commit=there.sha, num_threads=2)
        sent.done()
    return Pushed(f"{api.endpoint}/{address.repo}", Hub(repo=address.repo, revision=commit.oid))


def _licence(row: Weights, given: str | None) -> str:
    if given in (None, "", row.licence):
        return row.licence
    if row.licence != NOT_STATED and not row.id.startswith(OWN):
        raise HubError(f"{row.id}: these weights came with the terms “{row.licence}”, which stay; leave the licence "
                       "out.")
    return given


def _parent(row: Weights, folder: Path | None) -> Hub | None:
    """Where the weights that the training began with lie on the Hub, if they do."""
    rows = store.manifest() | (store.manifest(folder) if folder is not None else {})
    return rows[row.parent].hub if row.parent in rows else None


def _included(include: Collection[str], job: Job | None) -> list[Upload]:
    """The images and dots of the training, under names that are safe in a repository."""
    if unknown := set(include) - set(INCLUDES):
        raise HubError(f"“{min(unknown)}” cannot go along; choose of: {', '.join(INCLUDES)}.")
    if include and job is None:
        raise HubError("Images and dots can go along only with weights that were trained on the page Fine-tune.")
    found = []
    for k, item in enumerate(job.spec().items if include else (), start=1):
        given = given_of(job.folder, item)
        name = f"{k:03d}-" + re.sub(r"[^A-Za-z0-9._-]+", "_", PurePath(given.name.replace("\\", "/")).name)[-80:]
        if "images" in include:
            found.append(Upload(f"training/{name}", f"an image: {given.name}", given.path.read_bytes()))
        if "dots" in include and given.points is not None:
            dots = write_dots(Dots(given.points), "csv")
            found.append(Upload(f"training/{PurePath(name).stem}_dots.csv", f"dots in {given.name}", dots))
    return found


def _fits(there: ModelInfo, private: bool) -> None:
    """The repository is as private as was asked, and holds nothing else."""
    if bool(there.private) != private:
        is_now, wanted = ("public", "private") if private else ("private", "public")
        raise HubError(f"{there.id} is there already and is {is_now}; choose another name, or make it {wanted} in its "
                       "settings on the Hub first.")
    names = {sibling.rfilename for sibling in there.siblings or ()} - {".gitattributes"}
    if names and (hub_card.TAG not in (there.tags or ()) or not all(map(_ours, names))):
        raise HubError(f"{there.id} holds something else already; choose another name, so that nothing is replaced.")


def _ours(name: str) -> bool:
    return name in _OURS or name.startswith("training/") or bool(
        re.fullmatch(r"model(-\d{5}-of-\d{5})?\.safetensors", name))


class _Sent:
    """Counts what is read while it is sent."""

    def __init__(self, uploads: tuple[Upload, ...], progress: Progress | None, stop: Stop | None):
        self._uploads, self._progress, self._stop = uploads, progress, stop
        self._at = dict.fromkeys((upload.path for upload in uploads), 0)
        self._total = sum(upload.bytes for upload in uploads)

    def operations(self) -> list[CommitOperationAdd]:
        """One for each file."""
        files = [(upload, _Read(upload.content)) for upload in self._uploads]
        made = [CommitOperationAdd(upload.path, file) for upload, file in files]
        for upload, file in files:                           # from here on: making them has read them once
            file.tell_at = lambda at, path=upload.path: self._tell(path, at)
        return made

    def done(self) -> None:
        """All is there; what the Hub had already was not read."""
        if self._progress is not None:
            self._progress(self._total, self._total)

    def _tell(self, path: str, at: int) -> None:
        check(self._stop)
        self._at[path] = max(self._at[path], at)
        if self._progress is not None:
            self._progress(sum(self._at.values()), self._total)


class _Read(io.BytesIO):
    """Bytes that say how far they were read."""

    tell_at = None

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        if self.tell_at is not None:
            self.tell_at(self.tell())
        return content
