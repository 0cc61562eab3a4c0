"""What surrounds the Gradio app: the one slot of its device, its folder, the visitor's workspace, how it is served."""

import importlib.util
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cellapp.errors import CellappError

if importlib.util.find_spec("spaces"):                       # on ZeroGPU it must come before torch
    import spaces
else:
    spaces = None

import gradio as gr

from cellapp.ui.counters import registry
from cellapp.workspace import Workspace

ZERO_GPU = os.environ.get("SPACES_ZERO_GPU") == "true"       # a GPU is lent for the time of a call
FORGOTTEN = (600, 3600)                                      # s: how often old files are looked for; from which age on
LARGEST = "200mb"                                            # of an upload, as .streamlit/config.toml has it
WAITING = 40                                                 # calls; the next one is told that the queue is full


def on_gpu(function):
    """Lend a GPU to a function on a Space with ZeroGPU; the same function everywhere else."""
    return spaces.GPU(function) if spaces else function


def slot() -> dict:
    """Of an event that counts: all of them share the one slot of the device, so that none waits for memory."""
    from cellapp.methods import pick_device

    return {"concurrency_id": pick_device().type, "concurrency_limit": 1}


def prepare() -> None:
    """Uploads lie in a folder that only this user can read, not in the /tmp/gradio of everybody."""
    folder = registry().root / "gradio"
    folder.mkdir(mode=0o700, exist_ok=True)
    os.environ.setdefault("GRADIO_TEMP_DIR", str(folder))


def served() -> dict:
    """How the app is served, whether it is launched or mounted."""
    mcp = os.environ.get("CELLAPP_MCP") == "1"
    if mcp and not importlib.util.find_spec("mcp"):
        raise CellappError("CELLAPP_MCP=1 needs the package mcp; install it with “pip install mcp==1.30.0”.")
    return {"max_file_size": LARGEST, "mcp_server": mcp, "show_error": True, "ssr_mode": False, "run_history": False,
            "footer_links": ["api"], "theme": gr.themes.Default(primary_hue="blue"), "css": _CSS}


_CSS = """.hero { font-size: 3rem; font-weight: 600; line-height: 1.2; }
.hero small { font-size: 1rem; font-weight: 400; opacity: .75; }
.answer { min-height: 5rem; }
@media (min-width: 700px) { button.beside { align-self: flex-end; margin-bottom: .75rem; } }"""


def white(figure):
    """A diagram on the white of the page, where Streamlit has a theme of its own for it."""
    return figure.update_layout(template="plotly_white")


@contextmanager
def folder() -> Iterator[Path]:
    """Where the files of an answer lie until Gradio has copied them into its own folder."""
    with tempfile.TemporaryDirectory(prefix=f"cellapp-{secrets.token_hex(4)}-") as path:
        yield Path(path)


def space_of(session: str | None) -> Workspace | None:
    """The workspace of a visit, None as long as nothing has to be kept."""
    return registry().find(session) if session else None


def begun(session: str | None) -> Workspace:
    """The workspace of a visit, a new one if there is none."""
    return space_of(session) or registry().create()


def forget(session: str | None) -> None:
    """The visitor has gone: nobody else can find what was kept for them."""
    space = space_of(session)
    if space is not None:
        space.delete_everything()
