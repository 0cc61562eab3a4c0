"""The house stays as it was drawn: one direction of imports, a headless core, no pickles, short pages."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "cellapp"
CORE = sorted(path for path in PACKAGE.rglob("*.py") if PACKAGE / "ui" not in path.parents)
NETWORKS = sorted((PACKAGE / "networks").glob("*.py"))
PAGES = sorted((ROOT / "pages").glob("*.py"))
EVERYTHING = [*PACKAGE.rglob("*.py"), *PAGES, *ROOT.glob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
ARITHMETIC = {"numpy", "torch", "scipy", "cv2", "skimage"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path, *, deep: bool = True) -> set[str]:
    """Dotted names of all that a file imports; with ``deep`` also inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree) if deep else tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide which room they lead to"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("import_module", "importlib.import_module",
                                                                       "__import__"):
            names |= {word.value for word in ast.walk(node) if isinstance(word, ast.Constant)
                      and isinstance(word.value, str)}
    return names


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def test_the_walk_sees_imports_inside_functions(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("import a.b\ndef f():\n    from c.d import e\n    return __import__('g')\n")
    assert imports(path) == {"a.b", "c.d", "c.d.e", "g"}
    assert len(CORE) > 15
    assert PAGES
    assert NETWORKS


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_knows_no_user_interface(path):
    assert not tops(path) & {"streamlit", "gradio", "starlette", "fastapi"}
    assert not [name for name in imports(path) if name.startswith("cellapp.ui")]


@pytest.mark.parametrize("path", NETWORKS, ids=name_of)
def test_networks_know_torch_alone(path):
    outside = {name for name in imports(path) if name.split(".")[0] not in sys.stdlib_module_names}
    known = ("torch", "torchvision")
    assert all(name.split(".")[0] in known or name.startswith("cellapp.networks") for name in outside), outside


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_pages_are_short_and_do_no_arithmetic(path):
    assert tops(path) - sys.stdlib_module_names <= {"streamlit", "cellapp"}
    assert not tops(path) & ARITHMETIC
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 80


def test_imports_run_in_one_direction():
    """The modules of the package can be put in an order in which each imports only those before it."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
               for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    waiting = {name: {other for other in imports(path, deep=False) if other in modules} - {name}
               for name, path in modules.items()}
    while ready := {name for name, needs in waiting.items() if not needs & waiting.keys()}:
        for name in ready:
            del waiting[name]
    assert not waiting, f"these import each other: {waiting}"


@pytest.mark.parametrize("path", EVERYTHING, ids=name_of)
def test_nothing_unpickles(path):
    assert not tops(path) & {"pickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        assert called not in ("torch.load", "torch.jit.load", "torch.hub.load", "eval", "exec", "os.system"), called
        for keyword in node.keywords:
            assert not (keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False"), called
            assert not (keyword.arg == "shell" and ast.unparse(keyword.value) != "False"), called
            assert not (keyword.arg == "strict" and called.endswith("load_state_dict")
                        and ast.unparse(keyword.value) != "True"), called


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}).stdout.strip()


def test_importing_cellapp_is_cheap_and_its_names_are_there():
    heavy = "{'torch', 'numpy', 'scipy', 'cv2', 'pandas', 'plotly', 'streamlit', 'pydantic'}"
    assert run(f"import sys, cellapp; print(sorted({heavy} & sys.modules.keys()))") == "[]"
    names = run("import cellapp; print(all(getattr(cellapp, name) is not None for name in cellapp.__all__))")
    assert names == "True"


def test_a_name_that_is_not_there_is_an_attribute_error():
    import cellapp

    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        _ = cellapp.no_such_name


def test_the_first_page_needs_no_torch():
    """What the server and its pages import before there is an image; torch would keep the first visitor waiting."""
    pages = "canvas, compare_form, count_files, count_form, exports, viewport, visit"
    assert run(f"import sys; from cellapp.ui import {pages}; print('torch' in sys.modules)") == "False"
