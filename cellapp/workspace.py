"""A visitor's work on disk: files, settings and results in one folder, named by an unguessable id.

Who knows the id (it stands in the address of the page) can come back to the work; nobody else can find it. A page
that loses its connection, its tab or its server loses nothing.

    <root>/<id>/state.json                   what was chosen: `State`
    <root>/<id>/files/<sha256>               the bytes of the visitor's files, never under the visitor's names
    <root>/<id>/results/<key>.json, .npz     a row, and its maps
    <root>/<id>/annotations/<file>.json      dots set in the browser: `annotation.Annotation`
    <root>/<id>/exports/                     zips on their way to the visitor
    <root>/<id>/trainings/, weights/         training jobs, and the weights they made
"""

import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydantic import ValidationError

from cellapp.batch import Result
from cellapp.errors import WorkspaceError
from cellapp.image import Image, read_image
from cellapp.image_files import clean
from cellapp.methods import Options
from cellapp.prediction import Prediction
from cellapp.workspace_folder import GONE, Folder
from cellapp.workspace_limits import Limits, disk_sentence
from cellapp.workspace_rows import from_json, to_json
from cellapp.workspace_state import State, StoredFile

_KEY = re.compile(r"[0-9a-f]{64}")
_log = logging.getLogger(__name__)


def result_key(file: StoredFile, weights_id: str, weights_digest: str, options: Options) -> str:
    """Names the result of this file with these weights and options, in every session."""
    text = "\n".join(("2", file.sha256, file.name, weights_id, weights_digest, options.model_dump_json()))
    return hashlib.sha256(text.encode()).hexdigest()


