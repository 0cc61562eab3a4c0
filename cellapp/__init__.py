"""cellapp: count cells in microscopy images with published networks.

>>> import cellapp
>>> prediction = cellapp.count("cells.png")            # doctest: +SKIP
>>> prediction.count, len(prediction.points)           # doctest: +SKIP

The names below are loaded when they are first used, so that importing cellapp does not import torch.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

from cellapp.errors import CellappError

if TYPE_CHECKING:
    from cellapp.image import Image, read_image
    from cellapp.methods import Counter, Options, load
    from cellapp.prediction import Prediction

# Maps of 512×512 px and 64 channels are new memory again and again, and handing it out in pages of 4 kB takes Linux
# much of the time of counting. PyTorch asks for huge pages if this is set before its first tensor.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

__version__ = "0.1.0"
DEFAULT_WEIGHTS = "fcrn-a/simulated"

_HOMES = {"Image": "image", "read_image": "image", "Counter": "methods", "Options": "methods", "load": "methods",
          "Prediction": "prediction"}
__all__ = ["DEFAULT_WEIGHTS", "CellappError", "Counter", "Image", "Options", "Prediction", "count", "load",
           "read_image"]


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(import_module(f"cellapp.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'cellapp' has no attribute {name!r}")


def count(source, weights: str = DEFAULT_WEIGHTS, **options) -> "Prediction":
    """Count the cells in one image file, in its bytes, or in a (H, W) or (H, W, C) array.

    ``options`` are the fields of `Options`. For many images, `load` the weights once and call ``predict``.
    """
    from cellapp.image import read_image
    from cellapp.methods import Options, load

    chosen = Options(**options)
    planes = {"pages": chosen.pages, "z": chosen.z, "frame": chosen.frame}
    image = source if hasattr(source, "ndim") else read_image(source, **planes)
    return load(weights).predict(image, chosen)
