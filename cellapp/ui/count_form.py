"""The controls of the Count page, in the order of use: images, channel and cell size, weights."""

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from cellapp import DEFAULT_WEIGHTS
from cellapp import weights as store
from cellapp.dots import read_dots
from cellapp.ui.text import plain

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@dataclass(frozen=True)
class Upload:
    """One file to count; ``id`` is unique in the session and changes with the content."""

    id: str
    name: str
    read: object                                             # () -> bytes

    def content(self) -> bytes:
        return self.read()


def go_on() -> None:
    """Forget that the user had stopped the counting: new work starts by itself."""
    st.session_state["stopped"] = ""


def welcome() -> None:
    """What a first visitor reads."""
    st.title("How many cells are there?")
    st.markdown("Drop microscopy images or try a sample. You get the **count**, a **density map** that sums to it, "
                "and the **cells found** one by one, side by side; tables and maps to download.")
    samples()


def samples() -> None:
    """What happens to files, and the sample images."""
    st.caption("Your files stay in the memory of this server while the page is open, and their maps in a temporary "
               "folder. They are deleted afterwards, and not passed on.")
    shown = sample_files()
    for column, path in zip(st.columns(len(shown)), shown, strict=True):
        column.image(str(path), caption=f"Sample: simulated, {_true_count(path)} cells", width="stretch",
                     alt="A simulated fluorescence image of bright cells on a dark ground")


def _true_count(path: Path) -> int:
    return len(read_dots(path.with_name(f"{path.stem}_dots.csv")))


def images() -> list[Upload]:
    """The drop zone and the sample button. What was dropped on one page is there on the others too."""
    files = st.file_uploader("Drop images here", accept_multiple_files=True, key="files", on_change=_dropped,
                             help="PNG, JPEG, BMP or TIFF, 8 to 32 bits, grey or colour. Files stay in the memory "
                                  "of this server for your session and are never passed on.")
    if files:
        st.session_state["kept"] = [Upload(f.file_id, f.name, f.getvalue) for f in files]
        return st.session_state["kept"]
    if kept := st.session_state.get("kept"):                 # the drop zone of another page is empty
        names = ", ".join(plain(u.name) for u in kept[:3]) + (" …" if len(kept) > 3 else "")
        st.caption(f":material/image: {names}")
        st.button("Remove", icon=":material/close:", on_click=_dropped, width="stretch",
                  help="Take away the images dropped before.")
        return kept
    st.button("Try a sample", icon=":material/science:", on_click=_take_sample, width="stretch",
              help="A simulated image, so the true number of cells is known.")
    if not st.session_state.get("sample"):
        return []
    return [Upload(f"sample-{p.stem}", p.name, p.read_bytes) for p in sample_files()]


def _dropped() -> None:
    """Other files were dropped, or the last one was taken away."""
    st.session_state["kept"] = []
    go_on()


def sample_files() -> list[Path]:
    """The bundled example images (not their label masks) of the kind the chosen weights were trained on."""
    rows = store.manifest()
    row = rows.get(st.session_state.get("weights", DEFAULT_WEIGHTS)) or rows.get(DEFAULT_WEIGHTS)
    kind = row.check.image.rsplit("-", 2)[0] if row is not None and row.check else "vgg-cells"
    fitting = sorted(p for p in EXAMPLES.glob(f"{kind}-*.png") if not p.stem.endswith("_labels"))
    return fitting or sorted(EXAMPLES.glob("vgg-cells-*[0-9].png"))


def _take_sample() -> None:
    st.session_state["sample"] = True
    go_on()


def weights() -> store.Weights:
    """Which weights count; the first choice is trained on nothing but simulated images."""
    rows = store.manifest()
    names = list(rows)
    first = names.index(DEFAULT_WEIGHTS) if DEFAULT_WEIGHTS in names else 0
    chosen = st.selectbox("Method and weights", names, index=first, key="weights", on_change=go_on,
                          persist_state="session", format_func=lambda name: rows[name].title)
    row = rows[chosen]
    score = "; ".join(f"off by {s.mae:.1f} cells an image on {s.data}" for s in row.scores) or "not measured yet"
    st.caption(f"Trained on {plain(row.trained_on)}: cells about {row.input.cell_diameter:.0f} px across, "
               f"{row.input.polarity}. Measured: {score}.")
    return row


def reading(channels: tuple[str, ...]) -> None:
    """Channel (where an image has several) and cell size; `options` reads what is chosen here."""
    if len(channels) > 1:
        st.selectbox("Channel that shows the cells", ["auto", "mean", *channels], key="channel", on_change=go_on,
                     help="auto takes the one channel that holds nearly all the variation, or else their mean.")
    st.number_input("Typical cell diameter (px)", min_value=2.0, max_value=1000.0, value=None, step=1.0,
                    placeholder="estimated from the image", key="diameter", on_change=go_on, persist_state="session",
                    help="The image is brought to the scale at which these weights were trained, and the maps back to "
                         "yours. If the estimate under the count is wrong, give the diameter here.")


def remember_channels(upload: Upload, names: tuple[str, ...]) -> None:
    """Keep a file's channel names, which are known only once it has been read."""
    st.session_state.setdefault("channels", {})[upload.id] = names


def channels(uploads: list[Upload]) -> tuple[str, ...]:
    """The channel names of the files with several channels, each once."""
    known = st.session_state.get("channels", {})
    names = {name: None for u in uploads for name in known.get(u.id, ()) if len(known[u.id]) > 1}
    return tuple(names)


def extras(row: store.Weights) -> None:
    """What only the chosen method offers."""
    from cellapp.methods import METHODS, Options

    if "saliency" in METHODS[row.method].extras:
        st.toggle("Saliency of the count", key="saliency", on_change=go_on, persist_state="session",
                  help="Also show on which pixels the count depends. It takes a second pass, so counting takes longer.")
    if "stride" in METHODS[row.method].extras:
        st.select_slider("Count every n-th window", Options.strides(), key="stride", on_change=go_on,
                         persist_state="session",
                         help="1 counts each cell in 1,024 windows, as published. A larger step is less exact.")


def options(row: store.Weights | None = None):
    """The reading options chosen so far; ``row`` where one method alone is asked."""
    from cellapp.methods import METHODS, Options

    own = METHODS[row.method].extras if row is not None else ()
    chosen = {name: st.session_state[name] for name in own if name in st.session_state}
    return Options(channel=st.session_state.get("channel") or "auto",
                   cell_diameter=st.session_state.get("diameter") or None, **chosen)
