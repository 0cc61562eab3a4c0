"""All workspaces of a server: made, found again by their id, and deleted when nobody has come back."""

import logging
import os
import re
import secrets
import shutil
import stat
import threading
import time
import weakref
from pathlib import Path

from cellapp.errors import WorkspaceError
from cellapp.files import write_atomic
from cellapp.workspace import Workspace
from cellapp.workspace_limits import Limits, default_root
from cellapp.workspace_state import State

_ID = re.compile(r"[A-Za-z0-9_-]{24}")                       # what `secrets.token_urlsafe(18)` gives
_BETWEEN_SWEEPS = 3600.0                                     # s
_log = logging.getLogger(__name__)


class Workspaces:
    """The folders below ``root``, which belongs to the user the server runs as, and to nobody else."""

    def __init__(self, root: Path | None = None, limits: Limits | None = None):
        self.root = _own_folder(root or default_root())
        self.limits = limits or Limits.from_environment()
        self._lock = threading.Lock()
        self._open: weakref.WeakValueDictionary[str, Workspace] = weakref.WeakValueDictionary()
        self._swept = float("-inf")
        self.sweep()

    def create(self) -> Workspace:
        """A new, empty workspace."""
        self.sweep(if_due=True)
        folder = self.root / secrets.token_urlsafe(18)
        try:
            folder.mkdir(mode=0o700)
            write_atomic(folder / "state.json", State().model_dump_json())
        except OSError as error:
            raise WorkspaceError(f"The server cannot write to its disk ({error.strerror}); try again later.") from error
        space = Workspace(folder, self.limits)
        with self._lock:
            self._open[space.id] = space
        return space

    def find(self, name: str) -> Workspace | None:
        """The workspace of this id; None for one that is unknown or was deleted, and for what is no id at all."""
        if not isinstance(name, str) or not _ID.fullmatch(name):
            return None                                      # before it touches the disk: no "..", no "/"
        self.sweep(if_due=True)
        folder = self.root / name
        if folder.is_symlink() or not (folder / "state.json").is_file():
            return None
        with self._lock:
            space = self._open.get(name)
            if space is None:
                space = self._open[name] = Workspace(folder, self.limits)
        space.used()
        return space

    def sweep(self, *, if_due: bool = False) -> int:
        """Delete what nobody has used for the days of the limits; how many folders went."""
        now = time.time()
        with self._lock:
            if if_due and now - self._swept < _BETWEEN_SWEEPS:
                return 0
            self._swept = now
        gone = 0
        for folder in self.root.iterdir():
            if not _ID.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
                continue                                     # not ours
            if now - folder.stat().st_mtime > self.limits.days * 86400:
                try:
                    shutil.rmtree(folder)
                    gone += 1
                except OSError as error:
                    _log.warning("a workspace past its time could not be deleted: %s", error)
        return gone


def _own_folder(root: Path) -> Path:
    """Make the folder if it is not there; one that others own or could write to is refused."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = root.stat()
        if hasattr(os, "getuid"):
            if found.st_uid != os.getuid():
                raise WorkspaceError(f"{root} belongs to another user; set CELLAPP_WORKSPACES to a folder of your own.")
            if stat.S_IMODE(found.st_mode) & 0o077:
                root.chmod(0o700)
    except OSError as error:
        raise WorkspaceError(f"{root} cannot be used for the visitors' files ({error.strerror}); set "
                             "CELLAPP_WORKSPACES to a folder that can be written.") from error
    return root
