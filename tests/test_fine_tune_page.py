"""The Fine-tune page: what is needed is said first, it trains beside the page, then the new weights can be used."""

import io
import time
import zipfile

import numpy as np
import pytest
from app_testing import ROOT, drop, press, start, words
from PIL import Image as PillowImage
from streamlit.testing.v1 import AppTest

from cellapp import train_jobs, train_queue
from cellapp import weights as store
from cellapp.annotation import Annotation, Area, save
from cellapp.dots import Dots, write_dots
from cellapp.simulate import simulate
from cellapp.train_spec import needs
from cellapp.ui import visit

pytest_plugins = ["app_testing"]
pytestmark = pytest.mark.usefixtures("tiny_weights", "own_server")


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def files(n: int, names: str = "cell_{}") -> tuple[list, list]:
    """Simulated images and their dots as they are dropped."""
    images, dots = [], []
    for k in range(n):
        scene = simulate("vgg-cells", 1, k, size=(48, 56))
        out = io.BytesIO()
        PillowImage.fromarray(scene.image).save(out, "PNG")
        name = names.format(k)
        images.append((f"{name}.png", out.getvalue(), "image/png"))
        dots.append((f"{name}_dots.csv", write_dots(Dots(scene.points), "csv"), "text/csv"))
    return images, dots


def choose(app: AppTest, key: str, value) -> AppTest:
    next(w for w in [*app.selectbox, *app.number_input, *app.toggle, *app.text_input] if w.key == key
         ).set_value(value).run()
    assert not app.exception
    return app


def tiny(app: AppTest, **more) -> AppTest:
    """Settings for a training of a moment."""
    choose(app, "tune set by steps", True)
    for name, value in ({"epochs": 2, "steps": 2, "batch": 2, "crop": 32} | more).items():
        choose(app, f"tune set {name}", value)
    return app


def until(app: AppTest, ready) -> AppTest:
    for _ in range(600):
        if ready(app.run()):
            assert not app.exception
            return app
        time.sleep(0.2)
    raise AssertionError(words(app))


def labels(app: AppTest) -> list[str]:
    return [b.label for b in app.button]


@pytest.fixture
def ready() -> AppTest:
    images, dots = files(4)
    return drop(drop(start("fine_tune"), 0, *images), 1, *dots)


def test_several_gpus_are_offered_where_there_are_some_and_taken_only_if_asked_for(ready, monkeypatch):
    import torch

    def offered(app: AppTest) -> list:
        return [w for w in app.number_input if w.key == "tune set devices"]

    assert not offered(ready)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    [widget] = offered(ready.run())
    assert (widget.value, widget.max) == (1, 3)
    monkeypatch.setenv("CELLAPP_SCHEDULER", "tcp://10.0.0.5:8786")
    assert not offered(ready.run()), "workers of a cluster train on one device each"


def test_the_encoder_of_first_weights_can_be_kept(ready, monkeypatch):
    monkeypatch.setattr(train_jobs.Job, "start", lambda job: None)
    press(choose(tiny(ready), "tune set freeze_encoder", True), "Start training")
    assert train_jobs.jobs(ready.session_state["space"].trainings)[0].spec().config["freeze_encoder"] is True
    app = press(start("fine_tune", ready.session_state["space"].id), "Train again").run()
    choose(app, "tune-start", "from scratch: fcrn-a")
    assert "tune set freeze_encoder" not in {t.key for t in app.toggle}, "there is nothing to keep"


def test_what_is_needed_is_said_before_anything_runs():
    images, dots = files(2)
    app = start("fine_tune")
    assert [t.value for t in app.title] == ["Teach it your cells"]
    drop(app, 0, *images[:1])
    assert "There is no image with dots yet" in words(app)
    drop(app, 1, *dots[:1])
    assert "There is only one image; training needs two at least" in words(app)
    drop(app, 0, *images[1:])
    drop(app, 1, *dots[1:])
    assert "1 image to learn from, 1 image kept back" in words(app)
    assert "Start training" in labels(app)
    choose(app, "tune-start", "fcn/untrained")
    assert "Your images have dots, and this method learns from label masks" in words(app)
    assert "Start training" not in labels(app)
    choose(app, "tune-start", "fpn-vgg11/untrained")
    assert "counts: how many cells each image has" in words(app) and "Start training" in labels(app)


