"""The Benchmark page: own images or a set of the server, several weights, one table, and the maps of one image."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest
from test_benchmark import vgg

from cellapp import weights as store
from cellapp.errors import CalibrationError
from cellapp.methods import Counter
from cellapp.prediction import Interval, Prediction
from cellapp.ui import benchmark_run

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def answers(tiny_weights, monkeypatch):
    """What each method says of any image; others are no weights here."""
    said = {"fcrn-a": 5.0, "fcrn-b": 7.0}
    for row in list(store.manifest().values()):
        if row.method not in said:
            path = store.folder() / store.MANIFEST
            kept = [r.model_dump(mode="json") for r in store.manifest().values() if r.id != row.id]
            path.write_text(json.dumps(kept))

    def predict(counter, image, options=None, *, progress=None):
        answer = said[counter.method.name]
        if isinstance(answer, Exception):
            raise answer
        return Prediction.from_density(np.full(image.shape, answer / np.prod(image.shape), np.float32),
                                       np.array([[5.0, 5.0]]), interval=Interval(2.0, 6.0, 0.95, "conformal"),
                                       seconds=0.5, cell_diameter=10.0)

    monkeypatch.setattr(Counter, "predict", predict)
    monkeypatch.setattr(benchmark_run, "_jobs", {})
    return said


def start() -> AppTest:
    app = AppTest.from_file(str(ROOT / "cellapp" / "ui" / "main.py"), default_timeout=120).run()
    app = app.switch_page(str(ROOT / "pages" / "benchmark.py")).run()
    assert not app.exception
    return app


def measured(app: AppTest) -> AppTest:
    next(b for b in app.button if b.label.startswith("Measure")).click().run()
    (job,) = benchmark_run._jobs.values()
    end = time.monotonic() + 90
    while job.running and time.monotonic() < end:
        time.sleep(0.1)
    assert not job.running
    app.run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    return " ".join(e.value for kind in (app.caption, app.error, app.markdown) for e in kind)


def test_a_set_of_the_server_is_measured_and_an_image_of_it_shown(answers, tmp_path, monkeypatch):
    vgg(tmp_path / "sets" / "vgg", 104)
    monkeypatch.setenv("CELLAPP_BENCHMARK_DATA", str(tmp_path / "sets"))
    app = start()
    assert app.title[0].value == "Which weights count best?"
    app.selectbox(key="benchmark-set").set_value("vgg").run()
    app = measured(app)
    table = app.dataframe[0].value.set_index("Weights")
    true = np.array([2 + k % 6 for k in range(4, 104)])
    assert table.loc["fcrn-a, untrained", "MAE"] == pytest.approx(np.abs(5 - true).mean())
    assert table.loc["fcrn-b, untrained", "Bias"] == pytest.approx((7 - true).mean())
    assert table.loc["fcrn-a, untrained", "In the interval"] == pytest.approx((true <= 6).mean())
    assert len(table) == 4, "two baselines stand beside them"
    assert "The last two lines know nothing of cells" in words(app)
    app.session_state["benchmark shown"] = 3
    app.run()
    assert not app.exception
    assert "5.0 predicted" in words(app) and "008cell" in words(app)


def test_the_worst_images_are_shown_and_there_again_after_a_reload(answers, tmp_path, monkeypatch):
    vgg(tmp_path / "sets" / "vgg", 104)
    monkeypatch.setenv("CELLAPP_BENCHMARK_DATA", str(tmp_path / "sets"))
    app = start()
    app.selectbox(key="benchmark-set").set_value("vgg").run()
    app = measured(app)
    assert "holds the truth" not in words(app), "nothing is counted again unasked"
    app.button(key="benchmark-failures").click().run()
    assert not app.exception
    said = [e.value for e in app.markdown if "true, " in e.value]
    # 2 … 7 cells and always the answer 5: six of the 100 images with 2 are the worst
    assert len(said) == 6 and all(one.startswith("2 true, 5\\.0 predicted") for one in said)
    assert "holds the truth" in said[0] and "There are only 2 cells" in words(app)
    assert not [b for b in app.get("download_button") if b.label.startswith("Worst")], "its pictures stay on the server"

    def never(*_, **__):
        raise AssertionError("counted again")

    monkeypatch.setattr(Counter, "predict", never)
    again = AppTest.from_file(str(ROOT / "cellapp" / "ui" / "main.py"), default_timeout=120)
    again.query_params["w"] = app.query_params["w"]
    again = again.run().switch_page(str(ROOT / "pages" / "benchmark.py")).run()
    assert not again.exception and again.selectbox(key="benchmark-set").value == "vgg"
    assert [e.value for e in again.markdown if "true, " in e.value] == said
    kind = next(g for g in again.get("button_group") if "worst" in str(g.key))
    assert len(kind.options) == 3
    kind.set_value("missed").run()
    assert again.button(key="benchmark-failures").label == "Show 6 images", "those that were not shown before"


def test_own_images_are_measured_and_what_fails_is_said(answers):
    app = start()
    next(b for b in app.button if b.label == "Try a sample set").click().run()
    assert not app.exception
    answers["fcrn-a"] = CalibrationError("It cannot be counted.")
    app = measured(app)
    assert [e.value for e in app.error] == ["It cannot be counted\\."]
    answers["fcrn-a"] = 170.0
    app = measured(app)
    table = app.dataframe[0].value.set_index("Weights")
    assert list(table.index) == ["fcrn-a, untrained", "fcrn-b, untrained"], "nothing is left to fit a baseline to"
    assert table.loc["fcrn-a, untrained", "MAE"] < 60 < table.loc["fcrn-b, untrained", "MAE"]
