"""Training jobs: folders that say what is to be done, how far it is and how it ended.

    job.json, images/, truth/     what is to be done: `cellapp.train_spec`
    process.json                  the process that works on it, or waits for a worker of a cluster (`train_cluster`,
                                  which keeps its name in worker.json): its id and when it began
    beat.json                     its last sign of life: phase, step, time
    stop                          what the user asked for: "cancel" or "keep"
    plan.json                     epochs and steps, where they follow from the time the training may take
    run-<batch>/                  the run of `cellapp.training`; a smaller batch, where memory was short, has its own
    result.json                   counts of the checked images before and after
    exit.json                     how it ended; a folder without it, whose process is dead, was interrupted
    log.txt                       what the process said

Each job is worked on by a fresh interpreter (`cellapp.train_worker`), which outlives the page and the server. Nothing
here imports torch; everything is told from the files, so any process may ask.
"""

import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ValidationError

from cellapp import train_queue
from cellapp.errors import TrainingError
from cellapp.files import write_atomic
from cellapp.train_spec import Given, Item, Side, Spec

Phase = Literal["queued", "running", "done", "cancelled", "failed", "interrupted"]
PROJECT = Path(__file__).resolve().parent.parent
_KILLED = -9
_NOTHING = 2**20                                             # bytes of a disk that is called full


@dataclass(frozen=True)
class State:
    """Where a job stands.

    phase : queued, running, done, cancelled, failed or interrupted (its process is gone and said nothing)
    doing : of a running one: "reading", "measuring", "training", "scoring"
    ahead : of a queued one: how many jobs work or wait before it
    step, steps : of the training, 0 before it begins
    message : how it ended, in one sentence; weights : id of the new weights
    device : of a running one, what it trains on: "cpu", "cuda", or "cpu of tcp://…" on a worker of a cluster
    """

    phase: Phase
    doing: str = ""
    ahead: int = 0
    step: int = 0
    steps: int = 0
    seconds_left: float | None = None
    message: str = ""
    weights: str = ""
    device: str = ""

    @property
    def working(self) -> bool:
        """Whether it is queued or running."""
        return self.phase in ("queued", "running")


