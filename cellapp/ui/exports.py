"""Files on their way to the visitor, served from the workspace's own folder: a zip of a thousand images is never in
the memory.
"""

import re

import streamlit as st
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from cellapp.errors import WorkspaceError
from cellapp.ui import visit

_NAME = re.compile(r"[a-z]+_[0-9-]{10}_[0-9a-f]{8}\.zip")

# A link is clicked once; a page that is drawn again with the same link clicks nothing.
_SCRIPT = """
const fetched = new Set()
export default function ({ data }) {
  if (fetched.has(data.ticket)) return
  fetched.add(data.ticket)
  const link = document.createElement("a")
  link.href = data.url
  link.download = data.name
  document.body.appendChild(link)
  link.click()
  link.remove()
}
"""


def hand_over(workspace_id: str, name: str, ticket: str) -> None:
    """Let the browser fetch a file of ``exports/``; once for each ticket, and by a link if that fails."""
    url = f"{_base()}/exports/{workspace_id}/{name}"
    component = st.components.v2.component("cellapp_fetch", js=_SCRIPT)
    component(key="fetch", data={"url": url, "name": name, "ticket": ticket})
    st.caption(f"If the download does not start by itself: [{name}]({url})")


def _base() -> str:
    prefix = (st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{prefix}" if prefix else ""


def _serve(request: Request) -> Response:
    gone = Response("This file is gone; go back to the page and make it again.", 404)
    name = request.path_params["name"]
    try:
        space = visit.registry().find(request.path_params["workspace"])
    except WorkspaceError:
        return gone
    path = None if space is None or not _NAME.fullmatch(name) else space.folder / "exports" / name
    if path is None or not path.is_file():
        return gone
    return FileResponse(path, filename=name, media_type="application/zip",
                        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})


def routes() -> list[Route]:
    """What the application must serve beside Streamlit's own addresses: ``st.App(…, routes=routes())``."""
    return [Route(f"{_base()}/exports/{{workspace}}/{{name}}", _serve)]
