"""The worst images are found, their reasons are those that were put into them, and the gallery can be taken away."""

import io

import numpy as np
import pytest
from PIL import Image as PillowImage

from cellapp import weights as store
from cellapp.agreement import Line, compare
from cellapp.data import Dotted
from cellapp.failure_gallery import failure, files, page
from cellapp.failures import reasons, worst
from cellapp.prediction import Interval, Prediction
from cellapp.simulate import simulate


@pytest.fixture
def row():
    """Weights for cells of 16 px that have seen everything."""
    return store.find("recount/general", store.BUNDLED).model_copy(update={"calibration": None, "summary": None})


def nuclei(n=14, **changes) -> Dotted:
    from cellapp.scene import PRESETS

    made = simulate(PRESETS["nuclei"].model_copy(update={"overlap": 0.0, "clusters": 0, "radius": (9, 9)} | changes), 1,
                    n=n, size=(160, 192))
    return Dotted("a|<b>.png", made.image.astype(np.float32), made.points)


def said(item: Dotted, points=None, **about) -> Prediction:
    about = {"cell_diameter": 18.0, "polarity": "bright"} | about
    shape = item.image.shape
    return Prediction.from_density(np.full(shape, 9.0 / np.prod(shape), np.float32),
                                   item.points if points is None else points, **about)


def test_the_worst_are_the_worst_of_their_kind():
    lines = [Line("a", 10, 12, 11, 13), Line("b", 100, 90, 80, 101), Line("c", 2, 4, 2, 6), Line("d", 5),
             Line("e", 50, 58, 54, 62), Line("f", 0, 3)]
    assert worst(lines, "error") == [1, 4, 5, 0, 2] and worst(lines, "error", 2) == [1, 4]
    assert worst(lines, "relative") == [2, 0, 4, 1], "an image without cells has no relative error"
    assert worst(lines, "missed") == [4, 0]
    assert worst([Line("a", 3, 3, 2, 4)], "error") == [] == worst([], "relative")


def test_an_image_that_was_counted_well_has_no_reasons(row):
    item = nuclei()
    assert reasons(item, said(item), row) == []
    assert reasons(Dotted("n", item.image, None, known=14.0), said(item), row) == []


def test_reasons_are_those_that_are_there(row):
    item = nuclei()
    (words,) = reasons(item, said(item, cell_diameter=6.0), row)
    assert "read as cells of 6 px" in words and "give the cells’ diameter" in words
    negative = Dotted("n", -item.image, item.points)
    (words,) = reasons(negative, said(negative), row)
    assert words.startswith("The cells were taken for bright ones, but at the dots they are darker")
    assert reasons(negative, said(negative, polarity="dark"), row) == []
    small = row.model_copy(update={"input": row.input.model_copy(update={"cell_diameter": 200.0})})
    assert "too small for these weights" in reasons(item, said(item), small)[0]
    few = nuclei(3)
    assert reasons(few, said(few), row) == ["There are only 3 cells, so one too many or too few is 33 % of them."]
    doubt = said(item, doubts=("Doubtful.",), notes=("Outside calibration, so without an interval.", "Channel: 1."))
    assert reasons(item, doubt, row) == ["Outside calibration, so without an interval.", "Doubtful."]


def test_cells_that_touch_or_are_cut_are_told_where_they_were_missed(row):
    y, x = np.mgrid[20:140:40, 20:180:40]
    pairs = np.stack([y.ravel(), x.ravel()], 1).astype(float)
    pairs = np.concatenate([pairs, pairs[:6] + np.array([0, 12])])
    image = np.zeros((160, 192), np.float32)
    for cy, cx in pairs.astype(int):
        image[cy - 8 : cy + 9, cx - 8 : cx + 9] = 100
    item = Dotted("t", image, pairs)
    (words,) = [w for w in reasons(item, said(item, points=pairs[:12]), row) if "touch" in w]
    assert words == "12 of 18 cells touch or cover a neighbour, and so do 6 of the 6 that were not found."
    cut = np.array([[2.0, c] for c in range(20, 180, 40)])
    whole = np.array([[r, c] for r in (60.0, 110.0) for c in range(20, 180, 40)])
    item = Dotted("c", image, np.concatenate([cut, whole]))
    assert "4 of the 4 cells that were not found are cut by the edge." in reasons(item, said(item, points=whole), row)


def test_the_gallery_holds_its_pictures_and_no_foreign_markup(row):
    item = nuclei()
    prediction = said(item, points=item.points[:9], interval=Interval(4.0, 11.0, 0.95, "conformal"))
    labels = np.zeros(item.image.shape, np.int32)
    labels[4:9, 4:9] = 1
    outlined = Prediction.from_labels(labels, np.array([[6.0, 6.0]]), cell_diameter=18.0)
    found = [failure(item, one, compare(item.name, one, item.points), row) for one in (prediction, outlined)]
    assert found[0].words == ("14 true, 9.0 predicted (−5.0, 36 %); the interval of 4.0 to 11.0 misses the truth.")
    assert found[1].words.endswith("no interval.")
    for one in found:
        sizes = {PillowImage.open(io.BytesIO(content)).size for content in (one.true, one.found)}
        assert sizes == {(560, 467)}
    picture = np.asarray(PillowImage.open(io.BytesIO(found[0].true)).convert("RGB"), int)
    yellow = (picture[..., 0] > 180) & (picture[..., 1] > 170) & (picture[..., 2] < 120)
    assert yellow.sum() > 20, "dots that were not found are marked"
    text = page("T", "about", found)
    assert text.count("data:image/jpeg;base64,") == 4 and "a|&lt;b&gt;.png" in text and "<b>" not in text
    made = files("T", "about", found, "BAD")
    assert list(made) == ["BAD.md", "bad/01-true.jpg", "bad/01-predicted.jpg", "bad/02-true.jpg",
                          "bad/02-predicted.jpg"]
    assert "## a\\|\\<b\\>.png" in made["BAD.md"].decode() and "(bad/02-true.jpg)" in made["BAD.md"].decode()
