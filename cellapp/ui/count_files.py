"""Images in: the drop zone, zips, samples, and what came along that is no image."""

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from cellapp import DEFAULT_WEIGHTS
from cellapp.dots import read_dots
from cellapp.errors import CellappError
from cellapp.ui import visit
from cellapp.ui.text import plain
from cellapp.workspace_limits import Limits

if TYPE_CHECKING:
    from cellapp.ui.desk import Desk  # imports torch

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
COUNT_WORDS = ("Drop microscopy images or try a sample. You get the **count**, a **density map** that sums to it, and "
               "the **cells found** one by one, side by side; tables and maps to download.")


def welcome(title: str, words: str) -> None:
    """What a first visitor reads."""
    days = Limits.from_environment().days
    st.title(title)
    st.markdown(words)
    st.caption(f"Your files stay on this server, under an address that only you know, until {days:g} days after your "
               "last visit or until you delete them. They are not passed on.")
    shown = sample_files()
    for column, path in zip(st.columns(len(shown)), shown, strict=True):
        column.image(str(path), caption=f"Sample: simulated, {_true_count(path)} cells", width="stretch",
                     alt="A simulated fluorescence image of bright cells on a dark ground")


def drop_zone() -> None:
    """Where files are dropped. They go to the workspace at once, and out of the memory."""
    dropped = st.file_uploader(
        "Drop images or a zip here", accept_multiple_files=True, key=f"drop {st.session_state.get('drops', 0)}",
        help="TIFF, OME-TIFF, PNG, JPEG, BMP and more; 8 to 32 bits, grey, colour or several channels. Dot files and "
             "tables of counts that come along are matched with the images by name.")
    if dropped:
        from cellapp.ui.count_intake import take  # imports torch

        with st.spinner("Keeping the files …"):
            take(dropped)
        st.session_state["drops"] = st.session_state.get("drops", 0) + 1
        st.rerun()


def listed() -> None:
    """What is there so far, and how to get rid of it; without anything, the samples."""
    space = visit.space()
    images = space.state().images if space is not None else []
    if not images:
        st.button("Try a sample", icon=":material/science:", on_click=_take_samples, width="stretch",
                  help="Simulated images, so the true number of cells is known.")
        return
    size = sum(file.bytes for file in images)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(f":material/image: {plain(images[0].name) if len(images) == 1 else f'{len(images):,} images'}, "
                   f"{plain(megabytes(size))}", width="content")
        st.button("Remove", icon=":material/close:", type="tertiary", on_click=_clear,
                  help="Take away the images; the settings stay.")


def came_along(desk: "Desk") -> None:
    """Files that came with the images and are not counted, in one line."""
    dots, aside, by_hand = desk.state.dots, desk.state.aside, desk.by_hand
    if dots or by_hand.found:
        files = f"{_files(len(dots))} with counts by hand" if dots else "Dots set on the page Annotate"
        st.caption(f":material/touch_app: {files}, for {len(by_hand.found):,} of {len(desk.files):,} images. The page "
                   "Agreement compares them in full.")
    if by_hand.partly:
        number = "1 image is" if len(by_hand.partly) == 1 else f"{len(by_hand.partly):,} images are"
        st.caption(f":material/touch_app: {number} dotted in marked areas only, and so have no count by hand.")
    if aside:
        names = ", ".join(plain(name) for name, _ in aside[:3]) + (" …" if len(aside) > 3 else "")
        why = "  \n".join(f"{plain(name)}: {plain(reason)}" for name, reason in aside[:50])
        more = f"  \n… and {len(aside) - 50:,} more." if len(aside) > 50 else ""
        st.caption(f":material/folder_off: {_files(len(aside))} set aside: {names}", help=why + more)


def megabytes(size: int) -> str:
    """A size in words: "112 MB", "3.4 kB"."""
    for unit, number in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= number:
            return f"{size / number:.3g} {unit}"
    return f"{size} bytes"


def sample_files() -> list[Path]:
    """The bundled example images (not their label masks) of the kind the chosen weights were trained on."""
    rows = visit.rows()
    row = rows.get(st.session_state.get("weights", DEFAULT_WEIGHTS)) or rows.get(DEFAULT_WEIGHTS)
    kind = row.check.image.rsplit("-", 2)[0] if row is not None and row.check else "vgg-cells"
    fitting = sorted(p for p in EXAMPLES.glob(f"{kind}-*.png") if not p.stem.endswith("_labels"))
    return fitting or sorted(EXAMPLES.glob("vgg-cells-*[0-9].png"))


def fitting_samples() -> None:
    """Other weights were chosen: where nothing but samples is there, those of their kind."""
    space = visit.space()
    images = space.state().images if space is not None else []
    there = {file.name for file in images}
    if images and all(file.sample for file in images) and not {path.name for path in sample_files()} <= there:
        _clear()
        _take_samples()


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number:,} files"


def _true_count(path: Path) -> int:
    return len(read_dots(path.with_name(f"{path.stem}_dots.csv")))


def _take_samples() -> None:
    try:
        space = visit.begin()
        visit.go_on()
        space.include([space.keep(path.name, path.read_bytes(), sample=True) for path in sample_files()])
    except CellappError as error:
        visit.say(str(error))


def _clear() -> None:
    space = visit.space()
    visit.go_on()
    try:
        space.remove([file.id for file in space.state().files])
        space.change(aside=[], shown=None)
    except CellappError as error:
        visit.say(str(error))
