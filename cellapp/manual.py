"""What was counted by hand in which image: files of dots or tables of counts, matched with images by name; and dots
set in the browser.

Nothing is counted here; `match` says what belongs together before anything runs, `with_own` adds what was set here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from cellapp.dot_model import Content, inside
from cellapp.dot_pairing import Match, match_names
from cellapp.dot_tables import NO_SCALE, is_counts, read_counts
from cellapp.dots import Dots, check_dots, check_swap, pick, read_dots_file
from cellapp.errors import DotsError

if TYPE_CHECKING:
    from cellapp.annotation import Annotation


@dataclass(frozen=True)
class Manual:
    """The truth of one image.

    count : cells; dots : their places, None where only the number is known; file : where it comes from
    """

    image: str
    count: float
    dots: Dots | None
    file: str

    @property
    def upload(self) -> str:
        """The file that was given for this image, "" if there is none."""
        return self.file

    def swapped(self) -> "Manual":
        """The same with x and y exchanged."""
        return replace(self, dots=self.dots and replace(self.dots, points=self.dots.points[:, ::-1]))

    def checked(self, shape: tuple[int, int]) -> np.ndarray | float:
        """(N, 2) dots that lie in the image of (H, W), or the count alone; raises `DotsError`."""
        return self.count if self.dots is None else check_dots(self.dots, shape, self.file)

    def is_swapped(self, shape: tuple[int, int]) -> bool:
        """Whether dots lie outside and all would lie inside with x and y exchanged."""
        return self.dots is not None and check_swap(self.dots.points, shape) is not None

    def fits_swapped(self, shape: tuple[int, int]) -> bool:
        """Whether all dots lie inside with x and y exchanged."""
        return self.dots is not None and bool(inside(self.dots.points[:, ::-1], shape).all())


@dataclass(frozen=True)
class Own(Manual):
    """Dots set in the browser, so nobody exchanged x and y; ``instead`` is the file in whose place they are."""

    instead: str = ""

    @property
    def upload(self) -> str:
        """As in `Manual`."""
        return self.instead

    def is_swapped(self, shape: tuple[int, int]) -> bool:
        """Never."""
        return False

    def fits_swapped(self, shape: tuple[int, int]) -> bool:
        """Never."""
        return False


@dataclass(frozen=True)
class Matching:
    """Which images have a truth, and what is left.

    Attributes
    ----------
    found : by the images' names, in their order
    without, twice : images without dots; names that several images have, so that nothing can be matched with them
    partly : images of which only a part was dotted in the browser, so that the number of their cells is not known
    unused : files, or ``file: image named in it``, that can be read and belong to no image
    unread : sentences about files that cannot be read
    several : files, of which the first was taken, for images with a choice
    classes : dots of each class in ``found``
    annotators : people who set dots in the same images
    unscaled : ImageJ tables whose places may be in a unit of length
    """

    found: Mapping[str, Manual] = field(default_factory=lambda: MappingProxyType({}))
    without: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()
    partly: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    several: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    classes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    annotators: tuple[str, ...] = ()
    unscaled: tuple[str, ...] = ()


def match(images: Sequence[str], files: Sequence[tuple[str, bytes]], *, chosen: Mapping[str, str] | None = None,
          classes: tuple[str, ...] = (), annotator: str | None = None, pixel_size: float | None = None) -> Matching:
    """Match images with files of dots, or with tables of counts, by name.

    Parameters
    ----------
    images : names of the image files, which may lie in folders; only the last part of a name is matched
    files : (name, bytes); of two files with one name the first one counts
    chosen : image → the file to be taken, where `Matching.several` offers a choice
    classes, annotator : as `read_dots_file` has them; a file without any of the classes gives no dots
    pixel_size : divides the places of ImageJ tables that were measured with a scale
    """
    times = Counter(PurePath(name).name for name in images)
    twice = {name for name in images if times[PurePath(name).name] > 1}
    named = {PurePath(name): name for name in images if name not in twice}
    pictures = list(named)
    shelf = _Files(files, annotator, pixel_size)
    paths = [PurePath(name) for name in shelf.contents]
    pairing = match_names(pictures, paths, shelf.names_in)
    several = {named[image]: tuple(map(str, choice)) for image, choice in pairing.several}
    left_out = {file for image, choice in several.items() for file in choice
                if chosen and chosen.get(image) in choice and file != chosen[image]}
    if left_out:
        pairing = match_names(pictures, [path for path in paths if str(path) not in left_out], shelf.names_in)
    spare = {file for choice in several.values() for file in choice}    # told by `several`, not as left over
    found, unread, known = {}, list(pairing.unread), Counter()
    without = [named[path] for path in pairing.without_dots]
    for pair in pairing.matches:
        try:
            manual = shelf.manual(pair, named[pair.image])
        except DotsError as error:
            unread.append(str(error))
            without.append(named[pair.image])
            continue
        known.update(label or "" for label in (manual.dots.classes if manual.dots else ()))
        found[named[pair.image]] = _of_classes(manual, classes)
    if not any(known.keys() - {""}):
        known.clear()
    told = {sentence.partition(": ")[0] for sentence in unread}
    return Matching(
        found, tuple(sorted(without)), tuple(sorted(twice)), (),
        tuple(name for name in pairing.without_image if name not in spare | told),
        tuple(unread), several, dict(known), shelf.annotators(), tuple(shelf.unscaled))


def with_own(found: Matching, images: Sequence[str], dotted: Sequence[tuple[str, "Annotation"]],
             classes: tuple[str, ...] = ()) -> Matching:
    """The same with the dots set in the browser.

    They come before those of files, from which they often began. An image that is dotted in part has the truth of its
    file, if there is one; so has one of several with the very same name.

    Parameters
    ----------
    images : names of all images, in their order
    dotted : (name, dots) of those that were dotted; classes : as in `match`
    """
    once = {name for name, times in Counter(images).items() if times == 1}
    whole = {name: kept for name, kept in dotted if name in once and not kept.area}
    own, known = {}, Counter(found.classes)
    for name, kept in whole.items():
        file = found.found[name].file if name in found.found else ""
        manual = Own(name, float(len(kept.points)), kept.dots(name), "the dots set on the page Annotate", file)
        known.update(label for label in manual.dots.classes if label)
        own[name] = _of_classes(manual, classes if any(manual.dots.classes) else ())
    partly = tuple(name for name, kept in dotted if kept.area and name not in {*found.found, *own})
    both = {**found.found, **own}
    return replace(
        found, found={name: both[name] for name in images if name in both}, partly=partly, classes=dict(known),
        without=tuple(name for name in found.without if name not in {*own, *partly}),
        twice=tuple(name for name in found.twice if name not in {*own, *partly}),
        several={name: files for name, files in found.several.items() if name not in own})


def _of_classes(manual: Manual, classes: tuple[str, ...]) -> Manual:
    """The dots of these classes alone ("" are those without a class); all of them if none is asked for."""
    if not classes or manual.dots is None:
        return manual
    keep = np.array([(label or "") in classes for label in manual.dots.classes], bool)
    dots = replace(manual.dots, points=manual.dots.points[keep], others=(),
                   classes=tuple(label for label, kept in zip(manual.dots.classes, keep, strict=True) if kept))
    return replace(manual, count=float(len(dots.points)), dots=dots)


class _Files:
    """The files by their names, each read once."""

    def __init__(self, files: Sequence[tuple[str, bytes]], annotator: str | None, pixel_size: float | None):
        self.contents: dict[str, bytes] = {}
        for name, data in files:
            self.contents.setdefault(str(PurePath(name)), data)
        self.unscaled: list[str] = []
        self._annotator, self._pixel_size = annotator, pixel_size
        self._read: dict[str, dict[str, Dots] | dict[str, float] | DotsError] = {}
        self._people: dict[str, None] = {}

    def read(self, name: str) -> dict[str, Dots] | dict[str, float]:
        """What the file holds, by image: dots, or numbers of cells."""
        if name not in self._read:
            try:
                self._read[name] = self._fresh(name)
            except DotsError as error:
                self._read[name] = error
        if isinstance(self._read[name], DotsError):
            raise self._read[name]
        return self._read[name]

    def _fresh(self, name: str) -> dict[str, Dots] | dict[str, float]:
        data = self.contents[name]
        content = Content(data, name)
        if content.kind == "text" and is_counts(content):
            return read_counts(content)
        found = read_dots_file(data, name)
        if any(NO_SCALE in dots.notes for dots in found.values()):
            self.unscaled.append(name)
            if self._pixel_size:
                found = read_dots_file(data, name, pixel_size=self._pixel_size)
        people = {own.annotator: None for dots in found.values() for own in (dots, *dots.others) if own.annotator}
        self._people |= people
        if self._annotator in people:
            found = read_dots_file(data, name, annotator=self._annotator)
        return found

    def names_in(self, path: PurePath) -> list[str]:
        """The images that a file names."""
        return list(self.read(str(path)))

    def manual(self, pair: Match, image: str) -> Manual:
        """The truth of a matched image, which is kept under the name ``image``."""
        file, found = pair.file.name, self.read(str(pair.file))
        if found and all(isinstance(value, float) for value in found.values()):
            key = pair.entry or (next(iter(found)) if len(found) == 1 else None)
            if key is None:
                raise DotsError(f"{file}: it is named after {image}, but holds the counts of {len(found)} images and "
                                "not its own; correct the names in it.")
            return Manual(image, found[key], None, file)
        dots = pick(found, pair.entry or pair.image.name, file)
        return Manual(image, float(len(dots.points)), dots, file)

    def annotators(self) -> tuple[str, ...]:
        """Who set dots, if there was more than one."""
        return tuple(self._people) if len(self._people) > 1 else ()


