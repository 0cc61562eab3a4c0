"""Pictures for the canvas, by URL: a data URL would be sent again with every click.

They lie in a temporary folder that is bounded and goes with the process. Their names are keyed hashes with a secret of
this process, so nobody can guess the picture of another visitor.
"""

import hashlib
import hmac
import os
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import streamlit as st
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from cellapp.files import write_atomic
from cellapp.image import preview
from cellapp.overlays import png

MAX_SIDE = 4096                                              # px of a picture; coordinates are those of the full image
MAX_BYTES = 512 * 1024**2                                    # of all pictures together; the oldest go first
MAX_AGE = 24 * 3600.0                                        # s since a picture was last asked for

_FOLDER = tempfile.TemporaryDirectory(prefix="cellapp-pictures-")
_SECRET = secrets.token_bytes(32)
_LOCK = threading.Lock()
_NAME = re.compile(r"[0-9a-f]{32}")
_OF: dict[str, set[str]] = {}                                # the names of an owner's pictures


def picture_png(grey: np.ndarray) -> bytes:
    """An 8-bit PNG of an (H, W) plane with its contrast stretched for the eye, at most `MAX_SIDE` px a side."""
    return png(preview(grey, max_side=MAX_SIDE))


def picture_url(key: str, make: Callable[[], bytes], owner: str = "") -> str:
    """Where the browser finds a picture.

    Parameters
    ----------
    key : says what is shown: whoever gives an equal key gets the same picture, so name the file's content by its
        hash, and the channel
    make : gives the PNG; called only if there is no picture of this key yet, so it may take its time
    owner : whose picture it is, for `delete_pictures`; other owners get pictures of their own
    """
    name = hmac.new(_SECRET, f"{owner}\n{key}".encode(), hashlib.sha256).hexdigest()[:32]
    with _LOCK:
        _OF.setdefault(owner, set()).add(name)
    path = Path(_FOLDER.name) / f"{name}.png"
    if not path.exists():
        write_atomic(path, make())
        _make_room(path)
    os.utime(path)                                           # used now, so it goes last
    return f"{_base()}/pictures/{name}.png"


def _make_room(newest: Path) -> None:
    with _LOCK:
        files = sorted(((p.stat().st_mtime, p) for p in Path(_FOLDER.name).glob("*.png")), reverse=True)
        total = 0
        for used, path in files:
            total += path.stat().st_size
            if path != newest and (total > MAX_BYTES or time.time() - used > MAX_AGE):
                path.unlink(missing_ok=True)


def delete_pictures(owner: str) -> None:
    """Delete all pictures of an owner at once."""
    with _LOCK:
        for name in _OF.pop(owner, ()):
            (Path(_FOLDER.name) / f"{name}.png").unlink(missing_ok=True)


def _base() -> str:
    prefix = (st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{prefix}" if prefix else ""


def _serve(request: Request) -> Response:
    name = request.path_params["name"]
    path = Path(_FOLDER.name) / f"{name}.png"
    if not _NAME.fullmatch(name) or not path.is_file():
        return Response("There is no such picture any more; reload the page.", 404)
    return FileResponse(path, media_type="image/png", headers={
        "Cache-Control": "private, max-age=86400, immutable", "X-Content-Type-Options": "nosniff"})


def routes() -> list[Route]:
    """What the application must serve beside Streamlit's own addresses: ``st.App(…, routes=routes())``."""
    return [Route(f"{_base()}/pictures/{{name}}.png", _serve)]
