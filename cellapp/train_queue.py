"""One training at a time on each device, first come, first served, over all processes of this user's machine.

    <root>/<device>/<time>-<name>.json       a ticket: who waits or trains; dead processes' tickets count for nothing
    <root>/<device>/lock                     held by the one that trains; the system frees it when its process ends
"""

import json
import os
import time
from contextlib import suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from cellapp import workspace_limits
from cellapp.files import write_atomic

SAME_START = 2.0                                             # s; clocks are set right now and then


def me() -> dict:
    """What tells this process from every other one, before and after it: its id and when it began."""
    return process(os.getpid())


def process(pid: int) -> dict:
    """The same of another process, which is there."""
    return {"pid": pid, "started": psutil.Process(pid).create_time()}


def lives(who: dict) -> bool:
    """Whether that very process still works (a dead one that nobody has asked for yet does not)."""
    try:
        found = psutil.Process(int(who["pid"]))
        return (abs(found.create_time() - float(who["started"])) < SAME_START
                and found.status() != psutil.STATUS_ZOMBIE)
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def default_root() -> Path:
    """Beside the visitors' folders, so that all servers of one user share it."""
    return workspace_limits.default_root() / "queue"


class Ticket:
    """A place in the queue of a device."""

    def __init__(self, root: Path, device: str, name: str):
        self._folder = root / device.replace(":", "-")
        self._path = self._folder / f"{time.time_ns():020d}-{name}.json"
        write_atomic(self._path, json.dumps(me()))
        self._lock = FileLock(self._folder / "lock")

    def mine(self) -> bool:
        """Whether it is this process's turn; from then on the device is its own until `close`."""
        if self.ahead:
            return False
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    @property
    def ahead(self) -> int:
        """How many living tickets are older."""
        return ahead_of(self._folder, self._path.name)

    def close(self) -> None:
        """Leave the queue."""
        self._path.unlink(missing_ok=True)
        self._lock.release()


def place(root: Path, device: str, name: str) -> int:
    """How many living tickets are ahead of the job of this name; 0 where it has none of its own yet."""
    folder = root / device.replace(":", "-")
    own = sorted(path.name for path in folder.glob(f"*-{name}.json"))
    return ahead_of(folder, own[-1]) if own else 0


def ahead_of(folder: Path, ticket: str) -> int:
    """How many living tickets are older; those of dead processes are swept away."""
    ahead = 0
    for path in sorted(folder.glob("*.json")):
        if path.name >= ticket:
            break
        with suppress(OSError, ValueError):
            if lives(json.loads(path.read_bytes())):
                ahead += 1
            else:
                path.unlink(missing_ok=True)
    return ahead
