"""The README and the docs name only what exists, and the bundled weights are what they claim."""

import re
import shlex
from pathlib import Path

import pytest

from cellapp import DEFAULT_WEIGHTS
from cellapp import weights as store
from cellapp.cli import _parser
from cellapp.verify import verify

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python -m cellapp (.+?)(?:\s+#.*)?$", README, re.MULTILINE)
ROWS = store.manifest(store.BUNDLED)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_readme_are_understood(command):
    _parser().parse_args(shlex.split(command))


def test_the_readme_lists_all_bundled_weights_with_their_scores():
    assert DEFAULT_WEIGHTS in ROWS
    for row in ROWS.values():
        line = next(line for line in README.splitlines() if line.startswith(f"| `{row.id}`"))
        assert f"{row.scores[0].mae:.2f}" in line


def test_the_architecture_names_every_module():
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for module in (ROOT / "cellapp").glob("*.py"):
        if not module.name.startswith("__"):
            assert module.name in text, f"{module.name} is not in docs/ARCHITECTURE.md"


@pytest.mark.parametrize("weights_id", ROWS)
def test_bundled_weights_give_their_known_answer(weights_id, monkeypatch):
    monkeypatch.delenv("CELLAPP_WEIGHTS", raising=False)
    row = ROWS[weights_id]
    assert abs(verify(row)) <= row.check.tolerance
    assert row.licence != "not stated"
