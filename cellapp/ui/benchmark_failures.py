"""The worst images of a benchmark as a gallery: counted once more for their maps, and kept as pictures."""

import base64
import json
from pathlib import Path

import streamlit as st

from cellapp.benchmark_steps import key_of
from cellapp.errors import CellappError
from cellapp.failure_gallery import LEGEND, NOTHING, Failure, failure, page
from cellapp.failures import KINDS, worst
from cellapp.files import write_atomic
from cellapp.image import Image
from cellapp.ui import visit
from cellapp.ui.benchmark_run import Job, tested
from cellapp.ui.counters import load_counter
from cellapp.ui.text import plain
from cellapp.weights import Weights

_ASKED = "benchmark failures asked"                          # for images that must be counted once more


def show(job: Job, which: int) -> None:
    """The worst images of one line of the table; nothing for baselines, which have no maps."""
    entry = job.outcomes[which].entry
    row = visit.rows().get(entry.weights)
    if row is None:
        return
    lines = job.outcomes[which].draws[0].lines
    kinds = {name: found for name in KINDS if (found := worst(lines, name))}
    if not kinds:
        return
    st.markdown("##### The worst images")
    kind = st.segmented_control("The worst images by", list(kinds), default=next(iter(kinds)), required=True,
                                key=f"benchmark-worst {'-'.join(kinds)}", label_visibility="collapsed",
                                format_func=lambda name: KINDS[name].title)
    items, plan, space = tested(job), job.order.plan, visit.space()
    places = {k: space.folder / "benchmark" / "failures" / f"{key_of(row, items[k], plan)}.json" for k in kinds[kind]}
    found = {k: _kept(path, lines[k]) for k, path in places.items()}
    missing = [k for k, one in found.items() if one is None]
    if missing and not st.session_state.get(_ASKED):
        words = f"Show {len(places)} images" if len(places) > 1 else "Show the image"
        st.button(words, icon=":material/photo_library:", key="benchmark-failures",
                  on_click=lambda: st.session_state.update({_ASKED: True}))
        st.caption("They are counted once more for their maps, which a benchmark does not keep.")
        return
    if missing and not _made(job, row, missing, items, found, places):
        return
    shown = [found[k] for k in places]
    st.caption(LEGEND)
    for k, one in enumerate(shown):
        _card(one, k)
    if job.order.images is not None:                         # the pictures of a set of the server stay there
        about = f"{row.title}: {KINDS[kind].title.lower()} of {len(lines)} images."
        st.download_button("Worst images (HTML)", lambda: page("The worst images", about, shown).encode(),
                           "worst-images.html", "text/html", on_click="ignore", icon=":material/download:",
                           key="benchmark-failures-html")


def _made(job: Job, row: Weights, missing: list[int], items: list, found: dict, places: dict) -> bool:
    """Count and draw what is missing; whether all went well."""
    bar = st.progress(0.0, text="Counting the worst images")
    lines = next(outcome for outcome in job.outcomes if outcome.entry.weights == row.id).draws[0].lines
    try:
        counter = load_counter(row, visit.space())
        for done, k in enumerate(missing):
            def progress(now: int, tiles: int, done: int = done, k: int = k) -> None:
                bar.progress((done + now / tiles) / len(missing),
                             text=f"Counting {plain(lines[k].image)} ({done + 1} of {len(missing)})")

            prediction = counter.predict(Image.from_array(items[k].image), job.order.plan.options, progress=progress)
            found[k] = failure(items[k], prediction, lines[k], row)
            _keep(places[k], found[k])
    except CellappError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return False
    finally:
        bar.empty()
    return True


def _card(one: Failure, number: int) -> None:
    with st.container(border=True, key=f"failure-{number}"):
        st.markdown(f"**{plain(one.line.image)}**")
        left, middle, right = st.columns([1, 1, 1.2])
        left.image(one.true, width="stretch")
        middle.image(one.found, width="stretch")
        with right:
            st.markdown(plain(one.words))
            for why in one.reasons or (NOTHING,):
                st.caption(plain(why))


def _keep(path: Path, one: Failure) -> None:
    """So that a reload and another tab find it; where the disk is full it is only shown."""
    space = visit.space()
    if space.limits.room(space.folder) <= 0:
        return
    kept = {"true": base64.b64encode(one.true).decode(), "found": base64.b64encode(one.found).decode(),
            "reasons": one.reasons}
    content = json.dumps(kept)
    write_atomic(path, content)
    space.limits.written(space.folder, len(content))


def _kept(path: Path, line) -> Failure | None:
    try:
        kept = json.loads(path.read_bytes())
    except (OSError, ValueError):                            # not there, or cut off by a full disk
        return None
    return Failure(line, base64.b64decode(kept["true"]), base64.b64decode(kept["found"]), tuple(kept["reasons"]))
