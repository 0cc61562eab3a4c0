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
_NEEDS = {
    "dots": "**dots: the place of each cell.** Set them on the page Annotate, or drop files of dots or masks.",
    "outlines": "**label masks: the outline of each cell.** That is an image as large as yours in which each cell has "
                "a number of its own and the ground is 0, named after yours, such as plate_1_labels.png. Dots are too "
                "little.",
    "counts": "**counts: how many cells each image has.** A table (CSV) with the columns image and count will do, or "
              "dots in the whole image."}
_WORDS = {"dots": "dots", "outlines": "label masks", "counts": "counts"}
_MOST = 6                                                    # names in a sentence


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


def given_of(desk: Desk, pairs: list[Pair], partly: tuple[str, ...]) -> list[Given]:
    """The images with a truth that fits them, then those of which a part was dotted in the browser."""
    masks = {file.name: file for file in desk.state.dots}
    made = [fine_tune.given_of(desk.space, pair.file, desk.options(pair.file), pair.truth,
                               masks.get(pair.manual.upload))
            for pair in pairs if not pair.message and not desk.asks(pair.file)]
    for file in desk.files:
        if file.name in partly and not desk.asks(file) and not desk.problem(file):
            made.append(fine_tune.given_partly(desk.space, file, desk.options(file)))
    return made


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
    st.caption(f"This method learns from {_NEEDS[needed]}")
    if not fit:
        return Data(problem=_missing(given, needed))
    lacking = [one.name for one in given if not usable(one, needed)]
    if lacking:
        st.warning(f"{_images(len(lacking))} of {len(given)} without {_WORDS[needed]} left out: "
                   f"{plain(', '.join(lacking[:_MOST]))}" + (" …" if len(lacking) > _MOST else "."),
                   icon=":material/warning:")
    if any(one.counted is not None for one in fit):
        st.caption("Images dotted in part are learnt from, and checked, inside their marked areas only.")
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


def _missing(given: list[Given], needed: str) -> str:
    """What is there, and what must come or be chosen instead."""
    there = sorted({"label masks" if one.labels is not None else "dots in marked areas" if one.counted is not None
                    else "dots" if one.points is not None else "counts alone" for one in given})
    if not there:
        return (f"There is no image with {_WORDS[needed]} yet: drop images and their {_WORDS[needed]}, or choose "
                "weights that learn from what you have.")
    return (f"Your images have {' and '.join(there)}, and this method learns from {_WORDS[needed]}: drop "
            f"{_WORDS[needed]} for them, or choose weights to begin with that learn from what you have.")


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
