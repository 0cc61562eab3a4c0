"""The app on a real server in a real browser: a plugin of the tests that need one (``pytest_plugins``)."""

import os
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


@pytest.fixture(scope="module")
def workspaces(tmp_path_factory) -> Path:
    """Where the server keeps what its visitors do."""
    return tmp_path_factory.mktemp("server") / "workspaces"


@pytest.fixture(scope="module")
def address(workspaces):
    """The app, as ``streamlit run app.py`` starts it."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    log = workspaces.parent / "log.txt"
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless=true", f"--server.port={port}",
               "--server.address=127.0.0.1"]
    environment = {k: v for k, v in os.environ.items() if k != "CELLAPP_WEIGHTS"}
    environment["CELLAPP_WORKSPACES"] = str(workspaces)
    with log.open("w") as out:
        server = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, env=environment)
    for _ in range(240):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1)
            break
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.5)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait(timeout=20)
    assert "Traceback" not in log.read_text(), log.read_text()


@pytest.fixture(scope="module")
def browser():
    """Chromium, for all tests of a file."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address, request):
    """A new visitor on the first page; the parameter is the size of the window."""
    width, height = getattr(request, "param", (1440, 900))
    context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(SLOW)
    page.goto(address)
    page.get_by_role("button", name="Try a sample").wait_for()
    yield page
    context.close()


def drop(page, *paths: Path) -> None:
    """Drop files on the drop zone."""
    page.locator("input[type=file]").set_input_files([str(p) for p in paths])


def hero(page) -> str:
    """The big count."""
    return page.locator(".st-key-hero").get_by_test_id("stMetricValue").inner_text()
