"""The weights on this machine: rows of ``manifest.json`` and safetensors files beside it.

A file is interpreted only after its size and its sha256 agree with the row. Nothing here unpickles,
downloads, or falls back to other weights than the ones asked for.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from pydantic import Field

from cellapp.calibration_row import Calibration, Row, Summary
from cellapp.errors import WeightsError
from cellapp.files import write_atomic

if TYPE_CHECKING:
    from torch import Tensor

BUNDLED = Path(__file__).resolve().parent.parent / "weights"
MANIFEST = "manifest.json"
PULLED = "hub/"                                              # begins the id of all weights pulled from the Hub
MAX_FILE = 48_000_000                                        # bytes; larger weights are written in several files


class Input(Row):
    """What the network was trained to read."""

    channels: int = Field(1, description="number of channels")
    normalisation: str = Field("image z-score", description="how grey values are brought to one scale")
    cell_diameter: float = Field(gt=0, allow_inf_nan=False,
                                 description="typical cell diameter in px at the scale trained on")
    image_diameter: float | None = Field(None, gt=1, allow_inf_nan=False,
                                         description="typical cell diameter in px of the images as they came; taken "
                                                     "for that of an image where none is given")
    polarity: str = Field("bright on dark", description="of the cells: bright on dark, dark on bright, or either")
    negatives: bool = Field(False, description="images of the other polarity were learnt from, too, as negatives")
    sizes: bool = Field(False, description="the network can tell the size of cells that were brought to a wrong one, "
                                           "so what it sees puts the estimate right")


class Settings(Row):
    """What reading needs besides the network, for the methods that need it."""

    threshold: float | None = Field(None, ge=0, le=1, description="probability from which a pixel is foreground")
    window: int | None = Field(None, ge=8, le=1024, description="side of the windows, px")
    step: int | None = Field(None, ge=1, le=1024, description="distance between neighbouring windows, px")
    factor: float = Field(1.0, gt=0, allow_inf_nan=False, description="the count is multiplied by this")


class Score(Row):
    """Measured on a named set: mean absolute error (cells per image) and its companions; None where it does not apply.

    coverage : share of the true counts that lie in their interval; f1 : detection of single cells;
    pixel_mcc, pixel_auc : Matthews correlation of the foreground's pixels at the weights' threshold, and the area under
    their ROC curve; roc : (false positive rate, true positive rate, threshold) along that curve
    """

    data: str
    images: int
    mae: float
    mre: float | None = None
    bias: float
    r2: float | None = None
    coverage: float | None = None
    f1: float | None = None
    pixel_mcc: float | None = None
    pixel_auc: float | None = None
    roc: tuple[tuple[float, float, float], ...] = ()
    command: str = Field(description="the command that measures it again")


class Check(Row):
    """The known answer: an example image and the count these weights give for it."""

    image: str = Field(description="path below examples/")
    count: float
    tolerance: float = Field(description="allowed difference, cells")


class Part(Row):
    """A safetensors file of the weights, or one of several: files over 50 MB are split, as on the Hugging Face Hub."""

    file: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*\.safetensors$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int


class Hub(Row):
    """A commit on the Hugging Face Hub that holds the same weights: pulled from there, or pushed there."""

    repo: str = Field(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$", max_length=96)
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")


class Weights(Row):
    """A manifest row."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)?$", max_length=120)
    title: str
    method: str
    files: tuple[Part, ...] = Field(min_length=1)
    build: dict[str, int] = Field(default_factory=dict, description="arguments of the network")
    input: Input
    map_scale: float = Field(gt=0, allow_inf_nan=False, description="the network's map is this many times the density")
    sigma: float = Field(gt=0, allow_inf_nan=False, description="px; the Gaussian that stands for one cell in the map")
    trained_on: str
    parent: str | None = Field(None, description="id of the weights the training began with")
    licence: str
    settings: Settings = Field(default_factory=Settings, description="what reading needs besides the network")
    training: dict = Field(default_factory=dict, description="the TrainingConfig of the run")
    summary: Summary | None = Field(None, description="what the training images look like")
    calibration: Calibration | None = Field(None, description="the errors on images of known counts, for intervals")
    scores: tuple[Score, ...] = ()
    check: Check | None = None
    hub: Hub | None = None

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(part.bytes for part in self.files)

    @property
    def sha256(self) -> str:
        """One digest of all files; that of the file itself where there is one only."""
        if len(self.files) == 1:
            return self.files[0].sha256
        return hashlib.sha256("".join(part.sha256 for part in self.files).encode()).hexdigest()

    @property
    def digest(self) -> str:
        """Names what these weights answer: one digest of all files and of the calibration, if there is one."""
        if self.calibration is None:
            return self.sha256
        # Results that were kept before regions had errors are still answers of a row that has none of them.
        without = None if self.calibration.regions else {"regions"}
        return hashlib.sha256((self.sha256 + self.calibration.model_dump_json(exclude=without)).encode()).hexdigest()


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


