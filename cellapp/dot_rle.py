"""The middle of an outline that COCO codes in run lengths: column by column, first how many pixels are ground."""

import numpy as np

_SIDE = 100_000                                             # px; no image is larger


def middle_of_runs(outline: dict) -> tuple[float, float] | None:
    """(x, y) of the centre of a mask, from the corner of the image; None if it is empty.

    outline : ``{"size": [H, W], "counts": …}``, counts as numbers or in COCO's compressed text
    """
    height, width = (int(side) for side in outline["size"])
    counts = outline["counts"]
    runs = np.array(_unpacked(counts) if isinstance(counts, str) else counts, np.int64)
    ends = np.cumsum(runs)
    fits = 0 < height <= _SIDE and 0 < width <= _SIDE and (runs >= 0).all()
    if not fits or (len(ends) and ends[-1] > height * width):
        raise ValueError("the run lengths do not fit the size")
    area, x, y = 0, 0.0, 0.0
    for end, run in zip(ends[1::2].tolist(), runs[1::2].tolist(), strict=True):
        column, row = divmod(end - run, height)
        while run:                                          # a run may go on at the top of the next column
            part = min(run, height - row)
            area, x, y = area + part, x + part * (column + 0.5), y + part * (row + part / 2)
            run, column, row = run - part, column + 1, 0
    return (x / area, y / area) if area else None


def _unpacked(text: str) -> list[int]:
    """The numbers in COCO's text: five bits a letter, from the second pair on the difference to two before."""
    numbers, value, shift = [], 0, 0
    for letter in text.encode("ascii"):
        code = letter - 48
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        numbers.append(value + (numbers[-2] if len(numbers) > 2 else 0))
        value, shift = 0, 0
    return numbers
