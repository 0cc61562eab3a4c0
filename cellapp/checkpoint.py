"""The folder of a training run: what is kept there, and how an interrupted run goes on.

    config.json         the config and a digest of the images; another run is refused here
    progress.jsonl      one line per epoch
    last.safetensors    the whole state after the last epoch: network, average, Adam's moments, numbers
    best.safetensors    the averaged weights of the best epoch
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from cellapp.data import Dotted
from cellapp.errors import TrainingError
from cellapp.files import write_atomic
from cellapp.weights import Settings

State = dict[str, Tensor]
NUMBERS = ("step", "best_figure", "best_epoch", "seconds", "frozen")


@dataclass
class Run:
    """What changes while training; all of it is in the checkpoint."""

    network: nn.Module
    average: State
    optimiser: torch.optim.Optimizer
    step: int = 0
    best_figure: float = float("inf")
    best_epoch: int = 0
    seconds: float = 0.0
    frozen: bool = False                                     # batch statistics no longer move


def save(path: Path, tensors: State, about: dict) -> None:
    """Write tensors and a few numbers about them into one safetensors file, atomically."""
    from safetensors.torch import save as to_bytes

    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, to_bytes(ready, metadata={"state": json.dumps(about)}))


def save_run(path: Path, run: Run) -> None:
    """The whole state in one safetensors file: network, average, Adam's moments, and the numbers."""
    tensors = {f"network.{name}": value for name, value in run.network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in run.average.items()}
    for name, parameter in run.network.named_parameters():
        for key, value in run.optimiser.state.get(parameter, {}).items():
            tensors[f"{key}.{name}"] = value
    save(path, tensors, {name: getattr(run, name) for name in NUMBERS})


def restore(run: Run, path: Path) -> None:
    """Bring a freshly built run to where the checkpoint was written."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["state"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"{path}: the checkpoint cannot be read ({error}); "
                            "delete the folder of the run to start afresh.") from error
    run.network.load_state_dict({k: tensors[f"network.{k}"] for k in run.average})
    for name, value in run.average.items():
        value.copy_(tensors[f"average.{name}"])
    for name, parameter in run.network.named_parameters():
        if not parameter.requires_grad:
            continue
        moments = {key: tensors[f"{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
        run.optimiser.state[parameter] = {
            key: value if key == "step" else value.to(parameter.device, memory_format=torch.preserve_format)
            for key, value in moments.items()}
    for name in NUMBERS:
        setattr(run, name, about[name])


def check_same_run(run_dir: Path, config: BaseModel, sets: Iterable[list[Dotted]], start: State | None) -> None:
    """Claim an empty folder for this config, images and first weights, or refuse the folder of another run."""
    digest = hashlib.sha256()
    for name, value in sorted((start or {}).items()):        # safetensors give tensors back in no order
        digest.update(name.encode() + value.detach().cpu().numpy().tobytes())
    for data in sets:
        digest.update(f"{len(data)} images".encode())        # the same images, split otherwise, are another run
        for item in data:
            truth = item.labels if item.points is None else item.points
            digest.update(item.name.encode() + np.ascontiguousarray(item.image).tobytes() + str(item.count).encode())
            digest.update(b"" if truth is None else np.ascontiguousarray(truth).tobytes())
            digest.update(b"" if item.counted is None else np.packbits(item.counted).tobytes())
    text = json.dumps({"config": config.model_dump(), "data": digest.hexdigest()}, indent=2)
    path = run_dir / "config.json"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise TrainingError(f"{run_dir} holds a run with other settings or other images; choose another folder or "
                            "delete it.")
    write_atomic(path, text)


def best_state(run_dir: str | Path) -> tuple[State, Settings]:
    """The averaged weights of the run's best epoch, and what validation chose for reading with them."""
    from safetensors import safe_open

    path = Path(run_dir) / "best.safetensors"
    if not path.exists():
        raise TrainingError(f"{run_dir}: no epoch has ended yet, so there are no weights to keep.")
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["state"])
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    return state, Settings(**about["settings"])
