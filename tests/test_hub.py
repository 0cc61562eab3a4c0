"""Weights on the Hub: the real client against the server of `hub_server`; every failure is one clear sentence."""

import hashlib
import json
import logging

import pytest
from hub_fixtures import ALICE, BOB, EXAMPLES, READER
from hub_server import Repo

from cellapp import hub, hub_net, train_jobs
from cellapp import weights as store
from cellapp.errors import Cancelled, HubError
from cellapp.files import write_atomic
from cellapp.image import read_image
from cellapp.methods import load
from cellapp.simulate import simulate
from cellapp.train_spec import Given

pytest_plugins = ["hub_fixtures"]


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


def test_a_hub_that_says_nothing_is_given_up(server, cells, mine, tmp_path, monkeypatch):
    from huggingface_hub import constants, set_client_factory

    monkeypatch.setitem(hub_net.DEADLINES, "timeout", 1.0)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    set_client_factory(hub_net._client)
    server.faults["GET", "/api/models/"] = ["hang"]
    refused(lambda: pulled(tmp_path), "did not answer in time", again=True)
    server.faults["GET", "/model.safetensors"] = ["hang"]
    assert pulled(tmp_path).hub.repo == "alice/cells"        # the client asks once more by itself
    server.faults["POST", "/commit/"] = ["hang"]
    refused(lambda: pushed(mine, private=False, licence="MIT"), "did not answer in time", again=True)
    monkeypatch.undo()
    set_client_factory(hub_net._client)


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


def test_what_leaves_is_what_was_listed(server, mine):
    listed = hub.listing("own/mine", "alice/cells", folder=mine)
    pushed(mine)
    sent = {name: file.content for name, file in server.repos["alice/cells"].files.items() if name != ".gitattributes"}
    assert {upload.path: upload.content for upload in listed} == sent
    assert all(upload.about for upload in listed)
    config = json.loads(sent["config.json"])
    assert (config["method"], config["licence"], config["title"]) == ("fcrn-a", "CC BY 4.0", "My *cells*")
    refused(lambda: hub.listing("own/mine", "alice/cells", folder=mine, include=["images"]), "only with weights that")
    refused(lambda: hub.listing("own/mine", "alice/cells", folder=mine, include=["all"]), "choose of: images, dots")


def test_the_card_says_what_the_hub_reads(cells, mine, tmp_path):
    import yaml

    card = cells.files["README.md"].content.decode()
    about = yaml.safe_load(card.split("---\n")[1])
    assert about["library_name"] == "cellapp"
    assert about["tags"][0] == "cellapp"
    assert about["license"] == "cc-by-4.0"
    assert "base_model" not in about
    assert "# My \\*cells\\*" in card
    row = pulled(tmp_path)
    command = "python -m cellapp evaluate --images /home/a"
    score = store.Score(data="held out", images=7, mae=1.5, bias=-0.5, command=command)
    child = row.model_copy(update={"id": "own/child", "parent": row.id, "hub": None, "scores": (score,),
                                   "licence": "not stated"})
    store.replace(child, tmp_path / "pulled")
    files = {upload.path: upload.content.decode(errors="replace") for upload in hub.listing(
        "own/child", "alice/child", folder=tmp_path / "pulled", licence="CC0")}
    about = yaml.safe_load(files["README.md"].split("---\n")[1])
    assert about["base_model"] == "alice/cells"
    assert about["license"] == "cc0-1.0"
    metrics = about["model-index"][0]["results"][0]["metrics"]
    assert {metric["type"]: metric["value"] for metric in metrics} == {"mae": 1.5, "bias": -0.5}
    assert "/home/a" not in "".join(files.values())


def test_terms_stay_and_the_public_needs_some(server, mine, tmp_path):
    store.replace(store.find("own/mine", mine).model_copy(update={"licence": "not stated"}), mine)
    refused(lambda: pushed(mine, private=False), "say under which licence")
    pushed(mine, private=False, licence="MIT")
    row = pulled(tmp_path)
    assert row.licence == "MIT"
    refused(lambda: hub.listing(row.id, "bob/copy", folder=tmp_path / "pulled", licence="CC0"), "“MIT”, which stay")


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


@pytest.fixture
def trained(mine, tmp_path):
    """The job that made ``own/mine``: six images, of which five were kept back, with a pixel size and no secrets."""
    from tifffile import imwrite

    given = []
    for k in range(6):
        scene = simulate("vgg-cells", 3, k, size=(48, 56))
        path = tmp_path / f"patient {k}.tif"
        imwrite(path, scene.image, imagej=True, resolution=(4.0, 4.0), metadata={"unit": "um"})
        given.append(Given(path.name, path, hashlib.sha256(path.read_bytes()).hexdigest(), {}, scene.points))
    job = train_jobs.create(tmp_path / "jobs", given, ["learn", *["check"] * 5], id="own/mine", title="mine",
                            trained_on="nothing", out_folder=mine, config={})
    images = [{"name": one.name, "manual": 20.0 + k, "before": 30.0, "after": 21.0 + k}
              for k, one in enumerate(given[1:])]
    write_atomic(job.folder / "result.json", json.dumps({"images": images}))
    train_jobs.finish(job.folder, "done", weights="own/mine")
    return job


def test_a_training_tells_its_error_and_its_images_stay(server, mine, trained):
    files = {upload.path: upload.content for upload in hub.listing("own/mine", "alice/cells", folder=mine, job=trained)}
    assert set(files) == {"model.safetensors", "config.json", "README.md", "before_after.png"}
    card = files["README.md"].decode()
    assert "on the 5 images kept back, which also chose the epoch: 8.0 cells per image before the training, 95%" in card
    assert "; 1.0 cells per image after the training" in card
    assert "- Pixel size: 0.25 µm" in card
    assert "![Counts by hand against predicted ones](before_after.png)" in card
    assert files["before_after.png"].startswith(b"\x89PNG")
    assert not any(b"patient" in content for content in files.values())
    with_all = hub.listing("own/mine", "alice/cells", folder=mine, job=trained, include=["images", "dots"])
    extra = [upload for upload in with_all if upload.path not in files]
    assert len(extra) == 12
    assert extra[0].path == "training/001-patient_0.tif"
    assert extra[1].path == "training/001-patient_0_dots.csv"
    pushed(mine, job=trained, include=["dots"])
    assert sum(name.startswith("training/") for name in server.repos["alice/cells"].files) == 6
    pushed(mine, job=trained)
    assert set(server.repos["alice/cells"].files) == {*files, ".gitattributes"}, "what is no longer ticked goes"
