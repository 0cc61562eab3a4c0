"""Training: a generator of `Progress` that survives being killed.

Every random choice is drawn from ``default_rng([seed, step])``, so a run that is resumed from its last
checkpoint takes the same steps, on the same machine, as one that was never broken.

What a network learns from and its loss belong to its family (`cellapp.families`). Common to all, and a departure from
the papers, which train with SGD or Adam at a fixed rate and mostly without augmentation:

- AdamW with warm-up and a cosine schedule: FCRN without batch normalisation dies to zero under SGD unless the loss
  scale happens to fit;
- rotations by 90 degrees, mirror images, gain and offset jitter (FCRN-A halves its error with augmentation);
- counting uses an exponential moving average of the weights;
- batch statistics are frozen for the last part of the steps: those of crops differ from those of whole images, which
  biases counts by 1 to 2 %.

The second stage of Xie et al. on whole images is kept: the last part of the steps reads whole images.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from cellapp.checkpoint import Run, State, check_same_run, restore, save, save_run
from cellapp.data import Dotted
from cellapp.errors import TrainingError
from cellapp.family import Call, Sample, Validation
from cellapp.launch import run_on_devices
from cellapp.loader import Loader
from cellapp.methods import Method, find_method, pick_device
from cellapp.share import Learning, Share
from cellapp.training_step import encoder, has_encoder, take_step
from cellapp.weights import Settings


class TrainingConfig(BaseModel):
    """Everything a run depends on besides its images; declared once for the command line and the page."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str = Field("fcrn-a", description="network to train")
    part: Literal["all", "head", "mask", "count"] = Field(
        "all", description="which part of the network learns: all; head, the last layer of a patch network; mask, then "
                           "count, for fpn-vgg11")
    faithful: bool = Field(False, description="the paper's own loss, normalisation and windows where ours depart from "
                                              "them (count-ception, fpn-vgg11, patch networks)")
    epochs: int = Field(30, ge=1, le=10_000, description="epochs; each ends with a validation and a checkpoint")
    steps: int = Field(100, ge=1, le=100_000, description="optimiser steps in an epoch")
    batch: int = Field(8, ge=1, le=1024, description="crops in a step")
    crop: int = Field(128, ge=16, le=1024, description="side of the crops, or of the windows of a patch network, px")
    window_step: int = Field(0, ge=0, le=1024, description="px between windows: of a patch network (0: half a window), "
                                                           "of count-ception while it learns (0: 1)")
    sigma: float = Field(2.0, gt=0.3, le=50, description="Gaussian that stands for one cell, px")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="highest learning rate of the cosine schedule")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="weight decay (the paper's value)")
    warmup: int = Field(100, ge=0, description="steps of linear warm-up")
    whole: float = Field(0.15, ge=0, le=1, description="last part of the steps that reads whole images")
    gain: float = Field(0.1, ge=0, lt=1, description="contrast jitter, ± this part")
    offset: float = Field(0.05, ge=0, le=1, description="brightness jitter, ± standard deviations of the image")
    ema: float = Field(0.995, ge=0, lt=1, description="decay of the moving average of the weights, per step")
    freeze: float = Field(0.4, ge=0, le=1, description="last part of the steps with frozen batch statistics")
    freeze_encoder: bool = Field(False, description="keep the layers down to the smallest map as the weights to begin "
                                                    "with have them (fcrn-a, fcrn-b, fcn, recount)")
    clip: float = Field(5.0, gt=0, description="largest gradient norm")
    seed: int = Field(0, ge=0, description="seed of every random choice")
    devices: int = Field(1, ge=1, le=64, description="GPUs of this machine that share each step (on a CPU: processes)")


@dataclass(frozen=True)
class Progress:
    """Where a run stands after an epoch.

    ``val_mae`` and ``val_bias`` are in cells per image (nan where the network cannot count yet), ``loss`` is that of
    the network's own output, ``figure`` chooses the best epoch: the smaller the better, by default the MAE.
    """

    epoch: int
    epochs: int
    step: int
    loss: float
    val_mae: float
    val_bias: float
    figure: float
    best_figure: float
    best_epoch: int
    seconds: float
    seconds_left: float
    device: str


