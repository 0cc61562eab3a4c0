"""Failures as pictures, and as a page or a Markdown file that holds them."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cellapp.agreement import Line, number
from cellapp.data import Dotted
from cellapp.failures import reasons
from cellapp.figure_agreement import FOUND, MISSED
from cellapp.image import preview
from cellapp.metrics import match_pairs
from cellapp.overlays import POINT_COLOUR, coloured
from cellapp.prediction import Prediction
from cellapp.weights import Weights

SIDE = 560                                                   # px, about, of the longer side of a picture
LEGEND = ("First the image with its true cells: +, or × where no detected cell lies near. Then what was predicted: the "
          "map or the outlines, with a ring on every detected cell.")
NOTHING = "Nothing in the image tells why."


@dataclass(frozen=True)
class Failure:
    """An image that was counted badly. ``true`` and ``found`` are JPEG files of the same size."""

    line: Line
    true: bytes
    found: bytes
    reasons: tuple[str, ...]

    @property
    def words(self) -> str:
        """True and predicted count, the error and the interval, in one sentence."""
        line = self.line
        error = f"{line.error:+.1f}".replace("-", "−") + (f", {100 * line.relative:.0f} %" if line.relative else "")
        text = (f"{number(line.manual, 'cells').removesuffix('.0')} true, {number(line.predicted, 'cells')} predicted "
                f"({error})")
        if line.low is None:
            return f"{text}; no interval."
        inside = "holds the truth" if line.low <= line.manual <= line.high else "misses the truth"
        return f"{text}; the interval of {number(line.low, 'cells')} to {number(line.high, 'cells')} {inside}."


def failure(item: Dotted, prediction: Prediction, line: Line, row: Weights) -> Failure:
    """Draw an image and its prediction, and look for reasons."""
    distance = line.distance or (prediction.cell_diameter or 10) / 2
    return Failure(line, _true(item, prediction, distance), _found(item, prediction),
                   tuple(reasons(item, prediction, row)))


def _true(item: Dotted, prediction: Prediction, distance: float) -> bytes:
    picture, zoom = _enlarged(np.repeat(preview(item.image)[..., None], 3, axis=2))
    if item.points is not None:
        hit = np.ones(len(item.points), bool)
        if prediction.points is not None:
            hit = np.isin(np.arange(len(item.points)), match_pairs(prediction.points, item.points, distance)[:, 1])
        _marks(picture, item.points[hit], zoom, FOUND, "+")
        _marks(picture, item.points[~hit], zoom, MISSED, "x")
    return _jpeg(picture)


def _found(item: Dotted, prediction: Prediction) -> bytes:
    import cv2

    if prediction.labels is not None:
        picture, _ = _enlarged(coloured(prediction.labels), sharp=True)
        return _jpeg(picture)
    density = prediction.density if prediction.density is not None else np.zeros(item.image.shape, np.float32)
    share = np.clip(density / max(float(np.percentile(density, 99.9)), 1e-12), 0, 1)
    picture, zoom = _enlarged(cv2.applyColorMap((255 * share).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1])
    if prediction.points is not None:
        _marks(picture, prediction.points, zoom, POINT_COLOUR, "o")
    return _jpeg(picture)


def _enlarged(picture: np.ndarray, sharp: bool = False) -> tuple[np.ndarray, float]:
    """At about `SIDE` px, and how much larger it is."""
    import cv2

    zoom = SIDE / max(picture.shape[:2])
    shape = tuple(max(1, round(side * zoom)) for side in picture.shape[1::-1])
    how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_NEAREST if sharp else cv2.INTER_CUBIC
    return np.ascontiguousarray(cv2.resize(picture, shape, interpolation=how)), zoom


def _marks(picture: np.ndarray, points: np.ndarray, zoom: float, colour: str, mark: str) -> None:
    """Marks that shrink as there are more of them, with a dark rim, so that they show on any ground."""
    import cv2

    size = 6 if len(points) < 60 else 4
    rgb = tuple(int(colour[k : k + 2], 16) for k in (1, 3, 5))
    arms = {"+": ((size, 0), (0, size)), "x": ((size, size), (size, -size))}.get(mark, ())
    thick = 2 if size > 4 else 1
    for line, width in (((20, 20, 20), thick + 2), (rgb, thick)):
        for y, x in (points + 0.5) * zoom - 0.5:
            at = round(x), round(y)
            for dx, dy in arms:
                cv2.line(picture, (at[0] - dx, at[1] - dy), (at[0] + dx, at[1] + dy), line, width, cv2.LINE_AA)
            if not arms:
                cv2.circle(picture, at, size, line, width, cv2.LINE_AA)


def _jpeg(picture: np.ndarray) -> bytes:
    from PIL import Image as Pillow

    out = io.BytesIO()
    Pillow.fromarray(picture).save(out, "JPEG", quality=80, subsampling=0)
    return out.getvalue()


_STYLE = """body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
figure { margin: 0 0 2rem; } figcaption { margin-top: .4rem; } h2 { font-size: 1.1rem; overflow-wrap: anywhere; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: .5rem; }
img { width: 100%; border-radius: 4px; } p { margin: .2rem 0; }"""


def page(title: str, about: str, failures: Sequence[Failure]) -> str:
    """One HTML file that needs no other."""
    def picture(content: bytes, words: str) -> str:
        return f'<img alt="{html.escape(words)}" src="data:image/jpeg;base64,{base64.b64encode(content).decode()}">'

    parts = []
    for one in failures:
        why = "".join(f"<p>{html.escape(text)}</p>" for text in one.reasons or (NOTHING,))
        parts.append(f"<figure><h2>{html.escape(one.line.image)}</h2><div class=pair>"
                     f"{picture(one.true, f'{one.line.image} with its true cells')}"
                     f"{picture(one.found, f'what was predicted in {one.line.image}')}</div>"
                     f"<figcaption><p><strong>{html.escape(one.words)}</strong></p>{why}</figcaption></figure>")
    return (f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
            f"<title>{html.escape(title)}</title><style>{_STYLE}</style><h1>{html.escape(title)}</h1>"
            f"<p>{html.escape(about)}</p><p>{html.escape(LEGEND)}</p>{''.join(parts)}</html>\n")


def files(title: str, about: str, failures: Sequence[Failure], name: str) -> dict[str, bytes]:
    """A Markdown file ``<name>.md`` and its pictures, in a folder of the same name in lower case."""
    found, text = {}, [f"# {title}", "", about, "", LEGEND, ""]
    for k, one in enumerate(failures, start=1):
        names = [f"{name.lower()}/{k:02d}-{side}.jpg" for side in ("true", "predicted")]
        found |= dict(zip(names, (one.true, one.found), strict=True))
        text += [f"## {_escaped(one.line.image)}", "",
                 f"![the true cells]({names[0]}) ![the prediction]({names[1]})", "", f"**{one.words}**", "",
                 *(f"- {_escaped(why)}" for why in one.reasons or (NOTHING,)), ""]
    return {f"{name}.md": "\n".join(text).encode(), **found}


def _escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|" else c for c in text)
