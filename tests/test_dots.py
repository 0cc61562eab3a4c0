"""Dots in files: every format gives the same points, every mistake a sentence with its place."""

import numpy as np
import pytest
from PIL import Image as PillowImage

from cellapp.data import Dotted, read_folder, simulated, split
from cellapp.dots import image_files, pair, points_csv, read_dots
from cellapp.errors import DotsError, ImageError
from cellapp.image import plane, read_image

POINTS = np.array([(0, 0), (0, 1), (1, 1), (7, 3), (9, 14)], float)  # three of them touch
SHAPE = 10, 15


def mask(dtype=np.uint8, value=255):
    out = np.zeros(SHAPE, dtype)
    out[tuple(POINTS.astype(int).T)] = value
    return out


def save(array, path):
    path.parent.mkdir(exist_ok=True)
    PillowImage.fromarray(array).save(path)
    return path


def text(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("array", [mask(bool, True), mask(), mask(np.uint8, 1), mask(np.uint16, 1000),
                                   np.stack([mask(), 0 * mask(), 0 * mask()], axis=2)],
                         ids=["1 bit", "8 bit", "0 and 1", "16 bit", "red dots"])
def test_every_set_pixel_of_a_dot_mask_is_a_cell(tmp_path, array):
    np.testing.assert_array_equal(read_dots(save(array, tmp_path / "dots.png")), POINTS)


def test_an_empty_mask_has_no_dots(tmp_path):
    assert read_dots(save(0 * mask(), tmp_path / "dots.png")).shape == (0, 2)


@pytest.mark.parametrize("content", [
    "x,y\n3,7\n1.5,0.25\n", "y,x\n7,3\n0.25,1.5\n", "X, Y\r\n3,7\r\n\r\n1.5,0.25", "x;y\n3;7\n1.5;0.25\n",
    "\ufeffx,y\n3,7\n1.5,0.25\n", "index,axis-0,axis-1\n0,7,3\n1,0.25,1.5\n",
    '"name","x","y"\n"a,b",3,7\n"c",1.5,2.5e-1',
])
def test_tables_name_their_columns(tmp_path, content):
    np.testing.assert_array_equal(read_dots(text(tmp_path / "dots.csv", content)), [(7, 3), (0.25, 1.5)])


def test_a_table_without_rows_has_no_dots(tmp_path):
    assert read_dots(text(tmp_path / "dots.csv", "x,y\n")).shape == (0, 2)


@pytest.mark.parametrize(("content", "sentence"), [
    ("x,y\n1,2\n3,\n", r"line 3 has no two numbers \(3,\)"),
    ("x,y\n1,2\n\n3\n", r"line 4 has no two numbers"),
    ("x,y\n\"1,5\",2\n", r"line 2 .*write decimals with a point"),
    ("x,y\n1,nan\n", r"line 2 is not finite"),
    ("1,2\n3,4\n", r"no columns named x and y \(found: 1, 2\)"),
    ("", r"no columns named x and y \(found: nothing\)"),
    (b"x,y\n\xff,2\n", r"cannot be read as text"),
    ("x,y\n" + "1" * 200_000 + ",2\n", r"is not CSV"),
    ("index,axis-0,axis-1,axis-2\n0,1,2,3\n", r"are 3-D"),
])
def test_mistakes_in_a_table_are_told_with_their_line(tmp_path, content, sentence):
    with pytest.raises(DotsError, match=rf"^dots\.csv: .*{sentence}"):
        read_dots(text(tmp_path / "dots.csv", content))


def test_missing_files_are_told(tmp_path):
    with pytest.raises(DotsError, match=r"dots\.csv"):
        read_dots(tmp_path / "dots.csv")
    with pytest.raises(ImageError, match=r"dots\.png"):
        read_dots(tmp_path / "dots.png")


def test_points_are_written_and_read_back_exactly(tmp_path, rng):
    points = np.concatenate([rng.uniform(-0.5, 5000, (200, 2)), [(3, 4), (-0.5, 4095.4999999), (1e-9, 12345.678901)]])
    content = points_csv(points)
    assert content.startswith("x,y\n")
    assert "\n4,3\n" in content, "x comes first, whole numbers stay short"
    np.testing.assert_array_equal(read_dots(text(tmp_path / "points.csv", content)), points)
    assert points_csv(np.empty((0, 2))) == "x,y\n"


def names(pairs):
    return [(image.name, dots.name) for image, dots in pairs]


def touch(folder, *files):
    folder.mkdir(exist_ok=True)
    for file in files:
        (folder / file).touch()
    return folder


@pytest.mark.parametrize(("images", "dots"), [
    ("001cell.png", "001dots.png"), ("a.tif", "a.csv"), ("a.jpeg", "a_dots.csv"),
    ("Plate 1-cells.png", "plate 1-points.csv"),
    ("BM_0001_02_003.png", "BM_0001_02_dots_003.png"), ("001cell.png", "001cell.csv"),
])
def test_names_pair_without_their_decoration(tmp_path, images, dots):
    together = touch(tmp_path / "one", images, dots)
    assert pair(together) == ([(together / images, together / dots)], [])
    apart = touch(tmp_path / "images", images), touch(tmp_path / "dots", dots)
    assert names(pair(*apart)[0]) == [(images, dots)]


def test_images_without_dots_are_reported_and_never_paired_by_order(tmp_path):
    images = touch(tmp_path / "images", "1.png", "2.png", "3.png", "notes.txt")
    dots = touch(tmp_path / "dots", "3.csv", "2.csv", "9.csv")
    pairs, alone = pair(images, dots)
    assert names(pairs) == [("2.png", "2.csv"), ("3.png", "3.csv")]
    assert alone == [images / "1.png"]


def test_label_masks_are_no_images(tmp_path):
    folder = touch(tmp_path / "one", "a.png", "a_dots.csv", "a_labels.png", "b-label.tif", "labels of b.png")
    pairs, alone = pair(folder)
    assert names(pairs) == [("a.png", "a_dots.csv")]
    assert alone == [folder / "labels of b.png"]
    assert [path.name for path in image_files(folder)] == ["a.png", "labels of b.png"]


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(DotsError, match="there is no such folder"):
        pair(tmp_path / "nowhere")
    with pytest.raises(DotsError, match=r"nowhere: there is no such folder"):
        pair(tmp_path, tmp_path / "nowhere")


@pytest.fixture
def folder(tmp_path, rng):
    """Six images of 10 x 15 px with one to six dots."""
    out = tmp_path / "set"
    for k in range(6):
        save(rng.integers(0, 256, SHAPE, dtype=np.uint8), out / f"{k}cell.png")
        text(out / f"{k}dots.csv", points_csv(np.arange(2 * (k + 1)).reshape(-1, 2) % 10))
    return out


def test_a_folder_is_read_in_order_with_its_patterns(folder):
    data = read_folder(folder)
    assert [item.name for item in data] == [f"{k}cell.png" for k in range(6)]
    assert [len(item.points) for item in data] == [1, 2, 3, 4, 5, 6]
    assert data[0].image.dtype == np.float32
    np.testing.assert_array_equal(data[2].image, plane(read_image(folder / "2cell.png"))[0])
    chosen = read_folder(folder, include=("[0-3]*", "5cell.png"), exclude=("1*",))
    assert [item.name for item in chosen] == ["0cell.png", "2cell.png", "3cell.png", "5cell.png"]
    with pytest.raises(DotsError, match=r"no image with dots is left of 6 images \(6 with dots\)"):
        read_folder(folder, include=("x*",))


def test_dots_outside_their_image_name_the_file(folder):
    text(folder / "3dots.csv", "x,y\n14,9\n9,14\n")
    with pytest.raises(DotsError, match=r"3dots\.csv: 1 of 2 dots lie outside .*dot 2: x = 9, y = 14.*swapped"):
        read_folder(folder)


def test_a_split_is_disjoint_and_depends_on_the_seed_alone():
    data = [Dotted(str(k), np.zeros((1, 1), np.float32), np.empty((0, 2))) for k in range(40)]
    learn, choose = split(data, 15, 10, seed=3)
    chosen = [item.name for item in learn + choose]
    assert (len(learn), len(choose), len(set(chosen))) == (15, 10, 25)
    again = split(data, 15, 10, seed=3)
    assert [item.name for item in again[0] + again[1]] == chosen
    other = split(data, 15, 10, seed=4)
    assert [item.name for item in other[0] + other[1]] != chosen
    assert [item.name for item in data] == [str(k) for k in range(40)]
    assert sum(map(len, split(data, 20, 20, seed=0))) == 40


@pytest.mark.parametrize("numbers", [(0, 1), (1, 0), (30, 11), (-1, 5)])
def test_a_split_that_cannot_be_is_refused(numbers):
    data = [Dotted("one", np.zeros((1, 1), np.float32), np.empty((0, 2)))] * 40
    with pytest.raises(DotsError, match="40 dotted images cannot give"):
        split(data, *numbers, seed=0)


def test_simulated_images_depend_on_the_seed_and_their_number():
    three, two = simulated("nuclei", 3, 5), simulated("nuclei", 2, 5)
    for one, other in zip(three, two, strict=False):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.points, other.points)
    assert not np.array_equal(three[0].image, three[1].image)
    assert not np.array_equal(simulated("nuclei", 1, 6)[0].image, three[0].image)


def test_a_real_vgg_image_has_its_signal_in_blue_and_its_dots(shared_data):
    folder = shared_data / "vgg"
    if not (folder / "001cell.png").exists():
        pytest.skip("there is no 001cell.png in ../shared/data/vgg")
    item = read_folder(folder, include=("001cell.png",))[0]
    rgb = np.asarray(PillowImage.open(folder / "001cell.png").convert("RGB"))
    dots = np.asarray(PillowImage.open(folder / "001dots.png").convert("RGB"))
    np.testing.assert_array_equal(item.image, rgb[..., 2])
    np.testing.assert_array_equal(item.points, np.argwhere(dots[..., 0] == 255))
    assert 74 <= len(item.points) <= 317
    assert plane(read_image(folder / "001cell.png"))[1].startswith("blue")


def test_mbm_images_pair_with_their_1_bit_dots(shared_data):
    folder = shared_data / "mbm"
    pairs, alone = pair(folder)
    assert len(pairs) == 44
    assert alone == []
    image, dots = pairs[0]
    truth = np.asarray(PillowImage.open(dots)).astype(bool)
    np.testing.assert_array_equal(read_dots(dots), np.argwhere(truth))
    assert len(truth) == len(plane(read_image(image))[0])
