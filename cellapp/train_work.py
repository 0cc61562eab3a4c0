"""The work of a training job, from its folder to new weights: read, measure, train, publish, score.

Images are brought to the scale and the polarity of the weights to begin with exactly as counting does
(`Counter.look`), and the counts before and after come from the same call as those on the page.
"""

import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from cellapp import weights as store
from cellapp.calibration import calibrate, measure
from cellapp.calibration_row import Calibration
from cellapp.checkpoint import State, best_state
from cellapp.conformal import fewest
from cellapp.data import Dotted
from cellapp.errors import Cancelled, TrainingError
from cellapp.files import write_atomic
from cellapp.image import Image, read_image
from cellapp.likeness import Look, summarise
from cellapp.methods import Counter, Options, build, find_method, load, pick_device
from cellapp.partly import count_inside
from cellapp.polarity import BRIGHT, bright
from cellapp.scale import resize_labels
from cellapp.train_jobs import Job, given_of
from cellapp.train_spec import Given, Spec
from cellapp.training import Progress, TrainingConfig, train
from cellapp.verify import publish
from cellapp.weights import Weights

if TYPE_CHECKING:
    from cellapp.train_worker import Line

EXAMPLE = "vgg-cells-1-000.png"                              # its count becomes the known answer of the new weights
EPOCHS = 16                                                  # where the time is given and not the steps
SCRATCH = 12.0                                               # px, of the cells as a network from scratch reads them
MEASURED = 4                                                 # steps to find out how long one takes
SETTLED = 0.5                                                # part of the steps after which the best epoch is chosen
PREVIEWS = 0.05                                              # share of the time for predictions along the way


def work(job: Job, spec: Spec, line: "Line") -> str:
    """Train and publish; the id of the new weights. Raises `Cancelled` where the user wants no weights."""
    torch.set_num_threads(spec.threads)
    row, start = first_weights(spec)
    network = build(row)
    if start is not None:
        network.load_state_dict(start)
    reader = Counter(row, network, torch.device("cpu"))
    given = [given_of(job.folder, item) for item in spec.items]
    seen = []
    for k, one in enumerate(given):
        line.tell("reading", step=k, steps=len(given))
        line.check()
        seen.append(dotted(one, reader))
    learn, check = ([item for (item, _), of in zip(seen, spec.items, strict=True) if of.side == side]
                    for side in ("learn", "check"))
    checked = [one for one, of in zip(given, spec.items, strict=True) if of.side == "check"]
    counts = spec.config.get("part") != "mask"               # a mask alone counts nothing yet
    before = scores(reader, checked, line, "before") if counts and start is not None else None
    settings = Trainer(job, spec, line, row, start).run(learn, check, checked[0])
    new = _publish(job, spec, row, seen, settings, len(learn), len(check))
    if not counts:
        return new.id
    counter = load(new.id, spec.device, spec.out_folder)
    after, known = scores(counter, checked, line, "after"), known_errors(counter, checked, line)
    result = {"images": [
        {"name": given.name, "manual": given.cells, "before": None if before is None else before[k], "after": after[k]}
        for k, given in enumerate(checked)]}
    write_atomic(job.folder / "result.json", json.dumps(result))
    store.replace(new.model_copy(update={"scores": (_score(new, result),), "calibration": known}), spec.out_folder)
    return new.id


def usual_threads() -> int:
    """Threads of a training: as torch would take. Pages stay quick because the process is nice."""
    return torch.get_num_threads()


def first_weights(spec: Spec) -> tuple[Weights, State | None]:
    """The row to begin with and its tensors; from scratch, a row that only says how images are read, and None."""
    if spec.start is not None:
        row = store.find(spec.start, spec.start_folder)
        read = row.input.model_copy(update={"image_diameter": spec.diameter})
        return row.model_copy(update={"input": read}), store.read_state(row, spec.start_folder)
    config = TrainingConfig(**spec.config)
    method = find_method(config.method)
    part = store.Part(file="none.safetensors", sha256="0" * 64, bytes=0)
    return Weights(id=spec.id, title=spec.title, method=config.method, files=(part,), map_scale=method.map_scale,
                   input={"cell_diameter": SCRATCH, "image_diameter": spec.diameter, "polarity": BRIGHT},
                   sigma=config.sigma, trained_on="nothing", licence=spec.licence,
                   settings=method.family.settings(config)), None


