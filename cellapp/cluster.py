"""Counting on a Dask cluster that is already there: `count_many` with the address of its scheduler.

The bytes of a file travel with its task, for workers share no disk with this machine; only a window of tasks is under
way at a time. When a worker dies, Dask gives its tasks to another one; here every image has one place in the order, so
none is lost and none doubled. Every worker loads the weights itself and counts only with the same version of cellapp
and the same digest.

Who may be connected to: `cellapp.dask_client`.
"""

import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from cellapp import __version__
from cellapp import weights as store
from cellapp.batch import BatchProgress, Result, count_read, read_input
from cellapp.dask_client import WORKERS, about, connect, no_workers, unfit
from cellapp.errors import CellappError, ClusterError, ImageError
from cellapp.inputs import Input
from cellapp.methods import Counter, Options, load
from cellapp.regions import Region

if TYPE_CHECKING:
    from distributed import Client, Future

MAX_TASKS = 256                                              # under way at a time
MAX_BYTES = 512 * 1024**2                                    # of image files under way; a larger one goes alone
_POLL = 0.5                                                  # seconds between two looks at what is under way


@dataclass(frozen=True)
class _Job:
    """What the workers need besides the image; plain values, so that any version of cellapp can read it."""

    weights: str
    digest: str
    version: str
    options: dict
    regions: tuple[dict, ...]
    device: str
    maps: bool

    @property
    def wanted(self) -> tuple[str, str]:
        """The version of cellapp and the digest of the weights."""
        return self.version, self.digest


@dataclass
class _Task:
    """An image under way; without a future its result is known."""

    one: Input
    size: int = 0
    future: "Future | None" = None
    result: Result | None = None


def count_on_cluster(todo: list[Input], weights_id: str, options: Options, *, regions: Sequence[Region], address: str,
                     device: str, maps: bool, progress: BatchProgress | None) -> Iterator[Result]:
    """As `count_many`, by the workers of the scheduler at ``address``, such as ``tcp://10.0.0.5:8786``."""
    row = store.find(weights_id)
    job = _Job(row.id, row.digest, __version__, options.model_dump(mode="json"),
               tuple(region.to_dict() for region in regions), device, maps)
    client = connect(address)
    try:
        _check_workers(client, address, job)
    except BaseException:
        client.close()
        raise
    return _stream(client, address, todo, job, row.method, progress)


def _check_workers(client: "Client", address: str, job: _Job) -> None:
    """Refuse a cluster that would count in another way."""
    try:
        client.wait_for_workers(1, timeout=WORKERS)
    except TimeoutError as error:
        raise no_workers(address) from error
    try:
        answers = client.run(about, job.weights, on_error="return")
    except Exception as error:
        answers = {address: error}
    for worker, answer in answers.items():
        if isinstance(answer, Exception):
            raise ClusterError(f"{worker}: this worker cannot load cellapp ({type(answer).__name__}: {answer}); "
                               f"install cellapp {job.version} there, or start the worker in its folder.") from answer
        if problem := unfit(job.weights, job.wanted, answer):
            raise ClusterError(f"{worker}: this worker {problem}")


def _stream(client: "Client", address: str, todo: list[Input], job: _Job, method: str,
            progress: BatchProgress | None) -> Iterator[Result]:
    batch, waiting, started = uuid.uuid4().hex, deque(), 0
    try:
        for k in range(len(todo)):
            most = _window(client)
            while started < len(todo) and (not waiting or (len(waiting) < most and _bytes(waiting) < MAX_BYTES)):
                waiting.append(_start(client, todo[started], job, method, f"cellapp-{batch}-{started}"))
                started += 1
            task = waiting.popleft()
            yield task.result or _finished(client, address, task, job, method, progress, k, len(todo))
    finally:
        client.cancel([task.future for task in waiting if task.future], force=True)
        client.close()


def _bytes(waiting: Iterable[_Task]) -> int:
    return sum(task.size for task in waiting)


def _window(client: "Client") -> int:
    """Two images for every thread of the cluster: one that is counted, and one that waits there."""
    if client.status != "running":
        return 1
    return min(MAX_TASKS, 2 * max(1, sum(client.nthreads().values())))


