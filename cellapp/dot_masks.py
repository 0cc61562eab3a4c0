"""Dots in pictures: masks with one pixel (or one spot) a cell, and masks with one number a cell."""

import io
from os import PathLike

import numpy as np

from cellapp.dot_model import MAX_DOTS, Content, Dots, listed, pixels_of
from cellapp.dot_pairing import IMAGE_SUFFIXES
from cellapp.errors import DotsError
from cellapp.image import read_image

_SPOT = 4                                                   # median pixels from which groups are drawn spots


def is_picture(content: Content) -> bool:
    """A picture, or what cannot be told but has the name of one: `read_image` says what is wrong with it."""
    return content.kind in ("picture", "tiff") or (
        content.kind == "text" and content.name.lower().endswith(tuple(IMAGE_SUFFIXES)))


def read_mask(content: Content) -> list[Dots]:
    """The dots of a mask.

    A dot mask gives one dot per set pixel (above half of the maximum), never one per connected component:
    touching pixels are separate cells. Where most dots were drawn as spots of several pixels, each spot is one
    cell. A label mask, with a number of its own for each cell, gives the centre of each.
    """
    image = read_image(content.source, content.name)
    grey, notes = image.pixels, []
    if grey.ndim == 3:
        grey = grey[..., 0] if grey[..., 0].any() else grey.max(axis=2)
    lossy = content.head.startswith(b"\xff\xd8\xff")
    points = None if lossy else _label_centres(grey)
    if points is not None:
        notes.append(f"A label mask: the centres of its {len(points)} labels are the dots.")
    else:
        points = _set_pixels(grey, content.name, lossy, notes)
    if len(points) > MAX_DOTS:
        raise DotsError(f"{content.name}: it has more than {MAX_DOTS:,} dots, the most read here; check that it is a "
                        "mask of dots and no photograph.")
    return [Dots(points, shape=image.shape, notes=tuple(notes))]


def read_labels(source: str | PathLike) -> np.ndarray | None:
    """The (H, W) int32 instance labels of a label mask; None if the picture is a mask of dots.

    A mask with one number only (one cell, or cells that do not touch) has a label for each connected region.
    """
    from scipy.ndimage import label

    grey = read_image(source).pixels
    if grey.ndim == 3:
        grey = grey[..., 0]
    if _label_centres(grey) is not None:
        return grey.astype(np.int32)
    values = np.unique(grey)
    regions, _ = label(grey > 0, np.ones((3, 3)))
    if len(values) != 2 or values[0] != 0 or np.median(np.bincount(regions.ravel())[1:]) < _SPOT:
        return None
    return regions.astype(np.int32)


def _label_centres(grey: np.ndarray) -> np.ndarray | None:
    """(N, 2) centres if this is a label mask: several numbers, each of them in one place of the image."""
    if grey.dtype.kind not in "iu":
        return None
    rows, columns = np.nonzero(grey > 0)
    values = grey[rows, columns]
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=values[order[:1]] - 1)) if len(values) else []
    if len(starts) < 2:
        return None
    sizes = np.diff(np.append(starts, len(values)))
    if np.median(sizes) < _SPOT:
        return None
    rows, columns = rows[order], columns[order]
    boxes = np.ones(len(starts))
    for place in (rows, columns):
        boxes *= np.maximum.reduceat(place, starts) - np.minimum.reduceat(place, starts) + 1
    if np.median(sizes / boxes) < 0.2 or sizes.sum() < 0.1 * boxes.sum():
        return None                                         # the same numbers all over the image: no labels of cells
    return np.stack([np.add.reduceat(place, starts) / sizes for place in (rows, columns)], axis=1)


def _set_pixels(grey: np.ndarray, name: str, lossy: bool, notes: list[str]) -> np.ndarray:
    from scipy.ndimage import center_of_mass, label

    top = grey.max()
    if not top:
        return np.empty((0, 2))
    mask = grey > top / 2
    number = int(np.count_nonzero(mask))
    if number > mask.size / 2 and mask.size > 100:
        raise DotsError(f"{name}: more than half of its pixels are bright, so it is no mask of dots; make the cells "
                        "bright on black.")
    faint = int(np.count_nonzero(grey)) - number
    if faint and not lossy:
        notes.append(f"{faint} pixels that are not brighter than half of the maximum are left out.")
    groups, found = label(mask, np.ones((3, 3)))
    if found == number:
        return np.argwhere(mask).astype(np.float64)
    if np.median(np.bincount(groups.ravel())[1:]) >= _SPOT:
        notes.append(f"{number} pixels in {found} spots: each spot is taken for one cell.")
        return np.array(center_of_mass(mask, groups, np.arange(1, found + 1))).reshape(-1, 2)
    notes.append(f"{number} pixels in {found} groups: each pixel is taken for one cell, also where they touch.")
    return np.argwhere(mask).astype(np.float64)


def write_mask(dots: Dots, image_name: str, shape: tuple[int, int]) -> bytes:
    """An 8-bit PNG, 255 where a cell is; refuses two dots in one pixel, which it would count as one."""
    from PIL import Image

    pixels = pixels_of(dots.points)
    unique, counts = np.unique(pixels, axis=0, return_counts=True)
    if len(unique) < len(pixels):
        twice = [f"x = {x}, y = {y}" for y, x in unique[counts > 1]]
        raise DotsError(f"{len(pixels) - len(unique)} dots share a pixel with another one ({listed(twice, 3)}), and a "
                        "mask holds one dot a pixel; choose another format, such as csv.")
    mask = np.zeros(shape, np.uint8)
    mask[tuple(pixels.T)] = 255
    out = io.BytesIO()
    Image.fromarray(mask).save(out, "PNG")
    return out.getvalue()
