"""Training jobs for tests: a few tiny images, a job of three epochs, and waiting for it."""

import hashlib
import time
from pathlib import Path

from PIL import Image as PillowImage

from cellapp import train_jobs
from cellapp.simulate import simulate
from cellapp.train_jobs import Job
from cellapp.train_spec import Given

CONFIG = {"method": "fcrn-a", "epochs": 3, "steps": 3, "batch": 2, "crop": 32, "warmup": 2, "whole": 0.0}


def images(folder: Path, n: int = 3) -> list[Given]:
    """Simulated images with their dots."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for k in range(n):
        scene = simulate("vgg-cells", 1, k, size=(48, 56))
        path = folder / f"{k}.png"
        PillowImage.fromarray(scene.image).save(path)
        made.append(Given(f"scene_{k}.png", path, hashlib.sha256(path.read_bytes()).hexdigest(),
                          {"cell_diameter": 10.0}, scene.points))
    return made


def new(tmp_path, name: str = "mine", **about) -> Job:
    config = CONFIG | about.pop("config", {})
    about = {"id": f"own/{name}", "title": name, "trained_on": "3 images", "start": "fcrn-a/untrained",
             "out_folder": tmp_path / f"weights of {name}", "config": config, "device": "cpu"} | about
    return train_jobs.create(tmp_path / "jobs", images(tmp_path / "pictures"), ["learn", "learn", "check"], **about)


def wait(job: Job, *phases: str, beyond: int = 0) -> train_jobs.State:
    """Until it is in one of these phases with so many epochs."""
    for _ in range(1500):
        state = job.state()
        if state.phase in phases and len(job.progress()) >= beyond:
            return state
        time.sleep(0.1)
    raise AssertionError(f"{job.state()} after {len(job.progress())} epochs: {job.log()}")


def tensors(job: Job) -> dict:
    """All of the last state of a run, and of its best epoch."""
    from safetensors.torch import load as read

    return {f"{name} {key}": value.numpy() for name in ("last", "best")
            for key, value in read((job.run() / f"{name}.safetensors").read_bytes()).items()}
