"""A folder that becomes a Space on the Hugging Face Hub: the whole app in a container, or the Gradio app.

Nothing is sent anywhere: ``hf upload USER/NAME FOLDER --repo-type space`` does that.
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from cellapp import weights as store
from cellapp.errors import CellappError
from cellapp.files import write_atomic

PROJECT = Path(__file__).resolve().parent.parent
MAX_BYTES = 1_000_000_000                                    # of a Space's repository
_CODE = ("cellapp", "gradio_app.py", "examples", "LICENSE", "requirements.txt")
_CONTAINER = ("constraints.txt", "app.py", "pages", ".streamlit", "Dockerfile", ".dockerignore", "pyproject.toml")
_BESIDE = {"pydantic": "2.12.5"}                             # the newest that gradio[mcp] takes, which every Space gets
_ZERO_GPU = {"torch": "2.11.0", "torchvision": "0.26.0"}     # the newest that ZeroGPU has
_LFS = "*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


def write(folder: Path, kind: str = "gradio", weights: Sequence[str] = (), *, zero_gpu: bool = False) -> list[Path]:
    """Write the files of a Space; those that were written, relative to ``folder``.

    Parameters
    ----------
    kind : "docker" (the pages and Gradio in a container), or "gradio" (the Gradio app alone)
    weights : ids of the weights that go along; all that are installed by default
    zero_gpu : ask for a PyTorch that ZeroGPU has; with "gradio" only

    Raises
    ------
    CellappError where the folder holds something already, or where the files would be too large for the Hub.
    """
    if zero_gpu and kind != "gradio":
        raise CellappError("ZeroGPU runs Gradio only; leave out either --zero-gpu or --docker.")
    if folder.exists() and any(folder.iterdir()):
        raise CellappError(f"{folder}: this folder is not empty; give a new one.")
    rows = [store.find(name) for name in weights] or list(store.manifest().values())
    size = sum(row.bytes for row in rows)
    if size > MAX_BYTES:
        raise CellappError(f"The weights have {size / 1e9:.1f} GB, and a Space takes {MAX_BYTES / 1e9:.0f} GB; choose "
                           "some with --weights.")
    for name in (*_CODE, *(_CONTAINER if kind == "docker" else ())):
        _copy(PROJECT / name, folder / name)
    for row in rows:
        for part in row.files:
            write_atomic(folder / "weights" / part.file, store.verified_bytes(row, part))
        store.replace(row, folder / "weights")
    write_atomic(folder / ".gitattributes", _LFS)
    if kind == "gradio":
        _gradio(folder, zero_gpu)
    write_atomic(folder / "README.md", _readme(kind, _pinned("gradio")))
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, target)


def _gradio(folder: Path, zero_gpu: bool) -> None:
    """One list of versions, for a Gradio Space is built with nothing but it, and with packages of its own beside it."""
    own = _BESIDE | (_ZERO_GPU if zero_gpu else {})
    lines = []
    for line in (PROJECT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        package, _, pin = line.partition("==")
        if pin and package != "streamlit":
            lines.append(f"{package}=={own.get(package, pin)}")
    write_atomic(folder / "requirements.txt", "\n".join(lines) + "\n")


def _pinned(package: str) -> str:
    """The version that requirements.txt asks for."""
    text = (PROJECT / "requirements.txt").read_text(encoding="utf-8")
    return re.search(rf"^{package}==(\S+)$", text, re.MULTILINE)[1]


def _readme(kind: str, gradio: str) -> str:
    """The front matter of the project's own README, for this kind of Space, and where to read on."""
    front = (PROJECT / "README.md").read_text(encoding="utf-8").split("---\n")[1]
    if kind == "gradio":
        front = re.sub(r"^sdk: docker\napp_port: \d+\n",
                       f'sdk: gradio\nsdk_version: {gradio}\npython_version: "3.12"\napp_file: gradio_app.py\n', front,
                       flags=re.MULTILINE)
    return (f"---\n{front}---\n\n# cellapp\n\nCount cells in microscopy images, in your browser. Files that you give "
            "are counted in this Space and passed on to nobody.\n")
