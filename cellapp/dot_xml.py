"""Dots in XML: Fiji's Cell Counter and CVAT for images 1.1. Document types and entities are refused."""

import re
from xml.sax.saxutils import escape, unescape

from cellapp.dot_model import Content, Dots, Gather, centroid, listed, pixels_of
from cellapp.errors import DotsError

_TEXTS = re.compile(r"<(Image_Filename|Name)>(.*?)</\1>", re.DOTALL)


def is_cell_counter(content: Content) -> bool:
    return content.kind == "xml" and "<CellCounter_Marker_File" in content.start


def is_cvat(content: Content) -> bool:
    return content.kind == "xml" and "<annotations" in content.start


def _root(content: Content):
    """The parsed file; Fiji does not escape file names, so they are escaped where that is what fails."""
    from xml.etree.ElementTree import ParseError

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        try:
            return fromstring(content.data, forbid_dtd=True)
        except ParseError:
            text = content.data.decode("utf-8-sig", "replace")
            mended = _TEXTS.sub(lambda m: f"<{m[1]}>{escape(unescape(m[2]))}</{m[1]}>", text)
            return fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", mended), forbid_dtd=True)
    except DefusedXmlException as error:
        raise DotsError(f"{content.name}: it declares a document type or entities, which can hide an attack and are "
                        "never read; export the dots again.") from error
    except (ParseError, LookupError, ValueError) as error:
        raise DotsError(f"{content.name}: the XML is damaged or cut off ({error}); save it again.") from error


def read_cell_counter(content: Content) -> list[Dots]:
    """Markers of Fiji's Cell Counter: integer pixels, one class per type; also cellfinder's file of that form."""
    root, gather = _root(content), Gather(content.name)
    image = gather.image((root.findtext("Image_Properties/Image_Filename") or "").strip())
    for number, kind in enumerate(root.iterfind("Marker_Data/Marker_Type"), 1):
        type_name = (kind.findtext("Type") or str(number)).strip()
        label = (kind.findtext("Name") or "").strip() or f"Type {type_name}"
        for k, marker in enumerate(kind.iterfind("Marker"), 1):
            gather.add(marker.findtext("MarkerX"), marker.findtext("MarkerY"), f"marker {k} of {label}",
                       image=image, label=label, plane=(marker.findtext("MarkerZ") or "").strip() or None)
    found = gather.dots()
    if len(found[0].class_names) > 1:
        gather.note(f"The markers of {len(found[0].class_names)} types are taken together "
                    f"({listed(found[0].class_names)}).", image)
    return gather.dots()


def write_cell_counter(dots: Dots, image_name: str, shape) -> bytes:
    """A marker file for Fiji, which refuses it unless the file name is exactly the title of the image's window."""
    names = dots.class_names or ("Type 1",)
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<CellCounter_Marker_File>", " <Image_Properties>",
             f"     <Image_Filename>{escape(image_name)}</Image_Filename>", " </Image_Properties>", " <Marker_Data>",
             "     <Current_Type>0</Current_Type>"]
    for number, name in enumerate(names, 1):
        lines += ["     <Marker_Type>", f"         <Type>{number}</Type>", f"         <Name>{escape(name)}</Name>"]
        for (y, x), label in zip(pixels_of(dots.points), dots.classes, strict=True):
            if label == name or (label is None and number == 1):
                lines.append(f"         <Marker><MarkerX>{x}</MarkerX><MarkerY>{y}</MarkerY><MarkerZ>1</MarkerZ>"
                             "</Marker>")
        lines.append("     </Marker_Type>")
    return "\n".join([*lines, " </Marker_Data>", "</CellCounter_Marker_File>", ""]).encode()


def read_cvat(content: Content) -> list[Dots]:
    """CVAT for images 1.1: every point is a dot, and the middle of every box, ellipse, polygon and mask."""
    root, gather = _root(content), Gather(content.name, corner=True)
    if root.find("track") is not None:
        raise DotsError(f"{content.name}: this is CVAT's format for videos; export the task as CVAT for images 1.1.")
    if root.find("image") is None:
        raise DotsError(f"{content.name}: it names no image; export the task as CVAT for images 1.1.")
    for picture in root.iterfind("image"):
        size = [int(picture.get(side, 0)) for side in ("height", "width")]
        image = gather.image(picture.get("name", ""), tuple(size))
        for number, shape in enumerate(picture, 1):
            where = f"{shape.tag} {number} of {image}"
            middles = _cvat_dots(shape)
            if middles is None and shape.tag != "tag":
                gather.note(f"Shapes of the kind {shape.tag} are no cells and are left out.", image)
            for x, y in middles or ():
                gather.add(x, y, where, image=image, label=shape.get("label"))
    return gather.dots()


def _cvat_dots(shape) -> list[tuple] | None:
    """(x, y) of each cell that an element of CVAT marks; None for an element that marks none."""
    if shape.tag == "points":
        return [_pair(point) for point in shape.get("points", "").split(";")]
    if shape.tag == "polygon":
        return [centroid(_pair(point) for point in shape.get("points", "").split(";"))[:2]]
    if shape.tag == "ellipse":
        return [(shape.get("cx"), shape.get("cy"))]
    if shape.tag == "box":
        left, top, right, bottom = (float(shape.get(key)) for key in ("xtl", "ytl", "xbr", "ybr"))
        return [((left + right) / 2, (top + bottom) / 2)]
    if shape.tag == "mask":
        left, top, width, height = (float(shape.get(key)) for key in ("left", "top", "width", "height"))
        return [(left + width / 2, top + height / 2)]
    return None


def _pair(text: str) -> tuple[str, str]:
    x, _, y = text.partition(",")
    return x, y
