"""Fine-tuning in a real browser: start, reload in the middle, stop and keep the best, count with the new weights."""

from browsing import hero, needs_chromium
from PIL import Image

from cellapp.dots import Dots, write_dots
from cellapp.simulate import simulate

pytest_plugins = ["browsing"]
pytestmark = needs_chromium


def test_train_reload_stop_and_count(page, tmp_path):
    for k in range(3):
        scene = simulate("vgg-cells", 1, k, size=(64, 72))
        Image.fromarray(scene.image).save(tmp_path / f"cells_{k}.png")
        (tmp_path / f"cells_{k}_dots.csv").write_bytes(write_dots(Dots(scene.points), "csv"))
    page.get_by_role("link", name="Fine-tune").click()
    page.get_by_role("heading", name="Teach it your cells").wait_for()
    page.locator("input[type=file]").first.set_input_files(
        [str(path) for path in (*sorted(tmp_path.glob("*.png")), *sorted(tmp_path.glob("*.csv")))])
    page.get_by_text("2 images to learn from, 1 image kept back").wait_for()
    minutes = page.get_by_role("spinbutton", name="Minutes of training")
    minutes.fill("2")                                        # an epoch is a 16th of it
    minutes.press("Enter")
    page.get_by_label("Name of the new weights").fill("mine")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Start training").click()
    page.get_by_role("button", name="Cancel").wait_for()

    page.reload()
    page.get_by_text("Training, step").wait_for()
    keep = page.get_by_role("button", name="Stop and keep the best", disabled=False)
    keep.wait_for()                                          # an epoch has ended
    page.locator(".js-plotly-plot").first.wait_for()
    keep.click()
    use = page.get_by_role("button", name="Use on the Count page")
    use.wait_for()
    page.get_by_text("MAE after (cells per image)").wait_for()
    use.click()
    page.get_by_text("Sum of the density map").wait_for()
    assert hero(page).isdecimal()
    assert page.locator(".st-key-weights input").input_value().endswith("mine")
