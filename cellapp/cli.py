"""``python -m cellapp``: the same verbs as the pages, through the same functions."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cellapp import (
    DEFAULT_WEIGHTS,
    commands,
    commands_benchmark,
    commands_calibrate,
    commands_count,
    commands_hub,
    commands_train,
)
from cellapp.cli_flags import (
    command,
    declared_flags,
    device_flag,
    factor,
    folder_flags,
    images_of,
    least,
    scheduler_flag,
    setting,
    shape,
    share,
)
from cellapp.errors import CellappError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 if all went well, 1 if an image or a check failed, 2 if it could not start."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        return given.run(given)
    except CellappError as error:
        print(f"cellapp: {error}", file=sys.stderr)
        return 2
    except OSError as error:                                # such as a folder that may not be written to
        print(f"cellapp: {error.filename or 'file'}: {error.strerror or error}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("cellapp: stopped.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    from cellapp.methods import METHODS, Options
    from cellapp.simulate import PRESETS
    from cellapp.training import TrainingConfig

    parser = argparse.ArgumentParser(prog="python -m cellapp", description=__import__("cellapp").__doc__.split("\n")[0])
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    count = command(verbs, "count", commands_count.count, "count the cells in images, in folders and in zips of them")
    count.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders or zips")
    count.add_argument("--weights", metavar="ID", help=f"default: {DEFAULT_WEIGHTS}, or those of the method")
    count.add_argument("--method", choices=METHODS, help="take the first weights of this method")
    declared_flags(count, Options)
    count.add_argument("--regions", type=Path, metavar="FILE",
                       help="count in these regions too: GeoJSON, or ROIs of ImageJ")
    count.add_argument("--out", type=Path, metavar="DIR",
                       help="write counts.csv, run.json, density maps, points, overlays and files for Fiji and QuPath")
    scheduler_flag(count)
    device_flag(count)

    rerun = command(verbs, "rerun", commands_count.rerun, "count a recorded batch again and compare the counts")
    rerun.add_argument("record", type=Path, metavar="RUN", help="the run.json of a count")
    rerun.add_argument("--images", type=Path, metavar="DIR",
                       help="folder or zip of the images (default: the folder of RUN)")
    scheduler_flag(rerun)
    device_flag(rerun)

    command(verbs, "methods", commands.methods, "list the methods")

    weights = verbs.add_parser("weights", help="list, verify, describe or calibrate the weights here; the Hub",
                               description="The weights on this machine, and those on the Hugging Face Hub.")
    _weights(weights.add_subparsers(required=True, metavar="ACTION"))
    command(verbs, "verify", commands.verify, "count the known answer of all weights")

    evaluate = command(verbs, "evaluate", commands_train.evaluate, "count dotted images and compare with the dots")
    folder_flags(evaluate, required=True)
    evaluate.add_argument("--weights", default=DEFAULT_WEIGHTS, metavar="ID", help="default: %(default)s")
    evaluate.add_argument("--distance", type=float, default=5.0, help="px between a peak and its dot (default: 5)")
    evaluate.add_argument("--regions", type=least(1), metavar="N",
                          help="also draw N rectangles and N polygons of each size in every image with dots, and tell "
                               "how many of their intervals hold the true count")
    evaluate.add_argument("--record", metavar="NAME", help="keep the figures in the manifest as scores on NAME")
    declared_flags(evaluate, Options)
    device_flag(evaluate)

    train = command(verbs, "train", commands_train.train, "train weights from dotted images or from the simulator")
    folder_flags(train, required=False)
    train.add_argument("--preset", choices=PRESETS, help="train on this preset of the simulator instead of a folder")
    train.add_argument("--n-train", type=int, default=32, help="images to learn from (default: 32)")
    train.add_argument("--n-val", type=int, default=32, help="images that choose the best epoch (default: 32)")
    train.add_argument("--val-include", action="append", default=[], metavar="PATTERN",
                       help="images with these names choose the epoch and the others are learnt from, instead of a "
                            "random division; such as '*_s0[1-5]_*'")
    train.add_argument("--start", metavar="ID", help="weights to begin with (default: from scratch)")
    train.add_argument("--imagenet", action="store_true",
                       help="begin a ResNet with torchvision's ImageNet weights, which are downloaded")
    train.add_argument("--build", type=setting, action="append", default=[], metavar="NAME=NUMBER",
                       help="an argument of the network, such as side=64")
    train.add_argument("--out", required=True, metavar="ID", help="name of the new weights, such as fcrn-a/mine")
    train.add_argument("--title", help="what a list shows (default: the name)")
    train.add_argument("--licence", default="not stated", help="terms of the weights, as their data allow")
    train.add_argument("--data-name", help="how the manifest names the images")
    train.add_argument("--cell-diameter", type=float, help="typical cell, px (default: estimated)")
    train.add_argument("--rescale", nargs="?", choices=("estimate", "outlines"), const="estimate",
                       help="bring each image to the scale at which its cells have --cell-diameter px: by their "
                            "estimated diameter, as counting does (estimate, the default), or by that of their "
                            "outlines, where there are some")
    train.add_argument("--zoom", type=factor, action="append", default=[], metavar="FACTOR",
                       help="learn from each image at this many times its size as well, such as 1.4")
    train.add_argument("--mix", type=images_of, action="append", default=[], metavar="PRESET=NUMBER",
                       help="learn from so many images of this preset of the simulator as well")
    train.add_argument("--upright", action="store_true",
                       help="turn images with dark cells into their negatives, as counting does")
    train.add_argument("--run", dest="folder", type=Path, help="folder of the run; resumes there (default: runs/ID)")
    train.add_argument("--example", default="vgg-cells-1-000.png", metavar="FILE",
                       help="image below examples/ whose count is kept as the known answer (default: %(default)s)")
    train.add_argument("--threads", type=least(1), help="CPU threads (default: all)")
    declared_flags(train, TrainingConfig)
    declared_flags(train, Options, ("pages", "z", "frame"))
    device_flag(train)

    _benchmark(verbs)

    simulate = command(verbs, "simulate", commands.simulate, "make images with known dots")
    simulate.add_argument("--preset", choices=PRESETS, required=True)
    simulate.add_argument("-n", type=least(1), default=1, help="number of images (default: 1)")
    simulate.add_argument("--seed", type=least(0), default=0)
    simulate.add_argument("--cells", type=int, help="cells in each image (default: as the preset draws them)")
    simulate.add_argument("--out", type=Path, required=True, metavar="DIR")

    space = command(verbs, "space", commands.space, "write a folder that becomes a Space on the Hugging Face Hub")
    space.add_argument("folder", type=Path, metavar="DIR", help="a new or empty folder")
    kind = space.add_mutually_exclusive_group()
    kind.add_argument("--gradio", dest="kind", action="store_const", const="gradio", default="gradio",
                      help="the Gradio app alone (default)")
    kind.add_argument("--docker", dest="kind", action="store_const", const="docker",
                      help="the pages and the Gradio app in a container")
    space.add_argument("--zero-gpu", action="store_true", help="for a Gradio Space with ZeroGPU")
    space.add_argument("--weights", action="append", default=[], metavar="ID",
                       help="weights that go along; may be given again (default: all)")

    dots = verbs.add_parser("dots", help="convert files of dots", description="Files of dots: one dot, one cell.")
    _convert(dots.add_subparsers(required=True, metavar="ACTION"))
    return parser


def _benchmark(verbs) -> None:
    from cellapp.benchmark import CV_PLUS
    from cellapp.benchmark_protocols import PROTOCOLS, SETS
    from cellapp.calibration import SPLIT
    from cellapp.commands_benchmark import OWN
    from cellapp.conformal import LEVEL
    from cellapp.methods import METHODS, Options
    from cellapp.training import TrainingConfig

    parser = command(verbs, "benchmark", commands_benchmark.benchmark,
                      "measure weights and networks that learn, as the papers do or on your own images")
    parser.add_argument("set", choices=[*SETS, OWN], help="a labelled set, or images of your own")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR",
                        help="its folder: " + "; ".join(f"{row.name}: {row.layout}" for row in SETS.values()))
    parser.add_argument("--dots", type=Path, metavar="DIR", help="of your own images (default: beside them)")
    parser.add_argument("--split", type=Path, metavar="CSV",
                        help="of your own images: the columns image and split (train, val or test)")
    parser.add_argument("--protocol", choices=PROTOCOLS, help="; ".join(
        f"{row.name}: {row.title}" for row in PROTOCOLS.values()) + " (default: as the set's papers)")
    parser.add_argument("--weights", action="append", default=[], metavar="ID",
                        help="measure these as they are; may be given again (default, without --method: "
                             f"{DEFAULT_WEIGHTS})")
    parser.add_argument("--baselines", action="store_true", help="without weights, the two baselines alone")
    parser.add_argument("--method", action="append", default=[], choices=METHODS,
                        help="train this network in each draw; may be given again")
    parser.add_argument("--start", metavar="ID", help="weights that the --method begins with (default: from scratch)")
    parser.add_argument("--build", type=setting, action="append", default=[], metavar="NAME=NUMBER",
                        help="an argument of the network, such as side=64")
    parser.add_argument("--n-train", type=least(0), default=0, help="images to learn from in each draw")
    parser.add_argument("--n-val", type=least(0), default=0,
                        help="images to choose the epoch with (default: as many as --n-train)")
    parser.add_argument("--n-test", type=least(1), help="images to test (default: as the set's papers; a quarter)")
    parser.add_argument("--draws", type=least(1), default=1, help="divisions to repeat it with (default: 1)")
    parser.add_argument("--seed", type=least(0), default=0, help="of the first draw; the others follow (default: 0)")
    parser.add_argument("--distance", type=float, help="px between a cell and its dot (default: half the diameter)")
    parser.add_argument("--intervals", choices=[SPLIT, CV_PLUS], default=SPLIT,
                        help="of a --method: split, from the errors on the images that choose the epoch (19 or more); "
                             "cv+, where these are few, from the errors on all images of the draw in five parts, which "
                             "takes FIVE MORE TRAININGS in each draw (default: split)")
    parser.add_argument("--level", type=share, default=LEVEL,
                        help="share of true counts that the intervals of a --method are to hold (default: 0.95)")
    parser.add_argument("--worst", type=least(0), default=0, metavar="N",
                        help="also write a page with the N worst images of each, their maps and likely reasons")
    parser.add_argument("--out", type=Path, metavar="DIR",
                        help="folder of the run, which goes on there (default: runs/benchmark-SET)")
    declared_flags(parser, Options)
    declared_flags(parser, TrainingConfig, tuple(n for n in TrainingConfig.model_fields if n not in ("method", "seed")))
    device_flag(parser)


def _convert(actions) -> None:
    from cellapp.commands_dots import convert
    from cellapp.dots import FORMATS

    parser = command(actions, "convert", convert, "write the dots of one image in another format")
    parser.add_argument("input", type=Path, metavar="IN", help="a file of dots, in any format that is read")
    parser.add_argument("output", type=Path, metavar="OUT")
    parser.add_argument("--to", required=True, choices=[row.name for row in FORMATS.values() if row.writer])
    parser.add_argument("--image", metavar="NAME", help="the image's file name: which one of several, and what is "
                                                        "written where the format names the image")
    parser.add_argument("--shape", type=shape, metavar="HxW", help="height and width of the image, such as 512x640")
    parser.add_argument("--class", dest="classes", action="append", default=[], metavar="NAME",
                        help="take the dots of this class alone; may be given again")
    parser.add_argument("--annotator", metavar="NAME", help="take the dots of this person, where several set some")
    parser.add_argument("--pixel-size", type=float, metavar="SIZE",
                        help="of an ImageJ table measured in an image with a scale: the size of a pixel in its unit")


def _weights(actions) -> None:
    from cellapp.methods import Options
    from cellapp.simulate import PRESETS

    command(actions, "list", commands.weights, "list the weights")
    command(actions, "verify", commands.verify, "count the known answer of all weights")
    describe = command(actions, "describe", commands_train.describe,
                        "keep in the manifest what the training images look like, by which others are doubted")
    describe.add_argument("id", metavar="ID", help="the weights")
    folder_flags(describe, required=False)
    describe.add_argument("--preset", choices=PRESETS, help="they were simulated with this preset")
    describe.add_argument("-n", type=least(1), default=300, help="at most so many images (default: 300)")
    describe.add_argument("--rescale", nargs="?", choices=("estimate", "outlines"), const="estimate",
                          help="training brought them to its scale")
    describe.add_argument("--upright", action="store_true", help="training turned dark ones into their negatives")
    describe.add_argument("--second-look", action="store_true",
                          help="let the size of the cells that these weights see put a wrong estimate right; for "
                               "weights that learnt outlines of cells of many sizes")
    declared_flags(describe, Options, ("pages", "z", "frame"))
    calibrate = command(actions, "calibrate", commands_calibrate.calibrate,
                         "give the counts intervals, from the errors on images of known counts")
    calibrate.add_argument("id", metavar="ID", help="the weights")
    folder_flags(calibrate, required=False)
    calibrate.add_argument("--preset", choices=PRESETS, help="images simulated with this preset instead of a folder")
    calibrate.add_argument("--not-learnt", action="store_true",
                           help="leave out those images of the folder that the training of these weights drew from it "
                                "(give the --include, --exclude, --table and --where of that training)")
    calibrate.add_argument("--validation", action="store_true",
                           help="take the images that chose the epoch in the training of these weights, as it does by "
                                "itself (give its --images and patterns, or its --preset)")
    calibrate.add_argument("--rescale", action="store_true", help="bring them to the scale of the weights first, as "
                                                                  "training did")
    calibrate.add_argument("--upright", action="store_true", help="turn dark ones into their negatives first, likewise")
    calibrate.add_argument("-n", type=least(1), default=100, help="at most so many images (default: 100)")
    calibrate.add_argument("--seed", type=least(0), default=1, help="of the draw, or of the simulator (default: 1)")
    calibrate.add_argument("--level", type=share, default=0.95, help="share of true counts that the intervals are to "
                                                                      "hold (default: 0.95, from 19 images on)")
    calibrate.add_argument("--data-name", help="how the manifest names the images")
    declared_flags(calibrate, Options, ("channel", "cell_diameter", "pages", "z", "frame", "polarity", "quick"))
    device_flag(calibrate)

    pull = command(actions, "pull", commands_hub.pull, "download weights from the Hugging Face Hub and check them")
    pull.add_argument("repo", metavar="REPO", help="user/repo or user/repo@revision")
    push = command(actions, "push", commands_hub.push, "send weights to a repository on the Hugging Face Hub")
    push.add_argument("id", metavar="ID", help="the weights")
    push.add_argument("repo", metavar="REPO", help="user/repo, which is made if it is not there")
    push.add_argument("--public", action="store_true", help="everybody may see it (default: only you)")
    push.add_argument("--licence", metavar="TERMS", help="such as MIT or CC BY 4.0, where the weights state none")
    push.add_argument("--dry-run", action="store_true", help="only list what would leave this computer")
    push.add_argument("--yes", action="store_true", help="do not ask")
    search = command(actions, "search", commands_hub.search, "list repositories with weights of cellapp")
    search.add_argument("text", nargs="?", metavar="TEXT", help="in the name of the repository")
