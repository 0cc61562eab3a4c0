"""Training jobs: one at a time, in processes of their own; whatever happens to them is told, and nothing is lost."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT
from small_jobs import images, new, tensors, wait

from cellapp import train_jobs, train_queue, train_work
from cellapp import weights as store
from cellapp.errors import TrainingError
from cellapp.methods import load
from cellapp.train_jobs import Job
from cellapp.train_spec import Given, divide, group_of, groups_in
from cellapp.train_worker import main


def test_a_job_trains_publishes_and_compares(tiny_weights, queue, tmp_path):
    before = (tiny_weights / "manifest.json").read_bytes()
    job = new(tmp_path)
    assert job.state().phase == "interrupted", "nobody works on it yet"
    assert main(job.folder) == 0
    assert job.state().phase == "done"
    row = store.find("own/mine", tmp_path / "weights of mine")
    assert (row.parent, row.training["n_train"], row.training["n_val"]) == ("fcrn-a/untrained", 2, 1)
    assert row.check is not None and row.summary.images == 3
    [image] = job.result()["images"]
    assert image["name"] == "scene_2.png"
    spec = job.spec()
    picture, options = train_work.open_image(train_jobs.given_of(job.folder, spec.items[2]))
    assert load(row.id, "cpu", spec.out_folder).predict(picture, options).count == pytest.approx(image["after"])
    assert load("fcrn-a/untrained", "cpu").predict(picture, options).count == pytest.approx(image["before"])
    assert row.scores[0].mae == pytest.approx(abs(image["after"] - image["manual"]), abs=1e-3)
    assert (tiny_weights / "manifest.json").read_bytes() == before, "installed weights stay as they are"
    assert [line["epoch"] for line in job.progress()] == [1, 2, 3]
    with np.load(job.folder / "preview.npz", allow_pickle=False) as preview:
        assert preview["density"].shape == (48, 56)


def test_killed_and_resumed_equals_unbroken(tiny_weights, queue, tmp_path):
    unbroken = new(tmp_path, "unbroken")
    assert main(unbroken.folder) == 0
    job = new(tmp_path, "broken")
    code = """if True:
        import sys, time
        from pathlib import Path
        from cellapp import train_work, train_worker
        tell = train_worker.Line.tell
        def slow(self, doing, **numbers):
            tell(self, doing, **numbers)
            if doing == "training" and numbers["step"] == 5:
                time.sleep(600)
        train_worker.Line.tell = slow
        train_worker.main(Path(sys.argv[1]))"""
    child = subprocess.Popen([sys.executable, "-c", code, str(job.folder)], cwd=ROOT)
    wait(job, "running", beyond=1)
    child.send_signal(signal.SIGKILL)
    child.wait()
    state = job.state()
    assert state.phase == "interrupted" and "1 epoch is kept" in state.message
    assert len(job.progress()) == 1
    job.start()
    assert wait(job, "done", "failed").phase == "done", (job.state().message, job.log())
    one, other = tensors(unbroken), tensors(job)
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert store.find("own/broken", tmp_path / "weights of broken").sha256 == store.find(
        "own/unbroken", tmp_path / "weights of unbroken").sha256


def test_two_at_once_the_second_waits_and_both_end(tiny_weights, queue, tmp_path):
    ticket = train_queue.Ticket(queue, "cpu", "somebody")
    assert ticket.mine()
    first, second = new(tmp_path, "first"), new(tmp_path, "second", config={"seed": 7})
    first.start()
    wait(first, "queued")
    while first.state().ahead != 1:
        time.sleep(0.05)
    second.start()
    while second.state().ahead != 2:
        time.sleep(0.05)
    assert [job.state().phase for job in (first, second)] == ["queued", "queued"]
    first.start()
    assert first.state().phase == "queued", "a second click starts nothing"
    ticket.close()
    assert wait(first, "done", "failed").phase == wait(second, "done", "failed").phase == "done"
    rows = [store.find(f"own/{name}", tmp_path / f"weights of {name}") for name in ("first", "second")]
    assert rows[0].sha256 != rows[1].sha256
    assert not list((queue / "cpu").glob("*.json"))


def test_who_waits_does_not_import_torch():
    code = "import sys; import cellapp.train_worker; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
                          ).stdout.strip() == "False"


def test_cancel_while_waiting_and_a_crash_frees_the_device(tiny_weights, queue, tmp_path):
    code = ("import time; from pathlib import Path; from cellapp.train_queue import Ticket\n"
            f"t = Ticket(Path({str(queue)!r}), 'cpu', 'other'); print(t.mine(), flush=True); time.sleep(600)")
    other = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline().strip() == "True"
    job = new(tmp_path)
    job.start()
    wait(job, "queued")
    job.ask("cancel")
    assert wait(job, "cancelled").message == "Cancelled."
    own = train_queue.Ticket(queue, "cpu", "own")
    assert not own.mine()
    other.kill()
    other.wait()
    assert own.mine(), "the lock of a dead process holds nobody up"
    own.close()


def happening(job: Job, monkeypatch, what, at: int = 5) -> int:
    from cellapp import train_worker

    tell = train_worker.Line.tell

    def told(line, doing, **numbers):
        tell(line, doing, **numbers)
        if doing == "training" and numbers["step"] == at:
            what()

    monkeypatch.setattr(train_worker.Line, "tell", told)
    code = main(job.folder)
    monkeypatch.setattr(train_worker.Line, "tell", tell)
    return code


def test_stop_and_keep_the_best(tiny_weights, queue, tmp_path, monkeypatch):
    job = new(tmp_path)
    assert happening(job, monkeypatch, lambda: job.ask("keep")) == 0
    assert job.state().phase == "done" and len(job.progress()) == 1
    assert store.find("own/mine", tmp_path / "weights of mine").check is not None
    early = new(tmp_path, "early")
    assert happening(early, monkeypatch, lambda: early.ask("keep"), at=1) == 1
    assert "before the first epoch" in early.state().message and early.state().phase == "cancelled"


def test_faults_of_the_machine_are_one_sentence(tiny_weights, queue, tmp_path, monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    job = new(tmp_path)
    assert happening(job, monkeypatch, full) == 1
    assert job.state().phase == "failed" and "disk of this server is full" in job.state().message
    assert main(job.folder) == 0, "a failed training goes on"
    assert len(job.progress()) == 3

    def no_memory():
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    job = new(tmp_path, "large")
    assert happening(job, monkeypatch, no_memory) == 1
    assert "not enough memory" in job.state().message


def test_too_little_memory_on_the_gpu_halves_the_batch_and_says_so(tiny_weights, queue, tmp_path, monkeypatch):
    import torch

    job, real = new(tmp_path, config={"batch": 4}), train_work.train

    def short(learn, check, config, *more, **others):
        if config.batch > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(learn, check, config, *more, **others)

    monkeypatch.setattr(train_work, "train", short)
    assert main(job.folder) == 0
    assert job.notes()[-1].endswith("began again with 1.") and job.run().name == "run-1"
    assert store.find("own/mine", tmp_path / "weights of mine").training["batch"] == 1


def test_memory_of_the_gpu_that_runs_out_in_a_step_is_freed_before_the_next_try(tiny_weights, queue, tmp_path,
                                                                                monkeypatch):
    import weakref

    import torch

    from cellapp import training

    job, step, seen, empty = new(tmp_path, config={"batch": 4}), training.take_step, [], torch.cuda.empty_cache

    def short(run, *more):
        if run.step == 4 and not seen:                       # once, in the second epoch
            seen.append(weakref.ref(run.network))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return step(run, *more)

    def emptied():
        assert seen[0]() is None, "the network of the first try still holds its memory"
        seen.append("emptied")
        empty()

    monkeypatch.setattr(training, "take_step", short)
    monkeypatch.setattr(torch.cuda, "empty_cache", emptied)
    assert main(job.folder) == 0 and seen[1] == "emptied"
    assert job.notes() == ["The memory of the GPU did not suffice for 4 crops in a step; the training began again with "
                           "2."]
    assert job.run().name == "run-2" and [line["epoch"] for line in job.progress()] == [1, 2, 3]
    assert store.find("own/mine", tmp_path / "weights of mine").training["batch"] == 2

    def never(run, *more):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(training, "take_step", never)
    hopeless = new(tmp_path, "hopeless", config={"batch": 4})
    assert main(hopeless.folder) == 1
    assert "too small for this training, even with one crop in a step" in hopeless.state().message
    assert [note[-2:] for note in hopeless.notes()] == ["2.", "1."]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a disk that is always full is Linux's")
def test_a_disk_that_fills_up_is_told_and_what_was_learnt_is_kept(tiny_weights, queue, tmp_path, monkeypatch):
    from types import SimpleNamespace

    from cellapp import files

    make = files.tempfile.mkstemp

    def full(dir, prefix, suffix):
        handle, path = make(dir=dir, prefix=prefix, suffix=suffix)
        if prefix == "last.safetensors" and len(job.progress()) == 1:
            os.close(handle)
            handle = os.open("/dev/full", os.O_WRONLY)       # the real error of the system, not one made up
        return handle, path

    job = new(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(files, "tempfile", SimpleNamespace(mkstemp=full))
        assert main(job.folder) == 1
    assert job.state().phase == "failed"
    assert job.state().message.startswith("The disk of this server is full; the epochs so far are kept.")
    assert len(job.progress()) == 1 and not list(job.run().glob("*.part"))
    assert main(job.folder) == 0 and len(job.progress()) == 3
    silent = new(tmp_path, "silent")
    monkeypatch.setattr(train_jobs.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    assert silent.state().message.startswith("The disk of this server is full."), "not even last words could be kept"


def test_the_killer_of_the_system_is_told(tiny_weights, queue, tmp_path):
    ticket = train_queue.Ticket(queue, "cpu", "somebody")
    assert ticket.mine()
    job = new(tmp_path)
    job.start()
    wait(job, "queued")
    os.kill(json.loads((job.folder / "process.json").read_text())["pid"], signal.SIGKILL)
    wait(job, "interrupted")
    for _ in range(100):
        if "memory" in job.state().message:
            break
        time.sleep(0.05)
    assert "the memory of the machine ran out" in job.state().message
    ticket.close()


def test_minutes_become_steps_once(tiny_weights, queue, tmp_path, monkeypatch):
    job = new(tmp_path, minutes=0.001)
    monkeypatch.setattr(train_work, "EPOCHS", 2)
    assert main(job.folder) == 0
    assert json.loads((job.folder / "plan.json").read_text()) == {"epochs": 2, "steps": 4}
    assert len(job.progress()) == 2


def test_dark_cells_are_learnt_in_the_negative(tiny_weights, queue, tmp_path):
    given = images(tmp_path / "pictures")
    reader = load("fcrn-a/untrained", "cpu")
    bright = train_work.dotted(given[0], reader)[0]
    dark = Given(given[0].name, given[0].path, given[0].sha256, given[0].options | {"polarity": "dark"},
                 given[0].points)
    item, view = train_work.dotted(dark, reader)
    assert view.seen.turned and np.array_equal(item.image, -bright.image)
    assert len(item.points) == len(given[0].points)


def test_groups_never_lie_on_both_sides():
    names = [f"P{p}_{k}.png" for p in range(4) for k in range(3)]
    groups = [group_of(name, "1") for name in names]
    assert set(groups) == {"P0", "P1", "P2", "P3"}
    assert group_of("a_b_003.tif", "mark") == "a_b" and group_of("x/y/3.tif", "folder") == "x/y"
    table = "Image;Slide;count\nx/a.png;S1;3\nb.png;S2;4\n".encode("utf-8-sig")
    assert groups_in(table) == {"a.png": "S1", "b.png": "S2"}
    assert groups_in(b"x,y\n1,2\n") == groups_in(b"\xff\xfe") == groups_in(b"") == {}
    sides = divide(groups, 3)
    assert set(sides) == {"learn", "check"}
    for group in set(groups):
        assert len({side for side, g in zip(sides, groups, strict=True) if g == group}) == 1
    assert divide(groups, 3) == sides
    with pytest.raises(TrainingError, match="all 12 images in one group"):
        divide(["a"] * 12, 0)
    with pytest.raises(TrainingError, match="only one image"):
        divide(["a"], 0)


def test_a_deleted_folder_ends_the_work(tiny_weights, queue, tmp_path, monkeypatch):
    import shutil

    job = new(tmp_path)
    assert happening(job, monkeypatch, lambda: shutil.rmtree(job.folder)) == 1
    assert not job.folder.exists()


def test_damaged_settings_are_one_sentence(tmp_path):
    with pytest.raises(TrainingError, match="minutes"):
        new(tmp_path, minutes=-1)
