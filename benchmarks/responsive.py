"""How soon the pages answer while a training works, in a real browser.

    python -m benchmarks.responsive [-n 7]

Prints, in s, the median and the longest time from a click to the first paint of what the rerun shows, without and with
a training beside the server: the Count page after a click in it and after a click on its name, the Fine-tune page after
a click on its name. Needs Chromium (or CHROMIUM).
"""

import argparse
import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.editor import CHROMIUM, ROOT, SWITCHES, serving

START = "fcrn-a/simulated"
SAMPLES = sorted(path for path in (ROOT / "examples").glob("vgg-cells-*[0-9].png"))

# Time from a click to the frame in which something is there, or gone.
MEASURE = """async ([button, what, there]) => {
  const found = () => [...document.querySelectorAll(what)].some(one => one.checkVisibility());
  const begun = performance.now();
  button.click();
  while (found() !== there) {
    if (performance.now() - begun > 60000) throw new Error("nothing was painted within a minute");
    await new Promise(done => requestAnimationFrame(done));
  }
  return (performance.now() - begun) / 1000;
}"""
COUNTED, PANE = ".st-key-hero", ".js-plotly-plot .x3y3"
RESUMED, TRAINED = ".st-key-tune-resume", ".st-key-tune-cancel"


def main() -> None:
    """Start a server, measure without and with a training, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=7, help="clicks of each kind")
    chosen = parser.parse_args()
    if CHROMIUM is None:
        sys.exit("There is no Chromium here; install it or set CHROMIUM.")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CELLAPP_WORKSPACES"] = folder            # this process starts the training, as the page would
        space, job = prepare(Path(folder))
        with serving(folder) as address:
            try:
                measure(f"{address}/?w={space.id}", job, chosen.n)
            finally:
                job.ask("cancel")
                for _ in range(600):
                    if not job.state().working:
                        break
                    time.sleep(0.1)


def prepare(folder: Path):
    """A workspace with the sample images, and a training on them with the page's settings that would take an hour."""
    from cellapp import train_jobs
    from cellapp import weights as store
    from cellapp.dots import read_dots
    from cellapp.train_defaults import defaults
    from cellapp.train_spec import Given, divide
    from cellapp.train_work import usual_threads
    from cellapp.workspaces import Workspaces

    space = Workspaces(folder).create()
    space.include([space.keep(path.name, path.read_bytes(), sample=True) for path in SAMPLES])
    given = [Given(path.name, path, hashlib.sha256(path.read_bytes()).hexdigest(), {},
                   np.asarray(read_dots(path.with_name(f"{path.stem}_dots.csv")))) for path in SAMPLES]
    row = store.find(START)
    config = defaults(row.method, row).model_dump() | {"epochs": 1000}
    job = train_jobs.create(space.trainings, given, divide([one.name for one in given], 0), id="own/benchmark",
                            title="Benchmark", trained_on="samples", start=row.id, out_folder=space.weights,
                            config=config, device="cpu", threads=usual_threads())
    return space, job


def measure(address: str, job, n: int) -> None:
    """Open the page, wait until everything is counted, click."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(180_000)
        page.goto(address)
        page.get_by_text("Sum of the density map").wait_for()
        page.locator(PANE).first.wait_for()
        page.wait_for_timeout(5000)
        print(f"{'first paint, s':38}{'median':>8}{'longest':>9}{'load of the machine':>22}")
        for word in ("alone", "while it trains"):
            if word != "alone":
                train(page, job)
            show(f"Count, a click in it, {word}", [time for _ in range((n + 1) // 2) for time in panes(page)])
            there = [between(page, RESUMED if word == "alone" else TRAINED) for _ in range(n)]
            show(f"Fine-tune, {word}", [one for one, _ in there])
            show(f"Count, {word}", [other for _, other in there])
        browser.close()


def train(page, job) -> None:
    """Start the training, and wait until it works."""
    job.start()
    while job.state().doing != "training":
        if not job.state().working:
            sys.exit(f"The training ended: {job.state().message} {job.log()}")
        time.sleep(0.5)
    page.wait_for_timeout(3000)


def panes(page) -> list[float]:
    """Take a pane away and bring it back; the page is run for each."""
    button = page.get_by_test_id("stButtonGroup").last.get_by_role("button", name="Density").element_handle()
    return [clicked(page, button, PANE, False),
            clicked(page, page.get_by_test_id("stButtonGroup").last.get_by_role(
                "button", name="Density").element_handle(), PANE, True)]


def between(page, what_there: str) -> tuple[float, float]:
    """To the Fine-tune page and back."""
    times = []
    for name, what in (("Fine-tune", what_there), ("Count", COUNTED)):
        times.append(clicked(page, page.get_by_role("link", name=name, exact=True).element_handle(), what, True))
        page.wait_for_timeout(2500)                          # all of it is drawn
    return times[0], times[1]


def clicked(page, button, what: str, there: bool) -> float:
    """Seconds from the click until ``what`` is painted, or gone."""
    time_taken = page.evaluate(MEASURE, [button, what, there])
    page.wait_for_timeout(1000)
    return time_taken


def show(title: str, times: list[float]) -> None:
    """A line of the table."""
    print(f"{title:38}{np.median(times):8.2f}{max(times):9.2f}{os.getloadavg()[0]:22.1f}", flush=True)


if __name__ == "__main__":
    main()
