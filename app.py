"""Start cellapp: ``streamlit run app.py``.

``app`` is an ASGI application. The script lies in ``cellapp/ui`` and not here because Streamlit would
otherwise take the folder ``pages`` beside it for its own and show wrong names on a first deep link.
"""

import contextlib
import threading
from importlib import import_module

import streamlit as st

from cellapp.ui import annotate_route, canvas, exports, visit

WARM = ("cellapp.methods", "cellapp.figures", "scipy.ndimage", "skimage.feature", "pandas", "cv2")


@contextlib.asynccontextmanager
async def lifespan(_app):
    """Import what counting needs while the first visitor still reads the page; sweep out what is past its days."""
    threading.Thread(target=lambda: [*map(import_module, WARM), visit.registry()], daemon=True).start()
    yield


app = st.App("cellapp/ui/main.py", lifespan=lifespan,
             routes=[*annotate_route.routes(), *canvas.routes(), *exports.routes()])
