"""What a figure shows of a prediction: every kind of pane, linked axes, colours that mean numbers."""

from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest

from cellapp.figure_spread import dot_plot
from cellapp.figures import COMPARISONS, compare, panes, views_of
from cellapp.image import Image
from cellapp.overlays import OUTLINE_COLOURS, outlines, overlay
from cellapp.prediction import VIEWS, Interval, Prediction
from cellapp.spread import Spread

SHAPE = 40, 60
POINTS = np.array([(10.0, 20.0), (30.0, 45.0)])


@pytest.fixture
def image(rng) -> Image:
    return Image.from_array(rng.integers(0, 4096, SHAPE, dtype=np.uint16))


@pytest.fixture
def density(rng) -> Prediction:
    return Prediction.from_density(rng.uniform(0, 0.01, SHAPE).astype(np.float32), POINTS)


@pytest.fixture
def segmented() -> Prediction:
    labels = np.zeros(SHAPE, np.int32)
    labels[8:13, 18:23], labels[28:33, 43:48] = 1, 2
    return Prediction.from_labels(labels, POINTS, views={"foreground": np.clip(labels, 0, 1).astype(np.float32)})


@pytest.fixture
def redundant(rng) -> Prediction:
    larger = rng.uniform(0, 9, (SHAPE[0] + 32, SHAPE[1] + 32)).astype(np.float32)
    return Prediction.from_density(np.full(SHAPE, 0.02, np.float32), views={"redundant": larger})


def titles(figure: go.Figure) -> list[str]:
    return [a.text.split("</b>")[0].removeprefix("<b>") for a in figure.layout.annotations if "<b>" in a.text]


def axes(figure: go.Figure, letter: str) -> list:
    return [figure.layout[name] for name in figure.to_dict()["layout"] if name.startswith(f"{letter}axis")]


def traces(figure: go.Figure, kind: type) -> list:
    return [trace for trace in figure.data if isinstance(trace, kind)]


def colours(figure: go.Figure, trace: go.Heatmap):
    return figure.layout[trace.coloraxis]


def test_each_kind_of_prediction_has_its_panes(density, segmented, redundant):
    assert views_of(None) == ("Image",)
    assert views_of(density) == ("Image", "Density", "Detected cells")
    assert views_of(redundant) == ("Image", "Density", "Redundant count map")
    assert views_of(segmented) == ("Image", "Detected cells", "Outlines", "Foreground")
    everything = replace(density, views=dict.fromkeys(reversed(VIEWS), density.density))
    assert views_of(everything)[3:] == tuple(view.title for view in VIEWS.values())


def test_a_density_is_drawn_with_its_sum_its_unit_and_no_negative_colours(image, density):
    density = Prediction.from_density(density.density - np.float32(0.005), POINTS)
    figure = panes(image, density)
    assert titles(figure) == ["Image", "Density map", "Detected cells"]
    words = " ".join(a.text for a in figure.layout.annotations)
    assert f"sum {density.count:,.1f}" in words and "cells per pixel" in words
    (heat,) = traces(figure, go.Heatmap)
    np.testing.assert_array_equal(heat.z, np.maximum(density.density, 0))
    assert colours(figure, heat).cmin == 0
    assert colours(figure, heat).cmax == pytest.approx(float(density.density.max()))
    (rings,) = traces(figure, go.Scatter)
    np.testing.assert_array_equal(np.stack([rings.y, rings.x], axis=1), POINTS)


