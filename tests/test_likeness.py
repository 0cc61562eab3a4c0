"""What no training image had is said beside the count, and nothing is said of images like them."""

import json

import cv2
import numpy as np
import pytest

from cellapp import weights as store
from cellapp.cli import main
from cellapp.figures import png
from cellapp.image import Image
from cellapp.likeness import MOST, Traits, colour, fits, misfit, summarise, traits, unlike
from cellapp.methods import Options, load
from cellapp.polarity import Seen
from cellapp.simulate import simulate
from tests.conftest import about_untrained

BRIGHT = Seen("bright", False, False)


def images(n, first=0):
    return [simulate("vgg-cells", 1, k, size=(160, 160)).image.astype(np.float32) for k in range(first, first + n)]


@pytest.fixture(scope="module")
def row():
    about = about_untrained("fcrn-a") | {"input": {"cell_diameter": 11.5}}
    files = [{"file": "none.safetensors", "sha256": "0" * 64, "bytes": 0}]
    return store.Weights(files=files, summary=summarise(((image, 0.0) for image in images(24)), 11.5), **about)


def doubts(row, image, colourful=0.0, seen=BRIGHT):
    return unlike(row, traits(image, row.input.cell_diameter, colourful), seen, row.input.cell_diameter)


def test_images_like_those_of_the_training_are_not_doubted(row):
    assert [doubts(row, image) for image in images(12, 100)] == [()] * 12


def test_the_traits_know_neither_gain_nor_offset_nor_type():
    (image,) = images(1)
    here = traits(image, 11.5)
    for other in (image * 200 + 3000, image / 255):
        assert vars(traits(other.astype(np.float32), 11.5)) == pytest.approx(vars(here), rel=0.1, abs=1e-6)


@pytest.mark.parametrize(("word", "change"), [
    ("Blurrier", lambda image: cv2.GaussianBlur(image, (0, 0), 6)),
    ("Grainier", lambda image: image + np.random.default_rng(0).normal(0, 40, image.shape).astype(np.float32)),
    ("overexposed", lambda image: np.minimum(image, np.percentile(image, 90))),
    ("Fuller", lambda image: np.float32(255) - image),
    ("Sharper", lambda image: np.where(image > np.percentile(image, 80), np.float32(200), np.float32(10)))])
def test_what_the_training_never_had_is_said_with_numbers(row, word, change):
    found = doubts(row, change(images(1)[0]))
    said = [sentence for sentence in found if word in sentence]
    assert len(said) == 1 and len(found) <= MOST
    assert "training" in said[0] and any(letter.isdigit() for letter in said[0])


def test_colour_is_what_one_colour_does_not_explain(row):
    (grey,) = images(1)
    blue = np.stack([0 * grey, 0 * grey, grey], axis=-1)
    assert colour(Image.from_array(grey)) == 0
    assert colour(Image.from_array(blue)) == pytest.approx(0, abs=1e-9)
    assert colour(Image.from_array(np.stack([grey] * 3, axis=-1))) == pytest.approx(0, abs=1e-9)
    stained = Image.from_array(np.stack([grey, grey.T, grey], axis=-1))
    assert colour(stained) > 0.1
    assert colour(stained, "green") == 0
    assert "colours" in doubts(row, grey, colour(stained))[0]


def test_polarity_is_doubted_where_the_weights_do_not_know_it(row):
    (image,) = images(1)
    assert "never seen dark cells" in doubts(row, image, seen=Seen("dark", True, True))[0]
    assert "cannot be told" in doubts(row, image, seen=Seen("", False, False))[0]
    either = row.model_copy(update={"input": row.input.model_copy(update={"polarity": "either"})})
    assert doubts(either, image, seen=Seen("", False, False)) == ()


def test_never_more_than_three_sentences(row):
    worst = Traits(sharpness=0.1, grain=1, coverage=1, ground=1, saturation=1, colour=1)
    assert len(unlike(row, worst, Seen("dark", True, True), 1.0)) == MOST


@pytest.mark.parametrize(("diameter", "fit"), [(2.9, False), (3.8, True), (11.5, True), (60, True), (80, False)])
def test_diameters_that_resizing_can_bridge(row, diameter, fit):
    assert fits(row, diameter) == fit
    assert bool([s for s in unlike(row, None, BRIGHT, diameter) if s == misfit(row, diameter)]) != fit


@pytest.mark.parametrize("image", [np.zeros((40, 40), np.float32), np.ones((1, 1), np.float32)])
def test_nothing_to_see_has_no_traits(row, image):
    assert traits(image, 11.5) is None
    assert unlike(row, None, BRIGHT) == ()
    assert summarise([(image, 0.0)], 11.5) is None


def test_described_weights_doubt_what_they_have_not_seen(tiny_weights, tmp_path, capsys):
    for k, image in enumerate(images(4)):
        (tmp_path / f"{k}.png").write_bytes(png(np.uint8(255 - image)))
        (tmp_path / f"{k}.csv").write_text("x,y\n5,5\n")
    assert main(["weights", "describe", "fcrn-a/untrained", "--images", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    row = store.find("fcrn-a/untrained")
    assert row.input.polarity == "dark on bright" and row.summary.images == 4
    assert told["summary"]["sharpness"] == list(row.summary.sharpness)
    counter = load("fcrn-a/untrained")
    bright = counter.look(Image.from_array(images(1)[0]), Options())
    assert bright.seen.turned
    assert any("never seen bright cells" in doubt for doubt in bright.unlike(row))
    dark = counter.look(Image.from_array(255 - images(1)[0]), Options(cell_diameter=10.0))
    assert dark.unlike(row) == () and not dark.seen.turned


def test_every_bundled_row_says_what_its_training_images_look_like():
    assert [row.id for row in store.manifest(store.BUNDLED).values() if row.summary is None] == []