def verified_bytes(row: Weights, part: Part, where: Path | None = None) -> bytes:
    """The content of one file, after its size and sha256 were found to be those of the row."""
    path = (where or folder()) / part.file
    if not path.is_file():
        raise WeightsError(f"{row.id}: the file {path} is missing; install the weights again.")
    if path.stat().st_size != part.bytes:
        raise WeightsError(f"{row.id}: {path.name} has {path.stat().st_size} bytes instead of {part.bytes}; "
                           "it is damaged or was exchanged, install the weights again.")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != part.sha256:
        raise WeightsError(f"{row.id}: {path.name} does not have the sha256 of its manifest row; "
                           "it is damaged or was exchanged, install the weights again.")
    return content


def read_state(row: Weights, where: Path | None = None) -> "dict[str, Tensor]":
    """The tensors of the row, floats as float32, all of them finite."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    state = {}
    for part in row.files:
        try:
            state |= load(verified_bytes(row, part, where))
        except SafetensorError as error:
            raise WeightsError(f"{row.id}: {part.file} is not a safetensors file ({error}); "
                               "install it again.") from error
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    broken = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise WeightsError(f"{row.id}: its tensor {broken[0]} holds values that are not finite; do not use it.")
    return state


def add(state: "dict[str, Tensor]", where: Path | None = None, **about) -> Weights:
    """Write tensors (as they are) and their row, replacing the row of the same id; returns the row."""
    from safetensors.torch import save

    where = where or folder()
    stem = about["id"].replace("/", "--")
    parts = _parts(state)
    names = [f"{stem}.safetensors"] if len(parts) == 1 else [
        f"{stem}-{k:05d}-of-{len(parts):05d}.safetensors" for k in range(1, len(parts) + 1)]
    contents = [save({name: tensor.detach().cpu().contiguous() for name, tensor in part.items()}) for part in parts]
    files = tuple(Part(file=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
                  for name, content in zip(names, contents, strict=True))
    row = Weights(files=files, **about)
    before = manifest(where)
    for other in before.values():
        if other.id != row.id and (taken := {p.file for p in other.files} & set(names)):
            raise WeightsError(f"{row.id}: its file {min(taken)} is that of {other.id}; choose another name.")
    for name, content in zip(names, contents, strict=True):
        write_atomic(where / name, content)
    replace(row, where)
    for part in before[row.id].files if row.id in before else ():
        if part.file not in names:                           # the row had another number of files
            (where / part.file).unlink(missing_ok=True)
    return row


def _parts(state: "dict[str, Tensor]") -> "list[dict[str, Tensor]]":
    """The tensors in as few groups as `MAX_FILE` allows, in their order."""
    parts, size = [{}], 0
    for name, tensor in state.items():
        own = tensor.numel() * tensor.element_size()
        if parts[-1] and size + own > MAX_FILE:
            parts.append({})
            size = 0
        parts[-1][name] = tensor
        size += own
    return parts


def replace(row: Weights, where: Path | None = None) -> None:
    """Put ``row`` into the manifest, in the place of the one with its id or at the end."""
    with _changing(where or folder()) as rows:
        rows[row.id] = row


def remove(weights_id: str, where: Path) -> None:
    """Delete weights: their row first, then their files. Raises `WeightsError` for an id that is not there."""
    row = find(weights_id, where)
    with _changing(where) as rows:
        rows.pop(weights_id, None)
    for part in row.files:
        (where / part.file).unlink(missing_ok=True)


def home(row: Weights, *folders: Path) -> Path | None:
    """The first of these folders whose manifest has the row with the same files; None: that of the installed ones."""
    for where in folders:
        found = manifest(where).get(row.id)
        if found is not None and found.sha256 == row.sha256:
            return where
    return None


@contextmanager
def _changing(where: Path) -> Iterator[dict[str, Weights]]:
    """The rows to change, written at the end; a training and a page may want to at once."""
    where.mkdir(parents=True, exist_ok=True)
    with FileLock(where / ".manifest.lock"):
        rows = manifest(where)
        yield rows
        text = json.dumps([r.model_dump(mode="json") for r in rows.values()], indent=2, ensure_ascii=False)
        write_atomic(where / MANIFEST, text + "\n")
