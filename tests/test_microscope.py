"""CZI, LIF and ND2: the same planes as from any other file, and one sentence where they cannot be had."""

import struct
import warnings

import imagecodecs
import numpy as np
import pytest
from conftest import ROOT
from microscope_files import czi, lif, nd2, packed

from cellapp import image as gate
from cellapp.errors import AxesError, ImageError
from cellapp.image import read_image
from cellapp.probe import probe

RNG = np.random.default_rng(0)
HYPER = RNG.integers(0, 4096, (2, 3, 2, 12, 17), dtype=np.uint16)  # T, Z, C, Y, X
RGB = RNG.integers(0, 256, (12, 17, 3), dtype=np.uint8)
GREY = HYPER[0, 0, 0]
FRAMES = [np.moveaxis(plane, 0, 2) for plane in HYPER.reshape(6, 2, 12, 17)]
PLANES = [({"C": c, "Z": z, "T": t}, HYPER[t, z, c]) for t in range(2) for z in range(3) for c in range(2)]


def parted(pixels):
    """ZEISS' zstd1: a header that says low and high bytes are parted."""
    return b"\3\1\1" + imagecodecs.zstd_encode(np.frombuffer(pixels.tobytes(), np.uint8).reshape(-1, 2).T.tobytes())


def unparted(pixels):
    return b"\1" + imagecodecs.zstd_encode(pixels.tobytes())


FILES = {
    "CZI": (czi(PLANES, channels=("DAPI", "GFP"), pixel_um=0.25, bits=12), ("DAPI", "GFP"), 12),
    "LIF": (lif([HYPER, HYPER[:, :, ::-1]], metres=4e-6), ("Blue", "Green"), 16),
    "ND2": (nd2(FRAMES, times=2, depth=3, names=("DAPI", "GFP"), pixel_um=0.25, bits=12), ("DAPI", "GFP"), 12),
}


@pytest.mark.parametrize("kind", FILES)
def test_planes_names_and_scale(kind):
    data, names, depth = FILES[kind]
    found = read_image(data, "a")
    np.testing.assert_array_equal(found.pixels, np.moveaxis(HYPER[0].max(0), 0, 2))
    assert (found.channels, found.bit_depth, found.axes) == (names, depth, "TZCYX")
    assert found.pixel_size_um == pytest.approx(0.25)
    assert found.notes[-2:] == ("2 time points; number 1 was read.", "3 focal planes; their maximum was read.")
    np.testing.assert_array_equal(read_image(data, z=2, frame=2).pixels, np.moveaxis(HYPER[1, 1], 0, 2))
    info = probe(data, "a")
    assert (info.kind, info.status, info.shape, info.sizes) == (kind, "ready", (12, 17), {"T": 2, "Z": 3, "C": 2})
    assert (info.channels, info.bit_depth) == (names, depth)
    with pytest.raises(AxesError, match="it has 3 focal planes, so there is no number 4"):
        read_image(data, z=4)


def test_a_file_written_by_zeiss_own_library():
    """Two tiles a plane, zstd with parted bytes; made with pylibCZIrw 6.1."""
    found = read_image(ROOT / "tests" / "files" / "zeiss-zstd1.czi", z=2)
    pixels = [(np.arange(204) * 37 + 1000 + 500 * c).reshape(12, 17) % 4096 for c in range(2)]
    np.testing.assert_array_equal(found.pixels, np.stack(pixels, axis=2))
    assert (found.channels, found.pixel_size_um) == (("DAPI", "GFP"), pytest.approx(0.325))
    assert found.notes[0].startswith("2 tiles, put together")


@pytest.mark.parametrize(
    ("kind", "encode"),
    [(4, lambda pixels: imagecodecs.jpegxr_encode(pixels, level=1.0)), (5, imagecodecs.zstd_encode), (6, parted),
     (6, unparted)],
    ids=["JPEG XR", "zstd", "zstd1, parted", "zstd1"],
)
def test_czi_compression(kind, encode):
    np.testing.assert_array_equal(read_image(czi([({}, GREY)], encode=(kind, encode))).pixels, GREY)


def test_colours():
    np.testing.assert_array_equal(read_image(czi([({"C": 0}, RGB[..., ::-1])])).pixels, RGB)
    np.testing.assert_array_equal(read_image(lif([RGB])).pixels, RGB)
    for data in (czi([({"C": 0}, RGB)]), lif([RGB])):
        assert read_image(data).channels == ("red", "green", "blue")
    found = read_image(nd2([RGB], names=("Colour",), bits=8))  # the format does not say which sample is red
    np.testing.assert_array_equal(found.pixels, RGB)
    assert found.channels == ("channel 1", "channel 2", "channel 3")


