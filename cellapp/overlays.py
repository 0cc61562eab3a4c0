"""Predictions drawn into the image at its own size, and the outlines of labels as lines.

Contrast here is for the eye only; it never reaches a network. Colours are Okabe and Ito's, which stay apart for
colour-blind readers.
"""

import io
from collections.abc import Iterator, Sequence

import numpy as np

from cellapp.figure_regions import draw_regions
from cellapp.image import Image, plane, preview
from cellapp.image_files import row_blocks
from cellapp.prediction import Prediction
from cellapp.regions import Region

POINT_COLOUR = "#E69F00"                                     # orange
OUTLINE_COLOURS = ("#E69F00", "#56B4E9", "#F0E442", "#CC79A7")  # orange, sky blue, yellow, reddish purple
_OPACITY = 0.75                                              # of the density where it is highest


def overlay(image: Image, prediction: Prediction, channel: str = "auto", *,
            regions: Sequence[Region] = ()) -> np.ndarray:
    """The image with what was counted in it: (H, W, 3) uint8, at the image's own size.

    Outlines of the cells where there are labels, else a ring on every detected cell, else the density map as a
    translucent layer; above them the regions with their names.
    """
    grey, _ = plane(image, channel)
    picture = np.repeat(preview(grey)[..., None], 3, axis=2)
    if prediction.labels is not None:
        _draw_outlines(picture, prediction.labels)
    elif prediction.points is not None:
        _draw_rings(picture, prediction.points)
    elif prediction.density is not None:
        _lay_over(picture, prediction.density)
    draw_regions(picture, regions)
    return picture


def outlines(labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Closed lines round each label of an (H, W) integer array: its number and (V, 2) float (y, x).

    Lines run on the edges of the pixels, half a pixel outside the outermost centres, with the corners cut.
    A label with holes or in several parts gives several lines.
    """
    import cv2
    from scipy.ndimage import find_objects
    from skimage.measure import find_contours

    for number, box in enumerate(find_objects(labels), start=1):
        if box is None:
            continue
        inside = np.pad(labels[box] == number, 1).astype(np.float32)
        for line in find_contours(inside, 0.5):
            # Fewer corners, at most 0.3 px away: thousands of cells must stay quick to draw.
            corners = cv2.approxPolyDP(line[:-1, None].astype(np.float32), 0.3, True)[:, 0]
            yield number, np.concatenate([corners, corners[:1]]) + np.array([box[0].start - 1, box[1].start - 1])


def coloured(labels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: every label of an (H, W) integer array in a colour, on black; cells that touch are cut apart."""
    colours = np.array([(0, 0, 0), *(_rgb(c) for c in OUTLINE_COLOURS)], np.uint8)
    picture = colours[np.where(labels > 0, (labels - 1) % len(OUTLINE_COLOURS) + 1, 0)]
    for one, other, cut in ((labels[:-1], labels[1:], picture[:-1]), (labels[:, :-1], labels[:, 1:], picture[:, :-1])):
        cut[(one != other) & (one > 0) & (other > 0)] = 0
    return picture


def png(rgb: np.ndarray) -> bytes:
    """A PNG of an (H, W) or (H, W, 3) uint8 array."""
    from PIL import Image as Pillow

    out = io.BytesIO()
    Pillow.fromarray(rgb).save(out, "PNG")
    return out.getvalue()


def _rgb(colour: str) -> tuple[int, int, int]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def _draw_outlines(picture: np.ndarray, labels: np.ndarray) -> None:
    from skimage.segmentation import find_boundaries

    edge = find_boundaries(labels, mode="inner")
    colours = np.array([_rgb(c) for c in OUTLINE_COLOURS], np.uint8)
    picture[edge] = colours[(labels[edge] - 1) % len(colours)]


def _draw_rings(picture: np.ndarray, points: np.ndarray) -> None:
    import cv2

    radius = max(3, round(max(picture.shape) / 250))
    shift = 4                                                # cv2 takes positions in 1/16 px
    for y, x in np.asarray(points).reshape(-1, 2):
        centre = round(x * 2**shift), round(y * 2**shift)
        cv2.circle(picture, centre, radius << shift, (20, 20, 20), 3, cv2.LINE_AA, shift)
        cv2.circle(picture, centre, radius << shift, _rgb(POINT_COLOUR), 1, cv2.LINE_AA, shift)


def _lay_over(picture: np.ndarray, density: np.ndarray) -> None:
    """Viridis over the picture, the more opaque the more cells there are; nothing where there are none."""
    import cv2

    top = float(density.max(initial=0.0))
    if top <= 0:
        return
    for rows in row_blocks(picture):
        share = np.clip(density[rows] / top, 0, 1)
        tint = cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
        alpha = (_OPACITY * np.sqrt(share))[..., None]       # the root lets faint parts be seen
        picture[rows] = np.rint(picture[rows] * (1 - alpha) + tint * alpha)
