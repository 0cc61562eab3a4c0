"""A large image is counted in bounded memory: 4096x4096 within 2 GiB, PyTorch and all."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import resource, sys
import numpy as np, tifffile
import cellapp
from cellapp.simulate import simulate

path = sys.argv[1]
tile = simulate("vgg-cells", 3, n=170).image.astype(np.uint16) * 16
tifffile.imwrite(path, np.tile(tile, (16, 16)))
prediction = cellapp.count(path)
print(prediction.shape, prediction.count, len(prediction.points))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_a_4096_image_counts_within_2_gib(tmp_path):
    out = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "large.tif")], cwd=ROOT, check=True,
                         capture_output=True, text=True).stdout.splitlines()
    assert out[0].startswith("(4096, 4096)")
    assert int(out[1]) < 2 * 1024**3
