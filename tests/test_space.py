"""The container and the folders of Spaces: what they name exists, starts, and tells no secret."""

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from cellapp import weights as store
from cellapp.cli import main
from cellapp.errors import CellappError
from cellapp.space import write
from cellapp.ui import serve

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
STEPS = [line.partition(" ")[::2] for line in DOCKERFILE.splitlines() if re.match(r"[A-Z]+ ", line)]
LAST = STEPS[[k for k, (word, _) in enumerate(STEPS) if word == "FROM"][-1]:]


def values(word: str, steps=STEPS) -> list[str]:
    return [rest for name, rest in steps if name == word]


def test_every_file_the_container_copies_is_there_and_not_ignored():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for step in values("COPY"):
        words = [word for word in shlex.split(step) if not word.startswith("--")]
        for source in words[:-1] if "--from=packages" not in step else ():
            assert (ROOT / source).exists(), source
            assert source not in ignored
    needed = ("app.py", "gradio_app.py", "pages", "cellapp", "weights", "examples", ".streamlit")
    assert not set(needed) & set(ignored)
    assert {".git", "tests", ".env"} <= set(ignored)


def test_the_container_runs_as_nobody_special_and_tells_no_secret():
    assert values("USER", LAST) == ["1000"]
    assert LAST.index(("USER", "1000")) < next(k for k, (word, _) in enumerate(LAST) if word == "CMD")
    assert "--uid 1000" in values("RUN", LAST)[0]
    assert all("--chown=1000:1000" in step for step in values("COPY", LAST) if "--from" not in step)
    assert not re.search(r"(?i)token|password|secret|api_?key|hf_[a-z0-9]{20}", DOCKERFILE)
    assert not re.search(r"apt-get|sudo|curl|wget|build-essential|gcc", DOCKERFILE)
    assert all(":latest" not in image and ":" in image for image in values("FROM"))
    assert all("--only-binary=:all:" in step for step in values("RUN") if "pip install" in step)


def test_ports_and_commands_of_the_container_are_those_of_the_app():
    environment = dict(pair.split("=", 1) for step in values("ENV", LAST) for pair in shlex.split(step))
    front = (ROOT / "README.md").read_text(encoding="utf-8").split("---\n")[1]
    assert f"app_port: {environment['PORT']}" in front and "sdk: docker" in front
    assert environment["PORT"] in values("EXPOSE")[0].split()
    command, health = json.loads(values("CMD")[-1]), json.loads(values("HEALTHCHECK")[0].partition(" CMD ")[2])
    for words in (command, health):
        assert words[:2] == ["python", "-m"] and importlib.util.find_spec(words[2])
    assert health[3:] == ["--check"]
    assert environment["HOME"] == "/home/user" and environment["CELLAPP_WORKSPACES"].startswith("/home/user/")


def test_one_variable_chooses_the_user_interface():
    line = serve.command({"PORT": "8501"})
    assert line[2:5] == ["streamlit", "run", "app.py"] and "--server.port=8501" in line
    assert not [flag for flag in line if "Xsrf" in flag]
    assert "--server.enableXsrfProtection=false" in serve.command({"SPACE_ID": "a/b"})
    assert serve.command({"CELLAPP_UI": "gradio"})[1] == "gradio_app.py"
    assert serve.settings({"CELLAPP_UI": "gradio"})["GRADIO_SERVER_PORT"] == "7860"
    with pytest.raises(SystemExit, match="CELLAPP_UI=shiny: there is no such user interface"):
        serve.command({"CELLAPP_UI": "shiny"})
    assert serve.check({"PORT": "1"}) == 1


def test_the_flags_are_streamlits_own():
    from streamlit import config

    for flag in serve.command({"SPACE_ID": "a/b"})[5:]:
        name = flag.removeprefix("--").partition("=")[0]
        assert name in config.get_config_options()


@pytest.fixture
def space(tiny_weights, tmp_path, capsys) -> Path:
    folder = tmp_path / "space"
    assert main(["space", str(folder), "--weights", "fcrn-a/untrained", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "gradio"
    return folder


def test_a_gradio_space_holds_all_that_its_app_needs(space):
    readme = (space / "README.md").read_text(encoding="utf-8")
    assert "sdk: gradio\nsdk_version: 6.31.0\n" in readme and "app_file: gradio_app.py" in readme
    assert "docker" not in readme and "app_port" not in readme
    asked = (space / "requirements.txt").read_text(encoding="utf-8")
    assert "streamlit" not in asked and "-c " not in asked and "torch==" in asked
    assert list(store.manifest(space / "weights")) == ["fcrn-a/untrained"]
    # The pages' own package is not installed there, so it must not be asked for.
    code = ("import sys; sys.modules['streamlit'] = None; import gradio_app as app; "
            "print(sorted(app.demo.get_api_info()['named_endpoints']), app.__file__)")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(space.parent), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
                   "CELLAPP_WORKSPACES": str(space.parent / "visits"), "GRADIO_ANALYTICS_ENABLED": "False"}
    ran = subprocess.run([sys.executable, "-c", code], cwd=space, env=environment, capture_output=True, text=True)
    assert "'/count'" in ran.stdout and str(space) in ran.stdout, ran.stderr


def test_a_docker_space_and_one_with_zero_gpu(tiny_weights, tmp_path):
    write(tmp_path / "docker", "docker", ["fcrn-a/untrained"])
    assert (tmp_path / "docker" / "README.md").read_text(encoding="utf-8").startswith("---\ntitle: cellapp\n")
    for name in ("app.py", "pages/count.py", "Dockerfile", ".streamlit/config.toml", "cellapp/ui/canvas/canvas.js"):
        assert (tmp_path / "docker" / name).read_bytes() == (ROOT / name).read_bytes()
    write(tmp_path / "zero", "gradio", ["fcrn-a/untrained"], zero_gpu=True)
    assert "torch==2.11.0\n" in (tmp_path / "zero" / "requirements.txt").read_text(encoding="utf-8")
    with pytest.raises(CellappError, match="not empty"):
        write(tmp_path / "zero")
    with pytest.raises(CellappError, match="ZeroGPU runs Gradio only"):
        write(tmp_path / "other", "docker", zero_gpu=True)
    with pytest.raises(CellappError, match="no weights called"):
        write(tmp_path / "none", weights=["no/such"])
    assert not (tmp_path / "none").exists()
