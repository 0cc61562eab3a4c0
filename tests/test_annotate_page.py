"""The Annotate page without its canvas: suggestions, files, the target, the next image, and where the dots are used."""

import io
import zipfile

import numpy as np
import pytest
from app_testing import ROOT, press, start, words
from PIL import Image as PillowImage
from streamlit.testing.v1 import AppTest

from cellapp import weights as store
from cellapp.annotation import Annotation, Area, annotations, change, read, save
from cellapp.annotation_files import WRITABLE, as_file, as_zip, take
from cellapp.dots import points_csv
from cellapp.ui import visit
from cellapp.ui.desk import Desk

pytest_plugins = ["app_testing"]
pytestmark = pytest.mark.usefixtures("own_server")
SHAPE = 48, 80


def space_of(rng, *names: str):
    space = visit.registry().create()
    for name in names:
        out = io.BytesIO()
        PillowImage.fromarray(rng.integers(0, 255, SHAPE, dtype=np.uint8)).save(out, "PNG")
        space.include([space.keep(name, out.getvalue())])
    return space


def annotate(space=None, page: str = "annotate") -> AppTest:
    return start(page, space and space.id)


def put(space, k: int, *points) -> Annotation:
    file = space.state().images[k]
    kept = read(space, file.id)
    return save(space, file.id, kept.moved(np.array(points, float).reshape(-1, 2), (1,) * len(points), SHAPE))


def test_a_first_visitor_is_told_what_to_do(tiny_weights):
    app = annotate()
    assert app.title[0].value == "Dot the cells yourself"
    assert any(b.label == "Try a sample" for b in app.button)


def test_suggestions_never_replace_dots_unasked(seen, rng):
    space = space_of(rng, "a.png")
    seen["a.png"] = np.array([[10.0, 10], [20, 40], [40, 70]])
    press(annotate(space), "Set 3 cells as dots")               # the Count page, which comes first, has counted it
    assert read(space, space.state().images[0].id).points == ((10, 10), (20, 40), (40, 70))
    put(space, 0, (11, 11), (30, 30))
    app = annotate(space)
    assert not [b for b in app.button if b.label.startswith("Set ")]
    press(app, "Add the 2 that are new")
    assert sorted(read(space, space.state().images[0].id).points) == [(11, 11), (20, 40), (30, 30), (40, 70)]
    press(annotate(space), "Replace the 4")
    assert len(read(space, space.state().images[0].id).points) == 3


def test_the_target_and_its_width(seen, rng):
    space = space_of(rng, "a.png")
    assert "As soon as there are dots" in words(annotate(space))
    put(space, 0, (10, 10), (10, 20), (20, 10), (20, 20))
    app = annotate(space)
    assert "The map holds 4.00 cells, from 4 dots" in words(app) and "neighbours: 10.0 px" in words(app)
    app.number_input(key="dot-sigma").set_value(5.0).run()
    assert "σ = 5 px" in words(app) and space.state().dot_sigma == 5.0
    app.number_input(key="dot-sigma").set_value(None).run()
    space.change(cell_diameter=20.0)                         # these weights read cells of 10 px
    app = annotate(space).run()
    assert "σ = 6 px" in words(app), "what a training takes: 3 px where cells have 10"
    press(app, "Take 3.0 px")
    assert "σ = 3 px" in words(app) and space.state().dot_sigma == 3.0
    app.selectbox(key="weights").set_value("alexnet/untrained").run()
    assert "in the 80×80 px round each pixel" in words(app), "windows of 40 px where cells have 10"
    app.number_input(key="dot-window").set_value(24).run()
    assert "in the 24×24 px round each pixel" in words(app) and space.state().dot_window == 24
    app.selectbox(key="weights").set_value("count-ception/untrained").run()
    assert "in the 64×64 px round each pixel" in words(app)
    assert "dot-window" not in {n.key for n in app.number_input}, "its window is its field of view"
    app.selectbox(key="weights").set_value("fcn/untrained").run()
    assert not app.exception and "does not learn from the places of dots" in words(app)


def test_an_image_without_cells_is_said_to_have_none(seen, rng):
    space = space_of(rng, "a.png")
    app = annotate(space)
    box = next(c for c in app.checkbox if c.label.startswith("There are no cells"))
    box.check().run()
    assert not app.exception
    assert [(file.name, kept.empty) for file, kept in annotations(space)] == [("a.png", True)]


