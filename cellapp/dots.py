"""Dot annotations: one dot, one cell. The public face of the readers and writers in ``dot_*.py``.

With `export`, these modules are the only place where x comes before y.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np

from cellapp import dot_json, dot_masks, dot_mat, dot_qupath, dot_rois, dot_tables, dot_via, dot_xml
from cellapp.density import check_points
from cellapp.dot_masks import read_labels
from cellapp.dot_model import Content, Dots, check_swap, inside, listed
from cellapp.dot_pairing import DOT_SUFFIXES, IMAGE_SUFFIXES, Match, Pairing, choose, core, image_files, match_folders
from cellapp.dot_tables import points_csv
from cellapp.errors import DotsError

__all__ = ["DOT_SUFFIXES", "FORMATS", "IMAGE_SUFFIXES", "Dots", "Format", "Match", "Pairing", "check_dots",
           "check_swap", "image_files", "pair", "pair_report", "pick", "points_csv", "read_dots", "read_dots_file",
           "read_labels",
           "write_dots"]

_CODE = (".npy", ".npz", ".pkl", ".pickle", ".pt", ".pth", ".joblib")
_STRANGE = (KeyError, TypeError, AttributeError, IndexError, ValueError, ArithmeticError, RecursionError)


@dataclass(frozen=True)
class Format:
    """A row of `FORMATS`.

    Attributes
    ----------
    suffixes : of its files, the first one for writing; a file is told by its content all the same
    fits : whether a file has this format
    reader : all images in the file
    writer : (dots, image name, (H, W) or None) → bytes; None where it is only read
    needs_shape, needs_name : whether the writer must know the size of the image, and its file name
    scaled : whether its places may be in a unit of length, so that a pixel size can be given
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    fits: Callable[[Content], bool]
    reader: Callable[[Content], list[Dots]]
    writer: Callable[[Dots, str, tuple[int, int] | None], bytes] | None = None
    needs_shape: bool = False
    needs_name: bool = False
    scaled: bool = False


