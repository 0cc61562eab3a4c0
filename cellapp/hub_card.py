"""The model card of weights on the Hub, made from their manifest row and, where there is one, from their training."""

import io
import re
from dataclasses import dataclass

import numpy as np
from huggingface_hub import EvalResult, ModelCardData

from cellapp.agreement import FEWEST, LEVEL, Line, figures, number
from cellapp.hub_config import title
from cellapp.likeness import reach
from cellapp.methods import METHODS
from cellapp.probe import probe
from cellapp.train_jobs import Job
from cellapp.weights import Hub, Weights

NAME = "README.md"
FIGURE = "before_after.png"
TAG = "cellapp"
LICENCES = {"MIT": "mit", "Apache 2.0": "apache-2.0", "CC0": "cc0-1.0", "CC BY 4.0": "cc-by-4.0",
            "CC BY-SA 4.0": "cc-by-sa-4.0", "CC BY-NC 4.0": "cc-by-nc-4.0"}    # their names on the Hub
_SIDE = 640                                                  # px of the figure


@dataclass(frozen=True)
class Run:
    """What a training tells of itself on a card; no names of images.

    lines : of the images kept back: counts by hand, before (None: from scratch) and after
    learnt : images it learnt from
    pixel_um : smallest and largest width of a pixel that the image files state, None where none does
    """

    lines: tuple[tuple[float, float | None, float], ...]
    learnt: int
    pixel_um: tuple[float, float] | None


def run_of(job: Job) -> Run:
    """Read a finished training's folder."""
    items = job.spec().items
    images = (job.result() or {}).get("images", [])
    sizes = [size for item in items if (size := probe(job.folder / "images" / item.file, item.name).pixel_size_um)]
    return Run(tuple((one["manual"], one["before"], one["after"]) for one in images),
               sum(item.side == "learn" for item in items), (min(sizes), max(sizes)) if sizes else None)


def card(row: Weights, repo: str, licence: str, run: Run | None = None, parent: Hub | None = None) -> str:
    """``README.md``: the metadata that the Hub reads, and what people need to know before they count with it."""
    sections = [f"# {_line(title(row))}", _about(row), _use(row, repo), _data(row, licence, run), _measured(row, run),
                _limits(row)]
    return f"---\n{_metadata(row, repo, licence, parent)}\n---\n\n" + "\n\n".join(sections) + "\n"


def _metadata(row: Weights, repo: str, licence: str, parent: Hub | None) -> str:
    known = LICENCES.get(licence)
    words = re.sub(r"[^a-z0-9]+", "-", licence.lower()).strip("-")[:60]
    results = [EvalResult(task_type="other", task_name="cell counting", dataset_type=_slug(score.data),
                          dataset_name=_line(score.data), metric_type=kind, metric_name=words_of, metric_value=value)
               for score in row.scores for kind, words_of, value in (
                   ("mae", "mean absolute error (cells per image)", score.mae),
                   ("bias", "bias (cells per image)", score.bias), ("r2", "R²", score.r2),
                   ("f1", "F1 of cells", score.f1))
               if value is not None]
    about = {"library_name": "cellapp", "tags": [TAG, "cell-counting", "microscopy", row.method],
             "license": known or "other", "license_name": None if known else words or "not-stated",
             "base_model": parent.repo if parent else row.hub.repo if row.hub else None}
    if results:
        about |= {"model_name": repo.partition("/")[2], "eval_results": results}
    return ModelCardData(**about).to_yaml()


def _about(row: Weights) -> str:
    method = METHODS[row.method]
    return (f"Weights that count cells in microscopy images with **{method.title}** ({method.source}), for "
            f"[cellapp](https://huggingface.co/models?other={TAG}). {method.meaning}")


def _use(row: Weights, repo: str) -> str:
    low, high = reach(row)
    return (f"## Use\n\n```sh\npython -m cellapp weights pull {repo}\n```\n\n"
            f"Meant for cells {row.input.polarity}, {low:.0f} to {high:.0f} px across in your image; cellapp brings "
            f"them to the {row.input.cell_diameter:.0f} px of the training. The files are safetensors, and their "
            "`config.json` keeps a known answer, which is counted before they are installed. Not meant for diagnosis: "
            "compare with counts by hand on images of your own first.")


