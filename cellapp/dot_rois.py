"""Dots in ImageJ's ROIs: ``.roi``, ``RoiSet.zip``, the overlay of a TIFF. Also QuPath's old zip of points.

The whole numbers of a point ROI name pixels (``ij/gui/Roi.java``: for points "integer Roi coordinates correspond
to the center" of a pixel), those of an area its corners: a polygon's centre is moved by half a pixel, a point
is not. Zips are read in memory, member by member; their names lead nowhere.
"""

import io
import re
import zipfile

import numpy as np

from cellapp.dot_model import Content, Dots, Gather, middle_of
from cellapp.dot_qupath import read_points_text
from cellapp.errors import DotsError

MAX_MEMBERS = 5_000
MAX_MEMBER = 1024**2                                        # bytes of one member, unpacked
MAX_RATIO = 100                                             # of unpacked to packed bytes
_IN_ONE = 50_000                                            # points of one ROI, so that it stays below MAX_MEMBER
_POINTS = re.compile(r"\bpoints[^/]*\.txt$", re.IGNORECASE)
_PICKLES = (".pkl", ".npy")                                 # members of PyTorch's and NumPy's archives


def is_roi(content: Content) -> bool:
    return content.kind == "roi"


def is_zip(content: Content) -> bool:
    return content.kind == "zip"


def is_tiff_with_rois(content: Content) -> bool:
    return content.kind == "tiff" and bool(_in_tiff(content))


def read_roi(content: Content) -> list[Dots]:
    """One ROI: each of its points, or its centre."""
    return _dots(content.name, [content.data])


def read_tiff_rois(content: Content) -> list[Dots]:
    """The ROI and the overlay that ImageJ keeps inside a TIFF."""
    return _dots(content.name, _in_tiff(content))


def read_zip(content: Content) -> list[Dots]:
    """A zip of ROIs, or of QuPath's point lists."""
    members = members_of(content)
    rois = [data for data in members.values() if data.startswith(b"Iout")]
    lists = [data for name, data in members.items() if _POINTS.search(name)]
    if rois:
        found = _dots(content.name, rois)
        other = len(members) - len(rois)
        note = f"{other} files in the zip are no ROIs and are left out."
        return [Dots(d.points, d.classes, d.image, d.shape, (*d.notes, *([note] if other else []))) for d in found]
    if lists:
        gather = Gather(content.name, corner=True)
        for data in lists:
            read_points_text(gather, data.decode("utf-8-sig", "replace"))
        gather.image("")
        return gather.dots()
    raise DotsError(f"{content.name}: there is no ImageJ ROI in this zip; unpack it and give the file of dots in it.")


def members_of(content: Content) -> dict[str, bytes]:
    """The files in a zip by name, within the limits of this module."""
    def refuse(why: str) -> DotsError:
        return DotsError(f"{content.name}: {why}, which no set of ROIs has, so it is not opened; save the ROIs again.")

    members, total = {}, 0
    try:
        with zipfile.ZipFile(io.BytesIO(content.data)) as box:
            rows = [row for row in box.infolist() if not row.is_dir() and not row.filename.startswith("__MACOSX")]
            if any(row.filename.lower().endswith(_PICKLES) for row in rows):
                raise DotsError(refuse_pickle(content.name))
            if len(rows) > MAX_MEMBERS:
                raise refuse(f"the zip has more than {MAX_MEMBERS:,} files")
            for row in rows:
                if row.flag_bits & 1:
                    raise DotsError(f"{content.name}: the zip is locked with a password; save it without one.")
                if row.file_size > MAX_MEMBER or row.file_size > MAX_RATIO * max(row.compress_size, 100):
                    raise refuse("a file in the zip is far too large or far too densely packed")
                with box.open(row) as file:
                    data = file.read(MAX_MEMBER + 1)        # whatever the directory says
                total += len(data)
                if len(data) > MAX_MEMBER or total > 64 * MAX_MEMBER:
                    raise refuse("the files in the zip are far too large")
                members[f"{len(members)} {row.filename}"] = data
    except DotsError:
        raise
    except Exception as error:                              # zipfile raises anything: struct.error, zlib.error, …
        raise DotsError(f"{content.name}: the zip is damaged or cut off; save it again.") from error
    return members