def open_image(given: Given) -> tuple[Image, Options]:
    """The image of a job, and how it is read."""
    options = Options(**given.options)
    return read_image(given.path, given.name, pages=options.pages, z=options.z, frame=options.frame), options


def dotted(given: Given, reader: Counter) -> tuple[Dotted, Look]:
    """An image with its truth as the network reads it in counting, and what was found out about it."""
    image, options = open_image(given)
    view = reader.look(image, options)
    points, labels = given.points, given.labels
    for what, mask in (("mask", labels), ("counted area", given.counted)):
        if mask is not None and mask.shape != image.shape:
            raise TrainingError(f"{given.name}: its {what} has {mask.shape[0]}×{mask.shape[1]} px and the image "
                                f"{image.shape[0]}×{image.shape[1]}; give the {what} of this very image.")
    if points is not None:
        points = (points + 0.5) * (np.array(view.plane.shape) / image.shape) - 0.5
    if labels is not None:
        labels = resize_labels(labels, None, view.plane.shape)
    known = float("nan") if given.count is None else given.count
    counted = None if given.counted is None else resize_labels(given.counted, None, view.plane.shape)
    return Dotted(given.name, view.plane, points, labels, known, view.colour, counted), view


class Trainer:
    """The training of a job: as planned, resumed where it was broken, in smaller batches where memory is short."""

    def __init__(self, job: Job, spec: Spec, line: "Line", row: Weights, start: State | None):
        self._job, self._spec, self._line, self._row, self._start = job, spec, line, row, start
        self._device = pick_device(spec.device)
        self._previewed, self._begin = 0.0, time.monotonic()

    def run(self, learn: list[Dotted], check: list[Dotted], shown: Given) -> TrainingConfig:
        """Train to the end, or to where the user stops it; the config of the run whose best epoch is kept."""
        config = TrainingConfig(**self._spec.config)
        run = self._job.run()
        batch = int(run.name[4:]) if run else config.batch
        while True:
            config = config.model_copy(update={"batch": batch})
            try:
                config = self._planned(learn, check, config)
                self._train(learn, check, config, shown)
                return config
            except torch.OutOfMemoryError:
                if batch // 2 < config.devices:
                    raise TrainingError("The memory of the GPU is too small for this training, even with one crop in a "
                                        "step: take a smaller crop, or train on the CPU.") from None
            # Not before here: the error holds on to all that was in the memory when it was raised.
            batch //= 2
            torch.cuda.empty_cache()
            self._note(f"The memory of the GPU did not suffice for {config.batch} crops in a step; the training "
                       f"began again with {batch}.")

    def _train(self, learn, check, config: TrainingConfig, shown: Given) -> None:
        total, begin = config.epochs * config.steps, time.monotonic()
        done = len(self._job.progress()) * config.steps
        self._line.tell("training", step=done, steps=total)
        first = step = done

        def stop() -> bool:
            nonlocal step
            step += 1
            left = (time.monotonic() - begin) / (step - first) * (total - step)
            self._line.tell("training", step=step, steps=total, seconds_left=left)
            return bool(self._line.wish)

        folder = self._job.folder / f"run-{config.batch}"
        for progress in train(learn, check, config, folder, start=self._start, build=self._row.build,
                              device=self._spec.device, settle=SETTLED, stop=stop):
            print(json.dumps(asdict(progress)), flush=True)
            if progress.best_epoch == progress.epoch:
                self._preview(folder, progress, shown, config)
        self._line.check()
        if not (folder / "best.safetensors").exists():
            raise Cancelled("Stopped before the first epoch had ended, so there are no weights to keep.")

    def _planned(self, learn, check, config: TrainingConfig) -> TrainingConfig:
        """The config with the number of steps that fills the time; decided once, so that a resumed run has the same.
        """
        if self._spec.minutes is None:
            return config
        path = self._job.folder / "plan.json"
        if path.exists():
            return config.model_copy(update=json.loads(path.read_bytes()))
        self._line.tell("measuring")
        times = [time.monotonic()]

        def stop() -> bool:
            times.append(time.monotonic())
            return self._line.wish == "cancel"

        trial = config.model_copy(update={"epochs": 1, "steps": MEASURED})
        with tempfile.TemporaryDirectory(dir=self._job.folder) as folder:
            for _ in train(learn, check, trial, folder, start=self._start, build=self._row.build,
                           device=self._spec.device, stop=stop):
                times.append(time.monotonic())
        self._line.check()
        each = float(np.median(np.diff(times[1:-1])))        # the first step is slower, the last part is the validation
        steps = (60 * self._spec.minutes / EPOCHS - (times[-1] - times[-2])) / max(each, 1e-6)
        plan = {"epochs": EPOCHS, "steps": int(np.clip(steps, 4, 400))}
        write_atomic(path, json.dumps(plan))
        return config.model_copy(update=plan)

    def _preview(self, folder: Path, progress: Progress, shown: Given, config: TrainingConfig) -> None:
        """Keep what the best epoch so far sees in one of the checked images; not so often that it costs much."""
        begin = time.monotonic()
        if self._previewed > PREVIEWS * (begin - self._begin):
            return
        state, settings = best_state(folder)
        row = self._row.model_copy(update={"settings": settings, "sigma": config.sigma})
        network = build(row)
        network.load_state_dict(state)
        image, options = open_image(shown)
        prediction = Counter(row, network, self._device).predict(image, options)
        with tempfile.NamedTemporaryFile(dir=self._job.folder, suffix=".part", delete=False) as file:
            np.savez(file, allow_pickle=False, epoch=progress.epoch, count=count_inside(prediction, shown.counted),
                     **prediction.arrays())
        Path(file.name).replace(self._job.folder / "preview.npz")
        self._previewed += time.monotonic() - begin

    def _note(self, sentence: str) -> None:
        write_atomic(self._job.folder / "notes.json", json.dumps({"notes": [*self._job.notes(), sentence]}))


