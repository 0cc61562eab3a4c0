"""Results as files: what a spreadsheet, ImageJ and a zip program make of them."""

import csv
import datetime
import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from conftest import about_untrained
from PIL import Image as PillowImage

from cellapp import weights as store
from cellapp.batch import Result, with_regions
from cellapp.dots import read_dots, read_dots_file
from cellapp.export import (
    all_files,
    archive,
    archive_name,
    counts_csv,
    density_tiff,
    files_of,
    labels_tiff,
    write_archive,
)
from cellapp.image import Image, read_image
from cellapp.methods import Options
from cellapp.overlays import overlay, png
from cellapp.prediction import Interval, Prediction
from cellapp.regions import box
from cellapp.run_record import Recorder, read_run

COLUMNS = ("image, channel, region, method, weights, count, low, high, level, count_rounded, n_manual, error, area_px, "
           "area_um2, density_per_mm2, pixel_size_um, cell_diameter_px, bit_depth, seconds, device, status, message")
SHAPE = 60, 80
POINTS = np.array([(10.0, 20.0), (40.25, 61.5)])


def result(name="a.png", **changes) -> Result:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 4096, SHAPE, dtype=np.uint16)
    density = rng.normal(0.001, 0.01, SHAPE).astype(np.float32)
    image = replace(Image.from_array(pixels, name), pixel_size_um=0.5, bit_depth=12)
    prediction = Prediction.from_density(density, POINTS, method="fcrn-a", weights="fcrn-a/untrained", seconds=1.25,
                                         cell_diameter=12.0)
    return replace(Result(name, "ok", "", image, prediction, Options()), **changes)


def segmented(name="a.png") -> Result:
    labels = np.zeros(SHAPE, np.int32)
    labels[5:15, 15:25], labels[35:45, 55:70] = 1, 2
    one = result(name)
    return replace(one, prediction=Prediction.from_labels(labels, POINTS, method="fcn", weights="fcn/untrained",
                                                          views={"foreground": np.float32(0.25) * (labels > 0)}))


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_columns_are_those_that_users_were_promised():
    assert counts_csv([]).strip() == COLUMNS.replace(", ", ",")
    assert counts_csv([result()]).splitlines()[0] == COLUMNS.replace(", ", ",")


def test_a_row_says_what_was_counted():
    one = result()
    row = rows(counts_csv([one]))[0]
    assert float(row["count"]) == pytest.approx(one.prediction.count, rel=1e-5)
    assert row["count_rounded"] == str(one.prediction.rounded)
    assert (row["image"], row["method"], row["weights"]) == ("a.png", "fcrn-a", "fcrn-a/untrained")
    assert (row["area_px"], float(row["area_um2"])) == ("4800", 1200)
    assert float(row["density_per_mm2"]) == pytest.approx(one.prediction.count / 0.0012, rel=1e-5)
    assert (row["bit_depth"], row["pixel_size_um"], row["cell_diameter_px"]) == ("12", "0.5", "12")
    assert (row["channel"], row["region"], row["status"], row["message"]) == ("auto", "whole image", "ok", "")
    assert row["low"] == row["high"] == row["n_manual"] == row["error"] == ""


def test_an_interval_is_carried_into_the_row():
    one = result()
    prediction = replace(one.prediction, interval=Interval(3.5, 8.25, 0.9, "conformal"))
    row = rows(counts_csv([replace(one, prediction=prediction)]))[0]
    assert (row["low"], row["high"], row["level"]) == ("3.5", "8.25", "0.9")


def test_a_failed_image_keeps_its_row():
    failed = Result("b.png", "error", "b.png: the file is empty (0 bytes); export it again, please.")
    table = rows(counts_csv([result(), failed]))
    assert [row["status"] for row in table] == ["ok", "error"]
    assert table[1]["message"] == failed.message
    assert table[1]["count"] == ""


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\xa0=1"])
def test_no_text_becomes_a_formula(text):
    row = rows(counts_csv([result(name=text), Result("x", "error", text)]))
    for cell in (row[0]["image"], row[1]["message"]):
        assert cell.startswith("'")
        assert cell.removeprefix("'").strip() == text.strip()


