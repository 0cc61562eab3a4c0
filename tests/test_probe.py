"""What a file holds, told before anything of it is decoded."""

import io
import tracemalloc
import warnings

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage
from PIL import ImageFile
from test_image import BAD, GOOD, HYPER, NAMES, STACK, TEXT_DAMAGED, imagej, ome, pages, pillow, tiff

from cellapp import image as gate
from cellapp.errors import ImageError
from cellapp.image import read_image
from cellapp.probe import probe, thumbnails

BY_PIXELS = ("palette of greys", "tiff palette of greys")  # only the pixels tell that no colour is used


@pytest.mark.parametrize("case", GOOD)
def test_tells_what_reading_gives_without_decoding(case, monkeypatch):
    data = GOOD[case][0]
    found = read_image(data, "a.tif")
    for owner, name in ((ImageFile.ImageFile, "load"), (tifffile.TiffPage, "asarray"), (np, "frombuffer")):
        monkeypatch.setattr(owner, name, lambda *_, **__: pytest.fail("decoded"))
    info = probe(data, "folder/a.tif")
    assert (info.name, info.status, info.message, info.bytes) == ("a.tif", "ready", "", len(data))
    assert (info.shape, info.bit_depth, info.pixel_size_um) == (found.shape, found.bit_depth, found.pixel_size_um)
    if case not in BY_PIXELS:
        assert (info.channels, info.axes) == (found.channels, found.axes)


def test_kinds_and_sizes():
    assert probe(pillow(STACK[0], "PNG")).kind == "PNG"
    assert probe(tiff(STACK[0])).kind == "TIFF"
    info = probe(imagej(HYPER, "TZCYX", unit="um"))
    assert (info.kind, info.sizes, info.pixel_size_um) == ("ImageJ TIFF", {"T": 2, "Z": 3, "C": 4}, 0.25)
    assert probe(ome(HYPER, "TZCYX")).kind == "OME-TIFF"


def test_an_answer_holds_for_the_layout():
    asks = probe(pages(), "stack.tif")
    assert (asks.status, asks.pages, asks.channels, asks.sizes) == ("asks", 5, (), {"Q": 5})
    assert asks.message.startswith("stack.tif: its 5 pages may be channels")
    ready = probe(pages(), pages="channels")
    assert (ready.status, ready.message, ready.channels) == ("ready", "", tuple(f"channel {k}" for k in range(1, 6)))
    assert ready.layout == asks.layout
    assert probe(pages(STACK[:, :5])).layout == asks.layout, "another size of picture, the same layout"
    others = [pages(STACK[:4]), pages(STACK.astype(np.uint8)), ome(STACK, "CYX"), pages(metadata={"axes": "ZYX"}),
              ome(STACK, "CYX", Channel={"Name": list("abcde")}), tiff(STACK[0])]
    assert len({probe(other).layout for other in others} | {asks.layout}) == 7
    wrong = probe(pages(), "a.tif", pages="z", z=9)
    assert (wrong.status, "no number 9" in wrong.message) == ("error", True)


def beyond_the_header(message):
    """What no header tells."""
    return TEXT_DAMAGED in message or "have no value" in message


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_cannot_be_read_is_an_error_with_the_same_sentence(case, capfd):
    data = BAD[case][0]
    with pytest.raises(ImageError) as caught:
        read_image(data, "a.tif")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        info = probe(data, "a.tif")
    if not (info.status == "ready" and beyond_the_header(str(caught.value))):
        assert (info.status, info.message, info.bytes) == ("error", str(caught.value), len(data))
    assert capfd.readouterr() == ("", "")


def test_files_that_cannot_be_opened(tmp_path):
    for path, part in ((tmp_path / "none.png", "no such file"), (tmp_path, "is a folder")):
        info = probe(path)
        assert (info.status, part in info.message) == ("error", True)
        with pytest.raises(ImageError, match=part):
            thumbnails(path)


def test_limits_are_those_of_reading(monkeypatch):
    data = pages(metadata={"axes": "CYX"})
    for limit in ("MAX_BYTES", "MAX_DECODED", "MAX_PIXELS"):
        with monkeypatch.context() as patch:
            patch.setattr(gate, limit, STACK[0].size - 1)
            with pytest.raises(ImageError) as caught:
                read_image(data, "a")
            assert (probe(data, "a").status, probe(data, "a").message) == ("error", str(caught.value))


def test_pixels_stay_in_the_file(tmp_path):
    """A TIFF file of 100 MB is described from a few kB of it, whether by its path or by its bytes."""
    path = tmp_path / "large.tif"
    tifffile.memmap(path, shape=(2, 5000, 5000), dtype=np.uint16, photometric="minisblack").flush()
    data = path.read_bytes()
    probe(pages())  # what is imported on first use is not counted
    for source in (path, data):
        tracemalloc.start()
        info = probe(source, "large.tif")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (info.bytes > 10**8, info.pages, info.shape) == (True, 2, (5000, 5000))
        assert peak < 2**20


def test_thumbnails_of_channels():
    shown = thumbnails(ome(HYPER, "TZCYX", Channel={"Name": ["DAPI", "GFP", "GFP", ""]}), z=2, frame=2)
    assert tuple(label for label, _ in shown) == NAMES
    for c, (_, picture) in enumerate(shown):
        assert (picture.dtype, picture.shape) == (np.uint8, (12, 17))
        assert (picture.min(), picture.max()) == (0, 255)  # each in its own contrast
        brightest = np.unravel_index(HYPER[1, 1, c].argmax(), (12, 17))
        assert picture[brightest] == 255
    large = np.zeros((300, 600), np.uint16)
    assert thumbnails(tiff(large))[0][1].shape == (128, 256)
    assert thumbnails(tiff(large, extratags=[(274, 3, 1, 6, True)]), side=100)[0][1].shape == (100, 50)


def test_thumbnails_of_pages_that_nobody_has_explained():
    shown = thumbnails(pages())
    assert [label for label, _ in shown] == [f"page {k}" for k in range(1, 6)]
    for page, (_, picture) in zip(STACK, shown, strict=True):
        assert picture[np.unravel_index(page.argmax(), page.shape)] == 255
    assert len(thumbnails(pages(np.repeat(STACK, 4, axis=0)))) == 12
    assert thumbnails(pages(), pages="channels")[0][0] == "channel 1"
    assert [label for label, _ in thumbnails(pages(), pages="z")] == ["grey"]


def test_thumbnails_need_a_readable_file():
    with pytest.raises(ImageError, match=r"^a\.png: "):
        thumbnails(b"text", "a.png")
    file = io.BytesIO()
    PillowImage.fromarray(STACK[0].astype(np.uint8)).save(file, "PNG")
    assert thumbnails(file.getvalue(), "a.png")[0][0] == "grey"
