"""Weights on the Hub from the command line, each in a process of its own, which reads the Hub's address first."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT
from hub_fixtures import ALICE, EXAMPLES

from cellapp.image import read_image
from cellapp.methods import load

pytest_plugins = ["hub_fixtures"]


@pytest.fixture
def cellapp(server, tmp_path):
    """Run a command; (exit code, JSON lines, the rest)."""

    def run(folder, *arguments, token=ALICE):
        environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": token,
                       "CELLAPP_WEIGHTS": str(folder), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-m", "cellapp", *map(str, arguments), "--json"], cwd=ROOT,
                              env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=250)
        assert "secret" not in done.stdout + done.stderr
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr

    return run


def test_push_search_pull_and_count(cellapp, server, mine, tmp_path):
    listed = cellapp(mine, "weights", "push", "own/mine", "alice/cells", "--dry-run")[1]
    assert [row["file"] for row in listed] == ["model.safetensors", "config.json", "README.md"]
    assert not server.repos
    code, _, said = cellapp(mine, "weights", "push", "own/mine", "alice/cells")
    assert code == 2, "nobody could be asked"
    assert "Nothing was pushed; answer y, or give --yes." in said
    code, (there,), _ = cellapp(mine, "weights", "push", "own/mine", "alice/cells", "--yes", "--public")
    assert code == 0
    assert not server.repos["alice/cells"].private
    assert cellapp(mine, "weights", "search", "cells", token="")[1][0]["repo"] == "alice/cells"
    elsewhere = tmp_path / "elsewhere"
    code, (row,), said = cellapp(elsewhere, "weights", "pull", f"alice/cells@{there['revision']}", token="")
    assert code == 0, said
    assert row["hub"] == {"repo": "alice/cells", "revision": there["revision"]}
    path = EXAMPLES / "vgg-cells-1-000.png"
    code, (counted,), said = cellapp(elsewhere, "count", path, "--weights", row["id"])
    assert code == 0, said
    here = load("own/mine", "cpu", mine).predict(read_image(path)).count
    assert counted["count"] == pytest.approx(here, rel=1e-6)
    code, rows, said = cellapp(elsewhere, "weights", "pull", "alice/none", token="")
    assert (code, rows) == (2, [])
    assert said.startswith("cellapp: There is no repository alice/none on the Hub")
