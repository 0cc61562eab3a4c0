"""Training jobs on the workers of a Dask cluster: where ``CELLAPP_SCHEDULER`` names its scheduler, such as
``tcp://10.0.0.5:8786``.

The job's folder lies on a disk that this machine and the workers share, and all that `cellapp.train_jobs` says of it
holds: a worker tells how far it is through the folder, and looks there for what the user wants. The job's own process
stays on this machine; it only waits for its turn, for the worker, and for the end.

A worker that dies is replaced by the scheduler: the next one goes on from the last epoch. One that was only believed
dead finds another one's name in ``worker.json`` and leaves the folder alone. There is one training at a time on each
worker, and never more under way than there are workers. Who may be connected to: `cellapp.dask_client`.
"""

import json
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cellapp import __version__, train_queue
from cellapp import weights as store
from cellapp.dask_client import WORKERS, about, connect, no_workers, unfit
from cellapp.errors import Cancelled, ClusterError
from cellapp.files import write_atomic
from cellapp.train_jobs import Job
from cellapp.train_spec import Spec
from cellapp.train_worker import BETWEEN, Line, carry_out

if TYPE_CHECKING:
    from distributed import Client, Future

QUEUE = "cluster"
_NOTE = "worker.json"


@dataclass(frozen=True)
class _Wanted:
    """What a worker must have, in plain values; ``digest`` is None where it needs no installed weights."""

    version: str
    weights: str | None
    digest: str | None


def watch(job: Job, spec: Spec, address: str, queue: Path | None = None) -> int:
    """Let a worker of the scheduler at ``address`` work on a job, and wait for its end; 0 if new weights were made."""
    line = Line(job.folder, QUEUE)
    installed = spec.start if spec.start_folder is None else None
    wanted = _Wanted(__version__, installed, store.find(installed).digest if installed else None)
    ticket = train_queue.Ticket(queue or train_queue.default_root(), QUEUE, job.name)

    def wait() -> None:
        with connect(address) as client:
            _turn(client, address, ticket, line)
            # Its name is new each time, or the scheduler would give the answer of the time before.
            future = client.submit(train_here, str(job.folder), wanted, pure=False,
                                   key=f"cellapp-train-{job.name}-{secrets.token_hex(4)}")
            try:
                _until_the_end(client, address, future, job, line)
            except ClusterError:
                if not (job.folder / "exit.json").exists():  # else the worker had said how it ended before
                    raise
            finally:
                if client.status == "running":
                    client.cancel([future], force=True)

    try:
        carry_out(line, wait)
    finally:
        ticket.close()
    return 0 if job.state().phase == "done" else 1


def _turn(client: "Client", address: str, ticket: train_queue.Ticket, line: Line) -> None:
    """Wait until fewer trainings are under way than there are workers."""
    alone_since = None
    while not (workers := len(client.nthreads())) or ticket.ahead >= workers:
        alone_since = None if workers else alone_since or time.monotonic()
        if alone_since and time.monotonic() - alone_since > WORKERS:
            raise no_workers(address)
        _waiting(line)
        time.sleep(BETWEEN)


def _waiting(line: Line) -> None:
    line.tell("waiting")
    if line.wish:
        raise Cancelled("Cancelled while it waited for a worker.")


def _until_the_end(client: "Client", address: str, future: "Future", job: Job, line: Line) -> None:
    from concurrent.futures import CancelledError

    from distributed.scheduler import KilledWorker

    alone_since = None
    while True:
        try:
            return future.result(timeout=BETWEEN)
        except TimeoutError:
            running = client.status == "running"
            workers = client.nthreads() if running else {}
            alone_since = None if workers else alone_since or time.monotonic()
            if client.status == "closed" or (alone_since and time.monotonic() - alone_since > WORKERS):
                what = "the scheduler is gone" if client.status == "closed" else "it has no workers any more"
                raise ClusterError(f"{address}: {what}. {job.kept()}") from None
            if running and not any(future.key in keys for keys in client.processing().values()):
                _waiting(line)
        except CancelledError as error:
            raise ClusterError(f"{address}: the scheduler is gone. {job.kept()}") from error
        except KilledWorker as error:
            raise ClusterError(f"{error.allowed_failures + 1} workers died while they had this training, perhaps for "
                               f"want of memory: give them more, or take a smaller crop. {job.kept()}") from error
        except (ImportError, AttributeError) as error:
            raise ClusterError(f"{address}: a worker cannot load cellapp ({error}); install cellapp {__version__} "
                               "there, or start the worker in its folder.") from error


# ---- on the workers ----

class _Here(Line):
    """A line that falls silent as soon as another worker has taken the job over."""

    def __init__(self, folder: Path, device: str):
        super().__init__(folder, device)
        self._name = secrets.token_hex(8)
        write_atomic(folder / _NOTE, json.dumps({"name": self._name}))

    @property
    def here(self) -> bool:
        try:
            return super().here and json.loads((self.folder / _NOTE).read_bytes())["name"] == self._name
        except (OSError, ValueError, KeyError):
            return False


_one_at_a_time = threading.Lock()


def train_here(folder: str, wanted: _Wanted) -> None:
    """On a worker: train, and say in the folder how it ended. On which device is the worker's own matter."""
    job = Job(Path(folder))
    if problem := unfit(wanted.weights, (wanted.version, wanted.digest), about(wanted.weights)):
        raise ClusterError(f"{_own_address()}: this worker {problem}")
    if not (job.folder / "job.json").is_file():
        raise ClusterError(f"{_own_address()}: this worker does not see {folder}; let CELLAPP_WORKSPACES name a folder "
                           "on a disk that the server shares with its workers, at the same path.")
    _train(job)


def _train(job: Job) -> None:
    from cellapp.methods import pick_device
    from cellapp.train_work import work

    spec = job.spec()
    # A worker is a process that may have no children, and other workers may use the machine's other GPUs.
    spec = spec.model_copy(update={"device": pick_device("auto").type, "config": spec.config | {"devices": 1}})
    line = _Here(job.folder, f"{spec.device} of {_own_address()}")

    def what() -> str:
        while not _one_at_a_time.acquire(timeout=BETWEEN):
            _waiting(line)
        try:
            line.tell("reading")
            return work(job, spec, line)
        finally:
            _one_at_a_time.release()

    carry_out(line, what)


def _own_address() -> str:
    from distributed import get_worker

    return get_worker().address
