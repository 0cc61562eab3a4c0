"""The way to a Dask cluster that is already there. Imports no torch, for those who only wait for a worker.

Dask unpickles what comes from the scheduler and its workers, and they unpickle what comes from here: whoever runs them
can run code on this machine. So only an address that the operator gives is connected to, never one out of a file.
"""

import re
from typing import TYPE_CHECKING

from cellapp import __version__
from cellapp import weights as store
from cellapp.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client

ADDRESS = "CELLAPP_SCHEDULER"                                # names the scheduler whose workers train
CONNECT = 5.0                                                # seconds to wait for the scheduler
WORKERS = 30.0                                               # seconds to wait for a worker, at first and on the way
_FORM = re.compile(r"(tcp|tls|ucx|ws|wss)://\S+:\d+/?")


def connect(address: str) -> "Client":
    """A client of the scheduler at ``address``, such as ``tcp://10.0.0.5:8786``; `ClusterError` if none answers."""
    if not _FORM.fullmatch(address):
        raise ClusterError(f"{address}: this is no address of a Dask scheduler; give one such as tcp://10.0.0.5:8786.")
    try:
        from distributed import Client
    except ImportError as error:
        raise ClusterError("Dask is not installed here; install it with: pip install distributed.") from error
    try:
        return Client(address, timeout=CONNECT, set_as_default=False, name="cellapp")
    except Exception as error:                               # OSError, TimeoutError, ValueError, what TLS raises, …
        raise ClusterError(f"{address}: no Dask scheduler answers there; start it, or check its address and the "
                           "firewall.") from error


def no_workers(address: str) -> ClusterError:
    """What to say where a scheduler has nobody to work."""
    return ClusterError(f"{address}: the scheduler has no workers; start one: dask worker {address}")


def about(weights_id: str | None) -> tuple[str, str | None]:
    """On a worker: its version of cellapp, and the digest of its weights of this id."""
    row = store.manifest().get(weights_id)
    return __version__, row and row.digest


def unfit(weights_id: str | None, wanted: tuple[str, str | None], found: tuple[str, str | None]) -> str:
    """Why a worker with ``found`` (version, digest) would give other numbers than ``wanted``; "" where it would not."""
    if found[0] != wanted[0]:
        return f"has cellapp {found[0]}, not {wanted[0]}; install {wanted[0]} there."
    if wanted[1] and found[1] is None:
        return f"does not have the weights {weights_id}; copy the folder of the weights there."
    if wanted[1] and found[1] != wanted[1]:
        return f"has other weights called {weights_id}; copy the folder of the weights there."
    return ""
