"""Every page starts, and the Count page gives what the command line gives."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from cellapp import DEFAULT_WEIGHTS
from cellapp.cli import main
from cellapp.dots import read_dots, write_dots
from cellapp.prediction import Interval, Prediction
from cellapp.regions import box
from cellapp.ui.canvas import pictures
from cellapp.ui.count_files import sample_files

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def visitors(tmp_path, monkeypatch):
    """A server of this test's own: its workspaces in an empty folder, every count done before the page is drawn."""
    import cellapp.figures
    import cellapp.methods  # noqa: F401
    from cellapp.ui import count_run, visit

    monkeypatch.setenv("CELLAPP_WORKSPACES", str(tmp_path / "workspaces"))
    monkeypatch.setattr(count_run, "PATIENCE", 100)
    visit.registry.cache_clear()
    yield tmp_path / "workspaces"
    visit.registry.cache_clear()


def start(**address: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "cellapp" / "ui" / "main.py"), default_timeout=120)
    for name, value in address.items():
        app.query_params[name] = value
    return app.run()


def workspace(app: AppTest):
    """The visitor's workspace, as the server has it."""
    from cellapp.ui import visit

    name = app.query_params["w"]
    return visit.registry().find(name if isinstance(name, str) else name[0])


def words(app: AppTest) -> str:
    return " ".join(c.value for c in app.caption)


def press(app: AppTest, label: str) -> AppTest:
    return next(b for b in app.button if b.label == label).click().run()


def upload(app: AppTest, *files: tuple[str, bytes]) -> AppTest:
    app.file_uploader[0].set_value([(name, content, "image/png") for name, content in files])
    return app.run()


def stack(path: Path, channels: int = 3) -> bytes:
    """An OME-TIFF whose channel B shows the cells of an example image."""
    import tifffile

    grey = np.asarray(Image.open(path)).astype(np.uint16) * 100
    pixels = np.zeros((channels, *grey.shape), np.uint16)
    pixels[1] = grey
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, ome=True, photometric="minisblack",
                     metadata={"axes": "CYX", "Channel": {"Name": list("ABCDEF"[:channels])}})
    return out.getvalue()


def metrics(app: AppTest) -> dict[str, str]:
    return {m.label: m.value for m in app.metric}


def test_every_page_is_listed_and_starts():
    listed = (ROOT / "cellapp" / "ui" / "main.py").read_text()
    for page in (ROOT / "pages").glob("*.py"):
        assert f'"{page.name}"' in listed
    app = start()
    assert not app.exception
    assert app.title[0].value == "How many cells are there?"


def test_page_and_command_line_give_the_same_count(capsys):
    path = sample_files()[0]
    app = upload(start(), (path.name, path.read_bytes()))
    assert not app.exception
    assert main(["count", str(path), "--json"]) == 0
    count = json.loads(capsys.readouterr().out)["count"]
    shown = next(c.value for c in app.caption if c.value.startswith("Sum of the density map"))
    assert f"Sum of the density map: {count:.2f} " in shown
    assert metrics(app)[f"Cells in {path.name}".replace("-", r"\-").replace(".", r"\.")] == f"{round(count)}"


def test_bad_files_get_a_sentence_and_the_others_count():
    good = sample_files()[0]
    app = upload(start(), ("empty.png", b""), ("letter.png", b"only text, no picture\n" * 9),
                 (good.name, good.read_bytes()), ("half.png", good.read_bytes()[:2000]), ("list.doc", b"no image"))
    assert not app.exception
    table = app.dataframe[0].value
    assert list(table["Image"]) == ["empty.png", "half.png", "letter.png", good.name]
    assert list(table["Status"]) == ["not counted", "not counted", "not counted", "counted"]
    assert all(message for message in table["Message"][table["Status"] == "not counted"])
    assert len(app.metric) >= 2, "the first one that can be read is shown"
    aside = next(c for c in app.caption if "1 file set aside" in c.value)
    assert aside.value.endswith("list\\.doc") and "no image by its name" in aside.help
    space = workspace(app)
    space.change(shown=space.state().images[0].id)
    app.run()
    assert not app.exception and not app.metric
    assert [e.value.replace("\\", "") for e in app.error] == [table["Message"][0]]