def refuse_pickle(name: str) -> str:
    """The sentence for files that run code when they are opened."""
    return (f"{name}: files of this kind (pickles: _seg.npy, .pkl, .pt) can run a stranger's code when they are "
            "opened and are never read; export _cp_masks.tif or _rois.zip instead.")


def _in_tiff(content: Content) -> list[bytes]:
    import tifffile

    try:
        with content.open() as file, tifffile.TiffFile(file) as tiff:
            data = tiff.imagej_metadata or {}
    except Exception:                                       # a TIFF that cannot be read is told by `dot_masks`
        return []
    overlays = data.get("Overlays") or []
    rois = [data.get("ROI"), *([overlays] if isinstance(overlays, bytes) else overlays)]
    return [roi for roi in rois if isinstance(roi, bytes) and roi.startswith(b"Iout")]


def _dots(name: str, files: list[bytes]) -> list[Dots]:
    """The points of all ROIs; the centres of areas only where there are no points."""
    from roifile import ROI_TYPE, ImagejRoi

    areas = (ROI_TYPE.POLYGON, ROI_TYPE.RECT, ROI_TYPE.OVAL, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED)
    try:
        rois = [ImagejRoi.frombytes(data) for data in files]
        points = [roi for roi in rois if roi.roitype == ROI_TYPE.POINT]
        outlines = [] if points else [roi for roi in rois if roi.roitype in areas]
        middles = [middle_of(roi.coordinates(multi=True)) for roi in outlines]
        places = [roi.coordinates() for roi in points]
    except Exception as error:                              # roifile raises anything on a damaged file
        raise DotsError(f"{name}: an ImageJ ROI in it is damaged or cut off; save it again.") from error
    gather = Gather(name)
    gather.image("")
    for roi, place in zip(points, places, strict=True):
        _take_points(gather, roi, place)
    for roi, (x, y) in zip(outlines, middles, strict=True):
        gather.add(x - 0.5, y - 0.5, f"ROI {roi.name}", plane=roi.position or None)
    if outlines:
        gather.note(f"{len(outlines)} ROIs are outlines; their centres are the dots.")
    if len(points) + len(outlines) < len(rois):
        gather.note(f"{len(rois) - len(points) - len(outlines)} ROIs that are no points are left out.")
    return gather.dots()


def _take_points(gather: Gather, roi, places: np.ndarray) -> None:
    counters = roi.counters if roi.counters is not None and np.any(roi.counters) else None
    positions = roi.counter_positions if roi.counter_positions is not None else np.zeros(len(places), int)
    for k, (x, y) in enumerate(places.tolist()):
        label = None if counters is None else f"Counter {counters[k]}"
        gather.add(x, y, f"point {k + 1} of ROI {roi.name}", label=label,
                   plane=int(positions[k]) or roi.position or None)


def write_zip(dots: Dots, image_name: str, shape) -> bytes:
    """Multi-point ROIs, one for each class, that ImageJ's ROI Manager opens."""
    from roifile import ROI_TYPE, ImagejRoi

    if not len(dots.points):
        raise DotsError("There are no dots, and ImageJ has no set of ROIs without a ROI; choose another format.")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as box:
        for number, name in enumerate(dict.fromkeys(dots.classes)):
            mine = np.array([label == name for label in dots.classes])
            places = dots.points[mine][:, ::-1].astype(np.float32)
            for start in range(0, len(places), _IN_ONE):
                part = places[start : start + _IN_ONE]
                roi = ImagejRoi.frompoints(part, name=f"{name or 'cells'}-{start // _IN_ONE + 1}")
                roi.roitype = ROI_TYPE.POINT
                roi.counters = np.full(len(part), min(number, 99), np.uint8)
                roi.counter_positions = np.zeros(len(part), np.uint32)
                member = zipfile.ZipInfo(f"{number:04d}-{start // _IN_ONE + 1:04d}.roi", (2000, 1, 1, 0, 0, 0))
                box.writestr(member, roi.tobytes(), zipfile.ZIP_DEFLATED)
    return out.getvalue()
