"""Weights to take away."""

import io
import zipfile
from pathlib import Path

from cellapp import weights as store


def packed(row: store.Weights, where: Path | None) -> bytes:
    """A zip of safetensors files and their manifest: a folder that CELLAPP_WEIGHTS can name."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as box:
        box.writestr(store.MANIFEST, f"[{row.model_dump_json(indent=2)}]\n")
        for part in row.files:
            box.writestr(part.file, store.verified_bytes(row, part, where))
    return out.getvalue()
