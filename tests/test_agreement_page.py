"""The Agreement page: what belongs together is told first, then counted, then compared; every choice has its way."""

import io
import json

import numpy as np
import pytest
from app_testing import drop, press, start, words
from PIL import Image as PillowImage
from streamlit.testing.v1 import AppTest

from cellapp.dots import Dots, write_dots
from cellapp.errors import ImageError

pytest_plugins = ["app_testing"]
pytestmark = pytest.mark.usefixtures("own_server")
SHAPE = 48, 80


def picture(name: str, rng) -> tuple[str, bytes, str]:
    out = io.BytesIO()
    PillowImage.fromarray(rng.integers(0, 255, SHAPE, dtype=np.uint8)).save(out, "PNG")
    return name, out.getvalue(), "image/png"


def metrics(app: AppTest) -> dict[str, tuple[str, str]]:
    return {m.label: (m.value, m.delta) for m in app.metric}


def csv_of(dots) -> bytes:
    return write_dots(Dots(dots), "csv")


@pytest.fixture
def six(seen, rng) -> AppTest:
    """Six images; the network finds all cells but two of each, and the dots lie half a pixel off."""
    app, dots = start("agreement"), []
    for k in range(6):
        places = np.stack([rng.uniform(1, 46, 10 + k), rng.uniform(1, 78, 10 + k)], axis=1)
        seen[f"{k}.png"] = places[2:]
        dots.append((f"{k}_dots.csv", csv_of(places + 0.5), "text/csv"))
    drop(app, 0, *(picture(f"{k}.png", rng) for k in range(6)))
    assert "0 of 6 images have dots or a count by hand" in words(app)
    assert "Images without dots (6): 0.png, 1.png" in words(app)
    return drop(app, 1, *dots)


def test_the_report_comes_first_and_the_figures_follow(six):
    assert "6 of 6 images have dots or a count by hand**, 75 dots in all." in words(six)
    assert not six.metric
    press(six, "Count 6 images and compare")
    found = metrics(six)
    assert found["MAE (cells)"] == ("2.0", "(2.0 to 2.0)")
    assert found["Bias (cells)"][0] == "−2.0"
    assert 0.85 < float(found["F1"][0]) < 0.95
    assert "GAME(1) 2.0" in words(six) and "95 % intervals" in words(six)
    shown = six.dataframe[0].value
    assert list(shown["Image"]) == [f"{k}.png" for k in range(6)]
    assert list(shown["Error"]) == [-2] * 6
    assert "0.png: 10 by hand, 8.0 predicted" in words(six)
    assert "dots without a detected cell within 3.0 px (2)" in words(six)
    assert not [b for b in six.button if b.label.startswith("Count")]
    assert "python -m cellapp evaluate" in six.code[0].value


def test_a_click_shows_another_image_and_a_reload_keeps_it(six):
    press(six, "Count 6 images and compare")
    space = six.session_state["space"]
    space.change(shown=space.state().images[4].id)            # what a click on a point or a row does
    six.run()
    assert "4.png: 14 by hand, 12.0 predicted" in words(six)
    again = start("agreement", space.id)
    assert "4.png: 14 by hand, 12.0 predicted" in words(again)
    assert metrics(again)["MAE (cells)"][0] == "2.0"


def test_few_images_are_told_to_be_few_and_failures_are_rows(seen, rng):
    seen["a.png"], seen["b.png"] = np.full((3, 2), 20.0), ImageError("b.png: it is too strange.")
    app = drop(start("agreement"), 0, picture("a.png", rng), picture("b.png", rng))
    drop(app, 1, ("counts.csv", b"image,count\na.png,5\nb.png,7\nz.png,1\n", "text/csv"))
    assert "2 of 2 images have dots or a count by hand**, 12 cells counted by hand in all." in words(app)
    assert "Dots without an image (1): counts.csv: z.png" in words(app)
    press(app, "Count 2 images and compare")
    assert metrics(app)["MAE (cells)"] == ("2.0", "")
    assert "Too few images for intervals, R² and limits of agreement: 1 of at least 5" in words(app)
    shown = app.dataframe[0].value
    assert list(shown["Message"].fillna("")) == ["", "b.png: it is too strange."]
    assert "GAME(1)" not in shown and "F1" not in metrics(app), "counts alone have no places"


def test_swapped_dots_are_noticed_before_anything_runs_and_mended_by_a_click(seen, rng):
    places = np.array([(5.0, 70.0), (40.0, 60.0), (20.0, 10.0)])
    seen["a.png"] = places
    app = drop(start("agreement"), 0, picture("a.png", rng))
    drop(app, 1, ("a.csv", csv_of(places[:, ::-1]), "text/csv"))
    assert "In 1 image dots lie outside, and all lie inside with x and y exchanged (a.png)." in words(app)
    assert not [b for b in app.button if b.label.startswith("Count")]
    press(app, "Exchange x and y")
    press(app, "Count 1 image and compare")
    assert metrics(app)["F1"][0] == "1.000"
    press(app, "Undo")
    assert "dots lie outside" in words(app) and not app.metric


def test_classes_files_and_annotators_are_chosen(seen, rng):
    seen["a.png"] = seen["b.png"] = np.array([(5.0, 70.0)])
    app = drop(start("agreement"), 0, picture("a.png", rng), picture("b.png", rng))
    places = [(5.0, 70.0), (9.0, 9.0), (30.0, 30.0)]

    def result(x):
        return {"type": "keypointlabels", "original_width": 80, "original_height": 48, "image_rotation": 0,
                "value": {"x": x, "y": 50, "keypointlabels": ["live"]}}

    tasks = [{"data": {"image": "b.png"}, "annotations": [{"completed_by": 1, "result": [result(1), result(9)]},
                                                          {"completed_by": 2, "result": [result(5)]}]}]
    drop(app, 1, ("a.csv", write_dots(Dots(places, ("live", "dead", "dead")), "csv"), "text/csv"),
         ("CellCounter_a.xml", write_dots(Dots(places[:1]), "cell-counter", "a.png"), "text/xml"),
         ("all.json", json.dumps(tasks).encode(), "application/json"))
    assert "2 of 2 images have dots or a count by hand**, 5 dots in all." in words(app)
    app.selectbox(key="agreement file a.png").select("CellCounter_a.xml").run()
    assert ", 3 dots in all." in words(app)
    app.selectbox(key="agreement file a.png").select("a.csv").run()
    app.selectbox(key="agreement-annotator").select("2").run()
    assert ", 4 dots in all." in words(app)
    classes = next(g for g in app.get("button_group") if "live" in str(g.options))
    classes.set_value(["live"]).run()
    assert not app.exception
    assert ", 2 dots in all." in words(app)


def test_the_sample_set_brings_its_dots(seen):
    app = press(start("agreement"), "Try a sample set")
    assert "12 of 12 images have dots or a count by hand" in words(app)
    assert [b for b in app.button if b.label == "Count 12 images and compare"]
    names = [file.name for file in app.session_state["space"].state().images]
    assert len(set(names)) == 12 and all(name.endswith(".png") for name in names)
