"""Which dots belong to which image: by names alone, never by order.

An exact name comes before the stem, the stem before the stem without decoration, and the name of a file of dots
before the names of images inside it.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from cellapp.dot_model import listed
from cellapp.errors import DotsError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".czi", ".lif", ".nd2"}
DOT_SUFFIXES = IMAGE_SUFFIXES | {".csv", ".tsv", ".txt", ".xml", ".json", ".geojson", ".roi", ".zip", ".gz", ".mat"}
_LABELS = re.compile(r"[_-](labels?|cp_masks|masks?)$", re.IGNORECASE)   # label masks, as `simulate` and Cellpose write
_DECORATION = re.compile(r"[_-]?(dots|dot|cells|cell|points|point|labels|annotation)(?=$|_)"
                         r"|[_-](annotations|label|rois?|roiset|cp_masks|masks?|keypoints|markers|spots|detections)"
                         r"(?=$|_)", re.IGNORECASE)
_PREFIX = re.compile(r"^(CellCounter_|Counts_|RoiSet_|[0-9a-f]{8}-)", re.IGNORECASE)   # the last: Label Studio
_ROBOFLOW = re.compile(r"_(jpe?g|png|bmp|tiff?|webp)\.rf\.[0-9A-Za-z]+$", re.IGNORECASE)
_SERIES = re.compile(r"(\.(?:tiff?|lif|nd2|czi|png|jpe?g)):.*$", re.IGNORECASE)
_SUFFIX = re.compile(r"\.(ome|" + "|".join(sorted(s[1:] for s in DOT_SUFFIXES)) + ")$", re.IGNORECASE)


@dataclass(frozen=True)
class Match:
    """One image, the file with its dots, and the name the file has for the image (None: the file's own name)."""

    image: Path
    file: Path
    entry: str | None = None


@dataclass(frozen=True)
class Pairing:
    """What belongs together in two folders, and what is left.

    Attributes
    ----------
    matches : sorted by the image's name
    without_dots : images for which there is nothing
    without_image : files of dots, or ``file: image named in it``, that belong to no image
    unread : sentences about files that belong to no image and cannot be read
    several : images whose names fit several files: (image, the files, the one taken first)
    """

    matches: tuple[Match, ...]
    without_dots: tuple[Path, ...] = ()
    without_image: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    several: tuple[tuple[Path, tuple[Path, ...]], ...] = ()

    def summary(self) -> str:
        """One sentence: how many match, and what does not."""
        text = f"{len(self.matches)} of {len(self.matches) + len(self.without_dots)} images have dots"
        if self.without_dots:
            text += f"; without dots: {listed(path.name for path in self.without_dots)}"
        if self.without_image:
            text += f"; dots without an image: {listed(self.without_image)}"
        return f"{text}."


def last_part(name: str) -> str:
    """A name without its folders, of whichever system."""
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2]


def core(name: str) -> str:
    """What is left of a file's name without folders, suffixes, decorations and case."""
    stem = _SERIES.sub(r"\1", last_part(name))
    while (shorter := _SUFFIX.sub("", stem)) != stem:
        stem = shorter
    stem = _PREFIX.sub("", _ROBOFLOW.sub("", stem))
    return (_DECORATION.sub("", stem) or stem).lower()


