"""One visitor's results: rows in memory, maps on disk until the session ends.

A density map of 4096x4096 px takes 64 MB; thirty visitors with ten of them each would fill the memory.
"""

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import streamlit as st

from cellapp.batch import Result
from cellapp.image import read_image
from cellapp.prediction import Prediction


class Shelf:
    """Results by key; `put` strips the arrays off and keeps them as .npz files, `get` puts them back."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="cellapp-")   # removed with this object
        self._results: dict[str, Result] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._results

    def put(self, key: str, result: Result) -> None:
        if result.prediction is not None:
            np.savez(self._path(key), **result.prediction.arrays())
        self._results[key] = result.without_arrays()

    def row(self, key: str) -> Result:
        """The result without image and maps: enough for a table."""
        return self._results[key]

    def prediction(self, key: str) -> Prediction:
        """The prediction of a counted image, with its maps."""
        with np.load(self._path(key), allow_pickle=False) as arrays:
            return self._results[key].prediction.with_arrays(arrays)

    def get(self, key: str, content: bytes) -> Result:
        """The whole result; ``content`` is the image file it came from."""
        result = self._results[key]
        if result.prediction is None:
            return result
        return replace(result, image=read_image(content, result.name), prediction=self.prediction(key))

    def forget(self, keys: Iterable[str]) -> None:
        """Take results off, so that they are counted again."""
        for key in keys:
            del self._results[key]
            self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return Path(self._folder.name) / f"{key}.npz"


def shelf() -> Shelf:
    """This session's shelf."""
    if "shelf" not in st.session_state:
        st.session_state["shelf"] = Shelf()
    return st.session_state["shelf"]