# In the order in which a file is asked for its format: the general ones come last.
FORMATS = {row.name: row for row in (
    Format("roi", "ImageJ ROI", (".roi",), dot_rois.is_roi, dot_rois.read_roi),
    Format("roi-zip", "ImageJ ROIs (RoiSet.zip)", (".zip",), dot_rois.is_zip, dot_rois.read_zip, dot_rois.write_zip),
    Format("tiff-overlay", "ImageJ ROIs in a TIFF", (".tif", ".tiff"), dot_rois.is_tiff_with_rois,
           dot_rois.read_tiff_rois),
    Format("dot-png", "dot mask or label mask", (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"),
           dot_masks.is_picture, dot_masks.read_mask, dot_masks.write_mask, needs_shape=True),
    Format("mat", "MATLAB", (".mat",), dot_mat.is_mat, dot_mat.read_mat),
    Format("cell-counter", "Fiji Cell Counter", (".xml",), dot_xml.is_cell_counter, dot_xml.read_cell_counter,
           dot_xml.write_cell_counter, needs_name=True),
    Format("cvat", "CVAT for images 1.1", (".xml",), dot_xml.is_cvat, dot_xml.read_cvat),
    Format("coco", "COCO", (".json",), dot_json.is_coco, dot_json.read_coco, dot_json.write_coco, needs_shape=True,
           needs_name=True),
    Format("labelme", "Labelme", (".json",), dot_json.is_labelme, dot_json.read_labelme, dot_json.write_labelme,
           needs_shape=True, needs_name=True),
    Format("geojson", "QuPath GeoJSON", (".geojson", ".json"), dot_qupath.is_geojson, dot_qupath.read_geojson,
           dot_qupath.write_geojson),
    Format("label-studio", "Label Studio", (".json",), dot_json.is_label_studio, dot_json.read_label_studio),
    Format("via", "VGG Image Annotator (VIA)", (".csv", ".json"), dot_via.is_via, dot_via.read_via),
    Format("qupath-tsv", "QuPath points", (".tsv", ".txt"), dot_tables.is_qupath, dot_tables.read_qupath_points),
    Format("imagej-results", "ImageJ Results, Cell Counter table", (".csv", ".tsv", ".txt"), dot_tables.is_imagej,
           dot_tables.read_imagej, scaled=True),
    Format("napari", "napari points, BiaPy", (".csv",), dot_tables.is_napari, dot_tables.read_table,
           dot_tables.write_napari),
    Format("csv", "CSV with x and y, Spotiflow", (".csv", ".tsv", ".txt"), dot_tables.is_text, dot_tables.read_table,
           dot_tables.write_csv),
)}


def read_dots_file(
    source: str | PathLike | bytes,
    name: str | None = None,
    *,
    shape: tuple[int, int] | None = None,
    image_name: str | None = None,
    classes: tuple[str, ...] | None = None,
    annotator: str | None = None,
    pixel_size: float | None = None,
) -> dict[str, Dots]:
    """Read a file of dots in any of the `FORMATS`, told by its content.

    Parameters
    ----------
    source : a path, or the bytes of the file
    name : the file's name where ``source`` is bytes
    shape : (H, W) of the image; a file that states another size for it is refused
    image_name : give the dots of this image alone
    classes : take the dots of these classes alone
    annotator : take the dots of this person, where several annotated an image; others' images are left out
    pixel_size : of an ImageJ table measured in an image with a scale: the size of a pixel in that unit

    Returns
    -------
    `Dots` by the image's name as the file has it; "" where it names none. An image that is listed without
    dots is there with none.

    Raises
    ------
    DotsError
        In one sentence that begins with the file's name. Dots that lie outside of the image are no error
        here: see `check_dots`.
    """
    content = Content(source, name, pixel_size)
    if content.name.lower().endswith(tuple(IMAGE_SUFFIXES)) and not isinstance(source, bytes) \
            and not Path(source).exists():
        dot_masks.read_mask(content)                        # says in the words of images that there is none
    if content.name.lower().endswith(_CODE) or content.head.startswith((b"\x93NUMPY", b"\x80\x02", b"\x80\x03",
                                                                        b"\x80\x04", b"\x80\x05")):
        raise DotsError(dot_rois.refuse_pickle(content.name))
    if content.head.startswith(b"\x89HDF\r\n") or content.name.lower().endswith(".ilp"):
        raise DotsError(f"{content.name}: HDF5 files, such as projects of ilastik, are not read here; export a table "
                        "with the columns x and y, or a label image as TIFF.")
    found = _read(content)
    if annotator is not None:
        found = _of_annotator(found, annotator, content.name)
    if classes:
        found = _of_classes(found, tuple(classes), content.name)
    if image_name is not None:
        one = pick(found, image_name, content.name)
        found = {one.image: one}
    if shape is not None:
        for dots in found.values():
            _check_size(dots, shape, content.name)
    return found


def _read(content: Content) -> dict[str, Dots]:
    content = content.unpacked() if content.kind == "gzip" else content
    form = next((row for row in FORMATS.values() if row.fits(content)), None)
    if form is None:
        kind = {"xml": "XML", "json": "JSON"}.get(content.kind, "a file")
        titles = listed((row.title for row in FORMATS.values()), len(FORMATS))
        raise DotsError(f"{content.name}: it is {kind}, but of none of the forms read here ({titles}); export the "
                        "dots in one of these.")
    if content.pixel_size is not None and not content.pixel_size > 0:
        raise DotsError(f"{content.name}: a pixel size of {content.pixel_size:g} cannot be; give a number above 0.")
    if content.pixel_size is not None and not form.scaled:
        raise DotsError(f"{content.name}: its places are in pixels ({form.title}); leave the pixel size out.")
    try:
        found = form.reader(content)
    except _STRANGE as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise DotsError(f"{content.name}: it looks like {form.title}, but is not built like it ({listed([what])}); "
                        "export it again.") from error
    empty = "It holds no dots: an image without cells."
    return {dots.image: dots if len(dots.points) else replace(dots, notes=(*dots.notes, empty)) for dots in found}


def _of_annotator(found: dict[str, Dots], annotator: str, name: str) -> dict[str, Dots]:
    by_person = {(own.annotator, image): own for image, dots in found.items() for own in (dots, *dots.others)}
    chosen = {image: replace(by_person[annotator, image], image=image) for image in found
              if (annotator, image) in by_person}
    if not chosen:
        people = listed(dict.fromkeys(who for who, _ in by_person if who), 20) or "none"
        raise DotsError(f"{name}: there are no dots of the annotator {annotator}; it names: {people}.")
    return chosen


def _of_classes(found: dict[str, Dots], classes: tuple[str, ...], name: str) -> dict[str, Dots]:
    have = dict.fromkeys(label for dots in found.values() for label in dots.class_names)
    unknown = [label for label in classes if label not in have]
    if unknown:
        raise DotsError(f"{name}: there are no dots of the class {listed(unknown)}; its classes are: "
                        f"{listed(have, 20) or 'none'}.")
    chosen = {}
    for image, dots in found.items():
        keep = [label in classes for label in dots.classes]
        chosen[image] = replace(dots, points=dots.points[np.array(keep, bool)],
                                classes=tuple(label for label in dots.classes if label in classes), others=(),
                                notes=(*dots.notes, f"Only dots of the class {listed(classes)} are taken."))
    return chosen


def pick(found: dict[str, Dots], image_name: str | None, name: str) -> Dots:
    """The dots of one image out of what `read_dots_file` gave for the file ``name``."""
    if not found:
        raise DotsError(f"{name}: it names no image; export it again with the images.")
    if len(found) == 1:
        dots = next(iter(found.values()))
        if dots.image and image_name and core(dots.image) != core(image_name):
            dots = replace(dots, notes=(*dots.notes, f"The file names another image: {listed([dots.image])}."))
        return dots
    entry = choose(image_name, found) if image_name else None
    if entry is None:
        what = "give the name of one of them" if image_name is None else f"{image_name} is not among them, or twice"
        raise DotsError(f"{name}: it holds the dots of {len(found)} images ({listed(found)}); {what}.")
    return found[entry]


def _check_size(dots: Dots, shape: tuple[int, int], name: str) -> None:
    if dots.shape is not None and tuple(dots.shape) != tuple(shape):
        raise DotsError(f"{name}: its dots were set in an image of {dots.shape[1]}×{dots.shape[0]} px, but this one "
                        f"has {shape[1]}×{shape[0]} px; give the image that was annotated.")


def check_dots(dots: Dots, shape: tuple[int, int], name: str) -> np.ndarray:
    """The points, if all lie in the image of ``(H, W)``; the error says whether x and y are swapped."""
    _check_size(dots, shape, name)
    points = dots.points
    try:
        return check_points(points, shape)
    except DotsError as error:
        hint = ""
        if check_swap(points, shape) is not None:
            hint = f" With x and y swapped, all {len(points)} lie inside: exchange the names of the two columns."
        elif inside(points - 1, shape).all():
            hint = " Counted from 0 instead of 1, all lie inside: subtract 1 from x and y."
        raise DotsError(f"{name}: {error}{hint}") from error


def read_dots(
    source: str | PathLike | bytes,
    name: str | None = None,
    *,
    shape: tuple[int, int] | None = None,
    image_name: str | None = None,
    classes: tuple[str, ...] | None = None,
) -> np.ndarray:
    """Read the dots of one image: ``(N, 2)`` float64, ``(y, x)`` in pixels.

    Parameters as for `read_dots_file`; a file with several images needs ``image_name``.
    """
    found = read_dots_file(source, name, shape=shape, image_name=image_name, classes=classes)
    return pick(found, image_name, Content(source, name).name).points


def write_dots(
    dots: Dots | np.ndarray, format: str, image_name: str = "", shape: tuple[int, int] | None = None
) -> bytes:
    """The bytes of a file with the dots of one image.

    Parameters
    ----------
    format : the name of a row of `FORMATS` that has a writer
    image_name : the image's exact file name, which some formats carry (Fiji refuses another one)
    shape : (H, W) of the image, which dot-png, coco and labelme need; dots outside of it are an error
    """
    dots = dots if isinstance(dots, Dots) else Dots(dots)
    writers = {row.name: row for row in FORMATS.values() if row.writer}
    if format not in writers:
        raise DotsError(f"{format}: dots are not written in this format; choose one of {', '.join(writers)}.")
    shape = shape or dots.shape
    if shape is None and writers[format].needs_shape:
        raise DotsError(f"{format}: this format needs the size of the image; give its height and width in pixels.")
    image_name = image_name or dots.image
    if writers[format].needs_name and not image_name:
        raise DotsError(f"{format}: this format carries the name of the image; give its exact file name.")
    if not np.isfinite(dots.points).all():
        raise DotsError("There are dots without a place (NaN or infinite); remove them before they are written.")
    if shape is not None:
        check_points(dots.points, shape)
    return writers[format].writer(dots, image_name, shape)


def pair_report(images: str | Path, dots: str | Path | None = None) -> Pairing:
    """Match the images of one folder with the files of dots in another (or in the same one) by name.

    Exact stem first, then the stem without a decoration such as ``cell``, ``_dots`` or ``CellCounter_``
    (``001cell.png`` and ``001dots.png``), then the names of images inside the files (COCO, CVAT, Label
    Studio, tables with a column ``image``); never by order.
    """
    return match_folders(images, dots, _names_in)


def _names_in(path: Path) -> list[str]:
    return list(read_dots_file(path))


def pair(images: str | Path, dots: str | Path | None = None) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """`pair_report` in short: the pairs (image, file of dots), sorted by image, and the images without dots."""
    report = pair_report(images, dots)
    return [(match.image, match.file) for match in report.matches], list(report.without_dots)
