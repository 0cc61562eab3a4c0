"""Manual against predicted: which truth belongs to which image, and figures worked out by hand."""

import csv
import io
import json
import re

import numpy as np
import pytest

from cellapp.agreement import (
    FEWEST,
    KINDS,
    Line,
    agreement_csv,
    bland_altman,
    compare,
    figures,
    markdown,
    number,
)
from cellapp.annotation import Annotation, Area
from cellapp.commands_train import Tally
from cellapp.data import Dotted
from cellapp.dots import Dots, write_dots
from cellapp.errors import DotsError
from cellapp.figure_agreement import differences, dot_layers, scatter
from cellapp.manual import match, with_own
from cellapp.metrics import Detection
from cellapp.prediction import Interval, Prediction

SHAPE = 40, 60
DOTS = np.array([(5.0, 50.0), (10.0, 10.0), (30.0, 45.0)])
MANUAL = [10, 20, 30, 40, 50, 60, 70, 80]
ERRORS = [1, -2, 3, -4, 5, -6, 7, -8]


def table(dots) -> bytes:
    return write_dots(Dots(dots), "csv")


def lines(errors=ERRORS, **more) -> list[Line]:
    return [Line(f"{k}.png", float(m), float(m + e), **more) for k, (m, e) in enumerate(zip(MANUAL, errors,
                                                                                           strict=False))]


def test_an_image_is_compared_with_its_dots():
    density = np.zeros(SHAPE, np.float32)
    density[5, 50], density[10, 10], density[12, 12] = 1, 1, 0.5
    prediction = Prediction.from_density(density, np.array([(5.0, 52.0), (10.0, 10.0)]), cell_diameter=6.0,
                                         interval=Interval(1, 4, 0.95, "aleatoric"))
    line = compare("a.png", prediction, DOTS)
    assert (line.manual, line.predicted, line.error, line.relative) == (3, 2.5, -0.5, pytest.approx(1 / 6))
    assert (line.low, line.high, line.distance) == (1, 4, 3.0), "half of the cells' diameter"
    assert line.found == Detection(2, 2, 3)
    assert line.game == (1.5, 1.5, 1.5)
    assert compare("a.png", prediction, DOTS, distance=1.0).found == Detection(1, 2, 3)
    number_alone = compare("a.png", prediction, 4.0)
    assert (number_alone.error, number_alone.game, number_alone.found) == (-1.5, None, None)


def test_outlines_are_compared_by_their_centres():
    labels = np.zeros(SHAPE, np.int32)
    labels[9:12, 9:12] = 1
    line = compare("a.png", Prediction.from_labels(labels, np.array([(10.0, 10.0)])), DOTS)
    assert (line.found, line.game, line.distance) == (Detection(1, 1, 3), (2, 2, 2), 5.0)


def test_dots_in_a_square_image_with_x_and_y_exchanged_are_noticed(rng):
    cells = rng.uniform(0, 60, (30, 2))
    prediction = Prediction.from_density(np.full((60, 60), 30 / 3600, np.float32), cells)
    assert not compare("a", prediction, cells).swapped
    assert compare("a", prediction, cells[:, ::-1], distance=2).swapped
    assert not compare("a", prediction, rng.uniform(0, 60, (30, 2)), distance=2).swapped, "elsewhere either way"


def test_figures_by_hand():
    part = {"game": (40.0, 50.0, 60.0), "found": Detection(6, 8, 12)}
    found = figures(lines(**part))
    values = {name: figure.value for name, figure in found.items()}
    assert list(values) == list(KINDS)
    assert values["mae"] == 4.5
    assert values["rmse"] == pytest.approx(np.sqrt(204 / 8))
    assert values["mre"] == pytest.approx(0.1)
    assert values["bias"] == -0.5
    assert values["r2"] == pytest.approx(1 - 204 / 4200)
    assert (values["game1"], values["game3"]) == (40, 60)
    assert (values["precision"], values["recall"], values["f1"]) == (0.75, 0.5, pytest.approx(0.6))
    for figure in found.values():
        assert figure.low <= figure.value <= figure.high
    assert found["mae"].high - found["mae"].low == pytest.approx(3.2, abs=0.8), "about ± 2 standard errors of 0.87"
    assert figures(lines(**part)) == found, "the same images, the same intervals"


def test_the_intervals_hold_the_truth_about_as_often_as_they_say(rng):
    """Errors with a mean size of 0.798 · 10 cells; 120 sets of 40 images."""
    inside = 0
    for _ in range(120):
        errors = rng.normal(0, 10, 40)
        found = figures([Line("a", 100.0, 100.0 + e) for e in errors])["mae"]
        inside += found.low <= 10 * np.sqrt(2 / np.pi) <= found.high
    assert inside / 120 > 0.87


