"""A Zeiss CZI file → the stack of its planes, tiles put together. czifile reads the layout; sizes are bounded here."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO
from xml.etree import ElementTree

import numpy as np

from cellapp.axes import Stack
from cellapp.errors import ImageError
from cellapp.image_files import CUT_OFF, check_bytes, check_pixels, checked_xml, micrometres

CZI_MAGIC = (b"ZISRAWFILE",)
MAX_COVERED = 8  # times the area of a plane: how much its tiles may overlap
OTHERS = {"S": "scenes", "B": "acquisition blocks", "H": "phases", "I": "illuminations", "R": "rotations", "V": "views"}
ZSTD, ZSTD_HEADED, JPEG_XR = 5, 6, 4


@contextmanager
def open_czi(file: BinaryIO, *, max_pixels: int, max_decoded: int) -> Iterator[Stack]:
    """Describe the first scene of a CZI file; its planes can be loaded until the block ends.

    Raises `ImageError` for what is too large or not read here, and whatever czifile raises on a damaged file.
    """
    from czifile import CziFile

    file.seek(0)
    with CziFile(file, multifile=False) as czi:
        if not czi.header.directory_position:
            raise ImageError("the file was not closed by the microscope software; save it again there.")
        tiles = [_Tile(entry) for entry in czi.subblock_directory]
        tiles = [tile for tile in tiles if not tile.reduced]  # the others are the same picture, smaller
        if not tiles:
            raise ImageError("the file holds no picture; export it again.")
        yield _stack(file, czi, tiles, max_pixels, max_decoded)


class _Tile:
    """A subblock of the file: part of one plane."""

    def __init__(self, entry):
        self.entry = entry
        self.at = {dim.dimension: dim.start for dim in entry.dimension_entries}
        self.reduced = bool(entry.pyramid_type) or any(dim.size != dim.stored_size for dim in entry.dimension_entries)
        sizes = {dim.dimension: dim.size for dim in entry.dimension_entries}
        self.height, self.width = sizes["Y"], sizes["X"]
        self.type = np.dtype(entry.dtype)  # with the samples of a pixel as its shape
        if any(size != 1 for axis, size in sizes.items() if axis not in "YX") or min(self.height, self.width) < 1:
            raise ImageError("the file's planes are cut in a way not read here; export it as OME-TIFF from ZEN.")


def _stack(file: BinaryIO, czi, tiles: list[_Tile], max_pixels: int, max_decoded: int) -> Stack:
    notes = []
    for axis, noun in OTHERS.items():
        values = sorted({tile.at.get(axis, 0) for tile in tiles})
        if len(values) > 1:
            notes.append(f"{len(values)} {noun}; the first is read")
        tiles = [tile for tile in tiles if tile.at.get(axis, 0) == values[0]]
    type_ = tiles[0].type
    if any(tile.type != type_ for tile in tiles) or type_.base.kind not in "uif":
        raise ImageError("its channels have number types not read together here; export it as OME-TIFF from ZEN.")
    top, left = (min(tile.at[axis] for tile in tiles) for axis in "YX")
    height = max(tile.at["Y"] + tile.height for tile in tiles) - top
    width = max(tile.at["X"] + tile.width for tile in tiles) - left
    check_pixels(height, width, max_pixels)
    check_bytes(height * width * type_.itemsize, max_decoded)
    values = {axis: sorted({tile.at.get(axis, 0) for tile in tiles}) for axis in "TZC"}
    planes = {}
    for tile in sorted(tiles, key=lambda tile: tile.at.get("M", 0)):
        planes.setdefault(tuple(tile.at.get(axis, 0) for axis in "TZC"), []).append(tile)
    _check_tiles(file, planes, height * width)
    if max(map(len, planes.values())) > 1:
        notes.append(f"{max(map(len, planes.values()))} tiles, put together where the microscope says they lie")
    samples = math.prod(type_.shape)
    names, size, bits = _metadata(czi)

    def load(index: tuple[int, ...]) -> np.ndarray:
        plane = np.zeros((height, width, samples), type_.base.newbyteorder("="))
        key = tuple(values[axis][k] for axis, k in zip("TZC", index[:3], strict=True))
        if key not in planes:
            raise ImageError("planes of the file are missing (the recording was stopped?); export it again from ZEN.")
        for tile in planes[key]:
            y, x = tile.at["Y"] - top, tile.at["X"] - left
            plane[y : y + tile.height, x : x + tile.width] = _pixels(tile)
        return plane[:, :, :3]  # the fourth sample is alpha

    stored = 8 * type_.base.itemsize
    return Stack(
        kind="CZI",
        axes="TZCYXS" if samples > 1 else "TZCYX",
        sizes=(*(len(values[axis]) for axis in "TZC"), height, width, *((samples,) if samples > 1 else ())),
        dtype=type_.base.newbyteorder("="),
        bit_depth=bits if bits and bits < stored else stored,
        samples=min(samples, 3),
        names=names,
        rgb=samples > 1,
        pixel_size_um=size,
        load=load,
        notes=notes,
    )


def _check_tiles(file: BinaryIO, planes: dict[tuple, list[_Tile]], area: int) -> None:
    length = file.seek(0, io.SEEK_END)
    for tiles in planes.values():
        if sum(tile.height * tile.width for tile in tiles) > MAX_COVERED * area:
            raise ImageError("the file contradicts itself about its tiles; it is damaged: export it again.")
        if any(not 0 < tile.entry.file_position < length for tile in tiles):
            raise ImageError(CUT_OFF)


def _pixels(tile: _Tile) -> np.ndarray:
    """(h, w, S) pixels of one subblock, red first."""
    import imagecodecs

    block, kind = tile.entry.data_segment(), tile.entry.compression
    samples = math.prod(tile.type.shape)
    shape, size = (tile.height, tile.width, samples), tile.height * tile.width * tile.type.itemsize
    data = block.data(raw=True)
    if len(data) < block.data_size:
        raise ImageError(CUT_OFF)
    if kind == JPEG_XR:
        out = np.empty(shape if samples > 1 else shape[:2], tile.type.base)  # decoding refuses any other size
        return imagecodecs.jpegxr_decode(data, out=out).reshape(shape)
    if kind in (ZSTD, ZSTD_HEADED):
        data = _zstd(data, size, kind)
    elif kind:
        raise ImageError("its pixels are compressed in a way not read here; export it as OME-TIFF from ZEN.")
    pixels = np.frombuffer(data, tile.type.base, math.prod(shape)).reshape(shape)
    return pixels[:, :, [2, 1, 0, *range(3, samples)]] if samples > 1 else pixels  # they are stored blue first


def _zstd(data: bytes, size: int, kind: int) -> bytes:
    """Decompress to at most `size` bytes; a header may say that low and high bytes were parted."""
    import imagecodecs

    parted = False
    if kind == ZSTD_HEADED:
        header = data[0]
        parted = header == 3 and data[1] == 1 and bool(data[2] & 1)
        data = data[header:]
    values = np.frombuffer(imagecodecs.zstd_decode(data, out=size), np.uint8)
    if len(values) != size:
        raise ImageError(CUT_OFF)
    return values.reshape(2, -1).T.tobytes() if parted else values.tobytes()


def _metadata(czi) -> tuple[tuple[str, ...], float | None, int | None]:
    """Names of the channels, the width of a pixel in µm, and the significant bits, as far as they are told."""
    if not czi.header.metadata_position:
        return (), None, None
    root: ElementTree.Element = checked_xml(czi.metadata())
    channels = root.findall("./Metadata/Information/Image/Dimensions/Channels/Channel")
    names = tuple(channel.get("Name", "") for channel in channels)
    bits = root.findtext("./Metadata/Information/Image/ComponentBitCount", "")
    metres = root.findtext("./Metadata/Scaling/Items/Distance[@Id='X']/Value", "")
    return names, micrometres(metres, 1e6), int(bits) if bits.isdecimal() and 0 < len(bits) < 3 else None
