"""Push, pull and count in a real browser, over real HTTP against a local Hub; no token is left anywhere."""

import pytest
from browsing import hero, needs_chromium
from hub_fixtures import ALICE
from hub_server import Server

pytest_plugins = ["browsing"]
pytestmark = needs_chromium


@pytest.fixture(scope="module")
def hub(request):
    """A Hub that the app's server, which starts after it, takes for the real one."""
    server = Server()
    patch = pytest.MonkeyPatch()
    patch.setenv("HF_ENDPOINT", server.url)
    patch.setenv("HF_TOKEN", "hf_bobsecret")                 # the operator's own, which is no visitor's
    patch.setenv("OMP_NUM_THREADS", "1")
    yield server
    patch.undo()
    server.close()


def write(page, key, text):
    field = page.locator(f".st-key-{key} input")
    field.fill(text)
    field.press("Enter")


def test_push_pull_and_count(hub, page, workspaces):
    page.get_by_role("button", name="Try a sample").click()
    page.get_by_text("Sum of the density map").wait_for()
    count = hero(page)
    page.get_by_role("link", name="Weights").click()
    page.get_by_role("heading", name="On this server").wait_for()
    page.get_by_text("FCRN-A, simulated cells").first.click()
    page.get_by_role("button", name="Push").first.click()
    page.get_by_text("What leaves this server").wait_for()
    write(page, "push-repo", "alice/cells")
    page.get_by_text("Give a token with the right to write").wait_for()
    write(page, "hub-token", ALICE)
    page.locator(".st-key-push-go button:enabled").click()
    page.get_by_text("only you can see it").wait_for()
    assert hub.repos["alice/cells"].private

    write(page, "hub-repo", "alice/cells")
    page.locator(".st-key-hub-pull button").click()
    page.get_by_text("is here, and its known answer was counted right").wait_for()
    page.reload()
    page.get_by_text("From the Hub").first.wait_for()
    assert page.locator(".st-key-hub-token input").input_value() == ""
    page.get_by_role("link", name="Count").click()
    page.get_by_text("Sum of the density map").wait_for()
    chosen = page.locator(".st-key-weights input")
    chosen.click()
    page.get_by_role("option", name="FCRN-A, simulated cells · alice/cells").click()
    page.get_by_text("Sum of the density map").wait_for()
    page.get_by_text("About these weights: FCRN-A, simulated cells · alice/cells").wait_for()
    assert hero(page) == count

    assert "secret" not in page.url
    written = [path for path in workspaces.parent.rglob("*") if path.is_file()]
    assert any(path.name.startswith("hub--alice--cells") for path in written)
    assert not [path for path in written if b"secret" in path.read_bytes()], "log, sessions and weights hold no token"
    assert not any("secret" in line for line in hub.log)