def test_few_images_get_no_interval_and_no_limits():
    few = lines()[: FEWEST - 1]
    found = figures(few)
    assert found["mae"].value == 2.5
    assert (found["mae"].low, found["mae"].high) == (None, None)
    assert "r2" not in found
    assert bland_altman(few) is None
    assert "| MAE (cells) | 2.5 | too few images |" in markdown(few, "x")
    assert figures([]) == {} and bland_altman([]) is None


def test_figures_that_do_not_apply_are_left_out():
    found = figures([Line("a", 0.0, float(k)) for k in range(6)])
    assert set(found) == {"mae", "rmse", "bias"}, "no cells: no relative error; all alike: no R²"
    same = figures([Line("a", float(k), float(k)) for k in range(6)])
    assert (same["mae"].low, same["mae"].high, same["r2"].value) == (0, 0, 1)
    failed = figures([*lines(), Line("bad.png", 5.0, message="damaged")])
    assert failed["mae"].value == 4.5, "what could not be counted is in no figure"
    mixed = figures([*lines(), *(Line("d", 5.0, 5.0, game=(1, 1, 1), found=Detection(3, 4, 5)) for _ in range(4))])
    assert (mixed["mae"].images, mixed["game1"].images, mixed["f1"].images) == (12, 4, 4)
    assert mixed["mae"].low is not None and mixed["game1"].low is None, "places are known of too few images"


def test_bland_altman_by_hand():
    limits = bland_altman(lines())
    sd = np.std(ERRORS, ddof=1)
    assert limits.mean[0] == -0.5
    assert limits.low[0] == pytest.approx(-0.5 - 1.96 * sd)
    assert limits.high[0] == pytest.approx(-0.5 + 1.96 * sd)
    # Student's t at 7 degrees of freedom: 2.3646; Bland and Altman (1999), section 2.1.
    assert limits.mean[2] == pytest.approx(-0.5 + 2.3646 * sd / np.sqrt(8), rel=1e-4)
    of_limit = 2.3646 * sd * np.sqrt(1 / 8 + 1.96**2 / 14)
    assert limits.high[1:] == pytest.approx((limits.high[0] - of_limit, limits.high[0] + of_limit), rel=1e-4)


def test_differences_that_grow_with_the_counts_are_noticed(rng):
    manual = np.linspace(10, 400, 60)
    wide = [Line("a", m, m + e) for m, e in zip(manual, rng.normal(0, 0.1 * manual), strict=True)]
    even = [Line("a", m, m + e) for m, e in zip(manual, rng.normal(0, 20, 60), strict=True)]
    assert bland_altman(wide).grows and not bland_altman(even).grows


def test_the_table_keeps_every_image_and_runs_no_formula():
    rows = list(csv.DictReader(io.StringIO(agreement_csv([
        Line("=cmd.png", 3.0, 2.5, game=(1, 2, 3), found=Detection(2, 2, 3), distance=4.0),
        Line("b.png", 0.0, 1.0, found=Detection(0, 0, 0), distance=4.0), Line("c.png", 5.0, message="c.png: damaged.")
    ]))))
    assert rows[0]["image"] == "'=cmd.png"
    assert [rows[0][name] for name in ("error", "game2", "precision", "recall")] == ["-0.5", "2", "1", "0.666667"]
    assert (rows[1]["relative_error"], rows[1]["precision"]) == ("", "")
    assert (rows[2]["predicted"], rows[2]["message"]) == ("", "c.png: damaged.")


def test_markdown():
    text = markdown(lines(), "fcrn-a/simulated, a|b")
    assert text.splitlines()[:3] == ["fcrn-a/simulated, a\\|b", "", "| figure | value | 95 % interval |"]
    assert "| Mean relative error | 10.0 % | " in text
    assert "| Lower limit of agreement (cells) | −" in text
    assert number(None) == "–" and number(-1234.56, "cells") == "−1,234.6"


def test_truths_of_every_kind_are_matched_by_name():
    coco = write_dots(Dots(DOTS, ("live", "dead", "dead")), "coco", "d.png", SHAPE)
    found = match(["a.png", "b.tif", "c.png", "d.png", "e.png"], [
        ("d.json", b"{}"), ("instances.json", coco), ("CellCounter_a.xml", write_dots(Dots(DOTS[:2]), "cell-counter",
                                                                                     "a.png")),
        ("counts.csv", b"image;count\nb.tif;12\nz.png;3\n"), ("c_dots.png", write_dots(Dots(DOTS), "dot-png", "c.png",
                                                                                      SHAPE))])
    assert {name: (m.count, m.file) for name, m in found.found.items()} == {
        "a.png": (2, "CellCounter_a.xml"), "b.tif": (12, "counts.csv"), "c.png": (3, "c_dots.png")}
    assert found.found["b.tif"].dots is None
    assert sorted(found.without) == ["d.png", "e.png"]
    assert "counts.csv: z.png" in found.unused
    assert found.unread[0].startswith("d.json: it is JSON, but of none of the forms")
    assert match(["d.png"], [("instances.json", coco)]).classes == {"live": 1, "dead": 2}
    dead = match(["d.png"], [("instances.json", coco)], classes=("dead",))
    assert dead.found["d.png"].count == 2 and dead.classes == {"live": 1, "dead": 2}


