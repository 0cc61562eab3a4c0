"""Which planes of a file are read: never guessed, always said, and never all of them in memory at once."""

import io
import weakref

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage
from test_image import GREY8, HYPER, RGB8, STACK, imagej, ome, pages, patched, pillow, tiff

from cellapp import image as gate
from cellapp.axes import Choice, Stack, read
from cellapp.batch import count_one
from cellapp.data import read_counted
from cellapp.errors import AxesError, ImageError
from cellapp.image import read_image
from cellapp.methods import Options

PLANAR = tiff(STACK[:3], photometric="minisblack", planarconfig="separate", metadata=None)
VAGUE = {  # files that do not say what their pages are: (file, pages)
    "axes Q": (pages(), STACK),
    "one header": (pages(truncate=True), STACK),
    "no metadata": (pages(metadata=None), STACK),
    "lzw": (pages(metadata=None, compression="lzw"), STACK),
    "by Pillow": (
        pillow(GREY8, "TIFF", save_all=True, append_images=[PillowImage.fromarray(255 - GREY8)]),
        np.stack([GREY8, 255 - GREY8]),
    ),
    "four axes": (pages(HYPER[0]), HYPER[0].reshape(12, 12, 17)),
    "planes in one page": (PLANAR, STACK[:3]),
}


@pytest.mark.parametrize("case", VAGUE)
def test_pages_of_no_known_meaning_are_asked_about(case):
    data, found = VAGUE[case]
    with pytest.raises(AxesError) as caught:
        read_image(data, "stack.tif")
    assert str(caught.value) == (f"stack.tif: its {len(found)} pages may be channels, focal planes or time points; "
                                 "say which (--pages channels, z or time).")
    channels = read_image(data, pages="channels")
    np.testing.assert_array_equal(channels.pixels, np.moveaxis(found, 0, 2))
    assert channels.channels[-1] == f"channel {len(found)}"
    assert channels.notes == (f"{len(found)} pages, taken as channels as chosen.",)
    depth = read_image(data, pages="z", z="min")
    np.testing.assert_array_equal(depth.pixels, found.min(0))
    assert depth.notes == (f"{len(found)} pages, taken as focal planes as chosen; their minimum was read.",)
    np.testing.assert_array_equal(read_image(data, pages="z", z="2").pixels, found[1])
    frame = read_image(data, pages="time", frame=2)
    np.testing.assert_array_equal(frame.pixels, found[1])
    assert frame.notes == (f"{len(found)} pages, taken as time points as chosen; number 2 was read.",)


def test_what_a_file_says_is_not_asked_about():
    for data in (tiff(RGB8), pages(STACK[:1]), pages(metadata={"axes": "CYX"}), imagej(HYPER, "TZCYX"),
                 ome(HYPER, "TZCYX"), tiff(np.moveaxis(RGB8, 2, 0), photometric="rgb", planarconfig="separate")):
        plain, answered = read_image(data), read_image(data, pages="z")
        np.testing.assert_array_equal(plain.pixels, answered.pixels)
        assert plain.notes == answered.notes


def test_an_answer_has_to_fit_what_the_file_says():
    data = pages(HYPER[0], metadata={"axes": "QCYX"})
    with pytest.raises(AxesError, match=r"its 3 pages may be focal planes or time points; .* \(--pages z or time\)"):
        read_image(data, pages="channels")
    np.testing.assert_array_equal(read_image(data, pages="z").pixels, np.moveaxis(HYPER[0].max(0), 0, 2))
    with pytest.raises(AxesError, match=r"axes QTZCYX hold pages of no known meaning"):
        read_image(pages(np.stack([HYPER, HYPER]), metadata={"axes": "QTZCYX"}), pages="z")


@pytest.mark.parametrize("write", [imagej, ome])
@pytest.mark.parametrize(
    ("z", "project", "said"),
    [("max", lambda s: s.max(0), "their maximum"), ("min", lambda s: s.min(0), "their minimum"),
     ("mean", lambda s: s.mean(0), "their mean"), (3, lambda s: s[2], "number 3")],
)
def test_focal_planes_and_time_points(write, z, project, said):
    found = read_image(write(HYPER, "TZCYX"), z=z, frame=2)
    np.testing.assert_allclose(found.pixels, np.moveaxis(project(HYPER[1]), 0, 2), rtol=1e-6)
    assert found.pixels.dtype == (np.float32 if z == "mean" else np.uint16)
    assert found.notes == ("2 time points; number 2 was read.", f"3 focal planes; {said} was read.")


def test_projection_is_of_what_is_seen_not_of_what_is_stored():
    """Ink is light turned round, so the brightest of three planes has the least of it."""
    white = tiff(STACK[:3], photometric="miniswhite", metadata={"axes": "ZYX"})
    found = read_image(white)
    np.testing.assert_array_equal(found.pixels, 65535 - STACK[:3].min(0))
    assert sum("0 is white" in note for note in found.notes) == 1
    holes = np.ones((2, 20, 20), np.float32)
    holes[1, 3, 3] = np.nan
    assert read_image(pages(holes, metadata={"axes": "ZYX"})).notes[-1].startswith("1 pixel without a value")


