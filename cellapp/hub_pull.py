"""Pulling weights from the Hugging Face Hub into a folder of weights.

Everything lands below ``downloads/`` of that folder first, and moves beside the manifest only after its sizes, its
hashes, its shapes and its known answer were found right. What was downloaded when a pull ended early stays there, so
that the next one goes on.
"""

import hashlib
import io
import os
import shutil
import time
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout
from huggingface_hub import hf_hub_url
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import ModelInfo, RepoSibling
from huggingface_hub.utils import build_hf_headers

from cellapp import hub_config
from cellapp import weights as store
from cellapp.errors import Cancelled, CellappError, HubError
from cellapp.hub_net import Address, Progress, Stop, Token, check, checked_token, hub, look, patiently, sentences
from cellapp.verify import verify
from cellapp.weights import Hub, Weights

DOWNLOADS = "downloads"
PATIENCE = 600.0                                             # s for the known answer; some weights take half a minute


def pull(repo: str, *, token: Token = None, folder: Path | None = None, room: int | None = None,
         progress: Progress | None = None, stop: Stop | None = None) -> Weights:
    """Download, check and install the weights of a repository; the row, pinned to the commit they came from.

    Parameters
    ----------
    repo : ``user/repo``, ``user/repo@revision`` or the address of its page
    token : None: huggingface_hub's own login; False: nobody's
    folder : of the weights; None: that of the installed ones
    room : bytes that may be written there; None: no limit but the disk's
    progress : called with bytes done and bytes in all
    stop : asked often; True ends the pull with `Cancelled`, and the next one goes on from there

    Raises
    ------
    HubError, WeightsError
        One sentence for whatever is wrong with address, token, Hub, connection, disk or repository; nothing is
        installed then.
    """
    where, address, token = folder or store.folder(), Address.parse(repo), checked_token(token)
    with sentences(address.repo, "read"):
        info = look(address, token, stop, files=True)
        source = Hub(repo=address.repo, revision=info.sha)
        row = hub_config.read(_config(info, source, token, stop), source)
        ready = hub_config.installed(row)
        if (present := store.manifest(where).get(row.id)) is not None and present.sha256 == row.sha256:
            return present
        _promised(row, info)
        if row.bytes > (shutil.disk_usage(_made(where)).free if room is None else room):
            raise HubError(f"{address.repo}: its files take {row.bytes / 1e6:,.1f} MB, and there is no room for them; "
                           "delete what you no longer need, then try again.")
        staging = _made(where / DOWNLOADS / row.id.replace("/", "--"))
        try:
            with FileLock(staging / ".lock", timeout=0):
                _download(row, staging, token, progress, stop)
                _proved(row, staging, stop)
                _install(row, ready, staging, where)
        except Timeout as error:
            raise HubError(f"{address.repo} is being pulled already; wait until that is done.", again=True) from error
    shutil.rmtree(staging, ignore_errors=True)
    return ready


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _config(info: ModelInfo, source: Hub, token: Token, stop: Stop | None) -> bytes:
    """``config.json``, as the commit has it."""
    found = _listed(info).get(hub_config.NAME)
    if found is None:
        raise HubError(f"{source.repo} holds no weights of cellapp: it has no {hub_config.NAME}.")
    if found.size is None or found.size > hub_config.MAX_CONFIG:
        raise HubError(f"{source.repo}: its {hub_config.NAME} is too large to be one of cellapp; choose other weights.")
    out = io.BytesIO()
    _get(out, source, found.rfilename, found.size, token, stop)
    content = out.getvalue()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()    # as git names it
    if found.lfs is None and found.blob_id and blob != found.blob_id:
        raise HubError(f"{source.repo}: {hub_config.NAME} arrived damaged; try again.", again=True)
    return content


def _listed(info: ModelInfo) -> dict[str, RepoSibling]:
    return {sibling.rfilename: sibling for sibling in info.siblings or ()}


