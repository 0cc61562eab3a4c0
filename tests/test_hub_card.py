"""What a push takes along: the files that were listed, the model card, the figure; images only if ticked."""

import hashlib
import json

import pytest
from hub_fixtures import pulled, pushed, refused

from cellapp import hub, train_jobs
from cellapp import weights as store
from cellapp.files import write_atomic
from cellapp.simulate import simulate
from cellapp.train_spec import Given

pytest_plugins = ["hub_fixtures"]


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