@dataclass(frozen=True)
class Task:
    """A training that was checked: the same in each of the processes that share it."""

    samples: list[Sample]
    validation: list[Sample]
    config: TrainingConfig
    run_dir: Path
    build: dict
    settle: float


def train(
    train_data: list[Dotted],
    val_data: list[Dotted],
    config: TrainingConfig,
    run_dir: str | Path,
    *,
    start: State | None = None,
    build: dict | None = None,
    device: str = "auto",
    settle: float = 0.0,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Progress]:
    """Check everything now, then train as the returned iterator is read.

    Parameters
    ----------
    train_data, val_data : dotted images; the second choose the best epoch
    run_dir : folder of the run: ``config.json``, ``progress.jsonl``, ``last.safetensors`` (the whole state,
        after each epoch), ``best.safetensors`` (averaged weights of the best epoch). If it holds an unfinished
        run of the same config, images and start, that run goes on.
    start : weights to begin with instead of a fresh initialisation
    build : arguments of the network
    settle : part of the steps after which the best epoch is looked for anew; of a few validation images an early
        epoch may be the best by chance
    stop : asked after each step; once true the run ends after a checkpoint-free return and can be resumed

    Yields
    ------
    Progress after every epoch.
    """
    method = find_method(config.method)
    run_dir = Path(run_dir)
    if not train_data or not val_data:
        raise TrainingError("Training needs at least one image to learn from and one to validate with.")
    smallest = min(min(item.image.shape) for item in train_data)
    if smallest < method.stride * 2:
        raise TrainingError(f"The smallest training image has a side of {smallest} px; "
                            f"{method.title} needs {method.stride * 2} px, leave that image out.")
    where = pick_device(device)
    _check_devices(config, where)
    if config.freeze_encoder and not has_encoder(method):
        raise TrainingError(f"{method.title} has no encoder that could be kept as it is; leave freeze encoder out.")
    if config.freeze_encoder and start is None:
        raise TrainingError("An encoder can be kept as it is only where a training begins with weights; give some.")
    family = method.family
    samples = [family.sample(item, config) for item in train_data]
    validation = [family.sample(item, config) if family.normalise(item.image) is not None else
                  Sample(item.name, None, None, item.points, item.count, item.labels, item.counted)
                  for item in val_data]
    run_dir.mkdir(parents=True, exist_ok=True)
    check_same_run(run_dir, config, (train_data, val_data), start)
    task = Task(samples, validation, config, run_dir, build or {}, settle)
    if config.devices == 1:
        return _train(task, _begin(task, start, where), where, stop, Share())
    _begin(task, start, torch.device("cpu"))                 # what cannot be begun with is told now
    return run_on_devices(task, start, where, stop)


def carry_out(task: Task, start: State | None, where: torch.device, stop: Callable[[], bool],
              share: Share) -> Iterator[Progress]:
    """The part of a checked training that one of several processes takes; the first one yields."""
    return _train(task, _begin(task, start, where), where, stop, share)


def _check_devices(config: TrainingConfig, where: torch.device) -> None:
    if config.devices == 1:
        return
    if where.index is not None:
        raise TrainingError(f"{config.devices} devices share a training, but “{where}” names a single one; choose the "
                            "device “cuda”, or one device.")
    if where.type == "cuda" and torch.cuda.device_count() < config.devices:
        raise TrainingError(f"{config.devices} GPUs are asked for and this machine shows {torch.cuda.device_count()}; "
                            "choose fewer devices.")
    if config.batch < config.devices:
        raise TrainingError(f"{config.devices} devices cannot share a step of {config.batch} crops; choose fewer "
                            "devices or more crops in a step.")


def call_of(method: Method, config: TrainingConfig, device: torch.device, settings: Settings | None = None) -> Call:
    """How validation reads: as counting will with the weights of this config."""
    return Call(device=device, stride=method.stride, halo=method.halo, layout=method.layout, map_scale=method.map_scale,
                sigma=config.sigma, settings=settings or method.family.settings(config))


