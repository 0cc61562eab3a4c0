"""A step of a fine-tuning against a step of a bare loop: the same network, the same batches, plain torch.

    OMP_NUM_THREADS=1 python -m benchmarks.train_speed [METHOD …] [--steps 40] [--channels-last]

The bare loop does forward, loss, backward and AdamW on batches that were drawn beforehand, in torch's own layout or in
the one that training uses. Its steps and ours alternate within one run, and each is measured in the processor's time of
this process, so that what else the machine does weighs on both alike. Ours also draws and turns crops, clips gradients,
averages the weights and asks whether to stop. What an epoch's end costs (validation, checkpoint) is told as a share of
the default epoch.
"""

import argparse
import tempfile
import time

import numpy as np
import torch

from cellapp.data import simulated
from cellapp.methods import find_method
from cellapp.train_defaults import defaults
from cellapp.training import _draw, train

WARM = 3                                                     # first steps, which both need to get going
STEPS = 60                                                   # of an epoch, by default


class Bare:
    """The bare loop, one step at a time."""

    def __init__(self, method, config, samples, layout: torch.memory_format):
        torch.manual_seed(0)
        self.family, self.config = method.family, config
        self.network, self.layout = method.build().train().to(memory_format=layout), layout
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=config.learning_rate)
        total = config.epochs * config.steps
        self.batches = [_draw(samples, method, config, step, total) for step in range(config.steps)]

    def step(self, k: int) -> None:
        images, targets, rng = self.batches[k]
        images = torch.from_numpy(images).to(memory_format=self.layout)
        loss = self.family.loss(self.network, images, torch.from_numpy(targets), self.config, rng)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()


def measure(name: str, steps: int, layout: torch.memory_format) -> tuple[np.ndarray, np.ndarray, float]:
    """(steps,) seconds of ours, of the bare loop's, and those of an epoch's end."""
    method = find_method(name)
    config = defaults(name, None).model_copy(update={"epochs": 1, "steps": steps + WARM, "part": "all"})
    learn, check = simulated("vgg-cells", 4, 1), simulated("vgg-cells", 1, 2)
    bare = Bare(method, config, [method.family.sample(item, config) for item in learn], layout)
    ours, theirs = [], []
    last = None

    def stop() -> bool:
        nonlocal last
        now = time.process_time()
        ours.append(now - (last or now))
        bare.step(len(theirs))
        last = time.process_time()
        theirs.append(last - now)
        return False

    with tempfile.TemporaryDirectory() as folder:
        for _ in train(learn, check, config, folder, device="cpu", stop=stop):
            end = time.process_time() - last
    return np.array(ours[WARM:]), np.array(theirs[WARM:]), end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("methods", nargs="*", default=["fcrn-a"])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--channels-last", action="store_true")
    given = parser.parse_args()
    layout = torch.channels_last if given.channels_last else torch.contiguous_format
    print(f"{torch.get_num_threads()} threads, {given.steps} steps of each in turn, seconds of the processor")
    for name in given.methods:
        ours, bare, end = measure(name, given.steps, layout)
        ratio = np.median(ours / bare)
        low, high = np.percentile(ours / bare, (25, 75))
        print(f"{name}: a step {np.median(ours):.3f}, bare {np.median(bare):.3f}, ratio of pairs {ratio:.3f} (half of "
              f"them {low:.3f} to {high:.3f}); an epoch's end {end:.2f}, "
              f"{end / (end + STEPS * np.median(ours)):.1%} of an epoch", flush=True)


if __name__ == "__main__":
    main()
