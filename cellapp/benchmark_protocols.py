"""Labelled sets and the published ways to divide them into images to learn from, to choose the epoch with and to test.

`SETS` says how the folder of a set is laid out, `PROTOCOLS` how it is divided. The images stay where the user keeps
them; nothing is downloaded.
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cellapp.data import Dotted, read_counted, read_folder, read_table
from cellapp.errors import BenchmarkError

TRAIN, VAL, TEST = "train", "val", "test"


@dataclass(frozen=True)
class Draw:
    """One division: numbers of images in the set. ``rest`` are all that are not tested."""

    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]
    rest: tuple[int, ...]


@dataclass(frozen=True)
class Loaded:
    """A set that was read: its images by name, which of them belong together, and sides that are given."""

    items: tuple[Dotted, ...]
    groups: tuple[str, ...]
    sides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Protocol:
    """A row of `PROTOCOLS`.

    divide : (set, number of test images, random numbers) → the test images, and the others in the order drawn
    fixed : the same images are tested in every draw
    """

    name: str
    title: str
    divide: Callable[[Loaded, int, np.random.Generator], tuple[list[int], list[int]]]
    fixed: bool = False


def _last(loaded: Loaded, n_test: int, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    first = len(loaded.items) - n_test
    return list(range(first, len(loaded.items))), rng.permutation(first).tolist()


def _shuffled(loaded: Loaded, n_test: int, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    order = rng.permutation(len(loaded.items)).tolist()
    return order[-n_test:], order[:-n_test]


def _by_group(loaded: Loaded, n_test: int, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Whole groups are tested, as many as ``n_test`` images take."""
    names = sorted(set(loaded.groups))
    if len(names) < 2:
        raise BenchmarkError("These images come from one source, so they cannot be divided by source; choose another "
                             "protocol.")
    tested: set[str] = set()
    for k in rng.permutation(len(names))[:-1]:               # one source is left to learn from
        if sum(group in tested for group in loaded.groups) >= n_test:
            break
        tested.add(names[k])
    order = rng.permutation(len(loaded.items)).tolist()
    return ([k for k in order if loaded.groups[k] in tested], [k for k in order if loaded.groups[k] not in tested])


