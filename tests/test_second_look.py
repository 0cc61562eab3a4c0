"""Weights that know outlines read an image again where its cells are not of the size that was estimated."""

import pytest

from cellapp import load
from cellapp.data import outlined_diameter
from cellapp.methods import Options
from cellapp.simulate import simulate


@pytest.fixture(scope="module")
def scene():
    return simulate("nuclei", 3, 0, size=(256, 256), n=24)


@pytest.mark.parametrize("wrong", [0.45, 0.6, 1.8])
def test_a_wrong_estimate_is_put_right(scene, monkeypatch, wrong):
    true = outlined_diameter(scene.labels)
    monkeypatch.setattr("cellapp.scale.suggest_diameter", lambda *_: wrong * true)
    prediction, view = load("recount/general").examine(scene.image)
    assert prediction.cell_diameter == view.scale.diameter == pytest.approx(true, rel=0.3)
    assert any("as the network sees them" in note for note in prediction.notes)
    assert prediction.count == pytest.approx(len(scene.points), rel=0.25)
    assert prediction.shape == prediction.density.shape == scene.image.shape


def test_what_the_user_says_and_what_does_not_know_outlines_is_left_alone(scene, monkeypatch):
    true = outlined_diameter(scene.labels)
    given = load("recount/general").predict(scene.image, Options(cell_diameter=0.5 * true))
    assert given.cell_diameter == 0.5 * true
    monkeypatch.setattr("cellapp.scale.suggest_diameter", lambda *_: 0.5 * true)
    for weights in ("fcrn-a/simulated", "recount/simulated"):
        assert load(weights).predict(scene.image).cell_diameter == 0.5 * true


def test_an_image_that_shows_few_cells_is_read_once(monkeypatch):
    counter, read = load("recount/general"), []
    own = counter._read
    monkeypatch.setattr(counter, "_read", lambda *given: read.append(1) or own(*given))
    monkeypatch.setattr("cellapp.scale.suggest_diameter", lambda *_: 8.0)
    assert counter.predict(simulate("nuclei", 3, 1, size=(96, 96), n=1).image).count < 4
    assert len(read) == 1
