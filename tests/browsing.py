"""The app on a real server in a real browser: a plugin of the tests that need one (``pytest_plugins``)."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--no-first-run"]
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; install it or set CHROMIUM")
SLOW = 120_000                                               # ms; generous, for machines that do something else
DESK = {"viewport": {"width": 1440, "height": 900}, "accept_downloads": True}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 3}

# A browser that leaves while its connection is being made: Streamlit then closes what is closed already, and says so.
GONE = re.compile(r"Exception in ASGI application\n(?:.*\n)*?"
                  r"starlette\.websockets\.WebSocketDisconnected: Cannot call .*\n")


class Server:
    """The app as ``streamlit run app.py`` starts it. A test may kill its process and start it again, at the same
    address and with the same folders."""

    def __init__(self, folder: Path, app: Path = ROOT / "app.py"):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.address, self.log, self.workspaces = f"http://127.0.0.1:{self.port}", folder / "log.txt", folder / "visits"
        self.process, self._app = None, app

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "streamlit", "run", self._app.name, "--server.headless=true",
                   f"--server.port={self.port}", "--server.address=127.0.0.1", "--browser.gatherUsageStats=false"]
        environment = {k: v for k, v in os.environ.items() if k != "CELLAPP_WEIGHTS"}
        environment["CELLAPP_WORKSPACES"] = str(self.workspaces)
        with self.log.open("a") as out:
            self.process = subprocess.Popen(command, cwd=self._app.parent, stdout=out, stderr=subprocess.STDOUT,
                                            env=environment)
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{self.address}/_stcore/health", timeout=1)
                return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.5)
        raise AssertionError(self.log.read_text())

    def kill(self) -> None:
        """End its process as a crash does."""
        self.process.kill()
        self.process.wait(timeout=20)

    def stop(self) -> None:
        """End it; nothing must have gone wrong in it unseen."""
        self.process.terminate()
        self.process.wait(timeout=20)
        log = GONE.sub(lambda block: block[0] if "/cellapp/" in block[0] else "", self.log.read_text())
        assert "Traceback" not in log, log


@pytest.fixture(scope="module")
def app_server(tmp_path_factory):
    """The app, for all tests of a file."""
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def workspaces(app_server) -> Path:
    """Where the server keeps what its visitors do."""
    return app_server.workspaces


@pytest.fixture(scope="module")
def address(app_server) -> str:
    """Where the server answers."""
    return app_server.address


@pytest.fixture(scope="module")
def browser():
    """Chromium, for all tests of a file."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture
def context(browser, request):
    """A visitor's browser; the parameter is its window."""
    context = browser.new_context(**getattr(request, "param", DESK))
    context.set_default_timeout(SLOW)
    yield context
    context.close()


@pytest.fixture
def page(context, address):
    """A new visitor on the first page."""
    return arrive(context, address)


def arrive(context, address: str):
    """A new visitor's first page."""
    page = context.new_page()
    page.goto(address)
    page.get_by_role("button", name="Try a sample").wait_for()
    return page


def drop(page, *paths: Path) -> None:
    """Drop files on the drop zone."""
    page.locator("input[type=file]").first.set_input_files([str(p) for p in paths])


def hero(page) -> str:
    """The big count."""
    return page.locator(".st-key-hero").get_by_test_id("stMetricValue").inner_text()


def canvas_of(page):
    """The canvas on which things are drawn or dotted."""
    return page.locator(".stage canvas")


def view_of(page) -> dict:
    """How the image lies on the canvas: ``x``, ``y`` of its corner and ``k``, CSS px for a pixel."""
    return json.loads(canvas_of(page).get_attribute("data-view"))


def at(page, y: float, x: float) -> tuple[float, float]:
    """Where a pixel of the image lies in the window."""
    while (frame := canvas_of(page).bounding_box()) is None:  # replaced at this very moment
        page.wait_for_timeout(200)
    view = view_of(page)
    return frame["x"] + view["x"] + (x + 0.5) * view["k"], frame["y"] + view["y"] + (y + 0.5) * view["k"]


def click(page, y: float, x: float, **how) -> None:
    """Click on a pixel of the image."""
    page.mouse.click(*at(page, y, x), **how)


def settled(page) -> None:
    """Wait until the dot editor stands still: Streamlit draws a page in steps, and replaces a canvas now and then."""
    narrow = page.evaluate("window.innerWidth < 700")        # a phone draws the page twice
    page.locator(f"html[data-narrow={str(narrow).lower()}]").wait_for(state="attached")
    before, same = None, 0
    while same < 4:
        page.wait_for_timeout(500)
        now = canvas_of(page).evaluate_all(
            "them => them.map(one => JSON.stringify([one.dataset, one.getBoundingClientRect()]))")
        same = same + 1 if now == before and len(now) == 1 and '"state":"saved"' in now[0] else 0
        before = now
    canvas_of(page).scroll_into_view_if_needed()


def state(page, name: str, **more) -> None:
    """Wait for the dot editor to be in this state, such as "saved", with so many ``dots``."""
    marks = "".join(f"[data-{key}='{value}']" for key, value in more.items())
    page.locator(f".stage canvas[data-state='{name}']{marks}").wait_for()
