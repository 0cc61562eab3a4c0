"""A Hub for each test, and weights to push there: a plugin of the tests that need them (``pytest_plugins``)."""

import pytest
from conftest import add_weights
from hub_server import Server

from cellapp import hub, hub_net
from cellapp import weights as store
from cellapp.errors import HubError
from cellapp.image import read_image
from cellapp.methods import load
from cellapp.verify import EXAMPLES, TOLERANCE

ALICE, BOB, READER = "hf_alicesecret", "hf_bobsecret", "hf_readersecret"
EXAMPLE = "nuclei-1-000.png"


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A Hub of this test's own, where huggingface_hub looks for it, and nobody's login."""
    from huggingface_hub import constants

    server = Server()
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + template)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(hub_net, "WAITS", (0.0, 0.0))
    yield server
    server.close()


@pytest.fixture
def mine(tmp_path, one_thread):
    """A folder with the weights ``own/mine``."""
    folder = tmp_path / "mine"
    provable(folder, title="My *cells*", licence="CC BY 4.0")
    return folder


def provable(folder, weights_id="own/mine", **about) -> store.Weights:
    """Weights that were never trained, with a known answer that they count."""
    row = add_weights("fcrn-a", folder, weights_id, **about)
    count = load(row.id, "cpu", folder).predict(read_image(EXAMPLES / EXAMPLE)).count
    row = row.model_copy(update={"check": store.Check(image=EXAMPLE, count=count, tolerance=TOLERANCE)})
    store.replace(row, folder)
    return row


def pushed(mine, repo="alice/cells", **changes):
    return hub.push("own/mine", repo, **{"token": ALICE, "folder": mine} | changes)


@pytest.fixture
def cells(server, mine):
    """The repository alice/cells, public, with weights."""
    pushed(mine, private=False)
    server.log.clear()
    return server.repos["alice/cells"]


def pulled(tmp_path, repo="alice/cells", token=False, **changes):
    return hub.pull(repo, **{"token": token, "folder": tmp_path / "pulled"} | changes)


def refused(call, *words, again=None):
    """The one sentence of a call that cannot go well; no token is in it."""
    with pytest.raises(HubError) as caught:
        call()
    sentence = str(caught.value)
    assert all(word in sentence for word in words), sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert "secret" not in sentence
    assert again is None or caught.value.again == again
    return sentence
