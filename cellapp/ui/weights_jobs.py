"""Pulling, pushing and verifying beside the page: one at a time for each workspace, in a thread of the server.

A reload or a closed tab stops nothing. A token lives in the arguments of its thread alone and goes with it.
"""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from cellapp import weights as store
from cellapp.errors import Cancelled, CellappError
from cellapp.ui.beside import Beside

Work = Callable[[Callable[[int, int], None], Callable[[], bool]], str]
MOST = 500                                                   # ended jobs that are remembered
_jobs: dict[str, "Job"] = {}
_checked: dict[tuple[str, str], str] = {}
_lock = threading.Lock()


class Job(Beside):
    """One transfer or check.

    kind : "pull", "push" or "verify"; about : the repository or the weights; row : id of the weights, "" for a pull
    done, total : bytes, 0 before they are known
    result : a sentence, "" while it works; error : why it ended without one; again : trying again may help
    """

    fault = ("It ended because of a fault of this app; nothing was changed. Whoever runs this server finds more in its "
             "log.")

    def __init__(self, kind: str, about: str, row: str, folder: Path, work: Work):
        super().__init__(kind)
        self.kind, self.about, self.row = kind, about, row
        self.done = self.total = 0
        self.result, self.again = "", False
        self._folder, self._what = folder, work

    def _work(self) -> None:
        self.result = self._what(self._tell, self._stop)

    def _cancelled(self, error: Cancelled) -> None:
        self.error = "Cancelled." + (" What has arrived is kept for the next time." if self.kind == "pull" else "")

    def _failed(self, error: CellappError) -> None:
        self.error, self.again = str(error), getattr(error, "again", False)

    def _after(self) -> None:
        if not self._here():                                 # deleted meanwhile: nothing may come back
            shutil.rmtree(self._folder, ignore_errors=True)

    def _tell(self, done: int, total: int) -> None:
        self.done, self.total = done, total

    def _stop(self) -> bool:
        return self._cancel.is_set() or not self._here()

    def _here(self) -> bool:
        """Whether the visitor has not deleted everything."""
        return (self._folder / "state.json").is_file()


def start(workspace_id: str, kind: str, about: str, folder: Path, work: Work, row: str = "") -> Job:
    """Begin, if nothing else of this workspace works; the job that works then."""
    with _lock:
        before = _jobs.get(workspace_id)
        if before is not None and before.running:
            return before
        for name in [name for name, job in _jobs.items() if not job.running][:-MOST]:
            del _jobs[name]                                  # ended long ago, and its sentence was never closed
        job = _jobs[workspace_id] = Job(kind, about, row, folder, work)
    job.start()
    return job


def of(workspace_id: str) -> Job | None:
    """The last job of this workspace."""
    return _jobs.get(workspace_id)


def forget(workspace_id: str) -> None:
    """Its sentence was read."""
    with _lock:
        if (job := _jobs.get(workspace_id)) is not None and not job.running:
            del _jobs[workspace_id]


def cancel(workspace_id: str) -> None:
    """End the job of this workspace, if there is one."""
    if (job := _jobs.get(workspace_id)) is not None:
        job.cancel()


def note(row: store.Weights, problem: str = "") -> None:
    """Remember what the known answer said of these very files on this machine; "" for right."""
    _checked[row.id, row.sha256] = problem


def noted(row: store.Weights) -> str | None:
    """What was noted since this server began; None if it was never asked."""
    return _checked.get((row.id, row.sha256))