def test_another_cell_size_changes_the_reading_and_says_so():
    path = sample_files()[0]
    app = upload(start(), (path.name, path.read_bytes()))
    before = app.metric[0].value
    app.number_input(key="diameter").set_value(20.0).run()
    assert app.metric[0].value != before
    assert any("times its size" in c.value for c in app.caption)
    assert workspace(app).state().cell_diameter == 20
    app.number_input(key="diameter").set_value(None).run()
    assert app.metric[0].value == before


def test_a_channel_is_asked_for_once_for_all_files_of_a_layout():
    first, second = sample_files()[:2]
    app = upload(start(), ("a.ome.tif", stack(first)), ("b.ome.tif", stack(second)), ("c.ome.tif", stack(first, 2)))
    assert not app.exception and not app.metric
    assert list(app.dataframe[0].value["Status"]) == ["needs an answer"] * 3
    assert any("Your 2 images have 3 channels" in m.value for m in app.markdown)
    press(app, "B")
    assert any("c\\.ome\\.tif has 2 channels" in m.value for m in app.markdown)
    assert list(app.dataframe[0].value["Status"]) == ["ready", "ready", "needs an answer"]
    press(app, "Count this image")
    as_grey = upload(start(), (first.name, first.read_bytes())).metric[0].value
    assert app.metric[0].value == as_grey, "the other channels are empty"
    press(app, "None alone: take their mean")                # no question is open, and the images are few and small
    assert list(app.dataframe[0].value["Status"]) == ["counted"] * 3
    key = next(s.key for s in app.selectbox if s.label == "Channel that shows the cells")
    assert app.selectbox(key=key).value == "B"
    counted = list(app.dataframe[0].value["Cells"])
    app.selectbox(key=key).set_value("A").run()
    assert not app.exception
    assert list(app.dataframe[0].value["Cells"]) == [0, 0, counted[2]], "only files of this layout"


def test_a_colour_picture_is_not_asked_about():
    grey = np.asarray(Image.open(sample_files()[0]))
    content = io.BytesIO()
    Image.fromarray(np.stack([grey, np.zeros_like(grey), 255 - grey], axis=-1)).save(content, "PNG")
    app = upload(start(), ("two stains.png", content.getvalue()))
    key = next(s.key for s in app.selectbox if s.label == "Channel that shows the cells")
    app.selectbox(key=key).select("red").run()
    red = app.metric[0].value
    app = upload(start(), (sample_files()[0].name, sample_files()[0].read_bytes()))
    assert app.metric[0].value == red


def test_many_images_wait_for_a_click():
    path = sample_files()[0]
    app = upload(start(), *((f"{k}.png", path.read_bytes()) for k in range(5)))
    assert not app.metric and list(app.dataframe[0].value["Status"]) == ["ready"] * 5
    press(app, "Count this image")
    assert metrics(app)["Cells in 0\\.png"].isdigit()
    press(app, "Count the other 4")
    assert list(app.dataframe[0].value["Status"]) == ["counted"] * 5


def test_a_reload_finds_everything_again(visitors):
    path = sample_files()[0]
    app = upload(start(), ("a.png", path.read_bytes()), ("b.png", path.read_bytes()))
    app.number_input(key="diameter").set_value(14.0).run()
    app.selectbox(key="polarity").set_value("bright").run()
    space = workspace(app)
    space.change(shown=space.state().images[1].id,
                 regions={space.state().images[1].id: [box("left", 0, 0, 100, 100).to_dict()]})
    app.run()
    before = metrics(app)
    from cellapp.ui import visit

    visit.registry.cache_clear()                             # the server was started anew, too
    again = start(w=space.id)
    assert not again.exception
    assert metrics(again) == before and "Cells in b\\.png" in before
    assert again.number_input(key="diameter").value == 14 and again.selectbox(key="polarity").value == "bright"
    assert list(again.dataframe[0].value["Status"]) == ["counted", "counted"]
    table = workspace(again)
    assert [r["name"] for r in table.state().regions[table.state().images[1].id]] == ["left"]


