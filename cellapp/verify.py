"""Weights that prove themselves: each row of the manifest keeps the count of an example image."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from cellapp import weights as store
from cellapp.calibration import calibrate, measure
from cellapp.conformal import LEVEL, fewest
from cellapp.errors import WeightsError
from cellapp.family import Progress
from cellapp.image import read_image
from cellapp.methods import Counter, Options, build, load, open_weights, pick_device

if TYPE_CHECKING:
    from torch import Tensor

    from cellapp.data import Dotted

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
TOLERANCE = 0.05                                             # cells; other CPUs and GPUs round differently


def verify(row: store.Weights, where: Path | None = None, progress: Progress | None = None) -> float:
    """Count the row's example and return the difference to the known answer; `WeightsError` if it is too large.

    where : the folder of its files, if they are not installed; progress : as for `Counter.predict`
    """
    if row.check is None:
        raise WeightsError(f"{row.id}: its manifest row has no known answer; train or install it again.")
    image = read_image(EXAMPLES / row.check.image)
    difference = open_weights(row, where=where).predict(image, progress=progress).count - row.check.count
    if not abs(difference) <= row.check.tolerance:
        raise WeightsError(f"{row.id}: counts {row.check.count + difference:.3f} cells in {row.check.image} instead of "
                           f"{row.check.count:.3f}; these weights do not work as they should on this machine.")
    return difference


def check_publishable(example: str, **about) -> None:
    """Raise now what `publish` would raise when the training is over."""
    try:
        _unsaved(about)
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"][0] == "id":
            raise WeightsError(f"{first['input']}: no name for weights; take lower-case letters, digits, “.”, "
                               "“_” and “-”, such as fcrn-a/mine.") from error
        where = ".".join(map(str, first["loc"]))
        raise WeightsError(f"{about['id']}: {where} cannot be {first['input']}: {first['msg'].lower()}.") from error
    read_image(EXAMPLES / example)


def publish(state: "dict[str, Tensor]", example: str, where: Path | None = None, **about) -> store.Weights:
    """Write weights with their known answer, as float16 where that moves the answer by at most 0.1 %."""
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    exact = _count(state, example, about)
    rounded = _count({name: half[name].to(tensor.dtype) for name, tensor in state.items()}, example, about)
    small_enough = abs(rounded - exact) <= 1e-3 * abs(exact)
    check = store.Check(image=example, count=round(rounded if small_enough else exact, 4), tolerance=TOLERANCE)
    return store.add(half if small_enough else state, where, check=check, **about)


def calibrated(row: store.Weights, choose: "list[Dotted]", where: Path | None = None,
               level: float = LEVEL) -> tuple[store.Weights, str]:
    """The row with intervals from the errors on the validation images, if there are enough, and a sentence on that.

    They chose the epoch, so the errors on them are a little smaller than on others.
    """
    if row.training.get("part") == "mask":
        return row, f"{row.id}: no intervals, because a mask alone does not count."
    if len(choose) < fewest(level):
        return row, (f"{row.id}: no intervals, because {len(choose)} validation images are too few ({fewest(level)} "
                     f"give one of {100 * level:.3g} %); “weights calibrate” takes other images.")
    counter = load(row.id, where=where)
    measured = measure(counter, ((item.image, item.truth, item.colour, Options()) for item in choose))
    known = calibrate(measured, f"{len(choose)} images that chose the epoch", level)
    row = row.model_copy(update={"calibration": known})
    store.replace(row, where)
    return row, f"{row.id}: {100 * level:.3g} % intervals from {known.data}"


def _unsaved(about: dict) -> store.Weights:
    return store.Weights(files=[{"file": "unsaved.safetensors", "sha256": "0" * 64, "bytes": 0}], **about)


def _count(state, example: str, about: dict) -> float:
    row = _unsaved(about)
    network = build(row)
    network.load_state_dict(state)
    return Counter(row, network, pick_device("cpu")).predict(read_image(EXAMPLES / example)).count
