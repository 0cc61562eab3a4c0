"""Start cellapp: ``streamlit run app.py``; with CELLAPP_GRADIO=1 the Gradio app is served at ``/gradio``, too.

``app`` is an ASGI application. The script lies in ``cellapp/ui`` and not here because Streamlit would
otherwise take the folder ``pages`` beside it for its own and show wrong names on a first deep link.
"""

import contextlib
import os
import threading
from importlib import import_module

import streamlit as st
from starlette.routing import Mount

from cellapp.ui import annotate_route, canvas, exports, visit

WARM = ("cellapp.methods", "cellapp.figures", "scipy.ndimage", "skimage.feature", "pandas", "cv2")
gradio = import_module("cellapp.ui.gradio_mount").mounted() if os.environ.get("CELLAPP_GRADIO") == "1" else None


@contextlib.asynccontextmanager
async def lifespan(_app):
    """Import what counting needs while the first visitor still reads the page; sweep out what is past its days."""
    threading.Thread(target=lambda: [*map(import_module, WARM), visit.registry()], daemon=True).start()
    # Nobody else starts what is mounted, and without that Gradio's queue waits for ever.
    async with gradio.router.lifespan_context(gradio) if gradio else contextlib.nullcontext():
        yield


app = st.App("cellapp/ui/main.py", lifespan=lifespan,
             routes=[*annotate_route.routes(), *canvas.routes(), *exports.routes(),
                     *([Mount("/gradio", app=gradio)] if gradio else [])])
