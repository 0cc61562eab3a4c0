"""The script Streamlit runs for every visitor: the pages and their names."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:                                # Streamlit adds only this file's own folder
    sys.path.insert(0, str(ROOT))

import streamlit as st  # noqa: E402

from cellapp.ui import visit  # noqa: E402

_STYLE = """<style>
[data-testid="stMainBlockContainer"] { padding: 3.5rem 2.5rem 3rem; }
.st-key-hero [data-testid="stMetricValue"] { font-size: 3rem; font-weight: 600; }
@media (max-width: 700px) { [data-testid="stMainBlockContainer"] { padding-left: 1rem; padding-right: 1rem; } }
</style>"""

st.set_page_config(page_title="cellapp: count cells", page_icon="🔬", layout="wide")
page = st.navigation(
    [st.Page(ROOT / "pages" / "count.py", title="Count", icon=":material/pin:", default=True),
     st.Page(ROOT / "pages" / "compare.py", title="Compare", icon=":material/compare:"),
     st.Page(ROOT / "pages" / "annotate.py", title="Annotate", icon=":material/ads_click:"),
     st.Page(ROOT / "pages" / "fine_tune.py", title="Fine-tune", icon=":material/model_training:"),
     st.Page(ROOT / "pages" / "agreement.py", title="Agreement", icon=":material/scatter_plot:"),
     st.Page(ROOT / "pages" / "benchmark.py", title="Benchmark", icon=":material/leaderboard:"),
     st.Page(ROOT / "pages" / "weights.py", title="Weights", icon=":material/inventory_2:")],
    position="top",
)
st.html(_STYLE)
visit.enter()
page.run()
