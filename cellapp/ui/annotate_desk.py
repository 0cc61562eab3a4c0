"""The image that is dotted, and around it: which one is next, suggestions, files, what would be learnt.

Everything is one fragment: the browser tells when dots are saved, and only this part of the page is drawn again.
"""

import streamlit as st

from cellapp.annotation import Annotation, read
from cellapp.errors import CellappError
from cellapp.ui import annotate_files, annotate_suggest, annotate_target, visit
from cellapp.ui.annotate_route import dots_url
from cellapp.ui.canvas import dot_editor
from cellapp.ui.count_scale import picture_of
from cellapp.ui.desk import Desk
from cellapp.ui.text import plain
from cellapp.workspace_state import StoredFile


@st.fragment
def show(desk: Desk, diameter: float | None, narrow: bool) -> None:
    """The editor of the image shown; ``diameter`` of the cells in px, given or suggested."""
    now = Desk(desk.space, desk.space.state(), desk.row)     # a fragment is called again with what it first was given
    files = [file for file in now.files if not now.problem(file)]
    if not files:
        st.error(plain(now.problem(now.files[0])), icon=":material/error:")
        return
    file = now.shown if now.shown in files else files[0]
    _choose(now, files, file)
    try:
        kept = read(now.space, file.id)
        picture = picture_of(now, file)
    except CellappError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    info = now.info(file)
    layer = annotate_target.layer(now, file, kept, info.shape, diameter)
    step = dot_editor(picture, info.shape, key="dot editor", workspace=now.space.id, file_id=file.id,
                      url=dots_url(now.space.id, file.id), revision=kept.revision, place=files.index(file),
                      of=len(files), layer=layer, height=430 if narrow else 560, pixel_size_um=info.pixel_size_um)
    if step:
        visit.change(shown=files[files.index(file) + step].id)
        st.rerun(scope="app")
    with st.container(horizontal=True, vertical_alignment="center"):
        annotate_suggest.popover(now, file, kept, info.shape, diameter)
        annotate_files.popovers(now, files, file, kept)
        _no_cells(now, file, kept)
    annotate_suggest.progress(now)
    annotate_target.show(now, file, kept, info.shape, diameter)


def _choose(desk: Desk, files: list[StoredFile], file: StoredFile) -> None:
    """Which image, and the one that would be most useful next."""
    if len(files) == 1:
        return
    dotted = {one.id for one in files if _kept(desk, one).annotated}
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    key = f"annotated {file.id}"                             # one for each image: a browser that is a step behind
    # would send the last choice again, and with it bring that image back.
    left.selectbox(f"Image ({len(dotted):,} of {len(files):,} are dotted)", range(len(files)), key=key,
                   index=files.index(file), on_change=lambda: visit.change(shown=files[st.session_state[key]].id),
                   format_func=lambda k: f"{k + 1}. {files[k].name}")     # a browser knows options by their words
    rest = [one for one in files if one.id not in dotted and one != file]
    right.button("Next useful image", icon=":material/lightbulb:", width="stretch", key="next-useful",
                 disabled=not rest, on_click=annotate_suggest.go_to_next, args=(desk, rest),
                 help="The image without dots about which the counts made so far disagree most.")
    if (said := st.session_state.get("why this image")) and said[0] == file.id:
        st.caption(f":material/lightbulb: {plain(file.name)}: {plain(said[1])}.")
    if st.session_state.get("image before") not in (None, file.id):
        st.session_state["image before"] = file.id
        st.rerun(scope="app")                                # the controls are about the image shown
    st.session_state["image before"] = file.id


def _kept(desk: Desk, file: StoredFile) -> Annotation:
    try:
        return read(desk.space, file.id)
    except CellappError:
        return Annotation()                                  # said where the image is shown


def _no_cells(desk: Desk, file: StoredFile, kept: Annotation) -> None:
    """An image without dots teaches something only if it is known to hold no cell."""
    if kept.points:
        return
    key = f"empty {file.id}"
    st.session_state[key] = kept.empty
    st.checkbox("There are no cells in this image", key=key, width="content",
                on_change=lambda: annotate_files.put(desk, file, lambda now: now.model_copy(
                    update={"empty": st.session_state[key] and not now.points, "shape": desk.info(file).shape})))