def test_groups_stay_together():
    images, dots = files(4, "P{}_a")
    more, other = files(4, "P{}_b")
    app = drop(drop(start("fine_tune"), 0, *images, *more), 1, *dots, *other)
    choose(app, "tune-groups", "1")
    table = app.dataframe[0].value
    assert list(table["Group"]) == [name[:2] for name in table["Image"]]
    sides = dict(zip(table["Image"], table["Use"], strict=True))
    assert all(sides[f"P{k}_a.png"] == sides[f"P{k}_b.png"] for k in range(4))
    assert set(sides.values()) == {"learn", "kept back"}
    rows = "image,count,slide\n" + "".join(f"P{k}_{side}.png,9,{side}\n" for k in range(4) for side in "ab")
    drop(app, 1, ("slides.csv", rows.encode(), "text/csv"))
    choose(app, "tune-groups", "table")
    table = app.dataframe[0].value
    assert set(table["Group"]) == {"a", "b"} and table.groupby("Group")["Use"].nunique().eq(1).all()


def test_train_reload_and_use(ready):
    app = tiny(choose(ready, "tune-name", "My cells!"))
    press(app, "Start training")
    address = app.query_params["w"]
    address = address if isinstance(address, str) else address[0]
    again = until(start("fine_tune", address), lambda a: "Use on the Count page" in labels(a))
    assert [m.label for m in again.metric] == ["MAE before (cells per image)", "MAE after (cells per image)"]
    assert "stay as they are" in words(again) and "before" in words(again)
    space = visit.registry().find(address)
    row = store.find("own/my-cells", space.weights)
    assert row.title == "My cells!" and row.parent == "fcrn-a/untrained"
    assert "own/my-cells" not in store.manifest(), "other visitors do not see it"
    press(again, "Use on the Count page")
    assert again.session_state["weights"] == "own/my-cells"
    count = AppTest.from_file(str(ROOT / "cellapp" / "ui" / "main.py"), default_timeout=120)
    count.query_params["w"] = address
    count.run()
    assert next(s for s in count.selectbox if s.key == "weights").value == "own/my-cells"
    until(count, lambda a: a.metric)
    assert not count.error
    stranger = AppTest.from_file(str(ROOT / "cellapp" / "ui" / "main.py"), default_timeout=120).run()
    assert "own/my-cells" not in next(s for s in stranger.selectbox if s.key == "weights").options
    from cellapp.ui.weights_zip import packed

    with zipfile.ZipFile(io.BytesIO(packed(store.find("own/my-cells", space.weights), space.weights))) as box:
        box.extractall(space.folder / "taken away")
    assert np.isfinite(store.read_state(store.find("own/my-cells", space.folder / "taken away"),
                                        space.folder / "taken away")["head.weight"].numpy()).all()


def test_a_queue_is_shown_and_cancel_leaves_it(ready):
    ticket = train_queue.Ticket(train_queue.default_root(), "cpu", "somebody")
    assert ticket.mine()
    app = press(tiny(ready), "Start training")
    until(app, lambda a: "place 2 in the queue" in words(a))
    assert "Another training on this server must end first" in words(app)
    press(app, "Cancel")
    until(app, lambda a: "Resume" in labels(a))
    assert "Cancelled." in words(app)
    press(app, "Train again")
    assert "Start training" in labels(app)
    ticket.close()


def test_stop_and_keep_the_best(ready):
    app = press(tiny(ready, epochs=2000), "Start training")
    keep = next(b for b in app.button if b.label.startswith("Stop"))
    assert keep.disabled, "nothing is there to keep before the first epoch"
    until(app, lambda a: not next((b for b in a.button if b.label.startswith("Stop")), keep).disabled)
    press(app, "Stop and keep the best")
    until(app, lambda a: "Use on the Count page" in labels(a))
    assert len(app.metric) == 2


def test_the_spread_chosen_on_annotate_is_trained_with(ready, monkeypatch):
    monkeypatch.setattr(train_jobs.Job, "start", lambda job: None)
    space = ready.session_state["space"]
    space.change(dot_sigma=5.0, cell_diameter=20.0)          # px of the image; these weights read cells of 10 px
    app = start("fine_tune", space.id).run()                 # only then AppTest has the values of the page before
    assert next(n for n in app.number_input if n.key == "dot-sigma").value == 5.0
    assert "σ = 5 px in your images, 2.5 px as the network reads them" in words(app)
    press(tiny(app), "Start training")
    assert train_jobs.jobs(space.trainings)[0].spec().config["sigma"] == 2.5
    space.change(dot_sigma=0.5)
    app = press(start("fine_tune", space.id), "Train again").run()
    assert "is one of 0.25 px as the network reads them" in words(app) and "Start training" not in labels(app)
    choose(app, "dot-sigma", None)
    assert "σ = 3 px as the network reads them, 6 px in your images" in words(app), "as the page Annotate shows it"
    assert "Start training" in labels(app) and space.state().dot_sigma is None
    choose(app, "tune-start", "count-ception/untrained")
    assert "dot-sigma" not in {n.key for n in app.number_input}, "it learns no Gaussians"


