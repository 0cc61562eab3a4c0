"""Where the browser fetches the dots of an image and saves them, beside Streamlit: no page runs for it.

Who knows the workspace's id may do both, as everywhere. A save says which revision it was made from; where that is no
longer the newest one, the newest dots come back (409) and the browser lays its changes over them.
"""

import re

import streamlit as st
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from cellapp.errors import AnnotationError, CellappError, StaleAnnotation
from cellapp.ui import visit

MAX_BYTES = 12_000_000                                       # about 500,000 dots, more than are taken
_FILE = re.compile(r"[0-9a-f]{24}")
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def dots_url(workspace_id: str, file_id: str) -> str:
    """The address of the dots of a file."""
    return f"{_base()}/dots/{workspace_id}/{file_id}"


def _base() -> str:
    prefix = (st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{prefix}" if prefix else ""


async def _serve(request: Request) -> Response:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BYTES:
            return _words("These are more dots than are kept of one image.", 413)
    file_id, space_id = request.path_params["file"], request.path_params["workspace"]
    if not _FILE.fullmatch(file_id):
        return _words("There is no such image.", 404)
    return await run_in_threadpool(_answer, request.method, space_id, file_id, bytes(body))


def _answer(method: str, space_id: str, file_id: str, body: bytes) -> Response:
    from cellapp.annotation import Annotation, read, save, sentence

    try:
        space = visit.registry().find(space_id)
        if space is None:
            return _words("This workspace has been deleted; reload the page to begin a new one.", 410)
        if method in ("GET", "HEAD"):
            return _json(read(space, file_id))
        return _json(save(space, file_id, Annotation.model_validate_json(body)))
    except ValidationError as error:
        return _words(sentence(error), 422)
    except StaleAnnotation as error:
        return _json(error.kept, 409)
    except AnnotationError as error:
        return _words(str(error), 422)
    except CellappError as error:                            # full or gone; there may be room again
        return _words(str(error), 507)


def _json(kept, status: int = 200) -> Response:
    return Response(kept.model_dump_json(), status, _HEADERS, "application/json")


def _words(words: str, status: int) -> Response:
    return PlainTextResponse(words, status, _HEADERS)


def routes() -> list[Route]:
    """What the application must serve beside Streamlit's own addresses: ``st.App(…, routes=routes())``."""
    return [Route(f"{_base()}/dots/{{workspace}}/{{file}}", _serve, methods=["GET", "POST"])]
