"""Fine-tuning on a few dotted images as the page does it, measured on images of other sources.

    python -m benchmarks.fine_tune FOLDER [--minutes 10] [--images 5] [--start fcrn-a/simulated] [--seed 0]

FOLDER holds images with dots whose names end in a part that tells the images of one source apart
(``BM_GRAZ_HE_0001_01_000.png``). One image of each of the first sources is learnt from or chooses the epoch; every
image of all other sources is counted before and after.
"""

import argparse
import hashlib
import tempfile
from pathlib import Path

import numpy as np

from cellapp import train_jobs
from cellapp.data import read_folder
from cellapp.image import read_image
from cellapp.methods import Counter, Options, build, load
from cellapp.polarity import upright
from cellapp.scale import diameter_at
from cellapp.train_defaults import defaults
from cellapp.train_spec import Given, divide, group_of
from cellapp.train_work import first_weights, usual_threads
from cellapp.train_worker import main as work
from cellapp.weights import find


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--images", type=int, default=5)
    parser.add_argument("--start", default="fcrn-a/simulated")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    data, start = read_folder(given.folder), find(given.start)
    sources = sorted({group_of(item.name, "mark") for item in data})
    chosen = np.random.default_rng(given.seed).permutation(sources)[: given.images]
    firsts = [next(item for item in data if group_of(item.name, "mark") == source) for source in chosen]
    others = [item for item in data if group_of(item.name, "mark") not in chosen]
    diameter = round(float(np.median([diameter_at(upright(item.image), item.points) for item in firsts])), 1)
    images = [Given(item.name, given.folder / item.name, _sha256(given.folder / item.name), {}, item.points)
              for item in firsts]
    with tempfile.TemporaryDirectory() as folder:
        job = train_jobs.create(
            Path(folder) / "jobs", images, divide([one.name for one in images], given.seed), id="own/benchmark",
            title="benchmark", trained_on=f"{len(images)} images", start=given.start,
            out_folder=Path(folder) / "weights", config=defaults(start.method, start).model_dump(),
            minutes=given.minutes, diameter=diameter, threads=usual_threads())
        if work(job.folder) != 0:
            raise SystemExit(job.state().message)
        row, state = first_weights(job.spec())
        network = build(row)
        network.load_state_dict(state)
        names = ", ".join(one.name for one in images)
        print(f"{job.spec().threads} threads; learnt from or chosen with: {names}; cells of {diameter} px; "
              f"{job.progress()[-1]['step']} steps in {job.progress()[-1]['seconds'] / 60:.1f} min of training")
        alone, same, after = (load(given.start), Counter(row, network, load(given.start).device),
                              load("own/benchmark", where=Path(folder) / "weights"))
        for name, counter in (("before, as it counts by itself", alone), ("before, at the same scale", same),
                              ("after", after)):
            errors = np.array([counter.predict(read_image(given.folder / item.name), Options()).count - item.count
                               for item in others])
            print(f"{name}: MAE {np.abs(errors).mean():.2f}, bias {errors.mean():+.2f} on {len(errors)} images of "
                  f"{len(sources) - len(chosen)} other sources", flush=True)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
