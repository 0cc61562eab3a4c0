"""One optimiser step of a training: learning rate, loss, gradients, the moving average of the weights."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from cellapp.checkpoint import Run
from cellapp.loader import Loader
from cellapp.methods import Method
from cellapp.share import Share

if TYPE_CHECKING:
    from cellapp.training import TrainingConfig


def take_step(run: Run, learning: nn.Module, batch_of: Loader, method: Method, config: "TrainingConfig",
              where: torch.device, share: Share) -> Tensor:
    """One optimiser step; returns the loss of this share without waiting for the device.

    learning : the network and its loss, as `Share.wrapped` gives it; ``batch_of`` : images, targets, generator and the
        weight of this share's loss
    """
    last_step = config.epochs * config.steps
    part = method.family.trained(run.network, config)
    norms = _ready_to_learn(run, part, config, last_step)
    image, target, rng, weight = batch_of(run.step)
    for group in run.optimiser.param_groups:
        group["lr"] = config.learning_rate * _schedule(run.step, config.warmup, last_step)
    with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):   # dropout draws from torch's state
        torch.manual_seed(int(rng.integers(2**31)) + share.rank)
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=mixed(where)):
            loss = learning(image, target, rng)
    if weight != 1:
        loss = loss * weight
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(part.parameters(), config.clip)
    run.optimiser.step()
    run.step += 1
    decay = min(config.ema, (1 + run.step) / (10 + run.step))
    with torch.no_grad():
        share.settle(norms)
        for name, value in run.network.state_dict().items():
            if value.is_floating_point():
                run.average[name].lerp_(value, 1 - decay)
            else:
                run.average[name].copy_(value)               # BatchNorm's number of batches
    return loss.detach()


def mixed(where: torch.device) -> bool:
    """Whether steps are computed in bfloat16: on GPUs that are built for it; others would emulate it, slowly."""
    return where.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def encoder(network: nn.Module, config: "TrainingConfig") -> list[nn.Module]:
    """The layers that are kept as they are; none, unless ``config`` asks for it."""
    return [network.get_submodule(name) for name in network.encoder] if config.freeze_encoder else []


def has_encoder(method: Method) -> bool:
    """Whether a training can keep the encoder of this network as it is."""
    return hasattr(method.build, "encoder")


def _ready_to_learn(run: Run, part: nn.Module, config: "TrainingConfig", last_step: int) -> list[nn.Module]:
    """Only ``part`` is in training mode; near the end its batch statistics are frozen at their moving average. Returns
    its normalising layers."""
    run.network.eval()
    part.train()
    for layer in encoder(run.network, config):
        layer.eval()
    norms = [m for m in part.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    if norms and run.step >= last_step * (1 - config.freeze):
        if not run.frozen:
            run.network.load_state_dict(run.average)         # go on from where the average is, statistics and all
            run.frozen = True
        for norm in norms:
            norm.eval()
    return norms


def _schedule(step: int, warmup: int, last_step: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, last_step - warmup)
    return 0.5 * (1 + np.cos(np.pi * done))
