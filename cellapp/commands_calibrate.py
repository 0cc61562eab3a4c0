"""``python -m cellapp weights calibrate``: intervals from the errors on images of known counts."""

import argparse

from cellapp import weights as store
from cellapp.commands import declared, show
from cellapp.commands_train import read_dotted
from cellapp.errors import CalibrationError


def calibrate(given: argparse.Namespace) -> int:
    """Count the images, keep in the row how far the counts were off, and say what the intervals are like."""
    from cellapp import data as sets
    from cellapp.calibration import calibrate as fit
    from cellapp.calibration import interval, measure
    from cellapp.methods import Options, load

    if (given.preset is None) == (given.images is None):
        raise CalibrationError("Give either --preset (simulated images) or --images (a folder of images of known "
                               "counts).")
    if given.not_learnt and (given.preset or given.validation):
        raise CalibrationError("--not-learnt chooses from a folder, and not the images that chose the epoch; with "
                               "--preset another --seed gives other images.")
    options = declared(Options, given)
    counter = load(given.id, given.device)
    data = _images(given, counter.weights, options.channel)
    if given.size:
        data = [sets.resized(item, given.size) for item in data]
    if given.rescale:
        data = [sets.rescaled(item, counter.weights.input.cell_diameter) for item in data]
    if given.upright:
        data = [sets.uprighted(item) for item in data]
    measured = measure(counter, ((item.image, item.truth, item.colour, options) for item in data))
    what = given.data_name or (f"{len(data)} images that chose the epoch" if given.validation else
                               f"{len(data)} images of the simulator preset {given.preset}" if given.preset else
                               f"{len(data)} images of {given.images.name}")
    known = fit(measured, what, given.level)
    row = store.find(given.id)                              # it may have changed meanwhile
    store.replace(row.model_copy(update={"calibration": known}))
    middle = float(sorted(measured.counts)[len(data) // 2])
    sd = None if measured.sds is None else float(sorted(measured.sds)[len(data) // 2])
    example = interval(known, middle, sd)
    show(given, {"weights": row.id, **known.model_dump(mode="json")},
         f"{row.id}: {100 * known.level:.3g} % intervals from {known.data}, for counts of {known.counts[0]:.0f} to "
         f"{known.counts[1]:.0f}; such as {middle:.1f}: {example.low:.1f} to {example.high:.1f}; "
         + (f"also in regions, from the dots of {known.regions.images} images" if known.regions else
            "none in regions, for which the places of the cells must be known"))
    return 0


def _images(given: argparse.Namespace, row: store.Weights, channel: str) -> list:
    from cellapp import data as sets

    drew = row.training
    if given.preset and not given.validation:
        return sets.simulated(given.preset, given.n, given.seed)
    needed = {"n_train", "seed"} | ({"n_val"} if given.validation else set())
    if (given.not_learnt or given.validation) and not needed <= drew.keys():
        raise CalibrationError(f"{row.id}: its row does not say what it learnt from; leave --not-learnt and "
                               "--validation out and choose the images with --include and --exclude.")
    if given.preset:
        data = sets.simulated(given.preset, drew["n_train"] + drew["n_val"], drew["seed"])
    else:
        data = read_dotted(given, channel)
    if given.validation:
        return sets.split(data, drew["n_train"], drew["n_val"], drew["seed"])[1]
    if given.not_learnt:
        data = sets.not_learnt(data, drew["n_train"], drew["seed"])
    return sets.drawn(data, given.n, given.seed)
