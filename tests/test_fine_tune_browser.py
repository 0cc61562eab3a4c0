"""From dots to weights of one's own in a real browser: nothing is lost on the way, and two visitors take turns."""

import re

import pytest
from browsing import DESK, SLOW, arrive, click, drop, hero, needs_chromium, settled, state
from PIL import Image

from cellapp import weights as store
from cellapp.annotation import annotations
from cellapp.dots import Dots, write_dots
from cellapp.simulate import simulate
from cellapp.workspaces import Workspaces

pytest_plugins = ["browsing"]
pytestmark = [needs_chromium, pytest.mark.timeout(900)]     # several trainings, on machines that do something else
CELLS = 9


def scenes(folder, n: int = 3) -> list:
    """Simulated images and their dots as files; their scenes."""
    made = [simulate("vgg-cells", 1, k, size=(64, 72), n=CELLS + k) for k in range(n)]
    for k, scene in enumerate(made):
        Image.fromarray(scene.image).save(folder / f"cells_{k}.png")
        (folder / f"cells_{k}_dots.csv").write_bytes(write_dots(Dots(scene.points), "csv"))
    return made


def to(page, name: str) -> None:
    """Go to another page. Streamlit forgets a click that meets a message of the page before, so it is tried again."""
    from playwright.sync_api import TimeoutError

    for patience in (20_000, 30_000, SLOW):
        page.get_by_role("link", name=name, exact=True).click()
        try:
            page.wait_for_url(re.compile("/" + name.lower().replace("-", "_") + r"\?"), timeout=patience)
            return
        except TimeoutError:
            if patience == SLOW:
                raise


def begin(page, name: str, minutes: str) -> None:
    """Start a training on what is there; an epoch is a 16th of the minutes."""
    page.get_by_text("2 images to learn from, 1 image kept back").wait_for()
    field = page.get_by_role("spinbutton", name="Minutes of training")
    field.fill(minutes)
    field.press("Enter")
    page.get_by_label("Name of the new weights").fill(name)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Start training").click()
    page.get_by_role("button", name="Cancel").wait_for()


def keep_the_best(page) -> None:
    """As soon as there is an epoch to keep, stop; wait for the card of the result."""
    page.get_by_role("button", name="Stop and keep the best", disabled=False).click()
    page.get_by_text("MAE after (cells per image)").wait_for()


def use(page) -> str:
    """Count with the new weights; the name of those that count now."""
    page.get_by_role("button", name="Use on the Count page").click()
    page.get_by_text("Sum of the density map").wait_for()
    return page.locator(".st-key-weights input").input_value()


def space_of(page, workspaces):
    """The workspace of the page's address."""
    return Workspaces(workspaces).find(re.search(r"[?&]w=([^&]+)", page.url).group(1))


def test_dot_train_reload_stop_and_count(page, workspaces, tmp_path):
    first = scenes(tmp_path)[0]
    page.get_by_role("link", name="Annotate").click()
    page.get_by_role("heading", name="Dot the cells yourself").wait_for()
    drop(page, *sorted(tmp_path.glob("*.png")))
    settled(page)
    for point in first.points:
        click(page, *point)
    state(page, "saved", dots=CELLS)
    page.get_by_role("button", name="Import").click()
    page.get_by_test_id("stPopoverBody").locator("input[type=file]").set_input_files(
        [str(tmp_path / f"cells_{k}_dots.csv") for k in (1, 2)])
    page.get_by_text("2 images have got dots.").wait_for()
    settled(page)
    space = space_of(page, workspaces)
    dotted = annotations(space)
    assert [len(kept.points) for _, kept in dotted] == [CELLS, CELLS + 1, CELLS + 2]

    to(page, "Fine-tune")
    page.get_by_text(f"{3 * CELLS + 3} dots in all").wait_for()
    begin(page, "mine", "2")
    page.reload()
    page.get_by_text("Training, step").wait_for()
    page.get_by_role("button", name="Stop and keep the best", disabled=False).wait_for()
    page.get_by_text("kept back from the training").wait_for()  # what it sees so far
    keep_the_best(page)
    assert use(page).endswith("mine")
    count = hero(page)
    assert count.isdecimal()

    page.reload()                                            # and everything is found again
    page.get_by_text("Sum of the density map").wait_for()
    assert hero(page) == count and page.locator(".st-key-weights input").input_value().endswith("mine")
    by_hand = page.get_by_test_id("stMetric").filter(has_text="By hand")
    assert by_hand.get_by_test_id("stMetricValue").inner_text() == str(CELLS)
    to(page, "Fine-tune")
    page.get_by_text("MAE before (cells per image)").wait_for()
    to(page, "Annotate")
    state(page, "saved", dots=CELLS)
    assert annotations(space) == dotted
    assert list(store.manifest(space.weights)) == ["own/mine"]


def test_two_train_at_once_and_take_turns(page, browser, address, workspaces, tmp_path):
    scenes(tmp_path)
    other = browser.new_context(**DESK)
    other.set_default_timeout(SLOW)
    pages = {"anna": page, "bela": arrive(other, address)}
    for one in pages.values():
        one.get_by_role("link", name="Fine-tune").click()
        one.get_by_role("heading", name="Teach it your cells").wait_for()
        drop(one, *sorted(tmp_path.iterdir()))               # its dots come along
    begin(pages["anna"], "of anna", "2")
    pages["anna"].get_by_text("Training, step").wait_for()
    begin(pages["bela"], "of bela", "2")
    pages["bela"].get_by_text("Waiting: place 2 in the queue. Another training on this server must end").wait_for()
    made = {}
    for name, one in pages.items():                          # hers ends, and his begins by itself
        keep_the_best(one)
        assert use(one).endswith(f"of {name}")
        weights = store.manifest(space_of(one, workspaces).weights)
        assert list(weights) == [f"own/of-{name}"]
        made[name] = store.find(f"own/of-{name}", space_of(one, workspaces).weights)
    assert made["anna"].sha256 != made["bela"].sha256
    other.close()
