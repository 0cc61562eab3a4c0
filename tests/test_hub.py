"""Weights on the Hub: the real client against the server of `hub_server`; every failure is one clear sentence."""

import logging

import pytest
from hub_fixtures import ALICE, BOB, EXAMPLES, READER, pulled, pushed, refused
from hub_server import Repo

from cellapp import hub, hub_net
from cellapp import weights as store
from cellapp.errors import Cancelled
from cellapp.image import read_image
from cellapp.methods import load

pytest_plugins = ["hub_fixtures"]


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


def test_who_may_not_read_is_told_why(server, cells, tmp_path):
    def pull(*given, **changes):
        return lambda: pulled(tmp_path, *given, **changes)

    refused(pull("alice/none"), "There is no repository alice/none", "or it is private")
    refused(pull("alice/cells@v9"), "no such branch, tag or commit")
    refused(pull("alice/cells@" + "0" * 40), "no such branch, tag or commit")
    refused(pull(token="hf_revokedsecret"), "does not accept this token")
    refused(pull(token="hf secret\n"), "That is no token of the Hub")
    refused(pull("../../etc/passwd"), "names no repository")
    refused(pull("cells"), "write user/repo")
    cells.gated = True
    refused(pull(), "is gated: accept its conditions on", "/alice/cells")
    refused(pull(token=BOB), "is gated")
    cells.private = True
    refused(pull(token=BOB), "or it is private")
    server.faults["GET", "/api/models/"] = [403]
    refused(pull(token=ALICE), "this token may not read there")
    assert not (tmp_path / "pulled").exists()
    assert pulled(tmp_path, token=ALICE).hub.repo == "alice/cells"


def test_who_may_not_write_is_told_why(server, mine):
    refused(lambda: pushed(mine, token=False), "Pushing needs a token that may write")
    refused(lambda: pushed(mine, token=None), "Pushing needs a token that may write")
    refused(lambda: pushed(mine, token=BOB), "this token may not write there")
    refused(lambda: pushed(mine, "reader/cells", token=READER), "this token may not write there")
    refused(lambda: pushed(mine, token="hf_revokedsecret"), "does not accept this token")
    refused(lambda: pushed(mine, "alice/cells@main"), "leave out what follows the @")
    server.repos["alice/other"] = Repo()
    refused(lambda: pushed(mine, "alice/other"), "is there already and is public")
    server.repos["alice/other"].put(pytorch_model__bin=b"x")
    refused(lambda: pushed(mine, "alice/other", private=False), "holds something else already")
    assert "alice/cells" not in server.repos
    assert len(server.repos["alice/other"].commits) == 2


def test_a_busy_hub_is_waited_for(server, mine, tmp_path):
    server.faults["POST", "/preupload/"] = [429, 503]
    server.faults["PUT", "/_lfs/"] = [429, "cut", 500, "drop"]
    server.faults["GET", "/api/models/"] = [503, 429]
    there = pushed(mine)
    server.faults["GET", "/api/models/"] = [429, "drop"]
    server.faults["GET", "/config.json"] = ["drop"]
    server.faults["GET", "/model.safetensors"] = [429, "cut", 503]
    assert pulled(tmp_path, token=ALICE).hub.revision == there.revision
    assert not any(any(faults) for faults in server.faults.values()), "every fault was met"
    assert any(" bytes=" in line for line in server.log), "what had arrived was not fetched again"


@pytest.mark.parametrize(("where", "kind", "words"), [
    ("/api/models/", 500, "fault of its own just now (500)"), ("/api/models/", 429, "too many requests"),
    ("/api/models/", "drop", "cannot be reached"), ("/config.json", 503, "fault of its own just now (503)"),
    ("/model.safetensors", 500, "fault of its own just now (500)"), ("/model.safetensors", 429, "too many requests")])
def test_a_hub_that_stays_broken_is_one_sentence(server, cells, tmp_path, where, kind, words, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    server.faults["GET", where] = [kind] * 100
    refused(lambda: pulled(tmp_path), words, again=True)
    assert not (tmp_path / "pulled" / store.MANIFEST).exists()
    server.faults.clear()
    assert pulled(tmp_path).hub.repo == "alice/cells"


@pytest.fixture
def hasty(monkeypatch):
    """A client that waits for some seconds only."""
    from huggingface_hub import constants, set_client_factory

    with monkeypatch.context() as patch:
        patch.setitem(hub_net.DEADLINES, "timeout", 4.0)
        patch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 4)
        set_client_factory(hub_net._client)
        yield
    set_client_factory(hub_net._client)


