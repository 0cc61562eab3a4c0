"""How much the visitors' folders may take, and for how long they are kept. Read once from the environment.

    CELLAPP_WORKSPACES      the folder below which they lie
    CELLAPP_KEEP_DAYS       days after the last visit, 7 by default
    CELLAPP_WORKSPACE_GB    of one visitor, 4 by default
    CELLAPP_ALL_GB          of all visitors together, 20 by default
"""

import errno
import os
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from cellapp.errors import WorkspaceError

GB = 10**9
FREE = GB // 2                                               # of the disk, left to everybody else
FRESH = 20.0                                                 # s for which a measured size is good


@dataclass(frozen=True)
class Limits:
    """Bytes of one folder and of all, days after the last use, files in a folder."""

    own: int = 4 * GB
    total: int = 20 * GB
    days: float = 7.0
    files: int = 5000
    _sizes: dict[Path, tuple[float, int]] = field(default_factory=dict, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @classmethod
    def from_environment(cls) -> "Limits":
        """The defaults, or what the environment says; `WorkspaceError` where that is no number."""
        return cls(own=int(_number("CELLAPP_WORKSPACE_GB", 4) * GB), total=int(_number("CELLAPP_ALL_GB", 20) * GB),
                   days=_number("CELLAPP_KEEP_DAYS", 7))

    def room(self, folder: Path) -> int:
        """Bytes that may still be written into this folder; zero or less where it is full."""
        return min(self.own - self._size(folder), self._room_of_all(folder))

    def written(self, folder: Path, size: int) -> None:
        """Count what was written since the sizes were measured."""
        with self._lock:
            for path in (folder, folder.parent):
                if path in self._sizes:
                    when, before = self._sizes[path]
                    self._sizes[path] = when, before + size

    def forget(self, folder: Path) -> None:
        """Something was deleted: measure anew."""
        with self._lock:
            self._sizes.pop(folder, None)
            self._sizes.pop(folder.parent, None)

    def sentence(self, folder: Path) -> str:
        """Why nothing more can be kept, and what to do."""
        if self.own - self._size(folder) <= self._room_of_all(folder):
            return (f"This workspace is full ({self.own / GB:g} GB); download what you need, then remove images or "
                    "press “Delete everything”.")
        return ("This server has no room left for more files; remove images you no longer need, or try again "
                "tomorrow.")

    def _room_of_all(self, folder: Path) -> int:
        return min(self.total - self._size(folder.parent), shutil.disk_usage(folder).free - FREE)

    def _size(self, folder: Path) -> int:
        now = time.monotonic()
        with self._lock:
            when, size = self._sizes.get(folder, (-FRESH, 0))
        if now - when >= FRESH:
            size = _size_on_disk(folder)
            with self._lock:
                self._sizes[folder] = now, size
        return size


def disk_sentence(error: OSError) -> str:
    """What a visitor is told when writing fails."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk of this server is full; remove images you no longer need, or try again later."
    return f"The server cannot write to its disk ({error.strerror}); nothing was lost, try again."


def default_root() -> Path:
    """``CELLAPP_WORKSPACES``, or a folder in the user's cache."""
    if given := os.environ.get("CELLAPP_WORKSPACES"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cellapp" / "workspaces"


def _size_on_disk(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):                  # follows no links
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except OSError:
                continue                                     # deleted meanwhile
    return total


def _number(name: str, default: float) -> float:
    text = os.environ.get(name, "").strip()
    try:
        value = float(text) if text else float(default)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e6:
        raise WorkspaceError(f"{name}={text} is not a number above zero; set it to one, such as {default:g}.")
    return value
