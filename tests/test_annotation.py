"""Dots set in the browser: kept whole, never overwritten by older ones, and what is made of them."""

import threading

import numpy as np
import pytest
import torch

from cellapp import weights as store
from cellapp.annotation import Annotation, Area, annotations, change, read, save
from cellapp.dot_spacing import is_new, spacing, suggested_sigma
from cellapp.dots import FORMATS, Dots, read_dots_file, write_dots
from cellapp.errors import AnnotationError, DotsError, StaleAnnotation, WorkspaceError
from cellapp.next_image import rank
from cellapp.prediction import Interval, Prediction
from cellapp.workspaces import Workspaces

SHAPE = 40, 60


@pytest.fixture
def space(tmp_path):
    return Workspaces(tmp_path / "workspaces").create()


def dotted(*points, revision=0, **more) -> Annotation:
    return Annotation(points=points, labels=more.pop("labels", (1,) * len(points)), shape=SHAPE, revision=revision,
                      **more)


def test_what_is_kept_comes_back_with_the_next_revision(space):
    first = save(space, "a1", dotted((1.25, 2), (39.49, -0.5), names=("Live", "Dead"), labels=(1, 2),
                                     area=(Area(name="Area 1", kind="box", outline=((0, 0), (0, 9), (9, 9), (9, 0))),)))
    assert first.revision == 1
    again = Workspaces(space.folder.parent).find(space.id)      # another server
    assert read(again, "a1") == first
    assert read(again, "other") == Annotation()
    assert not list(space.folder.rglob("*.part"))


def test_an_old_revision_never_overwrites_a_new_one(space):
    save(space, "a1", dotted((1, 1)))
    save(space, "a1", dotted((1, 1), (2, 2), revision=1))
    with pytest.raises(StaleAnnotation) as told:
        save(space, "a1", dotted((9, 9), revision=1))
    assert told.value.kept.revision == 2
    assert told.value.kept.points == ((1, 1), (2, 2)) == read(space, "a1").points