def test_the_window_chosen_on_annotate_is_trained_with(ready, monkeypatch):
    monkeypatch.setattr(train_jobs.Job, "start", lambda job: None)
    space = ready.session_state["space"]
    space.change(dot_window=60, cell_diameter=20.0)          # px of the image; these weights read cells of 10 px
    app = choose(start("fine_tune", space.id).run(), "tune-start", "alexnet/untrained")
    assert next(n for n in app.number_input if n.key == "dot-window").value == 60
    assert "tune set crop" not in {n.key for n in app.number_input}
    assert "windows of 60 px in your images, 30 px as the network reads them" in words(app)
    press(app, "Start training")
    assert train_jobs.jobs(space.trainings)[0].spec().config["crop"] == 30
    space.change(dot_window=20)
    app = choose(press(start("fine_tune", space.id), "Train again").run(), "tune-start", "alexnet/untrained")
    assert "is one of 10 px as the network reads them" in words(app) and "Start training" not in labels(app)


@pytest.mark.parametrize(("start_with", "truth", "says"), [
    ("fpn-vgg11/untrained", "counts", "counts: how many cells each image has"),
    ("alexnet/untrained", "dots", "dots: the place of each cell"),
    ("count-ception/untrained", "dots", "dots: the place of each cell"),
    ("fcn/untrained", "labels", "label masks: the outline of each cell")])
def test_every_family_begins_with_what_it_learns_from(start_with, truth, says, monkeypatch):
    monkeypatch.setattr(train_jobs.Job, "start", lambda job: None)
    images, dots = files(3)
    rows = "image,count\n" + "".join(f"{name},7\n" for name, _, _ in images)
    given = {"dots": dots, "counts": [("counts.csv", rows.encode(), "text/csv")], "labels": []}
    for k, (name, _, _) in enumerate(images):
        out = io.BytesIO()
        labels = simulate("vgg-cells", 1, k, size=(48, 56)).labels.astype(np.uint16)
        PillowImage.fromarray(labels).save(out, "PNG")
        given["labels"].append((f"{name[:-4]}_labels.png", out.getvalue(), "image/png"))
    app = choose(drop(start("fine_tune"), 0, *images), "tune-start", start_with)
    assert says in words(app) and "There is no image with" in words(app)
    drop(app, 1, *given[truth])
    assert "2 images to learn from, 1 image kept back" in words(app)
    press(app, "Start training")
    [job] = train_jobs.jobs(app.session_state["space"].trainings)
    assert job.spec().start == start_with and len(job.spec().items) == 3
    assert needs(job.spec().config["method"], job.spec().config["part"]) == {"labels": "outlines"}.get(truth, truth)


def test_what_is_learnt_is_seen_as_a_map_of_its_kind():
    from cellapp.figures import views_of
    from cellapp.ui.fine_tune_run import _prediction

    labels = np.zeros((40, 50), np.int32)
    labels[2:9, 2:9], labels[20:30, 20:30] = 1, 2
    mask, density = (labels > 0).astype(np.float32), np.full(labels.shape, 0.01, np.float32)
    assert {"Outlines", "Foreground"} <= {*views_of(_prediction({"labels": labels, "foreground": mask}))}
    seen = _prediction({"density": density, "redundant": np.ones((72, 82), np.float32)})
    assert seen.count == pytest.approx(20) and {"Density", "Redundant count map"} <= {*views_of(seen)}


def test_an_image_dotted_in_part_is_learnt_from_inside_its_area(ready):
    space = ready.session_state["space"]
    file = space.state().images[0]
    area = (Area(outline=((-0.5, -0.5), (-0.5, 29.5), (29.5, 29.5), (29.5, -0.5))),)
    save(space, file.id, Annotation(points=((5, 5), (20, 9), (40, 50)), labels=(1, 1, 1), shape=(48, 56), area=area))
    space.remove([one.id for one in space.state().dots])
    dots = [space.keep(name, content, kind="dots") for name, content, _ in files(4)[1][1:]]
    space.include(dots)
    app = start("fine_tune", space.id)
    assert "inside their marked areas only" in words(app)
    table = app.dataframe[0].value.set_index("Image")
    assert table["Cells"][file.name] == 2 and len(table) == 4