@pytest.mark.parametrize("stacked", [False, True])
def test_all_panes_zoom_together_and_colour_bars_lie_outside_of_them(image, density, stacked):
    everything = replace(density, views={name: np.pad(density.density, 16 * (name == "redundant")) for name in VIEWS})
    figure = panes(image, everything, stacked=stacked)
    x, y = axes(figure, "x"), axes(figure, "y")
    assert len(x) == len(y) == 7
    assert y[0].scaleanchor == "x"
    assert all(axis.matches == "x" for axis in x[1:]) and all(axis.matches == "y" for axis in y[1:])
    assert len({tuple(axis.range) for axis in x}) == len({tuple(axis.range) for axis in y}) == 1
    domains = [(*a.domain, *b.domain) for a, b in zip(x, y, strict=True)]
    bars = [axis.colorbar for axis in (figure.layout[t.coloraxis] for t in traces(figure, go.Heatmap))]
    assert len(bars) == 5
    for k, (left, right, low, high) in enumerate(domains):
        for other_left, other_right, other_low, other_high in domains[k + 1 :]:
            assert right <= other_left or other_right <= left or high <= other_low or other_high <= low
        for bar in bars:                                     # a bar stands on its lower end and is 38 px high
            above = bar.y >= high or bar.y + 38 / figure.layout.height <= low
            assert above or bar.x >= right or bar.x + bar.len <= left
    per_row = {high for _, _, _, high in domains}
    assert len(per_row) == (7 if stacked else 2)


def test_a_map_larger_than_the_image_lies_where_it_belongs(image, redundant):
    figure = panes(image, redundant)
    heat = traces(figure, go.Heatmap)[1]
    assert (heat.x0, heat.y0, heat.dx, heat.dy) == (-16, -16, 1, 1)
    assert heat.z.shape == (SHAPE[0] + 32, SHAPE[1] + 32)
    for axis in axes(figure, "x"):
        assert axis.range == (-16.5, SHAPE[1] + 15.5)
    for axis in axes(figure, "y"):
        assert axis.range == (SHAPE[0] + 15.5, -16.5)
    (frame,) = traces(figure, go.Scatter)
    assert (min(frame.x), max(frame.x), min(frame.y), max(frame.y)) == (-0.5, SHAPE[1] - 0.5, -0.5, SHAPE[0] - 0.5)


def test_a_large_map_is_drawn_from_block_means_at_its_place():
    larger = np.arange(1300 * 1000, dtype=np.float32).reshape(1300, 1000)
    big = Prediction.from_density(np.zeros((1268, 968), np.float32), views={"redundant": larger})
    figure = panes(Image.from_array(np.eye(1268, 968, dtype=np.uint8)), big, views=("Redundant count map",))
    (heat,) = traces(figure, go.Heatmap)
    assert heat.dx == heat.dy == 3
    assert heat.z.shape == (434, 334)
    assert heat.z[0, 0] == pytest.approx(larger[:3, :3].mean())
    assert (heat.x0, heat.y0) == (-15, -15)                  # the middle of the first block of 3 px
    assert heat.z[-1, -1] == pytest.approx(larger[-1, -1]), "the edge does not fade to zero"


def test_outlines_run_on_the_edges_of_the_pixels_one_line_for_each_cell(segmented, image):
    lines = dict(outlines(segmented.labels))
    assert list(lines) == [1, 2]
    for line, (y, x) in zip(lines.values(), POINTS, strict=True):
        assert (line[0] == line[-1]).all(), "closed"
        np.testing.assert_allclose(line.min(axis=0), (y - 2.5, x - 2.5), atol=0.01)
        np.testing.assert_allclose(line.max(axis=0), (y + 2.5, x + 2.5), atol=0.01)
    figure = panes(image, segmented, views=("Outlines",))
    drawn = traces(figure, go.Scatter)
    assert [trace.line.color for trace in drawn] == list(OUTLINE_COLOURS[:2])
    assert titles(figure) == ["Outlines"]


def test_a_label_of_one_pixel_and_a_gap_in_the_numbers_are_no_trouble():
    labels = np.zeros((9, 9), np.int32)
    labels[4, 5], labels[0, 0] = 1, 3
    lines = dict(outlines(labels))
    assert list(lines) == [1, 3]
    np.testing.assert_allclose(lines[1].mean(axis=0), (4, 5), atol=0.3)
    assert list(outlines(np.zeros((9, 9), np.int32))) == []


