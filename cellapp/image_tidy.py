"""What is done to every image once it is decoded: turned upright, and few pixels without a value filled."""

from dataclasses import replace

import numpy as np

from cellapp.errors import ImageError
from cellapp.image_files import Decoded

MAX_UNDEFINED = 0.01  # share of NaN and infinite samples above which an image is refused
SWAPPED = (5, 6, 7, 8)  # orientations whose rows are the columns of the upright image


def turn_upright(decoded: Decoded) -> Decoded:
    """Apply the EXIF or TIFF orientation (2 to 8), once."""
    turns = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a.swapaxes(0, 1)[:, ::-1],
        7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
        8: lambda a: a.swapaxes(0, 1)[::-1],
    }
    turn = turns.get(decoded.orientation)
    if turn is None:
        return decoded
    note = f"turned upright as the file's orientation mark ({decoded.orientation}) says"
    return replace(decoded, pixels=turn(decoded.pixels), orientation=1, notes=[*decoded.notes, note])


def fill_undefined(decoded: Decoded) -> Decoded:
    """Fill the few NaN, infinite and unusably large samples of each channel with its median."""
    if decoded.pixels.dtype.kind != "f":
        return decoded
    undefined = ~(np.abs(decoded.pixels) <= np.finfo(np.float32).max)
    number = int(np.count_nonzero(undefined.any(axis=2) if undefined.ndim == 3 else undefined))
    if not number:
        return decoded
    worst = float(undefined.mean(axis=(0, 1)).max())
    if worst > MAX_UNDEFINED:
        raise ImageError(
            f"{100 * worst:.3g} % of its pixels have no value (NaN or infinite) and up to 1 % are filled; "
            "crop the image or fill them in the program that made it."
        )
    pixels = decoded.pixels.copy()
    channels = np.atleast_3d(pixels)  # a view: writing to it writes to `pixels`
    for c, holes in enumerate(np.moveaxis(np.atleast_3d(undefined), 2, 0)):
        if holes.any():
            channels[:, :, c][holes] = np.median(channels[:, :, c][~holes])
    subject = "1 pixel without a value was" if number == 1 else f"{number} pixels without a value were"
    return replace(decoded, pixels=pixels, notes=[*decoded.notes, f"{subject} filled with the median"])