def test_ordinary_text_stays_as_it_is_and_on_one_line():
    row = rows(counts_csv([Result("a=b - 1.png", "error", "one\rtwo\nthree, “four” \"five\"")]))
    assert len(row) == 1
    assert row[0]["image"] == "a=b - 1.png"
    assert row[0]["message"] == "one two three, “four” \"five\""


def test_numbers_stay_numbers_even_below_zero():
    one = result()
    negative = replace(one, prediction=replace(one.prediction, count=-0.25))
    row = rows(counts_csv([negative]))[0]
    assert row["count"] == "-0.25"
    assert row["count_rounded"] == "0"


@pytest.mark.parametrize("shape", [SHAPE, (1, 1), (1, 7)])
def test_the_density_tiff_is_float32_and_sums_to_the_count(shape):
    prediction = Prediction.from_density(np.random.default_rng(2).normal(0, 1, shape).astype(np.float32))
    content = density_tiff(prediction.density)
    with tifffile.TiffFile(io.BytesIO(content)) as tif:
        read = tif.asarray()
        assert tif.is_imagej
    assert read.dtype == np.float32
    np.testing.assert_array_equal(np.atleast_2d(read).reshape(shape), prediction.density)
    assert read.sum(dtype=np.float64) == pytest.approx(prediction.count, abs=1e-9)


def test_a_cut_out_map_is_written_as_it_is():
    part = np.arange(100, dtype=np.float32).reshape(10, 10)[2:9, 1:6]
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(density_tiff(part))), part)


def test_the_overlay_differs_from_the_image_only_near_the_points():
    one = result()
    plain = overlay(one.image, replace(one.prediction, points=np.empty((0, 2))))
    drawn = overlay(one.image, one.prediction)
    assert plain.shape == drawn.shape == (*SHAPE, 3)
    assert drawn.dtype == np.uint8
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    far = np.min([np.hypot(y - cy, x - cx) for cy, cx in POINTS], axis=0) > 8
    changed = (plain != drawn).any(axis=2)
    assert not changed[far].any()
    for cy, cx in POINTS:
        assert changed[np.hypot(y - cy, x - cx) <= 8].any()
    assert (plain[..., 0] == plain[..., 2]).all(), "a grey image is shown in grey"


def test_the_files_of_an_image_open_again(tmp_path):
    files = files_of(result("Plate 1.tif"))
    assert sorted(files) == ["CellCounter_Plate 1.xml", *(
        f"Plate 1__fcrn-a{end}" for end in (".geojson", "_density.tif", "_overlay.png", "_points.csv", "_rois.zip"))]
    assert PillowImage.open(io.BytesIO(files["Plate 1__fcrn-a_overlay.png"])).size == SHAPE[::-1]
    (tmp_path / "points.csv").write_bytes(files["Plate 1__fcrn-a_points.csv"])
    np.testing.assert_array_equal(read_dots(tmp_path / "points.csv"), POINTS)


def test_png_keeps_every_pixel():
    for array in (np.arange(256, dtype=np.uint8).reshape(16, 16), np.arange(300, dtype=np.uint8).reshape(10, 10, 3)):
        np.testing.assert_array_equal(np.asarray(PillowImage.open(io.BytesIO(png(array)))), array)


def test_images_of_the_same_name_lose_no_file():
    taken, files = set(), {}
    for name in ("a.png", "a.tif", "a.png", "A.png", "b.png", "a-2.png"):
        files |= files_of(result(name), taken)
    assert len(files) == 6 * 6
    assert len({name.casefold() for name in files}) == 6 * 6, "some file systems do not tell a from A"
    assert "a__fcrn-a_density.tif" in files
    assert {"a-2__fcrn-a_density.tif", "CellCounter_a.xml", "CellCounter_a-2.xml"} <= files.keys()


@pytest.mark.parametrize("name", ["../../up.png", "/etc/passwd", "..\\..\\up.png", "C:\\up.png", "..", ".png", "",
                                  "a\0b"])
def test_no_name_leads_out_of_the_zip(name):
    one = result(name)
    files = files_of(one)
    with zipfile.ZipFile(io.BytesIO(archive(counts_csv([one]), files))) as box:
        assert len(box.namelist()) == 7
        for inside in box.namelist():
            assert not set(inside) & set("/\\:\0")
            assert not inside.startswith(".")