def test_density_maps_of_a_comparison_share_one_range_and_one_bar(image, density, segmented, redundant):
    shown = {"A <b>": density, "B": redundant, "C": segmented}
    figure = compare(image, shown)
    assert titles(figure) == ["Image", "A &lt;b&gt;", "B", "C"]
    heats = traces(figure, go.Heatmap)
    assert {heat.coloraxis for heat in heats} == {"coloraxis"}
    assert colours(figure, heats[0]).cmax == pytest.approx(0.02)
    assert colours(figure, heats[0]).colorbar.y == 1
    stacked = compare(image, shown, stacked=True)
    assert [colours(stacked, heat).cmax for heat in traces(stacked, go.Heatmap)] == pytest.approx([0.02, 0.02])
    apart = compare(image, shown, common=False)
    assert [colours(apart, heat).cmax for heat in traces(apart, go.Heatmap)] \
        == pytest.approx([float(density.density.max()), 0.02])


def test_a_comparison_shows_cells_or_further_maps(image, density, segmented, redundant):
    shown = {"A": density, "B": redundant, "C": segmented}
    assert titles(compare(image, shown, show="Cells found")) == ["Image", "A", "C"]
    further = compare(image, shown, show="Further maps")
    assert titles(further) == ["Image", "B", "C"]
    assert [colours(further, heat).cmax for heat in traces(further, go.Heatmap)] \
        == pytest.approx([float(redundant.views["redundant"].max()), 1.0])
    assert not COMPARISONS["Cells found"].views(redundant)


def test_an_empty_image_still_has_colours(image):
    nothing = Prediction.from_density(np.zeros(SHAPE, np.float32), np.empty((0, 2)))
    figure = panes(image, nothing)
    assert colours(figure, traces(figure, go.Heatmap)[0]).cmax > 0
    blank = Prediction.from_labels(np.zeros(SHAPE, np.int32), np.empty((0, 2)))
    assert titles(panes(image, blank)) == ["Image", "Detected cells", "Outlines"]


def test_dots_carry_their_intervals(density, segmented):
    sure = replace(density, interval=Interval(density.count - 3, density.count + 5, 0.95, "aleatoric"))
    figure = dot_plot({"sure": sure, "other": segmented}, Spread.of([sure.count, 2]))
    (dots,) = figure.data
    assert list(dots.x) == [sure.count, 2]
    np.testing.assert_allclose(dots.error_x.array, [5, 0])
    np.testing.assert_allclose(dots.error_x.arrayminus, [3, 0])
    low, high = figure.layout.xaxis.range
    assert low < min(2, sure.count - 3) and high > sure.count + 5
    assert figure.layout.xaxis.title.text == "cells"


def test_the_overlay_shows_what_there_is(image, density, segmented):
    bare = overlay(image, Prediction.from_density(np.zeros(SHAPE, np.float32)))
    assert (bare[..., 0] == bare[..., 2]).all()
    outlined = overlay(image, segmented)
    changed = (outlined != bare).any(axis=2)
    ring = segmented.labels > 0
    ring[9:12, 19:22] = ring[29:32, 44:47] = False           # the inside of the two squares
    np.testing.assert_array_equal(changed, ring)
    one = np.zeros(SHAPE, np.float32)
    one[5, 7] = 1
    tinted = overlay(image, Prediction.from_density(one))
    assert np.argwhere((tinted != bare).any(axis=2)).tolist() == [[5, 7]]


def test_the_sentence_on_the_agreement():
    assert Spread.of([100, 104, 96]).sentence == "The methods agree within 8 %."
    assert Spread.of([3.2, 2.6]).sentence == "The methods agree within one cell."
    assert Spread.of([0.0, 0.2]).sentence == "The methods agree within one cell."
    apart = Spread.of([-2.0, 100.0, 110.0])
    assert not apart.agrees
    assert apart.sentence.startswith("The methods disagree: from 0 to 110 cells. Look at the maps;")
    assert (apart.median, apart.low, apart.high) == (100, -2, 110)
    assert Spread.of([90, 100, 110]).cv == pytest.approx(0.1)
    assert Spread.of([5]).cv is None and Spread.of([-1, 1]).cv is None
    assert "second one" in Spread.of([5]).sentence
