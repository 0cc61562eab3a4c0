"""Images that are dotted in part: nothing outside of the counted area is learnt from or held against a count."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from cellapp import train_jobs, train_queue, train_work
from cellapp.annotation import Annotation, Area
from cellapp.data import Dotted, resized
from cellapp.errors import TrainingError
from cellapp.family import Reading
from cellapp.methods import METHODS, load
from cellapp.partly import count_inside, inside, sure
from cellapp.simulate import simulate
from cellapp.train_spec import Given, usable
from cellapp.train_worker import main
from cellapp.training import TrainingConfig, call_of, train

pytestmark = pytest.mark.usefixtures("one_thread")
SHAPE = (120, 150)
AREA = np.s_[30:90, 20:100]
CROPS = {"fcrn-a": 48, "recount": 48, "count-ception": 48, "alexnet": 40, "resnet-50-c": 40, "fcn": 48}


def config(method: str, **more) -> TrainingConfig:
    return TrainingConfig(**{"method": method, "epochs": 1, "steps": 2, "batch": 3, "crop": CROPS[method], "whole": 0.0,
                             "window_step": 4 if method == "count-ception" else 0, "warmup": 1} | more)


def scene(seed: int = 0) -> Dotted:
    """An image with a counted area, and only the dots in it."""
    made, counted = simulate("nuclei", 3, seed, size=SHAPE), np.zeros(SHAPE, bool)
    counted[AREA] = True
    points = made.points[inside(made.points, counted)]
    assert 0 < len(points) < len(made.points)
    return Dotted(f"scene {seed}", made.image.astype(np.float32), points, made.labels, counted=counted)


def whole(item: Dotted) -> Dotted:
    return replace(item, counted=None)


class Painter(torch.nn.Module):
    """In the place of a network: an output for every pixel of the crop that does not depend on the image."""

    def __init__(self, planes: int, rim: int):
        super().__init__()
        self.planes, self.rim, self.out = planes, rim, None

    def forward(self, images, step=1, row=0, column=0):
        height, width = (side + self.rim for side in images.shape[-2:])
        shape = (len(images), self.planes, height, width)
        if self.out is None or self.out.shape != shape:
            self.out = torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
        return self.out[:, :, row::step, column::step]


@pytest.mark.parametrize(("method", "planes", "rim"), [("fcrn-a", 1, 0), ("count-ception", 1, 32), ("fcn", 2, 0)])
def test_the_loss_of_maps_knows_nothing_of_what_lies_outside(method, planes, rim):
    family, item, wanted = METHODS[method].family, scene(), config(method, crop=120, batch=1)
    sample = family.sample(item, wanted)
    painter = Painter(planes, rim)
    images, targets = sample.image[None, None], sample.targets[None]
    loss = family.loss(painter, torch.from_numpy(images), torch.from_numpy(targets), wanted, np.random.default_rng(0))
    loss.backward()
    moved = painter.out.grad[0].abs().sum(0) > 0
    half = rim // 2
    outside = np.ones(moved.shape, bool)
    outside[half:-half or None, half:-half or None][AREA] = False
    assert moved.any() and not moved.numpy()[outside].any()
    other = np.where(item.counted, item.labels, 1)           # all of the ground outside is one cell
    again = family.sample(replace(item, labels=other), wanted)
    assert np.array_equal(again.targets, sample.targets, equal_nan=True)


@pytest.mark.parametrize("method", ["fcrn-a", "count-ception", "fcn"])
def test_a_fully_counted_image_gives_the_loss_it_always_gave(method):
    family, wanted = METHODS[method].family, config(method, crop=120, batch=1)
    item = scene()
    everywhere = replace(item, counted=np.ones(SHAPE, bool))
    losses = []
    for one in (whole(item), everywhere):
        sample = family.sample(one, wanted)
        painter = Painter(2 if method == "fcn" else 1, 32 if method == "count-ception" else 0)
        images, targets = torch.from_numpy(sample.image[None, None]), torch.from_numpy(sample.targets[None])
        losses.append(family.loss(painter, images, targets, wanted, np.random.default_rng(0)).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize("method", ["fcrn-a", "count-ception", "fcn"])
def test_every_crop_shows_something_that_is_known(method):
    family, wanted = METHODS[method].family, config(method, batch=64, crop=32)
    counted = np.zeros(SHAPE, bool)
    counted[60:110, 100:150] = True                          # at the border, where crops are shifted
    item = replace(scene(), counted=counted, points=np.array([(80.0, 120.0)]))
    samples = [family.sample(item, wanted), family.sample(whole(item), wanted)]
    _, targets = family.draw(samples[:1], np.random.default_rng(0), wanted, stride=8, whole=False)
    assert np.isfinite(targets).any(axis=(1, 2, 3)).all() and np.isnan(targets).any()
    _, mixed = family.draw(samples, np.random.default_rng(0), wanted, stride=8, whole=True)
    assert np.isfinite(mixed).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("method", ["alexnet", "resnet-50-c"])
def test_windows_of_patch_networks_lie_in_the_area(method):
    family, wanted = METHODS[method].family, config(method, batch=200, gain=0.0, offset=0.0)
    item = scene()
    marked = replace(item, image=item.counted.astype(np.float32))
    images, _ = family.draw([family.sample(marked, wanted)], np.random.default_rng(0), wanted)
    assert images.min() == images.max() > 0, "not one pixel from outside"
    everywhere, _ = family.draw([family.sample(whole(marked), wanted)], np.random.default_rng(0), wanted)
    assert everywhere.min() < 0 < everywhere.max()
    _, counts = family.draw([family.sample(item, wanted)], np.random.default_rng(0), wanted)
    assert 0 < counts.max() <= len(item.points)


@pytest.mark.parametrize("method", ["fcrn-a", "count-ception", "alexnet", "fcn"])
def test_validation_counts_only_inside(method, tiny_weights):
    """Cells that the network sees outside of the area are no error."""
    family, wanted = METHODS[method].family, config(method)
    counter = load(f"{method}/untrained", "cpu")
    call = call_of(METHODS[method], wanted, torch.device("cpu"),
                   counter.weights.settings.model_copy(update={"window": 40, "step": 20, "threshold": 0.5}))
    item = scene()
    sample = family.sample(item, wanted)
    found = family.validate(counter._network, [sample], wanted, call)
    use = call if method == "fcn" else replace(call, settings=call.settings.model_copy(update={
        "factor": 1.0} | ({"step": 4} if method == "count-ception" else {})))
    if method == "fcn":
        use = replace(call, settings=found.settings)
    read = family.read(counter._network, sample.image, use)
    assert found.errors[0] == pytest.approx(count_inside(read, item.counted) - len(item.points), abs=1e-3)
    if method != "fcn":
        assert count_inside(read, item.counted) != pytest.approx(read.count, rel=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_leaves_out_what_lies_outside_or_refuses(method):
    wanted = TrainingConfig(method=method, crop=CROPS.get(method, 40), part="all" if method != "fpn-vgg11" else "count")
    try:
        sample = METHODS[method].family.sample(scene(), wanted)
    except TrainingError as error:
        assert "scene 0 is dotted in part only" in str(error) and method == "fpn-vgg11"
        return
    assert sample.counted is not None and len(sample.places) > 0
    assert sample.targets is None or np.isnan(sample.targets[..., ~scene().counted]).all()


def test_the_loss_of_recount_knows_nothing_of_what_lies_outside():
    family, item, wanted = METHODS["recount"].family, scene(), config("recount", crop=120, batch=1)
    out = torch.randn(1, 4, SHAPE[0] // 2, SHAPE[1] // 2, generator=torch.Generator().manual_seed(1)).requires_grad_()
    losses = []
    for one in (item, whole(item), replace(item, counted=np.ones(SHAPE, bool))):
        sample = family.sample(one, wanted)
        out.grad = None
        loss = family.loss(lambda _: out, torch.from_numpy(sample.image[None, None]),
                           torch.from_numpy(sample.targets[None]), wanted, None)
        loss.backward()
        losses.append(loss.item())
        moved = (out.grad[0].abs().sum(0) > 0).numpy()
        outside = np.ones(moved.shape, bool)
        outside[15:45, 10:50] = False
        assert moved.any() and moved[outside].any() == (one is not item)
    assert losses[1] == pytest.approx(losses[2], rel=1e-6) != losses[0]


def test_an_image_without_contrast_keeps_its_area(tmp_path):
    counted = np.zeros((64, 64), bool)
    counted[:32] = True
    flat = Dotted("flat", np.full((64, 64), 3, np.float32), np.array([(3.0, 3.0)]), counted=counted)
    [progress] = train([scene()], [flat], config("fcrn-a"), tmp_path, device="cpu")
    assert progress.val_mae == 1


def test_whole_frames_are_needed_by_the_mask_counter():
    for part in ("count", "mask"):
        wanted = TrainingConfig(method="fpn-vgg11", part=part)
        with pytest.raises(TrainingError, match="scene 0 is dotted in part only, but this network counts whole frames"):
            METHODS["fpn-vgg11"].family.sample(scene(), wanted)
    given = Given("a", None, "0" * 64, {}, np.zeros((1, 2)), counted=np.ones((2, 2), bool))
    assert usable(given, "dots") and not usable(given, "counts")
    assert usable(replace(given, counted=None), "counts")


@pytest.mark.parametrize("method", ["fcrn-a", "count-ception", "alexnet", "fcn"])
def test_an_area_that_is_too_small_is_one_sentence(method):
    counted = np.zeros(SHAPE, bool)
    counted[50:58, 50:58] = True
    item = replace(scene(), counted=counted, points=np.empty((0, 2)))
    family, wanted = METHODS[method].family, config(method)
    if method == "fcn":
        assert len(family.sample(item, wanted).places) == 64, "every pixel of a mask tells something"
        item = replace(item, counted=np.zeros(SHAPE, bool))
    with pytest.raises(TrainingError, match="scene 0: its fully counted area is too small"):
        family.sample(item, wanted)


def test_pixels_are_sure_where_nothing_is_missing():
    counted = np.zeros((20, 20), bool)
    counted[:10, 5:15] = True
    assert np.argwhere(sure("a", counted, 2, 3)).tolist() == [[y, x] for y in range(7) for x in range(7, 12)]
    assert inside(np.array([(9.4, 5.0), (9.6, 5.0), (-0.4, 14.4)]), counted).tolist() == [True, False, True]
    assert count_inside(Reading(density=np.full((20, 20), 0.5)), counted) == 50
    assert count_inside(Reading(points=np.array([(1.0, 6), (12, 6)]), labels=np.eye(20)), counted) == 1
    half = resized(Dotted("a", np.zeros((20, 20), np.float32), np.empty((0, 2)), counted=counted), (10, 10))
    assert half.counted.dtype == bool and half.counted.sum() == 25


def test_a_job_learns_from_the_area_of_an_annotation(tiny_weights, tmp_path, monkeypatch):
    monkeypatch.setenv("CELLAPP_WORKSPACES", str(tmp_path / "workspaces"))
    box = Area(kind="box", outline=((9.5, 9.5), (9.5, 69.5), (69.5, 69.5), (69.5, 9.5)))
    images = []
    for k in range(3):
        made, path = simulate("vgg-cells", 1, k, size=(80, 96)), tmp_path / f"{k}.png"
        PillowImage.fromarray(made.image).save(path)
        points = [tuple(p) for p in made.points.tolist()]
        kept = Annotation(shape=(80, 96), points=points, labels=[1] * len(points), area=(box,) if k != 1 else ())
        images.append(Given.of_annotation(f"{k}.png", path, hashlib.sha256(path.read_bytes()).hexdigest(),
                                          {"cell_diameter": 12.0}, kept))
        assert images[-1].cells == kept.counted.sum()
    assert images[0].counted.sum() == 3600 and images[1].counted is None
    wanted = config("fcrn-a", crop=32)
    job = train_jobs.create(tmp_path / "jobs", images, ["learn", "learn", "check"], id="own/partly", title="partly",
                            trained_on="3", start="fcrn-a/untrained", out_folder=tmp_path / "out",
                            config=wanted.model_dump(), device="cpu")
    again = train_jobs.given_of(job.folder, job.spec().items[0])
    assert np.array_equal(again.counted, images[0].counted) and np.array_equal(again.points, images[0].points)
    item, view = train_work.dotted(again, load("fcrn-a/untrained", "cpu"))
    assert item.counted.shape == view.plane.shape != (80, 96), "the area is read at the scale of the weights"
    assert item.counted.mean() == pytest.approx(3600 / (80 * 96), rel=0.05)
    assert main(job.folder, train_queue.default_root()) == 0, job.state().message
    [result] = job.result()["images"]
    picture, options = train_work.open_image(images[2])
    prediction = load("own/partly", "cpu", tmp_path / "out").predict(picture, options)
    assert result["manual"] == images[2].cells
    assert result["after"] == pytest.approx(count_inside(prediction, images[2].counted))
    assert result["after"] != pytest.approx(prediction.count, rel=0.05)
    assert json.loads((job.folder / "result.json").read_text())["images"] == [result]
    wrong = replace(again, counted=np.ones((9, 9), bool), points=np.zeros((1, 2)))
    with pytest.raises(TrainingError, match="its counted area has 9×9 px and the image 80×96"):
        train_work.dotted(wrong, load("fcrn-a/untrained", "cpu"))


def test_labels_alone_tell_the_points():
    labels = np.zeros((10, 10), np.int32)
    labels[0:3, 0:3], labels[5, 4:7] = 7, 2
    given = Given("a", None, "0" * 64, {}, labels=labels)
    assert given.points.tolist() == [[5.0, 5.0], [1.0, 1.0]] and given.cells == 2
    assert Given("a", None, "0" * 64, {}, labels=labels * 0).cells == 0
    assert usable(given, "dots") and usable(given, "outlines")


def test_a_sample_without_an_area_is_what_it_was():
    sample = METHODS["fcrn-a"].family.sample(whole(scene()), config("fcrn-a"))
    assert sample.counted is None and sample.places is None and np.isfinite(sample.targets).all()
