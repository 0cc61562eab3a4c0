"""The methods, and the one class through which every front end counts.

`METHODS` is a literal table: a new method is one network file and one row here.
"""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import nn

from cellapp import method_texts as say
from cellapp import weights as store
from cellapp.axes import Choice
from cellapp.calibration import interval, outside
from cellapp.errors import WeightsError
from cellapp.families.density_maps import DensityMaps
from cellapp.families.mask_counter import MaskCounter
from cellapp.families.patches import PatchRegression
from cellapp.families.recount import Recounting
from cellapp.families.redundant import RedundantCounts
from cellapp.families.segmentation import Segmentation
from cellapp.family import Call, Family, Progress, Reading
from cellapp.image import MAX_PIXELS, Image, plane
from cellapp.likeness import Look, Traits, colour, unlike
from cellapp.networks.count_ception import WINDOW, CountCeption
from cellapp.networks.fcn import FCN
from cellapp.networks.fcrn import FCRNA, FCRNB
from cellapp.networks.folding import fold_batch_norm
from cellapp.networks.fpn_vgg import FPNVGG11
from cellapp.networks.patch_nets import AlexNetCounter, ResNetCounter
from cellapp.networks.recount import Recount
from cellapp.on_the_image import on_the_image
from cellapp.polarity import bright, look
from cellapp.prediction import Prediction
from cellapp.scale import TOLERATED, choose_scale, resize
from cellapp.trust import doubts


class Options(BaseModel):
    """How an image is read; declared once for the page, the command line and the API."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: str = Field("auto", description="channel that shows the cells: auto, mean, or a channel's name")
    cell_diameter: float | None = Field(
        None, gt=1, le=1000,
        description="typical cell diameter in px, at which the image is brought to the scale of the weights "
                    "(default: estimated from the image)")
    pages: str = Field("ask", description="what the pages of a file mean that does not say so: channels, z or time")
    z: str = Field("max", description="of a stack of focal planes: max, min, mean, or the number of one from 1")
    frame: int = Field(1, description="of a time series, which one, from 1")
    polarity: Literal["auto", "bright", "dark"] = Field(
        "auto", description="whether the cells are brighter or darker than the ground: auto, bright or dark")
    tile: int = Field(512, ge=64, le=4096, description="side of the tiles in px; never changes the count")
    saliency: bool = Field(False, description="also show which pixels the count depends on (fpn-vgg11; a second pass)")
    quick: bool = Field(False, description="count without the uncertainty of the mask (fpn-vgg11; half the time, the "
                                           "same count)")
    stride: int = Field(1, ge=1, le=32,
                        description="count only every n-th window: 1, 2, 4, 8, 16 or 32 (count-ception; less exact)")

    @field_validator("pages")
    @classmethod
    def _meaning(cls, value: str) -> str:
        return Choice(pages=value).pages

    @field_validator("z", mode="before")
    @classmethod
    def _depth(cls, value: str | int) -> str:
        return Choice(z=str(value)).z

    @field_validator("frame")
    @classmethod
    def _frame(cls, value: int) -> int:
        return Choice(frame=value).frame

    @field_validator("stride")
    @classmethod
    def _divides(cls, value: int) -> int:
        if value not in cls.strides():
            raise ValueError("choose 1, 2, 4, 8, 16 or 32")
        return value

    @staticmethod
    def strides() -> tuple[int, ...]:
        """Strides at which every cell is in equally many windows: the divisors of the window's side."""
        return tuple(s for s in range(1, WINDOW + 1) if WINDOW % s == 0)


@dataclass(frozen=True)
class Method:
    """A row of `METHODS`.

    Attributes
    ----------
    stride : all pooling of the network together, px
    halo : context a tile needs for its inner part to equal one pass over the image, px
    build : the network, from keyword arguments kept in the manifest
    family : how it is trained and read
    map_scale : the network's map is this many times the density
    layout : of the tensors in memory; the same numbers, whichever is faster on a CPU
    meaning : a sentence for the user: what its map shows
    extras : fields of `Options` that only some methods have
    """

    name: str
    title: str
    source: str
    build: Callable[..., nn.Module]
    family: Family
    meaning: str
    stride: int = 1
    halo: int = 0
    map_scale: float = 1.0
    layout: torch.memory_format = torch.channels_last
    extras: tuple[str, ...] = ()


def _patches(name: str, title: str, build, classify: bool = False) -> Method:
    return Method(name, title, say.XUE, build, PatchRegression(classify), say.CLASSES if classify else say.WINDOWS)


