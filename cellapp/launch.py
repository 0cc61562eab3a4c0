"""Several devices of one machine that share a training: a process for each, through accelerate's launcher.

The caller's process works on nothing itself. It hears of every step and every epoch through a pipe to each process,
asks whether to stop, and tells all of them the same; whatever ends one of them ends all. A process whose caller is gone
finds its pipe closed at its next step.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import connection

import torch

from cellapp.checkpoint import State
from cellapp.errors import CellappError, TrainingError

_GRACE = 1.0                                                 # s in which others may say why one of them ended
_PLAIN = (CellappError, torch.OutOfMemoryError, MemoryError, OSError)   # these say themselves what the matter is
_log = logging.getLogger(__name__)


def run_on_devices(task, start: State | None, device: torch.device, stop: Callable[[], bool]) -> Iterator:
    """Train on as many devices of this kind as ``task.config`` says; what `training.train` yields.

    task : a `training.Task`; start : weights to begin with. Raises what the processes raise, `TrainingError` where one
    was killed.
    """
    from accelerate.utils import PrepareForLaunch, patch_environment
    from accelerate.utils.other import get_free_port
    from safetensors.torch import save
    from torch.multiprocessing import get_context, start_processes

    number = task.config.devices
    ours, theirs = zip(*(get_context("spawn").Pipe() for _ in range(number)), strict=True)
    begun = None if start is None else save({name: value.contiguous() for name, value in start.items()})
    threads = max(1, torch.get_num_threads() // number)
    kind = "MULTI_CPU" if device.type == "cpu" else "MULTI_GPU"
    with patch_environment(world_size=number, local_world_size=number, nproc=number, master_addr="127.0.0.1",
                           master_port=get_free_port()):
        context = start_processes(PrepareForLaunch(_work, kind), (theirs, task, begun, device.type, threads), number,
                                  join=False, start_method="spawn")
    for end in theirs:
        end.close()
    try:
        yield from _listen(dict(enumerate(ours)), stop)
    finally:
        for process in context.processes:
            process.terminate()
        for process in context.processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()
        for end in ours:
            end.close()


def _listen(lines: dict[int, connection.Connection], stop: Callable[[], bool]) -> Iterator:
    """Epochs as they come, until all have ended; one answer for all at each step."""
    number, asking = len(lines), []
    while lines:
        ready = connection.wait(lines.values())
        for rank, line in [(rank, line) for rank, line in lines.items() if line in ready]:
            what, message = _hear(line)
            if what == "end":
                del lines[rank]
            elif what == "failed":
                raise _cause(message, [other for other in lines.values() if other is not line], number)
            elif what == "epoch":
                yield message
            else:
                asking.append(line)
        if len(asking) == number:
            answer = stop()
            for line in asking:
                with suppress(OSError):                      # if it died meanwhile, it is found above
                    line.send(answer)
            asking = []


def _hear(line: connection.Connection) -> tuple[str, object]:
    try:
        return line.recv()
    except (EOFError, OSError):
        return "failed", None                                # gone without a word


def _cause(error: Exception | None, others: list[connection.Connection], number: int) -> Exception:
    """Why a training ended: when one process goes, the others lose their connection to it and fail as well."""
    found, until = [error], time.monotonic() + _GRACE
    while others and (ready := connection.wait(others, max(0.0, until - time.monotonic()))):
        for line in ready:
            what, message = _hear(line)
            if what in ("failed", "end"):
                others.remove(line)
            if what == "failed":
                found.append(message)
    for one in found:
        if isinstance(one, _PLAIN):
            return one
    if None in found:
        return TrainingError(f"One of the {number} processes of this training was killed from outside, most often "
                             "because the memory of the machine ran out: free some, or take a smaller crop or fewer "
                             "devices. The epochs so far are kept.")
    return found[0]


def _work(lines: tuple[connection.Connection, ...], task, start: bytes | None, kind: str, threads: int) -> None:
    """One of the processes."""
    import os

    rank = int(os.environ["RANK"])
    line = lines[rank]
    for end in lines:
        if end is not line:
            end.close()
    try:
        _train(line, task, start, kind, threads)
        line.send(("end", None))
    except EOFError:
        return                                               # nobody listens any more
    except Exception as error:
        if not isinstance(error, CellappError):
            _log.exception("process %d of a training failed", rank)
        try:
            line.send(("failed", error))
        except Exception:                                    # it cannot be sent as it is
            line.send(("failed", RuntimeError(f"{type(error).__name__}: {error}")))


def _train(line: connection.Connection, task, start: bytes | None, kind: str, threads: int) -> None:
    from safetensors.torch import load

    from cellapp.share import AmongDevices
    from cellapp.training import carry_out

    share = AmongDevices(kind == "cpu")
    torch.set_num_threads(threads)

    def stop() -> bool:
        line.send(("step", None))
        return line.recv()

    for progress in carry_out(task, None if start is None else load(start), share.device, stop, share):
        line.send(("epoch", progress))
