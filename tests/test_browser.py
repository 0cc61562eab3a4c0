"""A real browser on a real server: what a visitor does on the Count page."""

import csv
import io
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from browsing import drop, hero, needs_chromium
from PIL import Image

import cellapp
from cellapp.ui.count_files import sample_files

pytest_plugins = ["browsing"]
pytestmark = needs_chromium


def axes(page) -> dict:
    """The ranges of all x axes of the panes, as plotly has them now."""
    return page.evaluate("""() => Object.fromEntries(Object.entries(
        document.querySelector('.js-plotly-plot')._fullLayout).filter(([k]) => /^xaxis\\d*$/.test(k))
        .map(([k, v]) => [k, v.range.map(x => Math.round(x * 1000) / 1000)]))""")


def test_upload_read_toggle_download(page, tmp_path):
    path = tmp_path / "my cells.png"
    shutil.copy(sample_files()[0], path)
    drop(page, path)
    expected = cellapp.count(path)
    page.get_by_text(f"Sum of the density map: {expected.count:.2f} ").wait_for()
    assert hero(page) == str(expected.rounded)

    page.locator(".js-plotly-plot .xy").first.wait_for()
    assert len(axes(page)) == 3
    views = page.get_by_test_id("stButtonGroup").last
    views.get_by_role("button", name="Density").click()
    page.wait_for_function("() => !document.querySelector('.js-plotly-plot .x3y3')")
    assert len(axes(page)) == 2
    views.get_by_role("button", name="Density").click()
    page.locator(".js-plotly-plot .x3y3").first.wait_for()

    with page.expect_download() as waiting:
        page.get_by_role("button", name="counts.csv").click()
    rows = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text(encoding="utf-8-sig"))))
    assert [row["image"] for row in rows] == ["my cells.png"]
    assert float(rows[0]["count"]) == pytest.approx(expected.count, rel=1e-4)

    page.get_by_role("button", name="Files of this image").click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Density map (TIFF)").click()
    import tifffile

    assert tifffile.imread(waiting.value.path()).sum() == pytest.approx(expected.count, rel=1e-4)


def test_zooming_one_pane_zooms_all(page):
    drop(page, sample_files()[0])
    page.locator(".js-plotly-plot .x3y3").first.wait_for()
    before = axes(page)
    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -400)
    page.wait_for_function("old => Math.abs(document.querySelector('.js-plotly-plot')._fullLayout.xaxis3.range[0]"
                           " - old) > 1", arg=before["xaxis3"][0])
    page.wait_for_timeout(500)
    after = axes(page)
    assert after["xaxis"] == after["xaxis2"] == after["xaxis3"] != before["xaxis"]


def test_bad_files_beside_a_good_one(page, tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "letter.png").write_text("Dear reader, this is not an image. " * 20)
    shutil.copy(sample_files()[0], tmp_path / "good.png")
    drop(page, *(tmp_path / name for name in ("empty.png", "letter.png", "good.png")))
    page.get_by_text("Sum of the density map").wait_for()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="counts.csv").click()
    rows = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text(encoding="utf-8-sig"))))
    assert {row["image"]: row["status"] for row in rows} == {"empty.png": "error", "good.png": "ok",
                                                             "letter.png": "error"}
    assert all(row["message"] for row in rows if row["status"] == "error")


def test_cancel_and_go_on(page, tmp_path):
    tile = np.asarray(Image.open(sample_files()[0]))
    Image.fromarray(np.tile(tile, (12, 12))).save(tmp_path / "large.png")
    drop(page, tmp_path / "large.png")
    count = page.get_by_role("button", name="Count this image")
    count.click()                                            # too large to be counted without a click
    tiles = page.get_by_text(re.compile(r"tile \d+ of 36"))
    tiles.wait_for()
    page.get_by_role("button", name="Cancel").click()
    count.wait_for()
    tiles.wait_for(state="hidden")                           # the page is drawn from the top
    assert not page.get_by_test_id("stMetric").count()
    count.click()
    tiles.wait_for()
    page.get_by_role("button", name="Cancel").click()
    count.wait_for()


def test_compare_two_methods(page):
    page.get_by_role("link", name="Compare").click()
    page.get_by_role("heading", name="Do the methods agree?").wait_for()
    chooser = page.get_by_test_id("stMultiSelect")
    chooser.get_by_role("button", name="Clear all").click()
    for title in ("FCRN-A, simulated cells", "FCRN-B, simulated cells"):
        chooser.locator("input").fill(title)
        page.get_by_role("option", name=title).click()
    page.keyboard.press("Escape")                            # while the list is open, the rest takes no clicks
    page.get_by_role("listbox").wait_for(state="hidden")
    chooser.get_by_text("FCRN-B, simulated cells").wait_for()
    drop(page, sample_files()[0])
    page.get_by_text(sample_files()[0].name).first.wait_for()
    page.get_by_text("The methods agree within").wait_for()
    panes = page.locator(".js-plotly-plot").last
    panes.locator(".x3y3").first.wait_for()
    shown = panes.evaluate("""p => ({matches: p._fullLayout.xaxis3.matches, ranges: p._fullData.filter(
        t => t.type === 'heatmap').map(t => [p._fullLayout[t.coloraxis].cmin, p._fullLayout[t.coloraxis].cmax])})""")
    assert shown["matches"] == "x"
    assert len(shown["ranges"]) == 2 and shown["ranges"][0] == shown["ranges"][1]

    with page.expect_download() as waiting:
        page.get_by_role("button", name="compare.csv").click()
    rows = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text(encoding="utf-8-sig"))))
    assert [row["weights"] for row in rows] == ["fcrn-a/simulated", "fcrn-b/simulated"]
    for row in rows:
        expected = cellapp.count(sample_files()[0], row["weights"])
        assert float(row["count"]) == pytest.approx(expected.count, rel=1e-4)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="All as zip").click()
    with zipfile.ZipFile(waiting.value.path()) as box:
        names = box.namelist()
    assert names[0] == "compare.csv"
    assert sum(name.endswith("_overlay.png") for name in names) == 2


@pytest.mark.parametrize("context", [{"viewport": {"width": 390, "height": 844}}], indirect=True)
def test_a_phone_stacks_the_panes_and_never_scrolls_sideways(page):
    from playwright.sync_api import TimeoutError

    button, plot = page.get_by_role("button", name="Try a sample"), page.locator(".js-plotly-plot .x3y3").first
    button.click()
    try:
        plot.wait_for(timeout=60_000)
    except TimeoutError:                                     # lost while a busy machine still connected: click again
        button.click()
        plot.wait_for()
    page.wait_for_function("""() => { const l = document.querySelector('.js-plotly-plot')._fullLayout;
        return l.yaxis3 && l.yaxis.domain[0] >= l.yaxis2.domain[1] }""")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