def test_dots_set_here_come_before_files_and_parts_are_no_count():
    def own(points, **more) -> Annotation:
        return Annotation(points=points, labels=(1,) * len(points), shape=SHAPE, **more)

    area = (Area(outline=((0, 0), (0, 20), (20, 0))),)
    names = ["a.png", "b.png", "c.png", "d.png", "same.png", "same.png"]
    files = [("a.csv", table(DOTS)), ("b.csv", table(DOTS[:2]))]
    found = with_own(match(names, files), names, [
        ("a.png", own([(1, 2)])), ("b.png", own([(1, 2)], area=area)), ("c.png", own([], empty=True)),
        ("d.png", own([(1, 2)], area=area)), ("same.png", own([(1, 2)]))])
    assert {name: (m.count, m.upload) for name, m in found.found.items()} == {
        "a.png": (1, "a.csv"), "b.png": (2, "b.csv"), "c.png": (0, "")}
    assert (found.without, found.partly, found.twice) == ((), ("d.png",), ("same.png",))
    assert not found.found["a.png"].fits_swapped(SHAPE), "only files can have x and y exchanged"
    two = Annotation(points=((1, 2), (3, 4)), labels=(1, 2), names=("live", "dead"), shape=SHAPE)
    live = with_own(match(["a.png"], []), ["a.png"], [("a.png", two)], ("live",))
    assert live.classes == {"live": 1, "dead": 1} and live.found["a.png"].count == 1


def test_of_several_files_one_is_taken_and_another_can_be_chosen():
    files = [("a_dots.csv", table(DOTS)), ("CellCounter_a.xml", write_dots(Dots(DOTS[:1]), "cell-counter", "a.png")),
             ("b.csv", table(DOTS))]
    found = match(["a.png", "b.png"], files)
    assert found.several == {"a.png": ("CellCounter_a.xml", "a_dots.csv")}
    assert found.found["a.png"].count == 1 and found.unused == ()
    other = match(["a.png", "b.png"], files, chosen={"a.png": "a_dots.csv"})
    assert other.found["a.png"].count == 3 and other.several == found.several and other.unused == ()
    assert other.found["b.png"].count == 3


def test_images_of_one_name_are_not_matched():
    found = match(["a.png", "a.png", "b.png"], [("a.csv", table(DOTS)), ("b.csv", table(DOTS))])
    assert list(found.found) == ["b.png"] and found.twice == ("a.png",)
    apart = match(["day 1/a.png", "day 2/a.png", "day 2/b.png"], [("a.csv", table(DOTS)), ("x/b.csv", table(DOTS))])
    assert list(apart.found) == ["day 2/b.png"] and apart.twice == ("day 1/a.png", "day 2/a.png")


def test_annotators_and_scales_are_offered():
    def result(x):
        return {"type": "keypointlabels", "original_width": 100, "original_height": 100, "image_rotation": 0,
                "value": {"x": x, "y": 5, "keypointlabels": ["cell"]}}

    tasks = json.dumps([{"data": {"image": "a.png"}, "annotations": [
        {"completed_by": 1, "result": [result(1), result(2)]}, {"completed_by": 2, "result": [result(3)]}]}]).encode()
    files = [("all.json", tasks), ("b.csv", b" ,X,Y\n1,2.5,3.5\n")]
    found = match(["a.png", "b.png"], files)
    assert (found.annotators, found.unscaled) == (("1", "2"), ("b.csv",))
    assert found.found["a.png"].count == 2
    other = match(["a.png", "b.png"], files, annotator="2", pixel_size=0.5)
    assert other.found["a.png"].count == 1
    assert other.found["b.png"].dots.points.tolist() == [[7, 5]]


def test_swapped_dots_are_told_and_mended():
    wide = match(["a.png"], [("a.csv", table(DOTS))]).found["a.png"]
    assert not wide.is_swapped(SHAPE) and not wide.fits_swapped(SHAPE)
    turned = wide.swapped()
    assert turned.is_swapped(SHAPE) and turned.fits_swapped(SHAPE)
    with pytest.raises(DotsError, match=r"^a\.csv: .* x and y swapped"):
        turned.checked(SHAPE)
    np.testing.assert_array_equal(turned.swapped().checked(SHAPE), DOTS)


