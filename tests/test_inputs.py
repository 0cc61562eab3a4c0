"""Files, folders and zips: what is counted, what is set aside, and what a zip may not do."""

import io
import stat
import zipfile

import pytest

from cellapp import inputs as module
from cellapp.errors import ImageError
from cellapp.inputs import foreign, gather

FOREIGN = ("notes.txt", "Thumbs.db", ".DS_Store", "a_dots.csv", "a_labels.png", "a_cp_masks.tif", "001dots.png",
           "a__fcrn-a_overlay.png", "a-2__fcrn-a_simulated_density.tif", ".hidden/b.png", "__MACOSX/._a.png",
           "plates.xlsx", "counts.csv", "run.json", "noending")
IMAGES = ("a2.png", "a10.PNG", "b/a2.tif", "b/plate.ome.tiff", "b/c/x.czi", "polkadots.png", "mask of cells.jpg")


def zipped(members, **each) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as box:
        for name, content in members.items():
            row = zipfile.ZipInfo(name)
            for key, value in each.items():
                setattr(row, key, value)
            box.writestr(row, content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def locked(content: bytes) -> bytes:
    """The same zip with every member marked as encrypted."""
    data = bytearray(content)
    for magic, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(magic)
        while at >= 0:
            data[at + place] |= 1
            at = data.find(magic, at + 4)
    return bytes(data)


@pytest.mark.parametrize("kind", ["folder", "zip", "zip of bytes"])
def test_images_come_in_natural_order_and_foreign_files_are_set_aside(tmp_path, kind):
    members = {name: name.encode() for name in (*FOREIGN, *IMAGES)}
    if kind == "folder":
        for name, content in members.items():
            (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "all" / name).write_bytes(content)
        found = gather([tmp_path / "all"])
    else:
        (tmp_path / "all.zip").write_bytes(zipped(members))
        found = gather([tmp_path / "all.zip"] if kind == "zip" else [("all.zip", zipped(members))])
    paths = [one.path.removeprefix("all.zip/") for one in found.inputs]
    assert paths == ["a2.png", "a10.PNG", "b/a2.tif", "b/c/x.czi", "b/plate.ome.tiff", "mask of cells.jpg",
                     "polkadots.png"]
    assert [one.read() for one in found.inputs] == [path.encode() for path in paths]
    assert [one.size for one in found.inputs] == [len(path) for path in paths]
    aside = {a.path.removeprefix("all.zip/"): a.reason for a in found.aside}
    assert set(FOREIGN) - set(aside) <= {".hidden/b.png"} and all(aside.values())   # that folder is not looked into
    assert aside["notes.txt"] == "no image by its name"


def test_images_of_the_same_name_are_told_apart(tmp_path):
    content = zipped({"day 1/a.png": b"1", "day 2/A.png": b"2", "day 2/b.png": b"3"})
    assert [one.name for one in gather([("x.zip", content)]).inputs] == ["x.zip/day 1/a.png", "x.zip/day 2/A.png",
                                                                         "b.png"]
    (tmp_path / "a.png").write_bytes(b"4")
    assert [one.name for one in gather([tmp_path / "a.png"] * 2).inputs] == ["a.png", "a.png"], "the same file twice"


def test_uploads_are_sorted_and_named_files_stay_in_their_order(tmp_path):
    uploads = [("a10.png", b"1"), ("a2.png", b"2"), ("Thumbs.db", b"3"), ("../../a3.png", b"4")]
    found = gather(uploads)
    assert [one.name for one in found.inputs] == ["a3.png", "a2.png", "a10.png"]
    assert [a.path for a in found.aside] == ["Thumbs.db"]
    (tmp_path / "kept").write_bytes(b"5")
    assert gather([("a.png", tmp_path / "kept")]).inputs[0].read() == b"5"
    paths = [tmp_path / "b.png", tmp_path / "a.txt", tmp_path / "no.zip"]
    found = gather(paths)
    assert [one.name for one in found.inputs] == ["b.png", "a.txt", "no.zip"], "what is named has a row"
    for one in found.inputs:
        with pytest.raises(ImageError, match=rf"^{one.name}: there is no such file"):
            one.read()


@pytest.mark.parametrize(("name", "why"), [
    ("../../up.png", "leads out"), ("/etc/up.png", "leads out"), ("C:\\up.png", "leads out"),
    ("..\\up.png", "leads out"), ("more.zip", "a zip in a zip"),
])
def test_a_bad_member_has_a_row_and_the_rest_of_the_zip_goes_on(name, why):
    bad, good = gather([("x.zip", zipped({name: b"1", "z.png": b"2"}))]).inputs
    with pytest.raises(ImageError, match=why) as told:
        bad.read()
    assert "\n" not in str(told.value) and ".." not in bad.path
    assert (good.name, good.read()) == ("z.png", b"2")


def test_links_are_not_followed(tmp_path):
    content = zipped({"a.png": b"/etc/passwd"}, external_attr=(stat.S_IFLNK | 0o777) << 16)
    with pytest.raises(ImageError, match="a link to another file"):
        gather([("x.zip", content)]).inputs[0].read()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "circle").symlink_to(tmp_path)
    assert gather([tmp_path / "folder"]).inputs == []


def test_zip_bombs_are_not_unpacked(monkeypatch):
    bomb, good = gather([("x.zip", zipped({"bomb.tif": bytes(3_000_000), "good.png": b"1"}))]).inputs
    with pytest.raises(ImageError, match="packed more than 200 times smaller"):
        bomb.read()
    assert good.read() == b"1"
    for limit, why in (("MAX_MEMBERS", "more than the 1 files"), ("MAX_UNPACKED", "more than the 0 GB")):
        with monkeypatch.context() as patch:
            patch.setattr(module, limit, 1)
            inputs = gather([("x.zip", zipped({"a.png": b"12", "b.png": b"2"}))]).inputs
            assert len(inputs) == 1 and inputs[0].error.startswith("x.zip: ") and why in inputs[0].error
    monkeypatch.setattr(module, "MAX_BYTES", 1)
    assert "more than the 0 MB" in gather([("x.zip", zipped({"a.png": b"12"}))]).inputs[0].error


def test_a_member_that_is_larger_than_the_directory_says_is_damaged():
    content = zipped({"a.png": b"A" * 5000})
    at = content.rfind(b"PK\x01\x02")
    lying = content[: at + 24] + (10).to_bytes(4, "little") + content[at + 28 :]
    one = gather([("x.zip", lying)]).inputs[0]
    assert one.size == 10
    with pytest.raises(ImageError, match=r"^a\.png: it cannot be taken out of the zip"):
        one.read()


def test_locked_and_damaged_zips_are_one_sentence(tmp_path):
    content = zipped({"a.png": b"1", "b.png": b"2"})
    for data, why in ((locked(content), "locked with a password"), (content[:30], "damaged, cut off or none"),
                      (b"", "damaged, cut off or none"), (b"no zip", "damaged, cut off or none")):
        inputs = gather([("x.zip", data)]).inputs
        assert len(inputs) == 1 and inputs[0].error.startswith("x.zip: ") and why in inputs[0].error
    (tmp_path / "x.zip").write_bytes(content)
    inputs = gather([tmp_path / "x.zip"]).inputs
    (tmp_path / "x.zip").write_bytes(zipped({"c.png": b"1"}))
    with pytest.raises(ImageError, match="changed meanwhile"):
        inputs[0].read()


def test_names_are_safe_to_show():
    one = gather([("\x1b[31m‮a.png", b"1")]).inputs[0]
    assert one.name == one.path == "[31ma.png"
    assert foreign("a.png") == "" and foreign("./a.png") == ""
