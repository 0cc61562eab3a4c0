"""What all visitors and both front ends share: the workspaces, and loaded weights with the threads that count."""

import threading
from functools import cache, lru_cache
from pathlib import Path

from cellapp import weights as store
from cellapp.train_spec import OWN

_lock = threading.Lock()


@cache
def registry():
    """All workspaces of this server. Imports torch, as all that opens a workspace."""
    from cellapp.workspaces import Workspaces

    return Workspaces()


def rows(space=None) -> dict[str, store.Weights]:
    """The rows of all weights that a visitor can use, by their id: the installed ones, then those trained or pulled."""
    own = store.manifest(space.weights) if space is not None else {}
    return store.manifest() | {name: row for name, row in own.items() if name.startswith((OWN, store.PULLED))}


def load_counter(row: store.Weights, space=None):
    """The counter of a manifest row, installed or of this workspace; loaded once for all sessions, read-only."""
    where = store.home(row, space.weights) if space is not None else None
    with _lock:                                              # two visitors at once load it once
        return _load(row.id, row.digest, where)


def parameters(row: store.Weights, space=None) -> int:
    """How many parameters the network of a row has."""
    known = _parameters.get((row.id, row.sha256))
    if known is None:
        known = _parameters[row.id, row.sha256] = load_counter(row, space).parameters
    return known


_parameters: dict[tuple[str, str], int] = {}


@lru_cache(maxsize=4)
def _load(weights_id: str, digest: str, where: Path | None):
    # The digest is in the key so that weights of the same name are read again once they are retrained or calibrated.
    from cellapp.methods import load

    return load(weights_id, where=where)
