"""What was counted by hand: where it is dropped, and the choices that it leaves open."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import streamlit as st

from cellapp.annotation import annotations
from cellapp.errors import CellappError
from cellapp.manual import Matching, match, with_own
from cellapp.ui import visit
from cellapp.ui.count_files import EXAMPLES, sample_files
from cellapp.ui.text import plain
from cellapp.workspace_state import StoredFile

SAMPLES = 12                                                 # images of the sample set, the bundled ones among them
_NO_CLASS = "(no class)"
_MOST = 8                                                    # images with a choice of files that are asked about


@dataclass(frozen=True)
class Choices:
    """What the user said of the dots; empty values stand for "as the files have it"."""

    classes: tuple[str, ...] = ()
    annotator: str | None = None
    pixel_size: float | None = None
    files: tuple[tuple[str, str], ...] = ()
    swapped: bool = False


TITLE = "Do the counts agree with yours?"
WORDS = ("Drop images and what you counted in them by hand: **dots** in the format of your tool or set on the page "
         "Annotate, or a **table** with the columns image and count. You get the **error with its interval**, the "
         "**scatter**, the **limits of agreement**, and for every image the **map under your dots**.")


def welcome(title: str = TITLE, words: str = WORDS) -> None:
    """What a visitor reads who has no image yet."""
    st.title(title)
    st.markdown(words)
    st.button("Try a sample set", icon=":material/science:", type="primary", on_click=_take_samples,
              help=f"{SAMPLES} simulated images, so the true places of the cells are known.")


def dots_zone() -> None:
    """Where dots and tables of counts are dropped. They go to the workspace, as images do."""
    dropped = st.file_uploader(
        "Drop dots or counts here", accept_multiple_files=True, key=f"dots {st.session_state.get('dot drops', 0)}",
        help="Files of Fiji (Cell Counter, ROIs, Results), napari, QuPath, Label Studio, Labelme, CVAT, COCO, VIA, "
             "MATLAB, dot or label masks, CSV with x and y, or a table with the columns image and count. They are "
             "matched with the images by name.")
    if dropped:
        try:
            space = visit.begin()
            visit.go_on()
            space.include([space.keep(file.name, file, kind="dots") for file in dropped])
        except CellappError as error:
            visit.say(str(error))
        st.session_state["dot drops"] = st.session_state.get("dot drops", 0) + 1
        st.rerun()
    space = visit.space()
    kept = space.state().dots if space is not None else []
    if kept:
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            words = plain(kept[0].name) if len(kept) == 1 else f"{len(kept):,} files of dots"
            st.caption(f":material/scatter_plot: {words}", width="content")
            st.button("Remove", icon=":material/close:", type="tertiary", key="remove dots", on_click=_clear,
                      args=([file.id for file in kept],), help="Take away the dots; the images stay.")


def distance() -> float | None:
    """How far a detected cell may be from its dot."""
    return st.number_input("Detected within (px)", min_value=0.5, max_value=500.0, value=None, step=1.0, format="%.1f",
                           key="agreement distance", persist_state="session", placeholder="half a cell's diameter",
                           help="A detected cell and a dot belong together if they are at most so far apart; each "
                                "counts once.")


def choices(space, images: list[StoredFile]) -> tuple[Choices, Matching]:
    """The questions that the files of dots leave open, and what belongs together under the answers."""
    names, files = tuple(file.name for file in images), _dot_files(space, images)
    try:
        dotted = [(file.name, kept) for file, kept in annotations(space)]
    except CellappError as error:
        st.error(plain(str(error)), icon=":material/error:")
        dotted = []
    plain_match = with_own(_match(space.folder, names, files, Choices()), names, dotted)
    picked = Choices(_classes(plain_match), _annotator(plain_match), _pixel_size(plain_match), _files(plain_match),
                     bool(st.session_state.get("agreement-swap")))
    return picked, with_own(_match(space.folder, names, files, picked), names, dotted, picked.classes)


def _dot_files(space, images: list[StoredFile]) -> tuple[StoredFile, ...]:
    """The files of dots; those of the bundled examples come with their images."""
    state = space.state()
    there = {file.name for file in state.dots}
    for file in images:
        path = EXAMPLES / f"{file.name.rpartition('.')[0]}_dots.csv"
        if file.sample and path.name not in there and path.is_file():
            space.include([space.keep(path.name, path.read_bytes(), kind="dots", sample=True)])
    return tuple(space.state().dots)


@lru_cache(maxsize=20)
def _match(folder: Path, names: tuple[str, ...], files: tuple[StoredFile, ...], picked: Choices) -> Matching:
    read = [(file.name, (folder / "files" / file.sha256).read_bytes()) for file in files]
    return match(names, read, chosen=dict(picked.files), classes=picked.classes, annotator=picked.annotator,
                 pixel_size=picked.pixel_size)


def _classes(found: Matching) -> tuple[str, ...]:
    if len(found.classes) < 2:
        return ()
    names = list(found.classes)
    chosen = st.pills("Which classes are cells to count?", names, selection_mode="multi", default=names, wrap=True,
                      key=f"agreement classes {names}", persist_state="session",
                      format_func=lambda name: f"{plain(name or _NO_CLASS)} ({found.classes[name]:,})")
    return tuple(name for name in names if name in chosen) if chosen and len(chosen) < len(names) else ()


def _annotator(found: Matching) -> str | None:
    if not found.annotators:
        return None
    return st.selectbox("Whose dots?", found.annotators, key="agreement-annotator", persist_state="session",
                        on_change=visit.keep, args=("agreement-annotator",),
                        help="Several people set dots in the same images.")


def _pixel_size(found: Matching) -> float | None:
    if not found.unscaled:
        return None
    return st.number_input("Pixel size of the ImageJ tables", min_value=0.0001, value=None, format="%.4f",
                           placeholder="1: places are in pixels", key="agreement pixel size", persist_state="session",
                           help=f"If the image had a scale in ImageJ, X and Y are in its unit, not in pixels "
                                f"({', '.join(map(plain, found.unscaled[:3]))}): give the size of a pixel in it.")


def _files(found: Matching) -> tuple[tuple[str, str], ...]:
    if not found.several:
        return ()
    number = "1 image has" if len(found.several) == 1 else f"{len(found.several):,} images have"
    with st.expander(f"{number} several files of dots", icon=":material/rule:"):
        asked = list(found.several.items())[:_MOST]
        chosen = tuple((image, st.selectbox(f"Dots of {plain(image)}", files, key=f"agreement file {image}",
                                            persist_state="session")) for image, files in asked)
        if len(found.several) > _MOST:
            st.caption(f"Of {len(found.several) - _MOST} more the first by name is taken; lists of dots come before "
                       "masks.")
    return chosen


def _clear(ids: list[str]) -> None:
    try:
        visit.space().remove(ids)
    except CellappError as error:
        visit.say(str(error))


def _take_samples() -> None:
    """The bundled images of the chosen weights' kind, and the next ones that the simulator makes with their seed."""
    from cellapp.dots import points_csv
    from cellapp.overlays import png
    from cellapp.simulate import simulate

    try:
        space = visit.begin()
        visit.go_on()
        bundled, files = sample_files(), []
        for path in bundled:
            dots = path.with_name(f"{path.stem}_dots.csv")
            files += [space.keep(path.name, path.read_bytes(), sample=True),
                      space.keep(dots.name, dots.read_bytes(), kind="dots", sample=True)]
        preset, seed = bundled[0].stem.rsplit("-", 2)[:2]
        for index in range(len(bundled), SAMPLES):
            scene, stem = simulate(preset, int(seed), index), f"{preset}-{seed}-{index:03d}"
            files += [space.keep(f"{stem}.png", png(scene.image), sample=True),
                      space.keep(f"{stem}_dots.csv", points_csv(scene.points).encode(), kind="dots", sample=True)]
        space.include(files)
    except CellappError as error:
        visit.say(str(error))