def choose(name: str, candidates: Iterable[str]) -> str | None:
    """The one candidate that means the image ``name``; None if none does, or if several do equally well."""
    candidates = list(candidates)
    for key in (str, last_part, lambda n: Path(last_part(n)).stem, core):
        found = [c for c in candidates if c and key(c) == key(name)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def image_files(folder: Path) -> list[Path]:
    """The images in a folder, sorted by name; label masks (``*_labels.png``) are not images to count."""
    return sorted(p for p in folder.iterdir()
                  if p.suffix.lower() in IMAGE_SUFFIXES and not _LABELS.search(p.stem))


def match_folders(images: str | Path, dots: str | Path | None, names_in: Callable[[Path], list[str]]) -> Pairing:
    """Match the images of one folder with the dots of another (or of the same one).

    names_in : gives the names of the images that a file of dots mentions; raises `DotsError`. Only called while
        there are images whose dots no file is named after.
    """
    images, dots = Path(images), Path(dots or images)
    for folder in (images, dots):
        if not folder.is_dir():
            raise DotsError(f"{folder}: there is no such folder; give the folder that holds the files.")
    pictures = image_files(images)
    files = sorted(p for p in dots.iterdir() if p.suffix.lower() in DOT_SUFFIXES and p.is_file())
    if images.resolve() == dots.resolve():
        files = [p for p in files if p.suffix.lower() not in IMAGE_SUFFIXES or "dot" in p.stem.lower()
                 or _LABELS.search(p.stem)]
        pictures = [p for p in pictures if p not in set(files)]
    return match_names(pictures, files, names_in)


def match_names(pictures: list[Path], files: list[Path], names_in: Callable[[Path], list[str]]) -> Pairing:
    """Match images with files of dots, each name once; the paths need not be there, only their names are read."""
    files = sorted(files, key=_rank)
    matches = _by_file_name(pictures, files)
    found = _with_names_inside(pictures, files, matches, names_in)
    return replace(found, several=_several(found.matches, files))


def _several(matches: Iterable[Match], files: list[Path]) -> tuple[tuple[Path, tuple[Path, ...]], ...]:
    """Of the images whose dots are in a file of their own: those for which another file is named alike."""
    by_core, taken = {}, {match.file for match in matches}
    for file in files:
        by_core.setdefault(core(file.name), []).append(file)
    found = []
    for match in matches:
        others = [f for f in by_core.get(core(match.image.name), []) if f not in taken]
        if match.entry is None and others:
            found.append((match.image, (match.file, *others)))
    return tuple(found)


def _rank(file: Path) -> tuple:
    """Of several files for one image, lists of dots come before masks of dots, and those before label masks."""
    is_picture = file.suffix.lower() in IMAGE_SUFFIXES
    return (2 if _LABELS.search(file.stem) else 1) if is_picture else 0, file.name


def _by_file_name(pictures: list[Path], files: list[Path]) -> dict[Path, Match]:
    matches = {}
    by_stem, by_core = {}, {}
    for file in files:
        by_stem.setdefault(file.stem, file)
        by_core.setdefault(core(file.name), file)
    for picture in pictures:
        if picture.stem in by_stem:
            matches[picture] = Match(picture, by_stem[picture.stem])
    taken = {match.file for match in matches.values()}
    rest = [p for p in pictures if p not in matches]
    for picture in rest:
        file = by_core.get(core(picture.name))
        alone = sum(core(p.name) == core(picture.name) for p in rest) == 1
        if file and alone and file not in taken:
            matches[picture] = Match(picture, file)
    return matches


def _with_names_inside(pictures: list[Path], files: list[Path], matches: dict[Path, Match],
                       names_in: Callable[[Path], list[str]]) -> Pairing:
    """Serve the images that are left from files that name images; report what is left then."""
    named = {match.file for match in matches.values()}
    rest = [p for p in pictures if p not in matches]
    without_image, unread = [], []
    for file in sorted(files, key=lambda f: f in named):    # first those that belong to no image by their own name
        if file.suffix.lower() in IMAGE_SUFFIXES or (file in named and not rest):
            if file not in named:
                without_image.append(file.name)
            continue
        try:
            names = [name for name in names_in(file) if name]
        except DotsError as error:
            if file not in named:
                unread.append(str(error))
                without_image.append(file.name)
            continue
        used = set()
        for picture in list(rest):
            entry = choose(picture.name, names)
            if entry and entry not in used:
                matches[picture] = Match(picture, file, entry)
                used.add(entry)
                rest.remove(picture)
        if file not in named:
            left = [name for name in names if name not in used]
            without_image += [f"{file.name}: {name}" for name in left] if used else [file.name]
    return Pairing(tuple(matches[p] for p in pictures if p in matches), tuple(rest), tuple(sorted(without_image)),
                   tuple(unread))
