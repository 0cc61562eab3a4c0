"""Many images through one counter: a row for each, whatever happens to the others.

The page, the command line and the workers of a cluster read through `_read` and count through `_count`, so they cannot
disagree.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from cellapp.errors import Cancelled, CellappError
from cellapp.image import Image, read_image
from cellapp.inputs import Input, inputs
from cellapp.methods import Counter, Options, Progress, load
from cellapp.prediction import Prediction

if TYPE_CHECKING:
    from cellapp.regions import Region, RegionCount

__all__ = ["COLUMNS", "WHOLE", "Input", "Result", "count_many", "count_one", "inputs", "with_regions"]

WHOLE = "whole image"
BatchProgress = Callable[[int, int, int], None]


@dataclass(frozen=True)
class Result:
    """One image's row. ``status`` is "ok" or "error"; then ``message`` says why and what is not known is None.

    method, weights : what counted, or was to count
    regions : what lies in each region of the image
    excluded : why the user leaves this image out; its row stays, with the status "excluded"
    n_manual : cells in the image as a person counted them
    """

    name: str
    status: str
    message: str
    image: Image | None = None
    prediction: Prediction | None = None
    options: Options | None = None
    method: str = ""
    weights: str = ""
    regions: "tuple[RegionCount, ...]" = ()
    excluded: str = ""
    n_manual: int | None = None

    def without_arrays(self) -> "Result":
        """The same row without pixels and maps, so that a long table does not fill the memory."""
        image = self.image and replace(self.image, pixels=np.broadcast_to(np.uint8(0), self.image.pixels.shape))
        return replace(self, image=image, prediction=self.prediction and self.prediction.with_arrays({}))

    def row(self) -> dict:
        """The line of the whole image in ``counts.csv``; a value that is not known is None."""
        image, prediction = self.image, self.prediction
        row = dict.fromkeys(COLUMNS)
        row |= {"image": self.name, "method": self.method or None, "weights": self.weights or None,
                "status": self.status, "message": self.message, "n_manual": self.n_manual}
        if self.excluded:
            row |= {"status": "excluded", "message": f"Excluded: {self.excluded} {self.message}".strip()}
        if image is not None:
            height, width = image.shape
            row |= {"area_px": height * width, "pixel_size_um": image.pixel_size_um, "bit_depth": image.bit_depth}
            if image.pixel_size_um:
                row["area_um2"] = height * width * image.pixel_size_um**2
        if prediction is not None:
            row |= {"channel": self.options.channel, "region": WHOLE, "method": prediction.method,
                    "weights": prediction.weights, "count": prediction.count, "count_rounded": prediction.rounded,
                    "cell_diameter_px": prediction.cell_diameter, "seconds": prediction.seconds,
                    "device": prediction.device}
            if prediction.interval:
                row |= {key: getattr(prediction.interval, key) for key in ("low", "high", "level")}
            if row["area_um2"]:
                row["density_per_mm2"] = prediction.count / (row["area_um2"] / 1e6)
            if self.n_manual is not None:
                row["error"] = prediction.count - self.n_manual
        return row

    def rows(self) -> list[dict]:
        """All lines of ``counts.csv``: the whole image, then one for each region."""
        whole = self.row()
        excluded = f"Excluded: {self.excluded} " if self.excluded else ""
        return [whole, *(whole | {
            "region": region.name, "count": region.count, "low": region.low, "high": region.high,
            "level": region.level, "count_rounded": None if region.count is None else max(0, round(region.count)),
            "n_manual": None, "error": None, "area_px": region.area_px, "area_um2": region.area_um2,
            "density_per_mm2": region.density_per_mm2, "message": f"{excluded}{region.note or ''}".strip(),
        } for region in self.regions)]


COLUMNS = ("image", "channel", "region", "method", "weights", "count", "low", "high", "level", "count_rounded",
           "n_manual", "error", "area_px", "area_um2", "density_per_mm2", "pixel_size_um", "cell_diameter_px",
           "bit_depth", "seconds", "device", "status", "message")


def count_one(source: str | PathLike | bytes, counter: Counter, options: Options | None = None, *,
              name: str | None = None, progress: Progress | None = None) -> Result:
    """Read and count one file. A problem of this file becomes a row that says so; `Cancelled` goes through."""
    options = options or Options()
    shown = name or (Path(source).name if not isinstance(source, bytes) else "image")
    return _count(_read(lambda: source, shown, options, name), counter, options, progress)


def count_many(inputs: Iterable[Input], weights: str | Counter, options: Options | None = None, *,
               regions: "Sequence[Region]" = (), scheduler: str | None = None, device: str = "auto",
               maps: bool = True, progress: BatchProgress | None = None) -> Iterator[Result]:
    """Count many images; the results come one by one, in the order of ``inputs``, and are not kept here.

    Weights and scheduler are checked when this is called, the images when their turn comes. Closing the iterator
    stops the work.

    Parameters
    ----------
    inputs : as `cellapp.inputs.gather` finds them
    weights : an id, or weights that are loaded
    regions : counted in every image
    scheduler : address of a Dask scheduler whose workers count; without one, this machine does
    device : auto, cpu or cuda; on a cluster that of each worker
    maps : give density, labels and further maps with the results, and the pixels; without them they are small
    progress : called with (images done before this one, tiles of it that are done, all of its tiles); whatever it
        raises stops the work

    Raises
    ------
    WeightsError, ClusterError
        Before the first image, or `ClusterError` when the cluster is lost on the way.
    """
    options, todo = options or Options(), list(inputs)
    if scheduler:
        from cellapp.cluster import count_on_cluster  # dask only where it is asked for

        name = weights if isinstance(weights, str) else weights.weights.id
        return count_on_cluster(todo, name, options, regions=regions, address=scheduler, device=device, maps=maps,
                                progress=progress)
    counter = load(weights, device) if isinstance(weights, str) else weights
    return _in_this_process(todo, counter, options, regions, maps, progress)


def _in_this_process(todo: list[Input], counter: Counter, options: Options, regions: "Sequence[Region]", maps: bool,
                     progress: BatchProgress | None) -> Iterator[Result]:
    """The next image is read while this one is counted, and no further one."""
    with ThreadPoolExecutor(1, thread_name_prefix="reading") as pool:
        def start(k: int):
            return pool.submit(read_input, todo[k], options) if k < len(todo) else None

        def count_next(k: int) -> Result:                    # a function, so that only the caller keeps its result
            nonlocal coming
            read, coming = coming.result(), start(k + 1)
            return count_read(read, counter, options, regions, maps,
                              progress and (lambda done, tiles: progress(k, done, tiles)))

        coming = start(0)
        for k in range(len(todo)):
            yield count_next(k)


@dataclass(frozen=True)
class Read:
    """A file that was read: its image, or the sentence that says why there is none."""

    name: str
    image: Image | None
    error: str = ""


def read_input(one: Input, options: Options) -> Read:
    """Read one image of a batch; a problem is told in the result."""
    read = _read(one.source, one.name, options, one.name)
    return replace(read, name=one.name)                      # which tells images of the same name apart


def count_read(read: Read, counter: Counter, options: Options, regions: "Sequence[Region]" = (), maps: bool = True,
               progress: Progress | None = None) -> Result:
    """Count an image that was read, in its regions too."""
    result = with_regions(_count(read, counter, options, progress), regions)
    return result if maps else result.without_arrays()


def with_regions(result: Result, regions: "Sequence[Region]") -> Result:
    """The result with the counts in these regions, in the place of the ones it had; the count stays as it is."""
    if result.prediction is None:
        return result
    from cellapp.regions import measure

    size = result.image.pixel_size_um
    return replace(result, regions=tuple(measure(result.prediction, region, size) for region in regions))


def _read(content: Callable[[], str | PathLike | bytes], shown: str, options: Options, name: str | None) -> Read:
    try:
        image = read_image(content(), name, pages=options.pages, z=options.z, frame=options.frame)
    except CellappError as error:
        return Read(shown, None, str(error))
    except (MemoryError, RuntimeError) as error:
        return Read(shown, None, _no_memory(shown, error))
    return Read(image.name, image)


def _count(read: Read, counter: Counter, options: Options, progress: Progress | None) -> Result:
    about = {"method": counter.weights.method, "weights": counter.weights.id}
    image = read.image
    if image is None:
        return Result(read.name, "error", read.error, **about)
    try:
        prediction = counter.predict(image, options, progress=progress)
    except Cancelled:
        raise
    except CellappError as error:
        message = str(error)
        if not message.startswith(image.name):
            message = f"{image.name}: {message}"
        return Result(read.name, "error", message, image, **about)
    except (MemoryError, RuntimeError) as error:
        return Result(read.name, "error", _no_memory(read.name, error), image, **about)
    return Result(read.name, "ok", " ".join(prediction.doubts + prediction.notes), image, prediction, options,
                  **about)


def _no_memory(name: str, error: MemoryError | RuntimeError) -> str:
    """The sentence for want of memory; every other error goes on its way."""
    # On a CPU torch says it in words alone: "DefaultCPUAllocator: not enough memory: you tried to allocate …".
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "not enough memory" in str(error):
        return f"{name}: not enough memory for this image; crop it or close other programs."
    raise error
