"""What ``python -m cellapp dots`` does; `cellapp.cli` declares its flags."""

import argparse
import json

from cellapp.dots import FORMATS, check_dots, pick, read_dots_file, write_dots
from cellapp.files import write_atomic


def convert(given: argparse.Namespace) -> int:
    """Read the dots of one image in any format and write them in another one."""
    found = read_dots_file(given.input, shape=given.shape, image_name=given.image,
                           classes=tuple(given.classes) or None, annotator=given.annotator,
                           pixel_size=given.pixel_size)
    dots = pick(found, given.image, given.input.name)
    if given.shape:
        check_dots(dots, given.shape, given.input.name)
    write_atomic(given.output, write_dots(dots, given.to, given.image or dots.image, given.shape))
    record = {"file": str(given.output), "format": given.to, "image": given.image or dots.image,
              "dots": len(dots.points), "classes": list(dots.class_names), "notes": list(dots.notes)}
    line = f"{given.output}: {len(dots.points)} dots, {FORMATS[given.to].title}"
    if given.json:
        print(json.dumps(record, ensure_ascii=False), flush=True)
    else:
        print(" ".join([f"{line}.", *dots.notes]), flush=True)
    return 0
