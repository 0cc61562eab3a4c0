"""A Nikon ND2 file → the stack of its planes. The library nd2 reads the layout; sizes are bounded here."""

import functools
import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import BinaryIO

import numpy as np

from cellapp.axes import Stack
from cellapp.errors import ImageError
from cellapp.image_files import CUT_OFF, check_bytes, check_pixels, micrometres

ND2_MAGIC = (b"\xda\xce\xbe\x0a",)
MAX_METADATA = 64 * 1024**2  # bytes of one block of metadata, once it is unpacked
MAP_SIGNATURE = b"ND2 CHUNK MAP SIGNATURE 0000001!"
DATA_AT = 4096  # from the start of a chunk to the pixels it holds


@contextmanager
def open_nd2(file: BinaryIO, *, max_pixels: int, max_decoded: int) -> Iterator[Stack]:
    """Describe an ND2 file; its planes can be loaded until the block ends.

    Raises `ImageError` for what is too large or not read here, and whatever nd2 raises on a damaged file.
    """
    frames = _frames(file)
    file.seek(0)
    with _nd2(max_decoded).ND2File(file) as nd2:
        yield _stack(nd2, frames, file.seek(0, io.SEEK_END), max_pixels, max_decoded)


@functools.cache
def _nd2(max_decoded: int):
    """Import nd2 with a bound on what it unpacks: a few bytes of zlib's can grow to gigabytes."""
    import nd2
    from nd2._parse import _clx_lite
    from nd2._readers._modern import modern_reader

    def bounded(limit: int) -> SimpleNamespace:
        def decompress(data: bytes) -> bytes:
            worker = zlib.decompressobj()
            values = worker.decompress(data, limit)
            if not worker.eof:
                raise ImageError(CUT_OFF if not worker.unconsumed_tail else "its packed data are too large; export it "
                                 "as OME-TIFF from NIS-Elements.")
            return values

        return SimpleNamespace(decompress=decompress, error=zlib.error)

    _clx_lite.zlib, modern_reader.zlib = bounded(MAX_METADATA), bounded(max_decoded)
    return nd2


def _frames(file: BinaryIO) -> dict[int, int]:
    """Number of a frame → where its chunk lies; nd2 itself shows black for a frame that is missing."""
    length = file.seek(0, io.SEEK_END)
    file.seek(max(0, length - 40))
    tail = file.read(40)
    if not tail.startswith(MAP_SIGNATURE):
        raise ImageError(CUT_OFF)
    file.seek(min(struct.unpack("<Q", tail[32:])[0], length))
    _, name, size = struct.unpack("<IIQ", file.read(16))
    file.seek(name, io.SEEK_CUR)
    table, frames, at = file.read(min(size, length)), {}, 0
    while not table.startswith(MAP_SIGNATURE, at):
        end = table.index(b"!", at) + 1
        if table.startswith(b"ImageDataSeq|", at):
            frames[int(table[at + 13 : end - 1])] = struct.unpack_from("<Q", table, end)[0]
        at = end + 16
    return frames


def _stack(nd2, frames: dict[int, int], length: int, max_pixels: int, max_decoded: int) -> Stack:
    about = nd2.attributes
    channels = about.channelCount or 1
    samples = about.componentCount // channels
    check_pixels(about.heightPx, about.widthPx or 0, max_pixels)
    size = about.heightPx * (about.widthBytes or 0)
    check_bytes(size, max_decoded)
    if about.compressionType == "lossy" or size < about.heightPx * about.widthPx * nd2.dtype.itemsize * samples:
        raise ImageError("its pixels are packed in a way not read here; export it as OME-TIFF from NIS-Elements.")
    loops = {axis: n for axis, n in nd2.sizes.items() if axis not in "CYXS"}
    packed = about.compressionType == "lossless"
    notes: list[str] = []
    described = _channels(nd2, notes)
    volume = described[0].volume if described else None

    def load(index: tuple[int, ...]) -> np.ndarray:
        number = int(np.ravel_multi_index(index[: len(loops)], tuple(loops.values()))) if loops else 0
        start = frames.get(number)
        if start is None or start + DATA_AT + (0 if packed else size) > length:
            raise ImageError(CUT_OFF)
        frame = nd2.read_frame(number).reshape(channels, about.heightPx, about.widthPx, samples)
        return frame[index[len(loops)]].astype(nd2.dtype.newbyteorder("="), copy=False)

    return Stack(
        kind="ND2",
        axes="".join({"U": "I"}.get(axis, axis) for axis in loops) + ("CYXS" if samples > 1 else "CYX"),
        sizes=(*loops.values(), channels, about.heightPx, about.widthPx, *((samples,) if samples > 1 else ())),
        dtype=nd2.dtype.newbyteorder("="),
        bit_depth=min(about.bitsPerComponentSignificant, 8 * nd2.dtype.itemsize),
        samples=samples,
        names=tuple(str(channel.channel.name) for channel in described),
        unknown=tuple(k for k, axis in enumerate(loops) if axis == "U"),
        pixel_size_um=micrometres(volume.axesCalibration[0], 1) if volume and volume.axesCalibrated[0] else None,
        load=load,
        notes=notes,
    )


def _channels(nd2, notes: list[str]) -> list:
    """What the file says of its channels; without it the pixels can be read all the same."""
    try:
        return nd2.metadata.channels or []
    except Exception:  # nd2 stumbles over what some microscopes leave out
        notes.append("names of channels and the size of a pixel could not be read from the file's metadata")
        return []
