"""What a training learns from: the workspace's images with their truth, and on which side each of them lies."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd
import streamlit as st

from cellapp import fine_tune
from cellapp.errors import TrainingError
from cellapp.train_spec import Given, Side, divide, group_of, groups_in, needs, usable
from cellapp.ui.agreement_report import Pair
from cellapp.ui.desk import Desk
from cellapp.ui.text import plain

RULES = {"image": "Each image by itself", "mark": "Names alike but for the last part", "1": "First part of the name",
         "2": "First two parts of the name", "folder": "Folder",
         "table": "Group or slide in my table", "own": "As I write below"}
_NEEDS = {"dots": "dots: the place of each cell", "outlines": "label masks: the outline of each cell",
          "counts": "counts: how many cells each image has (a table will do)"}


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
    return [fine_tune.given_of(desk.space, pair.file, desk.options(pair.file), pair.truth,
                               masks.get(pair.manual.upload))
            for pair in pairs if not pair.message and not desk.asks(pair.file)]


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
    diameter = fine_tune.typical_diameter(fit)
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


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{plain(str(number))} images"