def test_of_savers_at_once_each_revision_has_one_winner(space):
    lost = []

    def put(k: int) -> None:
        for _ in range(8):
            now = read(space, "a1")
            try:
                save(space, "a1", now.moved(np.vstack([now.array, [k, len(now.points)]]), (*now.labels, 1), SHAPE))
            except StaleAnnotation:
                lost.append(k)

    threads = [threading.Thread(target=put, args=(k,)) for k in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    kept = read(space, "a1")
    assert kept.revision == len(kept.points) == 32 - len(lost)


@pytest.mark.parametrize("wrong", [
    {"points": [[1, 70]]}, {"points": [[float("nan"), 1]]}, {"labels": [9]}, {"labels": [0]}, {"labels": []},
    {"shape": None}, {"names": []}, {"names": list("123456789")}, {"revision": -1},
    {"area": [{"name": "", "kind": "polygon", "outline": [[0, 0], [1, 1]]}]},
    {"area": [{"name": "", "kind": "polygon", "outline": [[0, 0], [1, 1], [float("inf"), 0]]}]},
])
def test_what_a_browser_sends_is_checked(wrong):
    good = {"points": [[1, 2]], "labels": [1], "names": ["Cells"], "shape": SHAPE, "revision": 0, "area": []}
    assert Annotation.model_validate(good).annotated
    with pytest.raises(ValueError):
        Annotation.model_validate(good | wrong)


def test_a_damaged_file_is_told_and_left_alone(space):
    path = space.folder / "annotations" / "a1.json"
    path.parent.mkdir()
    path.write_text('{"points": [[1,')
    for attempt in (lambda: read(space, "a1"), lambda: save(space, "a1", dotted((1, 1)))):
        with pytest.raises(AnnotationError, match="cannot be read"):
            attempt()
    assert path.read_text() == '{"points": [[1,'


def test_no_folder_no_room_no_such_name(space, monkeypatch):
    with pytest.raises(AnnotationError):
        save(space, "../state", dotted((1, 1)))
    save(space, "a1", dotted((1, 1)))
    monkeypatch.setattr(type(space.limits), "room", lambda self, folder: 10)
    with pytest.raises(WorkspaceError):
        save(space, "a1", dotted(*[(1, k) for k in range(50)], revision=1))
    assert read(space, "a1").revision == 1
    space.delete_everything()
    with pytest.raises(WorkspaceError, match="deleted"):
        save(space, "a1", dotted((1, 1), revision=1))
    assert not space.folder.exists()


def test_the_annotated_images_in_their_order(space):
    files = [space.keep(f"{name}.png", name.encode()) for name in "abc"]
    space.include(files)
    save(space, files[2].id, dotted((1, 1)))
    save(space, files[0].id, dotted(empty=True))
    save(space, files[1].id, dotted())                       # looked at, but nothing said of it
    assert [(file.name, len(kept.points)) for file, kept in annotations(space)] == [("a.png", 0), ("c.png", 1)]
    space.remove([files[2].id])
    space.include([files[2]])                                # dropped once more: the dots are still there
    assert len(annotations(space)) == 2


def test_the_fully_counted_area():
    kept = dotted((5, 5), (5, 30), (35, 50), area=(
        Area(kind="box", outline=((-0.5, -0.5), (-0.5, 9.5), (9.5, 9.5), (9.5, -0.5))),
        Area(kind="polygon", outline=((19.5, 39.5), (19.5, 58.5), (38.5, 58.5), (38.5, 39.5)))))
    assert kept.counted.tolist() == [True, False, True]
    mask = kept.counted_mask()
    assert mask[:10, :10].all() and not mask[10:20].any() and mask[25:35, 45:55].all()
    assert mask.sum() == 100 + 19 * 19
    assert dotted((5, 5)).counted.all() and dotted((5, 5)).counted_mask() is None


@pytest.mark.parametrize("form", [name for name, row in FORMATS.items() if row.writer])
def test_every_format_that_is_written_is_read_back(form):
    kept = dotted((3, 4), (30, 50), (12, 7), labels=(1, 2, 1), names=("Live", "Dead"))
    content = write_dots(kept.dots("cells.png"), form, "cells.png", SHAPE)
    [found] = read_dots_file(content, f"dots{FORMATS[form].suffixes[0]}").values()
    again, note = Annotation().with_dots(found, SHAPE)
    assert sorted(again.points) == sorted(kept.points)
    assert not note
    if found.class_names:
        assert sorted(map(again.labels.count, set(again.labels))) == [1, 2]    # some know no names


def test_classes_of_a_file_find_their_place_or_are_joined_with_a_word():
    kept = dotted((1, 1), names=("Live", "Dead"))
    more, note = kept.with_dots(Dots(np.array([[2., 2], [3, 3]]), ("Dead", "Odd")), SHAPE, add=True)
    assert more.names == ("Live", "Dead", "Odd") and more.labels == (1, 2, 3) and not note
    many = Dots(np.array([[k, 1.] for k in range(10)]), tuple(f"c{k}" for k in range(10)))
    joined, note = Annotation().with_dots(many, SHAPE)
    assert joined.labels[-3:] == (8, 8, 8) and "c8, c9 went to c7" in note
    with pytest.raises(DotsError, match="outside"):
        kept.with_dots(Dots(np.array([[50., 1]])), SHAPE)


def test_changes_by_the_page_take_the_newest(space):
    save(space, "a1", dotted((1, 1), empty=True))
    made = change(space, "a1", lambda kept: kept.moved(np.array([[2., 2], [3, 3]]), (1, 1), SHAPE))
    assert (made.revision, made.empty) == (2, False)
    with pytest.raises(AnnotationError):
        change(space, "a1", lambda kept: kept.moved(np.array([[200., 2]]), (1,), SHAPE))
    assert read(space, "a1") == made


def test_distances_between_dots():
    grid = np.argwhere(np.ones((5, 5))) * 10.0
    assert spacing(grid) == 10
    assert suggested_sigma(grid) == pytest.approx(3)
    assert suggested_sigma(grid, diameter=8) == pytest.approx(2)
    assert suggested_sigma(grid * 100) == 25
    assert suggested_sigma(grid[:1]) is None and spacing(grid[:0]) is None
    near, far = grid[:3] + 1, np.array([[5.0, 5.0]])
    assert is_new(np.vstack([near, far]), grid, 4).tolist() == [False, False, False, True]
    assert is_new(near, np.empty((0, 2)), 4).all() and len(is_new(far[:0], grid, 4)) == 0


def test_the_next_image_is_the_one_with_most_disagreement():
    def counted(count, interval=None):
        return Prediction(count, SHAPE, interval=interval)

    order = rank([("plain", []), ("one", [counted(50)]), ("agree", [counted(100), counted(104)]),
                  ("differ", [counted(60), counted(120), counted(90)]),
                  ("unsure", [counted(100, Interval(80, 125, 0.95, "aleatoric"))])])
    assert [one.item for one in order] == ["differ", "unsure", "agree", "plain", "one"]
    assert "3 weights" in order[0].reason and "60 and 120" in order[0].reason
    assert order[-1].score is None and "in order" in order[-1].reason


def test_the_target_is_what_the_family_learns(tiny_weights, rng):
    from cellapp.networks.count_ception import RIM, redundant_map
    from cellapp.training_target import picture, target, uses_sigma, uses_window, window_counts, window_of

    rows = {row.method: row for row in store.manifest().values()}
    shape = 90, 130
    points = np.vstack([rng.uniform(0, 89, (30, 2)), [[-0.5, -0.5], [89.4, 129.4]]])
    made = target(points, shape, rows["fcrn-a"], 3.0)
    assert uses_sigma("fcrn-a") and made.values.shape == shape
    assert made.values.sum() == pytest.approx(32, abs=1e-3) and made.total == pytest.approx(32, abs=1e-3)
    coarse = target(points, shape, rows["fcrn-a"], 3.0, most=50)
    assert max(coarse.values.shape) <= 50 and coarse.total == pytest.approx(32, abs=1e-3)
    assert coarse.values.max() == pytest.approx(made.values.max(), rel=0.25)     # cells per pixel of the image

    windows = target(points, shape, rows["count-ception"], 32)
    raster = np.zeros(shape, np.float32)
    np.add.at(raster, tuple(np.clip(np.rint(points).astype(int), 0, np.array(shape) - 1).T), 1)
    family = redundant_map(torch.from_numpy(raster)[None, None])[0, 0].numpy()[RIM:-RIM, RIM:-RIM]
    assert np.array_equal(window_counts(points, shape, 32), family)
    assert np.array_equal(windows.values, family) and not uses_sigma("count-ception")
    assert (window_of(rows["count-ception"]), window_of(rows["alexnet"]), window_of(rows["fcrn-a"])) == (32, 40, None)
    smaller = target(points, shape, rows["alexnet"], 20)
    assert uses_window("alexnet") and not uses_window("count-ception")
    assert np.array_equal(smaller.values, window_counts(points, shape, 20)) and "20×20 px" in smaller.words
    assert target(points, shape, rows["fcn"], 3.0).values is None
    assert uses_sigma("recount")
    assert picture(made.values).startswith(b"\x89PNG") and picture(np.zeros((3, 3), np.float32))