@pytest.mark.parametrize("name", ["A" * 24, "../../etc", ""])
def test_an_address_that_names_nothing_costs_one_sentence(visitors, name):
    app = start(w=name)
    assert not app.exception and app.title[0].value == "How many cells are there?"
    assert [w.value for w in app.warning] == ([] if not name else [app.warning[0].value])
    assert not name or "names no workspace that is still here" in app.warning[0].value
    assert "w" not in app.query_params
    upload(app, (sample_files()[0].name, sample_files()[0].read_bytes()))
    assert not app.warning and app.metric and len(list(visitors.iterdir())) == 1


def test_a_full_workspace_ends_the_counting_with_a_sentence(monkeypatch):
    monkeypatch.setenv("CELLAPP_WORKSPACE_GB", "0.0005")
    app = press(start(), "Try a sample")                     # the maps of one image fit in, those of the next do not
    assert not app.exception
    assert list(app.dataframe[0].value["Status"]) == ["counted", "ready", "ready"]
    assert [e.value for e in app.error] == [next(e.value for e in app.error if "This workspace is full" in e.value)]
    assert app.metric


def test_a_fault_of_the_app_is_told_and_logged(monkeypatch, caplog):
    from cellapp.ui import jobs

    def broken(*_, **__):
        raise AttributeError("no such thing")

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "count_one", broken)
        app = press(start(), "Try a sample")
    assert not app.exception
    assert len(app.error) == 1 and "a fault of this app" in app.error[0].value
    assert "no such thing" in caplog.text
    press(app, "Count this image")
    assert not app.error and app.metric


def test_settings_damaged_on_the_disk_cost_one_sentence():
    app = press(start(), "Try a sample")
    (workspace(app).folder / "state.json").write_text("{")
    app.run()
    assert not app.exception and "damaged" in app.warning[0].value and app.title


def test_a_workspace_deleted_in_another_tab_is_noticed(visitors):
    app = press(start(), "Try a sample")
    other = start(w=workspace(app).id)
    press(other, "Yes, delete everything")
    app.run()
    assert not app.exception and "has been deleted" in app.warning[0].value and app.title
    assert list(visitors.iterdir()) == []


def test_delete_everything_empties_the_disk(visitors):
    app = upload(start(), (sample_files()[0].name, sample_files()[0].read_bytes()))
    assert any("7 days after your last visit" in c.value for c in app.caption)
    assert len(list(visitors.iterdir())) == 1
    app.session_state["look"] = "Cell size"
    app.run()
    shown = Path(pictures._FOLDER.name)
    before = len(list(shown.iterdir()))
    press(app, "Yes, delete everything")
    assert len(list(shown.iterdir())) == before - 1, "the picture on which the ruler lies"
    assert not app.exception and list(visitors.iterdir()) == []
    assert "w" not in app.query_params and app.title[0].value == "How many cells are there?"
    assert app.warning[0].value == "Everything has been deleted."


def test_the_days_of_the_retention_are_those_of_the_server(monkeypatch):
    monkeypatch.setenv("CELLAPP_KEEP_DAYS", "2")
    app = start()
    assert any("until 2 days after your last visit" in c.value for c in app.caption)
    press(app, "Try a sample")
    assert any("until 2 days after your last visit" in c.value for c in app.caption)


