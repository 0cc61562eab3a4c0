"""The script Streamlit runs for every visitor: the pages and their names."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:                                # Streamlit adds only this file's own folder
    sys.path.insert(0, str(ROOT))

import streamlit as st  # noqa: E402

st.set_page_config(page_title="cellapp: count cells", page_icon="🔬", layout="wide")
page = st.navigation(
    [st.Page(ROOT / "pages" / "count.py", title="Count", icon=":material/pin:", default=True)],
    position="top",
)
page.run()
