"""Many images through one counter: a row for each, whatever happens to the others.

The page and the command line both count through `count_one`, so they cannot disagree.
"""

from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np
import torch

from cellapp.errors import Cancelled, CellappError
from cellapp.image import Image, read_image
from cellapp.methods import Counter, Options, Progress
from cellapp.prediction import Prediction


@dataclass(frozen=True)
class Result:
    """One image's row. ``status`` is "ok" or "error"; then ``message`` says why and what is not known is None.

    method, weights : what counted, or was to count
    """

    name: str
    status: str
    message: str
    image: Image | None = None
    prediction: Prediction | None = None
    options: Options | None = None
    method: str = ""
    weights: str = ""

    def without_arrays(self) -> "Result":
        """The same row without pixels and maps, so that a long table does not fill the memory."""
        image = self.image and replace(self.image, pixels=np.broadcast_to(np.uint8(0), self.image.pixels.shape))
        return replace(self, image=image, prediction=self.prediction and self.prediction.with_arrays({}))

    def row(self) -> dict:
        """The image's line of ``counts.csv``; a value that is not known is None."""
        image, prediction = self.image, self.prediction
        row = dict.fromkeys(COLUMNS)
        row |= {"image": self.name, "method": self.method or None, "weights": self.weights or None,
                "status": self.status, "message": self.message}
        if image is not None:
            height, width = image.shape
            row |= {"area_px": height * width, "pixel_size_um": image.pixel_size_um, "bit_depth": image.bit_depth}
            if image.pixel_size_um:
                row["area_um2"] = height * width * image.pixel_size_um**2
        if prediction is not None:
            row |= {"channel": self.options.channel, "region": "whole image", "method": prediction.method,
                    "weights": prediction.weights, "count": prediction.count, "count_rounded": prediction.rounded,
                    "cell_diameter_px": prediction.cell_diameter, "seconds": prediction.seconds,
                    "device": prediction.device}
            if prediction.interval:
                row |= {key: getattr(prediction.interval, key) for key in ("low", "high", "level")}
            if row["area_um2"]:
                row["density_per_mm2"] = prediction.count / (row["area_um2"] / 1e6)
        return row


COLUMNS = ("image", "channel", "region", "method", "weights", "count", "low", "high", "level", "count_rounded",
           "n_manual", "error", "area_px", "area_um2", "density_per_mm2", "pixel_size_um", "cell_diameter_px",
           "bit_depth", "seconds", "device", "status", "message")


def count_one(source: str | PathLike | bytes, counter: Counter, options: Options | None = None, *,
              name: str | None = None, progress: Progress | None = None) -> Result:
    """Read and count one file. A problem of this file becomes a row that says so; `Cancelled` goes through."""
    options = options or Options()
    shown = name or (Path(source).name if not isinstance(source, bytes) else "image")
    about = {"method": counter.weights.method, "weights": counter.weights.id}
    image = None
    try:
        image = read_image(source, name)
        prediction = counter.predict(image, options, progress=progress)
    except Cancelled:
        raise
    except CellappError as error:
        message = str(error)
        if image is not None and not message.startswith(image.name):
            message = f"{image.name}: {message}"
        return Result(shown, "error", message, image, **about)
    except (MemoryError, RuntimeError) as error:
        if not _is_want_of_memory(error):
            raise
        return Result(shown, "error", f"{shown}: not enough memory for this image; crop it or close other programs.",
                      image, **about)
    return Result(image.name, "ok", " ".join(prediction.doubts + prediction.notes), image, prediction, options,
                  **about)


def _is_want_of_memory(error: MemoryError | RuntimeError) -> bool:
    # On a CPU torch says it in words alone: "DefaultCPUAllocator: not enough memory: you tried to allocate …".
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "not enough memory" in str(error)
