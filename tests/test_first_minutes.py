"""The first five minutes of a biologist with a folder of 16-bit images of three channels, in a real browser."""

import csv
import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from browsing import drop, hero, needs_chromium

import cellapp
from cellapp.image import Image
from cellapp.methods import Options
from cellapp.simulate import simulate

pytest_plugins = ["browsing"]
pytestmark = needs_chromium
SIDE, CELLS = 160, (30, 45, 60, 38)


@pytest.fixture(scope="module")
def scenes() -> dict[str, np.ndarray]:
    """(160, 160) uint16 planes of cells by file name; "dim" is the first scene with other contrast and brightness."""
    made = {f"well_{k + 1}.ome.tif": simulate("vgg-cells", seed=7, index=k, size=(SIDE, SIDE), n=n).image
            for k, n in enumerate(CELLS)}
    planes = {name: grey.astype(np.uint16) * 200 + 300 for name, grey in made.items()}
    planes["dim.ome.tif"] = (planes["well_1.ome.tif"] - 300) // 20 + 4000
    return planes


@pytest.fixture
def folder(scenes, tmp_path) -> Path:
    """The scenes as the DAPI channel of OME-TIFFs of 0.5 µm a pixel, two bad images, and a file that is none."""
    noise = np.random.default_rng(1)
    for name, plane in scenes.items():
        empty, light = noise.integers(200, 260, (2, SIDE, SIDE), dtype=np.uint16)
        tifffile.imwrite(tmp_path / name, np.stack([empty, plane, light * 9]), ome=True, photometric="minisblack",
                         metadata={"axes": "CYX", "Channel": {"Name": ["Phase", "DAPI", "GFP"]},
                                   "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm",
                                   "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"})
    (tmp_path / "cut off.tif").write_bytes((tmp_path / "well_1.ome.tif").read_bytes()[:700])
    (tmp_path / "letter.tif").write_text("Dear reader, this is not an image. " * 20)
    (tmp_path / "protocol.doc").write_bytes(b"fixed and stained")
    return tmp_path


