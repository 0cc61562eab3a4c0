"""The Gradio app as a part of another server: beside the Streamlit pages in one process."""

import gradio as gr
from fastapi import FastAPI

from cellapp.ui.gradio_server import served
from gradio_app import demo


def mounted() -> FastAPI:
    """An ASGI application whose lifespan must be entered, or its queue never starts."""
    return gr.mount_gradio_app(FastAPI(), demo, path="/", **served())
