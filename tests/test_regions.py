"""Regions: what they cover, what is counted in them, files, counting chambers, other images."""

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import shapely

from cellapp.chamber import PATTERNS, along, chamber, per_ml
from cellapp.errors import RegionError
from cellapp.figures import panes
from cellapp.image import read_image
from cellapp.overlays import overlay, png
from cellapp.prediction import Interval, Prediction
from cellapp.region_files import read_regions, write_regions, write_roi_zip
from cellapp.region_geometry import coverage, inside
from cellapp.regions import Region, box, check, fit_to, measure

SHAPE = (40, 60)


def covered(outline, shape=SHAPE) -> np.ndarray:
    out = np.zeros(shape)
    for place, part in coverage(np.asarray(outline, float), shape):
        out[place] += part
    return out


def star(rng, centre, corners: int, least=3.0, most=18.0) -> np.ndarray:
    """A polygon without crossings: its corners go round a centre."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    return np.array(centre) + rng.uniform(least, most, corners)[:, None] * np.stack([np.sin(angles), np.cos(angles)], 1)


def predictions(rng) -> dict[str, Prediction]:
    density = rng.normal(0.02, 0.05, SHAPE).astype(np.float32)
    points = rng.uniform(-0.5, np.array(SHAPE) - 0.5, (500, 2))
    labels = np.zeros(SHAPE, np.int32)
    places = [(y, x) for y in range(1, 38, 4) for x in range(1, 58, 4)]
    for k, (y, x) in enumerate(places, 1):
        labels[y : y + 2, x : x + 3] = k
    centres = np.array(places) + np.array([0.5, 1.0])
    return {"density": Prediction.from_density(density), "labels": Prediction.from_labels(labels, centres),
            "points": Prediction(500.0, SHAPE, points=points)}


def test_coverage_is_the_area_of_each_pixel_inside(rng):
    for outline in [star(rng, (20, 25), 7), star(rng, (5, 55), 9), [(0.2, 0.7), (0.2, 0.9), (0.4, 0.8)],
                    [(-9, -9), (-9, 99), (99, 99), (99, -9)], [(3.5, 4.5), (3.5, 9.5), (8.5, 9.5), (8.5, 4.5)]]:
        polygon = shapely.Polygon(outline)
        expected = [[polygon.intersection(shapely.box(y - 0.5, x - 0.5, y + 0.5, x + 0.5)).area
                     for x in range(SHAPE[1])] for y in range(SHAPE[0])]
        np.testing.assert_allclose(covered(outline), expected, atol=1e-9)
        np.testing.assert_allclose(covered(outline[::-1]), expected, atol=1e-9)


def test_a_region_of_blocks_is_the_region_at_once(rng, monkeypatch):
    outline = star(rng, (20, 30), 11)
    whole = covered(outline)
    monkeypatch.setattr("cellapp.region_geometry._BLOCK", 64)
    assert len(list(coverage(outline, SHAPE))) > 5
    np.testing.assert_allclose(covered(outline), whole, atol=1e-12)


def test_points_inside_as_shapely_says(rng):
    outline = star(rng, (20, 30), 12)
    points = rng.uniform(0, 50, (2000, 2))
    polygon = shapely.Polygon(outline)
    np.testing.assert_array_equal(inside(points, outline), shapely.contains_xy(polygon, points))
    square = np.array([(0, 0), (0, 4), (4, 4), (4, 0)])
    on = np.array([(0, 0), (0, 2), (2, 0), (4, 2), (2, 4), (4, 4), (0, 4), (4, 0)])
    assert inside(on, square).tolist() == [True, True, True, False, False, False, False, False]


@pytest.mark.parametrize("what", ["density", "labels", "points"])
def test_the_parts_of_a_whole_sum_to_it(rng, what):
    """Cut by slanted lines through one corner, and into boxes whose borders run through centres of cells."""
    prediction = predictions(rng)[what]
    bottom, right = SHAPE[0] - 0.5, SHAPE[1] - 0.5
    middle, rim = (17.3, 30.0), [(-0.5, -0.5), (-0.5, 21.7), (-0.5, right), (11.0, right), (bottom, right),
                                 (bottom, 8.25), (bottom, -0.5)]
    slices = [Region(str(k), "polygon", [middle, a, b])
              for k, (a, b) in enumerate(zip(rim, rim[1:] + rim[:1], strict=True))]
    edges = (-0.5, 9.5, 20.0, bottom), (-0.5, 1.0, 29.0, 42.25, right)
    boxes = [box(f"{t} {left}", t, left, b, r) for t, b in zip(edges[0], edges[0][1:], strict=False)
             for left, r in zip(edges[1], edges[1][1:], strict=False)]
    for parts in (slices, boxes):
        counts = [measure(prediction, region) for region in parts]
        assert sum(c.count for c in counts) == pytest.approx(prediction.count, abs=1e-6)
        assert sum(c.area_px for c in counts) == pytest.approx(SHAPE[0] * SHAPE[1], abs=1e-6)


def test_areas_densities_and_intervals(rng):
    prediction = replace(predictions(rng)["density"], interval=Interval(40, 60, 0.95, "aleatoric"))
    part = measure(prediction, box("a", 9.5, 9.5, 19.5, 29.5), 2.0)
    assert (part.area_px, part.area_um2) == (pytest.approx(200), pytest.approx(800))
    assert part.count == pytest.approx(float(prediction.density[10:20, 10:30].sum(dtype=float)))
    assert part.density_per_mm2 == pytest.approx(part.count / 800e-6)
    assert part.low is None and "whole image" in part.note
    assert measure(prediction, box("a", 9.5, 9.5, 19.5, 29.5)).area_um2 is None

    whole = measure(prediction, box("all", -0.5, -0.5, 39.5, 59.5))
    assert (whole.count, whole.low, whole.high, whole.level) == (prediction.count, 40, 60, 0.95)
    over = measure(prediction, box("over", 30, 50, 50, 70))
    assert over.area_px == pytest.approx(9.5 * 9.5)
    assert "% of region 'over' lie outside" in over.note


def test_a_method_of_one_number_says_nothing_about_a_region():
    found = measure(Prediction(7.0, SHAPE), box("a", 2, 2, 9, 9))
    assert found.count is None and "one number" in found.note
    assert found.area_px == pytest.approx(49)


def test_regions_that_enclose_nothing_get_a_sentence(rng):
    bad = {"fewer than three": [(1, 1), (5, 5)], "one line": [(1, 1), (5, 5), (9, 9)],
           "crosses or touches itself at x = 5, y = 5": [(0, 0), (10, 10), (10, 0), (0, 10)],
           "no number": [(0, 0), (np.nan, 10), (10, 0)], "outside the image of 60×40": [(50, 0), (50, 9), (60, 0)],
           "corners, more than": rng.uniform(0, 9, (20_001, 2))}
    for words, outline in bad.items():
        region = Region("Well 3", "polygon", outline)
        with pytest.raises(RegionError, match=words) as told:
            check(region, SHAPE)
        assert "Well 3" in str(told.value)
        found = measure(predictions(rng)["density"], region)
        assert found.count is None and found.note == str(told.value)


def test_regions_are_values(rng):
    region = Region("a", "polygon", [(1, 2), (3, 4), (5, 0.25), (1, 2)])
    assert len(region.outline) == 3                          # the first corner need not be repeated
    again = Region.from_dict(json.loads(json.dumps(region.to_dict())))
    assert again == region and hash(again) == hash(region)
    assert region != replace(region, name="b")
    with pytest.raises(ValueError, match="read-only"):
        region.outline[0] = 0
    for damaged in ({}, {"name": "a", "kind": "box", "outline": "x"}, {"name": "a", "kind": "box", "outline": [1]}):
        with pytest.raises(RegionError):
            Region.from_dict(damaged)


def test_two_sides_of_a_square_count(rng):
    labels = np.zeros(SHAPE, np.int32)
    squares = [box(f"{y} {x}", y - 0.5, x - 0.5, y + 9.5, x + 9.5) for y in (0, 10, 20) for x in (0, 10, 20)]
    cells = {"inside": (13, 13), "on the left": (14, 8), "on the top": (8, 15), "on the right": (14, 18),
             "on the bottom": (18, 14), "on the corner": (8, 8)}
    for k, (y, x) in enumerate(cells.values(), 1):
        labels[y : y + 3, x : x + 3] = k
    prediction = Prediction.from_labels(labels, np.array([*cells.values()], float) + 1)
    counts = {square.name: measure(prediction, square, border="two sides").count for square in squares}
    assert counts["10 10"] == 4                              # inside, left, top, corner
    assert sum(counts.values()) == 6                         # and each cell in one square only
    # Without outlines the cells' diameter takes their place.
    round_ = Prediction(6.0, SHAPE, points=prediction.points, cell_diameter=3.0)
    assert {s.name: measure(round_, s, border="two sides").count for s in squares} == counts
    # The same grid, turned: every square has its cells.
    angle = np.radians(20)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned = Prediction(6.0, (80, 80), points=prediction.points @ turn + [20, 5], cell_diameter=3.0)
    for s in squares:
        region = Region(s.name, "polygon", s.outline @ turn + [20, 5])
        assert measure(turned, region, border="two sides").count == counts[s.name]


def test_chambers_have_the_squares_they_are_known_for():
    um = 2.0
    for name, pattern in PATTERNS.items():
        span = 1000 * (pattern.pitch_mm * (pattern.columns - 1) + pattern.side_mm) / um
        squares = chamber((int(span) + 3, int(span) + 3), um, name, origin=(0.5, 1.5))
        assert len(squares) == pattern.rows * pattern.columns
        assert len({s.name for s in squares}) == len(squares)
        found = measure(Prediction(0.0, (int(span) + 3,) * 2), check(squares[-1]), um)
        assert found.area_um2 == pytest.approx((1000 * pattern.side_mm) ** 2)
    assert chamber((1500, 1500), um, "neubauer-large")[3].name == "B1"
    # 25 cells in a large square of 0.1 mm depth are 250,000 a millilitre.
    assert per_ml(25, "neubauer-large") == pytest.approx(250_000)
    assert per_ml(16, "fuchs-rosenthal-large", dilution=2) == pytest.approx(160_000)


def test_chambers_lie_along_a_line_and_stay_inside():
    squares = chamber((600, 700), 2.0, "neubauer-corner", **along((100, 150), (150, 300)))
    first = squares[0].outline
    assert first[0] == pytest.approx([100, 150])
    side = first[1] - first[0]
    assert np.hypot(*side) == pytest.approx(125) and side[0] / side[1] == pytest.approx(1 / 3)
    assert first[3] - first[0] == pytest.approx([side[1], -side[0]])  # down, a quarter turn clockwise
    few = chamber((300, 300), 2.0, "neubauer-corner", origin=(10, 10))
    assert [s.name for s in few] == ["A1", "A2", "B1", "B2"]
    for arguments, words in (((SHAPE, None, "neubauer-large"), "size of a pixel"), ((SHAPE, 0.5, "neubauer-large"),
                             "fits into the image of 60×40"), ((SHAPE, 0.5, "malassez"), "choose one of neubauer"),
                             ((SHAPE, 999.0, "neubauer-small"), "check the pixel size")):
        with pytest.raises(RegionError, match=words):
            chamber(*arguments)


def test_regions_on_other_images():
    regions = [box("a", -0.5, -0.5, 9.5, 19.5)]
    assert fit_to(regions, SHAPE, SHAPE) == (regions, "")
    [half], said = fit_to(regions, SHAPE, (20, 30))
    assert half == box("a", -0.5, -0.5, 4.5, 9.5)
    assert "scaled by 0.5" in said and "60×40" in said and "30×20" in said
    with pytest.raises(RegionError, match="other proportions"):
        fit_to(regions, SHAPE, (60, 40))


def geojson(*features) -> bytes:
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def feature(rings, kind="Polygon", **properties) -> dict:
    return {"type": "Feature", "id": "8e0b2f6a-0000-4000-8000-000000000000",
            "geometry": {"type": kind, "coordinates": rings},
            "properties": {"objectType": "annotation", **properties}}


SQUARE = [[10, 5], [20, 5], [20, 15], [10, 15], [10, 5]]


def test_geojson_as_qupath_writes_it():
    content = geojson(
        feature([SQUARE], name="Tumour"), feature([SQUARE], classification={"name": "Tumour", "color": [200, 0, 0]}),
        feature([[[1.5, 2.5], [9.25, 3], [4, 8.75], [1.5, 2.5]]]), feature([SQUARE], objectType="cell"),
        feature([3, 4], "Point"))
    found = read_regions(content, SHAPE, "qupath.geojson")
    assert [r.name for r in found.regions] == ["Tumour", "Tumour 2", "Region"]
    assert found.regions[0] == box("Tumour", 4.5, 9.5, 14.5, 19.5)  # rows 5 … 14, columns 10 … 19
    assert found.regions[2].outline.tolist() == [[2.0, 1.0], [2.5, 8.75], [8.25, 3.5]]
    assert found.notes == ["2 objects that are no regions drawn by hand (points, lines, cells) are left out."]


def test_holes_parts_and_crossings_are_made_of_plain_regions():
    hole = [[12, 8], [15, 8], [15, 11], [12, 11], [12, 8]]
    other = [[30, 5], [40, 5], [40, 15], [30, 15], [30, 5]]
    eight = [[10, 20], [20, 30], [20, 20], [10, 30], [10, 20]]
    trembled = [[40, 20], [50, 20], [50, 30], [45, 30], [45.2, 30.2], [45.2, 30], [45, 30.2], [40, 30], [40, 20]]
    found = read_regions(geojson(feature([SQUARE, hole], name="ring"), feature([[SQUARE], [other]], "MultiPolygon",
                         name="two"), feature([eight], name="eight"), feature([trembled], name="hand")), SHAPE)
    names = [r.name for r in found.regions]
    assert names == ["ring part 1", "ring part 2", "two part 1", "two part 2", "eight part 1", "eight part 2", "hand"]
    areas = {name: sum(covered(r.outline).sum() for r in found.regions if r.name.startswith(name))
             for name in ("ring", "two", "eight", "hand")}
    assert areas == pytest.approx({"ring": 91, "two": 200, "eight": 50, "hand": 100.5}, abs=0.2)
    assert "read as 2 regions" in found.notes[0] and "specks" in found.notes[-1]
    for region in found.regions:
        check(region, SHAPE)


@pytest.mark.parametrize("write", [write_regions, write_roi_zip])
def test_files_give_back_what_they_were_given(rng, write):
    regions = [box("A1", -0.5, -0.5, 9.5, 19.5), Region("Insel / <ß> 2", "polygon", star(rng, (20, 30), 9)),
               box("thin", 3.25, 3.125, 3.75, 30.5)]
    again = read_regions(write(regions), SHAPE).regions
    assert [(r.name, r.kind) for r in again] == [(r.name, r.kind) for r in regions]
    for mine, other in zip(regions, again, strict=True):
        np.testing.assert_allclose(other.outline, mine.outline, atol=1e-5)
    assert write(regions) == write(regions)


def test_rois_of_imagej():
    from roifile import ROI_TYPE, ImagejRoi

    rectangle = ImagejRoi()
    rectangle.roitype, rectangle.name = ROI_TYPE.RECT, "0005-0010"
    rectangle.left, rectangle.top, rectangle.right, rectangle.bottom = 10, 5, 20, 15
    round_ = ImagejRoi.frombytes(rectangle.tobytes())
    round_.roitype, round_.name = ROI_TYPE.OVAL, "oval"
    free = ImagejRoi.frompoints(np.array([(3, 4), (30, 6), (12, 33)], np.int32), name="free")
    dots = ImagejRoi.frompoints(np.array([(3.5, 4.5)], np.float32), name="dots")
    dots.roitype = ROI_TYPE.POINT
    assert read_regions(rectangle.tobytes(), SHAPE).regions == [box("0005-0010", 4.5, 9.5, 14.5, 19.5)]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as pack:
        for k, roi in enumerate((rectangle, round_, free, dots)):
            pack.writestr(f"{k}.roi", roi.tobytes())
    found = read_regions(out.getvalue(), SHAPE)
    assert [r.name for r in found.regions] == ["0005-0010", "oval", "free"]
    assert covered(found.regions[1].outline).sum() == pytest.approx(25 * np.pi, rel=1e-3)
    assert found.regions[1].outline.mean(axis=0) == pytest.approx([9.5, 14.5], abs=0.01)
    assert found.regions[2].outline.tolist() == [[3.5, 2.5], [5.5, 29.5], [32.5, 11.5]]
    assert found.notes == ["1 ROIs that enclose nothing (points, lines) are left out."]


def test_region_files_that_are_none(tmp_path):
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr("../../bomb.roi", b"Iout" + bytes(3 * 1024**2))
    cases = {b"": "neither GeoJSON nor", b"name,x,y\n": "neither GeoJSON nor", b"{": "damaged or cut off",
             b"[" * 100_000: "damaged or cut off", b"Iout" + b"\0" * 20: "damaged or cut off",
             bomb.getvalue(): "far too large or far too densely", bomb.getvalue()[:-9]: "damaged or cut off",
             geojson(): "no outlines", b'{"type": "FeatureCollection", "features": [5]}': "no GeoJSON of regions",
             geojson(feature([[["a", 2], [3, 4], [5, 6]]])): "no GeoJSON of regions",
             geojson(feature([[[1e9, 2], [1e9, 4], [2e9, 6], [1e9, 2]]], name="far")): "outside the image",
             geojson(feature([[[1, 2], [5, 2]]], name="thin")): "fewer than three",
             geojson(*[feature([SQUARE])] * 2_001): "more than the 2,000"}
    for content, words in cases.items():
        with pytest.raises(RegionError, match=words) as told:
            read_regions(content, SHAPE, "my regions")
        assert str(told.value).startswith("my regions: ")
    with pytest.raises(RegionError, match="cannot be opened"):
        read_regions(tmp_path / "nowhere.geojson")
    mixed = geojson(feature([SQUARE], name="good"), feature([[[1, 2], [5, 2]]], name="thin"))
    found = read_regions(mixed, SHAPE)
    assert [r.name for r in found.regions] == ["good"] and "'thin' has fewer" in found.notes[0]
    with pytest.raises(RegionError, match="draw one first"):
        write_roi_zip([])


def test_regions_are_drawn_over_panes_and_pictures(rng):
    image = read_image(png(rng.integers(0, 255, SHAPE, np.uint8)), "a.png")
    prediction = predictions(rng)["density"]
    regions = [box("A1", 4.5, 9.5, 14.5, 19.5), box("<b>x</b>", 20, 30, 30, 50)]
    plain, drawn = (panes(image, prediction, regions=r) for r in ((), regions))
    new = [trace for trace in drawn.data if trace.type == "scatter" and "lines" in trace.mode]
    assert len(drawn.data) - len(plain.data) == len(new) == 2 * 3  # in two panes a rim and two colours
    assert new[1].x[:5].tolist() == [9.5, 19.5, 19.5, 9.5, 9.5] and new[1].y[:5].tolist() == [4.5, 4.5, 14.5, 14.5, 4.5]
    assert new[1].text[0].strip() == "A1" and new[2].text[0].strip() == "&lt;b&gt;x&lt;/b&gt;"
    before, after = overlay(image, prediction), overlay(image, prediction, regions=regions)
    changed = (before != after).any(axis=2)
    assert changed[4:16, 9:21].any() and changed[5, 10:20].mean() + changed[4, 10:20].mean() >= 1
    assert not changed[:2].any()
