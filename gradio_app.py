"""cellapp with Gradio: ``python gradio_app.py``. Importing it launches nothing; ``demo`` is the app.

The same functions count as on the command line and on the Streamlit pages. Gradio adds an HTTP API with a Python
client, ZeroGPU on a Space, and with CELLAPP_MCP=1 tools that an assistant can call.
"""

import sys

from cellapp.ui import gradio_server  # isort: skip  # on a Space, before anything that imports torch

import gradio as gr

from cellapp.errors import CellappError
from cellapp.ui import gradio_tabs

_HEAD = """# cellapp
Count cells in microscopy images. Your files lie on this server for about an hour and are passed on to nobody."""

gradio_server.prepare()
with gr.Blocks(title="cellapp: count cells", analytics_enabled=False, delete_cache=gradio_server.FORGOTTEN) as demo:
    session = gr.State(None, delete_callback=gradio_server.forget)
    gr.Markdown(_HEAD)
    with gr.Tab("Count"):
        lists = [gradio_tabs.count(session)]
    with gr.Tab("Compare"):
        lists.append(gradio_tabs.compare(session))
    with gr.Tab("Fine-tune"):
        lists.append(gradio_tabs.fine_tune(session, lists))
    with gr.Tab("Weights") as tab:
        gradio_tabs.all_weights(session, tab, lists)
demo.queue(max_size=gradio_server.WAITING)

if __name__ == "__main__":
    try:
        demo.launch(**gradio_server.served())
    except CellappError as error:
        sys.exit(f"cellapp: {error}")
