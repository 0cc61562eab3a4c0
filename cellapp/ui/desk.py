"""What a page works on: the visitor's files, how each is read, and its result under the settings of this tab."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import streamlit as st

from cellapp import weights as store
from cellapp.annotation import annotations
from cellapp.batch import Result
from cellapp.errors import CellappError, RegionError
from cellapp.image import plane, read_image
from cellapp.manual import Matching, match, with_own
from cellapp.methods import METHODS, Options
from cellapp.polarity import bright, look
from cellapp.probe import FileInfo, probe
from cellapp.regions import Region, fit_to, measure
from cellapp.scale import suggest_diameter
from cellapp.ui import visit
from cellapp.workspace import Workspace, result_key
from cellapp.workspace_state import Answer, State, StoredFile


@dataclass(frozen=True)
class Desk:
    """One run of a page. ``row`` are the weights that count on it."""

    space: Workspace
    state: State
    row: store.Weights

    @cached_property
    def files(self) -> list[StoredFile]:
        """The images, in the order in which they came."""
        return self.state.images

    @property
    def shown(self) -> StoredFile:
        """The image that is looked at; at first the first one that can be counted."""
        chosen = next((file for file in self.files if file.id == self.state.shown), None)
        return chosen or next((file for file in self.files if not self._failed(file)), self.files[0])

    def _failed(self, file: StoredFile) -> bool:
        result = None if self.problem(file) else self.space.find(self.key(file))
        return bool(self.problem(file)) or (result is not None and result.prediction is None)

    def layout(self, file: StoredFile) -> str:
        """How a file is built; one answer holds for all files that are built the same."""
        return _info(self.space.path(file), file.name).layout

    def info(self, file: StoredFile) -> FileInfo:
        """What the header of a file says, with what the user said of it."""
        answer = self.answer(file)
        return _info(self.space.path(file), file.name, answer.pages, answer.z, answer.frame)

    def problem(self, file: StoredFile) -> str:
        """Why a file cannot be counted at all; "" if it can."""
        if file.error:
            return file.error
        info = self.info(file)
        return info.message if info.status == "error" else ""

    def answer(self, file: StoredFile) -> Answer:
        """What the user said of files of this layout."""
        return self.state.answers.get(self.layout(file), Answer())

    def asks(self, file: StoredFile) -> str:
        """What the user must say before this file can be counted: "pages", "channel" or ""."""
        if self.problem(file):
            return ""
        info = self.info(file)
        if info.status == "asks":
            return "pages"
        return "channel" if several_stains(info) and not self.answer(file).given else ""

    def options(self, file: StoredFile, row: store.Weights | None = None) -> Options:
        """How a file is counted, by other weights than the page's if ``row`` is given."""
        answer = self.answer(file)
        chosen = {name: st.session_state[name] for name in METHODS[(row or self.row).method].extras
                  if name in st.session_state}
        return Options(channel=answer.channel, pages=answer.pages, z=answer.z, frame=answer.frame,
                       cell_diameter=st.session_state.get("diameter") or None,
                       polarity=st.session_state.get("polarity") or "auto", **chosen)

    def key(self, file: StoredFile, row: store.Weights | None = None) -> str:
        """Names the result of a file under the present settings."""
        row = row or self.row
        if (file.id, row.id) not in self._keys:
            self._keys[file.id, row.id] = result_key(file, row.id, row.digest, self.options(file, row))
        return self._keys[file.id, row.id]

    @cached_property
    def _keys(self) -> dict[tuple[str, str], str]:
        return {}                                            # a table of a thousand images asks often

    def result(self, file: StoredFile) -> Result | None:
        """The row of a file, without maps and regions; None as long as it is not counted."""
        reason = self.state.excluded.get(file.id, "")
        if problem := self.problem(file):
            return Result(file.name, "error", problem, method=self.row.method, weights=self.row.id, excluded=reason)
        found = self.space.find(self.key(file))
        if found is None and reason:
            return Result(file.name, "ok", "", method=self.row.method, weights=self.row.id, excluded=reason)
        manual = self.manual.get(file.name)
        return found and replace(found, excluded=reason, n_manual=None if manual is None else round(manual))

    def full(self, file: StoredFile, *, pixels: bool = True) -> Result:
        """The row of a counted file with its maps, its regions and, with ``pixels``, the image."""
        key, result = self.key(file), self.result(file)
        if result is None or result.prediction is None:
            return result
        prediction = self.space.prediction(key)
        size = result.image.pixel_size_um
        regions, note = self.regions(file)
        counts = tuple(measure(prediction, region, size) for region in regions)
        image = self.space.image(file, result.options) if pixels else result.image
        return replace(result, image=image, prediction=prediction, regions=counts,
                       message=f"{result.message} {note}".strip())

    def regions(self, file: StoredFile) -> tuple[list[Region], str]:
        """The regions of a file, its own or those of all images, and a sentence on how the latter were made to fit."""
        own = self.state.regions.get(file.id)
        kept = [Region.from_dict(values) for values in (self.state.shared_regions if own is None else own)]
        if own is not None or not kept:
            return kept, ""
        try:
            return fit_to(kept, self.state.shared_shape, self.info(file).shape)
        except RegionError as error:
            return [], str(error)

    @cached_property
    def manual(self) -> dict[str, float]:
        """Cells counted by hand, by the name of the image."""
        return {name: manual.count for name, manual in self.by_hand.found.items()}

    @cached_property
    def by_hand(self) -> Matching:
        """What was counted by hand: dots set in the browser, and the dot files that came along."""
        names, files = tuple(file.name for file in self.files), tuple(self.state.dots)
        try:
            dotted = [(file.name, kept) for file, kept in annotations(self.space)]
        except CellappError:
            dotted = []                                      # the page Annotate says which dots cannot be read
        return with_own(_matched(names, files, self.space.folder), names, dotted)

    @property
    def counted(self) -> list[StoredFile]:
        """The files that have a count."""
        return [file for file in self.files if (r := self.result(file)) is not None and r.prediction is not None]

    @property
    def missing(self) -> list[StoredFile]:
        """The files that can be counted now and are not, but for those left out."""
        return [file for file in self.files if self.result(file) is None and not self.asks(file)]


