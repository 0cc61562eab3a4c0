"""Many images: a stream of results in order, one image read ahead, nothing kept, nothing lost."""

import gc
import threading
import weakref

import numpy as np
import pytest
from PIL import Image as PillowImage

from cellapp import load
from cellapp.batch import COLUMNS, count_many, count_one, inputs, with_regions
from cellapp.errors import Cancelled, WeightsError
from cellapp.inputs import Input
from cellapp.methods import Options
from cellapp.regions import box

A = "fcrn-a/untrained"


@pytest.fixture
def counter(tiny_weights):
    return load(A, "cpu")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for k in (0, 1, 2, 10):
        pixels = np.random.default_rng(k).integers(0, 256, (40, 48 + k), dtype=np.uint8)
        PillowImage.fromarray(pixels).save(tmp_path / "images" / f"a{k}.png")
    (tmp_path / "images" / "a5.png").write_text("no picture")
    return tmp_path / "images"


def watched(todo, reads):
    """The same inputs; the names of those that are read are noted."""
    def read(one):
        reads.append(one.name)
        return one.read()

    return [Input(one.name, one.path, one.size, lambda one=one: read(one)) for one in todo]


def test_a_batch_gives_what_single_images_give_in_their_order(counter, folder):
    options = Options(channel="mean", cell_diameter=8)
    regions = [box("corner", -0.5, -0.5, 19.5, 19.5)]
    results = list(count_many(inputs([folder]), counter, options, regions=regions))
    assert [r.name for r in results] == ["a0.png", "a1.png", "a2.png", "a5.png", "a10.png"]
    for result in results:
        alone = with_regions(count_one(folder / result.name, counter, options), regions)
        for row, same in zip(result.rows(), alone.rows(), strict=True):
            assert tuple(row) == COLUMNS
            assert row | {"seconds": None} == same | {"seconds": None}
    assert [len(r.rows()) for r in results] == [2, 2, 2, 1, 2]
    assert results[3].message.startswith("a5.png: ") and results[3].weights == A
    assert [r.options for r in results if r.prediction] == [options] * 4
    rows = [r.rows() for r in count_many(inputs([folder]), A, options, regions=regions, device="cpu", maps=False)]
    for few, many in zip(rows, results, strict=True):
        assert [r | {"seconds": None} for r in few] == [r | {"seconds": None} for r in many.rows()]


def test_images_of_the_same_name_keep_rows_of_their_own(counter, folder):
    twice = folder / "more"
    twice.mkdir()
    (twice / "a0.png").write_bytes((folder / "a1.png").read_bytes())
    named = {r.name: r.prediction.count for r in count_many(inputs([folder]), counter) if r.prediction}
    assert list(named) == ["a0.png", "a1.png", "a2.png", "a10.png", "more/a0.png"]
    assert named["more/a0.png"] == pytest.approx(named["a1.png"])


def test_one_image_is_read_ahead_and_no_more_and_nothing_is_kept(counter, folder):
    reads, maps = [], []
    results = count_many(watched(inputs([folder]) * 3, reads), counter)
    assert reads == [], "nothing is read before it is asked for"
    k = 0                                                    # enumerate would keep the last result
    for result in results:
        k += 1  # noqa: SIM113
        assert k <= len(reads) <= k + 1
        if result.prediction is not None:
            maps += [weakref.ref(result.prediction.density), weakref.ref(result.image)]
        del result
        gc.collect()
        assert sum(ref() is not None for ref in maps) == 0
    assert len(reads) == 15 and len(maps) == 24


def test_closing_stops_the_work_and_its_thread(counter, folder):
    reads = []
    results = count_many(watched(inputs([folder]), reads), counter)
    next(results)
    results.close()
    assert len(reads) <= 2
    assert not [t for t in threading.enumerate() if t.name.startswith("reading")]
    assert list(results) == []


def test_progress_says_where_it_is_and_may_stop_the_work(counter, folder):
    told = []
    list(count_many(inputs([folder]), counter, progress=lambda *at: told.append(at)))
    assert [k for k, done, tiles in told if done == tiles] == [0, 1, 2, 4], "the bad file has no tiles"

    def stop(k, done, tiles):
        if k == 1:
            raise Cancelled("The user stopped.")

    results = count_many(inputs([folder]), counter, progress=stop)
    assert next(results).status == "ok"
    with pytest.raises(Cancelled):
        next(results)


def test_weights_are_checked_at_the_call(tiny_weights, folder):
    with pytest.raises(WeightsError, match="no weights called"):
        count_many(inputs([folder]), "fcrn-a/none")
    assert list(count_many([], A)) == []


def test_want_of_memory_is_a_row_and_other_errors_are_not_hidden(counter, folder, monkeypatch):
    def fail(error):
        def predict(*_, **__):
            raise error
        monkeypatch.setattr("cellapp.methods.Counter.predict", predict)
        return list(count_many(inputs([folder / "a0.png"]), counter))

    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9")):
        assert fail(error)[0].message == "a0.png: not enough memory for this image; crop it or close other programs."
    with pytest.raises(RuntimeError, match="a mistake in the program"):
        fail(RuntimeError("a mistake in the program"))
