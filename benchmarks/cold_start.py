"""From a cold server to the first count: ``python -m benchmarks.cold_start [--runs N]``.

Starts the app, opens it in Chromium (``CHROMIUM`` or the one on the PATH), uploads a 256x256 image and waits for
the count. Prints the seconds from the start of the server to the page, and from the drop to the number.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from playwright.sync_api import Error, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
IMAGE = ROOT / "examples" / "vgg-cells-1-000.png"


def once(browser) -> tuple[float, float]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    begin = time.perf_counter()
    server = subprocess.Popen([sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={port}",
                               "--server.headless=true"], cwd=ROOT, stdout=subprocess.DEVNULL)
    page = browser.new_page()
    try:
        while True:
            try:
                page.goto(f"http://127.0.0.1:{port}")
                break
            except Error:                                    # the server is not listening yet
                time.sleep(0.1)
        page.get_by_role("button", name="Try a sample").wait_for(timeout=120_000)
        shown = time.perf_counter()
        page.locator("input[type=file]").set_input_files(str(IMAGE))
        page.get_by_text("Sum of the density map").wait_for(timeout=120_000)
        return shown - begin, time.perf_counter() - shown
    finally:
        page.close()
        server.terminate()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"),
                                             args=["--no-sandbox", "--disable-gpu"])
        times = [once(browser) for _ in range(given.runs)]
    for name, values in zip(("page shown after", "first count after another"), zip(*times, strict=True), strict=True):
        print(f"{name} {median(values):.1f} s (median of {given.runs}: {', '.join(f'{v:.1f}' for v in values)})")


if __name__ == "__main__":
    main()
