"""The image canvas in a real browser: drawing, changing, looking, and what reaches Python."""

import urllib.error
import urllib.request

import numpy as np
import pytest
from browsing import PHONE, ROOT, Server, at, canvas_of, needs_chromium, view_of
from streamlit.testing.v1 import AppTest

from cellapp.ui.canvas import Shape, length_of, pictures, regions_of, shapes_of
from cellapp.ui.canvas.component import _read

pytest_plugins = ["browsing"]

SCRIPT = """
import json, sys
sys.path.insert(0, {root!r})
import numpy as np
import streamlit as st
from cellapp.ui.canvas import Shape, image_canvas, picture_png, picture_url

st.set_page_config(layout="wide")
grey = np.arange(300 * 400, dtype=np.uint16).reshape(300, 400)
kept = st.session_state.setdefault("kept", [])
if st.button("From Python"):
    kept = [Shape("box", "given", ((10.0, 20.0), (10.0, 60.0), (40.0, 60.0), (40.0, 20.0)))]
if st.button("Again"):
    pass
url = picture_url("test", lambda: picture_png(grey))
drawn = image_canvas(url, grey.shape, key="draw", shapes=kept, height=400, pixel_size_um=0.5)
st.session_state["kept"] = drawn
st.text("drawn " + json.dumps(drawn))
"""
APP = """
import sys
sys.path.insert(0, {root!r})
import streamlit as st
from cellapp.ui.canvas import routes
app = st.App({script!r}, routes=routes())
"""


def test_what_a_browser_sends_is_looked_at():
    good = {"kind": "polygon", "name": "a", "points": [[1, 2], [3, 4], [5, 0]]}
    bad = [7, None, {}, {**good, "kind": "script"}, {**good, "points": [[1, 2]]}, {**good, "kind": "line"},
           {**good, "points": [["x", 2]] * 3}, {**good, "points": [[float("nan"), 2]] * 3}, {**good, "points": 5}]
    assert _read([*bad, good]) == [Shape("polygon", "a", ((1.0, 2.0), (3.0, 4.0), (5.0, 0.0)))]
    assert _read("nonsense") == []


def test_shapes_are_regions_and_back():
    shapes = [Shape("polygon", "a", ((1.0, 2.0), (3.0, 4.0), (5.0, 0.0))), Shape("line", "", ((0.0, 0.0), (3.0, 4.0)))]
    assert shapes_of(regions_of(shapes)) == shapes[:1]
    assert length_of(shapes) == 5.0
    assert length_of(shapes[:1]) is None


def test_pictures_have_names_nobody_guesses_and_a_limit(monkeypatch, tmp_path):
    monkeypatch.setattr(pictures, "_FOLDER", type("Folder", (), {"name": str(tmp_path)}))
    made = []
    urls = [pictures.picture_url("one", lambda: made.append(1) or b"x" * 100) for _ in range(2)]
    assert urls[0] == urls[1] and made == [1]
    monkeypatch.setattr(pictures, "_SECRET", b"another process")
    assert pictures.picture_url("one", lambda: b"y") != urls[0]
    monkeypatch.setattr(pictures, "MAX_BYTES", 150)
    pictures.picture_url("two", lambda: b"z" * 120)
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 150


def test_the_script_runs_without_a_browser(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.format(root=str(ROOT)))
    app = AppTest.from_file(str(path), default_timeout=60).run()
    assert not app.exception
    app.button[0].click().run()
    assert "given" in app.text[0].value                      # Python's shapes hold without any answer
    app.button[1].click().run()
    assert "given" in app.text[0].value


@pytest.fixture(scope="module")
def app_server(tmp_path_factory):
    """A page of its own with nothing but the canvas."""
    folder = tmp_path_factory.mktemp("canvas")
    (folder / "ui").mkdir()
    (folder / "ui" / "script.py").write_text(SCRIPT.format(root=str(ROOT)))
    (folder / "app.py").write_text(APP.format(root=str(ROOT), script="ui/script.py"))
    server = Server(folder, folder / "app.py")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def page(context, address):
    page = context.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(address)
    page.locator("canvas[data-ready='1']").wait_for()
    canvas_of(page).scroll_into_view_if_needed()
    yield page
    assert problems == []


def drag(page, *points, button="left"):
    places = [at(page, *p) for p in points]
    page.mouse.move(*places[0])
    page.mouse.down(button=button)
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up(button=button)


def tool(page, name: str):
    page.get_by_role("button", name=name, exact=True).click()


