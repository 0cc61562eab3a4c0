"""Dots in a MATLAB file, such as the ``detection`` of the CRCHistoPhenotypes: N×2 numbers, x before y, from 1.

Only one numeric array of a known size is read, by scipy, which has no way to run anything in such a file; cells,
structures and objects are not touched.
"""

import io
import struct
import zlib

from cellapp.dot_model import MAX_BYTES, MAX_DOTS, Content, Dots, Gather, listed
from cellapp.errors import DotsError

_NUMBERS = ("double", "single", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
_HEADER, _COMPRESSED = 128, 15                              # bytes before the first element; type of a packed one


def is_mat(content: Content) -> bool:
    return content.head.startswith(b"MATLAB ")


def read_mat(content: Content) -> list[Dots]:
    """The array ``detection``, or else the only one with two columns."""
    from scipy.io import loadmat

    if content.head.startswith(b"MATLAB 7.3"):
        raise DotsError(f"{content.name}: this is MATLAB's format 7.3, which is not read here; save it in MATLAB with "
                        "save(…, '-v7'), or write a CSV with the columns x and y.")
    _check_size(content)
    try:
        name = _variable(content)
        array = loadmat(io.BytesIO(content.data), variable_names=[name])[name]
    except DotsError:
        raise
    except Exception as error:                              # scipy raises anything on a damaged file
        raise DotsError(f"{content.name}: the MATLAB file is damaged or cut off; save it again.") from error
    gather = Gather(content.name)
    gather.image("")
    for number, (x, y) in enumerate(array.reshape(-1, 2).tolist(), 1):
        gather.add(x - 1, y - 1, f"row {number} of {name}")
    gather.note(f"Taken from the variable {name}: x before y, counted from 1 as MATLAB does.")
    return gather.dots()


def _variable(content: Content) -> str:
    from scipy.io import whosmat

    there = whosmat(io.BytesIO(content.data))
    fitting = [(name, shape) for name, shape, kind in there if kind in _NUMBERS and len(shape) == 2
               and (shape[1] == 2 or 0 in shape)]
    chosen = [row for row in fitting if row[0] == "detection"] or fitting
    if len(chosen) != 1:
        found = listed(f"{name} {'×'.join(map(str, shape))} {kind}" for name, shape, kind in there) or "nothing"
        raise DotsError(f"{content.name}: it needs one variable of numbers with two columns, x and y, best named "
                        f"detection (found: {found}); save that one alone.")
    name, shape = chosen[0]
    if shape[0] > MAX_DOTS:
        raise DotsError(f"{content.name}: {name} has more than {MAX_DOTS:,} rows, the most read here; check that it "
                        "holds dots.")
    return name


def _check_size(content: Content) -> None:
    """Refuse a file whose elements unpack to more than is read of any file; scipy would believe them."""
    data, place, total = content.data, _HEADER, 0
    order = ">" if data[126:128] == b"MI" else "<"
    while place + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, place)
        place += 8
        if kind == _COMPRESSED:
            try:
                total += len(zlib.decompressobj().decompress(data[place : place + size], MAX_BYTES + 1))
            except zlib.error as error:
                raise DotsError(f"{content.name}: the MATLAB file is damaged or cut off; save it again.") from error
        if total > MAX_BYTES:
            raise DotsError(f"{content.name}: unpacked, it has more than the {MAX_BYTES // 1024**2} MB read here; save "
                            "the dots alone.")
        place += size
