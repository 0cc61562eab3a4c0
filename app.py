"""Start cellapp: ``streamlit run app.py``.

``app`` is an ASGI application. The script lies in ``cellapp/ui`` and not here because Streamlit would
otherwise take the folder ``pages`` beside it for its own and show wrong names on a first deep link.
"""

import contextlib
import threading
from importlib import import_module

import streamlit as st


@contextlib.asynccontextmanager
async def lifespan(_app):
    """Import torch while the first visitor still reads the page."""
    threading.Thread(target=import_module, args=("cellapp.methods",), daemon=True).start()
    yield


app = st.App("cellapp/ui/main.py", lifespan=lifespan)
