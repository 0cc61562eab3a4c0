"""The methods, and the one class through which every front end counts.

`METHODS` is a literal table: a new method is one network file and one row here.
"""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from cellapp import weights as store
from cellapp.density import density_map, local_maxima, resize_map
from cellapp.errors import WeightsError
from cellapp.image import Image, plane
from cellapp.networks.fcrn import FCRNA, FCRNB
from cellapp.prediction import Prediction
from cellapp.scale import choose_scale, resize
from cellapp.tiling import apply_tiled
from cellapp.trust import doubts

Progress = Callable[[int, int], None]


class Options(BaseModel):
    """How an image is read; declared once for the page, the command line and the API."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: str = Field("auto", description="channel that shows the cells: auto, mean, or a channel's name")
    cell_diameter: float | None = Field(
        None, gt=1, le=1000,
        description="typical cell diameter in px, at which the image is brought to the scale of the weights "
                    "(default: estimated from the image)")
    tile: int = Field(512, ge=64, le=4096, description="side of the tiles in px; never changes the count")


@dataclass(frozen=True)
class Method:
    """A row of `METHODS`.

    Attributes
    ----------
    stride : all pooling of the network together, px
    halo : context a tile needs for its inner part to equal one pass over the image, px
    build : the network, from keyword arguments kept in the manifest
    target : (points, (H, W), sigma) -> (H, W) float32 map the network learns, before `map_scale`
    loss : (map, target) -> scalar, both (B, 1, H, W) and scaled
    map_scale : the network's map is this many times the density
    layout : of the tensors in memory; the same numbers, whichever is faster on a CPU (``benchmarks/speed.py``)
    """

    name: str
    title: str
    source: str
    stride: int
    halo: int
    build: Callable[..., nn.Module]
    target: Callable[[np.ndarray, tuple[int, int], float], np.ndarray]
    loss: Callable[[Tensor, Tensor], Tensor]
    map_scale: float
    layout: torch.memory_format
    meaning: str


_XIE = "Xie, Noble, Zisserman 2015, Microscopy cell counting with fully convolutional regression networks"
_DENSITY = "Each pixel says how many cells it holds; the sum of the map is the count, its peaks are the cells."

METHODS: dict[str, Method] = {
    "fcrn-a": Method("fcrn-a", "FCRN-A", _XIE, stride=8, halo=40, build=FCRNA, target=density_map,
                     loss=F.mse_loss, map_scale=100.0, layout=torch.channels_last, meaning=_DENSITY),
    "fcrn-b": Method("fcrn-b", "FCRN-B", _XIE, stride=4, halo=32, build=FCRNB, target=density_map,
                     loss=F.mse_loss, map_scale=100.0, layout=torch.contiguous_format, meaning=_DENSITY),
}


def find_method(name: str) -> Method:
    """The row of this name; the error lists the choices."""
    if name not in METHODS:
        raise WeightsError(f"There is no method called “{name}”; choose one of: {', '.join(METHODS)}.")
    return METHODS[name]


def normalise(image: np.ndarray) -> np.ndarray | None:
    """(x - mean) / std of the whole image, (H, W) float32, or None for an image without any contrast.

    Xie et al. normalise each training patch; the whole image is our reading for counting.
    """
    mean, std = image.mean(dtype=np.float64), image.std(dtype=np.float64)
    # One part in a million of the values is the rounding of a flat float32 image, not contrast.
    if not std > 1e-6 * abs(mean):
        return None
    return ((image - np.float32(mean)) / np.float32(std)).astype(np.float32, copy=False)


def pick_device(name: str = "auto") -> torch.device:
    """"auto" is the GPU when there is one; a device that is not there is an error, not a fallback."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise WeightsError(f"There is no device called “{name}”; choose one of: auto, cpu, cuda, cuda:0, cuda:1, …")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise WeightsError("This machine offers no CUDA device; choose the device “cpu” or “auto”.")
    return torch.device(name)


