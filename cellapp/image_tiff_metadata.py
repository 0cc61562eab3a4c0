"""What the metadata of a TIFF file say: names of channels, significant bits, the size of a pixel."""

from xml.etree import ElementTree

from cellapp.image_files import micrometres

MICROSCOPE_FLAGS = ("fluoview", "lsm", "ndpi", "qpi", "scn", "sis", "stk", "svs")
MICROMETRES = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "mm": 1e3, "cm": 1e4}


def ome_pixels(tif) -> ElementTree.Element | None:
    """Pixels element of the first image."""
    if not tif.is_ome:
        return None
    try:
        root = ElementTree.fromstring(tif.ome_metadata)
    except ElementTree.ParseError:
        return None
    return next((element for element in root.iter() if element.tag.endswith("}Pixels")), None)


def ome_names(pixels: ElementTree.Element | None) -> tuple[tuple[str, ...], int | None]:
    """Names of the channels and the significant bits that OME metadata give; ((), None) without."""
    if pixels is None:
        return (), None
    names = tuple(child.get("Name", "") for child in pixels if child.tag.endswith("Channel"))
    bits = pixels.get("SignificantBits", "")
    return names, int(bits) if bits.isdigit() and 0 < int(bits) <= 64 else None


def imagej_names(tif, axes: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Labels that ImageJ gives the first planes, where they are those of the channels."""
    labels = (tif.imagej_metadata or {}).get("Labels", []) if tif.is_imagej else []
    count = shape[axes.index("C")] if "C" in axes else 1
    return tuple(labels[:count]) if count > 1 and len(labels) >= count else ()


def pixel_size(tif, page, ome: ElementTree.Element | None) -> float | None:
    """Width of a pixel in µm where the file states it; print resolutions (dots per inch) say nothing."""
    try:
        if ome is not None:
            unit, units = ome.get("PhysicalSizeXUnit", "µm"), float(ome.get("PhysicalSizeX", "0"))
        else:
            numerator, denominator = page.tags[282].value  # XResolution: pixels for each unit
            units = denominator / numerator
            unit = ""
            if tif.is_imagej:
                unit = (tif.imagej_metadata or {}).get("unit", "")
            elif page.resolutionunit == 3 and any(getattr(tif, f"is_{flag}") for flag in MICROSCOPE_FLAGS):
                unit = "cm"
    except (KeyError, TypeError, ValueError, ZeroDivisionError):  # none stated, or nonsense
        return None
    return micrometres(units, MICROMETRES.get(str(unit).replace("\\u00B5", "µ").replace("μ", "µ"), 0.0))
