"""Every bundled method is fine-tuned through a job, from the data it takes, to weights that load, count and say whence.
"""

import hashlib

import numpy as np
import pytest
from PIL import Image as PillowImage

from cellapp import train_jobs, train_work
from cellapp import weights as store
from cellapp.manual import match
from cellapp.methods import METHODS, load
from cellapp.simulate import simulate
from cellapp.train_defaults import defaults, parts
from cellapp.train_spec import Given, needs, usable
from cellapp.train_worker import main

pytestmark = pytest.mark.usefixtures("one_thread")
PRESETS = {"fcn": "nuclei", "fpn-vgg11": "bbbc005"}
TABLE = "image,count\n0.png,{}\n1.png,{}\n2.png,{}\n"


def bundled() -> list:
    """The first row of each method with each part that can be trained; patch networks from dots and from masks."""
    rows, cases, heads = {}, [], 0
    for row in store.manifest(store.BUNDLED).values():
        rows.setdefault(row.method, row)
    for method, row in rows.items():
        for part in parts(method):
            heads += part == "head"
            if part == "head" and heads > 1:
                continue                                     # one is enough; these networks are slow
            kind = {"dots": "masks" if part == "head" else "dots", "outlines": "masks", "counts": "table"}[
                needs(method, part)]
            cases.append(pytest.param(row, part, kind, id=f"{method}-{part}-{kind}"))
    return cases


def pictures(folder, row, kind: str) -> list[Given]:
    """Three small images with their truth of one kind, as the page gives it."""
    side = (96, 128) if row.method == "fpn-vgg11" else (64, 72)
    scenes = [simulate(PRESETS.get(row.method, "vgg-cells"), 9, k, size=side) for k in range(3)]
    table = TABLE.format(*(len(scene.points) for scene in scenes)).encode()
    counts = match([f"{k}.png" for k in range(3)], [("counts.csv", table)]).found
    made = []
    for k, scene in enumerate(scenes):
        path = folder / f"{k}.png"
        PillowImage.fromarray(scene.image).save(path)
        truth = {"dots": {"points": scene.points}, "masks": {"labels": scene.labels},
                 "table": {"count": counts[path.name].count}}[kind]
        made.append(Given(path.name, path, hashlib.sha256(path.read_bytes()).hexdigest(),
                          {"cell_diameter": row.input.cell_diameter}, **truth))
    return made


@pytest.mark.parametrize(("row", "part", "kind"), bundled())
def test_a_bundled_method_is_fine_tuned(row, part, kind, queue, tmp_path):
    given = pictures(tmp_path, row, kind)
    assert all(usable(one, needs(row.method, part)) for one in given)
    few = {"part": part, "epochs": 2, "steps": 2, "batch": 2, "warmup": 1}
    config = defaults(row.method, row).model_copy(update=few)
    if METHODS[row.method].stride > 1 or row.method == "count-ception":
        config = config.model_copy(update={"crop": 48})
    job = train_jobs.create(tmp_path / "jobs", given, ["learn", "learn", "check"], id="own/mine", title="mine",
                            trained_on="2 images", start=row.id, out_folder=tmp_path / "out",
                            config=config.model_dump(), device="cpu")
    assert main(job.folder) == 0, (job.state().message, job.log())
    new = store.find("own/mine", tmp_path / "out")
    assert (new.parent, new.method, new.build, new.map_scale) == (row.id, row.method, row.build, row.map_scale)
    assert new.training["n_train"] == 2 and new.training["n_val"] == 1 and new.summary.images == 3
    counter = load("own/mine", "cpu", tmp_path / "out")
    image, options = train_work.open_image(given[2])
    count = counter.predict(image, options).count
    assert np.isfinite(count) and np.isfinite(new.check.count)
    before, after = store.read_state(row), store.read_state(new, tmp_path / "out")
    assert any(not np.array_equal(before[name], after[name]) for name in before), "it has learnt something"
    if part == "mask":
        assert new.scores == () and job.result() is None, "a mask by itself counts nothing yet"
        return
    [result] = job.result()["images"]
    assert result["manual"] == given[2].cells
    assert result["after"] == pytest.approx(count) and np.isfinite(result["before"])
    assert new.scores[0].mae == pytest.approx(abs(count - given[2].cells), abs=1e-3)