def test_the_archive_opens_in_excel_and_holds_everything():
    one = result("Größe µ.png")
    files = files_of(one)
    content = archive(counts_csv([one]), files)
    with zipfile.ZipFile(io.BytesIO(content)) as box:
        assert box.testzip() is None
        assert box.namelist() == ["counts.csv", *files]
        table = box.read("counts.csv")
        assert all(box.read(name) == data for name, data in files.items())
    assert table.startswith(b"\xef\xbb\xbf"), "without the mark Excel does not read UTF-8"
    assert rows(table.decode("utf-8-sig"))[0]["image"] == "Größe µ.png"
    assert archive(counts_csv([one]), files) == content


@pytest.mark.parametrize("one", [result(), segmented()], ids=["density", "labels"])
def test_rows_outlive_their_arrays(one):
    short = one.without_arrays()
    assert counts_csv([short]) == counts_csv([one])
    assert short.prediction.arrays() == {}
    assert short.image.pixels.base is not None
    assert short.image.pixels.strides == (0, 0)


def test_labels_and_further_maps_come_back_from_their_files(tmp_path):
    one = segmented("Plate 1.tif")
    files = files_of(one)
    assert sorted(files) == ["CellCounter_Plate 1.xml", *(
        f"Plate 1__fcn{end}" for end in (".geojson", "_foreground.tif", "_mask.png", "_mask.tif", "_overlay.png",
                                         "_points.csv", "_rois.zip"))]
    labels = tifffile.imread(io.BytesIO(files["Plate 1__fcn_mask.tif"]))
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels, one.prediction.labels)
    view = tifffile.imread(io.BytesIO(files["Plate 1__fcn_foreground.tif"]))
    assert view.dtype == np.float32
    np.testing.assert_array_equal(view, one.prediction.views["foreground"])
    picture = np.asarray(PillowImage.open(io.BytesIO(files["Plate 1__fcn_overlay.png"])))
    coloured = (picture.max(axis=2) != picture.min(axis=2))
    assert coloured.any() and not coloured[labels == 0].any()
    mask = np.asarray(PillowImage.open(io.BytesIO(files["Plate 1__fcn_mask.png"])))
    np.testing.assert_array_equal(mask.any(axis=2), labels > 0)


def test_labels_are_no_black_picture_and_may_be_many():
    few = np.zeros((30, 40), np.int32)
    few[3, 4] = 7
    with tifffile.TiffFile(io.BytesIO(labels_tiff(few))) as tif:
        assert tif.is_imagej and (tif.imagej_metadata["min"], tif.imagej_metadata["max"]) == (0, 7)
    many = np.arange(300 * 300, dtype=np.int32).reshape(300, 300)
    read = tifffile.imread(io.BytesIO(labels_tiff(many)))
    assert read.dtype == np.uint32
    np.testing.assert_array_equal(read, many)


def test_a_larger_map_keeps_its_size():
    one = result()
    larger = np.random.default_rng(3).uniform(0, 9, (SHAPE[0] + 32, SHAPE[1] + 32)).astype(np.float32)
    files = files_of(replace(one, prediction=replace(one.prediction, views={"redundant": larger})))
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(files["a__fcrn-a_redundant.tif"])), larger)


def test_several_weights_of_one_method_keep_their_names():
    files, taken = {}, set()
    for weights in ("fcrn-a/simulated", "fcrn-a/vgg-cells"):
        one = result()
        files |= files_of(replace(one, prediction=replace(one.prediction, weights=weights)), taken, by="weights")
    assert "a__fcrn-a_simulated_density.tif" in files and "a__fcrn-a_vgg-cells_density.tif" in files
    assert {"CellCounter_a.xml", "CellCounter_a__fcrn-a_vgg-cells.xml"} <= files.keys()


def test_a_failed_method_is_named_in_its_row():
    row = rows(counts_csv([Result("b.png", "error", "no", method="fcn", weights="fcn/x")]))[0]
    assert (row["method"], row["weights"], row["count"]) == ("fcn", "fcn/x", "")


