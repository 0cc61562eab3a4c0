"""Frame times of the dot editor in a real browser: 5,000 dots on a 4096×4096 image, panned, zoomed and dotted.

    python -m benchmarks.editor [--dots 5000] [--side 4096]

Prints, in ms, the time the browser's main thread works for a frame (median and p95) and the time from one frame to the
next while something moves in every one; 16.7 ms are 60 frames a second. Needs Chromium (or CHROMIUM).
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
SWITCHES = ["--no-sandbox", "--disable-background-networking", "--disable-sync", "--no-first-run"]

# One event a frame goes through the editor's own listeners; `work` ends when the frame is painted into the canvas.
MEASURE = """async (canvas, {what, frames}) => {
  const frame = canvas.getBoundingClientRect(), cx = frame.x + frame.width / 2, cy = frame.y + frame.height / 2;
  const send = (type, x, y, more = {}) => canvas.dispatchEvent(new PointerEvent(type, {bubbles: true, pointerId: 1,
    pointerType: "mouse", clientX: x, clientY: y, button: 0, ...more}));
  canvas.setPointerCapture = () => {};
  const next = () => new Promise(done => requestAnimationFrame(done)), work = [], gap = [];
  if (what === "pan") send("pointerdown", cx, cy, {button: 1});
  let last = await next();
  for (let i = 0; i < frames; i++) {
    const begun = performance.now();
    if (what === "pan") send("pointermove", cx + 60 * Math.sin(i / 6), cy + 60 * Math.cos(i / 6));
    else if (what === "zoom") canvas.dispatchEvent(new WheelEvent("wheel", {bubbles: true, cancelable: true,
      clientX: cx, clientY: cy, deltaY: i % 40 < 20 ? -60 : 60}));
    else {
      const x = cx + frame.width * .4 * ((i * .618 % 1) - .5), y = cy + frame.height * .6 * ((i * .414 % 1) - .5);
      send("pointerdown", x, y);
      send("pointerup", x, y);
    }
    const handled = performance.now() - begun, now = await next();
    // Asked for after the editor's own callback of the same frame, so the editor has painted by then.
    work.push(handled + performance.now() - now);
    gap.push(now - last);
    last = now;
  }
  if (what === "pan") send("pointerup", cx, cy, {button: 1});
  return {work, gap: gap.slice(1)};
}"""


def main() -> None:
    """Start a server, open a browser, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dots", type=int, default=5000)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--frames", type=int, default=160)
    chosen = parser.parse_args()
    if CHROMIUM is None:
        sys.exit("There is no Chromium here; install it or set CHROMIUM.")
    with tempfile.TemporaryDirectory() as folder:
        space_id = prepare(Path(folder), chosen.side, chosen.dots)
        with serving(folder) as address:
            measure(f"{address}/annotate?w={space_id}", chosen)


@contextmanager
def serving(folder: str) -> Iterator[str]:
    """The app with its workspaces in a folder; the address at which it answers."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    # In a session of its own, as a service has it: a terminal's would share the processor's time with this script.
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless=true", f"--server.port={port}"],
        cwd=ROOT, env={**os.environ, "CELLAPP_WORKSPACES": folder}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait(f"http://127.0.0.1:{port}/_stcore/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=20)


def prepare(folder: Path, side: int, dots: int) -> str:
    """A workspace with one image and its dots; its id."""
    from cellapp.annotation import Annotation, save
    from cellapp.overlays import png
    from cellapp.workspaces import Workspaces

    rng = np.random.default_rng(0)
    space = Workspaces(folder).create()
    file = space.keep("large.png", png(rng.integers(0, 255, (side, side), dtype=np.uint8)))
    space.include([file])
    places = np.round(rng.uniform(0, side - 1, (dots, 2)), 2)
    save(space, file.id, Annotation().moved(places, rng.integers(1, 9, dots).tolist(), (side, side),
                                            names=tuple(f"Class {k}" for k in range(1, 9))))
    return space.id


def wait(address: str) -> None:
    """Until the server answers."""
    for _ in range(240):
        try:
            urllib.request.urlopen(address, timeout=1)
            return
        except OSError:
            time.sleep(0.5)
    sys.exit("The server did not start.")


def measure(address: str, chosen: argparse.Namespace) -> None:
    """Open the page and print a line for each kind of movement."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(180_000)
        begun = time.perf_counter()
        page.goto(address)
        page.locator(f".stage canvas[data-ready='1'][data-dots='{chosen.dots}']").wait_for()
        ready = time.perf_counter() - begun
        print(f"{chosen.dots:,} dots on {chosen.side}×{chosen.side} px, ready after {ready:.1f} s")
        canvas = page.locator(".stage canvas")
        page.wait_for_timeout(4000)                          # the page around it is drawn too
        print(f"{'':28}{'work, median':>14}{'p95':>8}{'frame to frame, median':>26}{'p95':>8}")
        for zoomed in (False, True):
            page.get_by_role("button", name="Fit").click()
            if zoomed:
                for _ in range(8):
                    page.get_by_role("button", name="Zoom in").click()
            part = json.loads(canvas.get_attribute("data-view"))["k"]
            for what in ("pan", "zoom", "add"):
                found = canvas.evaluate(MEASURE, {"what": what, "frames": chosen.frames})
                figures = [np.percentile(found[name], q) for name in ("work", "gap") for q in (50, 95)]
                print("{:28}{:14.1f}{:8.1f}{:26.1f}{:8.1f}".format(f"{what}, at {part:.0%}", *figures))
        browser.close()


if __name__ == "__main__":
    main()
