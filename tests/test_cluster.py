"""Counting on a real Dask cluster: a scheduler and workers as processes of their own, on loopback."""

import json
import signal
import time

import numpy as np
import pytest
from clusters import kill_at_work, running
from PIL import Image as PillowImage

from cellapp import cluster
from cellapp import weights as store
from cellapp.batch import count_many
from cellapp.cli import main
from cellapp.errors import CellappError, ClusterError
from cellapp.inputs import gather
from cellapp.regions import box

pytest.importorskip("distributed")
A = "fcrn-a/untrained"


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(24):
        pixels = np.random.default_rng(k).integers(0, 256, (160, 160 + k), dtype=np.uint8)
        PillowImage.fromarray(pixels).save(folder / f"a{k}.png")
    (folder / "bad7.png").write_text("no picture")
    return gather([folder]).inputs


def test_a_worker_killed_in_mid_batch_costs_no_row_and_doubles_none(tmp_path, tiny_weights, images):
    regions = [box("corner", -0.5, -0.5, 79.5, 79.5)]
    here = list(count_many(images, A, regions=regions, device="cpu"))
    with running(tmp_path, tiny_weights) as dask:
        there = []
        for result in count_many(images, A, regions=regions, scheduler=dask.address):
            there.append(result)
            if len(there) == 3:
                kill_at_work(dask.workers[0])
        assert dask.workers[0].wait() == -signal.SIGKILL
    assert [r.name for r in there] == [one.name for one in images]
    assert [r.status for r in there] == [r.status for r in here]
    for one, other in zip(here, there, strict=True):
        for row, same in zip(one.rows(), other.rows(), strict=True):
            row |= {"seconds": None}
            assert same | {"seconds": None} == row | ({"count": pytest.approx(row["count"], abs=1e-3)}
                                                      if row["count"] is not None else {}) | _near(row)
        if one.prediction:
            np.testing.assert_allclose(one.prediction.density, other.prediction.density, atol=1e-5)
            np.testing.assert_array_equal(one.image.pixels, other.image.pixels)


def _near(row) -> dict:
    return {key: pytest.approx(row[key], rel=1e-4) for key in ("count", "density_per_mm2", "cell_diameter_px")
            if row[key] is not None}


def test_an_image_at_which_all_workers_die_is_a_row_with_a_reason(tmp_path, tiny_weights, images):
    with running(tmp_path, tiny_weights, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0") as dask:
        there = []
        for result in count_many(images, A, scheduler=dask.address, maps=False):
            there.append(result)
            if len(there) == 3:
                kill_at_work(dask.workers[0])
    assert [r.name for r in there] == [one.name for one in images]
    dead = [r for r in there if r.status == "error" and r.name != "bad7.png"]
    assert 0 < len(dead) < 6
    for result in dead:
        assert result.message.startswith(f"{result.name}: 1 workers died while they had it")
        assert result.row()["weights"] == A
    assert all(r.prediction.arrays() == {} for r in there if r.prediction)


def test_other_weights_and_other_versions_are_refused(tmp_path, tiny_weights, images, monkeypatch, capsys):
    with running(tmp_path, tiny_weights, workers=1) as dask:
        with monkeypatch.context() as patch:
            patch.setattr(cluster, "__version__", "9.9")
            with pytest.raises(ClusterError, match=r"tcp://\S+: this worker has cellapp \S+, not 9.9; install"):
                count_many(images, A, scheduler=dask.address)
        row = store.find(A)
        part = row.files[0].model_copy(update={"sha256": "0" * 64})
        with monkeypatch.context() as patch:
            patch.setattr(store, "find", lambda _: row.model_copy(update={"files": (part,)}))
            with pytest.raises(ClusterError, match=f"has other weights called {A}; copy the folder"):
                count_many(images, A, scheduler=dask.address)
        results = count_many(images, A, scheduler=dask.address, maps=False)
        assert next(results).status == "ok"
        results.close()                                      # cancels what is under way
        capsys.readouterr()
        assert main(["count", str(tmp_path / "images"), "--weights", A, "--scheduler", dask.address, "--json"]) == 1
        told = capsys.readouterr()
        records = [json.loads(line) for line in told.out.splitlines()]
        assert [r["image"] for r in records] == [one.name for one in images]
        assert [r["status"] for r in records].count("ok") == 24 and told.err == ""
        dask.processes[0].kill()                             # the scheduler
        with pytest.raises(ClusterError, match="no Dask scheduler answers there"):
            count_many(images, A, scheduler=dask.address)


def test_a_worker_that_joined_late_and_differs_gives_error_rows_not_other_counts(tiny_weights, images):
    job = cluster._Job(A, "1" * 64, cluster.__version__, {}, (), "cpu", False)
    with pytest.raises(ClusterError, match="the worker has other weights"):
        cluster.count_here(images[0].read(), "a0.png", job)


@pytest.mark.parametrize("address", ["10.0.0.5", "http://x:1", "tcp://", "tcp://127.0.0.1:1"])
def test_a_scheduler_that_is_not_there_is_one_sentence(tiny_weights, images, address):
    begin = time.monotonic()
    with pytest.raises(CellappError, match="Dask scheduler") as told:
        count_many(images, A, scheduler=address)
    assert str(told.value).startswith(address) and "\n" not in str(told.value)
    assert time.monotonic() - begin < 60, "it does not wait for ever"