def _data(row: Weights, licence: str, run: Run | None) -> str:
    lines = [f"- Trained on: {_line(row.trained_on)}"]
    if row.parent:
        lines.append(f"- Began with: {_line(row.parent)}")
    if run is not None:
        lines.append(f"- Images learnt from: {run.learnt}; kept back to choose the epoch: {len(run.lines)}")
    if row.summary is not None:
        low, typical, high = row.summary.diameter
        lines.append(f"- Cells in the training images, at its scale: {low:.1f} to {high:.1f} px across, "
                     f"{typical:.1f} px typically")
    if row.input.image_diameter:
        lines.append(f"- Cells in the images as they came: {row.input.image_diameter:.1f} px across")
    pixel = "not stated by the images" if run is None or run.pixel_um is None else (
        f"{run.pixel_um[0]:.3g} µm" if run.pixel_um[0] == run.pixel_um[1] else
        f"{run.pixel_um[0]:.3g} to {run.pixel_um[1]:.3g} µm")
    lines += [f"- Pixel size: {pixel}", f"- Licence: {_line(licence)}"]
    return "## Data\n\n" + "\n".join(lines)


def _measured(row: Weights, run: Run | None) -> str:
    text = ["## Measured", ""]
    if run is not None and run.lines:
        text += [_held_out(run), "", f"![Counts by hand against predicted ones]({FIGURE})", ""]
    if row.scores:
        text += ["| data | images | MAE (cells) | bias (cells) |", "|---|---:|---:|---:|"]
        text += [f"| {_line(s.data)} | {s.images} | {number(s.mae, 'cells')} | {number(s.bias, 'cells')} |"
                 for s in row.scores]
    elif run is None:
        text.append("Nothing has been measured with these weights yet.")
    return "\n".join(text).rstrip()


def _held_out(run: Run) -> str:
    """The error on the images kept back, before and after, with intervals where there are images enough."""
    words = []
    for k, when in ((1, "before"), (2, "after")):
        if run.lines[0][k] is None:
            continue
        mae = figures([Line(str(n), line[0], line[k]) for n, line in enumerate(run.lines)])["mae"]
        low, high = number(mae.low, "cells"), number(mae.high, "cells")
        ends = "" if mae.low is None else f", {LEVEL:.0%} interval {low} to {high}"
        words.append(f"{number(mae.value, 'cells')} cells per image {when} the training{ends}")
    few = f" Fewer than {FEWEST} images tell little." if len(run.lines) < FEWEST else ""
    return (f"Mean absolute error on the {len(run.lines)} images kept back, which also chose the epoch: "
            f"{'; '.join(words)}.{few}")


def _limits(row: Weights) -> str:
    return ("## Limits\n\nImages unlike those of the training (other stains, blur, noise, cells much smaller or "
            "larger) are often miscounted; cellapp warns of them where it can. A count is an estimate: look at the map "
            "beside the image.")


def figure(run: Run) -> bytes:
    """PNG of counts by hand (across) against predicted ones (up): hollow before the training, full after it."""
    from PIL import Image, ImageDraw, ImageFont

    fine, rim = 2 * _SIDE, 140                               # drawn twice as large, then halved: smooth edges
    top = max(1.0, *(value for line in run.lines for value in line if value is not None)) * 1.08
    picture = Image.new("RGB", (fine, fine), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(30)

    def place(by_hand: float, predicted: float) -> tuple[float, float]:
        span = fine - 1.6 * rim
        return rim + by_hand / top * span, fine - rim - max(0.0, predicted) / top * span

    draw.line([place(0, 0), place(top, top)], fill="#b0b7c3", width=3)
    draw.line([place(0, top), place(0, 0), place(top, 0)], fill="#4b5563", width=3)
    step = 10 ** np.floor(np.log10(top / 2))
    step *= next(k for k in (1, 2, 5) if top / (step * k) <= 6)
    for tick in np.arange(step, top, step):
        draw.text((place(tick, 0)[0], fine - rim + 16), f"{tick:g}", "#4b5563", font, "ma")
        draw.text((rim - 16, place(0, tick)[1]), f"{tick:g}", "#4b5563", font, "rm")
    draw.text((fine / 2, fine - 24), "counted by hand (cells)", "#111827", font, "ms")
    draw.text((rim, 40), "predicted (cells); hollow: before, full: after", "#111827", font, "lm")
    for by_hand, before, after in run.lines:
        for value, fill in ((before, None), (after, "#2563eb")):
            if value is not None:
                x, y = place(by_hand, value)
                draw.ellipse([x - 13, y - 13, x + 13, y + 13], fill, "#2563eb", 4)
    out = io.BytesIO()
    picture.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS).save(out, "PNG")
    return out.getvalue()


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:80] or "images"


def _line(text: str) -> str:
    """A text of the manifest on one line of Markdown, without meaning there."""
    flat = " ".join(text.split())
    return "".join("\\" + c if c in "\\`*_[]<>|" else c for c in flat)