def test_an_excluded_image_stays_in_the_table(visitors):
    app = upload(start(), *((p.name, p.read_bytes()) for p in sample_files()[:2]))
    all_before = metrics(app)["2 images"]
    next(t for t in app.text_input if t.label == "Reason").set_value("out of focus")
    press(app, "Exclude this image")
    assert not app.exception
    table = app.dataframe[0].value
    assert list(table["Status"]) == ["excluded", "counted"] and table["Message"][0] == "Excluded: out of focus."
    assert "2 images" not in metrics(app) and "1 images" not in metrics(app)
    press(app, "Take back in")
    assert metrics(app)["2 images"] == all_before


def test_counts_by_hand_come_along():
    paths = sample_files()[:2]
    dots = paths[0].with_name(f"{paths[0].stem}_dots.csv")
    app = upload(start(), *((p.name, p.read_bytes()) for p in (*paths, dots)))
    true = sum(1 for line in dots.read_text().splitlines()[1:] if line.strip())
    assert metrics(app)["By hand"] == str(true)
    assert app.dataframe[0].value["By hand"][0] == true
    assert len(workspace(app).state().images) == 2


def test_a_zip_of_rois_is_dots_and_what_does_not_fit_in_is_told(monkeypatch, visitors):
    path = sample_files()[0]
    dots = read_dots(path.with_name(f"{path.stem}_dots.csv"))
    app = upload(start(), (path.name, path.read_bytes()), (f"{path.stem}_RoiSet.zip", write_dots(dots, "roi-zip")))
    assert metrics(app)["By hand"] == str(len(dots)) and not any("aside" in c.value for c in app.caption)
    monkeypatch.setenv("CELLAPP_WORKSPACE_GB", "0.00006")
    from cellapp.ui import visit

    visit.registry.cache_clear()
    app = upload(start(), ("a.png", path.read_bytes()), ("b.png", sample_files()[1].read_bytes()))
    assert not app.exception and "This workspace is full" in app.warning[0].value
    assert not list(workspace(app).folder.glob("files/*")), "nothing is left behind that is not listed"


def test_a_region_is_counted_without_counting_again(visitors):
    app = upload(start(), (sample_files()[0].name, sample_files()[0].read_bytes()))
    space = workspace(app)
    file = space.state().images[0]
    rows = len(list((space.folder / "results").iterdir()))
    whole = box("all of it", -0.5, -0.5, 255.5, 255.5).to_dict()
    left = box("left", -0.5, -0.5, 255.5, 127.5).to_dict()
    space.change(regions={file.id: [whole, left]})
    app.session_state["look"] = "Regions"
    app.run()
    assert not app.exception
    table = next(d.value for d in app.dataframe if "Region" in d.value)
    count = app.metric[0].value
    assert round(table["Cells"][0]) == int(count) and 0 < table["Cells"][1] < table["Cells"][0]
    assert list(table["Area (px²)"]) == [256 * 256, 256 * 128]
    assert len(list((space.folder / "results").iterdir())) == rows


def test_shared_regions_are_fitted_to_each_image_or_refused_with_a_sentence():
    path = sample_files()[0]
    content = {}
    for name, height in (("same.png", 256), ("other.png", 200)):
        out = io.BytesIO()
        Image.open(path).crop((0, 0, 256, height)).save(out, "PNG")
        content[name] = out.getvalue()
    app = upload(start(), *content.items())
    space = workspace(app)
    space.change(shared_regions=[box("left", 0, 0, 100, 100).to_dict()], shared_shape=(256, 256))
    app.run()
    table = app.dataframe[0].value.set_index("Image")
    assert "of other proportions" in table["Message"]["other.png"]
    assert table["Message"].isna()["same.png"]