def _given(loaded: Loaded, n_test: int, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    order = rng.permutation(len(loaded.items)).tolist()
    if TEST not in loaded.sides:
        raise BenchmarkError("No image is said to be a test image; the split needs rows with “test”.")
    return ([k for k in range(len(order)) if loaded.sides[k] == TEST], [k for k in order if loaded.sides[k] != TEST])


PROTOCOLS = {row.name: row for row in (
    Protocol("last", "the last images are tested, the others drawn from (Lempitsky and Zisserman, Xie et al.)", _last,
             fixed=True),
    Protocol("shuffled", "all images shuffled for each draw (Cohen et al.; Xue et al. with halves)", _shuffled),
    Protocol("source", "whole sources are tested, drawn anew for each draw", _by_group),
    Protocol("split", "the division that comes with the images", _given, fixed=True),
)}


def divide(loaded: Loaded, protocol: str, n_test: int, n_train: int, n_val: int, seed: int) -> Draw:
    """The draw of this seed; with ``n_train`` 0 nothing is learnt. `BenchmarkError` where the images do not suffice."""
    test, rest = PROTOCOLS[protocol].divide(loaded, n_test, np.random.default_rng(seed))
    if n_train + n_val > len(rest):
        raise BenchmarkError(f"{n_train} images to learn from and {n_val} to choose the epoch are more than the "
                             f"{len(rest)} that are not tested; ask for fewer.")
    if loaded.sides and VAL in loaded.sides and protocol == "split":
        learn = [k for k in rest if loaded.sides[k] == TRAIN]
        choose = [k for k in rest if loaded.sides[k] == VAL]
        if n_train > len(learn) or n_val > len(choose):
            raise BenchmarkError(f"The split has {len(learn)} images to learn from and {len(choose)} to choose the "
                                 f"epoch with, not {n_train} and {n_val}; ask for fewer.")
        return Draw(tuple(learn[:n_train]), tuple(choose[:n_val]), tuple(test), tuple(rest))
    return Draw(tuple(rest[:n_train]), tuple(rest[n_train : n_train + n_val]), tuple(test), tuple(rest))


@dataclass(frozen=True)
class BenchmarkSet:
    """A row of `SETS`.

    layout : how its folder looks, for the user
    read : from the folder; n_test : images that its papers test; protocols : the first is the usual one
    """

    name: str
    title: str
    layout: str
    read: Callable[[Path], Loaded]
    n_test: int
    protocols: tuple[str, ...]


def _vgg(folder: Path) -> Loaded:
    items = read_folder(folder)
    return Loaded(tuple(items), tuple(item.name for item in items))


def _mbm(folder: Path) -> Loaded:
    items = read_folder(folder)
    # BM_GRAZ_HE_0001_01_003.png is the last quadrant of the source 0001_01
    return Loaded(tuple(items), tuple(item.name.rsplit("_", 1)[0] for item in items))


def _adi(folder: Path) -> Loaded:
    items = read_folder(folder / "images", folder / "annotations")
    # 0-11900_GTEX-13QJC_Adipose-Subcutaneous.jpeg is of the donor GTEX-13QJC
    return Loaded(tuple(items), tuple([*item.name.split("_"), "", ""][1] for item in items))


def _crc(folder: Path) -> Loaded:
    items = read_folder(folder / "images", folder / "dots")
    return Loaded(tuple(items), tuple(item.name for item in items))


def _bbbc005(stain: str) -> Callable[[Path], Loaded]:
    def read(folder: Path) -> Loaded:
        table = folder / "index.csv"
        if not table.is_file():
            raise BenchmarkError(f"{table}: there is no such table; it needs the columns file, count, stain and split.")
        items = read_counted(folder / "images", read_table(table, (f"stain={stain}",)))
        sides = read_split(table, "file")
        return Loaded(tuple(items), tuple(_scene(item.name) for item in items),
                      tuple(sides[item.name] for item in items))

    return read


def _scene(name: str) -> str:
    """A01_C001_F01_s01_w1.jpg → C001_s01: the same cells at every focus, which a division of files lets leak."""
    parts = [*Path(name).stem.split("_"), "", "", "", ""]
    return f"{parts[1]}_{parts[3]}"


SETS = {row.name: row for row in (
    BenchmarkSet("vgg", "VGG cells", "001cell.png, 001dots.png, … in one folder", _vgg, 100,
                 ("last", "shuffled")),
    BenchmarkSet("mbm", "bone marrow (MBM)", "BM_GRAZ_…_000.png and BM_GRAZ_…_dots_000.png in one folder", _mbm, 11,
                 ("shuffled", "source")),
    BenchmarkSet("adi", "adipose tissue (ADI)", "images/ and annotations/ with red dots, of the same names", _adi, 100,
                 ("shuffled", "source")),
    BenchmarkSet("crc", "colorectal nuclei (CRCHistoPhenotypes)", "images/img001.png and dots/img001.csv, …", _crc, 50,
                 ("shuffled",)),
    BenchmarkSet("bbbc005-nuclei", "BBBC005, nuclei (stain 1 here)",
                 "images/ and index.csv (file, count, stain, split)", _bbbc005("1"), 360, ("source", "split")),
    BenchmarkSet("bbbc005-bodies", "BBBC005, whole bodies (stain 2 here)",
                 "images/ and index.csv (file, count, stain, split)", _bbbc005("2"), 360, ("source", "split")),
)}


def read_split(path: str | Path, column: str = "image") -> dict[str, str]:
    """File name → train, val or test, from a CSV with the columns ``image`` (or ``column``) and ``split``."""
    path = Path(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BenchmarkError(f"{path.name}: it cannot be read as a table ({error}); give a CSV with the columns "
                             f"{column} and split.") from error
    if not rows or not {column, "split"} <= rows[0].keys():
        raise BenchmarkError(f"{path.name}: it needs the columns {column} and split, and a row for each image.")
    for row in rows:
        if row["split"] not in (TRAIN, VAL, TEST):
            raise BenchmarkError(f"{path.name}: the split of {row[column]} is “{row['split']}”; it must be train, val "
                                 "or test.")
    return {row[column]: row["split"] for row in rows}


def own_set(images: Path, dots: Path | None, split: Path | None) -> Loaded:
    """Images of one's own with dots, and the side of each if there is a table of them; others are left out."""
    items = read_folder(images, dots)
    if split is None:
        return Loaded(tuple(items), tuple(item.name for item in items))
    sides = read_split(split)
    known = [item for item in items if item.name in sides or Path(item.name).stem in sides]
    if missing := sides.keys() - {name for item in known for name in (item.name, Path(item.name).stem)}:
        raise BenchmarkError(f"{split.name}: there is no image with dots called “{min(missing)}”; check the names.")
    return Loaded(tuple(known), tuple(item.name for item in known),
                  tuple(sides.get(item.name) or sides[Path(item.name).stem] for item in known))


def read_set(name: str, folder: Path) -> Loaded:
    """The images of a set of `SETS` in this folder."""
    if not folder.is_dir():
        raise BenchmarkError(f"{folder}: there is no such folder; give the one that holds {SETS[name].layout}.")
    return SETS[name].read(folder)


def tested(loaded: Loaded, draws: Sequence[Draw]) -> int:
    """How many different images are tested in these draws."""
    return len({k for draw in draws for k in draw.test})
