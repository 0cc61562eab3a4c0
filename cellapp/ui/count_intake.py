"""Dropped files on their way to the workspace: zips are taken apart, images told from what came along."""

import hashlib
from contextlib import suppress
from pathlib import Path

from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx

from cellapp.errors import CellappError, WorkspaceError
from cellapp.inputs import Found, gather
from cellapp.manual import match
from cellapp.ui import visit
from cellapp.workspace import Workspace
from cellapp.workspace_state import StoredFile

# What may hold dots; it is kept, and matched with the images by name.
DOT_SUFFIXES = {".csv", ".tsv", ".txt", ".json", ".geojson", ".xml", ".roi", ".zip", ".mat"}


def take(dropped) -> None:
    """Write what was dropped to the workspace and out of the memory. That it does not fit in is told."""
    space, raw, files = None, [], []
    try:
        space = visit.begin()
        visit.go_on()
        for upload in dropped:
            raw.append(space.keep(upload.name, upload))
            _free(upload)
        found = gather([(file.name, space.path(file)) for file in raw])
        _images(space, found, files)
        dots, aside = _dots(space, raw, found, [file.name for file in files])
        files += dots
        space.change(lambda state: setattr(state, "aside", [*state.aside, *aside]))
    except CellappError as error:
        visit.say(str(error))
    finally:
        for upload in dropped:
            _free(upload)
        if space is not None:
            try:
                space.include(files)
            except WorkspaceError as error:
                visit.say(str(error))
            with suppress(WorkspaceError):
                space.discard([*raw, *files])                # but for what is on the list now


def _images(space: Workspace, found: Found, files: list[StoredFile]) -> None:
    """Keep the images one by one in ``files``; one that cannot be given out becomes a row with its sentence."""
    for one in found.inputs:
        try:
            files.append(space.keep(one.name, one.read()))
        except WorkspaceError:
            raise                                            # full: so it is for all that follow
        except CellappError as error:
            files.append(_without_bytes(one.name, str(error)))


def _dots(space: Workspace, raw: list[StoredFile], found: Found, images: list[str]
          ) -> tuple[list[StoredFile], list[tuple[str, str]]]:
    """The dropped files that are no images and hold dots or counts, and what is set aside, with the reason."""
    dots, names = [], set()
    aside = {one.path: one.reason for one in found.aside}
    for file in raw:
        if Path(file.name).suffix.lower() not in DOT_SUFFIXES or any(
                one.path == file.name or one.path.startswith(f"{file.name}/") for one in found.inputs):
            continue
        if not match(images, [(file.name, space.path(file).read_bytes())]).unread:
            dots.append(file.model_copy(update={"kind": "dots"}))
            names.add(file.name)
        elif file.name in aside:
            aside[file.name] += ", and no dots in it"
    return dots, [(path, reason) for path, reason in aside.items() if path.split("/")[0] not in names]


def _without_bytes(name: str, sentence: str) -> StoredFile:
    return StoredFile(name=name, sha256=hashlib.sha256(sentence.encode()).hexdigest(), bytes=0, error=sentence)


def _free(upload) -> None:
    """Take an uploaded file out of Streamlit's memory, where it would stay as long as the tab is open."""
    context = get_script_run_ctx()
    upload.close()
    if context is not None and isinstance(context.uploaded_file_mgr, MemoryUploadedFileManager):
        context.uploaded_file_mgr.remove_file(session_id=context.session_id, file_id=upload.file_id)
