"""A large image is counted in bounded memory: 4096x4096 within 2 GiB, PyTorch and all."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import sys
from pathlib import Path
import numpy as np, tifffile
import cellapp
from cellapp.simulate import simulate

path = sys.argv[1]
tile = simulate("vgg-cells", 3, n=170).image.astype(np.uint16) * 16
tifffile.imwrite(path, np.tile(tile, (16, 16)))
prediction = cellapp.count(path)
print(prediction.shape, prediction.count, len(prediction.points))
# Not ru_maxrss: that one remembers how large the process was that started this one.
status = Path("/proc/self/status").read_text()
print(int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
def test_a_4096_image_counts_within_2_gib(tmp_path):
    out = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "large.tif")], cwd=ROOT, check=True,
                         capture_output=True, text=True).stdout.splitlines()
    assert out[0].startswith("(4096, 4096)")
    assert int(out[1]) < 2 * 1024**3
