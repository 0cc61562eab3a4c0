"""Training from dots: a generator of `Progress` that survives being killed.

Every random choice is drawn from ``default_rng([seed, step])``, so a run that is resumed from its last
checkpoint takes the same steps, on the same machine, as one that was never broken.

Departures from Xie et al. 2015, who train with SGD (learning rate 0.01, divided by ten every 5 epochs)
on 100x100 patches, each normalised by itself, without augmentation:

- AdamW with warm-up and a cosine schedule: the network without batch normalisation dies to zero under SGD
  unless the loss scale happens to fit;
- crops are normalised with the mean and deviation of their whole image, as in counting;
- rotations by 90 degrees, mirror images, gain and offset jitter (FCRN-A halves its error with augmentation);
- counting uses an exponential moving average of the weights.

Their second stage on whole images is kept: the last part of the steps reads whole images.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from cellapp.checkpoint import Run, State, check_same_run, restore, save, save_run
from cellapp.data import Dotted
from cellapp.errors import TrainingError
from cellapp.methods import find_method, normalise, pick_device, run_map


class TrainingConfig(BaseModel):
    """Everything a run depends on besides its images; declared once for the command line and the page."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str = Field("fcrn-a", description="network to train")
    epochs: int = Field(30, ge=1, le=10_000, description="epochs; each ends with a validation and a checkpoint")
    steps: int = Field(100, ge=1, le=100_000, description="optimiser steps in an epoch")
    batch: int = Field(8, ge=1, le=1024, description="crops in a step")
    crop: int = Field(128, ge=16, le=1024, description="side of the crops, px")
    sigma: float = Field(2.0, gt=0.3, le=50, description="Gaussian that stands for one cell, px")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="highest learning rate of the cosine schedule")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="weight decay (the paper's value)")
    warmup: int = Field(100, ge=0, description="steps of linear warm-up")
    whole: float = Field(0.15, ge=0, le=1, description="last part of the steps that reads whole images")
    gain: float = Field(0.1, ge=0, lt=1, description="contrast jitter, ± this part")
    offset: float = Field(0.05, ge=0, le=1, description="brightness jitter, ± standard deviations of the image")
    ema: float = Field(0.995, ge=0, lt=1, description="decay of the moving average of the weights, per step")
    clip: float = Field(5.0, gt=0, description="largest gradient norm")
    seed: int = Field(0, ge=0, description="seed of every random choice")


@dataclass(frozen=True)
class Progress:
    """Where a run stands after an epoch. ``val_mae`` is in cells per image, ``loss`` on the network's map."""

    epoch: int
    epochs: int
    step: int
    loss: float
    val_mae: float
    val_bias: float
    best_mae: float
    best_epoch: int
    seconds: float
    seconds_left: float
    device: str


