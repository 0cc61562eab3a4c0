"""Every page starts, and the Count page gives what the command line gives."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from cellapp import DEFAULT_WEIGHTS
from cellapp.cli import main
from cellapp.prediction import Interval, Prediction
from cellapp.ui.count_form import sample_files

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def warm():
    import cellapp.figures
    import cellapp.methods  # noqa: F401


def start() -> AppTest:
    return AppTest.from_file(str(ROOT / "cellapp" / "ui" / "main.py"), default_timeout=120).run()


def upload(app: AppTest, *files: tuple[str, bytes]) -> AppTest:
    app.file_uploader[0].set_value([(name, content, "image/png") for name, content in files])
    return app.run()


def metrics(app: AppTest) -> dict[str, str]:
    return {m.label: m.value for m in app.metric}


def test_every_page_is_listed_and_starts():
    listed = (ROOT / "cellapp" / "ui" / "main.py").read_text()
    for page in (ROOT / "pages").glob("*.py"):
        assert f'"{page.name}"' in listed
    app = start()
    assert not app.exception
    assert app.title[0].value == "How many cells are there?"


def test_page_and_command_line_give_the_same_count(capsys):
    path = sample_files()[0]
    app = upload(start(), (path.name, path.read_bytes()))
    assert not app.exception
    assert main(["count", str(path), "--json"]) == 0
    count = json.loads(capsys.readouterr().out)["count"]
    shown = next(c.value for c in app.caption if c.value.startswith("Sum of the density map"))
    assert f"Sum of the density map: {count:.2f} " in shown
    assert metrics(app)[f"Cells in {path.name}".replace("-", r"\-").replace(".", r"\.")] == f"{round(count)}"


def test_bad_files_get_a_sentence_and_the_others_count():
    good = sample_files()[0]
    app = upload(start(), ("empty.png", b""), ("notes.png", b"only text, no picture\n" * 9),
                 (good.name, good.read_bytes()), ("half.png", good.read_bytes()[:2000]))
    assert not app.exception
    table = app.dataframe[0].value
    assert list(table["Status"]) == ["error", "error", "ok", "error"]
    assert all(message for message in table["Message"][table["Status"] == "error"])
    assert [e.value.replace("\\", "") for e in app.error] == list(table["Message"][table["Status"] == "error"])
    assert app.selectbox(key="shown").value == 2               # the first one that was counted
    assert len(app.metric) >= 2
    app.selectbox(key="shown").select(0).run()
    assert not app.exception and not app.metric


def test_another_cell_size_changes_the_reading_and_says_so():
    path = sample_files()[0]
    app = upload(start(), (path.name, path.read_bytes()))
    before = app.metric[0].value
    app.number_input(key="diameter").set_value(20.0).run()
    assert app.metric[0].value != before
    assert any("times its size" in c.value for c in app.caption)
    app.number_input(key="diameter").set_value(None).run()
    assert app.metric[0].value == before


def test_a_channel_is_chosen_by_name():
    import io

    from PIL import Image

    grey = np.asarray(Image.open(sample_files()[0]))
    rgb = np.stack([grey, np.zeros_like(grey), 255 - grey], axis=-1)
    content = io.BytesIO()
    Image.fromarray(rgb).save(content, "PNG")
    app = upload(start(), ("two stains.png", content.getvalue()))
    app.selectbox(key="channel").select("red").run()
    red = app.metric[0].value
    app = upload(start(), (sample_files()[0].name, sample_files()[0].read_bytes()))
    assert app.metric[0].value == red


def test_the_sample_counts_with_the_default_weights():
    app = start()
    next(b for b in app.button if b.label == "Try a sample").click().run()
    assert not app.exception
    assert app.selectbox(key="weights").value == DEFAULT_WEIGHTS
    assert metrics(app)["Peaks found"].isdigit()


def test_weights_are_loaded_once_for_all_visitors(monkeypatch):
    import cellapp.methods as methods
    from cellapp.ui import counters

    counters._load.clear()
    loaded, load = [], methods.load
    monkeypatch.setattr(methods, "load", lambda weights_id: loaded.append(weights_id) or load(weights_id))
    for _visitor in range(2):
        upload(start(), (sample_files()[0].name, sample_files()[0].read_bytes()))
    assert loaded == [DEFAULT_WEIGHTS]


@pytest.fixture
def said(tiny_weights, monkeypatch):
    """Hand in a prediction; all untrained weights then say it. The options they were asked with are noted."""
    import cellapp.methods as methods

    asked = []

    def say(prediction):
        def predict(counter, image, options=None, *, progress=None):
            asked.append(options)
            return replace(prediction, method=counter.method.name, weights=counter.weights.id)

        monkeypatch.setattr(methods.Counter, "predict", predict)
        return asked

    return say


def test_outlined_cells_are_told_as_such(said):
    labels = np.zeros((30, 40), np.int32)
    labels[2:5, 3:9], labels[20:25, 30:33] = 1, 2
    said(Prediction.from_labels(labels, np.array([(3.0, 5.5), (22.0, 31.0)]),
                                views={"foreground": np.full((30, 40), 0.5, np.float32)}))
    app = upload(start(), *((p.name, p.read_bytes()) for p in sample_files()[:2]))
    assert not app.exception
    assert "Cells outlined one by one: 2 " in app.caption[1].value
    assert [m.label.split(" ")[0] for m in app.metric] == ["Cells", "All"]
    assert list(app.dataframe[0].value["Peaks or outlines"]) == [2, 2]
    assert "Interval" not in app.dataframe[0].value
    assert any(c.value.startswith("**Foreground.**") for c in app.caption)


def test_an_interval_stands_beside_the_count(said):
    said(replace(Prediction.from_density(np.full((30, 40), 0.1, np.float32)),
                 interval=Interval(-3.0, 157.2, 0.95, "aleatoric")))
    app = upload(start(), (sample_files()[0].name, sample_files()[0].read_bytes()))
    assert (app.metric[0].value, app.metric[0].delta) == ("120", "(0–157, 95 %)")
    assert len(app.metric) == 1, "without points there are no peaks to be told"
    assert "the network's own estimate of its error (aleatoric); not a guarantee" in app.caption[1].value


def test_saliency_is_offered_where_there_is_some_and_counted_again(said):
    asked = said(Prediction.from_density(np.full((30, 40), 0.1, np.float32)))
    app = upload(start(), (sample_files()[0].name, sample_files()[0].read_bytes()))
    assert not app.toggle
    app.selectbox(key="weights").set_value("fpn-vgg11/untrained").run()
    app.toggle(key="saliency").set_value(True).run()
    assert not app.exception
    app.selectbox(key="weights").set_value("fcrn-a/untrained").run()
    assert [options.saliency for options in asked] == [False, False, True], "the first weights were not asked again"


def test_names_of_files_are_never_markdown():
    path = sample_files()[0]
    app = upload(start(), ("**bold** [x](y) $a$.png", path.read_bytes()))
    assert app.metric[0].label == r"Cells in \*\*bold\*\* \[x\]\(y\) \$a\$\.png"