def _train(task: Task, run: Run, where: torch.device, stop: Callable[[], bool], share: Share) -> Iterator[Progress]:
    config = task.config
    method, last_step = find_method(config.method), config.epochs * config.steps
    begin = time.monotonic() - run.seconds
    samples = method.family.ready(run.network, task.samples, config, where)
    validation = method.family.ready(run.network, task.validation, config, where)

    def draw(step: int) -> tuple:
        images, targets, rng = _draw(samples, method, config, step, last_step)
        images, targets, weight = share.cut(images, targets)
        return images, targets, rng, weight

    learning = share.wrapped(Learning(run.network, method.family, config))
    with closing(Loader(draw, last_step, where)) as batch_of:
        while run.step < last_step:
            losses = []
            for _ in range(config.steps):
                losses.append(take_step(run, learning, batch_of, method, config, where, share))
                if stop():
                    return
            loss = float(share.mean(torch.stack(losses).mean()))
            if not np.isfinite(loss):
                raise TrainingError(f"The loss became {loss} in epoch {run.step // config.steps}; "
                                    "start again with a lower learning rate.")
            if share.rank == 0:
                yield _end_epoch(task, run, validation, method, where, loss, begin)


def _end_epoch(task: Task, run: Run, validation: list[Sample], method: Method, where: torch.device, loss: float,
               begin: float) -> Progress:
    """Validate, keep the best weights and the whole state, write down how it stands."""
    config, last_step = task.config, task.config.epochs * task.config.steps
    found = _validate(run, validation, method, config, where)
    epoch = run.step // config.steps
    if run.step - config.steps < task.settle * last_step <= run.step:
        run.best_figure = float("inf")
    if found.figure < run.best_figure:
        run.best_figure, run.best_epoch = found.figure, epoch
        save(task.run_dir / "best.safetensors", run.average, {"settings": found.settings.model_dump()})
    run.seconds = time.monotonic() - begin
    save_run(task.run_dir / "last.safetensors", run)
    progress = Progress(
        epoch=epoch, epochs=config.epochs, step=run.step, loss=loss,
        val_mae=float(np.abs(found.errors).mean()), val_bias=float(found.errors.mean()), figure=found.figure,
        best_figure=run.best_figure, best_epoch=run.best_epoch, seconds=run.seconds,
        seconds_left=run.seconds / epoch * (config.epochs - epoch), device=where.type)
    with open(task.run_dir / "progress.jsonl", "a", encoding="utf-8") as log:
        log.write(json.dumps(asdict(progress)) + "\n")
    return progress


def _draw(samples, method: Method, config: TrainingConfig, step: int,
          last_step: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """What a step reads, and the generator that goes on to its loss."""
    rng = np.random.default_rng([config.seed, step])
    whole = step >= last_step * (1 - config.whole)
    return *method.family.draw(samples, rng, config, stride=method.stride, whole=whole), rng


def _validate(run: Run, validation, method: Method, config: TrainingConfig, where: torch.device) -> Validation:
    """What the averaged weights do on whole images."""
    own = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.network.load_state_dict(run.average)
    run.network.eval()
    found = method.family.validate(run.network, validation, config, call_of(method, config, where))
    run.network.load_state_dict(own)
    return found


def _begin(task: Task, start: State | None, where: torch.device) -> Run:
    """A fresh run, or the one whose last checkpoint lies in the folder of the task."""
    config = task.config
    method = find_method(config.method)
    with torch.random.fork_rng(devices=[]):                # the process's own random state stays as it was
        torch.manual_seed(config.seed)
        network = method.build(**task.build)
    if start is not None:
        _load_start(network, start, method)
    network = network.to(where, memory_format=torch.channels_last)
    part = method.family.trained(network, config)
    network.requires_grad_(False)
    part.requires_grad_(True)
    for layer in encoder(network, config):
        layer.requires_grad_(False)
    optimiser = torch.optim.AdamW(part.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    run = Run(network, average, optimiser)
    checkpoint = task.run_dir / "last.safetensors"
    if checkpoint.exists():
        restore(run, checkpoint)
    return run


def _load_start(network: nn.Module, start: State, method: Method) -> None:
    """Begin with these weights; only a last layer may be missing (ImageNet weights have another one)."""
    own = network.state_dict()
    differs = [name for name in start.keys() | own.keys() if (name not in own or name not in start) and
               not (name in own and name.startswith("head."))]
    differs += [name for name in start.keys() & own.keys() if start[name].shape != own[name].shape]
    if differs:
        raise TrainingError(f"The weights to begin with do not fit {method.title} (in {min(differs)}); choose others.")
    network.load_state_dict(own | start)
