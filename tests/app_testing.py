"""Pages without a browser: a plugin (``pytest_plugins``) of the tests that run them in Streamlit's `AppTest`."""

from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def own_server(tmp_path, monkeypatch):
    """Workspaces of this test alone; all is counted before a page is drawn."""
    from cellapp.ui import count_run, visit

    monkeypatch.setenv("CELLAPP_WORKSPACES", str(tmp_path / "workspaces"))
    monkeypatch.setattr(count_run, "PATIENCE", 100)
    visit.registry.cache_clear()
    yield
    visit.registry.cache_clear()


@pytest.fixture
def seen(tiny_weights, monkeypatch) -> dict:
    """The places of the cells in each image, by its name: what the network finds; or an error."""
    from cellapp.methods import Counter
    from cellapp.prediction import Prediction

    there = {}

    def predict(counter, image, options=None, *, progress=None):
        found = there[image.name]
        if isinstance(found, Exception):
            raise found
        density = np.zeros(image.shape, np.float32)
        np.add.at(density, tuple(np.floor(found + 0.5).astype(int).T), 1)
        return Prediction.from_density(density, found, cell_diameter=6.0, method=counter.method.name,
                                       weights=counter.weights.id)

    monkeypatch.setattr(Counter, "predict", predict)
    return there


def start(page: str, workspace: str | None = None) -> AppTest:
    """A visitor on a page, of this workspace if its id is given; the Count page, which comes first, has counted it."""
    app = AppTest.from_file(str(ROOT / "cellapp" / "ui" / "main.py"), default_timeout=120)
    if workspace:
        app.query_params["w"] = workspace
    app = app.run().switch_page(str(ROOT / "pages" / f"{page}.py")).run()
    assert not app.exception
    return app


def drop(app: AppTest, place: int, *files: tuple[str, bytes, str]) -> AppTest:
    """Drop files on one of the drop zones."""
    app.file_uploader[place].set_value(list(files)).run()
    assert not app.exception
    return app


def press(app: AppTest, label: str) -> AppTest:
    """Click the button whose words begin so."""
    next(b for b in app.button if b.label.startswith(label)).click().run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    """What stands on the page, without the marks that keep names from being taken for Markdown."""
    return "\n".join(e.value.replace("\\", "") for kind in ("markdown", "caption", "info", "warning", "error",
                                                            "subheader") for e in getattr(app, kind))
