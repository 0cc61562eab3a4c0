"""The Gradio app on a real server, called by its own client: the same counts as everywhere else."""

import csv
import io
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from hub_fixtures import ALICE, BOB

from cellapp.batch import COLUMNS, count_one
from cellapp.dots import points_csv
from cellapp.errors import CellappError
from cellapp.methods import Options, load
from cellapp.overlays import png
from cellapp.simulate import simulate

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS, OTHER = "fcrn-a/simulated", "fcn/dsb2018"
OFFLINE = {"HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False", "OMP_NUM_THREADS": "1"}
pytest_plugins = ["hub_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("CELLAPP_WEIGHTS", "GRADIO_TEMP_DIR")}
    return kept | OFFLINE | {"CELLAPP_WORKSPACES": str(tmp_path_factory.mktemp("gradio") / "workspaces")}


@contextmanager
def served(environment: dict[str, str], command: list[str], page: str):
    """A server of this project on a port of its own, until ``page`` answers; its log has no traceback in the end."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    log = Path(environment["CELLAPP_WORKSPACES"]).parent / f"log-{port}.txt"
    with log.open("w") as out:
        server = subprocess.Popen([sys.executable, *(word.format(port) for word in command)], cwd=ROOT, stdout=out,
                                  stderr=subprocess.STDOUT, env=environment | {"GRADIO_SERVER_PORT": str(port)})
    for _ in range(300):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=2)
            break
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.5)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    try:
        server.wait(timeout=10)
    except subprocess.TimeoutExpired:                        # Uvicorn waits for the heartbeat that a client listens to
        server.kill()
        server.wait()
    assert "Traceback" not in log.read_text(), log.read_text()


@pytest.fixture(scope="module")
def address(environment):
    with served(environment, ["gradio_app.py"], "/") as address:
        yield address


@pytest.fixture
def client(address) -> Client:
    return Client(address, verbose=False, analytics_enabled=False)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[Path]:
    """Small simulated images with their dots beside them."""
    folder = tmp_path_factory.mktemp("images")
    for k in range(3):
        scene = simulate("vgg-cells", 3, k, size=(64, 72))
        (folder / f"cell_{k}.png").write_bytes(png(scene.image))
        (folder / f"cell_{k}_dots.csv").write_bytes(points_csv(scene.points).encode())
    return sorted(folder.glob("*.png"))


def given(paths) -> list:
    return [handle_file(str(path)) for path in paths]


def test_the_api_the_command_line_and_the_core_count_the_same(client, images, environment):
    rows, archive = client.predict(given(images), weights=WEIGHTS, api_name="/count")
    command = [sys.executable, "-m", "cellapp", "count", *map(str, images), "--weights", WEIGHTS, "--json"]
    lines = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
    told = [json.loads(line) for line in lines.splitlines()]
    single, _ = client.predict(handle_file(str(images[0])), weights=WEIGHTS, api_name="/count_image")
    assert single[0]["count"] == rows[0]["count"]
    counter = load(WEIGHTS)
    own = [count_one(path, counter) for path in images]
    assert [row["image"] for row in rows] == [path.name for path in images]
    assert all(list(row) == list(COLUMNS) for row in rows)
    for row, line, result in zip(rows, told, own, strict=True):
        assert row["count"] == pytest.approx(result.prediction.count, abs=1e-3)
        assert line["count"] == pytest.approx(result.prediction.count, abs=1e-3)
        assert row["count"] > 1
        assert (row["status"], row["weights"]) == ("ok", WEIGHTS) == (line["status"], line["weights"])
    with zipfile.ZipFile(archive) as box:
        table = list(csv.DictReader(io.StringIO(box.read("counts.csv").decode("utf-8-sig"))))
        assert [float(line["count"]) for line in table] == pytest.approx([row["count"] for row in rows], rel=1e-4)
        assert {"run.json", "cell_0__fcrn-a_density.tif", "cell_2__fcrn-a_points.csv"} <= set(box.namelist())


def test_options_reach_the_network(client, images):
    rows, _ = client.predict(given(images[:1]), weights=WEIGHTS, cell_diameter=24, api_name="/count")
    own = count_one(images[0], load(WEIGHTS), Options(cell_diameter=24))
    assert rows[0]["count"] == pytest.approx(own.prediction.count, abs=1e-3)
    assert rows[0]["cell_diameter_px"] == 24
    assert "0.478 times" in rows[0]["message"]


def test_a_bad_file_is_a_row_with_its_sentence_and_the_others_are_counted(client, images, tmp_path):
    bad = tmp_path / "broken.png"
    bad.write_bytes(b"not an image")
    rows, archive = client.predict(given([bad, images[0]]), api_name="/count")
    assert [row["status"] for row in rows] == ["error", "ok"]
    assert re.search(r"broken\.png: .*not an image", rows[0]["message"])
    assert rows[0]["count"] is None and rows[1]["count"] > 1
    assert archive.endswith(".zip")


@pytest.mark.parametrize(("call", "sentence"), [
    ({"weights": "fcrn-a/none"}, "There are no weights called “fcrn-a/none”"),
    ({"frame": 1, "z": "sideways"}, "Focal plane sideways: z cannot be 'sideways'; choose max, min, mean"),
])
def test_what_cannot_be_is_one_sentence(client, images, call, sentence):
    with pytest.raises(AppError, match=re.escape(sentence)):
        client.predict(given(images[:1]), **call, api_name="/count")


def test_a_file_that_is_no_image_is_said_to_be_none(client, images):
    with pytest.raises(AppError, match=r"None of these files is an image: cell_0_dots\.csv"):
        client.predict(given([images[0].with_name("cell_0_dots.csv")]), api_name="/count")


def test_methods_are_compared(client, images):
    rows, agreement, archive = client.predict(handle_file(str(images[0])), weights=[WEIGHTS, OTHER],
                                              api_name="/compare")
    assert [row["weights"] for row in rows] == [WEIGHTS, OTHER]
    own = [count_one(images[0], load(name)).prediction.count for name in (WEIGHTS, OTHER)]
    assert [row["count"] for row in rows] == pytest.approx(own, abs=1e-3)
    assert agreement["median"] == pytest.approx(sum(own) / 2, abs=1e-3)
    assert agreement["sentence"].startswith("The methods ")
    with zipfile.ZipFile(archive) as box:
        assert {"compare.csv", "cell_0__fcn_dsb2018_mask.tif"} <= set(box.namelist())


def test_weights_are_taught_used_and_taken_away(client, address, images, tmp_path):
    dots = [path.with_name(f"{path.stem}_dots.csv") for path in images]
    settings = {"start": WEIGHTS, "name": "My cells", "epochs": 2, "steps": 2, "batch": 1, "crop": 32}
    job = client.submit(given(images), given(dots), **settings, api_name="/fine_tune")
    rows, summary, archive = job.result(timeout=240)
    assert summary["weights"] == "own/my-cells"
    assert [row["name"] for row in rows] in [[path.name] for path in images]
    assert summary["mae_after"] == pytest.approx(abs(rows[0]["after"] - rows[0]["manual"]), abs=1e-3)
    assert "too few to be sure" in summary["verdict"]
    with zipfile.ZipFile(archive) as box:
        box.extractall(tmp_path)
    counted, _ = client.predict(given(images[:1]), weights="own/my-cells", api_name="/count")
    own = count_one(images[0], load("own/my-cells", where=tmp_path)).prediction.count
    assert counted[0]["count"] == pytest.approx(own, abs=1e-3)
    assert client.predict("own/my-cells", api_name="/verify")["ok"]
    stranger = Client(address, verbose=False, analytics_enabled=False)
    with pytest.raises(AppError, match="There are no weights called “own/my-cells” here"):
        stranger.predict(given(images[:1]), weights="own/my-cells", api_name="/count")
    assert "own/my-cells" not in [row["id"] for row in stranger.predict(api_name="/weights")]


def test_a_training_without_truth_is_refused(client, images):
    with pytest.raises(AppError, match="None of the 1 images has dots"):
        client.predict(given(images[:1]), given([images[1].with_name("cell_1_dots.csv")]), api_name="/fine_tune")


def test_the_weights_are_listed_and_verified(client):
    rows = client.predict(api_name="/weights")
    assert WEIGHTS in [row["id"] for row in rows]
    assert all(len(part["sha256"]) == 64 for row in rows for part in row["files"])
    answer = client.predict(WEIGHTS, api_name="/verify")
    assert answer["ok"] and "off by" in answer["message"]


def test_what_is_pushed_to_the_hub_is_pulled_and_counts_the_same(environment, images, server, mine):
    installed = environment | {"HF_ENDPOINT": server.url, "HF_TOKEN": BOB, "CELLAPP_WEIGHTS": str(mine)}
    del installed["HF_HUB_OFFLINE"]
    said = []
    with served(installed, ["gradio_app.py"], "/") as address:
        sender, stranger = (Client(address, verbose=False, analytics_enabled=False) for _ in range(2))
        call = {"weights": "own/mine", "repository": "alice/cells", "api_name": "/push"}
        files, answer = sender.predict(**call, dry_run=True)
        assert answer is None and not server.repos
        for token in ("", " ", None):
            with pytest.raises(AppError, match="Pushing needs a token that may write") as refused:
                sender.predict(**call, token=token)              # the server's own token is nobody else's
            said.append(refused.value)
        with pytest.raises(AppError, match="may not write there") as refused:
            sender.predict(**call | {"repository": "bob/cells"}, token=ALICE)
        said.append(refused.value)
        assert not server.repos
        listed, answer = sender.predict(**call, token=ALICE)
        repo = server.repos["alice/cells"]
        assert listed == files and repo.private and not answer["public"] and answer["revision"] == repo.head
        assert {one["file"]: one["bytes"] for one in listed} == {
            name: len(file.content) for name, file in repo.files.items() if name != ".gitattributes"}
        with pytest.raises(AppError, match="alice/cells") as refused:
            stranger.predict("alice/cells", api_name="/pull")
        said.append(refused.value)
        row = stranger.predict("alice/cells", ALICE, api_name="/pull")
        assert row["id"].startswith("hub/alice--cells-") and row["hub"]["revision"] == answer["revision"]
        counts = [count_one(images[0], load("own/mine", where=mine)).prediction.count]
        for one, name in ((sender, "own/mine"), (stranger, row["id"])):
            rows, _ = one.predict(given(images[:1]), weights=name, api_name="/count")
            counts.append(rows[0]["count"])
        assert counts == pytest.approx([counts[0]] * 3, abs=1e-3)
    assert not any(token in str(words) for words in (*said, files, answer, row, server.log) for token in (ALICE, BOB))
    _nowhere(ALICE, environment)


def test_what_a_visitor_trained_is_pushed_with_the_images_only_if_asked(environment, images, server):
    there = environment | {"HF_ENDPOINT": server.url}
    del there["HF_HUB_OFFLINE"]
    dots = [path.with_name(f"{path.stem}_dots.csv") for path in images]
    settings = {"start": WEIGHTS, "epochs": 1, "steps": 1, "batch": 1, "crop": 32}
    with served(there, ["gradio_app.py"], "/") as address:
        client = Client(address, verbose=False, analytics_enabled=False)
        summary = client.submit(given(images), given(dots), **settings, api_name="/fine_tune").result(timeout=240)[1]
        call = {"weights": summary["weights"], "token": ALICE, "licence": "MIT", "api_name": "/push"}
        files, _ = client.predict(**call, repository="alice/bare")
        more, answer = client.predict(**call, repository="alice/whole", public=True, include=["dots"])
        row = next(row for row in client.predict(api_name="/weights") if row["id"] == summary["weights"])
        with pytest.raises(AppError, match="only with weights that were trained"):
            client.predict(WEIGHTS, "alice/other", ALICE, include=["images"], api_name="/push")
    assert not any(one["file"].startswith("training/") for one in files)
    dots = {one["file"] for one in more if one["file"].startswith("training/")}
    assert dots == {f"training/{k:03d}-cell_{k - 1}_dots.csv" for k in (1, 2, 3)}
    assert set(server.repos) == {"alice/bare", "alice/whole"} and dots < server.repos["alice/whole"].files.keys()
    assert not server.repos["alice/whole"].private and answer["public"]
    assert "license:mit" in server.repos["alice/bare"].tags()
    assert row["hub"] == {"repo": "alice/whole", "revision": answer["revision"]}     # where they were sent last
    _nowhere(ALICE, environment)


def test_the_page_sends_only_what_was_listed(server, mine, monkeypatch):
    from cellapp.ui import gradio_push

    monkeypatch.setenv("CELLAPP_WEIGHTS", str(mine))
    *_, seen = next(gradio_push.look("own/mine", "alice/cells"))
    for changed in ({"public": True}, {"repository": "alice/others"}, {"licence": "MIT"}, {"seen": None}):
        call = {"weights": "own/mine", "repository": "alice/cells", "token": ALICE, "seen": seen} | changed
        with pytest.raises(CellappError, match="list them again, then push"):
            list(gradio_push.pushed(**call))
    assert not server.repos
    list(gradio_push.pushed("own/mine", "alice/cells", ALICE, seen=seen))
    assert list(server.repos) == ["alice/cells"]


def _nowhere(token: str, environment: dict[str, str]) -> None:
    """The token is in no file of a server, its log included."""
    files = [path for path in Path(environment["CELLAPP_WORKSPACES"]).parent.rglob("*") if path.is_file()]
    assert any(path.name.startswith("log-") for path in files)
    assert [path for path in files if token.encode() in path.read_bytes()] == []


def test_the_api_says_what_it_takes_and_gives(client):
    told = client.view_api(print_info=False, return_format="dict")["named_endpoints"]
    assert set(told) == {"/count", "/count_image", "/compare", "/fine_tune", "/weights", "/verify", "/download",
                         "/pull", "/push"}
    names = [one["parameter_name"] for one in told["/count"]["parameters"]]
    assert names[:2] == ["images", "weights"]
    assert set(names[2:]) == Options.model_fields.keys() - {"tile"}
    assert {"epochs", "steps", "learning_rate"} <= {one["parameter_name"] for one in told["/fine_tune"]["parameters"]}
    rows, archive = told["/count"]["returns"]
    assert all(f"{name}: " in rows["python_type"]["type"] for name in COLUMNS)
    assert archive["python_type"]["type"] == "filepath"
    assert "counts.csv" in told["/count"]["description"] and "cell_diameter: Typical" in told["/count"]["description"]


def test_uploads_lie_in_a_folder_of_our_own(client, images, environment):
    client.predict(given(images[:1]), api_name="/count")
    folder = Path(environment["CELLAPP_WORKSPACES"]) / "gradio"
    assert list(folder.rglob("cell_0.png"))
    assert folder.stat().st_mode & 0o077 == 0


def test_it_can_be_served_beside_the_pages(environment, images):
    command = ["-m", "streamlit", "run", "app.py", "--server.headless=true", "--server.port={}",
               "--server.address=127.0.0.1"]
    with served(environment | {"CELLAPP_GRADIO": "1"}, command, "/_stcore/health") as address:
        client = Client(f"{address}/gradio/", verbose=False, analytics_enabled=False)
        rows, _ = client.predict(given(images[:1]), weights=WEIGHTS, api_name="/count")
        assert rows[0]["count"] == pytest.approx(count_one(images[0], load(WEIGHTS)).prediction.count, abs=1e-3)
        assert b"streamlit" in urllib.request.urlopen(address).read().lower()


def test_importing_the_app_launches_nothing(environment):
    code = "import gradio_app, gradio; print(isinstance(gradio_app.demo, gradio.Blocks), gradio_app.demo.is_running)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.stdout.split() == ["True", "False"], ran.stderr
