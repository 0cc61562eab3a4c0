"""The controls of the Benchmark page: which images. Sets are offered from the folder ``CELLAPP_BENCHMARK_DATA``."""

import os
from pathlib import Path

import streamlit as st

from cellapp.ui import visit

TITLE = "Which weights count best?"
WORDS = ("Drop images and what you counted in them by hand: **dots** in the format of your tool or set on the page "
         "Annotate, or a **table** with the columns image and count. All chosen weights count all of them: **one "
         "table** of their errors, how often their **intervals** hold the truth and how long they take, with the "
         "**scatter** and the **maps of any image**.")
_FOLDERS = {"vgg": "VGG cells, images 101–200", "crc": "CRC nuclei", "mbm": "bone marrow (MBM)",
            "adi": "adipose tissue (ADI)"}


def offered() -> dict[str, Path]:
    """The labelled sets on this server by their name in `benchmark_protocols.SETS`; at first there are none."""
    root = os.environ.get("CELLAPP_BENCHMARK_DATA")
    return {name: Path(root) / name for name in _FOLDERS if root and (Path(root) / name).is_dir()}


def source(sets: dict[str, Path]) -> str | None:
    """The set to measure on; None for the visitor's own images."""
    if st.session_state.get("benchmark-set") not in (None, *sets):
        st.session_state.pop("benchmark-set", None)          # kept by a server that had other sets
    if not sets:
        return None
    return st.selectbox("Images", [None, *sets], key="benchmark-set", persist_state="session", on_change=_keep,
                        format_func=lambda name: "My images and counts" if name is None else _FOLDERS[name])


def _keep() -> None:
    if visit.space() is not None:
        visit.change(benchmark_set=st.session_state["benchmark-set"])
