"""What a training learns from: the workspace's images with their truth, and on which side each of them lies."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from cellapp.dots import IMAGE_SUFFIXES, read_labels
from cellapp.errors import CellappError, TrainingError
from cellapp.image import plane, read_image
from cellapp.methods import Options
from cellapp.polarity import bright, look
from cellapp.scale import diameter_at
from cellapp.train_spec import Given, Side, divide, group_of, groups_in, needs, usable
from cellapp.ui.agreement_report import Pair
from cellapp.ui.desk import Desk
from cellapp.ui.text import plain

RULES = {"image": "Each image by itself", "mark": "Names alike but for the last part", "1": "First part of the name",
         "2": "First two parts of the name", "folder": "Folder",
         "table": "Group or slide in my table", "own": "As I write below"}
_NEEDS = {"dots": "dots: the place of each cell", "outlines": "label masks: the outline of each cell",
          "counts": "counts: how many cells each image has (a table will do)"}
_SAMPLED = 5                                                 # images whose dots tell the cells' diameter


@dataclass(frozen=True)
class Data:
    """What a training would begin with; ``problem`` says why it cannot begin, "" if it can."""

    given: tuple[Given, ...] = ()
    sides: tuple[Side, ...] = ()
    problem: str = ""
    diameter: float | None = None

    def count(self, side: Side) -> int:
        """Images on a side."""
        return sum(s == side for s in self.sides)


def given_of(desk: Desk, pairs: list[Pair]) -> list[Given]:
    """The images with a truth that fits them."""
    masks = {file.name: file for file in desk.state.dots}
    made = []
    for pair in pairs:
        if pair.message or desk.asks(pair.file):
            continue
        dots = np.ndim(pair.truth) > 0
        file = masks.get(pair.manual.upload)
        labels = None
        if file is not None and Path(file.name).suffix.lower() in IMAGE_SUFFIXES:
            labels = _labels(desk.space.path(file))
        options = desk.options(pair.file).model_dump(
            exclude_defaults=True, include={"channel", "cell_diameter", "pages", "z", "frame", "polarity"})
        made.append(Given(pair.file.name, desk.space.path(pair.file), pair.file.sha256, options,
                          pair.truth if dots else None, labels, None if dots else float(pair.truth)))
    return made


@lru_cache(maxsize=50)
def _labels(path: Path) -> np.ndarray | None:
    try:
        return read_labels(path)
    except CellappError:
        return None


def written_groups(desk: Desk) -> dict[str, str]:
    """The groups that tables among the files of dots give, by the images' names."""
    found = {}
    for file in desk.state.dots:
        if Path(file.name).suffix.lower() in (".csv", ".tsv", ".txt"):
            found |= _groups(desk.space.path(file))
    return found


@lru_cache(maxsize=200)
def _groups(path: Path) -> dict[str, str]:
    try:
        return groups_in(path.read_bytes())
    except OSError:
        return {}


def report(given: list[Given], method: str, part: str, seed: int, written: dict[str, str]) -> Data:
    """Say what the method needs, what is there, and who lies where; groups can be chosen or written."""
    needed = needs(method, part)
    fit = [one for one in given if usable(one, needed)]
    st.subheader("What it learns from", anchor=False)
    st.caption(f"This method learns from **{_NEEDS[needed]}**.")
    if len(fit) < len(given):
        st.warning(f"{len(given) - len(fit)} of {len(given)} images have no {needed} and are left out.",
                   icon=":material/warning:")
    if not fit:
        return Data(problem=f"There is no image with {needed} yet: drop images and their {needed}, or choose a method "
                            "that learns from what you have.")
    rules = [rule for rule in RULES if rule != "table" or written]
    rule = st.selectbox("Keep together", rules, format_func=RULES.get, key="tune-groups",
                        persist_state="session",
                        help="Images of one slide, animal or well are alike. All of them go to the same side, or the "
                             "check would be too kind.")
    groups = [written.get(Path(one.name).name, one.name) if rule == "table" else group_of(one.name, rule)
              for one in fit]
    frame = pd.DataFrame({"Image": [one.name for one in fit], "Cells": [one.cells for one in fit],
                          "Group": groups if rule != "image" else ["" for _ in fit]})
    if rule == "own":
        frame["Group"] = [st.session_state.get("tune groups", {}).get(one.name, one.name) for one in fit]
        groups = list(frame["Group"])
    problem, sides = "", ["learn"] * len(fit)
    try:
        sides = divide(groups, seed)
    except TrainingError as error:
        problem = str(error)
    _table(frame, sides, rule, problem)
    diameter = _diameter(fit)
    if not problem:
        n = sides.count("learn")
        st.caption(f"{_images(n)} to learn from, {_images(len(fit) - n)} kept back to choose the best epoch and to "
                   "measure the error. Another seed draws others.")
    if diameter is not None:
        st.caption(f"At your dots, cells are about **{diameter:.0f} px** across; images are read at that scale, now "
                   "and by the new weights. Give the diameter on the left if that is wrong.")
    return Data(tuple(fit), tuple(sides), problem, diameter)


def _table(frame: pd.DataFrame, sides: list[Side], rule: str, problem: str) -> None:
    shown = frame.assign(Use=["–" if problem else "learn" if side == "learn" else "kept back" for side in sides])
    if rule == "image":
        shown = shown.drop(columns="Group")
    about = {"hide_index": True, "height": min(38 + 35 * len(shown), 248),
             "column_config": {"Cells": st.column_config.NumberColumn(format="%.6g", width="small")}}
    if rule != "own":
        st.dataframe(shown, alt="Images with the number of their cells and their use in the training", **about)
        return
    edited = st.data_editor(shown, disabled=["Image", "Cells", "Use"], key="tune-table", **about)
    groups = dict(zip(edited["Image"], edited["Group"].fillna("").astype(str), strict=True))
    if groups != dict(zip(frame["Image"], frame["Group"], strict=True)):
        st.session_state["tune groups"] = groups
        st.rerun()


def _diameter(given: list[Given]) -> float | None:
    """Middle of the cells' diameters at the dots of a few images, where the user gave none."""
    if any("cell_diameter" in one.options for one in given):
        return None
    found = [d for one in given[:_SAMPLED] if one.points is not None
             and (d := _at_dots(one.path, one.name, Options(**one.options), one.points.tobytes())) is not None]
    return round(float(np.median(found)), 1) if found else None


@lru_cache(maxsize=200)
def _at_dots(path: Path, name: str, options: Options, points: bytes) -> float | None:
    try:
        grey, _ = plane(read_image(path, name, pages=options.pages, z=options.z, frame=options.frame), options.channel)
    except CellappError:
        return None                                          # the job says what is wrong with it
    dark = look(grey, options.polarity, "bright on dark").dark
    return diameter_at(bright(grey, dark), np.frombuffer(points).reshape(-1, 2))


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{plain(str(number))} images"
