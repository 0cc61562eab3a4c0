"""Images with their truth, to train on and to measure with: from folders, or from the simulator."""

import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

import cv2
import numpy as np

from cellapp.axes import USUAL, Choice
from cellapp.dots import IMAGE_SUFFIXES, Match, check_dots, image_files, pair_report, pick, read_dots_file, read_labels
from cellapp.errors import DotsError
from cellapp.image import plane, read_image
from cellapp.likeness import colour, summarise
from cellapp.polarity import BRIGHT, bright, detect, of_images, upright
from cellapp.scale import choose_scale, resize, resize_labels, suggest_diameter
from cellapp.simulate import simulate


@dataclass(frozen=True)
class Dotted:
    """One image with its ground truth.

    image : (H, W) float32 as read
    points : (N, 2) float (y, x); None where only the number of cells is known
    labels : (H, W) int, 0 ground, a number for each cell; None without outlines
    known : number of cells where there are no points
    colour : how colourful the image is, as `cellapp.likeness` measures it
    counted : (H, W) bool, where every cell has its dot; None for the whole image. There are no points outside of it
    """

    name: str
    image: np.ndarray
    points: np.ndarray | None
    labels: np.ndarray | None = None
    known: float = float("nan")
    colour: float = 0.0
    counted: np.ndarray | None = None

    @property
    def count(self) -> float:
        """True number of cells."""
        return float(self.known if self.points is None else len(self.points))

    @property
    def truth(self) -> float | np.ndarray:
        """The (N, 2) dots where they are known all over the image, else the number of cells."""
        return self.count if self.points is None or self.counted is not None else self.points


def read_table(path: str | Path, where: tuple[str, ...] = ()) -> dict[str, float]:
    """File name or stem → number of cells (nan if not given) of the rows of a CSV that meet all conditions.

    The table has a column ``file`` or ``stem`` and, for images without dots, a column ``count``. Each of ``where``
    reads ``column=value``.
    """
    path = Path(path)
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        name = next((c for c in ("file", "stem") if c in columns), None)
        if name is None:
            raise DotsError(f"{path.name}: it has no column “file” or “stem”; its columns are: {', '.join(columns)}.")
        wanted = [condition.partition("=")[::2] for condition in where]
        for column, _ in wanted:
            if column not in columns:
                raise DotsError(f"{path.name}: it has no column “{column}”; its columns are: {', '.join(columns)}.")
        rows = [row for row in reader if all(row[column] == value for column, value in wanted)]
    if not rows:
        raise DotsError(f"{path.name}: no row meets {' and '.join(where)}.")
    try:
        return {row[name]: float(row.get("count") or "nan") for row in rows}
    except ValueError as error:
        raise DotsError(f"{path.name}: a number of cells cannot be read ({error}).") from error


def read_folder(
    images: str | Path,
    dots: str | Path | None = None,
    *,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    channel: str = "auto",
    planes: Choice = USUAL,
    table: Mapping[str, float] | None = None,
) -> list[Dotted]:
    """Read every image that has dots, in any format of `cellapp.dots.FORMATS`, sorted by name.

    ``include`` and ``exclude`` are shell patterns on the image's file name (``0*cell.png``); without
    ``include`` every image counts. ``table`` (of `read_table`) leaves only its images. Label masks are kept, too.
    ``planes`` says what is read of files of several planes.
    Raises `DotsError` if nothing is left, or if dots lie outside.
    """
    report = pair_report(images, dots)
    wanted = [match for match in report.matches if _wanted(match.image, include, exclude, table)]
    if not wanted:
        with_dots = len(report.matches)
        unread = f" Not read: {report.unread[0]}" if report.unread else ""
        raise DotsError(f"{images}: no image with dots is left of {with_dots + len(report.without_dots)} images "
                        f"({with_dots} with dots); check the folder of the dots and the patterns.{unread}")
    files = {}
    return [_read_match(match, channel, planes, files) for match in wanted]


def _wanted(image: Path, include, exclude, table) -> bool:
    return ((not include or any(fnmatch(image.name, p) for p in include))
            and not any(fnmatch(image.name, p) for p in exclude)
            and (table is None or image.name in table or image.stem in table))


def read_counted(images: str | Path, table: Mapping[str, float], *, include: tuple[str, ...] = (),
                 exclude: tuple[str, ...] = (), channel: str = "auto",
                 planes: Choice = USUAL) -> list[Dotted]:
    """The images of a table that gives only their number of cells, sorted by name."""
    wanted = [path for path in image_files(Path(images)) if _wanted(path, include, exclude, table)]
    if not wanted:
        raise DotsError(f"{images}: no image of the table is in this folder; check the folder and the table.")
    found = []
    for path in wanted:
        known = table.get(path.name, table.get(path.stem))
        if not known >= 0:
            raise DotsError(f"{path.name}: the table does not say how many cells it has; add a column “count”.")
        image = read_image(path, **asdict(planes))
        found.append(Dotted(path.name, plane(image, channel)[0], None, None, known, colour(image, channel)))
    return found


