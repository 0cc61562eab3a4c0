"""The process of one training job: ``python -m cellapp.train_worker FOLDER``.

It waits for its turn before it imports torch, so that those who wait cost next to nothing, and it always says how it
ended, unless it is killed.
"""

import errno
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cellapp import train_queue
from cellapp.dask_client import ADDRESS
from cellapp.errors import Cancelled, CellappError
from cellapp.files import write_atomic
from cellapp.train_jobs import Job, finish

POLITE = 10                                                  # niceness: pages and counting come first
BETWEEN = 0.3                                                # s between two looks at the queue
BEAT = 1.0                                                   # s between two signs of life at least
_log = logging.getLogger(__name__)


class Line:
    """What connects the process with those who look at its folder: signs of life out, wishes in."""

    def __init__(self, folder: Path, device: str):
        self.folder, self._device, self._last = folder, device, 0.0
        self._now: dict = {}

    def tell(self, doing: str, **numbers) -> None:
        """Say what is being done now; the same activity is told once a second at most."""
        new = self._now.get("doing") != doing
        self._now = {"doing": doing, "device": self._device, **numbers}
        if new or time.monotonic() - self._last >= BEAT:
            self._last = time.monotonic()
            if self.here:
                write_atomic(self.folder / "beat.json", json.dumps(self._now | {"time": time.time()}))

    @property
    def here(self) -> bool:
        """Whether the folder is still there, and this process's; it may be deleted at any time."""
        return (self.folder / "job.json").exists()

    @property
    def wish(self) -> str:
        """What the user wants: "", "keep" or "cancel"."""
        if not self.here:
            return "cancel"
        with suppress(OSError):
            return (self.folder / "stop").read_text(encoding="utf-8").strip()
        return ""

    def check(self) -> None:
        """Raise `Cancelled` if the user wants no more of it."""
        if self.wish == "cancel":
            raise Cancelled("Cancelled.")


def main(folder: Path, queue: Path | None = None) -> int:
    """Wait, work, say how it ended; 0 if new weights were made."""
    job = Job(folder)
    spec = job.spec()
    write_atomic(folder / "process.json", json.dumps(train_queue.me()))
    if address := os.environ.get(ADDRESS):
        from cellapp.train_cluster import watch

        return watch(job, spec, address, queue)
    line = Line(folder, spec.device)
    ticket = train_queue.Ticket(queue or train_queue.default_root(), spec.device, job.name)

    def what() -> str:
        while not ticket.mine():
            line.tell("waiting")
            line.check()
            if line.wish == "keep":
                raise Cancelled("Cancelled before the training began.")
            time.sleep(BETWEEN)
        line.tell("reading")
        from cellapp.train_work import work

        return work(job, spec, line)

    try:
        return carry_out(line, what)
    finally:
        ticket.close()


def carry_out(line: Line, what: Callable[[], str | None]) -> int:
    """Do ``what``, and say in the folder how it ended; 0 if that is well. It gives the id of new weights, or None where
    the end has been said by somebody else.
    """
    try:
        weights = what()
        if weights is not None and line.here:
            finish(line.folder, "done", weights=weights)
        return 0
    except Cancelled as error:
        return _end(line, "cancelled", str(error))
    except CellappError as error:
        return _end(line, "failed", str(error))
    except Exception as error:
        logging.basicConfig(stream=sys.stderr)
        _log.exception("the training failed")
        return _end(line, "failed", _sentence(error))
    finally:
        if not (line.folder / "job.json").exists():          # the visitor's folder was deleted meanwhile
            shutil.rmtree(line.folder, ignore_errors=True)


def _end(line: Line, phase: str, message: str) -> int:
    if line.here:
        with suppress(OSError):                              # a full disk takes no last words either
            finish(line.folder, phase, message)
    return 1


def _sentence(error: Exception) -> str:
    """What a fault of the machine means for the user."""
    text = str(error)
    if (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or "No space left" in text:
        return ("The disk of this server is full; the epochs so far are kept. Remove what you no longer need, then "
                "press “Resume”.")
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return "There is not enough memory for this training: take a smaller crop or fewer images in a step."
    return ("The training ended because of a fault of this app; what was learnt is kept. Whoever runs this server "
            "finds more in the log of the training.")


def be_polite() -> None:
    """Step back behind the pages.

    Where Linux groups processes by session, niceness counts within a group alone: the group needs its own.
    """
    if hasattr(os, "nice"):
        os.nice(POLITE)
    with suppress(OSError):                                  # another system, or a kernel without such groups
        Path("/proc/self/autogroup").write_text(str(POLITE), encoding="ascii")


if __name__ == "__main__":
    be_polite()
    sys.exit(main(Path(sys.argv[1])))
