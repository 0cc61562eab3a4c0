"""Image files in, pixels as they are or one sentence: the gate that every upload passes."""

import hashlib
import io
import os
import re
import struct
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage
from PIL import ImageFile

from cellapp import image as gate
from cellapp.errors import ImageError
from cellapp.image import Image, plane, preview, read_image

RNG = np.random.default_rng(0)
GREY8 = RNG.integers(0, 256, (12, 17), dtype=np.uint8)
RGB8 = RNG.integers(0, 256, (12, 17, 3), dtype=np.uint8)
RGBA8 = RNG.integers(0, 256, (12, 17, 4), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (12, 17), dtype=np.uint16)
RGB16 = RNG.integers(0, 65536, (12, 17, 3), dtype=np.uint16)
BITS = RNG.integers(0, 2, (12, 17), dtype=np.uint8)
STACK = RNG.integers(0, 4096, (5, 12, 17), dtype=np.uint16)
HYPER = RNG.integers(0, 4096, (2, 3, 4, 12, 17), dtype=np.uint16)  # T, Z, C, Y, X
COLOURS = ("red", "green", "blue")


def pillow(array, kind, mode=None, **options):
    """The file that Pillow writes."""
    picture = array if isinstance(array, PillowImage.Image) else PillowImage.fromarray(array)
    file = io.BytesIO()
    (picture.convert(mode) if mode else picture).save(file, kind, **options)
    return file.getvalue()


