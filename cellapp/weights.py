"""The weights on this machine: rows of ``manifest.json`` and safetensors files beside it.

A file is interpreted only after its size and its sha256 agree with the row. Nothing here unpickles,
downloads, or falls back to other weights than the ones asked for.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from cellapp.errors import WeightsError
from cellapp.files import write_atomic

if TYPE_CHECKING:
    from torch import Tensor

BUNDLED = Path(__file__).resolve().parent.parent / "weights"
MANIFEST = "manifest.json"


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Input(_Row):
    """What the network was trained to read."""

    channels: int = Field(1, description="number of channels")
    normalisation: str = Field("image z-score", description="how grey values are brought to one scale")
    cell_diameter: float = Field(gt=0, allow_inf_nan=False,
                                 description="typical cell diameter in px at the scale trained on")
    polarity: str = Field("bright on dark", description="cells against their background")


class Score(_Row):
    """One measured figure: mean absolute error (cells per image) and its companions on a named set."""

    data: str
    images: int
    mae: float
    mre: float
    bias: float
    command: str = Field(description="the command that measures it again")


class Check(_Row):
    """The known answer: an example image and the count these weights give for it."""

    image: str = Field(description="path below examples/")
    count: float
    tolerance: float = Field(description="allowed difference, cells")


class Weights(_Row):
    """A manifest row."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)?$", max_length=100)
    title: str
    method: str
    file: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*\.safetensors$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int
    build: dict[str, int] = Field(default_factory=dict, description="arguments of the network")
    input: Input
    map_scale: float = Field(gt=0, allow_inf_nan=False, description="the network's map is this many times the density")
    sigma: float = Field(gt=0, allow_inf_nan=False, description="px; the Gaussian that stands for one cell in the map")
    trained_on: str
    parent: str | None = Field(None, description="id of the weights the training began with")
    licence: str
    training: dict = Field(default_factory=dict, description="the TrainingConfig of the run")
    scores: tuple[Score, ...] = ()
    check: Check | None = None


def folder() -> Path:
    """Where the weights lie: the folder named by ``CELLAPP_WEIGHTS``, or the project's ``weights/``."""
    return Path(os.environ.get("CELLAPP_WEIGHTS") or BUNDLED)


def manifest(where: Path | None = None) -> dict[str, Weights]:
    """All rows by id, in the order of the file. An absent manifest is an empty one."""
    path = (where or folder()) / MANIFEST
    if not path.exists():
        return {}
    try:
        rows = [Weights.model_validate(row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (TypeError, ValueError) as error:                # ValidationError is a ValueError
        raise WeightsError(f"{path}: the manifest of the weights is damaged ({error}); restore the file.") from error
    return {row.id: row for row in rows}


def find(weights_id: str, where: Path | None = None) -> Weights:
    """The row with this id; the error lists the choices."""
    rows = manifest(where)
    if weights_id not in rows:
        raise WeightsError(f"There are no weights called “{weights_id}” here; choose one of: "
                           f"{', '.join(rows) or 'none are installed'}.")
    return rows[weights_id]


def verified_bytes(row: Weights, where: Path | None = None) -> bytes:
    """The file's content, after its size and sha256 were found to be those of the row."""
    path = (where or folder()) / row.file
    if not path.is_file():
        raise WeightsError(f"{row.id}: the file {path} is missing; install the weights again.")
    if path.stat().st_size != row.bytes:
        raise WeightsError(f"{row.id}: {path.name} has {path.stat().st_size} bytes instead of {row.bytes}; "
                           "it is damaged or was exchanged, install the weights again.")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != row.sha256:
        raise WeightsError(f"{row.id}: {path.name} does not have the sha256 of its manifest row; "
                           "it is damaged or was exchanged, install the weights again.")
    return content


def read_state(row: Weights, where: Path | None = None) -> "dict[str, Tensor]":
    """The tensors of the row as float32, all of them finite."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        state = load(verified_bytes(row, where))
    except SafetensorError as error:
        raise WeightsError(f"{row.id}: {row.file} is not a safetensors file ({error}); install it again.") from error
    state = {name: tensor.float() for name, tensor in state.items()}
    broken = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise WeightsError(f"{row.id}: {row.file} holds values that are not finite (in {broken[0]}); do not use it.")
    return state


def add(state: "dict[str, Tensor]", where: Path | None = None, **about) -> Weights:
    """Write tensors (as they are) and their row, replacing the row of the same id; returns the row."""
    from safetensors.torch import save

    where = where or folder()
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    row = Weights(file=about["id"].replace("/", "--") + ".safetensors", bytes=len(content),
                  sha256=hashlib.sha256(content).hexdigest(), **about)
    other = next((r.id for r in manifest(where).values() if r.file == row.file and r.id != row.id), None)
    if other:
        raise WeightsError(f"{row.id}: its file {row.file} is that of {other}; choose another name.")
    write_atomic(where / row.file, content)
    replace(row, where)
    return row


def replace(row: Weights, where: Path | None = None) -> None:
    """Put ``row`` into the manifest, in the place of the one with its id or at the end."""
    where = where or folder()
    rows = manifest(where)
    rows[row.id] = row
    text = json.dumps([r.model_dump(mode="json") for r in rows.values()], indent=2, ensure_ascii=False)
    write_atomic(where / MANIFEST, text + "\n")
