"""Tables and maps to take away. Every file is made when its button is pressed, not on every run."""

import secrets
from collections.abc import Iterator

import streamlit as st

from cellapp.batch import Result
from cellapp.errors import CellappError
from cellapp.export import archive_name, counts_csv, files_of, table_csv, write_archive
from cellapp.run_record import NAME, REGIONS, Recorder, command_line
from cellapp.ui import exports
from cellapp.ui.desk import Desk
from cellapp.ui.text import plain

_TITLES = {"_overlay.png": "Overlay (PNG)", "_density.tif": "Density map (TIFF)", "_mask.tif": "Mask (TIFF)",
           "_mask.png": "Mask for the eye (PNG)", "_points.csv": "Points (CSV)", "_rois.zip": "ROIs for ImageJ (zip)",
           ".geojson": "For QuPath (GeoJSON)", ".xml": "For Fiji's Cell Counter (XML)"}


def show(desk: Desk, result: Result | None) -> None:
    """Buttons for the table, the files of the image shown, and everything."""
    if not any(desk.result(file) for file in desk.files):
        return
    with st.container(horizontal=True, vertical_alignment="center", key="downloads"):
        st.download_button("counts.csv", lambda: table(desk).encode("utf-8-sig"), "counts.csv", "text/csv",
                           key="download-counts.csv", on_click="ignore", icon=":material/download:")
        if result is not None and result.prediction is not None:
            _of_image(desk, result)
        st.button("Everything as zip", key="zip", icon=":material/folder_zip:", on_click=_order,
                  help="counts.csv, run.json and the files of all counted images.")
    if ticket := st.session_state.get("zip ordered"):
        _zip(desk, ticket)
    if result is not None and result.prediction is not None:
        with st.expander("The same on the command line", icon=":material/terminal:"):
            regions = REGIONS if desk.regions(desk.shown)[0] else None
            st.code(command_line([result.name], desk.row.id, result.options, regions), language="sh", wrap_lines=True)
            st.caption(f"{NAME} in the zip holds this command, the versions and the hash of the weights; "
                       f"`python -m cellapp rerun {NAME}` checks that the counts are the same.")


def _of_image(desk: Desk, result: Result) -> None:
    """A button for each file, made when the list is opened."""
    box = st.popover("Files of this image", icon=":material/download:", key=f"files of {desk.shown.id}",
                     on_change="rerun")
    if not box.open:
        return
    with box:
        for name, content in files_of(result).items():
            title = next((t for ending, t in _TITLES.items() if name.endswith(ending)), name.rpartition("__")[2])
            st.download_button(title, content, name, key=f"download-{name}", type="tertiary",
                               on_click="ignore", icon=":material/draft:", help=name)


def table(desk: Desk) -> str:
    """counts.csv of all images that have a row, with their regions."""
    return counts_csv(filter(None, (_row(desk, file) for file in desk.files)))


def _row(desk: Desk, file) -> Result | None:
    return desk.full(file, pixels=False) if desk.regions(file)[0] else desk.result(file)


def _order() -> None:
    st.session_state["zip ordered"] = secrets.token_hex(8)


def _zip(desk: Desk, ticket: str) -> None:
    """Make the zip that was ordered, once, and hand it over."""
    try:
        if st.session_state.get("zip made", ("",))[0] != ticket:
            st.session_state["zip made"] = ticket, _write(desk)
        exports.hand_over(desk.space.id, st.session_state["zip made"][1], ticket)
    except CellappError as error:
        st.error(plain(str(error)), icon=":material/error:")


def _write(desk: Desk) -> str:
    """A zip on the disk, made image by image, never as a whole in the memory; its name."""
    bar = st.progress(0.0, text="Packing …")
    rows: list[dict] = []
    path = desk.space.export_path("counts.zip")
    try:
        write_archive(path, _everything(desk, rows, bar))
        name = archive_name(table_csv(rows))
        path.replace(path.with_name(name))
    finally:
        path.unlink(missing_ok=True)
        bar.empty()
    return name


def _everything(desk: Desk, rows: list[dict], bar) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the files of all images, the table, and a record for each way of counting among them.

    ``rows`` takes the rows of the table as they come.
    """
    taken: set[str] = set()
    records: dict[tuple, Recorder] = {}
    failed: list[Result] = []
    for k, file in enumerate(desk.files):
        bar.progress(k / len(desk.files), text=plain(f"Packing {file.name} …"))
        result = desk.result(file) and desk.full(file)
        if result is None:
            continue
        rows += result.rows()
        if result.prediction is None:
            failed.append(result)
            continue
        _record(desk, records, result, tuple(desk.regions(file)[0])).add(result)
        yield from files_of(result, taken).items()
    first = next(iter(records.values()), None) or _record(desk, records, failed[0], ())
    for result in failed:
        first.add(result)
    yield "counts.csv", table_csv(rows).encode("utf-8-sig")
    for k, record in enumerate(records.values()):
        for name, content in record.files():
            yield (name if k == 0 else name.replace(".", f"-{k + 1}.", 1)), content


def _record(desk: Desk, records: dict[tuple, Recorder], result: Result, regions: tuple) -> Recorder:
    """The record of images that are counted like this one: a run has one set of options and of regions."""
    way = result.options or desk.options(desk.shown), regions
    if way not in records:
        named = REGIONS.replace(".", f"-{len(records) + 1}.") if records else REGIONS
        command = command_line(["IMAGES"], desk.row.id, way[0], named if regions else None)
        records[way] = Recorder(desk.row, *way, command=command)
    return records[way]