def test_the_next_image_and_why(seen, rng):
    space = space_of(rng, "a.png", "b.png", "c.png")
    files = space.state().images
    app = press(annotate(space), "Next useful image")
    assert space.state().shown == files[1].id and "next one in order" in words(app)
    put(space, 1, (1, 1))
    press(annotate(space), "Next useful image")
    assert space.state().shown == files[0].id                # not the dotted one


def test_files_in_and_out(rng, tiny_weights):
    space = space_of(rng, "a.png", "b.png")
    files = space.state().images
    shapes = {file.id: SHAPE for file in files}
    done, notes = take(space, files, shapes, [
        ("a_dots.csv", points_csv(np.array([[1.0, 2], [3, 4]])).encode()), ("b.csv", b"x,y\n500,1\n"),
        ("z.csv", b"x,y\n1,1\n"), ("bad.json", b"{")], files[0], add=True)
    assert done == 1 and read(space, files[0].id).points == ((1, 2), (3, 4))
    assert any("outside" in note for note in notes) and any("bad.json" in note for note in notes)
    assert any("z.csv" in note for note in notes)
    again, _ = take(space, files, shapes, [("a_dots.csv", b"x,y\n2,1\n60,40\n")], files[0], add=True)
    assert again == 1 and read(space, files[0].id).points == ((1, 2), (3, 4), (40, 60))
    one, _ = take(space, files, shapes, [("whatever.csv", b"x,y\n7,8\n")], files[1], add=False)
    assert one == 1 and read(space, files[1].id).points == ((8, 7),)

    for form in WRITABLE:
        name, content = as_file(read(space, files[0].id), "plate/a.png", form)
        assert content and "/" not in name
        with zipfile.ZipFile(io.BytesIO(as_zip([*annotations(space), annotations(space)[0]], form))) as packed:
            assert len(set(packed.namelist())) == 3
    app = annotate(space)
    assert {b.label for b in app.get("download_button")} >= {"This image", "All 2 dotted images (zip)"}


def test_dots_made_here_are_those_of_the_agreement_page(seen, rng):
    space = space_of(rng, "a.png", "b.png")
    seen |= {"a.png": np.array([[10.0, 10], [20, 40]]), "b.png": np.zeros((0, 2))}
    put(space, 0, (10, 10), (20, 40), (30, 70))
    app = annotate(space, "agreement")
    assert "1 of 2 images have dots" in words(app) and "3 dots in all" in words(app)
    put(space, 1, (5, 5))
    part = Area(outline=((0, 0), (0, 20), (20, 20), (20, 0)))
    change(space, space.state().images[1].id, lambda kept: kept.model_copy(update={"area": (part,)}))
    app = annotate(space, "agreement")
    assert "1 of 2 images have dots" in words(app)
    assert "only the marked areas are dotted, so that there is no count to compare with (1): b.png" in words(app)


def test_dots_made_here_are_the_count_by_hand(seen, rng):
    space = space_of(rng, "a.png", "b.png", "c.png")
    seen |= {name: np.array([[10.0, 10], [20, 40]]) for name in ("a.png", "b.png", "c.png")}
    files = [(f"{name}.csv", points_csv(np.array([[7.0, 8]])).encode()) for name in "ab"]
    space.include([space.keep(name, content, kind="dots") for name, content in files])
    put(space, 0, (10, 10), (20, 40), (30, 70))              # corrected here, so the file no longer holds
    put(space, 2, (5, 5))
    area = (Area(outline=((0, 0), (0, 20), (20, 20), (20, 0))),)
    change(space, space.state().images[2].id, lambda kept: kept.model_copy(update={"area": area}))
    app = AppTest.from_file(str(ROOT / "cellapp" / "ui" / "main.py"), default_timeout=120)
    app.query_params["w"] = space.id
    app.run()
    assert not app.exception
    table = app.dataframe[0].value.set_index("Image")
    assert table["By hand"].tolist()[:2] == [3, 1] and np.isnan(table["By hand"]["c.png"])
    assert "1 image is dotted in marked areas only" in words(app)
    work = Desk(space, space.state(), store.manifest()["fcrn-a/untrained"])
    assert [work.result(file).rows()[0]["n_manual"] for file in work.files] == [3, 1, None]


def test_delete_everything_deletes_the_dots(rng, seen):
    space = space_of(rng, "a.png")
    put(space, 0, (1, 1))
    folder = space.folder
    app = annotate(space)
    press(app, "Yes, delete everything")
    assert not folder.exists()


def test_a_job_that_failed_says_why(seen, rng):
    space = space_of(rng, "a.png")
    app = press(annotate(space), "Count it")                    # the network has no answer for this image: a fault
    assert "Counting ended because of a fault" in words(app)