def drag(page, canvas, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw on the canvas; positions are parts of its height and width from the middle."""
    canvas.scroll_into_view_if_needed()
    canvas.wait_for()
    page.wait_for_timeout(1500)                              # what stands above it may still move
    box = canvas.bounding_box()
    (x0, y0), (x1, y1) = ((box["x"] + box["width"] / 2 + x * box["height"], box["y"] + box["height"] * (0.5 + y))
                          for y, x in (start, end))
    page.mouse.move(x0, y0)
    page.mouse.down()
    page.mouse.move((x0 + x1) / 2, (y0 + y1) / 2, steps=4)
    page.mouse.move(x1, y1, steps=4)
    page.mouse.up()


def rows_of(table: str) -> list[dict]:
    return list(csv.DictReader(io.StringIO(table)))


def downloaded(page, name: str) -> Path:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=name).click()
    return Path(waiting.value.path())


def drop_and_answer(page, folder: Path, workspaces: Path) -> None:
    assert page.get_by_text("7 days after your last visit").count()
    drop(page, *sorted(folder.iterdir()))
    page.get_by_text("Your 5 images have 3 channels: which one shows the cells?").wait_for()
    page.get_by_text("1 file set aside").wait_for()
    assert len([f for f in workspaces.glob("*/files/*") if f.is_file()]) == 7
    page.get_by_role("button", name="DAPI", exact=True).click()
    page.get_by_text("Draw a line across one typical cell.").first.wait_for()


def measure_a_cell(page) -> float:
    drag(page, page.locator("canvas[role=application]"), (0.0, 0.0), (0.0, 0.08))
    page.get_by_text("Cells are taken to be").wait_for()
    diameter = float(page.get_by_test_id("stNumberInputField").input_value())
    assert diameter == pytest.approx(0.08 * SIDE, abs=2)
    return diameter


def test_the_first_five_minutes(page, folder, scenes, workspaces):
    drop_and_answer(page, folder, workspaces)
    options = Options(cell_diameter=measure_a_cell(page))
    counter = cellapp.load(cellapp.DEFAULT_WEIGHTS)
    expected = {name: counter.predict(Image.from_array(plane), options).count for name, plane in scenes.items()}
    assert expected["dim.ome.tif"] == pytest.approx(expected["well_1.ome.tif"], rel=0.02), "contrast is not counted"

    page.get_by_role("button", name="Count this image").click()
    page.get_by_text("Sum of the density map").wait_for()
    assert hero(page) == str(round(expected["dim.ome.tif"])), "the first that can be counted"

    page.get_by_role("button", name="Count the other 4").click()
    page.reload()                                            # in the middle of it
    page.get_by_text("5 images", exact=True).filter(visible=True).first.wait_for()
    assert float(page.get_by_test_id("stNumberInputField").input_value()) == options.cell_diameter
    rows = rows_of(downloaded(page, "counts.csv").read_text(encoding="utf-8-sig"))
    assert [row["status"] for row in rows].count("error") == 2 and len(rows) == 7
    counts = {row["image"]: float(row["count"]) for row in rows if row["status"] == "ok"}
    assert counts == pytest.approx(expected, rel=1e-4)
    assert {row["channel"] for row in rows if row["status"] == "ok"} == {"DAPI"}

    page.get_by_text("Regions", exact=True).click()
    drag(page, page.locator("canvas[role=application]"), (-0.2, -0.2), (0.2, 0.2))
    page.get_by_role("button", name="Use these regions on all images").click()
    page.get_by_text("These regions are used on all images").wait_for()
    page.get_by_role("button", name="Exclude").click()
    page.get_by_label("Reason").fill("dust on the slide")
    page.get_by_role("button", name="Exclude this image").click()
    page.get_by_text("Excluded: dust on the slide").filter(visible=True).first.wait_for()

    look_into(downloaded(page, "Everything as zip"), counts)
    page.reload()
    page.get_by_text("Excluded: dust on the slide").filter(visible=True).first.wait_for()
    assert hero(page) == str(round(expected["dim.ome.tif"]))

    page.get_by_role("button", name="Delete everything").click()
    page.get_by_role("button", name="Yes, delete everything").click()
    page.get_by_text("Everything has been deleted.").wait_for()
    assert list(workspaces.iterdir()) == [] and "w=" not in page.url


def look_into(path: Path, counts: dict[str, float]) -> None:
    """The zip holds what it should under the names it should, and its numbers are those of the page."""
    with zipfile.ZipFile(path) as box:
        content = {name: box.read(name) for name in box.namelist()}
    for name in counts:
        stem = name.removesuffix(".tif")
        made = f"{stem}__fcrn-a"
        assert {f"{made}_density.tif", f"{made}_points.csv", f"{made}_overlay.png", f"CellCounter_{stem}.xml"} <= set(
            content)
        density = tifffile.imread(io.BytesIO(content[f"{made}_density.tif"]))
        assert density.dtype == np.float32 and density.sum(dtype=float) == pytest.approx(counts[name], rel=1e-4)
        assert name.encode() in content[f"CellCounter_{stem}.xml"]
    rows = rows_of(content["counts.csv"].decode("utf-8-sig"))
    whole = {row["image"]: row for row in rows if row["region"] == "whole image"}
    parts = [row for row in rows if row["region"] == "Region 1"]
    assert len(parts) == 5 and whole.keys() == counts.keys()
    for part in parts:
        assert 0 < float(part["count"]) < counts[part["image"]]
        assert float(part["area_um2"]) == pytest.approx(float(part["area_px"]) / 4, rel=1e-3)
        assert float(part["density_per_mm2"]) > 0
    assert whole["dim.ome.tif"]["status"] == "excluded" and "dust on the slide" in whole["dim.ome.tif"]["message"]
    run = json.loads(content["run.json"])
    assert {part["name"]: part["count"] for part in run["inputs"] if part["count"]} == pytest.approx(counts, rel=1e-4)
    assert "--channel DAPI" in run["command"] and "run-2.json" not in content


def test_a_zip_of_images_and_an_address_that_names_nothing(page, folder, address):
    page.goto(f"{address}/?w={'A' * 24}")
    page.get_by_text("names no workspace that is still here").wait_for()
    with zipfile.ZipFile(folder / "wells.zip", "w") as box:
        for path in sorted(folder.glob("well_*.tif")):
            box.write(path, f"plate/{path.name}")
        box.writestr("../../evil.tif", b"II*\0")
        box.writestr("plate/notes.txt", "seen on Monday")
    drop(page, folder / "wells.zip")
    page.get_by_text("Your 4 images have 3 channels").wait_for()
    page.get_by_text("1 file set aside").wait_for()
    assert re.search(r"\?w=[A-Za-z0-9_-]{24}$", page.url)
    page.get_by_role("button", name="DAPI", exact=True).click()
    page.get_by_role("button", name="Count all 4").click()
    page.get_by_text("4 images", exact=True).filter(visible=True).first.wait_for()
    rows = rows_of(downloaded(page, "counts.csv").read_text(encoding="utf-8-sig"))
    assert [row["status"] for row in rows].count("ok") == 4
    assert ["leads out of the zip" in row["message"] for row in rows if row["status"] == "error"] == [True]