def test_colour_table_of_a_stack_means_the_same_in_every_plane():
    table = np.zeros((3, 256), np.uint16)
    table[:, 1], table[0, 2] = 65535, 65535  # white and red
    planes = np.ones((2, 4, 4), np.uint8)
    planes[1] = 2
    found = read_image(tiff(planes, photometric="palette", colormap=table, metadata={"axes": "ZYX"}))
    np.testing.assert_array_equal(found.pixels, np.full((4, 4, 3), 255))


def test_known_other_axes_are_named():
    found = read_image(pages(STACK, metadata={"axes": "AYX"}))
    np.testing.assert_array_equal(found.pixels, STACK[0])
    assert found.notes == ("5 angles; the first is read.",)


@pytest.mark.parametrize(
    ("choice", "part"),
    [({"pages": "depth"}, "pages cannot be 'depth'; choose ask, channels, z or time."),
     ({"z": "all"}, "z cannot be 'all'"), ({"z": "-1"}, "z cannot be"),
     ({"z": 0}, "z cannot be '0'; choose max, min, mean, or a plane's number from 1"),
     ({"z": "²"}, "z cannot be"), ({"frame": 0}, "number of a time point; choose one from 1"),
     ({"frame": 3}, r"it has 2 time points, so there is no number 3; choose a lower one \(--frame\)"),
     ({"z": 4}, r"it has 3 focal planes, so there is no number 4; choose a lower one \(--z\)")],
)
def test_a_plane_that_is_not_there(choice, part):
    with pytest.raises(AxesError, match=f"^a.tif: .*{part}"):
        read_image(ome(HYPER, "TZCYX"), "a.tif", **choice)
    with pytest.raises(AxesError):  # and never another plane instead, in a file that has but one
        read_image(tiff(GREY8), **choice)


def test_options_are_checked_where_they_are_given():
    assert (Options(z=3).z, Options().z, Options().pages, Options().frame) == ("3", "max", "ask", 1)
    for wrong in ({"pages": "x"}, {"z": "all"}, {"z": 0}, {"frame": 0}):
        with pytest.raises(ValueError, match="choose"):
            Options(**wrong)


def stack_of(load, **sizes):
    return Stack("test", "".join(sizes), tuple(sizes.values()), np.dtype(np.uint16), 16, load=load)


def test_a_projection_holds_one_plane_at_a_time():
    loaded, most = [], []

    class Plane(np.ndarray):
        pass

    def load(index):
        most.append(sum(plane() is not None for plane in loaded))
        plane = np.full((8, 9, 1), index[0] + 10 * index[1], np.uint16).view(Plane)
        loaded.append(weakref.ref(plane))
        return plane

    decoded = read(stack_of(load, Z=30, C=2, Y=8, X=9), Choice(), 2 * 8 * 9 * 2)
    np.testing.assert_array_equal(decoded.pixels[0, 0], [29, 39])
    assert len(most) == 60
    assert max(most) <= 1


def test_limits_are_told_before_a_plane_is_loaded():
    def load(index):
        pytest.fail("loaded")

    for sizes, part in (
        ({"C": 3, "Y": 8, "X": 9}, "GB when opened"),
        ({"Z": 1000, "Y": 8, "X": 9}, r"1,000 focal planes take .* choose one by its number \(--z 1\)"),
        ({"T": 10**9, "Y": 8, "X": 9}, "speaks of 1,000,000,000 planes"),
        ({"Z": 0, "Y": 8, "X": 9}, "speaks of 0 planes"),
    ):
        with pytest.raises(ImageError, match=part):
            read(stack_of(load, **sizes), Choice(), 2 * 8 * 9 * 2)


def test_a_cut_off_stack_is_no_shorter_stack(monkeypatch):
    data = pages(metadata={"axes": "ZYX"}, compression="lzw")
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        last = tif.pages[4].tags["StripOffsets"].valueoffset
    broken = data[:last] + b"\xff\xff\xff\x7f" + data[last + 4 :]
    with pytest.raises(ImageError, match="cut off"):
        read_image(broken)
    np.testing.assert_array_equal(read_image(broken, z=1).pixels, STACK[0])
    monkeypatch.setattr(gate, "MAX_DECODED", GREY8.nbytes)
    with pytest.raises(ImageError, match="GB when opened"):
        read_image(patched(pages(metadata={"axes": "CYX"}), 256, 17))


class Told:
    """A counter that keeps what it was given."""

    class weights:
        method, id = "fcrn-a", "fcrn-a/test"

    def predict(self, image, options, progress=None):
        self.image = image
        raise ImageError("enough.")


def test_every_way_to_count_and_to_train_passes_the_choice_on(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(pages())
    counter = Told()
    count_one(path, counter, Options(pages="z", z=4))
    np.testing.assert_array_equal(counter.image.pixels, STACK[3])
    result = count_one(path, counter, Options())
    assert (result.status, "say which (--pages" in result.message) == ("error", True)
    item = read_counted(tmp_path, {"a": 3.0}, planes=Choice("time", frame=2))[0]
    np.testing.assert_array_equal(item.image, STACK[1])
