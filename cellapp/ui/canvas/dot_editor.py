"""The canvas as a dot editor: the dots pass between the browser and an address of their own, not through the page.

Python says which image is shown and which revision of its dots is the newest; the browser fetches and saves them by
itself (`dot_doc.js`, `cellapp.ui.annotate_route`), so clicking never runs a page, and no lost connection loses a dot.
"""

from typing import NamedTuple

import streamlit as st

from cellapp.figure_regions import REGION_COLOURS
from cellapp.overlays import POINT_COLOUR
from cellapp.ui.canvas.component import mount

# Okabe and Ito's colours, and white; each class has a mark of its own besides (`dot_layer.js`).
CLASS_COLOURS = ("#E69F00", "#56B4E9", "#F0E442", "#CC79A7", "#009E73", "#FFFFFF", "#D55E00", "#0072B2")
_TOOLS = ("dot", "select", "box", "polygon")
_WORDS = {"box": "Area", "polygon": "Area by corners"}


class MapLayer(NamedTuple):
    """A map that can be laid over the image: its address, its highest value and their unit."""

    url: str
    top: float
    unit: str


def dot_editor(picture: str, shape: tuple[int, int], *, key: str, workspace: str, file_id: str, url: str, revision: int,
               place: int = 0, of: int = 1, layer: MapLayer | None = None, height: int = 560,
               pixel_size_um: float | None = None) -> int:
    """Show an image to be dotted.

    Parameters
    ----------
    picture : the address of the picture
    shape : (H, W) of the full image
    workspace, file_id : name the place in the browser's own memory where unsaved changes lie
    url : where the dots are fetched and saved
    revision : of the dots as Python knows them; the browser fetches those newer than its own
    place, of : which image of how many, for the keys to the previous and the next one
    layer : a map for the key Z

    Returns
    -------
    How many images to go on by, because the user asked for another one: -1, 0 or 1. Each wish is told once.
    """
    editor = {"id": file_id, "url": url, "note": f"cellapp-dots {workspace} {file_id}", "revision": revision,
              "shape": [int(side) for side in shape], "place": place, "of": of, "colours": CLASS_COLOURS,
              "map": layer and layer._asdict()}
    result = mount(key=key, default={"go": None, "kept": None}, on_go_change=_nothing, on_kept_change=_nothing, data={
        "key": key, "url": picture, "height": int(shape[0]), "width": int(shape[1]), "tools": _TOOLS, "first": "dot",
        "word": "Area", "words": _WORDS, "label": "Image on which cells are dotted", "px": int(height),
        "um": pixel_size_um, "colours": REGION_COLOURS, "lineColour": POINT_COLOUR, "rev": None, "shapes": [],
        "editor": editor})
    wish = result.go
    if not isinstance(wish, dict) or wish.get("from") != file_id or wish.get("step") not in (-1, 1):
        return 0
    if st.session_state.get(f"{key} went") == wish.get("time"):
        return 0
    st.session_state[f"{key} went"] = wish.get("time")
    return wish["step"]


def _nothing() -> None:
    """A state of a component needs a callback; the rerun it causes is all that is wanted."""
