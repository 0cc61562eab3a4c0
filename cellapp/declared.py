"""Declared fields (of `Options`, of `TrainingConfig`) as every front end draws and checks them.

The declaration gives the limits, the choices and the help; here are the words a person reads beside a widget.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from cellapp.errors import CellappError

_WORDS = {
    "cell_diameter": "Typical cell diameter (px)", "polarity": "Cells are", "pages": "The pages are",
    "z": "Focal plane", "frame": "Time point", "tile": "Tile (px)", "saliency": "Saliency of the count",
    "quick": "Skip the mask's uncertainty", "stride": "Count every n-th window",
    "part": "Part that learns", "learning_rate": "Learning rate", "sigma": "Sigma of a dot (px)", "crop": "Crop (px)",
    "window_step": "Window step (px)", "ema": "Averaging of weights", "whole": "Share on whole images",
    "gain": "Contrast jitter", "offset": "Brightness jitter", "freeze": "Share with frozen statistics",
    "batch": "Crops in a step", "warmup": "Warm-up steps", "clip": "Largest gradient",
    "devices": "GPUs",
    "freeze_encoder": "Keep the encoder as it is"}


@dataclass(frozen=True)
class Field:
    """A declared field.

    kind : "yes" (or no), "choice", "whole" or "real" (numbers), "text"
    choices : of a choice; low, high : limits of a number, None where there is none
    """

    name: str
    label: str
    help: str
    kind: Literal["yes", "choice", "whole", "real", "text"]
    default: str | int | float | bool | None
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None


def label(name: str) -> str:
    """What stands beside the widget of a field."""
    return _WORDS.get(name, name.replace("_", " ").capitalize())


def field(model: type[BaseModel], name: str) -> Field:
    """How the field of this name is drawn."""
    found = model.model_fields[name]
    limits = {kind: bound for part in found.metadata for kind in ("ge", "gt", "le", "lt")
              if (bound := getattr(part, kind, None)) is not None}
    about = {"label": label(name),
             "help": found.description[0].upper() + found.description[1:] + ".", "default": found.default}
    if get_origin(found.annotation) is Literal:
        return Field(name, kind="choice", choices=get_args(found.annotation), **about)
    types = {found.annotation, *get_args(found.annotation)}
    kind = "yes" if bool in types else "whole" if int in types else "real" if float in types else "text"
    return Field(name, kind=kind, low=limits.get("ge", limits.get("gt")), high=limits.get("le", limits.get("lt")),
                 **about)


def checked(model: type[BaseModel], values: Mapping, called: Callable[[str], str] | None = None) -> BaseModel:
    """The model with these values, or a `CellappError` about the first that cannot be.

    called : how a field is named in the sentence; by default with the words beside its widget
    """
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        shown = (called or label)(name)
        message = first["msg"].removeprefix("Value error, ").lower()
        raise CellappError(f"{shown} {str(first['input'])[:60]}: {message}.") from error