def drawn(page, condition="shapes.length >= 0") -> list:
    """What Python has, as soon as it meets a condition in JavaScript."""
    found = page.wait_for_function("""condition => {
        const row = [...document.querySelectorAll('[data-testid=stText]')].map(e => e.textContent)
            .find(t => t.startsWith('drawn '));
        if (!row) return null;
        const shapes = JSON.parse(row.slice(6));
        return Function('shapes', 'return ' + condition)(shapes) ? {shapes} : null;
    }""", arg=condition)
    return found.json_value()["shapes"]


@needs_chromium
def test_a_line_across_a_cell_and_a_second_one_in_its_place(page):
    assert canvas_of(page).get_attribute("data-tool") == "line"  # the first tool asked for
    drag(page, (50, 60), (50, 90))
    [[kind, name, points]] = drawn(page, "shapes.length === 1")
    assert (kind, name) == ("line", "")
    assert np.abs(np.array(points) - [(50, 60), (50, 90)]).max() < 1
    assert "Length 30" in page.locator(".size").inner_text() and "µm" in page.locator(".size").inner_text()
    tool(page, "Line")
    x, y = at(page, 200, 100)
    page.mouse.click(x, y)                                   # two clicks instead of a drag
    page.mouse.click(*at(page, 240, 130))
    [[_, _, points]] = drawn(page, "shapes.length === 1 && shapes[0][2][0][0] > 100")
    assert np.hypot(*np.diff(points, axis=0)[0]) == pytest.approx(50, abs=1.5)


@needs_chromium
def test_box_moved_resized_renamed_deleted_and_all_undone(page):
    tool(page, "Box")
    drag(page, (60, 50), (20, 150))
    [[kind, name, points]] = drawn(page, "shapes.length === 1")
    assert (kind, name) == ("box", "Region 1")
    assert np.abs(np.array(points) - [(20, 50), (20, 150), (60, 150), (60, 50)]).max() < 1
    drag(page, points[2], (100, 200))                        # a corner, with the box tool still in hand
    [[_, _, larger]] = drawn(page, "shapes.length === 1 && shapes[0][2][2][0] > 90")
    assert np.abs(np.array(larger) - [(20, 50), (20, 200), (100, 200), (100, 50)]).max() < 1
    page.keyboard.press("v")
    page.mouse.click(*at(page, 60, 100))
    drag(page, (60, 100), (90, 130))
    [[_, _, moved]] = drawn(page, "shapes[0][2][0][0] > 40")
    assert np.abs(np.array(moved) - larger - 30).max() < 1
    drag(page, (90, 130), (-300, 130))                       # it stops at the border of the image
    assert drawn(page, "shapes[0][2][0][0] < 0")[0][2][0][0] == -0.5
    page.get_by_label("Name").fill("Well A <b>")
    page.keyboard.press("Enter")
    drawn(page, "shapes[0][1] === 'Well A <b>'")
    canvas_of(page).focus()
    page.keyboard.press("Delete")                            # of the selected box
    drawn(page, "shapes.length === 0")
    for _ in range(3):                                       # delete, name, the move to the border
        page.keyboard.press("Control+z")
    assert drawn(page, "shapes.length === 1 && shapes[0][1] === 'Region 1'")[0][2] == moved
    page.keyboard.press("Control+Shift+Z")
    drawn(page, "shapes[0][2][0][0] < 0")
    page.get_by_role("button", name="Undo", exact=True).click()
    drawn(page, "shapes[0][2][0][0] > 40")


@needs_chromium
def test_polygons_close_in_three_ways_and_escape_gives_up(page):
    corners = [(20, 20), (20, 90), (80, 60)]
    for number, close in enumerate(("Enter", "double", "first"), start=1):
        tool(page, "Polygon")
        places = [(y + 70 * (number - 1), x) for y, x in corners]
        for place in places:
            page.mouse.click(*at(page, *place))
        if close == "Enter":
            page.keyboard.press("Enter")
        else:
            page.mouse.click(*at(page, *(places[-1] if close == "double" else places[0])))
        shapes = drawn(page, f"shapes.length === {number}")
        assert np.abs(np.array(shapes[-1][2]) - places).max() < 1
    tool(page, "Polygon")
    page.mouse.click(*at(page, 250, 200))
    page.mouse.click(*at(page, 250, 250))
    page.keyboard.press("Escape")
    tool(page, "Box")
    drag(page, (200, 300), (250, 380))
    assert [s[1] for s in drawn(page, "shapes.length === 4")] == [f"Region {k}" for k in (1, 2, 3, 4)]