METHODS: dict[str, Method] = {
    "fcrn-a": Method("fcrn-a", "FCRN-A", say.XIE, FCRNA, DensityMaps(), say.DENSITY, stride=8, halo=40,
                     map_scale=100.0),
    "fcrn-b": Method("fcrn-b", "FCRN-B", say.XIE, FCRNB, DensityMaps(), say.DENSITY, stride=4, halo=32,
                     map_scale=100.0),
    "count-ception": Method("count-ception", "Count-ception", say.COHEN, CountCeption, RedundantCounts(), say.REDUNDANT,
                            halo=22, extras=("stride",)),
    "fpn-vgg11": Method("fpn-vgg11", "FPN + VGG-11", say.HERNANDEZ, FPNVGG11, MaskCounter(), say.MASK,
                        extras=("saliency", "quick")),
    "alexnet": _patches("alexnet", "AlexNet", AlexNetCounter),
    "alexnet-c": _patches("alexnet-c", "AlexNet, classes", partial(AlexNetCounter, outputs=64), True),
    "resnet-50": _patches("resnet-50", "ResNet-50", partial(ResNetCounter, 50)),
    "resnet-50-c": _patches("resnet-50-c", "ResNet-50, classes", partial(ResNetCounter, 50, outputs=64), True),
    "resnet-101": _patches("resnet-101", "ResNet-101", partial(ResNetCounter, 101)),
    "resnet-101-c": _patches("resnet-101-c", "ResNet-101, classes", partial(ResNetCounter, 101, outputs=64), True),
    "resnet-152": _patches("resnet-152", "ResNet-152", partial(ResNetCounter, 152)),
    "resnet-152-c": _patches("resnet-152-c", "ResNet-152, classes", partial(ResNetCounter, 152, outputs=64), True),
    "recount": Method("recount", "recount", say.OURS, Recount, Recounting(), say.RECOUNT, stride=8, halo=56,
                      map_scale=100.0),
    "fcn": Method("fcn", "FCN segmentation", say.MARZO, FCN, Segmentation(), say.SEGMENTS, stride=8, halo=40),
}


def find_method(name: str) -> Method:
    """The row of this name; the error lists the choices."""
    if name not in METHODS:
        raise WeightsError(f"There is no method called “{name}”; choose one of: {', '.join(METHODS)}.")
    return METHODS[name]