def tiff(array, **options):
    """The file that tifffile writes."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tifffile.imwrite(file, array, **options)
    return file.getvalue()


def pages(stack=STACK, **options):
    """A TIFF file of one grey page after the other."""
    return tiff(stack, photometric="minisblack", **options)


def png(width, height, depth, kind, rows=b"", extra=b""):
    """A PNG file from its header and its raw rows, each begun by its filter byte."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def png16(array):
    """A PNG file of 16 bits a sample, which Pillow cannot write in colour."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[array[0, 0].size]
    return png(array.shape[1], array.shape[0], 16, kind, b"".join(b"\0" + r.astype(">u2").tobytes() for r in array))


def patched(data, tag, value):
    """A little-endian TIFF file with one value of its first page changed."""
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        found = tif.pages[0].tags[tag]
    changed = bytearray(data)
    struct.pack_into({3: "<H", 4: "<I"}[found.dtype], changed, found.valueoffset, value)
    return bytes(changed)


def palette(table, kind):
    picture = PillowImage.fromarray(BITS + 2, "L").convert("P")
    picture.putdata((BITS + 2).ravel())
    picture.putpalette([0, 1, 2, 3, 4, 5, *table])
    return pillow(picture, kind)


def jpeg(array, mode=None, **options):
    data = pillow(array, "JPEG", mode, **options)
    return data, np.asarray(PillowImage.open(io.BytesIO(data)))


def cmyk():
    data, ink = jpeg(RGB8, "CMYK")
    light = 255 - ink.astype(int)
    return data, ((light[..., :3] * light[..., 3:] + 127) // 255).astype(np.uint8)


def oriented(number):
    exif = PillowImage.Exif()
    exif[0x0112] = number
    return pillow(RGB8, "PNG", exif=exif)


def palette_tiff(table):
    map16 = np.zeros((3, 256), np.uint16)
    map16[:, 2:4] = np.array(table, np.uint16).reshape(2, 3).T * 257
    return tiff(BITS + np.uint8(2), photometric="palette", colormap=map16)


def ome(array, axes, **more):
    return tiff(array, ome=True, photometric="minisblack", metadata={"axes": axes, **more})


def imagej(array, axes, **more):
    return tiff(array, imagej=True, metadata={"axes": axes, **more}, **RESOLUTION)


RESOLUTION = {"resolution": (4.0, 4.0)}
FLOATS = RNG.normal(size=(12, 17))
OME = {"Channel": {"Name": ["DAPI", "GFP", "GFP", ""]}, "PhysicalSizeX": 325.0, "PhysicalSizeXUnit": "nm"}
NAMES = ("DAPI", "GFP", "GFP (3)", "channel 4")
RED_BLUE, GREYS = (255, 0, 0, 0, 0, 255), (9, 9, 9, 200, 200, 200)
CHANNELS = tuple(f"channel {i}" for i in range(1, 6))

GOOD = {  # id: (file, pixels, bit depth, axes, channels, a part of each note)
    "png 8": (pillow(GREY8, "PNG"), GREY8, 8, "YX", "grey", ()),
    "png 16": (pillow(GREY16, "PNG"), GREY16, 16, "YX", "grey", ()),
    "png 1": (pillow(BITS * 255, "PNG", "1"), BITS, 1, "YX", "grey", ()),
    "png 2": (png(4, 1, 2, 0, b"\0\x1b"), np.array([[0, 1, 2, 3]], np.uint8), 2, "YX", "grey", ()),
    "png 4": (png(2, 1, 4, 0, b"\0\x5f"), np.array([[5, 15]], np.uint8), 4, "YX", "grey", ()),
    "png rgb": (pillow(RGB8, "PNG"), RGB8, 8, "YXS", COLOURS, ()),
    "png rgb 16": (png16(RGB16), RGB16, 16, "YXS", COLOURS, ()),
    "png la 16": (png16(RGB16[..., :2]), RGB16[..., 0], 16, "YX", "grey", ("lpha channel dropped; it varied",)),
    "png rgba": (pillow(RGBA8, "PNG"), RGBA8[..., :3], 8, "YXS", COLOURS, ("lpha channel dropped; it varied",)),
    "png rgb as rgba": (pillow(RGB8, "PNG", "RGBA"), RGB8, 8, "YXS", COLOURS, ("lpha channel dropped.",)),
    "png la": (pillow(GREY8, "PNG", "LA"), GREY8, 8, "YX", "grey", ("lpha channel dropped.",)),
    "png key": (pillow(GREY8, "PNG", transparency=3), GREY8, 8, "YX", "grey", ("ransparency dropped",)),
    "palette": (
        palette(RED_BLUE, "PNG"), np.array(RED_BLUE, np.uint8).reshape(2, 3)[BITS], 8, "YXS", COLOURS,
        ("read as red, green, blue",),
    ),
    "palette of greys": (palette(GREYS, "PNG"), np.array([9, 200], np.uint8)[BITS], 8, "YX", "grey", ()),
    "bmp": (pillow(RGB8, "BMP"), RGB8, 8, "YXS", COLOURS, ()),
    "bmp grey": (pillow(GREY8, "BMP"), GREY8, 8, "YX", "grey", ()),
    "gif": (
        pillow(GREY8, "GIF", save_all=True, append_images=[PillowImage.fromarray(255 - GREY8)]),
        GREY8, 8, "YX", "grey", ("frame 1 is read",),
    ),
    "webp": (pillow(RGB8, "WEBP", lossless=True), RGB8, 8, "YXS", COLOURS, ()),
    "webp rgba": (pillow(RGBA8, "WEBP", lossless=True, exact=True), RGBA8[..., :3], 8, "YXS", COLOURS, ("lpha",)),
    "webp, animated": (
        pillow(RGB8, "WEBP", lossless=True, save_all=True, append_images=[PillowImage.fromarray(255 - RGB8)]),
        RGB8, 8, "YXS", COLOURS, ("frame 1 is read",),
    ),
    "bmp palette": (
        palette(RED_BLUE, "BMP"), np.array(RED_BLUE, np.uint8).reshape(2, 3)[BITS], 8, "YXS", COLOURS,
        ("read as red, green, blue",),
    ),
    "jpeg": (*jpeg(RGB8), 8, "YXS", COLOURS, ()),
    "jpeg grey": (*jpeg(GREY8), 8, "YX", "grey", ()),
    "jpeg cmyk": (*cmyk(), 8, "YXS", COLOURS, ("CMYK",)),
    "png and zip": (pillow(GREY8, "PNG") + b"PK\x03\x04", GREY8, 8, "YX", "grey", ()),
    **{
        f"orientation {number}": (oriented(number), turned, 8, "YXS", COLOURS, (f"({number})",))
        for number, turned in {
            2: RGB8[:, ::-1], 3: RGB8[::-1, ::-1], 4: RGB8[::-1], 5: RGB8.swapaxes(0, 1),
            6: np.rot90(RGB8, -1), 7: RGB8.swapaxes(0, 1)[::-1, ::-1], 8: np.rot90(RGB8),
        }.items()
    },
    "1 x 1": (pillow(GREY8[:1, :1], "PNG"), GREY8[:1, :1], 8, "YX", "grey", ()),
    "tiff 1 x 1": (tiff(GREY16[:1, :1]), GREY16[:1, :1], 16, "YX", "grey", ()),
    **{
        f"tiff {np.dtype(kind).name}": (
            tiff((FLOATS * 50).astype(kind)), (FLOATS * 50).astype(kind), 8 * np.dtype(kind).itemsize, "YX", "grey", (),
        )
        for kind in ("int8", "int16", "int32", "float16", "float32", "float64")
    },
    "tiff uint32": (tiff(GREY16 * np.uint32(65537)), GREY16 * np.uint32(65537), 32, "YX", "grey", ()),
    "tiff bool": (tiff(BITS.astype(bool)), BITS, 1, "YX", "grey", ()),
    "tiff 1 by Pillow": (pillow(BITS * 255, "TIFF", "1"), BITS, 1, "YX", "grey", ()),
    "tiff big-endian": (tiff(GREY16, byteorder=">"), GREY16, 16, "YX", "grey", ()),
    "tiff big": (tiff(GREY16, bigtiff=True), GREY16, 16, "YX", "grey", ()),
    "tiff lzw": (tiff(GREY16, compression="lzw", predictor=True), GREY16, 16, "YX", "grey", ()),
    "tiff deflate": (tiff(RGB8, compression="zlib", tile=(16, 16)), RGB8, 8, "YXS", COLOURS, ()),
    "tiff rgb": (tiff(RGB16), RGB16, 16, "YXS", COLOURS, ()),
    "tiff rgba": (tiff(RGBA8, photometric="rgb"), RGBA8[..., :3], 8, "YXS", COLOURS, ("lpha",)),
    "tiff planes": (
        tiff(np.moveaxis(RGB8, 2, 0), photometric="rgb", planarconfig="separate"), RGB8, 8, "SYX", COLOURS, (),
    ),
    "tiff 0 is white": (tiff(GREY16, photometric="miniswhite"), 65535 - GREY16, 16, "YX", "grey", ("0 is white",)),
    "tiff palette": (
        palette_tiff(RED_BLUE), np.array(RED_BLUE, np.uint8).reshape(2, 3)[BITS], 8, "YX", COLOURS,
        ("read as red, green, blue",),
    ),
    "tiff palette of greys": (palette_tiff(GREYS), np.array([9, 200], np.uint8)[BITS], 8, "YX", "grey", ()),
    "tiff cmyk": (
        tiff(RGBA8, photometric="separated"), np.asarray(PillowImage.fromarray(RGBA8, "CMYK").convert("RGB")),
        8, "YXS", COLOURS, ("CMYK",),
    ),
    "tiff turned": (tiff(GREY8, extratags=[(274, 3, 1, 8, True)]), np.rot90(GREY8), 8, "YX", "grey", ("(8)",)),
    "depth": (
        pages(metadata={"axes": "ZYX"}), STACK.max(0), 16, "ZYX", "grey", ("5 focal planes; their maximum was read.",),
    ),
    "channels": (pages(metadata={"axes": "CYX"}), np.moveaxis(STACK, 0, 2), 16, "CYX", CHANNELS, ()),
    "channels lzw": (
        pages(metadata={"axes": "CYX"}, compression="lzw"), np.moveaxis(STACK, 0, 2), 16, "CYX", CHANNELS, (),
    ),
    "one channel": (pages(STACK[:1], metadata={"axes": "CYX"}), STACK[0], 16, "CYX", "grey", ()),
    "ome": (
        ome(HYPER, "TZCYX", SignificantBits=12, **OME), np.moveaxis(HYPER[0].max(0), 0, 2), 12, "TZCYX", NAMES,
        ("2 time points", "3 focal planes"),
    ),
    "imagej": (
        imagej(HYPER, "TZCYX", unit="um", Labels=["a", "b", "c\x1b[0m", "d"]), np.moveaxis(HYPER[0].max(0), 0, 2), 16,
        "TZCYX", ("a", "b", "c[0m", "d"), ("2 time points", "3 focal planes"),
    ),
}


@pytest.mark.parametrize("case", GOOD)
def test_reads_the_values_of_the_file(case):
    data, pixels, depth, axes, channels, notes = GOOD[case]
    found = read_image(data, "a.tif")
    assert found.pixels.dtype == pixels.dtype
    assert found.pixels.dtype.isnative
    np.testing.assert_array_equal(found.pixels, pixels)
    assert found.shape == pixels.shape[:2]
    assert (found.bit_depth, found.axes) == (depth, axes)
    assert found.channels == ((channels,) if isinstance(channels, str) else channels)
    assert len(found.notes) == len(notes)
    assert all(part in note for part, note in zip(notes, found.notes, strict=True)), found.notes
    assert all(note[0] == note[0].upper() and note.endswith(".") for note in found.notes)
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    with pytest.raises(ValueError, match="read-only"):
        found.pixels[0, 0] = 0


def test_jpeg_compressed_tiff_and_its_limits():
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    data = tiff(smooth, compression="jpeg", rowsperstrip=64)
    found = read_image(data).pixels
    assert np.abs(found.astype(int) - smooth).max() < 10
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        size = tif.pages[0].databytecounts[0]
    with pytest.raises(ImageError, match="cut off"):  # the decoder itself would fill the rest with grey
        read_image(patched(data, 279, size // 2))
    other = pillow(np.zeros((2000, 2000), np.uint8), "JPEG")
    with pytest.raises(ImageError, match="contradicts itself"):
        read_image(patched(patched(data, 273, len(data)), 279, len(other)) + other)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (ome(STACK[0], "YX", PhysicalSizeX=325.0, PhysicalSizeXUnit="nm"), 0.325),
        (ome(STACK[0], "YX", PhysicalSizeX=0.5), 0.5),
        (ome(STACK[0], "YX", PhysicalSizeX=1.0, PhysicalSizeXUnit="pixel"), None),
        (imagej(STACK[0], "YX", unit="um"), 0.25),
        (imagej(STACK[0], "YX", unit="\\u00B5m"), 0.25),
        (imagej(STACK[0], "YX", unit="inch"), None),
        (tiff(GREY8, resolution=(4000.0, 4000.0), resolutionunit="CENTIMETER"), None),
        (pillow(GREY8, "PNG", dpi=(300, 300)), None),
    ],
    ids=["OME, nm", "OME", "OME, pixels", "ImageJ", "ImageJ, escaped", "ImageJ, inches", "plain", "PNG"],
)
def test_pixel_size_only_where_the_file_states_one(data, size):
    assert read_image(data).pixel_size_um == (None if size is None else pytest.approx(size))


def test_path_and_bytes_give_the_same_and_leave_the_file_alone(tmp_path):
    data = pillow(GREY16, "PNG")
    path = tmp_path / "cells.jpg"  # the content counts, not the name
    path.write_bytes(data)
    by_path, by_text, by_bytes = read_image(path), read_image(str(path)), read_image(data, "cells.jpg")
    assert by_path.name == by_text.name == by_bytes.name == "cells.jpg"
    assert by_path.sha256 == by_text.sha256 == by_bytes.sha256
    np.testing.assert_array_equal(by_path.pixels, by_bytes.pixels)
    assert path.read_bytes() == data
    assert read_image(data).name == "image"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/cells.png", "cells.png"),
        ("C:\\data\\cells.png", "cells.png"),
        ("a\u202egnp.exe\x1b[31m\n", "agnp.exe[31m"),
        ("x" * 300 + ".png", "x" * 120),
        ("\u200f\x00", "image"),
        ("", "image"),
    ],
)
def test_name_is_safe_to_show(given, shown):
    assert read_image(GOOD["png 8"][0], given).name == shown


TEXT_DAMAGED = "damaged, cut off"
PNG, TIFF, LZW, DEFLATE = pillow(RGB8, "PNG"), *(tiff(RGB8, compression=kind) for kind in (None, "lzw", "zlib"))
DEFLATE_AT = PNG.index(b"IDAT") + 60
ENDLESS = [struct.pack("<HI", 0, 8 + 6 * ((i + 1) % 300)) for i in range(300)]
NAN = np.where(np.arange(100).reshape(10, 10) < 2, np.nan, 1.0)

BAD = {  # id: (file, a part of the sentence)
    "empty": (b"", "is empty (0 bytes); export it again"),
    "text": ("Zellen zählen: 15 cells\n".encode() * 20, "looks like text); save it as TIFF, PNG or JPEG"),
    "utf-16 text": ("cells and more cells".encode("utf-16"), "looks like text"),
    "noise": (bytes(range(256)), "looks like some other kind of data"),
    "svg": (b"<?xml version='1.0'?><svg onload='x()'/>", "looks like SVG"),
    "html": (b"<!doctype html><html>", "looks like a web page"),
    "pdf": (b"%PDF-1.7\n\xff", "looks like PDF"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "looks like PostScript"),
    "zip": (b"PK\x03\x04" + bytes(40), "looks like a zip archive"),
    "heic": (bytes(3) + b"\x18ftypheic" + bytes(40), "looks like HEIC"),
    "oib": (b"\xd0\xcf\x11\xe0" + bytes(90), "Olympus OIB or Zeiss ZVI file, which this app does not read; export it"),
    "old nd2": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(90), "Nikon ND2 file of the older kind"),
    "hdf5": (b"\x89HDF\r\n" + bytes(90), "HDF5 file, such as Imaris"),
    "czi header only": (b"ZISRAWFILE" + bytes(90), TEXT_DAMAGED),
    "nd2 header only": (b"\xda\xce\xbe\x0a" + bytes(90), "cut off: part of its pixels"),
    "lif header only": (b"p\0\0\0\x0a\0\0\0*" + bytes(90), TEXT_DAMAGED),
    "wav": (b"RIFF" + bytes(4) + b"WAVE" + bytes(40), "looks like a film or a sound"),
    "png cut": (PNG[: len(PNG) // 2], TEXT_DAMAGED),
    "png header only": (PNG[:20], TEXT_DAMAGED),
    "png changed": (PNG[:DEFLATE_AT] + bytes(4) + PNG[DEFLATE_AT + 4 :], TEXT_DAMAGED),
    "png 16 cut": (png16(RGB16)[:600], TEXT_DAMAGED),
    "png too few rows": (png(17, 12, 8, 0, bytes(100)), TEXT_DAMAGED),
    "jpeg cut": (GOOD["jpeg"][0][:-300], TEXT_DAMAGED),
    "gif cut": (GOOD["gif"][0][:900], TEXT_DAMAGED),
    "bmp cut": (GOOD["bmp"][0][:-30], TEXT_DAMAGED),
    "webp cut": (GOOD["webp"][0][:-30], TEXT_DAMAGED),
    "tiff cut": (TIFF[:-100], "cut off: part of its pixels is missing; copy or export it again"),
    "tiff lzw cut": (LZW[:-100], "cut off"),
    "tiff changed": (DEFLATE[:-200] + bytes(100) + DEFLATE[-100:], TEXT_DAMAGED),
    "tiff header only": (b"II*\0\x08\0\0\0\x05\0", "cut off"),
    "tiff without pages": (b"II*\0\0\0\0\0", "holds no picture"),
    "tiff in a circle": (b"II*\0\x08\0\0\0" + b"".join(ENDLESS), "list of pages has no end"),
    "tiff without its strips": (patched(LZW, 279, 0), "cut off"),
    "tiff complex": (tiff(FLOATS + 1j * FLOATS), "complex; export the magnitude"),
    "tiff of a lie": (patched(patched(TIFF, 256, 100_000), 257, 100_000), "100,000 x 100,000 pixels"),
    "ome with an entity": (
        ome(STACK, "ZYX").replace(b"<?xml version", b"<!DOCTYPE x [<!ENTITY"), "XML definitions, which may be",
    ),
    "ome of a lie": (
        re.sub(rb'SizeZ="5" .{10}', b'SizeZ="500000000000"', ome(STACK, "ZYX")), "OME metadata is damaged",
    ),
    **{
        f"png bomb {depth} bit {kind}": (png(30_000, 30_000, depth, kind), "30,000 x 30,000 pixels")
        for depth, kind in ((1, 0), (8, 0), (16, 0), (8, 2), (16, 2), (8, 3), (16, 6))
    },
    "gif bomb": (b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + GOOD["gif"][0][10:], "60,000 x 60,000 pixels"),
    "webp bomb": (
        b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\x2f\x75\0" * 2 + bytes(8), "30,000 x 30,000 pixels",
    ),
    "no value": (tiff(NAN), "2 % of its pixels have no value"),
    "nothing but NaN": (tiff(np.full((1, 1), np.nan)), "100 % of its pixels have no value"),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses_in_one_sentence(case, capfd, monkeypatch):
    data, part = BAD[case]
    if "bomb" in case or "lie" in case:  # refused from the header: nothing may be decoded
        for owner, name in ((ImageFile.ImageFile, "load"), (tifffile.TiffPage, "asarray"), (np, "frombuffer")):
            monkeypatch.setattr(owner, name, lambda *_, **__: pytest.fail("decoded"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError) as caught:
            read_image(data, "folder/cells.png")
    message = str(caught.value)
    assert message.startswith("cells.png: ")
    assert part in message
    assert message.endswith(".")
    assert "\n" not in message
    assert "Error" not in message
    assert ";" in message or "export" in message, "it says what to do"
    assert capfd.readouterr() == ("", "")


def test_limits_of_file_and_memory(monkeypatch):
    monkeypatch.setattr(gate, "MAX_BYTES", 1024**2)
    with pytest.raises(ImageError, match=r"big: the file has more than the 1 MB read here; crop it"):
        read_image(bytes(1024**2 + 1), "big")
    monkeypatch.setattr(gate, "MAX_DECODED", STACK.nbytes - 1)
    with pytest.raises(ImageError, match=r"GB when opened.*fewer channels"):
        read_image(pages(metadata={"axes": "CYX"}))
    read_image(pages(metadata={"axes": "ZYX"}))  # one plane of it fits
    monkeypatch.setattr(gate, "MAX_PIXELS", GREY8.size - 1)
    with pytest.raises(ImageError, match="17 x 12 pixels"):
        read_image(tiff(GREY8))


def test_the_limit_is_this_modules_and_not_pillows():
    side = 9_990  # above the size at which Pillow warns, below the one at which this module refuses
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_image(png(side, side, 1, 0, bytes(side * (1 + (side + 7) // 8))))
    assert found.shape == (side, side)
    assert found.bit_depth == 1


def test_files_that_cannot_be_opened(tmp_path):
    cases = {tmp_path / "none.png": "no such file", tmp_path: "is a folder", tmp_path / "a\0b": "cannot be opened"}
    os.mkfifo(tmp_path / "pipe")
    cases[tmp_path / "pipe"] = "not a file"
    for path, part in cases.items():
        with pytest.raises(ImageError, match=part) as caught:
            read_image(path)
        assert str(tmp_path) not in str(caught.value)


def test_one_bad_file_does_not_touch_the_next():
    limits = PillowImage.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    for data, _ in BAD.values():
        with pytest.raises(ImageError):
            read_image(data)
    assert limits == (PillowImage.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    np.testing.assert_array_equal(read_image(GOOD["tiff lzw"][0]).pixels, GREY16)


def test_few_undefined_pixels_are_filled_with_the_median_of_their_channel():
    values = np.stack([np.arange(400.0).reshape(20, 20), np.full((20, 20), 7.0)], axis=2).astype(np.float32)
    holes = values.copy()
    holes[0, 0, 0], holes[0, 1, 0], holes[5, 5, 1] = np.nan, np.inf, -np.inf
    found = read_image(pages(np.moveaxis(holes, 2, 0), metadata={"axes": "CYX"}))
    assert found.notes == ("3 pixels without a value were filled with the median.",)
    assert found.pixels[0, 0, 0] == found.pixels[0, 1, 0] == np.median(np.arange(2, 400))
    assert found.pixels[5, 5, 1] == 7
    kept = np.isfinite(holes)
    np.testing.assert_array_equal(found.pixels[kept], holes[kept])


@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "float32", "float64"])
def test_plane_of_equal_channels_is_the_plane_of_the_grey_image(kind):
    grey = (RNG.random((33, 21)) * (2**32 if kind == "uint32" else 250)).astype(kind)
    one, which_one = plane(made(grey))
    three, which_three = plane(made(np.repeat(grey[..., None], 3, axis=2)))
    assert one.dtype == three.dtype == np.float32
    np.testing.assert_array_equal(one, three)
    np.testing.assert_array_equal(one, grey.astype(np.float32))
    assert (which_one, which_three) == ("", "mean of red, green, blue")
    one[0, 0] = -1  # the caller's own array
    assert grey[0, 0] != -1


def test_plane_chooses_the_channel_that_holds_the_picture():
    blue = np.stack([GREY8 // 64, GREY8 // 100, GREY8], axis=2)
    values, which = plane(made(blue))
    np.testing.assert_array_equal(values, GREY8)
    assert which == "blue: it holds 99 % of the variation"
    np.testing.assert_allclose(plane(made(blue), "mean")[0], blue.mean(axis=2), rtol=1e-6)
    for channel in ("RED", " red ", 0, np.int64(0)):
        values, which = plane(made(blue), channel)
        np.testing.assert_array_equal(values, blue[..., 0])
        assert which == "red"
    assert plane(made(np.zeros((3, 3, 3), np.uint8)))[1] == "mean of red, green, blue"
    for channel in ("auto", "mean", "grey", 0):
        assert plane(made(GREY8), channel)[1] == ""


@pytest.mark.parametrize("channel", ["infrared", "", -1, 3])
def test_plane_names_the_choices(channel):
    with pytest.raises(ImageError, match=r"^a\.png: .*choose one of auto, mean, red, green, blue, .* 0 to 2\.$"):
        plane(made(RGB8), channel)


def test_preview():
    ramp = np.arange(10_000, dtype=np.float32).reshape(100, 100)
    shown = preview(ramp)
    assert shown.dtype == np.uint8
    assert (shown.min(), shown.max()) == (0, 255)
    assert (np.diff(shown.ravel().astype(int)) >= 0).all()
    np.testing.assert_array_equal(shown, preview(ramp * 1000 - 5))  # contrast only: the scale does not show
    assert preview(ramp[:, :50], max_side=20).shape == (20, 10)
    assert preview(ramp[:1], max_side=20).shape == (1, 20)
    assert preview(ramp, max_side=500).shape == (100, 100)
    blocks = preview(np.kron(np.array([[0, 1], [1, 0]]), np.ones((8, 8))), max_side=2)
    np.testing.assert_array_equal(blocks, [[0, 255], [255, 0]])


@pytest.mark.parametrize("value", [0, 5, -3.5, np.nan, np.inf])
def test_preview_of_a_constant_plane_is_black(value):
    with np.errstate(all="raise"):
        assert not preview(np.full((40, 30), value), max_side=10).any()


def test_preview_shows_few_specks_and_survives_undefined_values():
    speck = np.zeros((100, 100), np.uint16)
    speck[50, 50] = 4
    assert preview(speck).max() == 255
    holes = np.arange(100.0).reshape(10, 10)
    holes[0, 0], holes[9, 9], holes[5, 5] = -np.inf, np.inf, np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = preview(holes)
    assert (shown[0, 0], shown[9, 9], shown[5, 5]) == (0, 255, 0)
    huge = np.array([[-3e38, 3e38]], np.float32)
    np.testing.assert_array_equal(preview(huge), [[0, 255]])


def made(pixels):
    """An image of these pixels."""
    channels = ("grey",) if pixels.ndim == 2 else COLOURS
    return Image(pixels, "a.png", channels, 8 * pixels.itemsize, "YX", None, "0" * 64, ())