@pytest.mark.parametrize(("content", "expected"), [
    (b"image,count\na.png,12\n", {"a.png": 12}), (b"File name;N\r\n\xc3\xa4.tif;1,5\r\n", {"ä.tif": 1.5}),
    (b"Slice\tCtr 0\tCtr 1\n1\t4\t2\n2\t1\t0\nTotal\t5\t2\n", {"": 7}), (b"image,cells,by\na.png,0,me\n", {"a.png": 0}),
])
def test_tables_of_counts(content, expected):
    found = match(["a.png", "ä.tif", "Counts_x.tif"], [("Counts_x.csv", content)]).found
    assert {m.count for m in found.values()} == set(expected.values())


@pytest.mark.parametrize(("content", "sentence"), [
    (b"image,count\na.png,many\n", r"line 2 has no number of cells \(a\.png,many"),
    (b"image,count\na.png,-3\n", "line 2 has no number of cells"),
    (b"image,count\na.png,3\na.png,4\n", r"line 3 gives a second count of a\.png"),
])
def test_mistakes_in_a_table_of_counts(content, sentence):
    found = match(["a.png"], [("all.csv", content)])
    assert not found.found
    assert re.search(sentence, found.unread[0])


def test_the_scatter_says_which_image_a_point_is():
    shown = [*lines(), Line("bad.png", 5.0, message="damaged"), Line("<b>.png", 9.0, 8.0, low=5.0, high=12.0)]
    figure = scatter(shown, shown=2)
    diagonal, images, mark = figure.data
    assert diagonal.x == diagonal.y
    assert list(images.customdata) == [0, 1, 2, 3, 4, 5, 6, 7, 9], "what could not be counted has no point"
    assert images.text[-1] == "&lt;b&gt;.png"
    assert (list(mark.customdata), list(mark.x), mark.marker.symbol) == ([2], [30], "diamond")
    assert len(scatter(shown).data) == 2
    assert (images.error_y.array[-1], images.error_y.arrayminus[-1]) == (4, 3)
    assert figure.layout.xaxis.range == figure.layout.yaxis.range
    assert "cells" in figure.layout.xaxis.title.text and "cells" in figure.layout.yaxis.title.text


def test_bland_and_altmans_figure_names_its_limits():
    limits = bland_altman(lines())
    figure = differences(lines(), limits)
    words = [a.text for a in figure.layout.annotations]
    assert [w.rsplit(" ", 1)[0] for w in words] == ["upper limit", "mean", "lower limit"]
    assert [trace.name for trace in figure.data if trace.showlegend is not False] == [
        "mean difference", "limits of agreement", "their intervals", "image"]
    assert list(figure.data[-1].y) == ERRORS
    low, high = figure.layout.yaxis.range
    assert low < limits.low[1] and limits.high[2] < high
    without = differences(lines()[:2], None)
    assert len(without.data) == 1 and not without.layout.annotations
    assert differences([], None) and scatter([])


def test_dots_over_a_pane_say_which_were_missed():
    found, missed = dot_layers(DOTS, DOTS[1:] + 1, 2.0)
    assert (list(found.x), list(found.y)) == ([10, 45], [10, 30])
    assert (list(missed.x), list(missed.y)) == ([50], [5])
    assert found.marker.symbol != missed.marker.symbol, "not by colour alone"
    assert len(dot_layers(DOTS)) == 1 and dot_layers(np.empty((0, 2))) == []


def test_evaluate_tells_how_sure_its_figures_are(rng):
    tally = Tally(None, 5.0)
    for count in (20, 25, 30, 35, 40, 45):
        dots = rng.uniform(0, 39, (count, 2))
        density = np.full((40, 40), (count + 2) / 1600, np.float32)
        tally.add(Prediction.from_density(density, dots[2:]), Dotted("a", np.zeros((40, 40), np.float32), dots))
    told = tally.figures()
    assert told["mae"] == pytest.approx(2, abs=1e-3)
    assert told["intervals"]["recall"][0] <= told["recall"] <= told["intervals"]["recall"][1]
    assert told["intervals"]["mre"] == pytest.approx([0.055, 0.085], abs=0.02)
    assert told["limits_of_agreement"] == pytest.approx([2, 2], abs=0.01)
    assert told["mae"] <= told["game1"] <= told["game2"] <= told["game3"]
    words = tally.sentence()
    assert words.startswith("MAE 2.00 (2.00 to 2.00, 95 %), RMSE 2.00")
    assert ", limits of agreement +2.0 to +2.0; GAME(1–3) " in words