def desk(row: store.Weights) -> Desk | None:
    """The desk of this visit, or None as long as there is no image."""
    space = visit.space()
    if space is None:
        return None
    state = space.state()
    return Desk(space, state, row) if state.images else None


def several_stains(info: FileInfo) -> bool:
    """Whether a file has channels of which one must be chosen; a colour picture is one picture."""
    return len(info.channels) > 1 and "S" not in info.axes


@lru_cache(maxsize=20_000)
def _info(path: Path, name: str, pages: str = "ask", z: str = "max", frame: int = 1) -> FileInfo:
    # The path is made of the hash of the content, so it cannot mean another file later.
    return probe(path, name, pages=pages, z=z, frame=frame)


@lru_cache(maxsize=500)
def looks(path: Path, name: str, options: Options, trained: str) -> tuple[float | None, str]:
    """Typical diameter (px) of the cells in an image, None where it does not tell; and "bright", "dark" or "".

    ``trained`` is the polarity of the weights. Raises `CellappError` where the image cannot be read.
    """
    image = read_image(path, name, pages=options.pages, z=options.z, frame=options.frame)
    grey, _ = plane(image, options.channel)
    seen = look(grey, options.polarity, trained)
    return suggest_diameter(bright(grey, seen.dark), seen.dark), seen.cells


@lru_cache(maxsize=100)
def _matched(names: Sequence[str], dots: tuple[StoredFile, ...], folder: Path) -> Matching:
    try:
        return match(names, [(file.name, (folder / "files" / file.sha256).read_bytes()) for file in dots])
    except (CellappError, OSError):
        return Matching()                                    # the page on agreement says what is wrong with them
