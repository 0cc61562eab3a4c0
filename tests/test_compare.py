"""The Compare page: one image, several methods; results stream in, failures are rows, and a sentence sums up."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from conftest import add_weights
from streamlit.testing.v1 import AppTest

from cellapp import weights as store
from cellapp.methods import Counter
from cellapp.prediction import Interval, Prediction
from cellapp.ui import compare_run
from cellapp.ui.count_files import sample_files

ROOT = Path(__file__).resolve().parents[1]
METHODS = ["fcrn-a", "fcrn-b", "count-ception", "fpn-vgg11", "alexnet", "fcn"]
NO_MEMORY = "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."


def prediction(count: float, counter: Counter) -> Prediction:
    shape = (64, 64)
    about = {"method": counter.method.name, "weights": counter.weights.id, "seconds": 0.5}
    if counter.method.name == "fcn":
        labels = np.zeros(shape, np.int32)
        labels[0, : round(count)] = np.arange(1, round(count) + 1)
        return Prediction.from_labels(labels, np.argwhere(labels).astype(float),
                                      views={"foreground": np.ones(shape, np.float32)}, **about)
    made = Prediction.from_density(np.full(shape, count / 64**2, np.float32), **about)
    return made if counter.method.name != "fpn-vgg11" else replace(made, interval=Interval(40, 60, 0.95, "aleatoric"))


@pytest.fixture
def counts(tiny_weights, monkeypatch) -> dict[str, float | Exception]:
    """What each method counts, or raises; the networks themselves are left out."""
    said = dict.fromkeys(METHODS, 50.0)

    def predict(counter, image, options=None, *, progress=None):
        answer = said[counter.method.name]
        if isinstance(answer, Exception):
            raise answer
        return prediction(answer, counter)

    monkeypatch.setattr(Counter, "predict", predict)
    return said


def start(page: str = "compare") -> AppTest:
    app = AppTest.from_file(str(ROOT / "cellapp" / "ui" / "main.py"), default_timeout=120).run()
    return app.switch_page(str(ROOT / "pages" / f"{page}.py")).run()


def drop(app: AppTest, *paths: Path) -> AppTest:
    app.file_uploader[0].set_value([(p.name, p.read_bytes(), "image/png") for p in paths])
    app.run()
    assert not app.exception
    return app


def table(app: AppTest):
    return app.dataframe[0].value.set_index("Weights")


def words(app: AppTest) -> str:
    return " ".join(e.value.replace("\\", "") for kind in (app.caption, app.warning, app.error, app.info, app.markdown)
                    for e in kind)


def test_all_methods_count_one_image(counts):
    add_weights("fcrn-b", store.folder(), "fcrn-b/second", title="fcrn-b, second")
    app = start()
    assert app.title[0].value == "Do the methods agree?"
    assert app.multiselect[0].value == [f"{method}/untrained" for method in METHODS], "the first of each method"
    assert [o for o in app.multiselect[0].options if o.startswith("fcrn-b")] == ["fcrn-b, untrained", "fcrn-b, second"]
    counts |= {"fcrn-b": 52.0, "fcn": 51}
    shown = table(drop(app, sample_files()[0]))
    assert list(shown.index) == [f"{method}, untrained" for method in METHODS]
    assert list(shown["Count"]) == pytest.approx([50, 52, 50, 50, 50, 51], rel=1e-5)
    assert shown["Interval"]["fpn-vgg11, untrained"] == "40–60, 95 %"
    assert shown["Interval"].drop("fpn-vgg11, untrained").isna().all()
    assert shown["Peaks or objects"]["fcn, untrained"] == 51
    assert shown["Parameters"]["fcrn-a, untrained"] == 1_365_249
    assert "Message" not in shown
    assert "The methods agree within 4 %." in words(app)
    assert {m.label.split(" for ")[0]: m.value for m in app.metric} == {"Median": "50", "Range": "50–52",
                                                                         "Variation": "2 %"}
    assert len(app.get("plotly_chart")) == 2
    assert "the network's own estimate of its error" in words(app)


def test_methods_that_disagree_are_said_to(counts):
    counts["alexnet"] = 400.0
    app = drop(start(), sample_files()[0])
    assert app.warning[0].value.startswith("The methods disagree: from 50 to 400 cells. Look at the maps;")


def test_results_stream_in_and_a_stop_keeps_them(counts, monkeypatch):
    """The stop is what a click on Cancel does: its callback, then a new run."""
    seen, count_one = [], compare_run.count_one

    def stop_at_the_third(source, counter, *args, **keywords):
        seen.append(counter.method.name)
        if len(seen) == 3:
            compare_run._stop()
            st.rerun()
        return count_one(source, counter, *args, **keywords)

    monkeypatch.setattr(compare_run, "count_one", stop_at_the_third)
    app = drop(start(), sample_files()[0])
    assert list(table(app)["Method"]) == ["FCRN-A", "FCRN-B"]
    assert "Stopped: 4 of 6 methods have not counted yet." in words(app)
    assert app.metric[0].value == "50"
    next(b for b in app.button if b.label == "Go on").click().run()
    assert len(table(app)) == 6
    assert seen == [*METHODS[:3], *METHODS[2:]], "what was counted before the stop is not counted again"


def test_a_method_that_fails_is_a_row_and_the_others_go_on(counts):
    counts["count-ception"] = RuntimeError(NO_MEMORY)
    row = store.find("fcrn-b/untrained")
    (store.folder() / row.files[0].file).write_bytes(b"damaged")
    app = drop(start(), sample_files()[0])
    shown = table(app)
    failed = shown[shown["Count"].isna()]
    assert list(failed["Method"]) == ["FCRN-B", "Count-ception"]
    assert "install the weights again" in failed["Message"].iloc[0]
    assert "not enough memory" in failed["Message"].iloc[1]
    assert len(app.error) == 2 and shown["Count"].notna().sum() == 4
    counts["count-ception"] = 50.0
    next(b for b in app.button if b.label == "Try again").click().run()
    assert list(table(app).query("Count.isna()").index) == ["fcrn-b, untrained"]


def test_an_unknown_fault_is_not_hidden(counts):
    counts["alexnet"] = RuntimeError("something else")
    app = start()
    app.file_uploader[0].set_value([("a.png", sample_files()[0].read_bytes(), "image/png")])
    app.run()
    assert app.exception


def test_of_several_images_one_is_compared_and_what_was_dropped_goes_along(counts):
    first, second, _ = sample_files()
    app = drop(start("count"), first, second)
    app.switch_page(str(ROOT / "pages" / "compare.py")).run()
    assert not app.exception
    assert app.selectbox(key="compared").value == 0
    assert first.name.replace("-", r"\-").replace(".", r"\.") in app.metric[0].label
    app.selectbox(key="compared").select(1).run()
    assert second.name.replace("-", r"\-").replace(".", r"\.") in app.metric[0].label
    next(b for b in app.button if b.label == "Remove").click().run()
    assert app.title[0].value == "Do the methods agree?"


def test_fewer_methods_and_none(counts):
    app = drop(start(), sample_files()[0])
    app.multiselect[0].set_value(["fcn/untrained"]).run()
    assert list(table(app).index) == ["fcn, untrained"]
    assert "choose a second one" in words(app)
    app.multiselect[0].set_value([]).run()
    assert not app.exception and not app.dataframe
    assert "Choose at least one method." in words(app)


def test_the_choice_of_maps_follows_what_there_is(counts):
    def kinds(app):
        return next(g for g in app.get("button_group") if "Maps" in [o.content for o in g.proto.options])

    app = drop(start(), sample_files()[0])
    assert [o.content for o in kinds(app).proto.options] == ["Maps", "Cells found", "Further maps"]
    kinds(app).set_value("Further maps").run()
    assert "Nothing of this kind from: fcrn-a, untrained; fcrn-b, untrained; " in words(app)
    app.multiselect[0].set_value(["fcrn-a/untrained", "count-ception/untrained"]).run()
    assert not app.exception, "the kind that was chosen is not there any more"
    assert [o.content for o in kinds(app).proto.options] == ["Maps"]
    assert "Nothing of this kind" not in words(app)
