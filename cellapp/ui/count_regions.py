"""Regions drawn on the image: counts, areas and densities of each, the same regions on all images."""

from collections.abc import Callable

import pandas as pd
import streamlit as st

from cellapp.batch import Result
from cellapp.chamber import PATTERNS, chamber
from cellapp.dot_model import listed
from cellapp.errors import CellappError
from cellapp.prediction import Interval
from cellapp.region_files import read_regions, write_regions
from cellapp.regions import Region
from cellapp.ui import visit
from cellapp.ui.canvas import image_canvas, regions_of, shapes_of
from cellapp.ui.count_scale import picture_of
from cellapp.ui.desk import Desk
from cellapp.ui.text import interval_text, plain
from cellapp.workspace_state import StoredFile

_INTERVAL = ("Holds for each region by itself: of 20 regions one may lie outside. The interval of several together is "
             "not the sum of theirs.")
_MOST_NOTES = 4                                              # sentences below the table


def show(desk: Desk, result: Result) -> None:
    """The canvas, the table of the regions, and what can be done with them."""
    file = desk.shown
    regions, note = desk.regions(file)
    left, right = st.columns([2, 1], gap="medium")
    with left:
        try:
            drawn = image_canvas(picture_of(desk, file), result.prediction.shape, key=f"regions {file.id}",
                                 tools=["box", "polygon"], shapes=shapes_of(regions), height=430,
                                 pixel_size_um=result.image.pixel_size_um, label="Image on which regions are drawn")
        except CellappError as error:
            st.error(plain(str(error)), icon=":material/error:")
            return
    new = regions_of(drawn)
    if new != regions:
        keep(desk, file, new)
        st.rerun()
    with right:
        if note:
            st.caption(f":material/info: {plain(note)}")
        _table(result)
        _actions(desk, file, regions)
        _more(desk, file, result, regions)


def keep(desk: Desk, file: StoredFile, regions: list[Region]) -> None:
    """These are the regions of this image from now on."""
    kept = [region.to_dict() for region in regions]
    visit.change(lambda state: setattr(state, "regions", state.regions | {file.id: kept}))


def _table(result: Result) -> None:
    if not result.regions:
        st.caption("Draw boxes or polygons on the image: each is counted at once, with its area. Nothing has to be "
                   "counted again.")
        return
    rows = [{"Region": region.name, "Cells": region.count,
             "Interval": None if region.low is None else interval_text(
                 Interval(region.low, region.high, region.level, result.prediction.interval.source)),
             "per mm²": region.density_per_mm2, "Area (µm²)": region.area_um2, "Area (px²)": region.area_px}
            for region in result.regions]
    frame = pd.DataFrame(rows).dropna(axis=1, how="all")
    whole = st.column_config.NumberColumn(format="%.0f")
    st.dataframe(frame, hide_index=True, key="region-table", placeholder="–", row_height=30,
                 column_config={"Cells": st.column_config.NumberColumn(format="%.1f"), "Area (px²)": whole,
                                "Area (µm²)": whole, "per mm²": st.column_config.NumberColumn(
                                    format="%.4g", help="Cells per mm²"),
                                "Interval": st.column_config.TextColumn(help=_INTERVAL)},
                 alt="The regions of this image with their counts")
    _notes(result)
    if result.image.pixel_size_um is None:
        st.caption("The file states no pixel size, so there are no areas in µm² and no densities.")


def _notes(result: Result) -> None:
    """Below the table, where there is room for sentences; each once, with the regions it is of if it is not of all."""
    named: dict[str, list[str]] = {}
    for region in result.regions:
        named.setdefault(region.note, []).append(region.name)
    named.pop("", None)
    for note, names in list(named.items())[:_MOST_NOTES]:
        who = "" if len(names) == len(result.regions) else f"**{plain(listed(names))}:** "
        st.caption(f":material/info: {who}{plain(note)}")
    if len(named) > _MOST_NOTES:
        st.caption(f"{len(named) - _MOST_NOTES} more notes are in counts.csv.")


def _actions(desk: Desk, file: StoredFile, regions: list[Region]) -> None:
    if regions and len(desk.files) > 1 and file.id in desk.state.regions:
        st.button("Use these regions on all images", icon=":material/copy_all:", key="share-regions", width="stretch",
                  on_click=_share, args=(desk, file), help="Also in place of regions drawn on other images.")
    if desk.state.shared_regions and file.id not in desk.state.regions:
        st.caption("These regions are used on all images; a change here is one of this image alone.")


def _share(desk: Desk, file: StoredFile) -> None:
    def put(state) -> None:
        state.shared_regions, state.shared_shape = state.regions[file.id], desk.info(file).shape
        state.regions = {}

    visit.change(put)


def _more(desk: Desk, file: StoredFile, result: Result, regions: list[Region]) -> None:
    """Squares of a counting chamber, and regions from and to files."""
    with st.popover("Counting chamber and files", icon=":material/grid_on:", width="stretch", key="more-regions"):
        pattern = st.selectbox("Counting chamber", list(PATTERNS), key="chamber",
                               format_func=lambda name: PATTERNS[name].title)
        st.button("Lay its squares over the image", key="lay-chamber", width="stretch", on_click=_add,
                  args=(desk, file, regions, lambda: (chamber(result.prediction.shape, result.image.pixel_size_um,
                                                              pattern), [])),
                  help="From the upper left corner; they can be moved with the tool Select.")
        given = st.file_uploader("Regions from a file", key=f"region file {st.session_state.get('region files', 0)}",
                                 help="GeoJSON of QuPath, .roi or RoiSet.zip of ImageJ")
        if given is not None:
            content, name = given.getvalue(), given.name
            _add(desk, file, regions, lambda: read_regions(content, result.prediction.shape, name))
            st.session_state["region files"] = st.session_state.get("region files", 0) + 1
            st.rerun()
        if regions:
            st.download_button("Save as GeoJSON", lambda: write_regions(regions), "regions.geojson",
                               "application/geo+json", key="save-regions", on_click="ignore", width="stretch",
                               icon=":material/download:")
            st.button("Remove all regions", icon=":material/delete_sweep:", width="stretch", on_click=keep,
                      args=(desk, file, []), key="no-regions")


def _add(desk: Desk, file: StoredFile, regions: list[Region],
         make: Callable[[], tuple[list[Region], list[str]]]) -> None:
    """Put further regions beside those that are there; one of the same name is replaced."""
    try:
        new, notes = make()
    except CellappError as error:
        visit.say(str(error))
        return
    keep(desk, file, list(({region.name: region for region in regions} | {r.name: r for r in new}).values()))
    if notes:
        visit.say(" ".join(notes))