def test_czi_scenes_tiles_and_pyramids():
    scenes = [({"S": 1, "X": 40}, GREY[:, ::-1].copy()), ({"S": 0, "M": 1, "X": -9, "Y": 3}, GREY[:, 8:]),
              ({"S": 0, "M": 0, "X": -17, "Y": 3}, GREY[:, :9])]
    found = read_image(czi(scenes))
    np.testing.assert_array_equal(found.pixels, GREY)
    assert found.notes == ("2 scenes; the first is read.", "2 tiles, put together where the microscope says they lie.")
    with pytest.raises(ImageError, match="holds no picture"):
        read_image(czi([({}, GREY)], pyramid=1))


def test_nd2_packed():
    data = nd2(FRAMES, times=6, names=("DAPI", "GFP"), lossless=True, wrap=packed)
    np.testing.assert_array_equal(read_image(data, frame=6).pixels, FRAMES[5])


def test_lif_says_that_there_are_more_pictures():
    assert read_image(lif([HYPER[:1, :1, :1], HYPER])).notes == ("2 pictures in the file; the first is read.",)


def nd2_map(data, change):
    """An ND2 file whose map is changed."""
    at = data.rindex(b"ImageDataSeq|0!") + 15
    return data[:at] + struct.pack("<Q", change) + data[at + 8 :]


BOMB = imagecodecs.zstd_encode(bytes(2**24))
BAD = {
    "czi cut": (FILES["CZI"][0][:-300], "damaged, cut off"),
    "lif cut": (lif([HYPER])[:-300], "cut off"),
    "nd2 cut": (FILES["ND2"][0][:-300], "cut off"),
    "nd2 without a frame": (nd2(FRAMES, times=6, names=("A", "B"), drop=(0,)), "part of its pixels is missing"),
    "nd2 frame beyond the end": (nd2_map(FILES["ND2"][0], 2**40), "part of its pixels is missing"),
    "czi without a plane": (czi(PLANES[1:]), "planes of the file are missing"),
    "czi zstd bomb": (czi([({}, GREY)], encode=(5, lambda _: BOMB)), "damaged"),
    "czi jpeg xr of another size": (
        czi([({}, GREY)], encode=(4, lambda _: imagecodecs.jpegxr_encode(np.zeros((900, 900), np.uint16)))), "damaged",
    ),
    "czi camera raw": (czi([({}, GREY)], encode=(100, bytes)), "compressed in a way not read here"),
    "czi far tiles": (czi([({}, GREY), ({"M": 1, "X": 10**6, "Y": 10**6}, GREY)]), "1,000,017 x 1,000,012 pixels"),
    "czi tiles upon tiles": (czi([({"M": k}, GREY) for k in range(9)]), "contradicts itself about its tiles"),
    "czi mixed": (czi([({"C": 0}, GREY), ({"C": 1}, RGB)]), "number types not read together"),
    "czi entity": (
        czi([({}, GREY)]).replace(b"<ImageDocument><Metadata>", b"<!DOCTYPE a><ImageDoc/>  "), "may be an attack",
    ),
    "lif entity": (lif([RGB], doctype="<!DOCTYPE a [<!ENTITY b 'c'>]>"), "may be an attack"),
    "lif without a picture": (lif([]), "no picture read here"),
    "lif of a lie": (
        lif([HYPER]).replace('NumberOfElements="17"'.encode("utf-16-le"), 'NumberOfElements="99"'.encode("utf-16-le")),
        "",
    ),
    "nd2 metadata bomb": (
        nd2(FRAMES[:1], names=("A", "B"), wrap=lambda tree: packed(tree + bytes(2**27))), "too large",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses_in_one_sentence(case, capfd):
    data, part = BAD[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError) as caught:
            read_image(data, "folder/cells.x")
    message = str(caught.value)
    assert message.startswith("cells.x: ")
    assert part in message
    assert message.endswith(".")
    assert "Error" not in message
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", FILES)
def test_limits_are_those_of_every_image(kind, monkeypatch):
    data = FILES[kind][0]
    monkeypatch.setattr(gate, "MAX_DECODED", 4 * GREY.nbytes)
    read_image(data)  # a projection needs no more than the planes it ends in
    monkeypatch.setattr(gate, "MAX_DECODED", 2 * GREY.nbytes - 1)
    with pytest.raises(ImageError, match="GB when opened"):
        read_image(data)
    monkeypatch.setattr(gate, "MAX_PIXELS", GREY.size - 1)
    with pytest.raises(ImageError, match="17 x 12 pixels"):
        read_image(data)
    assert probe(data).status == "error"
