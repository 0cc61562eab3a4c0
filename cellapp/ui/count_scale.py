"""The size of one cell, drawn into the image or taken from the estimate."""

import streamlit as st

from cellapp.errors import CellappError
from cellapp.image import plane
from cellapp.ui.canvas import image_canvas, length_of, picture_png, picture_url
from cellapp.ui.desk import Desk, looks
from cellapp.ui.text import plain
from cellapp.workspace_state import StoredFile


def suggestion(desk: Desk) -> tuple[float | None, str]:
    """What the image shown suggests: the typical diameter in px, or None, and "bright", "dark" or "" cells."""
    file = desk.shown
    if desk.problem(file) or desk.asks(file):
        return None, ""
    options = desk.options(file).model_copy(update={"cell_diameter": None})
    try:
        return looks(desk.space.path(file), file.name, options, desk.row.input.polarity)
    except CellappError:
        return None, ""                                      # its row says why


def measure(desk: Desk, file: StoredFile) -> None:
    """The image with a ruler: a line across one cell becomes the diameter of all."""
    (suggested, cells), given = suggestion(desk), st.session_state.get("diameter")
    kind = f"{cells} and " if cells else ""
    if given:
        words = f"Cells are taken to be {kind}{given:.3g} px across."
    elif suggested:
        words = f"They look {kind}about {suggested:.0f} px across: without a line, each image is estimated by itself."
    else:
        words = "Their size cannot be told from this image."
    st.markdown(f"**Draw a line across one typical cell.** {words}")
    try:
        picture = picture_of(desk, file)
    except CellappError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    drawn = image_canvas(picture, desk.info(file).shape, key=f"ruler {file.id}", tools=["line"], height=430,
                         pixel_size_um=desk.info(file).pixel_size_um, label="Image with a ruler for one cell")
    length = length_of(drawn)
    if length is not None and (file.id, length) != st.session_state.get("measured") and length >= 2:
        st.session_state["measured"] = file.id, length       # a diameter typed later is not overwritten
        st.session_state["drawn diameter"] = round(length, 1)
        st.rerun()


def picture_of(desk: Desk, file: StoredFile) -> str:
    """Where the browser finds the image of a file, in the channel that is counted; for the eye alone."""
    options = desk.options(file)
    key = f"{file.sha256} {options.channel} {options.pages} {options.z} {options.frame}"
    return picture_url(key, lambda: picture_png(plane(desk.space.image(file, options), options.channel)[0]),
                       owner=desk.space.id)
