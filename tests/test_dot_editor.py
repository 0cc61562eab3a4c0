"""The dot editor in a real browser on a real server: what is clicked is kept, whatever happens in between."""

import urllib.error
import urllib.request

import numpy as np
import pytest
from browsing import PHONE, at, click, needs_chromium, settled, state, view_of
from PIL import Image

from cellapp.annotation import Annotation, read, save
from cellapp.workspaces import Workspaces

pytest_plugins = ["browsing"]
pytestmark = needs_chromium
SHAPE = 120, 160


@pytest.fixture
def space(app_server, rng, tmp_path):
    """A workspace with two images."""
    made = Workspaces(app_server.workspaces).create()
    for name in ("first.png", "second.png"):
        path = tmp_path / name
        Image.fromarray(rng.integers(0, 255, SHAPE, dtype=np.uint8)).save(path)
        made.include([made.keep(name, path.read_bytes())])
    return made


def visit(context, app_server, space):
    page = context.new_page()
    page.goto(f"{app_server.address}/annotate?w={space.id}")
    settled(page)
    return page


def kept(space, number: int = 0) -> Annotation:
    return read(space, space.state().images[number].id)


def places(space, number: int = 0) -> list[tuple[int, int, int]]:
    found = kept(space, number)
    return [(round(y), round(x), label) for (y, x), label in zip(found.points, found.labels, strict=True)]


def test_add_drag_delete_classes_undo_and_reload(context, app_server, space):
    page = visit(context, app_server, space)
    for y, x in ((20, 30), (50, 80), (90, 120)):
        click(page, y, x)
    page.keyboard.press("2")
    click(page, 100, 40)
    state(page, "saved", dots=4)
    assert places(space) == [(20, 30, 1), (50, 80, 1), (90, 120, 1), (100, 40, 2)]
    assert kept(space).shape == SHAPE and kept(space).names == ("Cells", "Class 2")

    page.mouse.move(*at(page, 50, 80))
    page.mouse.down()
    page.mouse.move(*at(page, 60, 95), steps=4)
    page.mouse.up()
    page.keyboard.down("Alt")
    click(page, 20, 30)
    page.keyboard.up("Alt")
    click(page, 90, 120, button="right")
    state(page, "saved", dots=2)
    assert places(space) == [(60, 95, 1), (100, 40, 2)]

    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    state(page, "saved", dots=4)
    assert places(space)[1] == (50, 80, 1)
    page.keyboard.press("Control+Shift+Z")
    state(page, "saved", dots=4)
    page.get_by_role("button", name="Redo").click()
    state(page, "saved", dots=3)

    click(page, 60, 95)                                      # a click on a dot selects it
    page.keyboard.press("2")
    state(page, "saved", dots=3)
    page.get_by_label("Name of the class").fill("Dead cells")
    page.get_by_label("Name of the class").press("Enter")
    page.get_by_role("button", name="Dead cells: 2 dots").wait_for()
    click(page, 100, 40)
    page.keyboard.press("Delete")
    page.get_by_role("button", name="Dead cells: 1 dots").wait_for()
    state(page, "saved", dots=2)
    page.reload()
    state(page, "saved", dots=2)
    assert kept(space).names == ("Cells", "Dead cells")
    assert sorted(places(space)) == [(60, 95, 2), (90, 120, 1)]
    page.get_by_text("The map holds 2.00 cells, from 2 dots").wait_for()


def test_next_image_looks_areas_and_what_python_sets(context, app_server, space):
    page = visit(context, app_server, space)
    click(page, 20, 30)
    page.keyboard.press("d")                                 # at once: the save is still under way
    page.locator(f".stage canvas[data-doc$='{space.state().images[1].id}']").wait_for()
    state(page, "saved", dots=0)
    assert places(space) == [(20, 30, 1)]
    page.keyboard.press("a")                                 # the canvas has kept the focus
    state(page, "saved", dots=1)

    page.locator(".stage canvas[data-map='1']").wait_for()
    for look in ("Overlay", "Map", "Image"):
        page.keyboard.press("z")
        page.locator(f".stage canvas[data-look='{look}']").wait_for()
    page.keyboard.press("x")
    page.locator("[data-do=hide][aria-pressed=true]").wait_for()
    page.keyboard.press("x")
    page.keyboard.press("?")
    page.get_by_text("set a dot").wait_for()
    page.get_by_role("button", name="Help", exact=True).click()

    click(page, 100, 140)
    page.get_by_role("button", name="Area", exact=True).click()
    page.mouse.move(*at(page, 5, 5))
    page.mouse.down()
    page.mouse.move(*at(page, 60, 60), steps=3)
    page.mouse.up()
    page.get_by_text("outside of the marked areas").wait_for()
    assert kept(space).counted.tolist() == [True, False] and kept(space).area[0].name == "Area 1"

    # Another tab, or the page itself, saves a newer revision; what is clicked meanwhile is laid over it.
    now, file = kept(space), space.state().images[0]
    save(space, file.id, now.moved(np.array([[70.0, 70], [20, 30]]), (1, 1), SHAPE))
    page.keyboard.press("o")
    click(page, 30, 100)
    state(page, "saved", dots=3)
    assert sorted(places(space)) == [(20, 30, 1), (30, 100, 1), (70, 70, 1)]
    assert kept(space).revision == now.revision + 2