@needs_chromium
def test_python_and_browser_agree_who_wins(page):
    tool(page, "Box")
    drag(page, (20, 150), (60, 190))
    drawn(page, "shapes.length === 1")
    page.get_by_role("button", name="Again").click()         # a rerun for another reason changes nothing
    drag(page, (120, 150), (160, 190))
    drawn(page, "shapes.length === 2")
    page.get_by_role("button", name="From Python").click()
    assert drawn(page, "shapes.length === 1")[0][1] == "given"
    page.locator("canvas[data-shapes='1']").wait_for()
    canvas_of(page).focus()
    page.keyboard.press("Control+z")                         # what Python replaced is not lost
    assert len(drawn(page, "shapes.length === 2")) == 2


@needs_chromium
def test_looking_around_changes_no_shape(page):
    tool(page, "Box")
    drag(page, (20, 50), (60, 150))
    before = drawn(page, "shapes.length === 1")
    canvas = canvas_of(page)

    def view():
        page.wait_for_timeout(100)
        return view_of(page)

    first = view()
    page.mouse.move(*at(page, 150, 200))
    page.mouse.wheel(0, -400)
    near = view()
    assert near["k"] > 1.3 * first["k"]
    y, x = 150, 200                                          # the point under the mouse stayed there
    for end in "xy":
        p = {"x": x, "y": y}[end] + 0.5
        assert near[end] + p * near["k"] == pytest.approx(first[end] + p * first["k"], abs=2)
    drag(page, (150, 200), (160, 230), button="middle")
    assert view() != near
    now = view()
    canvas.focus()
    page.keyboard.down(" ")
    drag(page, (150, 200), (160, 230))
    page.keyboard.up(" ")
    assert view()["x"] > now["x"] + 5
    page.keyboard.press("f")
    assert view() == first
    page.mouse.move(*at(page, 7, 123))
    page.wait_for_timeout(100)
    assert page.locator(".where").inner_text() == "x 123, y 7"
    page.keyboard.press("c")                                 # Streamlit would ask whether to clear its caches
    page.keyboard.press("r")
    page.wait_for_timeout(300)
    assert page.get_by_role("dialog").count() == 0
    assert drawn(page) == before


@needs_chromium
def test_the_keyboard_alone_draws_a_box(page):
    canvas = canvas_of(page)
    canvas.focus()
    page.keyboard.press("b")
    page.keyboard.press("ArrowRight")                        # the cross appears in the middle
    page.keyboard.press(" ")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    [[kind, _, points]] = drawn(page, "shapes.length === 1")
    k = view_of(page)["k"]
    assert kind == "box"
    assert np.ptp(points, axis=0) == pytest.approx([30 / k, 30 / k], abs=0.1)
    page.keyboard.press("v")
    page.keyboard.press("Shift+ArrowDown")                   # now the arrows move the box
    assert drawn(page, f"shapes[0][2][0][0] > {points[0][0] + 5}")[0][2][0][0] == pytest.approx(points[0][0] + 10)
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    drawn(page, "shapes.length === 0")


@needs_chromium
@pytest.mark.parametrize("context", [PHONE], indirect=True)
def test_a_phone_draws_and_pinches(page):
    canvas = canvas_of(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert canvas.evaluate("c => c.width === Math.round(c.clientWidth * 3)")  # sharp on a dense screen
    page.get_by_role("button", name="Polygon", exact=True).tap()
    for y, x in ((40, 60), (40, 300), (250, 200)):
        page.touchscreen.tap(*at(page, y, x))
    page.get_by_role("button", name="Close", exact=True).tap()
    [[kind, _, points]] = drawn(page, "shapes.length === 1")
    assert kind == "polygon"
    assert np.abs(np.array(points) - [(40, 60), (40, 300), (250, 200)]).max() < 1.5

    first = view_of(page)
    x, y = at(page, 150, 200)
    touches = page.context.new_cdp_session(page)
    for kind, apart in (("touchStart", 30), ("touchMove", 50), ("touchMove", 60)):
        touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [
            {"x": x - apart, "y": y, "id": 1}, {"x": x + apart, "y": y, "id": 2}]})
    touches.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_timeout(200)
    near = view_of(page)
    assert near["k"] == pytest.approx(2 * first["k"], rel=0.1)
    assert drawn(page)[0][2] == points


@needs_chromium
def test_pictures_of_others_are_not_there(page, address):
    for name in ("0" * 32, "..%2f..%2fsecret", "x"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{address}/pictures/{name}.png")
        assert refused.value.code in (400, 404)
