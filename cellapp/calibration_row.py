"""What a row of the manifest keeps of the errors on images of known counts. Rows may come from strangers."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Size = Annotated[float, Field(ge=0, le=1e100, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Spread = tuple[Size, Size, Size]


class Row(BaseModel):
    """A part of the manifest: nothing unknown in it, nothing changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Range = tuple[float, float, float]


class Summary(Row):
    """What the training images look like: 1st, 50th and 99th percentile over them of the traits of `cellapp.likeness`.

    diameter : of the cells, estimated, px at the scale of the training
    """

    images: int
    diameter: Range
    sharpness: Range
    grain: Range
    coverage: Range
    ground: Range
    saturation: Range
    colour: Range


class SizeClass(Row):
    """The errors in regions of about one size.

    shares : smallest and largest area, of the image's
    quantile : the interval reaches so many times the spread to both sides of the count
    counts : smallest and largest true count in such a region
    """

    shares: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]]
    quantile: Size
    counts: tuple[Finite, Finite]


class RegionErrors(Row):
    """How far the counts of regions are off, from which `cellapp.regions` makes their intervals.

    images : whose dots were known; in each, rectangles were drawn at random
    spread : a, b, c of spread² = a + b · count + c · count², in cells
    sizes : from the smallest regions to the largest, without gaps
    """

    level: float = Field(gt=0, lt=1)
    images: int = Field(ge=1)
    spread: Spread
    sizes: tuple[SizeClass, ...] = Field(min_length=1, max_length=20)


class Calibration(Row):
    """How far counts are off on images of known counts, from which `cellapp.calibration` makes intervals.

    how : "split", from images that were not learnt from
    quantile : the interval reaches so many times the spread to both sides of the count
    constant : half the width of intervals that would be equally wide for all images; the measure of what a spread gains
    spread : a, b, c of spread² = a + b · count + c · count², in cells; None is the network's own standard deviation
    counts : smallest and largest true count among the images; summary : what they look like
    turned : some of them were read as negatives
    regions : the errors in parts of the images; None where their dots were not known, or too few
    """

    level: float = Field(gt=0, lt=1)
    images: int = Field(ge=1)
    data: str
    how: str
    quantile: Size
    constant: Size | None = None
    spread: Spread | None = None
    counts: tuple[Finite, Finite]
    summary: Summary | None = None
    turned: bool = False
    regions: RegionErrors | None = None
