"""Counting beside the page: one job for each workspace, in a thread of the server.

The page stays usable while it counts, and a tab that is reloaded or closed stops nothing. The thread calls no
Streamlit; the page looks at it (`running`, `done`, `error`) whenever it is drawn.
"""

import threading
from dataclasses import dataclass

from cellapp.batch import Result, count_one
from cellapp.methods import Options
from cellapp.ui.beside import Beside
from cellapp.ui.counters import load_counter
from cellapp.weights import Weights
from cellapp.workspace import Workspace
from cellapp.workspace_state import StoredFile

_jobs: dict[str, "Job"] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class Piece:
    """One image to count, and the key of its result."""

    file: StoredFile
    key: str
    options: Options


class Job(Beside):
    """Counts pieces one after the other into their workspace.

    done, total : pieces; part : tiles done of the piece in work, and all of them
    error : why the whole job ended, of the weights or the workspace; what a single image lacks is a row of its own
    """

    fault = ("Counting ended because of a fault of this app; what is counted is kept. Press “Count” to go on, and tell "
             "whoever runs this server: its log says more.")

    def __init__(self, space: Workspace, row: Weights, pieces: list[Piece]):
        super().__init__("count")
        self.total, self.done, self.part = len(pieces), 0, (0, 1)
        self.name = pieces[0].file.name if pieces else ""
        self.keys = {piece.key for piece in pieces}
        self._space, self._row, self._pieces = space, row, pieces

    def _work(self) -> None:
        counter = load_counter(self._row, self._space)
        for piece in self._pieces:
            self.name, self.part = piece.file.name, (0, 1)
            if piece.key not in self._space:
                self._space.put(piece.key, self._count(piece, counter))
            self.done += 1
            self._check()

    def _count(self, piece: Piece, counter) -> Result:
        return count_one(self._space.path(piece.file), counter, piece.options, name=piece.file.name,
                         progress=self._progress)

    def _progress(self, done: int, tiles: int) -> None:
        self.part = done, tiles
        self._check()


def start(space: Workspace, row: Weights, pieces: list[Piece], patience: float = 0.0) -> Job:
    """Count these pieces, in the place of what this workspace counts now; wait for some seconds until it is done."""
    job = Job(space, row, pieces)
    with _lock:
        before = _jobs.get(space.id)
        if before is not None:
            before.cancel()
        for name in [name for name, other in _jobs.items() if not other.running]:
            del _jobs[name]
        _jobs[space.id] = job
    job.start()
    job.wait(patience)
    return job


def of(workspace_id: str) -> Job | None:
    """The job of this workspace that works, or the last one if it ended with an error."""
    return _jobs.get(workspace_id)


def cancel(workspace_id: str) -> None:
    """End the job of this workspace, if there is one."""
    job = _jobs.get(workspace_id)
    if job is not None:
        job.cancel()
