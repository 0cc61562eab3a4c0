"""Weights on the Hub: the real client against the server of `hub_server`, in this process and from the command line."""

import pytest
from conftest import add_weights
from hub_server import File, Repo, Server

from cellapp import hub, hub_net
from cellapp import weights as store
from cellapp.errors import Cancelled, HubError
from cellapp.image import read_image
from cellapp.methods import Counter, build, load, pick_device
from cellapp.verify import EXAMPLES, TOLERANCE

ALICE, BOB, READER = "hf_alicesecret", "hf_bobsecret", "hf_readersecret"
EXAMPLE = "nuclei-1-000.png"


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A Hub of this test's own, where huggingface_hub looks for it, and nobody's login."""
    from huggingface_hub import constants

    server = Server()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(hub_net, "WAITS", (0.0, 0.0))
    yield server
    server.close()


@pytest.fixture
def mine(tmp_path, one_thread):
    """A folder with weights that were never trained, and a known answer that they count."""
    folder = tmp_path / "mine"
    row = add_weights("fcrn-a", folder, "own/mine", title="My *cells*", licence="CC BY 4.0")
    count = load(row.id, "cpu", folder).predict(read_image(EXAMPLES / EXAMPLE)).count
    row = row.model_copy(update={"check": store.Check(image=EXAMPLE, count=count, tolerance=TOLERANCE)})
    store.replace(row, folder)
    return folder


def pushed(mine, repo="alice/cells", **changes):
    return hub.push("own/mine", repo, **{"token": ALICE, "folder": mine} | changes)


def counted(weights_id, folder):
    return load(weights_id, "cpu", folder).predict(read_image(EXAMPLES / "vgg-cells-1-000.png")).count


def test_what_is_pushed_is_pulled_elsewhere_and_counts_the_same(server, mine, tmp_path):
    seen = []
    there = pushed(mine, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == sum(file.bytes for file in hub.listing("own/mine", "alice/cells", folder=mine))
    assert len(seen) > 10
    assert seen == sorted(seen)
    repo = server.repos["alice/cells"]
    assert repo.private
    assert len(repo.commits) == 2                            # one for the repository, one for the push
    assert set(repo.files) == {".gitattributes", "README.md", "config.json", "model.safetensors"}

    elsewhere, seen = tmp_path / "elsewhere", []
    row = hub.pull(f"alice/cells@{there.revision}", token=ALICE, folder=elsewhere,
                   progress=lambda done, total: seen.append((done, total)))
    assert row.id == f"hub/alice--cells-{there.revision[:7]}"
    assert row.hub == store.Hub(repo="alice/cells", revision=there.revision) == store.manifest(elsewhere)[row.id].hub
    assert row.sha256 == store.find("own/mine", mine).sha256
    assert seen[-1] == (row.bytes, row.bytes)
    assert counted(row.id, elsewhere) == counted("own/mine", mine)
    assert not list((elsewhere / "downloads").iterdir())
    before = len(server.log)
    assert hub.pull("alice/cells", token=ALICE, folder=elsewhere) == row
    assert not any("model.safetensors" in line for line in server.log[before:])


def test_pushing_again_adds_nothing_and_pushing_changes_adds_one_commit(server, mine, tmp_path):
    first = pushed(mine)
    assert pushed(mine).revision == first.revision
    row = store.find("own/mine", mine)
    store.replace(row.model_copy(update={"title": "Better"}), mine)
    second = pushed(mine)
    assert len(server.repos["alice/cells"].commits) == 3
    old, new = (hub.pull(f"alice/cells@{at.revision}", token=ALICE, folder=tmp_path) for at in (first, second))
    assert (old.title, new.title) == ("My *cells* · alice/cells", "Better · alice/cells")
    assert set(store.manifest(tmp_path)) == {old.id, new.id}  # two revisions lie side by side
    assert sum("PUT" in line for line in server.log) == 1    # the numbers are the same
