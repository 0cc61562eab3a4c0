"""Training on a real Dask cluster: it runs there, is cancelled, outlives its worker, is refused where it must be."""

import json
import signal
import threading

import numpy as np
import pytest
from clusters import running, when
from small_jobs import new, tensors, wait

from cellapp import train_cluster
from cellapp import weights as store
from cellapp.dask_client import ADDRESS
from cellapp.errors import ClusterError
from cellapp.train_worker import main

pytest.importorskip("distributed")
_wanted = train_cluster._Wanted


def test_a_worker_trains_and_a_dead_one_is_replaced(tiny_weights, queue, tmp_path, monkeypatch):
    here = new(tmp_path, "here")
    assert main(here.folder) == 0
    with running(tmp_path, tiny_weights, workers=1) as dask:
        monkeypatch.setenv(ADDRESS, dask.address)
        there = new(tmp_path, "there")
        there.start()
        state = wait(there, "done", "failed")
        assert state.phase == "done", (state, there.log())
        note = json.loads((there.folder / "beat.json").read_text())["device"]
        assert note.startswith("cpu of tcp://127.0.0.1:")
        one, other = tensors(here), tensors(there)
        assert one.keys() == other.keys() and all(np.allclose(one[k], other[k], atol=1e-6) for k in one)
        assert there.result()["images"] == [
            {k: v if isinstance(v, str) else pytest.approx(v) for k, v in image.items()}
            for image in here.result()["images"]]
        row = store.find("own/there", tmp_path / "weights of there")
        assert row.parent == "fcrn-a/untrained" and row.check is not None

        killed = new(tmp_path, "killed", config={"epochs": 40})
        killed.start()
        wait(killed, "running", "failed", beyond=2)
        dask.workers[0].send_signal(signal.SIGKILL)
        before = len(killed.progress())
        dask.worker()
        state = wait(killed, "done", "failed")
        assert state.phase == "done", (state, killed.log())
        epochs = [line["epoch"] for line in killed.progress()]
        assert before >= 2 and sorted({*epochs}) == list(range(1, 41)) and len(epochs) <= 41, "none is taught again"


def test_cancelled_on_the_worker_and_in_the_queue(tiny_weights, queue, tmp_path, monkeypatch):
    with running(tmp_path, tiny_weights, workers=1) as dask:
        monkeypatch.setenv(ADDRESS, dask.address)
        first, second = new(tmp_path, "first", config={"steps": 400}), new(tmp_path, "second")
        first.start()
        when(lambda: first.state().step > 0)  # until then it may wait for its worker
        second.start()
        when(lambda: second.state().ahead == 1)
        assert second.state().phase == "queued"
        second.ask("cancel")
        assert "Cancelled" in wait(second, "cancelled", "failed", "done").message
        first.ask("cancel")
        state = wait(first, "cancelled", "failed", "done")
        assert (state.phase, state.message) == ("cancelled", "Cancelled.")
        when(lambda: not list((queue / "cluster").glob("*.json")))
        third = new(tmp_path, "third")
        third.start()
        assert wait(third, "done", "failed").phase == "done", "the worker is free again"


def test_what_does_not_fit_is_one_sentence(tiny_weights, queue, tmp_path, monkeypatch):
    monkeypatch.setenv(ADDRESS, "tcp://127.0.0.1:1")
    job = new(tmp_path)
    assert main(job.folder) == 1
    assert "no Dask scheduler answers there" in job.state().message
    with running(tmp_path, tiny_weights, workers=1) as dask:
        monkeypatch.setenv(ADDRESS, dask.address)
        other = new(tmp_path, "other")
        with monkeypatch.context() as patch:
            patch.setattr(train_cluster, "__version__", "9.9")
            assert main(other.folder) == 1
        assert other.state().phase == "failed" and ", not 9.9; install 9.9 there" in other.state().message
        monkeypatch.setattr(train_cluster, "_Wanted", lambda version, weights, _: _wanted(version, weights, "1" * 64))
        changed = new(tmp_path, "changed")
        assert main(changed.folder) == 1
        assert "has other weights called fcrn-a/untrained" in changed.state().message


def test_a_worker_that_sees_no_folder_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(train_cluster, "_own_address", lambda: "tcp://w:1")
    with pytest.raises(ClusterError, match=r"tcp://w:1: this worker does not see .*nowhere; let CELLAPP_WORKSPACES"):
        train_cluster.train_here(str(tmp_path / "nowhere"), _wanted(train_cluster.__version__, None, None))


def test_a_worker_believed_dead_leaves_the_folder_to_the_next(tiny_weights, queue, tmp_path, monkeypatch):
    monkeypatch.setattr(train_cluster, "_own_address", lambda: "tcp://w:1")
    job = new(tmp_path)
    tell, taken = train_cluster._Here.tell, threading.Event()

    def slow(line, doing, **numbers):
        tell(line, doing, **numbers)
        if doing == "training" and numbers["step"] == 5:
            train_cluster._Here(job.folder, "another")
            taken.set()

    monkeypatch.setattr(train_cluster._Here, "tell", slow)
    train_cluster._train(job)
    assert taken.is_set() and not (job.folder / "exit.json").exists() and (job.folder / "job.json").exists()
    assert len(job.progress()) == 1
    monkeypatch.setattr(train_cluster._Here, "tell", tell)
    train_cluster._train(job)
    assert job.state().phase == "done" and [line["epoch"] for line in job.progress()] == [1, 2, 3]