def _start(client: "Client", one: Input, job: _Job, method: str, key: str) -> _Task:
    import dask

    try:
        data = one.read()
    except ImageError as error:
        return _Task(one, result=Result(one.name, "error", str(error), method=method, weights=job.weights))
    # An image in the graph is no mistake here: it has to travel, and must be there again when a worker dies.
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "8 GiB"}):
        return _Task(one, len(data), client.submit(count_here, data, one.name, job, key=key, pure=False))


def _finished(client: "Client", address: str, task: _Task, job: _Job, method: str, progress: BatchProgress | None,
              k: int, total: int) -> Result:
    """Wait for one image; `ClusterError` when the scheduler or all workers are gone."""
    from concurrent.futures import CancelledError

    from distributed.scheduler import KilledWorker

    alone_since = None
    while True:
        if progress:
            progress(k, 0, 1)                                # where the user may stop it
        try:
            return _with_pixels(task, task.future.result(timeout=_POLL), job)
        except TimeoutError:
            with_workers = client.status != "running" or client.nthreads()
            alone_since = None if with_workers else alone_since or time.monotonic()
            if client.status == "closed" or (alone_since and time.monotonic() - alone_since > WORKERS):
                what = "the scheduler is gone" if client.status == "closed" else "it has no workers any more"
                raise ClusterError(f"{address}: {what}; {total - k} of {total} images are not counted.") from None
            continue
        except CancelledError as error:
            raise ClusterError(f"{address}: the scheduler is gone; {total - k} of {total} images are not "
                               "counted.") from error
        except KilledWorker as error:
            why = (f"{error.allowed_failures + 1} workers died while they had it, perhaps for want of memory; crop the "
                   "image or give the workers more.")
        except CellappError as error:
            why = str(error)
        except Exception as error:                           # whatever went wrong on that worker is its row
            why = f"a worker could not count it ({type(error).__name__}: {error}); see its log."
        return Result(task.one.name, "error", f"{task.one.name}: {why}", method=method, weights=job.weights)


def _with_pixels(task: _Task, result: Result, job: _Job) -> Result:
    """What a worker sent, with the pixels, which are here already and do not travel back."""
    if result.image is None:
        return result
    shape = tuple(result.image.pixels.tolist())
    if not job.maps or result.prediction is None:
        return replace(result, image=replace(result.image, pixels=np.broadcast_to(np.uint8(0), shape)))
    read = read_input(task.one, result.options)
    if read.image is None or read.image.sha256 != result.image.sha256:
        return Result(task.one.name, "error", f"{task.one.name}: the file was changed while it was counted; count it "
                      "again.", method=result.method, weights=result.weights)
    return replace(result, image=read.image)


# ---- on the workers ----

def count_here(data: bytes, name: str, job: _Job) -> Result:
    """On a worker: count one image. In the place of its pixels their shape travels back."""
    found = about(job.weights)
    if problem := unfit(job.weights, job.wanted, found):
        raise ClusterError(f"the worker {problem}")
    options = Options(**job.options)
    one = Input(name, name, len(data), lambda: data)
    result = count_read(read_input(one, options), _counter(job.weights, job.digest, job.device), options,
                        tuple(Region.from_dict(region) for region in job.regions))
    return _light(result, job.maps)


def _light(result: Result, maps: bool) -> Result:
    image, prediction = result.image, result.prediction
    if image is not None:
        image = replace(image, pixels=np.array(image.pixels.shape))
    if prediction is not None:
        prediction = prediction.with_arrays(prediction.arrays() if maps else {})
    return replace(result, image=image, prediction=prediction)


_loading = threading.Lock()


def _counter(weights_id: str, digest: str, device: str) -> Counter:
    """The weights, loaded once in a worker, however many threads it has."""
    with _loading:
        return _loaded(weights_id, digest, device)


@lru_cache(maxsize=4)
def _loaded(weights_id: str, digest: str, device: str) -> Counter:
    return load(weights_id, device)
