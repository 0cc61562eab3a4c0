"""``config.json`` of a repository on the Hub: a manifest row without what only this machine knows; written, and judged.

What comes from a stranger is data: names in it are looked up in tables of this project, sizes are bounded, texts are
cut and cleaned, and no path or command of it is kept.
"""

import json
import re
from pathlib import Path

import torch
from pydantic import ValidationError

from cellapp.errors import HubError, WeightsError
from cellapp.image_files import clean
from cellapp.methods import METHODS, build
from cellapp.polarity import BRIGHT, DARK, EITHER
from cellapp.verify import EXAMPLES, TOLERANCE
from cellapp.weights import PULLED, Hub, Part, Weights

NAME = "config.json"
FORMAT = 1
MAX_CONFIG = 1_000_000                                       # bytes
MAX_BYTES = 1_000_000_000                                    # of all files; the largest network here takes a quarter
MAX_HEADER = 1_000_000                                       # bytes of a safetensors header; ours have 100,000
MAX_SIDE = 10_000                                            # of any argument of a network
_TEXT = 1000                                                 # characters of a text
_READS = {"normalisation": ("image z-score",), "polarity": (BRIGHT, DARK, EITHER)}


def written(row: Weights, licence: str) -> tuple[str, dict[str, Part]]:
    """The text of ``config.json``, and the files of the row by the names that the Hub's readers expect.

    Commands of scores stay here: they hold the names of folders.
    """
    parts = row.files
    names = ["model.safetensors"] if len(parts) == 1 else [
        f"model-{k:05d}-of-{len(parts):05d}.safetensors" for k in range(1, len(parts) + 1)]
    about = row.model_dump(mode="json", exclude={"id", "hub"}, exclude_none=True)
    about["files"] = [part.model_dump() | {"file": name} for name, part in zip(names, parts, strict=True)]
    about["scores"] = [score | {"command": ""} for score in about["scores"]]
    about |= {"title": title(row), "licence": licence}
    text = json.dumps({"cellapp": FORMAT, **about}, indent=2, ensure_ascii=False)
    return text + "\n", dict(zip(names, parts, strict=True))


def title(row: Weights) -> str:
    """What its publisher called the weights."""
    return row.title.removesuffix(f" · {row.hub.repo}") if row.hub else row.title


def read(content: bytes, hub: Hub) -> Weights:
    """The row of a pulled ``config.json``, with the names its files have in the repository.

    Raises `HubError` for anything that this version does not know, or that no such weights would say.
    """
    fields = _fields(content, hub.repo)
    try:
        row = Weights(**(fields | {"id": _id(hub), "hub": hub}))
    except (ValidationError, TypeError) as error:
        raise _unfit(hub.repo, _first(error)) from error
    if row.method not in METHODS:
        raise HubError(f"{hub.repo}: its {NAME} names the method “{clean(row.method, 40)}”, which this version of "
                       f"cellapp does not know; it knows {', '.join(METHODS)}.")
    if problem := _problem(row):
        raise _unfit(hub.repo, problem)
    scores = tuple(score.model_copy(update={"data": clean(score.data, _TEXT), "command": ""}) for score in row.scores)
    texts = {name: clean(getattr(row, name), _TEXT) for name in ("trained_on", "licence")}
    parent = None if row.parent is None else clean(row.parent, 120)
    if (known := row.calibration) is not None:
        texts["calibration"] = known.model_copy(update={"data": clean(known.data, _TEXT), "how": clean(known.how, 40)})
    return row.model_copy(update={"scores": scores, "parent": parent, **texts,
                                  "title": f"{clean(row.title, 120) or row.method} · {hub.repo}"})


def installed(row: Weights) -> Weights:
    """The same row with the names its files get here."""
    stem = row.id.replace("/", "--")
    ends = [""] if len(row.files) == 1 else [f"-{k:05d}-of-{len(row.files):05d}" for k in range(1, len(row.files) + 1)]
    files = tuple(part.model_copy(update={"file": f"{stem}{end}.safetensors"})
                  for part, end in zip(row.files, ends, strict=True))
    return row.model_copy(update={"files": files})


def _id(hub: Hub) -> str:
    """Of this very commit: another revision of the same repository lies beside it."""
    return f"{PULLED}{hub.repo.lower().replace('/', '--').lstrip('._-')}-{hub.revision[:7]}"


def _fields(content: bytes, repo: str) -> dict:
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no number")

    try:
        fields = json.loads(content.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise HubError(f"{repo}: its {NAME} is damaged; tell its owner, or choose other weights.") from error
    if not isinstance(fields, dict) or "cellapp" not in fields:
        raise HubError(f"{repo} holds no weights of cellapp: its {NAME} was written by something else.")
    if fields.pop("cellapp") != FORMAT:
        raise HubError(f"{repo}: its {NAME} was written by a newer cellapp; update cellapp to use it.")
    return {name: value for name, value in fields.items() if name not in ("id", "hub")}


def _first(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return "its fields have no such names"
    first = error.errors()[0]
    where = ".".join(clean(str(part), 40) for part in first["loc"])
    return f"{where}: {clean(first['msg'], 120)}"


def _problem(row: Weights) -> str:
    """What no weights of this project would say; "" for a row that is all right."""
    examples = {path.name for path in EXAMPLES.glob("*.png")}
    sizes, trained = sum(part.bytes for part in row.files), row.input
    ratio = trained.cell_diameter / (trained.image_diameter or trained.cell_diameter)
    wrong = {
        "files": not all(part.bytes >= 16 for part in row.files) or sizes > MAX_BYTES
        or len({part.file for part in row.files}) < len(row.files),
        "build": not all(name.isidentifier() and 1 <= value <= MAX_SIDE for name, value in row.build.items()),
        "check": row.check is None or row.check.image not in examples or not 0 < row.check.tolerance <= TOLERANCE,
        "input": any(getattr(trained, name) not in known for name, known in _READS.items())
        or not 1 <= trained.cell_diameter <= 1000 or not 0.1 <= ratio <= 10,
        "sigma": not 0.1 <= row.sigma <= 200,
        "map_scale": row.map_scale != METHODS[row.method].map_scale,
    }
    return next((f"{name} is not as in weights of cellapp" for name, found in wrong.items() if found), "")


def _unfit(repo: str, problem: str) -> HubError:
    return HubError(f"{repo}: its {NAME} does not describe weights that this version of cellapp can use ({problem}); "
                    "update cellapp, or choose other weights.")


def judge(row: Weights, folder: Path) -> None:
    """Look at downloaded files before anything interprets them; `HubError` for what is no safetensors file of the row's
    network. Nothing larger than a header is read, and no memory is taken for a network that the files cannot fill.
    """
    for part in row.files:
        with open(folder / part.file, "rb") as file:
            start = file.read(9)
        header = int.from_bytes(start[:8], "little")
        if not 2 <= header <= min(MAX_HEADER, part.bytes - 8) or start[8:] != b"{":
            pickled = re.match(rb"\x80[\x02-\x05]|PK\x03\x04", start)
            kind = "a pickle, which could run code, and was not opened" if pickled else "not a safetensors file"
            raise HubError(f"{row.hub.repo}: {part.file} is {kind}; do not use this repository.")
    try:
        with torch.device("meta"):
            needed = sum(tensor.numel() for tensor in build(row).state_dict().values())
    except WeightsError as error:
        raise _unfit(row.hub.repo, "build does not fit the method") from error
    if needed > row.bytes:                                   # a number takes a byte at least
        raise HubError(f"{row.hub.repo}: its files are too small for the network {row.method} of the size that its "
                       f"{NAME} names; do not use this repository.")
