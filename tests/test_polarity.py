"""Bright cells on a dark ground and dark ones on a bright ground are told apart, and counted alike."""

import csv

import cv2
import numpy as np
import pytest

from cellapp import weights as store
from cellapp.data import Dotted, rescaled, typical_diameter
from cellapp.image import plane, read_image
from cellapp.methods import Options, load
from cellapp.polarity import BRIGHT, DARK, EITHER, bright, detect, look, of_images, upright
from cellapp.scale import suggest_diameter
from cellapp.simulate import simulate

OTHER = {"bright": "dark", "dark": "bright", None: None}


@pytest.mark.parametrize("preset", ["vgg-cells", "bbbc005", "nuclei"])
@pytest.mark.parametrize("index", range(3))
def test_simulated_cells_are_bright_and_those_of_the_negative_dark(preset, index):
    image = simulate(preset, 1, index).image.astype(np.float32)
    assert detect(image) == "bright"
    assert detect(255 - image) == "dark"
    assert detect(image * 200 + 3000) == "bright"


def test_uneven_light_hot_pixels_and_overexposed_cells_do_not_matter():
    image = simulate("vgg-cells", 1).image.astype(np.float32)
    slope = np.linspace(0, 150, image.shape[1], dtype=np.float32)
    assert detect(255 - image + slope) == "dark"
    hot = 255 - image
    hot[::60, ::50] = 60_000
    assert detect(hot) == "dark"
    assert detect(np.minimum(image, np.percentile(image, 95))) == "bright"
    crowded = simulate("nuclei", 2, 1, size=(64, 64), n=4)   # half of it is overexposed
    assert detect(crowded.image.astype(np.float32)) is None


@pytest.mark.parametrize("image", [np.zeros((64, 64)), np.full((1, 1), 7.0), np.full((300, 20), 1e9),
                                   np.random.default_rng(0).normal(size=(200, 200)), np.eye(15)])
def test_what_shows_no_cells_is_not_told(image):
    assert detect(image) is None


@pytest.mark.parametrize(("given", "trained", "cells", "dark", "turned"), [
    ("auto", BRIGHT, "dark", True, True), ("auto", DARK, "dark", True, False), ("auto", EITHER, "dark", True, False),
    ("bright", BRIGHT, "bright", False, False), ("bright", DARK, "bright", False, True),
    ("dark", BRIGHT, "dark", True, True)])
def test_what_is_given_is_followed_and_what_weights_know_is_not_turned(given, trained, cells, dark, turned):
    seen = look(255.0 - simulate("vgg-cells", 1).image, given, trained)
    assert (seen.cells, seen.dark, seen.turned) == (cells, dark, turned)
    assert bool(seen.note) == turned


def test_where_it_cannot_be_told_cells_are_taken_for_those_of_the_training():
    noise = np.random.default_rng(0).normal(size=(200, 200))
    assert not look(noise, "auto", BRIGHT).dark
    seen = look(noise, "auto", DARK)
    assert seen.dark and not seen.turned and not seen.cells


def test_dark_cells_are_measured_like_bright_ones():
    image = simulate("vgg-cells", 5).image.astype(np.float32)
    dark = Dotted("dark", 255 - image, np.empty((0, 2)))
    assert suggest_diameter(upright(dark.image)) == pytest.approx(suggest_diameter(image), rel=1e-3)
    # Of dark cells weaker blobs count as texture, so that the estimates are alike, not equal.
    assert typical_diameter([dark]) == pytest.approx(suggest_diameter(image), rel=0.05)
    sides = [rescaled(item, 23.0).image.shape[0] for item in (dark, Dotted("bright", image, np.empty((0, 2))))]
    assert sides[0] == pytest.approx(sides[1], rel=0.05)


def test_texture_of_dark_cells_is_not_taken_for_cells():
    """Weak small blobs between strong large ones, as in stained tissue."""
    rng = np.random.default_rng(0)
    image = 4 * cv2.GaussianBlur(rng.normal(size=(200, 200)), (0, 0), 1.5)
    for y, x in np.stack(np.meshgrid(np.arange(20, 200, 32), np.arange(20, 200, 32)), -1).reshape(-1, 2):
        image += 4.5 * np.exp(-((np.arange(200)[:, None] - y) ** 2 + (np.arange(200) - x) ** 2) / 2 / 6.0**2)
    assert suggest_diameter(image.astype(np.float32), dark=True) > 1.3 * suggest_diameter(image.astype(np.float32))


def test_weights_are_named_after_most_of_their_images():
    images = [simulate("nuclei", 2, k).image.astype(np.float32) for k in range(10)]
    assert of_images(images) == BRIGHT
    assert of_images(255 - image for image in images) == DARK
    assert of_images([*images[:5], *(255 - image for image in images[5:])]) == EITHER
    assert of_images([]) == BRIGHT


def test_a_negative_counts_what_the_image_counts(one_thread):
    image = simulate("vgg-cells", 4, n=60, size=(128, 128)).image.astype(np.float32)
    counter = load("fcrn-a/simulated", "cpu")
    here, there = counter.predict(image), counter.predict(255 - image)
    assert here.polarity == "bright" and there.polarity == "dark"
    assert there.count == pytest.approx(here.count, abs=0.01)
    assert not any("inverted" in note for note in here.notes)
    assert any("inverted" in note for note in there.notes)
    assert sum("dark cells on a bright ground" in doubt for doubt in there.doubts) == 1
    assert counter.predict(255 - image, Options(polarity="bright")).count != pytest.approx(here.count, abs=1)


@pytest.mark.parametrize("method", ["fpn-vgg11", "count-ception", "alexnet", "fcn"])
def test_every_family_reads_the_negative_as_the_image(tiny_weights, method):
    image = simulate("vgg-cells", 4, n=20, size=(64, 64)).image.astype(np.float32)
    counter = load(f"{method}/untrained", "cpu")
    here = counter.predict(image, Options(polarity="bright", cell_diameter=10.0))
    there = counter.predict(1000 - image, Options(polarity="dark", cell_diameter=10.0))
    assert there.count == pytest.approx(here.count, rel=1e-3, abs=1e-3)


def test_the_bundled_weights_were_trained_on_bright_cells():
    assert {row.input.polarity for row in store.manifest(store.BUNDLED).values()} == {BRIGHT}


def test_bright_leaves_bright_cells_alone():
    image = np.ones((3, 3), np.float32)
    assert bright(image, False) is image


def test_real_images(shared_data):
    with open(shared_data / "dsb2018" / "index.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    told = []
    for ground, cells in (("dark", "bright"), ("bright", "dark")):
        some = [row for row in rows if row["background"] == ground and int(row["height"]) < 400][:20]
        for row in some:
            (path,) = (shared_data / "dsb2018" / "images").glob(f"{row['stem']}.*")
            told.append(detect(plane(read_image(path))[0]) == cells)
    assert np.mean(told) > 0.95