class Workspace(Folder):
    """One folder. Safe to share between threads: settings are the last writer's, results are never lost.

    Take it from `workspaces.Workspaces`, which gives every thread the same object for the same ``id``.
    Every method raises `WorkspaceError` where the folder is full, gone or cannot be written.
    """

    def __init__(self, folder: Path, limits: Limits):
        super().__init__(folder, limits)
        self._rows: dict[str, Result] = {}
        self._read: tuple[int, State] = (0, State())

    # settings

    def state(self) -> State:
        """The settings as they are now; a copy, so change them with `change`."""
        with self._lock:
            try:
                written = (self.folder / "state.json").stat().st_mtime_ns
                if written != self._read[0]:
                    self._read = written, State.model_validate_json((self.folder / "state.json").read_bytes())
            except FileNotFoundError:
                raise WorkspaceError(GONE) from None
            except (OSError, ValidationError) as error:
                raise WorkspaceError("The settings of this workspace are damaged on the disk of the server; drop the "
                                     "images again, a new workspace begins with them.") from error
            return self._read[1].model_copy()            # fields are set, never changed inside

    def change(self, what: Callable[[State], None] | None = None, **values) -> State:
        """Set fields of the state, or let ``what`` change it; written at once, as a whole."""
        with self._lock:
            state = self.state()
            for name, value in values.items():
                setattr(state, name, value)
            if what is not None:
                what(state)
            if state != self._read[1]:
                self._write("state.json", state.model_dump_json())
                self._read = 0, state
            return state

    # files

    def keep(self, name: str, content: bytes | BinaryIO, *, kind: str = "image", sample: bool = False) -> StoredFile:
        """Write a file (bytes, or an open file that is read to its end) to the disk; `include` puts it on the list."""
        digest, size = hashlib.sha256(), 0
        with self._lock:
            room = self.limits.room(self._present())
            handle, temporary = tempfile.mkstemp(dir=self._within("files"), suffix=".part")
            try:
                with os.fdopen(handle, "wb") as out:
                    for block in _blocks(content):
                        size += len(block)
                        if size > room:
                            raise WorkspaceError(self.limits.sentence(self.folder))
                        digest.update(block)
                        out.write(block)
                os.replace(temporary, self.folder / "files" / digest.hexdigest())
            except OSError as error:
                raise WorkspaceError(disk_sentence(error)) from error
            finally:
                Path(temporary).unlink(missing_ok=True)
            self.limits.written(self.folder, size)
        shown = clean(name.replace("\\", "/"), 200) or "file"
        return StoredFile(name=shown, sha256=digest.hexdigest(), bytes=size, kind=kind, sample=sample)

    def include(self, files: Iterable[StoredFile]) -> State:
        """Put kept files on the list, each once."""
        files = list(files)

        def append(state: State) -> None:
            listed = {file.id: file for file in (*state.files, *files)}
            if len(listed) > self.limits.files:
                raise WorkspaceError(f"A workspace takes {self.limits.files:,} files at most; remove some, or count "
                                     "the rest on a page of its own.")
            state.files = list(listed.values())

        return self.change(append)

    @property
    def weights(self) -> Path:
        """Where weights lie that were trained in this workspace: a folder with a manifest, as the installed ones."""
        return self.folder / "weights"

    @property
    def trainings(self) -> Path:
        """Where the training jobs of this workspace lie: `cellapp.train_jobs`."""
        return self.folder / "trainings"

    def path(self, file: StoredFile) -> Path:
        """Where the bytes of a file lie."""
        return self.folder / "files" / file.sha256

    def remove(self, ids: Iterable[str]) -> State:
        """Take files off, with their bytes where no other file has the same. Results stay until the folder goes."""
        gone = set(ids)

        def drop(state: State) -> None:
            dropped = [file for file in state.files if file.id in gone]
            state.files = [file for file in state.files if file.id not in gone]
            self._unlink(dropped, state)
            state.regions = {id_: regions for id_, regions in state.regions.items() if id_ not in gone}
            state.excluded = {id_: reason for id_, reason in state.excluded.items() if id_ not in gone}

        with self._lock:
            return self.change(drop)

    def discard(self, files: Iterable[StoredFile]) -> None:
        """Delete the bytes of kept files that are not on the list, such as a zip whose images are."""
        with self._lock:
            self._unlink(files, self.state())

    def _unlink(self, files: Iterable[StoredFile], state: State) -> None:
        for digest in {file.sha256 for file in files} - {file.sha256 for file in state.files}:
            (self.folder / "files" / digest).unlink(missing_ok=True)
        self.limits.forget(self.folder)

    # results

    def __contains__(self, key: str) -> bool:
        return self.find(key) is not None

    def put(self, key: str, result: Result) -> None:
        """Keep a result: its row as JSON, its maps as arrays."""
        row = json.dumps(to_json(result))                    # before anything is written
        with self._lock:
            room = self.limits.room(self._present())
            arrays = result.prediction.arrays() if result.prediction is not None else {}
            size = sum(a.nbytes for a in arrays.values()) + len(row)
            if size > room:
                raise WorkspaceError(self.limits.sentence(self.folder))
            if result.prediction is not None:
                self._save(key, arrays)
            self._write(f"results/{key}.json", row)          # last: a row on disk has its maps
            self._rows[key] = result.without_arrays()
            self.limits.written(self.folder, size)

    def find(self, key: str) -> Result | None:
        """The result without image and maps, enough for a table; None if there is none."""
        if not _KEY.fullmatch(key):
            return None
        with self._lock:
            if key not in self._rows:
                path = self.folder / "results" / f"{key}.json"
                try:
                    self._rows[key] = from_json(json.loads(path.read_bytes()))
                except FileNotFoundError:
                    return None
                except (OSError, ValueError, KeyError, TypeError):
                    _log.warning("%s: a row of another version, or a damaged one, is counted again", key)
                    return None
            return self._rows[key]

    def row(self, key: str) -> Result:
        """As `find`; `KeyError` if there is none."""
        result = self.find(key)
        if result is None:
            raise KeyError(key)
        return result

    def prediction(self, key: str) -> Prediction:
        """The prediction of a counted image, with its maps."""
        result = self.row(key)
        try:
            with np.load(self.folder / "results" / f"{key}.npz", allow_pickle=False) as arrays:
                return result.prediction.with_arrays(arrays)
        except (OSError, ValueError) as error:
            self.forget([key])
            raise WorkspaceError(f"The maps of {result.name} are gone from the disk; count it once more.") from error

    def get(self, key: str, file: StoredFile) -> Result:
        """The whole result, with the pixels of the image and the maps."""
        result = self.row(key)
        if result.prediction is None:
            return result
        return replace(result, image=self.image(file, result.options), prediction=self.prediction(key))

    def image(self, file: StoredFile, options: Options) -> Image:
        """The image of a file, read as these options say."""
        return read_image(self.path(file), file.name, pages=options.pages, z=options.z, frame=options.frame)

    def forget(self, keys: Iterable[str]) -> None:
        """Take results off, so that they are counted again."""
        with self._lock:
            for key in keys:
                self._rows.pop(key, None)
                for end in ("json", "npz"):
                    (self.folder / "results" / f"{key}.{end}").unlink(missing_ok=True)

    def delete_everything(self) -> None:
        with self._lock:
            self._rows.clear()
            super().delete_everything()

    def _save(self, key: str, arrays: dict[str, np.ndarray]) -> None:
        handle, temporary = tempfile.mkstemp(dir=self._within("results"), suffix=".part")
        try:
            with os.fdopen(handle, "wb") as out:
                np.savez(out, allow_pickle=False, **arrays)
            os.replace(temporary, self.folder / "results" / f"{key}.npz")
        except OSError as error:
            raise WorkspaceError(disk_sentence(error)) from error
        finally:
            Path(temporary).unlink(missing_ok=True)


def _blocks(content: bytes | BinaryIO) -> Iterator[bytes]:
    if isinstance(content, (bytes, bytearray, memoryview)):
        yield content
        return
    while block := content.read(1 << 20):
        yield block
