"""What the flags of several commands are made of: values that are checked as they are read, and flags that recur."""

import argparse
from pathlib import Path

from pydantic import BaseModel


def command(verbs, name: str, run, about: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    return parser


def least(bound: int):
    """A whole number that is at least ``bound``."""
    def whole_number(text: str) -> int:
        if not text.isdecimal() or int(text) < bound:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least {bound}")
        return int(text)

    return whole_number


def factor(text: str) -> float:
    """A number between 0.2 and 5."""
    try:
        factor = float(text)
    except ValueError:
        factor = float("nan")
    if not 0.2 <= factor <= 5:
        raise argparse.ArgumentTypeError(f"{text} is not a number between 0.2 and 5")
    return factor


def images_of(text: str) -> tuple[str, int]:
    """A preset of the simulator and a number of images from ``PRESET=NUMBER``."""
    from cellapp.simulate import PRESETS

    preset, _, number = text.partition("=")
    if preset not in PRESETS or not number.isdecimal() or not int(number):
        raise argparse.ArgumentTypeError(f"{text} is not a preset and a number of images such as variety=200; the "
                                         f"presets are {', '.join(PRESETS)}")
    return preset, int(number)


def share(text: str) -> float:
    """A number between 0.5 and 0.99."""
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0.5 <= share <= 0.99:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0.5 to 0.99")
    return share


def shape(text: str) -> tuple[int, int]:
    """Height and width from ``HxW``."""
    height, _, width = text.lower().replace("×", "x").partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text} is not a height and a width such as 512x640")
    return int(height), int(width)


def setting(text: str) -> tuple[str, int]:
    """A name and a whole number from ``NAME=NUMBER``."""
    name, _, number = text.partition("=")
    if not name.isidentifier() or not number.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a name and a whole number such as side=64")
    return name, int(number)


def declared_flags(parser: argparse.ArgumentParser, model: type[BaseModel], only: tuple[str, ...] = ()) -> None:
    """One flag per declared field; pydantic checks the value, the description is the help."""
    for name, field in model.model_fields.items():
        if only and name not in only:
            continue
        if field.annotation is bool:
            parser.add_argument(f"--{name.replace('_', '-')}", help=field.description, action="store_const", const=True)
            continue
        shown = "" if field.default is None else f" (default: {field.default})"
        parser.add_argument(f"--{name.replace('_', '-')}", help=field.description + shown, metavar="VALUE")


def folder_flags(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument("--images", type=Path, required=required, metavar="DIR", help="folder of the images")
    parser.add_argument("--dots", type=Path, metavar="DIR", help="folder of the dots (default: that of the images)")
    parser.add_argument("--include", action="append", default=[], metavar="PATTERN", help="such as '0*cell.png'")
    parser.add_argument("--exclude", action="append", default=[], metavar="PATTERN")
    parser.add_argument("--table", type=Path, metavar="CSV",
                        help="table of the images, with a column file or stem and, where there are no dots, count")
    parser.add_argument("--where", action="append", default=[], metavar="COLUMN=VALUE",
                        help="take these rows of --table")
    parser.add_argument("--size", type=shape, metavar="HxW", help="bring all images to this height and width first")


def scheduler_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scheduler", metavar="ADDRESS",
                        help="count on your own Dask cluster: tcp://10.0.0.5:8786 or so; who runs it can run code here")


def device_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
