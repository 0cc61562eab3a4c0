"""A large batch: does memory grow with it, and what does it cost besides the network? ``python -m benchmarks.batch``.

Images of 512×512 px, made on the fly as TIFF files in memory from a few simulated ones (each with other noise, so that
none is like another), go through `count_many` as the command line's ``--out`` uses it: maps are given, and dropped by
the caller. "Network" is the reading of the same images alone (tiles, network, peaks), called in a loop on planes that
are ready. Both take turns in one process, so that they meet the same machine; where others use it too, the ratio of the
processor's seconds is the one to trust. Memory is that of the process (Linux), read after every image.

With ``--files`` every image's files of the export are made and written too.
"""

import argparse
import io
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import tifffile
import torch

from cellapp import DEFAULT_WEIGHTS, load
from cellapp.batch import count_many
from cellapp.export import all_files, write_archive
from cellapp.image import read_image
from cellapp.inputs import Input
from cellapp.methods import Counter, Options
from cellapp.simulate import simulate

SIDE = 512
SCENES = 4
TURN = 4                                                     # images of one kind before the other kind's turn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=1000, help="images (default: 1000)")
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS, metavar="ID")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cell-diameter", type=float, help="px (default: estimated for each image)")
    parser.add_argument("--files", action="store_true", help="also make and write the files of the export")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    counter, options = load(given.weights, "cpu"), Options(cell_diameter=given.cell_diameter)
    scenes = [simulate("vgg-cells", seed, n=700, size=(SIDE, SIDE)).image for seed in range(SCENES)]
    print(f"{given.weights}, {given.n} images of {SIDE}×{SIDE}, {given.threads} threads, torch {torch.__version__}\n")
    print("| images | memory, MB | batch, images/s | network, images/s | batch / network | by the processor's time |")
    print("|---|---|---|---|---|---|")
    batch, network, memory = np.zeros(2), np.zeros(2), []
    step = max(20, given.n // 10)
    _alone(counter, [tiff(scenes, k) for k in range(2)], options)   # warm
    for first in range(0, given.n, TURN):
        todo = [Input(f"a{k}.tif", f"a{k}.tif", None, partial(tiff, scenes, k))
                for k in range(first, min(first + TURN, given.n))]
        batch += _batch(counter, todo, options, given.files, memory)
        network += _alone(counter, [one.read() for one in todo], options)
        done = first + len(todo)
        if done % step < TURN or done == given.n:
            print(f"| {done} | {np.median(memory[-20:]):.0f} | {done / batch[0]:.2f} | {done / network[0]:.2f} | "
                  f"{network[0] / batch[0]:.1%} | {network[1] / batch[1]:.1%} |", flush=True)
    half = len(memory) // 2
    more = np.median(memory[half:]) - np.median(memory[half // 2 : half])
    print(f"\nMedian memory in the second half: {more:+.1f} MB beyond that of the second quarter.")


def tiff(scenes: list[np.ndarray], k: int) -> bytes:
    """The ``k``-th image: a scene, turned, with noise of its own."""
    scene = np.rot90(scenes[k % SCENES], k // SCENES).astype(np.int16)
    noise = np.random.default_rng(k).integers(-4, 5, scene.shape, dtype=np.int16)
    out = io.BytesIO()
    tifffile.imwrite(out, np.clip(scene + noise, 0, 255).astype(np.uint8))
    return out.getvalue()


def _batch(counter: Counter, todo: list[Input], options: Options, files: bool, memory: list[float]) -> np.ndarray:
    """(seconds, the processor's seconds) of these images through the batch."""
    def measured():
        for result in count_many(todo, counter, options):
            if result.status != "ok":
                raise SystemExit(result.message)
            memory.append(resident())
            yield result

    begin = clocks()
    if files:
        with tempfile.TemporaryDirectory() as folder:
            write_archive(Path(folder, "all.zip"), all_files(measured()))
    else:
        for _ in measured():
            pass
    return clocks() - begin


def _alone(counter: Counter, contents: list[bytes], options: Options) -> np.ndarray:
    """The same for the network and its reading alone, of planes whose scale is chosen."""
    planes = [counter.look(read_image(content, "a.tif"), options).plane for content in contents]
    begin = clocks()
    for grey in planes:
        counter._read(grey, options, None)                   # what `predict` does between looking and telling
    return clocks() - begin


def clocks() -> np.ndarray:
    """(seconds, seconds of the processor in all threads)."""
    return np.array([time.perf_counter(), time.process_time()])


def resident() -> float:
    """Memory of this process, MB; nan where there is no /proc."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    return int(next(line for line in status.read_text().splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


if __name__ == "__main__":
    main()