def _publish(job: Job, spec: Spec, first: Weights, seen: list[tuple[Dotted, Look]], config: TrainingConfig,
             n_learn: int, n_check: int) -> Weights:
    """Write the best epoch with its row and its known answer."""
    best, settings = best_state(job.folder / f"run-{config.batch}")
    diameter = first.input.cell_diameter
    upright = [(bright(view.plane, view.seen.dark != view.seen.turned), view.colour) for _, view in seen]
    turned = first.input.negatives or any(view.seen.turned for _, view in seen)
    return publish(best, EXAMPLE, spec.out_folder, id=spec.id, title=spec.title, method=config.method,
                   sigma=config.sigma, build=first.build, map_scale=first.map_scale, settings=settings,
                   input=first.input.model_copy(update={"negatives": turned}), summary=summarise(upright, diameter),
                   trained_on=spec.trained_on, parent=spec.start, licence=spec.licence,
                   training=config.model_dump() | {"n_train": n_learn, "n_val": n_check})


def scores(counter: Counter, checked: list[Given], line: "Line", when: str) -> list[float]:
    """The count of each checked image, as the page would count it, in the counted area where there is one."""
    counts = []
    for k, given in enumerate(checked):
        line.tell("scoring", step=k, steps=len(checked), when=when)
        line.check()
        image, options = open_image(given)
        counts.append(count_inside(counter.predict(image, options), given.counted))
    return counts


def known_errors(counter: Counter, checked: list[Given], line: "Line") -> Calibration | None:
    """The intervals that follow from the checked images; None below 19 of them that were dotted all over.

    These images chose the epoch, so the errors on them are a little smaller than on others.
    """
    whole = [given for given in checked if given.counted is None]
    if len(whole) < fewest():
        return None

    def cases():
        for k, given in enumerate(whole):
            line.tell("scoring", step=k, steps=len(whole), when="calibration")
            line.check()
            image, options = open_image(given)
            yield image, given.cells if given.points is None else given.points, None, options

    return calibrate(measure(counter, cases()), f"{len(whole)} images kept back, which chose the epoch")


def _score(new: Weights, result: dict) -> store.Score:
    errors = np.array([one["after"] - one["manual"] for one in result["images"]])
    return store.Score(data="the images kept back from this training, which chose its epoch", images=len(errors),
                       mae=round(float(np.abs(errors).mean()), 4), bias=round(float(errors.mean()), 4),
                       command=f"python -m cellapp evaluate --images FOLDER --weights {new.id}")
