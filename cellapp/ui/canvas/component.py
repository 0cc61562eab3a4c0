"""Mounting the canvas, and keeping what Python and the browser know about its shapes in step.

The tools are small JavaScript objects in ``tools.js``; the files of this folder are one module without a build step,
in the order of `_PARTS`. A further tool is an object more there.

Python and the browser agree by a revision: shapes that Python changed get a new one and win, and what the browser
sends under an older one is dropped. Otherwise the browser's shapes are the newest.
"""

import hashlib
import math
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import streamlit as st

from cellapp.figure_regions import REGION_COLOURS
from cellapp.image_files import clean
from cellapp.overlays import POINT_COLOUR
from cellapp.regions import Region
from cellapp.ui.canvas.pictures import picture_url

_HERE = Path(__file__).parent
_PARTS = ("view.js", "shapes.js", "drawing.js", "tools.js", "input.js", "dot_doc.js", "dot_layer.js", "dot_tool.js",
          "dot_bars.js", "dot_editor.js", "canvas.js")
_TOOLS = ("line", "box", "polygon")
_MOST = 5_000                                                # shapes that are taken from a browser
_MOST_CORNERS = 20_000                                       # of one of them


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


mount = st.components.v2.component("cellapp_canvas", html=_text("canvas.html"), css=_text("canvas.css"),
                                    js="\n".join(map(_text, _PARTS)))


class Shape(NamedTuple):
    """One thing drawn: ``kind`` is "line", "box" or "polygon".

    ``points`` are (y, x) in pixels of the full image, pixel centres at whole numbers: the two ends of a line, the four
    corners of a box from the top left clockwise, the corners of a polygon. A line has no name.
    """

    kind: str
    name: str
    points: tuple[tuple[float, float], ...]


def length_of(shapes: Sequence[Shape]) -> float | None:
    """The length in px of the line among the shapes; None without one."""
    return next((math.dist(*shape.points) for shape in shapes if shape.kind == "line"), None)


def regions_of(shapes: Sequence[Shape]) -> list[Region]:
    """The boxes and polygons among the shapes as regions."""
    return [Region(shape.name, shape.kind, shape.points) for shape in shapes if shape.kind != "line"]


def shapes_of(regions: Sequence[Region]) -> list[Shape]:
    """Regions as shapes of the canvas."""
    return [Shape(region.kind, region.name, tuple(map(tuple, region.outline.tolist()))) for region in regions]


def image_canvas(picture: str | bytes, shape: tuple[int, int], *, key: str, tools: Sequence[str] = _TOOLS,
                 shapes: Sequence[Shape] = (), height: int = 520, pixel_size_um: float | None = None,
                 word: str = "Region", label: str = "Image on which to draw") -> list[Shape]:
    """Show an image to draw on; what is drawn on it now.

    Parameters
    ----------
    picture : the address of the picture (`picture_url`), or a PNG; it may be smaller than the image
    shape : (H, W) of the full image, whose pixels all coordinates are in
    key : names the canvas, and its place in ``st.session_state``
    tools : some of "line", "box", "polygon", the first one in hand at the start; selecting, moving, deleting, undo,
        zoom and pan are always there. There is at most one line: it measures
    shapes : what is drawn when the canvas first shows. Give back what was returned, or always the same; anything else
        is a change by Python and replaces what the browser has (which *Undo* brings back)
    height : CSS px, but at most 65 % of the window's
    pixel_size_um : where it is known, lengths and areas are also shown in µm
    word : the first word of the names of new shapes

    Example
    -------
    >>> url = picture_url(f"{digest} {channel}", lambda: picture_png(grey))
    >>> drawn = image_canvas(url, grey.shape, key="draw", tools=["box", "polygon"], shapes=shapes_of(regions))
    >>> regions = regions_of(drawn)
    """
    unknown = set(tools) - set(_TOOLS)
    if unknown or not tools:
        raise ValueError(f"tools are some of {', '.join(_TOOLS)}, not {', '.join(map(str, tools)) or 'none'}")
    if isinstance(picture, bytes):
        content = picture
        picture = picture_url(f"png {hashlib.sha256(content).hexdigest()}", lambda: content)
    memo = st.session_state.setdefault(f"{key} drawn", {})
    given = list(shapes)
    if "rev" not in memo or given not in (memo["given"], memo["known"]):
        memo |= {"rev": secrets.token_hex(4), "known": given, "sent": given}
    memo["given"] = given
    result = mount(key=key, default={"drawn": None}, on_drawn_change=_nothing, data={
        "key": key, "url": picture, "height": int(shape[0]), "width": int(shape[1]), "tools": ["select", *tools],
        "first": tools[0], "word": word, "label": label, "px": int(height), "um": pixel_size_um,
        "colours": REGION_COLOURS, "lineColour": POINT_COLOUR, "rev": memo["rev"],
        "shapes": [{"kind": s.kind, "name": s.name, "points": s.points} for s in memo["sent"]]})
    drawn = result.drawn
    if isinstance(drawn, dict) and drawn.get("rev") == memo["rev"]:
        memo["known"] = _read(drawn.get("shapes"))
    return list(memo["known"])


def _nothing() -> None:
    """A state of a component needs a callback; the rerun it causes is all that is wanted."""


def _read(rows) -> list[Shape]:
    """The shapes a browser sent, which may send anything; what is no shape is left out."""
    found = []
    for row in rows[:_MOST] if isinstance(rows, list) else ():
        try:
            points = tuple((float(y), float(x)) for y, x in row["points"][:_MOST_CORNERS])
            kind, name = row["kind"], clean(str(row["name"]), 60)
        except (TypeError, ValueError, KeyError):
            continue
        least = {"line": 2, "box": 4, "polygon": 3}.get(kind)
        exact = kind != "polygon"
        if least and (len(points) == least or (not exact and len(points) > least)) and all(
                math.isfinite(v) for point in points for v in point):
            found.append(Shape(kind, name, points))
    return found