def _promised(row: Weights, info: ModelInfo) -> None:
    """What the config says of its files must be what the Hub lists, before a byte is fetched."""
    listed = _listed(info)
    for part in row.files:
        found = listed.get(part.file)
        if found is None:
            raise HubError(f"{row.hub.repo}: {part.file}, which its {hub_config.NAME} names, is not there; tell its "
                           "owner, or choose other weights.")
        if found.size != part.bytes or (found.lfs is not None and found.lfs.sha256 != part.sha256):
            raise HubError(f"{row.hub.repo}: {part.file} is not the file that its {hub_config.NAME} describes; tell "
                           "its owner, or choose other weights.")


def _download(row: Weights, staging: Path, token: Token, progress: Progress | None, stop: Stop | None) -> None:
    done = 0
    for part in row.files:
        path = staging / part.file

        def tell(size: int, before: int = done, limit: int = part.bytes) -> None:
            check(stop)
            if size > limit:
                raise HubError(f"{row.hub.repo}: the Hub sends more bytes than it promised; try again.", again=True)
            if progress is not None:
                progress(before + size, row.bytes)

        have = path.stat().st_size if path.exists() else 0
        with open(path, "ab" if have <= part.bytes else "wb") as file:
            _get(_Watched(file, tell), row.hub, part.file, part.bytes, token, stop)
        if not _right(path, part.sha256):
            path.unlink()
            raise HubError(f"{row.hub.repo}: {part.file} does not have the sha256 that its {hub_config.NAME} names; "
                           "nothing was installed. Try again, and if it stays so, do not use this repository.",
                           again=True)
        done += part.bytes
    if progress is not None:
        progress(done, done)


def _get(out: BinaryIO, source: Hub, name: str, size: int, token: Token, stop: Stop | None) -> None:
    """Fetch a file of the pinned commit, from where ``out`` ends; where the connection breaks, huggingface_hub goes on
    by itself."""
    client = hub()
    url = hf_hub_url(source.repo, name, revision=source.revision, endpoint=client.endpoint)
    headers = build_hf_headers(token=token, library_name=client.library_name)
    patiently(lambda: http_get(url, out, resume_size=out.tell(), headers=headers, expected_size=size,
                               tqdm_class=_Silent), stop, broken=False)


class _Silent:
    """Takes the place of tqdm's bar: the bytes are counted where they are written."""

    def __init__(self, **_about):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        return None

    def update(self, _size: int) -> None:
        """Nothing to draw."""


class _Watched:
    """A file that tells how much it holds after every write, and may be told to stop."""

    def __init__(self, file: BinaryIO, tell):
        self._file, self._tell = file, tell
        self.seek, self.tell, self.truncate = file.seek, file.tell, file.truncate

    def write(self, content: bytes) -> int:
        """As that of the file; whatever the callback raises ends the download."""
        written = self._file.write(content)
        self._tell(self._file.tell())
        return written


def _right(path: Path, sha256: str) -> bool:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _proved(row: Weights, staging: Path, stop: Stop | None) -> None:
    """The files hold the network that the row describes, and count its known answer on this machine; or they go."""
    until = time.monotonic() + PATIENCE

    def tile(_done: int, _all: int) -> None:
        check(stop)
        if time.monotonic() > until:
            raise HubError(f"{row.hub.repo}: its weights take too long to count a small image; do not use them.")

    try:
        hub_config.judge(row, staging)
        verify(row, staging, tile)
    except Cancelled:
        raise
    except (RuntimeError, MemoryError) as error:             # what torch says of a network that takes no image
        shutil.rmtree(staging, ignore_errors=True)
        raise HubError(f"{row.hub.repo}: its weights cannot count the image of their known answer; do not use this "
                       "repository.") from error
    except CellappError:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _install(row: Weights, ready: Weights, staging: Path, where: Path) -> None:
    for part, here in zip(row.files, ready.files, strict=True):
        os.replace(staging / part.file, where / here.file)
    store.replace(ready, where)