def test_a_dead_server_and_a_closed_tab_lose_no_dot(context, app_server, space):
    page = visit(context, app_server, space)
    click(page, 20, 30)
    state(page, "saved", dots=1)
    app_server.kill()
    click(page, 50, 80)
    state(page, "offline", dots=2)
    page.get_by_text("Offline: kept in this browser").wait_for()
    app_server.start()
    state(page, "saved", dots=2)                             # by itself, as soon as the server is back
    assert places(space) == [(20, 30, 1), (50, 80, 1)]

    app_server.kill()
    click(page, 90, 120)
    click(page, 20, 30, button="right")
    state(page, "offline", dots=2)
    page.close()
    app_server.start()
    now, file = kept(space), space.state().images[0]
    save(space, file.id, now.moved(np.vstack([now.array, [[5, 5]]]), (1, 1, 1), SHAPE))      # by somebody else
    page = visit(context, app_server, space)
    state(page, "saved", dots=3)
    page.get_by_text("2 changes of your last visit").wait_for()
    assert sorted(places(space)) == [(5, 5, 1), (50, 80, 1), (90, 120, 1)]
    assert page.evaluate("Object.keys(localStorage).filter(key => key.startsWith('cellapp-dots')).length") == 0


@pytest.mark.parametrize("context", [PHONE], indirect=True)
def test_a_phone_taps_holds_and_pinches(context, app_server, space):
    page = visit(context, app_server, space)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for y, x in ((20, 30), (50, 130)):
        page.touchscreen.tap(*at(page, y, x))
    state(page, "saved", dots=2)
    touches = context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [
            {"x": x, "y": y, "id": k} for k, (x, y) in enumerate(points)]})

    touch("touchStart", at(page, 20, 30))
    page.wait_for_timeout(900)
    touch("touchEnd")
    state(page, "saved", dots=1)
    before = view_of(page)["k"]
    x, y = at(page, 60, 80)
    touch("touchStart", (x - 30, y), (x + 30, y))
    for apart in (45, 60):
        touch("touchMove", (x - apart, y), (x + apart, y))
    touch("touchEnd")
    page.wait_for_timeout(300)
    assert view_of(page)["k"] > 1.5 * before
    state(page, "saved", dots=1)
    assert places(space) == [(50, 130, 1)]


def test_dots_of_others_and_nonsense_are_refused(app_server, space):
    file = space.state().images[0].id

    def ask(path: str, body: bytes | None = None) -> int:
        try:
            return urllib.request.urlopen(urllib.request.Request(f"{app_server.address}/dots/{path}", body)).status
        except urllib.error.HTTPError as error:
            return error.code

    assert ask(f"{space.id}/{file}") == 200
    assert ask(f"{'x' * 24}/{file}") == 410
    assert ask(f"{space.id}/..%2fstate") in (400, 404) and ask(f"{space.id}/state") == 404
    for body in (b"", b"{", b'{"points": [[1, 2]]}', b'{"points": [[1, 1e9]], "labels": [1], "shape": [9, 9]}'):
        assert ask(f"{space.id}/{file}", body) == 422
    assert ask(f"{space.id}/{file}", b"x" * 12_500_000) == 413
    good = Annotation(points=((1, 2),), labels=(1,), shape=SHAPE).model_dump_json().encode()
    assert ask(f"{space.id}/{file}", good) == 200
    assert ask(f"{space.id}/{file}", good) == 409
    assert kept(space).revision == 1
    space.delete_everything()
    assert ask(f"{space.id}/{file}", good) == 410 and not space.folder.exists()


def test_unsaved_dots_of_other_images_come_back_too(context, app_server, space):
    page = visit(context, app_server, space)
    other = space.state().images[1].id
    page.evaluate("""key => localStorage.setItem(key, JSON.stringify({added: [[5, 6, 1], [7, 8, 2]], removed: [],
        names: ["Cells", "Dead"], shape: [120, 160]}))""", f"cellapp-dots {space.id} {other}")
    page.reload()
    for _ in range(100):
        if page.evaluate("Object.keys(localStorage).filter(key => key.startsWith('cellapp-dots')).length") == 0:
            break
        page.wait_for_timeout(300)
    assert sorted(places(space, 1)) == [(5, 6, 1), (7, 8, 2)] and kept(space, 1).names == ("Cells", "Dead")