def test_regions_exclusion_and_manual_counts_are_in_the_table():
    one = result()
    left = with_regions(one, [box("left =half", -0.5, -0.5, 59.5, 39.5), box("away", 900, 900, 950, 950)])
    whole, half, away = rows(counts_csv([replace(left, excluded="blurred", n_manual=3)]))
    assert (whole["region"], whole["status"], whole["message"]) == ("whole image", "excluded", "Excluded: blurred")
    assert (whole["n_manual"], float(whole["error"])) == ("3", pytest.approx(one.prediction.count - 3, rel=1e-4))
    inside = one.prediction.density[:, :40].sum(dtype=float)
    assert float(half["count"]) == pytest.approx(inside, rel=1e-4)
    assert (half["region"], half["area_px"], half["area_um2"], half["status"]) == ("left =half", "2400", "600",
                                                                                   "excluded")
    assert float(half["density_per_mm2"]) == pytest.approx(inside / 0.0006, rel=1e-4)
    assert half["n_manual"] == half["error"] == ""
    assert away["count"] == "" and "away" in away["message"]


@pytest.mark.parametrize("one", [result("Plate 1.tif"), segmented("Plate 1.tif")], ids=["density", "labels"])
def test_fiji_and_qupath_read_the_cells_where_they_are(one):
    files = files_of(one)
    stem = f"Plate 1__{one.prediction.method}"
    markers = read_dots_file(files["CellCounter_Plate 1.xml"], "x.xml")
    assert list(markers) == ["Plate 1.tif"], "Fiji refuses any other name"
    np.testing.assert_array_equal(markers["Plate 1.tif"].points, np.floor(POINTS + 0.5))
    labels = one.prediction.labels
    centres = POINTS if labels is None else [np.argwhere(labels == k).mean(axis=0) for k in (1, 2)]
    for name in (f"{stem}_rois.zip", f"{stem}.geojson"):
        np.testing.assert_allclose(read_dots_file(files[name], name)[""].points, centres, atol=0.05)


def test_no_cell_is_no_problem():
    empty = replace(result(), prediction=Prediction.from_density(np.zeros(SHAPE, np.float32), np.empty((0, 2)),
                                                                 method="fcrn-a"))
    files = files_of(empty)
    assert "a__fcrn-a_rois.zip" not in files, "ImageJ has no empty set"
    assert list(read_dots_file(files["CellCounter_a.xml"], "x.xml")["a.png"].points) == []
    assert json.loads(files["a__fcrn-a.geojson"])["features"] == []


@pytest.mark.parametrize(("one", "end"), [(result(), "density"), (segmented(), "mask"), (segmented(), "foreground")])
def test_imagej_is_told_the_size_of_a_pixel(one, end):
    name = f"a__{one.prediction.method}_{end}.tif"
    with tifffile.TiffFile(io.BytesIO(files_of(one)[name])) as tif:
        assert tif.imagej_metadata["unit"] == "um"
    assert read_image(files_of(one)[name], name).pixel_size_um == pytest.approx(0.5)
    many = np.arange(300 * 300, dtype=np.int32).reshape(300, 300)
    with tifffile.TiffFile(io.BytesIO(labels_tiff(many, 0.25))) as tif:
        assert tif.pages[0].get_resolution("micrometer") == pytest.approx((4, 4))


def test_the_zip_is_written_as_its_files_come_or_not_at_all(tmp_path):
    def results():
        for k in range(3):
            yield result(f"a{k}.png") if k else Result("a0.png", "error", "no")

    part = store.Part(file="a.safetensors", sha256="0" * 64, bytes=1)
    row = store.Weights(files=(part,), **about_untrained("fcrn-a"))
    recorder = Recorder(row, Options(), [box("left", 0, 0, 9, 9)])
    write_archive(tmp_path / "all.zip", all_files(results(), recorder))
    with zipfile.ZipFile(tmp_path / "all.zip") as archived:
        assert archived.testzip() is None
        names = archived.namelist()
        assert names[-3:] == ["counts.csv", "run.json", "regions.geojson"]
        assert len(names) == 2 * 6 + 3
        assert len(rows(archived.read("counts.csv").decode("utf-8-sig"))) == 3
        run = read_run(archived.read("run.json"))
        assert [one.name for one in run.inputs] == ["a0.png", "a1.png", "a2.png"]

    def broken():
        yield "one", b"1"
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_archive(tmp_path / "half.zip", broken())
    assert [path.name for path in tmp_path.iterdir()] == ["all.zip"]
    assert archive_name("x", datetime.date(2026, 2, 3)) == "counts_2026-02-03_2d711642.zip"
