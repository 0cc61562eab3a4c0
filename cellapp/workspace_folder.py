"""A visitor's folder on the disk: written within its limits and as a whole, or not at all, until it is deleted."""

import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cellapp.errors import WorkspaceError
from cellapp.files import write_atomic
from cellapp.workspace_limits import Limits, disk_sentence

GONE = "This workspace has been deleted; reload the page to begin a new one."


class Folder:
    """The folder, whatever lies in it. Safe to share between threads.

    Every method raises `WorkspaceError` where the folder is full, gone or cannot be written.
    """

    def __init__(self, folder: Path, limits: Limits):
        self.folder = folder
        self.limits = limits
        self.id = folder.name
        self._lock = threading.RLock()

    def rewrite(self, name: str, what: Callable[[bytes | None], str]) -> None:
        """Let ``what`` make a new text of a small file (None: there is none yet), with nobody writing in between."""
        with self._lock:
            path = self._present() / name
            try:
                before = path.read_bytes()
            except FileNotFoundError:
                before = None
            except OSError as error:
                raise WorkspaceError(disk_sentence(error)) from error
            text = what(before)
            if len(text) - len(before or b"") > self.limits.room(self.folder):
                raise WorkspaceError(self.limits.sentence(self.folder))
            self._write(name, text)
            self.limits.written(self.folder, len(text) - len(before or b""))

    def export_path(self, name: str) -> Path:
        """Where a file for the visitor is written; the exports before it are deleted."""
        with self._lock:
            if self.limits.room(self._present()) <= 0:
                raise WorkspaceError(self.limits.sentence(self.folder))
            folder = self._within("exports")
            for old in folder.iterdir():
                if old.name != name:
                    old.unlink(missing_ok=True)
            return folder / name

    def delete_everything(self) -> None:
        """Files, settings, results and the folder itself; nobody writes here afterwards."""
        with self._lock:
            try:
                shutil.rmtree(self.folder)
            except OSError as error:
                if not self.folder.exists():                 # another tab was faster
                    return
                raise WorkspaceError(f"Not everything could be deleted ({error.strerror}); try again.") from error
            finally:
                self.limits.forget(self.folder)

    def used(self) -> None:
        """Note that somebody is here, which puts off the end of the retention."""
        with suppress(OSError):
            os.utime(self.folder)

    def _present(self) -> Path:
        if not self.folder.is_dir():
            raise WorkspaceError(GONE)
        return self.folder

    def _within(self, name: str) -> Path:
        folder = self._present() / name
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def _write(self, name: str, text: str) -> None:
        self._present()                                      # `write_atomic` would make the folder anew
        try:
            write_atomic(self.folder / name, text)
        except OSError as error:
            raise WorkspaceError(disk_sentence(error)) from error
