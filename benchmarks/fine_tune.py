"""Fine-tuning on a few dotted images as the page does it, measured on images of other sources.

    python -m benchmarks.fine_tune FOLDER [--dots FOLDER] [--minutes 10] [--images 5] [--others 24] [--diameter 16]
                                          [--start fcrn-a/simulated] [--seed 0] [--keep FOLDER]

FOLDER holds images with dots, which lie beside them or in the folder given by ``--dots``. Names that are alike but for
their last part (``BM_GRAZ_HE_0001_01_000.png``) are images of one source; a name of one part (``img001.png``) is one by
itself. One image of each of the drawn sources is learnt from or chooses the epoch; the images of all other sources, or
so many drawn ones, are counted before and after. ``--diameter`` is what a user would give where the dots mislead; with
``--keep`` the training is kept, and one that is there goes on.
"""

import argparse
import hashlib
import tempfile
from pathlib import Path

import numpy as np

from cellapp import train_jobs
from cellapp.data import Dotted, drawn, read_folder
from cellapp.image import read_image
from cellapp.methods import Counter, Options, build, load
from cellapp.polarity import upright
from cellapp.scale import diameter_at
from cellapp.train_defaults import defaults
from cellapp.train_spec import Given, divide, group_of
from cellapp.train_work import first_weights, usual_threads
from cellapp.train_worker import main as work
from cellapp.weights import Weights, find


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dots", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--images", type=int, default=5)
    parser.add_argument("--others", type=int)
    parser.add_argument("--diameter", type=float)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--start", default="fcrn-a/simulated")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    data, start = read_folder(given.folder, given.dots), find(given.start)
    sources = sorted({group_of(item.name, "mark") for item in data})
    chosen = np.random.default_rng(given.seed).permutation(sources)[: given.images]
    firsts = [next(item for item in data if group_of(item.name, "mark") == source) for source in chosen]
    others = [item for item in data if group_of(item.name, "mark") not in chosen]
    others = drawn(others, given.others or len(others), given.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        job = next(iter(train_jobs.jobs(folder / "jobs")), None) or _job(folder, firsts, start, given)
        if job.state().phase != "done" and work(job.folder) != 0:
            raise SystemExit(job.state().message)
        spec = job.spec()
        last = job.progress()[-1]
        print(f"{spec.threads} threads; learnt from or chosen with: {', '.join(one.name for one in spec.items)}; cells "
              f"of {spec.diameter} px; {last['step']} steps in {last['seconds'] / 60:.1f} min of training")
        row, state = first_weights(spec)
        network = build(row)
        network.load_state_dict(state)
        alone, same, after = (load(given.start), Counter(row, network, load(given.start).device),
                              load("own/benchmark", where=folder / "weights"))
        for name, counter in (("after", after), ("before, at the same scale", same),
                              ("before, as it counts by itself", alone)):
            errors = np.array([counter.predict(read_image(given.folder / item.name), Options()).count - item.count
                               for item in others])
            print(f"{name}: MAE {np.abs(errors).mean():.2f}, bias {errors.mean():+.2f} on {len(errors)} images of "
                  f"{len({group_of(item.name, 'mark') for item in others})} other sources with "
                  f"{np.mean([item.count for item in others]):.1f} cells on average", flush=True)


def _job(folder: Path, firsts: list[Dotted], start: Weights, given: argparse.Namespace) -> train_jobs.Job:
    diameter = given.diameter or round(float(np.median(
        [diameter_at(upright(item.image), item.points) for item in firsts])), 1)
    images = [Given(item.name, given.folder / item.name, _sha256(given.folder / item.name), {}, item.points)
              for item in firsts]
    return train_jobs.create(
        folder / "jobs", images, divide([one.name for one in images], given.seed), id="own/benchmark",
        title="benchmark", trained_on=f"{len(images)} images", start=given.start, out_folder=folder / "weights",
        config=defaults(start.method, start).model_dump(), minutes=given.minutes, diameter=diameter,
        threads=usual_threads())


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
