"""What a file does not say by itself is asked, once for every layout: what its pages are, which channel has the cells.

What was answered can be changed in the controls.
"""

import streamlit as st

from cellapp.errors import CellappError
from cellapp.probe import thumbnails
from cellapp.ui import visit
from cellapp.ui.desk import Desk, several_stains
from cellapp.ui.text import plain
from cellapp.workspace_state import Answer, StoredFile

_MEANINGS = {"channels": ("Channels", "different stains of the same field"),
             "z": ("Focal planes", "the same field at different depths"),
             "time": ("Time points", "the same field at different times")}
_PROJECTIONS = {"max": "brightest of all planes", "min": "darkest of all planes", "mean": "mean of all planes"}
MOST_SHOWN = 6                                               # thumbnails in a row


def ask(desk: Desk) -> bool:
    """The first open question, if there is one."""
    open_ = {}
    for file in desk.files:
        if what := desk.asks(file):
            open_.setdefault((desk.layout(file), what), []).append(file)
    if not open_:
        return False
    (_, what), files = next(iter(open_.items()))
    with st.container(border=True, key="question"):
        if len(open_) > 1:
            st.caption(f"1 of {len(open_)} questions")
        (_ask_pages if what == "pages" else _ask_channel)(desk, files)
    return True


def _ask_pages(desk: Desk, files: list[StoredFile]) -> None:
    number = desk.info(files[0]).pages
    st.markdown(f"##### {_yours(files)} {number} pages: what are they?")
    st.caption("The file does not say it. The answer holds for all files that are built the same.")
    _thumbnails(desk, files[0], [])
    for column, (meaning, (title, words)) in zip(st.columns(3), _MEANINGS.items(), strict=True):
        column.button(title, key=f"pages {meaning}", width="stretch", on_click=_answer, args=(desk, files[0]),
                      kwargs={"pages": meaning})
        column.caption(words)


def _ask_channel(desk: Desk, files: list[StoredFile]) -> None:
    names = desk.info(files[0]).channels
    st.markdown(f"##### {_yours(files)} {len(names)} channels: which one shows the cells?")
    _thumbnails(desk, files[0], list(names))
    st.button("None alone: take their mean", type="tertiary", on_click=_answer, args=(desk, files[0]),
              kwargs={"channel": "mean", "given": True})


def _yours(files: list[StoredFile]) -> str:
    return f"{plain(files[0].name)} has" if len(files) == 1 else f"Your {len(files)} images have"


def _thumbnails(desk: Desk, file: StoredFile, choices: list[str]) -> None:
    """Small pictures, each in its own contrast; with ``choices``, a button under each."""
    answer = desk.answer(file)
    try:
        pictures = _pictures(str(desk.space.path(file)), file.name, answer.pages, answer.z, answer.frame)
    except CellappError as error:
        st.error(plain(str(error)))
        pictures = []
    columns = st.columns(MOST_SHOWN if len(pictures) > 3 else 4)
    for k, (label, picture) in enumerate(pictures):
        column = columns[k % len(columns)]
        column.image(picture, width="stretch", caption=None if choices else label, alt=f"{label} of {file.name}")
        if choices:
            column.button(plain(choices[k]), key=f"channel {k}", width="stretch", on_click=_answer,
                          args=(desk, file), kwargs={"channel": choices[k], "given": True})


@st.cache_data(max_entries=50, show_spinner=False)
def _pictures(path: str, name: str, pages: str, z: str, frame: int) -> list:
    return thumbnails(path, name, pages=pages, z=z, frame=frame)


def forget_pictures() -> None:
    """Take all thumbnails out of the memory; they are made again where they are needed."""
    _pictures.clear()


def answered(desk: Desk) -> None:
    """The answers for files like the one shown, as controls; nothing where there is nothing to choose."""
    file = desk.shown
    if desk.problem(file) and desk.answer(file) == Answer():
        return
    info, answer = desk.info(file), desk.answer(file)
    if len(info.channels) > 1 and not desk.asks(file):
        choices = ["auto", "mean", *info.channels] if not several_stains(info) else ["mean", *info.channels]
        _choose("Channel that shows the cells", "channel", choices, answer.channel, desk, file, given=True)
    sizes = info.sizes or {}
    planes = sizes.get("Z", 1) if answer.pages != "z" else max(sizes.values(), default=1)
    times = sizes.get("T", 1) if answer.pages != "time" else max(sizes.values(), default=1)
    if planes > 1:
        choices = [*_PROJECTIONS, *(str(k + 1) for k in range(planes))]
        _choose(f"Focal plane (of {planes})", "z", choices, answer.z, desk, file,
                words=lambda z: _PROJECTIONS.get(z, z))
    if times > 1:
        _choose(f"Time point (of {times})", "frame", list(range(1, times + 1)), answer.frame, desk, file)
    if answer.pages != "ask":
        _choose("The pages are", "pages", list(_MEANINGS), answer.pages, desk, file, words=lambda m: _MEANINGS[m][0],
                given=False)


def _choose(label: str, field: str, choices: list, value, desk: Desk, file: StoredFile, words=str, **more) -> None:
    key = f"{field} of {desk.layout(file)}"
    st.session_state[key] = value if value in choices else choices[0]   # the workspace knows, not this tab
    st.selectbox(label, choices, key=key, format_func=words,
                 on_change=lambda: _answer(desk, file, **{field: st.session_state[key]}, **more))


def _answer(desk: Desk, file: StoredFile, **answer) -> None:
    """Keep an answer for all files of this layout. Other pages mean other channels, so those are asked again."""
    layout = desk.layout(file)
    if "pages" in answer:
        answer = {"channel": "auto", "given": False} | answer

    def put(state) -> None:
        before = state.answers.get(layout, Answer())
        state.answers = state.answers | {layout: before.model_copy(update=answer)}

    visit.go_on()
    visit.change(put)