def _read_match(match: Match, channel: str, planes: Choice, files: dict) -> Dotted:
    """``files`` keeps what was read from files that serve several images."""
    image = read_image(match.image, **asdict(planes))
    grey, _ = plane(image, channel)
    found = files.get(match.file) or read_dots_file(match.file)
    if len(found) > 1:
        files[match.file] = found
    dots = pick(found, match.entry or match.image.name, match.file.name)
    labels = read_labels(match.file) if match.file.suffix.lower() in IMAGE_SUFFIXES else None
    points = check_dots(dots, grey.shape, match.file.name)
    return Dotted(match.image.name, grey, points, labels, colour=colour(image, channel))


def resized(item: Dotted, shape: tuple[int, int]) -> Dotted:
    """The image and its truth on another grid: area means where it shrinks, dots moved along."""
    if item.image.shape == shape:
        return item
    shrinks = shape[0] < item.image.shape[0]
    image = cv2.resize(item.image, shape[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    ratio = np.array(shape) / item.image.shape
    points = None if item.points is None else (item.points + 0.5) * ratio - 0.5
    labels = None if item.labels is None else resize_labels(item.labels, None, shape)
    counted = None if item.counted is None else resize_labels(item.counted, None, shape)
    return Dotted(item.name, image, points, labels, item.known, item.colour, counted)


def rescaled(item: Dotted, diameter: float, by: str = "estimate") -> Dotted:
    """The image and its truth at the scale for weights that learn cells of ``diameter`` px.

    by : "estimate", the scale `Counter` would read the image at, or "outlines", that of its outlined cells' median
        diameter, and of the estimate where there are none
    """
    known = outlined_diameter(item.labels) if by == "outlines" else None
    dark = detect(item.image) == "dark"
    return zoomed(item, choose_scale(bright(item.image, dark), known, diameter, dark=dark).factor)


def outlined_diameter(labels: np.ndarray | None) -> float | None:
    """Median diameter, in px, of circles as large as the outlined cells; None without any."""
    areas = np.bincount(labels.ravel())[1:] if labels is not None else np.empty(0)
    return float(np.median(2 * np.sqrt(areas[areas > 0] / np.pi))) if (areas > 0).any() else None


def zoomed(item: Dotted, factor: float) -> Dotted:
    """The image and its truth at ``factor`` times its size."""
    return resized(item, resize(item.image, factor).shape)


def uprighted(item: Dotted) -> Dotted:
    """The image with bright cells, as far as its polarity can be told: what `Counter` would read."""
    return replace(item, image=upright(item.image))


def simulated(preset: str, n: int, seed: int) -> list[Dotted]:
    """``n`` images of a simulator preset; image i depends on the seed and on i alone."""
    scenes = (simulate(preset, seed, index) for index in range(n))
    return [Dotted(f"{preset}-{seed}-{index:05d}", scene.image.astype(np.float32), scene.points, scene.labels)
            for index, scene in enumerate(scenes)]


def split(data: list[Dotted], n_train: int, n_val: int, seed: int) -> tuple[list[Dotted], list[Dotted]]:
    """Draw ``n_train`` and ``n_val`` different images by a seeded shuffle."""
    if n_train < 1 or n_val < 1 or n_train + n_val > len(data):
        raise DotsError(f"{len(data)} dotted images cannot give {n_train} for training and {n_val} for "
                        "validation, at least one of each; ask for fewer or add images.")
    order = np.random.default_rng(seed).permutation(len(data))
    return [data[i] for i in order[:n_train]], [data[i] for i in order[n_train : n_train + n_val]]


def not_learnt(data: list[Dotted], n_train: int, seed: int) -> list[Dotted]:
    """What `split` of the same images with the same numbers did not give to the training."""
    return [data[i] for i in np.random.default_rng(seed).permutation(len(data))[n_train:]]


def drawn(data: list[Dotted], n: int, seed: int) -> list[Dotted]:
    """``n`` different images by a seeded shuffle; all of them where there are not so many."""
    order = np.random.default_rng(seed).permutation(len(data))
    return [data[i] for i in order[:n]]


SUMMARISED = 300                                             # training images are enough to know what they look like


def seen(learn: list[Dotted], diameter: float, turned: bool = False, sizes: bool = False) -> dict:
    """What a manifest row says of the images its weights learn from: ``input`` and ``summary``.

    turned : dark cells were made bright before; sizes : each image is there at several sizes
    """
    some = learn[:SUMMARISED]
    polarity = BRIGHT if turned else of_images(item.image for item in some)
    return {"input": {"cell_diameter": diameter, "polarity": polarity, "negatives": turned, "sizes": sizes},
            "summary": summarise(((upright(item.image), item.colour) for item in some), diameter)}


def _diameter(image: np.ndarray) -> float | None:
    dark = detect(image) == "dark"
    return suggest_diameter(bright(image, dark), dark)


def typical_diameter(data: list[Dotted]) -> float:
    """Median of the cell diameters estimated in the images, px; to be stated by hand where none can be estimated."""
    found = [d for item in data if (d := _diameter(item.image)) is not None]
    if not found:
        raise DotsError("The cells' diameter cannot be estimated from these images; give it with --cell-diameter.")
    return round(float(np.median(found)), 2)
