"""Dots from files and to files, on the page; and how the page itself changes dots."""

from collections.abc import Callable

import streamlit as st

from cellapp.annotation import Annotation, annotations, change
from cellapp.annotation_files import WRITABLE, as_file, as_zip, take
from cellapp.dots import FORMATS
from cellapp.errors import CellappError
from cellapp.ui import visit
from cellapp.ui.desk import Desk
from cellapp.workspace_state import StoredFile

_ADD, _REPLACE = "add to them", "replace them"
_MOST = 8                                                    # sentences about what was left out


def put(desk: Desk, file: StoredFile, what: Callable[[Annotation], Annotation]) -> None:
    """Change the dots of an image from a callback; the browser fetches them, and can undo it."""
    try:
        change(desk.space, file.id, what)
    except CellappError as error:
        visit.say(str(error))


def popovers(desk: Desk, files: list[StoredFile], file: StoredFile, kept: Annotation) -> None:
    """“Import” and “Export”."""
    with st.popover("Import", icon=":material/upload:", key="import-dots", width="content"):
        _import(desk, files, file)
    with st.popover("Export", icon=":material/download:", key="export-dots", width="content"):
        _export(desk, file, kept)


def _import(desk: Desk, files: list[StoredFile], file: StoredFile) -> None:
    how = st.radio("Dots that images have already", [_ADD, _REPLACE], key="import-how", horizontal=True)
    dropped = st.file_uploader(
        "Files of dots", accept_multiple_files=True, key=f"import {st.session_state.get('imports', 0)}",
        help="Fiji (Cell Counter, ROIs, Results), napari, QuPath, Label Studio, Labelme, CVAT, COCO, VIA, MATLAB, dot "
             "or label masks, CSV with x and y. They are matched with the images by name; one file alone may have any.")
    came = [(one.name, desk.space.path(one).read_bytes()) for one in desk.state.dots]
    if came and st.button(f"Take over the {len(came):,} that came with the images" if len(came) > 1
                          else "Take over the file that came with the images", key="import-came", width="stretch"):
        _take(desk, files, file, came, how == _ADD)
    if dropped:
        # Before the page is drawn anew, which ends this run: the same files would be taken in again and again.
        st.session_state["imports"] = st.session_state.get("imports", 0) + 1
        _take(desk, files, file, [(one.name, one.getvalue()) for one in dropped], how == _ADD)


def _take(desk: Desk, files: list[StoredFile], file: StoredFile, given: list[tuple[str, bytes]], add: bool) -> None:
    try:
        shapes = {one.id: desk.info(one).shape for one in files}
        done, notes = take(desk.space, files, shapes, given, file, add=add)
        words = [f"{done:,} {'image has' if done == 1 else 'images have'} got dots.", *notes[:_MOST]]
        if len(notes) > _MOST:
            words.append(f"… and {len(notes) - _MOST:,} more.")
    except CellappError as error:
        words = [str(error)]
    visit.say(" ".join(words))
    st.rerun(scope="app")


def _export(desk: Desk, file: StoredFile, kept: Annotation) -> None:
    form = st.selectbox("Format", WRITABLE, key="export-format", format_func=lambda name: FORMATS[name].title,
                        index=WRITABLE.index("csv"))
    dotted = [(one, own) for one, own in _annotated(desk) if own.shape is not None]
    if kept.shape is not None and kept.annotated:
        name, _ = as_file(Annotation(shape=kept.shape), file.name, form)
        st.download_button("This image", lambda: as_file(kept, file.name, form)[1], name, key="export-one",
                           on_click="ignore", width="stretch", icon=":material/download:")
    if dotted:
        st.download_button(f"All {len(dotted):,} dotted images (zip)" if len(dotted) > 1 else "As a zip",
                           lambda: as_zip(dotted, form), f"dots_{form}.zip", "application/zip", key="export-all",
                           on_click="ignore", width="stretch", icon=":material/folder_zip:")
    else:
        st.caption("There are no dots yet.")


def _annotated(desk: Desk) -> list[tuple[StoredFile, Annotation]]:
    try:
        return annotations(desk.space)
    except CellappError:
        return []                                            # said where that image is shown