def test_a_file_that_was_stored_is_out_of_the_memory(monkeypatch):
    from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager as Manager

    left, remove = [], Manager.remove_file

    def removing(manager, session_id, file_id):
        remove(manager, session_id, file_id)
        left.append(len(manager.file_storage.get(session_id) or ()))

    monkeypatch.setattr(Manager, "remove_file", removing)
    app = upload(start(), *((p.name, p.read_bytes()) for p in sample_files()[:2]))
    assert left == [1, 0, 0, 0], "each at once, and once more in case of an error"
    assert app.file_uploader[0].value == []


def test_the_sample_counts_with_the_default_weights():
    app = start()
    press(app, "Try a sample")
    assert not app.exception
    assert app.selectbox(key="weights").value == DEFAULT_WEIGHTS
    assert metrics(app)["Peaks found"].isdigit()


def test_weights_are_loaded_once_for_all_visitors(monkeypatch):
    import cellapp.methods as methods
    from cellapp.ui import counters

    counters._load.cache_clear()
    loaded, load = [], methods.load
    monkeypatch.setattr(methods, "load",
                        lambda weights_id, **more: loaded.append(weights_id) or load(weights_id, **more))
    for _visitor in range(2):
        upload(start(), (sample_files()[0].name, sample_files()[0].read_bytes()))
    assert loaded == [DEFAULT_WEIGHTS]


@pytest.fixture
def said(tiny_weights, monkeypatch):
    """Hand in a prediction; all untrained weights then say it. The options they were asked with are noted."""
    import cellapp.methods as methods

    asked = []

    def say(prediction):
        def predict(counter, image, options=None, *, progress=None):
            asked.append(options)
            return replace(prediction, method=counter.method.name, weights=counter.weights.id)

        monkeypatch.setattr(methods.Counter, "predict", predict)
        return asked

    return say


def test_outlined_cells_are_told_as_such(said):
    labels = np.zeros((30, 40), np.int32)
    labels[2:5, 3:9], labels[20:25, 30:33] = 1, 2
    said(Prediction.from_labels(labels, np.array([(3.0, 5.5), (22.0, 31.0)]),
                                views={"foreground": np.full((30, 40), 0.5, np.float32)}))
    app = upload(start(), *((p.name, p.read_bytes()) for p in sample_files()[:2]))
    assert not app.exception
    assert "Cells outlined one by one: 2 " in words(app)
    assert [m.label.split(" ")[0] for m in app.metric] == ["Cells", "2"]
    assert list(app.dataframe[0].value["Found"]) == [2, 2]
    assert "Interval" not in app.dataframe[0].value
    assert any(c.value.startswith("**Foreground.**") for c in app.caption)


def test_an_interval_stands_beside_the_count(said):
    said(replace(Prediction.from_density(np.full((30, 40), 0.1, np.float32)),
                 interval=Interval(-3.0, 157.2, 0.95, "aleatoric")))
    app = upload(start(), (sample_files()[0].name, sample_files()[0].read_bytes()))
    assert (app.metric[0].value, app.metric[0].delta) == ("120", "(0–158, 95 %)")
    assert len(app.metric) == 1, "without points there are no peaks to be told"
    assert "the network's own estimate of its error (aleatoric); not a guarantee" in words(app)


def test_saliency_is_offered_where_there_is_some_and_counted_again(said):
    asked = said(Prediction.from_density(np.full((30, 40), 0.1, np.float32)))
    app = upload(start(), (sample_files()[0].name, sample_files()[0].read_bytes()))
    assert not app.toggle
    app.selectbox(key="weights").set_value("fpn-vgg11/untrained").run()
    app.toggle(key="saliency").set_value(True).run()
    assert not app.exception
    app.selectbox(key="weights").set_value("fcrn-a/untrained").run()
    assert [options.saliency for options in asked] == [False, False, True], "the first weights were not asked again"


def test_names_of_files_are_never_markdown():
    path = sample_files()[0]
    app = upload(start(), ("**bold** [x](y) $a$.png", path.read_bytes()))
    assert app.metric[0].label == r"Cells in \*\*bold\*\* \[x\]\(y\) \$a\$\.png"