def test_a_hub_that_says_nothing_is_given_up(server, cells, mine, tmp_path, hasty):
    server.faults["GET", "/api/models/"] = ["hang"]
    refused(lambda: pulled(tmp_path), "did not answer in time", again=True)
    server.faults["GET", "/model.safetensors"] = ["hang"]
    assert pulled(tmp_path).hub.repo == "alice/cells"        # the client asks once more by itself
    server.faults["POST", "/commit/"] = ["hang"]
    refused(lambda: pushed(mine, private=False, licence="MIT"), "did not answer in time", again=True)


def test_offline_is_said(cells, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused(lambda: pulled(tmp_path), "was told to stay offline")


def test_a_full_disk_or_workspace_is_said(cells, tmp_path, monkeypatch):
    refused(lambda: pulled(tmp_path, room=1000), "there is no room for them")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cellapp.hub_pull._Watched.write", full)
    refused(lambda: pulled(tmp_path), "the disk is full")


def test_wrong_bytes_are_never_installed(server, cells, tmp_path):
    server.faults["GET", "/model.safetensors"] = ["wrong"]
    refused(lambda: pulled(tmp_path), "does not have the sha256 that its config.json names", again=True)
    server.faults["GET", "/config.json"] = ["wrong"]
    refused(lambda: pulled(tmp_path), "config.json arrived damaged", again=True)
    assert not (tmp_path / "pulled" / store.MANIFEST).exists()
    assert pulled(tmp_path).hub.repo == "alice/cells"


def test_a_branch_that_moves_while_pulling_changes_nothing(server, cells, tmp_path):
    pinned = cells.head
    server.before["/config.json"] = lambda: cells.put(model__safetensors=b"other weights", config__json=b"{}")
    assert pulled(tmp_path).hub.revision == pinned


def test_a_commit_in_between_stops_the_push(server, cells, mine):
    store.replace(store.find("own/mine", mine).model_copy(update={"title": "Mine"}), mine)
    server.before["/preupload/"] = lambda: cells.put(README__md=b"---\ntags: [cellapp]\n---\nof somebody else")
    refused(lambda: pushed(mine, private=False), "somebody else changed it meanwhile", again=True)
    assert cells.files["README.md"].content.endswith(b"of somebody else")
    pushed(mine, private=False)
    assert b"# Mine" in cells.files["README.md"].content


def test_a_commit_that_fails_costs_no_second_upload(server, mine):
    server.faults["POST", "/commit/"] = [503]
    refused(lambda: pushed(mine), "fault of its own", again=True)
    pushed(mine)
    assert sum("PUT /_lfs" in line for line in server.log) == 1


def test_cancelling_keeps_what_arrived_and_going_on_fetches_the_rest(server, cells, tmp_path):
    done = 0

    def progress(size, _total):
        nonlocal done
        done = size

    with pytest.raises(Cancelled):
        pulled(tmp_path, progress=progress, stop=lambda: done > 1_000_000)
    assert not (tmp_path / "pulled" / store.MANIFEST).exists()
    assert pulled(tmp_path, progress=progress).bytes == done
    begun = [int(line.rpartition("bytes=")[2][:-1]) for line in server.log if " bytes=" in line]
    assert begun
    assert begun[0] > 1_000_000


def test_cancelling_a_push_changes_nothing_there(server, mine):
    sizes = []

    with pytest.raises(Cancelled):
        pushed(mine, progress=lambda done, _: sizes.append(done), stop=lambda: len(sizes) > 5)
    assert set(server.repos["alice/cells"].files) == {".gitattributes"}


def test_search_finds_what_is_tagged_and_seen(server, cells, mine, monkeypatch):
    pushed(mine, "alice/secret-cells")
    server.repos["bob/other"] = Repo()
    assert [row.repo for row in hub.search(token=False)] == ["alice/cells"]
    rows = hub.search("SECRET", token=ALICE)
    assert [(row.repo, row.method, row.licence, row.private) for row in rows] == [
        ("alice/secret-cells", "fcrn-a", "cc-by-4.0", True)]
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    server.faults["GET", "/api/models"] = [500] * 100
    refused(lambda: hub.search(token=False), "The search: the Hub has a fault")


def test_no_token_is_written_logged_or_sent_in_an_address(server, mine, tmp_path, caplog, capfd, monkeypatch):
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "propagate", True)
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "huggingface_hub")
    pushed(mine)
    pulled(tmp_path, token=ALICE)
    server.faults["POST", "/commit/"] = [500]
    refused(lambda: pushed(mine, token=ALICE, licence="MIT"), "fault of its own")
    for token in ("hf_revokedsecret", "hf_non–asciisecret", "hf_two wordssecret"):
        refused(lambda token=token: pulled(tmp_path, token=token), "token")
    said = caplog.text + "".join(capfd.readouterr()) + "\n".join(server.log)
    assert "authenticated: True" in caplog.text              # the client's own log was heard
    assert "secret" not in said
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 4
    assert not [path for path in written if b"secret" in path.read_bytes()]