def pick_device(name: str = "auto") -> torch.device:
    """"auto" is the GPU when there is one; a device that is not there is an error, not a fallback."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise WeightsError(f"There is no device called “{name}”; choose one of: auto, cpu, cuda, cuda:0, cuda:1, …")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise WeightsError("This machine offers no CUDA device; choose the device “cpu” or “auto”.")
    return torch.device(name)


LOOKS = 2                                                    # times an image is read again for the size of its cells


class Counter:
    """Weights ready to count with. Holds no image and no state: share it between threads and sessions."""

    def __init__(self, row: store.Weights, network: nn.Module, device: torch.device):
        self.weights = row
        self.method = find_method(row.method)
        self.device = device
        self.parameters = sum(p.numel() for p in network.parameters())
        self._network = fast(self.method, network, device)
        self._one_at_a_time = threading.Semaphore(1)        # a tile uses every core anyway

    def predict(self, image: Image | np.ndarray, options: Options | None = None, *,
                progress: Progress | None = None) -> Prediction:
        """Count the cells of one image.

        Parameters
        ----------
        image : an `Image`, or a (H, W) or (H, W, C) array; native values, never scaled for display
        options : channel, cell diameter, tile, and what only some methods have
        progress : called with (tiles, frames or windows done, all of them); whatever it raises stops the work

        Returns
        -------
        Prediction on the grid of the image as it was read: a density or labels, and what else the method shows.
        """
        return self.examine(image, options, progress=progress)[0]

    def examine(self, image: Image | np.ndarray, options: Options | None = None, *,
                progress: Progress | None = None) -> tuple[Prediction, Look]:
        """As `predict`, and how the network saw the image in the end."""
        options = options or Options()
        begin = time.perf_counter()
        if isinstance(image, np.ndarray):
            image = Image.from_array(image)
        view, reading = self._at_their_size(image, options, progress)
        notes = [*image.notes, *view.notes]
        if reading is None:
            notes.append("The image has no contrast, so no cell can be seen in it.")
            prediction = Prediction.from_density(np.zeros(image.shape, np.float32), np.empty((0, 2)))
        else:
            prediction = on_the_image(reading, image.shape)
            notes += [view.scale.note] if view.scale.factor != 1 else []
            own = view.traits(self.weights)
            prediction = self._sure(prediction, view, own, options)
            notes += [prediction.outside] if prediction.outside else []
            unlike_training = unlike(self.weights, own, view.seen, view.scale.diameter)
            prediction = replace(prediction, doubts=(*unlike_training, *doubts(prediction)))
        return replace(prediction, method=self.method.name, weights=self.weights.id, device=self.device.type,
                       cell_diameter=view.scale.diameter, polarity=view.seen.cells, seconds=time.perf_counter() - begin,
                       notes=tuple(notes)), view

    def _at_their_size(self, image: Image, options: Options,
                       progress: Progress | None) -> tuple[Look, Reading | None]:
        """The image read at the scale that its estimated diameter asks for, and read again where the network then sees
        cells of another size: texture looks like small cells to the estimate, not to a network that learnt outlines at
        several sizes."""
        view = self.look(image, options)
        reading = self._read(view.plane, options, progress)
        if options.cell_diameter or self.weights.input.image_diameter or not self.weights.input.sizes:
            return view, reading
        for _ in range(LOOKS):
            read = None if reading is None else self.method.family.diameter(reading, self.weights.settings)
            if read is None:
                break
            now, seen = view.scale.diameter or self.weights.input.cell_diameter, read / view.scale.factor
            larger = self.weights.input.cell_diameter / seen
            if 1 / TOLERATED <= seen / now <= TOLERATED or np.prod(image.shape) * larger**2 > MAX_PIXELS:
                break
            view = self.look(image, options, seen)
            reading = self._read(view.plane, options, progress)
        return view, reading

    def look(self, image: Image, options: Options, diameter: float | None = None) -> Look:
        """What `predict` finds out about an image before the network reads it.

        diameter : of the cells, px, if a network has seen them; it takes the place of the estimate
        """
        grey, note = plane(image, options.channel)
        trained = self.weights.input
        seen = look(grey, options.polarity, trained.polarity)
        why = ("as given" if options.cell_diameter else "as in the images these weights learnt from"
               if trained.image_diameter else "as the network sees them; give the diameter if that is wrong")
        scale = choose_scale(bright(grey, seen.dark), options.cell_diameter or trained.image_diameter or diameter,
                             trained.cell_diameter,
                             lambda factor: self.method.family.factor(self._network, grey.shape, factor),
                             dark=seen.dark, why=why)
        notes = (*([f"Channel read: {note}."] if note else []), *([seen.note] if seen.note else []))
        return Look(resize(bright(grey, seen.turned), scale.factor), seen, scale, colour(image, options.channel), notes)

    def _sure(self, prediction: Prediction, view: Look, own: Traits | None,
              options: Options) -> Prediction:
        """With the calibrated interval in the place of the network's own; without any, and why, where it does not hold.
        """
        known = self.weights.calibration
        if known is None:
            return prediction
        if note := outside(self.weights, prediction.count, view, own, options.stride):
            return replace(prediction, interval=None, outside=note)
        return replace(prediction, interval=interval(known, prediction.count, prediction.sd),
                       region_errors=known.regions)

    def _read(self, grey: np.ndarray, options: Options, progress: Progress | None) -> Reading | None:
        normal = self.method.family.normalise(grey)
        if normal is None:
            return None
        while not self._one_at_a_time.acquire(timeout=0.5):  # another session counts; this one can still be stopped
            if progress:
                progress(0, 1)
        try:
            return self.method.family.read(self._network, normal, self._call(options, progress))
        finally:
            self._one_at_a_time.release()

    def _call(self, options: Options, progress: Progress | None) -> Call:
        row, method = self.weights, self.method
        settings = row.settings
        if "stride" in method.extras and options.stride > 1:
            settings = settings.model_copy(update={"step": options.stride})
        return Call(device=self.device, stride=method.stride, halo=method.halo, layout=method.layout,
                    map_scale=row.map_scale, sigma=row.sigma, settings=settings, tile=options.tile,
                    saliency=options.saliency and "saliency" in method.extras,
                    quick=options.quick and "quick" in method.extras, progress=progress)


def fast(method: Method, network: nn.Module, device: torch.device) -> nn.Module:
    """A copy of the network for counting: the same answers, batch normalisation folded, in the method's layout."""
    network = fold_batch_norm(network).to(device, memory_format=method.layout)
    return method.family.compile(network, device).eval().requires_grad_(False)


def build(row: store.Weights) -> nn.Module:
    """The row's network, freshly initialised; unknown arguments are an error of the row."""
    try:
        return find_method(row.method).build(**row.build)
    except (TypeError, ValueError, RuntimeError) as error:  # what torch raises for sizes it cannot build
        raise WeightsError(f"{row.id}: its manifest row does not fit {row.method} ({error}).") from error


def load(weights_id: str, device: str = "auto", where: Path | None = None) -> Counter:
    """Weights by id, checked and ready to count with. Nothing is downloaded, nothing else is taken instead.

    where : the folder of the weights, if it is not that of the installed ones
    """
    return open_weights(store.find(weights_id, where), device, where)


def open_weights(row: store.Weights, device: str = "auto", where: Path | None = None) -> Counter:
    """As `load`, for a row that need not be in a manifest yet."""
    network = build(row)
    try:
        network.load_state_dict(store.read_state(row, where), strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise WeightsError(f"{row.id}: {row.files[0].file} does not hold a {row.method} network ({first}).") from error
    return Counter(row, network, pick_device(device))
