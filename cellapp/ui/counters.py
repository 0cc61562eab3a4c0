"""Loaded weights, shared by all visitors and by the threads that count for them."""

import threading
from functools import lru_cache
from pathlib import Path

from cellapp import weights as store

_lock = threading.Lock()


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
