"""A visitor's folder: what is kept, what comes back, what is refused, and what is deleted."""

import os
import stat
import threading
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from cellapp.batch import count_one
from cellapp.errors import WorkspaceError
from cellapp.methods import Options, load
from cellapp.prediction import Interval
from cellapp.workspace import Workspace, result_key
from cellapp.workspace_limits import GB, Limits
from cellapp.workspace_state import Answer, State, StoredFile
from cellapp.workspaces import Workspaces

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "vgg-cells-1-000.png"


@pytest.fixture
def spaces(tmp_path) -> Workspaces:
    return Workspaces(tmp_path / "root", Limits())


@pytest.fixture
def small(tmp_path) -> Path:
    """A 64×64 corner of an example image."""
    from PIL import Image

    path = tmp_path / "corner.png"
    Image.open(EXAMPLE).crop((0, 0, 64, 64)).save(path)
    return path


def files_below(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_a_result_comes_back_exactly(spaces, small, tiny_weights):
    counter = load("fcrn-a/untrained")
    space = spaces.create()
    file = space.keep("../../corner.png\n", small.read_bytes())
    assert files_below(space.folder) == {"state.json", f"files/{file.sha256}"}, "a name is no path"
    file = space.keep("corner.png", small.read_bytes())
    space.include([file])
    result = count_one(space.path(file), counter, Options(cell_diameter=9), name=file.name)
    view = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    result = replace(result, prediction=replace(result.prediction, views={"foreground": view},
                                                interval=Interval(1.5, 9.25, 0.95, "conformal")))
    key = result_key(file, counter.weights.id, counter.weights.files[0].sha256, result.options)
    assert key not in space
    space.put(key, result)

    again = Workspaces(spaces.root, Limits()).find(space.id)            # another server
    assert again is not space and again.state().images == [file]
    assert again.path(file).read_bytes() == small.read_bytes()
    full = again.get(key, file)
    for name in [f.name for f in fields(result) if f.name not in ("image", "prediction")]:
        assert getattr(full, name) == getattr(result, name), name
    np.testing.assert_array_equal(full.image.pixels, result.image.pixels)
    for name in [f.name for f in fields(result.prediction) if f.name not in ("views",)]:
        np.testing.assert_array_equal(getattr(full.prediction, name), getattr(result.prediction, name), err_msg=name)
    np.testing.assert_array_equal(full.prediction.views["foreground"], view)
    assert full.prediction.density.dtype == np.float32
    assert again.row(key).row() == result.row()
    assert again.row(key).prediction.density is None, "a table needs no maps"

    again.forget([key])
    assert key not in again and not list((space.folder / "results").iterdir())


def test_a_file_that_cannot_be_counted_is_a_row_too(spaces, tiny_weights):
    space = spaces.create()
    file = space.keep("letter.png", b"Dear reader")
    space.put("a" * 64, count_one(space.path(file), load("fcrn-a/untrained"), name=file.name))
    row = Workspaces(spaces.root, Limits()).find(space.id).row("a" * 64)
    assert row.status == "error" and row.message.startswith("letter.png: ") and row.prediction is None


def test_a_row_that_cannot_be_read_is_counted_again(spaces):
    space = spaces.create()
    (space.folder / "results").mkdir()
    for text in ("", "{", '{"name": "a"}', '{"name":"a","status":"ok","message":"","prediction":{}}'):
        (space.folder / "results" / f"{'b' * 64}.json").write_text(text)
        assert "b" * 64 not in space
    with pytest.raises(KeyError):
        space.row("b" * 64)


def test_settings_come_back_and_are_private(spaces):
    space = spaces.create()
    square = {"name": "a", "kind": "box", "outline": [[0, 0], [0, 9], [9, 9], [9, 0]]}
    space.change(answers={"CYX 3": Answer(channel="DAPI", given=True)}, cell_diameter=22.0, polarity="dark",
                 weights="fcrn-a/simulated", regions={"f1": [square]}, excluded={"f1": "out of focus"}, stopped=True)
    space.change(lambda state: setattr(state, "shown", "f1"))
    state = Workspaces(spaces.root, Limits()).find(space.id).state()
    assert state.answers["CYX 3"].channel == "DAPI" and state.cell_diameter == 22 and state.stopped
    assert state.regions == {"f1": [square]} and state.shown == "f1"
    state.cell_diameter = 5.0
    assert space.state().cell_diameter == 22, "a state in the hand is a copy"
    assert stat.S_IMODE(space.folder.stat().st_mode) == 0o700 == stat.S_IMODE(spaces.root.stat().st_mode)
    assert State.model_validate_json('{"a_field_of_tomorrow": 1}') == State()


@pytest.mark.parametrize("name", ["", "..", "../x", "a/../../b", "x" * 24 + "/..", "x" * 23, "x" * 25, "x" * 23 + "\n",
                                  "%2e%2e" * 4, "x" * 24, None])
def test_an_id_that_is_none_opens_nothing(spaces, name):
    assert spaces.find(name) is None
    assert list(spaces.root.iterdir()) == []


def test_a_link_is_no_workspace(spaces, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "state.json").write_text("{}")
    (spaces.root / ("x" * 24)).symlink_to(tmp_path / "elsewhere")
    assert spaces.find("x" * 24) is None
    assert spaces.sweep() == 0 and (tmp_path / "elsewhere" / "state.json").exists()


def test_many_threads_lose_nothing(spaces, small, tiny_weights):
    made = spaces.create()
    result = count_one(small, load("fcrn-a/untrained"))
    wrong = []

    def work(k: int) -> None:
        try:
            space = spaces.find(made.id)
            assert space is made
            for n in range(5):
                space.include([space.keep(f"{k}-{n}.png", bytes([k, n]))])
                space.put(f"{k:032x}{n:032x}", result)
                space.change(cell_diameter=float(k + 2))
                space.state()
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    again = Workspaces(spaces.root, Limits()).find(made.id)
    assert len(again.state().files) == 30 and 2 <= again.state().cell_diameter <= 7
    for k in range(6):
        for n in range(5):
            assert again.prediction(f"{k:032x}{n:032x}").count == result.prediction.count
    assert not [name for name in files_below(made.folder) if name.endswith(".part")]


def test_the_same_content_is_kept_once(spaces):
    space = spaces.create()
    one, two = (space.keep(name, b"pixels") for name in ("a.png", "b.png"))
    space.include([one, two, one])
    assert [f.name for f in space.state().files] == ["a.png", "b.png"] and one.id != two.id
    assert files_below(space.folder / "files") == {one.sha256}
    space.change(excluded={one.id: "blurred", two.id: "twice"})
    assert space.remove([one.id]).images == [two]
    assert space.path(two).read_bytes() == b"pixels" and space.state().excluded == {two.id: "twice"}
    box = space.keep("box.zip", b"pixels, packed")
    space.discard([box, two])
    assert files_below(space.folder / "files") == {two.sha256}, "what is listed stays"
    space.remove([two.id])
    assert files_below(space.folder / "files") == set()


def test_a_full_workspace_says_so_and_keeps_what_it_has(tmp_path, small, tiny_weights):
    spaces = Workspaces(tmp_path / "root", Limits(own=40_000, total=60_000))
    space = spaces.create()
    space.include([space.keep("a.png", small.read_bytes())])
    result = count_one(small, load("fcrn-a/untrained"))
    space.put("a" * 64, result)                                         # 16 KB of map
    with pytest.raises(WorkspaceError, match="This workspace is full"):
        for k in range(4):
            space.put(f"{k:064x}", result)
    with pytest.raises(WorkspaceError, match="This workspace is full"):
        space.keep("big.png", b"\0" * 50_000)
    assert "a" * 64 in space and len(space.state().files) == 1
    assert not [name for name in files_below(space.folder) if name.endswith(".part")]
    other = spaces.create()
    with pytest.raises(WorkspaceError, match="server has no room left"):
        other.keep("b.png", b"\0" * 39_000)
    space.delete_everything()
    other.keep("b.png", b"\0" * 39_000)


def test_too_many_files_are_refused(tmp_path):
    space = Workspaces(tmp_path / "root", Limits(files=2)).create()
    with pytest.raises(WorkspaceError, match="2 files at most"):
        space.include([space.keep(f"{k}.png", bytes([k])) for k in range(3)])
    assert space.state().files == []


def test_everything_is_deleted_and_stays_so(spaces, small, tiny_weights):
    space = spaces.create()
    file = space.keep("a.png", small.read_bytes())
    space.include([file])
    result = count_one(small, load("fcrn-a/untrained"))
    space.put("a" * 64, result)
    space.export_path("counts.zip").write_bytes(b"zip")
    space.delete_everything()
    assert list(spaces.root.iterdir()) == []
    assert spaces.find(space.id) is None
    for late in (lambda: space.put("b" * 64, result), lambda: space.keep("b.png", b"b"), space.state,
                 lambda: space.change(stopped=True), lambda: space.export_path("x.zip")):
        with pytest.raises(WorkspaceError, match="has been deleted"):
            late()
    assert list(spaces.root.iterdir()) == [], "work that was under way brings nothing back"
    space.delete_everything()


def test_what_nobody_used_for_a_week_goes(spaces):
    old, new = spaces.create(), spaces.create()
    (spaces.root / "somebody else's").mkdir()
    week_ago = time.time() - 7.5 * 86400
    os.utime(old.folder, (week_ago, week_ago))
    os.utime(spaces.root / "somebody else's", (week_ago, week_ago))
    assert spaces.sweep(if_due=True) == 0, "swept a moment ago"
    assert Workspaces(spaces.root, Limits()).find(old.id) is None, "a server that starts sweeps"
    assert spaces.find(new.id) is new
    assert (spaces.root / "somebody else's").exists()
    os.utime(new.folder, (week_ago, week_ago))
    spaces.find(new.id)
    assert spaces.sweep() == 0, "who comes back keeps it"


def test_limits_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("CELLAPP_KEEP_DAYS", "2.5")
    monkeypatch.setenv("CELLAPP_WORKSPACE_GB", "0.5")
    limits = Limits.from_environment()
    assert (limits.days, limits.own, limits.total) == (2.5, GB // 2, 20 * GB)
    for wrong in ("a week", "0", "-1", "nan", "inf"):
        monkeypatch.setenv("CELLAPP_KEEP_DAYS", wrong)
        with pytest.raises(WorkspaceError, match="CELLAPP_KEEP_DAYS"):
            Limits.from_environment()


def test_results_are_found_by_content_name_weights_and_options():
    file = StoredFile(name="a.png", sha256="0" * 64, bytes=1)
    key = result_key(file, "w", "s", Options())
    assert key == result_key(file.model_copy(update={"bytes": 2}), "w", "s", Options())
    others = [result_key(file.model_copy(update={"name": "b.png"}), "w", "s", Options()),
              result_key(file, "v", "s", Options()), result_key(file, "w", "t", Options()),
              result_key(file, "w", "s", Options(cell_diameter=9))]
    assert len({key, *others}) == 5


def test_a_workspace_whose_settings_are_damaged_says_what_to_do(spaces):
    space: Workspace = spaces.create()
    (space.folder / "state.json").write_text('{"files": 3}')
    with pytest.raises(WorkspaceError, match="are damaged"):
        space.state()
    space.delete_everything()