def run_map(network: nn.Module, method: Method, image: np.ndarray, *, device: torch.device, tile: int = 512,
            progress: Progress | None = None) -> np.ndarray:
    """The network's map, still times `map_scale`, of a normalised (H, W) float32 image of any size."""
    def forward(square: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(np.ascontiguousarray(square))[None, None].to(device, memory_format=method.layout)
        with torch.inference_mode():
            return network(x)[0, 0].float().cpu().numpy()

    return apply_tiled(image, forward, stride=method.stride, halo=method.halo, tile=tile, progress=progress)


class Counter:
    """Weights ready to count with. Holds no image and no state: share it between threads and sessions."""

    def __init__(self, row: store.Weights, network: nn.Module, device: torch.device):
        self.weights = row
        self.method = find_method(row.method)
        self.device = device
        self._network = network.eval().to(device, memory_format=self.method.layout).requires_grad_(False)
        self._one_at_a_time = threading.Semaphore(1)        # a tile uses every core anyway

    def predict(self, image: Image | np.ndarray, options: Options | None = None, *,
                progress: Progress | None = None) -> Prediction:
        """Count the cells of one image.

        Parameters
        ----------
        image : an `Image`, or a (H, W) or (H, W, C) array; native values, never scaled for display
        options : channel, cell diameter, tile
        progress : called with (tiles done, tiles in all); whatever it raises stops the work

        Returns
        -------
        Prediction with a density map and points on the grid of the image as it was read.
        """
        options = options or Options()
        begin = time.perf_counter()
        if isinstance(image, np.ndarray):
            image = Image.from_array(image)
        grey, note = plane(image, options.channel)
        notes = [*image.notes, *([f"Channel read: {note}."] if note else [])]
        scale = choose_scale(grey, options.cell_diameter, self.weights.input.cell_diameter)
        density = self._density(resize(grey, scale.factor), options.tile, progress)
        if density is None:
            notes.append("The image has no contrast, so no cell can be seen in it.")
            prediction = Prediction.from_density(np.zeros(grey.shape, np.float32), np.empty((0, 2)))
        else:
            points = local_maxima(density, self.weights.sigma)
            if scale.factor != 1:
                ratio = np.array(grey.shape) / density.shape  # 1 / factor, but for the rounding to whole pixels
                density = resize_map(density, grey.shape)
                points = np.clip((points + 0.5) * ratio - 0.5, 0, np.array(grey.shape) - 1.0)
                notes.append(scale.note)
            prediction = Prediction.from_density(density, points)
        prediction = replace(prediction, doubts=doubts(grey, prediction, self.weights.input.polarity))
        return replace(prediction, method=self.method.name, weights=self.weights.id, device=self.device.type,
                       cell_diameter=scale.diameter, seconds=time.perf_counter() - begin, notes=tuple(notes))

    def _density(self, grey: np.ndarray, tile: int, progress: Progress | None) -> np.ndarray | None:
        normal = normalise(grey)
        if normal is None:
            return None
        while not self._one_at_a_time.acquire(timeout=0.5):  # another session counts; this one can still be stopped
            if progress:
                progress(0, 1)
        try:
            scaled = run_map(self._network, self.method, normal, device=self.device, tile=tile, progress=progress)
        finally:
            self._one_at_a_time.release()
        scaled /= np.float32(self.weights.map_scale)
        return scaled


def build(row: store.Weights) -> nn.Module:
    """The row's network, freshly initialised; unknown arguments are an error of the row."""
    try:
        return find_method(row.method).build(**row.build)
    except (TypeError, ValueError, RuntimeError) as error:  # what torch raises for sizes it cannot build
        raise WeightsError(f"{row.id}: its manifest row does not fit {row.method} ({error}).") from error


def load(weights_id: str, device: str = "auto") -> Counter:
    """Weights by id, checked and ready to count with. Nothing is downloaded, nothing else is taken instead."""
    row = store.find(weights_id)
    network = build(row)
    try:
        network.load_state_dict(store.read_state(row), strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise WeightsError(f"{row.id}: {row.file} does not hold a {row.method} network ({first}).") from error
    return Counter(row, network, pick_device(device))