class Job:
    """A job's folder, seen from outside."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.name = folder.name

    def spec(self) -> Spec:
        """What is to be done; `TrainingError` where the folder is damaged."""
        try:
            return Spec.model_validate_json((self.folder / "job.json").read_bytes())
        except (OSError, ValidationError) as error:
            raise TrainingError("This training's folder is gone or damaged; start it again.") from error

    def state(self, queue: Path | None = None) -> State:
        """Where it stands now."""
        ended = self._read("exit.json")
        if ended:
            return State(ended["phase"], message=ended.get("message", ""), weights=ended.get("weights", ""))
        if not train_queue.lives(self._read("process.json")):
            return self._without_process()
        beat = self._read("beat.json")
        if beat.get("doing", "waiting") == "waiting":
            queue = queue or train_queue.default_root()
            return State("queued", ahead=train_queue.place(queue, beat.get("device", "cpu"), self.name))
        return State("running", beat["doing"], 0, beat.get("step", 0), beat.get("steps", 0), beat.get("seconds_left"),
                     device=beat.get("device", "cpu"))

    def _without_process(self) -> State:
        ended = self._read("exit.json")                      # it may have ended between two looks
        if ended:
            return State(ended["phase"], message=ended.get("message", ""), weights=ended.get("weights", ""))
        kept = self.kept()
        with suppress(OSError):
            if shutil.disk_usage(self.folder).free < _NOTHING:   # then it could not say how it ended
                return State("interrupted", message="The disk of this server is full. Remove what you no longer need, "
                                                    f"then go on. {kept}")
        if self._read("killed.json").get("code") == _KILLED:
            return State("interrupted", message="The training was killed from outside, most often because the memory "
                                                f"of the machine ran out: free some, or take a smaller crop. {kept}")
        return State("interrupted", message="The training was interrupted: its process is gone, as after a restart "
                                            f"of the machine. {kept}")

    def kept(self) -> str:
        """What “Resume” would begin with, in one sentence."""
        epochs = len(self.progress())
        return "“Resume” begins again." if not epochs else (
            f"{epochs} {'epochs are' if epochs > 1 else 'epoch is'} kept, and “Resume” goes on from there.")

    def progress(self) -> list[dict]:
        """What was told after each epoch, as `cellapp.training.Progress` has it."""
        run = self.run()
        lines = []
        with suppress(OSError):
            for line in (run / "progress.jsonl").read_text(encoding="utf-8").splitlines() if run else ():
                with suppress(ValueError):                   # a line that is being written
                    lines.append(json.loads(line))
        return lines

    def run(self) -> Path | None:
        """The folder of the run, that of the smallest batch that was tried; None before it begins."""
        runs = [path for path in self.folder.glob("run-*") if path.name[4:].isdecimal()]
        return min(runs, key=lambda path: int(path.name[4:]), default=None)

    def result(self) -> dict | None:
        """Counts of the checked images: ``images``, each with name, manual, before and after; None before the end."""
        return self._read("result.json") or None

    def notes(self) -> list[str]:
        """Sentences of the process on what it did: smaller batches, scales."""
        return self._read("notes.json").get("notes", [])

    def log(self) -> str:
        """The end of what the process said."""
        with suppress(OSError):
            return (self.folder / "log.txt").read_text(encoding="utf-8", errors="replace")[-4000:]
        return ""

    def ask(self, what: Literal["cancel", "keep"]) -> None:
        """Ask the process to end before its next step: at once, or with the best epoch so far."""
        write_atomic(self.folder / "stop", what)
        if not train_queue.lives(self._read("process.json")) and not (self.folder / "exit.json").exists():
            finish(self.folder, "cancelled", "Cancelled.")

    def start(self) -> None:
        """Let a fresh process work on it, which goes on where the one before it ended."""
        if self.state().working:
            return
        for name in ("exit.json", "stop", "killed.json", "beat.json"):
            (self.folder / name).unlink(missing_ok=True)
        try:
            with open(self.folder / "log.txt", "ab") as log:
                child = subprocess.Popen(
                    [sys.executable, "-m", "cellapp.train_worker", str(self.folder)], cwd=PROJECT,
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        except OSError as error:
            raise TrainingError(f"The training cannot be started ({error.strerror}); try again later.") from error
        with suppress(Exception):                            # it may have ended already
            write_atomic(self.folder / "process.json", json.dumps(train_queue.process(child.pid)))
        threading.Thread(target=_wait, args=(child, self.folder), name="job", daemon=True).start()

    def _read(self, name: str) -> dict:
        try:
            found = json.loads((self.folder / name).read_bytes())
            return found if isinstance(found, dict) else {}
        except (OSError, ValueError):
            return {}


def _wait(child: subprocess.Popen, folder: Path) -> None:
    """Ask for the end of a child, so that it does not stay as a zombie; keep how it ended, if it could not say."""
    code = child.wait()
    if code and folder.is_dir() and not (folder / "exit.json").exists():
        with suppress(OSError):
            write_atomic(folder / "killed.json", json.dumps({"code": code}))


def finish(folder: Path, phase: Phase, message: str = "", weights: str = "") -> None:
    """Write how a job ended."""
    write_atomic(folder / "exit.json", json.dumps({"phase": phase, "message": message, "weights": weights,
                                                   "time": time.time()}))


def create(root: Path, images: Sequence[Given], sides: Sequence[Side], **about) -> Job:
    """A new job below ``root``, complete, not yet started; ``about`` are the other fields of `Spec`.

    Raises `TrainingError` where the settings do not fit together or the disk is full.
    """
    folder = root / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"
    items = tuple(Item(name=given.name, file=given.sha256, truth=f"{k}.npz", options=given.options, group=given.group,
                       side=side) for k, (given, side) in enumerate(zip(images, sides, strict=True)))
    try:
        spec = Spec(items=items, created=time.time(), **about)
    except ValidationError as error:
        first = error.errors()[0]
        raise TrainingError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}.") from error
    try:
        for name in ("images", "truth"):
            (folder / name).mkdir(parents=True)
        for given, item in zip(images, items, strict=True):
            _link(given.path, folder / "images" / given.sha256)
            truth = {name: value for name in ("points", "labels", "count", "counted")
                     if (value := getattr(given, name)) is not None}
            np.savez(folder / "truth" / item.truth, allow_pickle=False, **truth)
        write_atomic(folder / "job.json", spec.model_dump_json(indent=1))
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise TrainingError(f"The training cannot be written to the disk ({error.strerror}); remove what you no "
                            "longer need, or try again later.") from error
    return Job(folder)


def _link(source: Path, target: Path) -> None:
    """The same file under another name; a copy where the disk knows no second names."""
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def jobs(root: Path) -> list[Job]:
    """All jobs below ``root``, the latest first."""
    try:
        folders = [path for path in root.iterdir() if (path / "job.json").is_file()]
    except OSError:
        return []
    return [Job(path) for path in sorted(folders, reverse=True)]


def given_of(folder: Path, item: Item) -> Given:
    """The image of a job with its truth, as it was given; raises `TrainingError` for a damaged folder."""
    path = folder / "images" / item.file
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() != item.file:
            raise TrainingError(f"{item.name}: its file changed on the disk; start the training again.")
        with np.load(folder / "truth" / item.truth, allow_pickle=False) as truth:
            known = {name: truth[name] for name in truth.files}
    except (OSError, ValueError) as error:
        raise TrainingError(f"{item.name}: its file is gone from the disk; start the training again.") from error
    given = Given(item.name, path, item.file, item.options, group=item.group)
    return replace(given, **{name: float(value) if name == "count" else value for name, value in known.items()})