def train(
    train_data: list[Dotted],
    val_data: list[Dotted],
    config: TrainingConfig,
    run_dir: str | Path,
    *,
    start: State | None = None,
    build: dict | None = None,
    device: str = "auto",
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
    stop : asked after each step; once true the run ends after a checkpoint-free return and can be resumed

    Yields
    ------
    Progress after every epoch.
    """
    method = find_method(config.method)
    run_dir = Path(run_dir)
    if not train_data or not val_data:
        raise TrainingError("Training needs at least one dotted image to learn from and one to validate with.")
    smallest = min(min(item.image.shape) for item in train_data)
    if smallest < method.stride * 2:
        raise TrainingError(f"The smallest training image has a side of {smallest} px; "
                            f"{method.title} needs {method.stride * 2} px, leave that image out.")
    where = pick_device(device)
    samples = [_sample(item, method, config.sigma) for item in train_data]
    validation = [(normalise(item.image), len(item.points)) for item in val_data]
    run_dir.mkdir(parents=True, exist_ok=True)
    check_same_run(run_dir, config, (train_data, val_data), start)
    run = _begin(method, build or {}, start, config, where, run_dir)
    return _train(samples, validation, method, config, run, run_dir, where, stop)


def _train(samples, validation, method, config, run, run_dir, where, stop) -> Iterator[Progress]:
    last_step = config.epochs * config.steps
    begin = time.monotonic() - run.seconds
    while run.step < last_step:
        run.network.train()
        losses = []
        for _ in range(config.steps):
            losses.append(_step(run, samples, method, config, last_step, where))
            if stop():
                return
        loss = float(torch.stack(losses).mean())
        if not np.isfinite(loss):
            raise TrainingError(f"The loss became {loss} in epoch {run.step // config.steps}; "
                                "start again with a lower learning rate.")
        errors = _validate(run, validation, method, where)
        mae, epoch = float(np.abs(errors).mean()), run.step // config.steps
        if mae < run.best_mae:
            run.best_mae, run.best_epoch = mae, epoch
            save(run_dir / "best.safetensors", run.average, {})
        run.seconds = time.monotonic() - begin
        save_run(run_dir / "last.safetensors", run)
        progress = Progress(
            epoch=epoch, epochs=config.epochs, step=run.step, loss=loss, val_mae=mae,
            val_bias=float(errors.mean()), best_mae=run.best_mae, best_epoch=run.best_epoch,
            seconds=run.seconds, seconds_left=run.seconds / epoch * (config.epochs - epoch), device=where.type)
        with open(run_dir / "progress.jsonl", "a", encoding="utf-8") as log:
            log.write(json.dumps(asdict(progress)) + "\n")
        yield progress


def _step(run: Run, samples, method, config: TrainingConfig, last_step: int, where: torch.device) -> Tensor:
    """One optimiser step; returns the loss without waiting for the device."""
    rng = np.random.default_rng([config.seed, run.step])
    image, target = _batch(samples, rng, config, method, run.step >= last_step * (1 - config.whole))
    image = torch.from_numpy(image).to(where, memory_format=torch.channels_last, non_blocking=True)
    target = torch.from_numpy(target).to(where, non_blocking=True)
    for group in run.optimiser.param_groups:
        group["lr"] = config.learning_rate * _schedule(run.step, config.warmup, last_step)
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=where.type == "cuda"):
        output = run.network(image)
    loss = method.loss(output.float(), target)
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(run.network.parameters(), config.clip)
    run.optimiser.step()
    run.step += 1
    decay = min(config.ema, (1 + run.step) / (10 + run.step))
    with torch.no_grad():
        for name, value in run.network.state_dict().items():
            run.average[name].lerp_(value, 1 - decay)
    return loss.detach()


def _schedule(step: int, warmup: int, last_step: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, last_step - warmup)
    return 0.5 * (1 + np.cos(np.pi * done))


def _sample(item: Dotted, method, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """The normalised image and its target, both (H, W) float32."""
    image = normalise(item.image)
    if image is None:
        raise TrainingError(f"{item.name} has no contrast, nothing can be learnt from it; leave it out.")
    return image, method.target(item.points, image.shape, sigma) * np.float32(method.map_scale)


def _batch(samples, rng, config: TrainingConfig, method, whole: bool) -> tuple[np.ndarray, np.ndarray]:
    """Augmented crops and their targets, (B, 1, side, side) float32 each.

    In the stage of whole images the crop is the largest square all images hold (at most 512 px), and the
    batch shrinks so that a step reads about as many pixels.
    """
    smallest = min(min(image.shape) for image, _ in samples)
    side = min(smallest, 512) if whole else min(smallest, config.crop)
    side = side // method.stride * method.stride
    size = max(1, round(config.batch * config.crop**2 / side**2)) if whole else config.batch
    images = np.empty((size, 1, side, side), np.float32)
    targets = np.empty_like(images)
    for k in range(size):
        image, target = samples[rng.integers(len(samples))]
        top, left = (int(rng.integers(length - side + 1)) for length in image.shape)
        square = np.s_[top : top + side, left : left + side]
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        gain, offset = 1 + config.gain * rng.uniform(-1, 1), config.offset * rng.uniform(-1, 1)
        images[k, 0] = _turned(image[square], turns, mirrored) * np.float32(gain) + np.float32(offset)
        targets[k, 0] = _turned(target[square], turns, mirrored)
    return images, targets


def _turned(square: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    return np.rot90(square[:, ::-1] if mirrored else square, turns)


def _validate(run: Run, validation, method, where) -> np.ndarray:
    """Errors (predicted minus true, cells) of the averaged weights on whole images."""
    own = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.network.load_state_dict(run.average)
    run.network.eval()
    errors = [(0.0 if image is None else
               float(run_map(run.network, method, image, device=where).sum(dtype=np.float64)) / method.map_scale)
              - true for image, true in validation]
    run.network.load_state_dict(own)
    return np.array(errors)


def _begin(method, build, start, config, where, run_dir) -> Run:
    """A fresh run, or the one whose last checkpoint lies in ``run_dir``."""
    with torch.random.fork_rng(devices=[]):                # the process's own random state stays as it was
        torch.manual_seed(config.seed)
        network = method.build(**build)
    if start is not None:
        network.load_state_dict(start)
    network = network.to(where, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    run = Run(network, average, optimiser)
    checkpoint = run_dir / "last.safetensors"
    if checkpoint.exists():
        restore(run, checkpoint)
    return run
