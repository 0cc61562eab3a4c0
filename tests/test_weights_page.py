"""The Weights page: what is here, verify, pull, push and delete, through the page's own widgets against a local Hub."""

import io
import time
import zipfile
from pathlib import Path

import pytest
from hub_fixtures import ALICE, provable
from streamlit.testing.v1 import AppTest

from cellapp import hub
from cellapp import weights as store
from cellapp.ui import visit, weights_jobs
from cellapp.ui.weights_zip import packed

pytest_plugins = ["hub_fixtures"]
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, server, one_thread):
    """A server of its own, whose operator is logged in to the Hub and has installed one row of weights."""
    folder = tmp_path / "installed"
    provable(folder, "fcrn-a/tiny", title="Tiny", licence="CC0")
    monkeypatch.setenv("CELLAPP_WEIGHTS", str(folder))
    monkeypatch.setenv("CELLAPP_WORKSPACES", str(tmp_path / "workspaces"))
    monkeypatch.setenv("HF_TOKEN", ALICE)
    visit.registry.cache_clear()
    yield folder
    visit.registry.cache_clear()


def start(address: str | None = None) -> AppTest:
    app = AppTest.from_file(str(ROOT / "cellapp" / "ui" / "main.py"), default_timeout=120)
    if address:
        app.query_params["w"] = address
    app = app.run().switch_page(str(ROOT / "pages" / "weights.py")).run()
    assert not app.exception
    return app


def address(app: AppTest) -> str:
    found = app.query_params["w"]
    return found if isinstance(found, str) else found[0]


def press(app: AppTest, key: str, wait: bool = False) -> AppTest:
    next(button for button in app.button if button.key == key).click().run()
    assert not app.exception
    if wait:
        job = weights_jobs.of(address(app))
        job.wait(120)
        assert not job.running
        app.run()
    return app


def write(app: AppTest, key: str, value) -> AppTest:
    next(widget for widget in app.text_input if widget.key == key).set_value(value).run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    kinds = ("markdown", "caption", "info", "warning", "error", "success", "subheader")
    return "\n".join(e.value.replace("\\", "") for kind in kinds for e in getattr(app, kind))


def keys(app: AppTest) -> set[str]:
    return {button.key for button in app.button}


def test_installed_weights_are_shown_verified_and_never_deleted(here):
    app = start()
    assert app.expander[-1].label.startswith("**Tiny** · FCRN-A")
    for fact in ("Trained on: **nothing**", "Licence: **CC0**", store.find("fcrn-a/tiny").sha256, "Installed"):
        assert fact in words(app) + app.expander[-1].label
    assert "not since this server started" in words(app)
    assert not any(key and key.startswith("delete-now") for key in keys(app))
    app = press(app, "verify fcrn-a/tiny", wait=True)
    assert "as it should" in words(app)
    assert "Known answer counted: **right on this server**" in words(app)
    row = store.find("fcrn-a/tiny")
    store.replace(row.model_copy(update={"check": row.check.model_copy(update={"count": -50.0})}))
    app = press(app, "verify fcrn-a/tiny", wait=True)
    assert "instead of -50.000" in app.error[0].value.replace("\\", "")
    with zipfile.ZipFile(io.BytesIO(packed(row, None))) as box:
        box.extractall(here.parent / "taken")
    assert store.read_state(row, here.parent / "taken")


def test_pull_use_and_delete(server, here):
    hub.push("fcrn-a/tiny", "alice/cells", token=ALICE, private=False)
    app = write(start(), "hub-search", "cells")
    app = press(app, "hub-find")
    assert "alice/cells" in words(app)
    app = press(app, "found alice/cells")
    app = press(app, "hub-pull", wait=True)
    assert "is here, and its known answer was counted right" in words(app)
    space = visit.registry().find(address(app))
    name = next(iter(store.manifest(space.weights)))
    assert name.startswith("hub/alice--cells-")
    assert list(store.manifest(here)) == ["fcrn-a/tiny"], "nothing is installed for others"
    assert "Known answer counted: **right on this server**" in words(app)
    again = start(space.id)
    count = again.switch_page(str(ROOT / "pages" / "count.py")).run()
    assert any("alice/cells" in option for box in count.selectbox if box.key == "weights" for option in box.options)
    assert "alice/cells" not in words(start()), "a stranger sees nothing of it"
    app = press(app, f"delete-now {name}")
    assert store.manifest(space.weights) == {}
    assert not list(space.weights.glob("*.safetensors"))
    assert f"verify {name}" not in keys(app)


def test_the_servers_own_token_is_never_used(server):
    hub.push("fcrn-a/tiny", "alice/cells", token=ALICE)      # private
    app = write(start(), "hub-repo", "alice/cells")
    app = press(app, "hub-pull", wait=True)
    assert "There is no repository alice/cells on the Hub, or it is private" in words(app)
    app = press(write(app, "hub-search", "alice"), "hub-find")
    assert "No repository found." in words(app)
    app = press(app, "push fcrn-a/tiny")
    app = write(app, "push-repo", "alice/others")
    assert next(button for button in app.button if button.key == "push-go").disabled
    assert "Give a token with the right to write" in words(app)
    app = press(write(app, "hub-token", ALICE), "hub-pull", wait=True)
    assert "is here" in words(app)


def test_push_lists_what_leaves_and_keeps_no_token(server, tmp_path):
    app = press(start(), "push fcrn-a/tiny")
    assert "What leaves this server" in words(app)
    listed = next(frame.value for frame in app.dataframe if "File" in frame.value)
    assert list(listed["File"]) == ["model.safetensors", "config.json", "README.md"]
    app = write(write(app, "push-repo", "alice/tiny"), "hub-token", ALICE)
    assert not server.repos
    app = press(app, "push-go", wait=True)
    assert "only you can see it" in words(app)
    assert server.repos["alice/tiny"].private
    assert set(server.repos["alice/tiny"].files) == {*listed["File"], ".gitattributes"}
    written = [path for path in (tmp_path / "workspaces").rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if b"secret" in path.read_bytes()]
    assert "secret" not in words(app) + str(app.query_params) + "".join(server.log)


def test_a_fault_is_said_and_tried_again_and_a_bad_address_is_not_asked_for(server):
    hub.push("fcrn-a/tiny", "alice/cells", token=ALICE, private=False)
    app = press(write(start(), "hub-repo", "../../etc"), "hub-pull")
    assert "names no repository" in words(app)
    server.faults["GET", "/api/models/"] = [503] * 3
    app = press(write(app, "hub-repo", "alice/cells"), "hub-pull", wait=True)
    assert "fault of its own just now (503)" in words(app)
    app = press(app, "hub-again", wait=True)
    assert "is here" in words(app)


def test_deleting_everything_ends_a_pull(server, monkeypatch):
    hub.push("fcrn-a/tiny", "alice/cells", token=ALICE, private=False)
    server.before["/model.safetensors"] = lambda: time.sleep(3)
    app = press(write(start(), "hub-repo", "alice/cells"), "hub-pull")
    folder = visit.registry().find(address(app)).folder
    job = weights_jobs.of(folder.name)
    app = press(app, "delete-now")
    job.wait(60)
    assert job.error.startswith("Cancelled")
    assert not folder.exists()
