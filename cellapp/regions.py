"""Parts of an image that are counted by themselves: boxes, polygons, the squares of a counting chamber.

A region never changes a prediction: its count is read from what the method said about the whole image, so drawing
another one needs no further counting.

- Density map: the sum of the map, every pixel weighted with the exact part of it that lies in the region. Parts that
  make up a whole sum to the whole's count.
- Labels, or points without a map: the cells whose centre lies inside. A centre on the upper or left border is inside,
  one on the lower or right border is not, so neighbours count each cell once.
- A method that gives no more than a number: no count.

**Intervals.** A method's interval is that of its count of the whole image. A region has one of its own where the errors
in parts of images are known (`cellapp.region_calibration`), the image is like those, and the region is as large and
holds as many cells as parts that were measured there; else a note says why it has none. It holds for each region by
itself: of 20 regions one may well lie outside, and the interval of several together is not the sum of theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cellapp.conformal import BEYOND, deviation
from cellapp.errors import RegionError
from cellapp.prediction import Interval, Prediction
from cellapp.region_geometry import coverage, inside

MAX_CORNERS = 20_000                                         # of one outline
Border = Literal["centre", "two sides"]


@dataclass(frozen=True, eq=False)
class Region:
    """A named polygon.

    Attributes
    ----------
    kind : "box", if its sides are those of an upright rectangle, or "polygon"
    outline : (N, 2) float64, corners (y, x) in pixels of the image, pixel centres at integers, in either sense, the
        first one not repeated; read-only
    """

    name: str
    kind: str
    outline: np.ndarray

    def __post_init__(self):
        outline = np.array(self.outline, np.float64).reshape(-1, 2)
        if len(outline) > 1 and (outline[0] == outline[-1]).all():
            outline = outline[:-1].copy()
        outline.flags.writeable = False
        object.__setattr__(self, "outline", outline)

    def __eq__(self, other) -> bool:
        return isinstance(other, Region) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple:
        return self.name, self.kind, self.outline.tobytes()

    def to_dict(self) -> dict:
        """For JSON."""
        return {"name": self.name, "kind": self.kind, "outline": self.outline.tolist()}

    @classmethod
    def from_dict(cls, values: dict) -> "Region":
        """What `to_dict` gave; anything else is a `RegionError`."""
        try:
            return cls(str(values["name"]), str(values["kind"]), values["outline"])
        except (TypeError, ValueError, KeyError) as error:
            raise RegionError("A region in the saved settings is damaged; draw the regions again.") from error


@dataclass(frozen=True)
class RegionCount:
    """What was counted in one region.

    Attributes
    ----------
    count : None where the method says nothing about parts of the image, or the region is unusable
    low, high, level : of the interval; None where nothing is known of the error, then `note` says why
    area_px : px² of the region inside the image
    area_um2, density_per_mm2 : None where the pixel size is not known
    note : sentences for the user, or ""
    """

    name: str
    count: float | None
    low: float | None
    high: float | None
    level: float | None
    area_px: float
    area_um2: float | None
    density_per_mm2: float | None
    note: str = ""


def box(name: str, top: float, left: float, bottom: float, right: float) -> Region:
    """An upright rectangle; pixel (y, x) alone is the box from y - 0.5, x - 0.5 to y + 0.5, x + 0.5."""
    return Region(name, "box", [(top, left), (top, right), (bottom, right), (bottom, left)])


def check(region: Region, shape: tuple[int, int] | None = None) -> Region:
    """The region if it encloses something, inside an image of this (H, W) if one is given; else `RegionError`."""
    import shapely

    outline, who = region.outline, f"Region {region.name!r}"
    if len(outline) > MAX_CORNERS:
        raise RegionError(f"{who} has {len(outline):,} corners, more than the {MAX_CORNERS:,} read here; simplify it.")
    if not np.isfinite(outline).all():
        raise RegionError(f"{who} has a corner that is no number; draw it again.")
    if len(np.unique(outline, axis=0)) < 3:
        raise RegionError(f"{who} has fewer than three corners, so it encloses nothing; draw it again.")
    polygon = shapely.Polygon(outline)
    if polygon.convex_hull.area < 1e-6:
        raise RegionError(f"{who} has no area: its corners lie on one line; draw it again.")
    if not polygon.is_valid:
        where = shapely.is_valid_reason(polygon).partition("[")[2].rstrip("]").split()
        at = " at x = {:.0f}, y = {:.0f}".format(*map(float, where[::-1])) if len(where) == 2 else ""
        raise RegionError(f"The outline of region {region.name!r} crosses or touches itself{at}; draw it again "
                          "without crossings, or as two regions.")
    if shape is not None and not polygon.intersection(shapely.box(-0.5, -0.5, shape[0] - 0.5, shape[1] - 0.5)).area:
        raise RegionError(f"{who} lies outside the image of {shape[1]}×{shape[0]} px; move it or draw it again.")
    return region


def measure(prediction: Prediction, region: Region, pixel_size_um: float | None = None, *,
            border: Border = "centre") -> RegionCount:
    """Count one region of an image that has been counted.

    Parameters
    ----------
    pixel_size_um : µm per pixel, where it is known
    border : for rectangles and cells found one by one: "centre" counts a cell where its centre is; "two sides" is the
        rule of counting chambers: a cell that touches the upper or left side counts, one that touches the lower or
        right side does not. (It takes outlines, or else circles of the cells' diameter.) Other regions, and density
        maps, which share a cell on a border out, are counted as with "centre".

    A region that cannot be used gives a count of None and a note, so that one of them never stops a batch.
    """
    try:
        check(region, prediction.shape)
    except RegionError as error:
        return RegionCount(region.name, None, None, None, None, 0.0, None, None, str(error))
    total, area = 0.0, 0.0
    for place, part in coverage(region.outline, prediction.shape):
        area += float(part.sum())
        if prediction.density is not None:
            total += float((prediction.density[place] * part).sum())
    pixels = prediction.shape[0] * prediction.shape[1]
    whole = area >= pixels * (1 - 1e-9)
    notes, interval = _notes(prediction, region, area, whole), prediction.interval if whole else None
    count: float | None = total
    by_centre = True
    if whole:
        count = prediction.count
    elif prediction.density is None or prediction.labels is not None:
        places = _places(prediction, region, border)
        count = None if places is None else float(inside(places, region.outline).sum())
        by_centre = places is prediction.points
    if not whole and count is not None:
        interval, note = _interval(prediction, count, area / pixels, by_centre)
        notes += [note] if note else []
    um2 = area * pixel_size_um**2 if pixel_size_um else None
    return RegionCount(region.name, count, interval and interval.low, interval and interval.high,
                       interval and interval.level, area, um2,
                       count / (um2 / 1e6) if um2 and count is not None else None, " ".join(notes))


def _notes(prediction: Prediction, region: Region, area: float, whole: bool) -> list[str]:
    import shapely

    notes, drawn = [], shapely.Polygon(region.outline).area
    if area < drawn * (1 - 1e-6):
        notes.append(f"{100 * (1 - area / drawn):.3g} % of region {region.name!r} lie outside the image and are left "
                     "out.")
    if prediction.density is None and prediction.points is None and not whole:
        notes.append("This method gives one number for the whole image, so it says nothing about a region.")
    return notes


def _interval(prediction: Prediction, count: float, share: float, by_centre: bool) -> tuple[Interval | None, str]:
    """The interval of a count in this share of the image, or None and why; "" if the image has none of itself.

    by_centre : cells were counted where their centre is, as for the errors that are known
    """
    known = prediction.region_errors
    if known is None:
        return None, prediction.outside or ("The interval is that of the whole image; how far these weights are off in "
                                            "parts of it is not known." if prediction.interval else "")
    if not by_centre:
        return None, "No interval: errors are known of cells counted by their centres, not by two sides of a square."
    size = next((size for size in known.sizes if size.shares[0] <= share <= size.shares[1]), None)
    if size is None:
        least, most = (100 * end for end in (known.sizes[0].shares[0], known.sizes[-1].shares[1]))
        return None, (f"No interval: the region is {100 * share:.2g} % of the image, and errors are known of regions "
                      f"of {least:.3g} to {most:.3g} %.")
    low, high = size.counts
    if not low - BEYOND * (high - low) <= count <= high + BEYOND * (high - low):
        return None, (f"No interval: {'fewer' if count < low else 'more'} cells than in the regions of its size of "
                      f"which errors are known ({low:,.0f} to {high:,.0f}).")
    reach = size.quantile * float(deviation(known.spread, count))
    return Interval(max(0.0, count - reach), max(0.0, count + reach), known.level, "conformal"), ""


def _places(prediction: Prediction, region: Region, border: Border) -> np.ndarray | None:
    """(N, 2) the point of each cell that decides where it counts; None where single cells are not known."""
    points = prediction.points
    axes = _axes_of(region.outline) if border == "two sides" else None
    if points is None or axes is None:
        return points
    # Beyond neither the lower nor the right side, seen from the rectangle: the lower right corner of the cell's own
    # rectangle, turned alike, lies inside. In a grid of squares each cell then counts once, as it must.
    if prediction.labels is not None:
        return _far_corners(prediction.labels, len(points), region.outline, axes)
    radius = (prediction.cell_diameter or 0.0) / 2
    return points + radius * axes.sum(axis=0)


def _axes_of(outline: np.ndarray) -> np.ndarray | None:
    """(2, 2) unit vectors (y, x) down and to the right along the sides of a rectangle; None for other outlines."""
    if len(outline) != 4:
        return None
    sides = np.roll(outline, -1, axis=0) - outline
    lengths = np.linalg.norm(sides, axis=1)
    if (np.abs(sides[0] @ sides[1]) > 1e-3 * lengths[0] * lengths[1]
            or np.linalg.norm(sides[0] + sides[2]) > 1e-3 * lengths[0]):
        return None
    one, other = sides[0] / lengths[0], sides[1] / lengths[1]
    down, right = (one, other) if abs(one[0]) > abs(other[0]) else (other, one)
    return np.array([down * np.sign(down[0]), right * np.sign(right[1])])


def _far_corners(labels: np.ndarray, number: int, outline: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """(N, 2) the lower right corner of the rectangle along these axes round each label 1 … N.

    It is nan for labels further off than the outline is wide, so that many squares of a large image stay quick: a cell
    is smaller than a square.
    """
    low, high = outline.min(axis=0), outline.max(axis=0)
    first = np.clip(np.floor(low - (high - low)), 0, labels.shape).astype(int)
    last = np.clip(np.ceil(high + (high - low)), 0, labels.shape).astype(int)
    near = np.unique(labels[first[0] : last[0], first[1] : last[1]])
    near = near[near > 0]
    grown = 0
    while True:                                              # until these cells lie in the window as a whole
        top, left = np.maximum(first - grown, 0)
        bottom, right = np.minimum(last + grown, labels.shape)
        part = labels[top:bottom, left:right]
        rims = [part[:1] if top else [], part[-1:] if bottom < labels.shape[0] else [],
                part[:, :1] if left else [], part[:, -1:] if right < labels.shape[1] else []]
        if not np.isin(near, np.concatenate([np.ravel(rim) for rim in rims])).any():
            break
        grown = 2 * grown + 16
    pixels = np.argwhere(np.isin(part, near))
    which = part[tuple(pixels.T)] - 1
    far = np.full((number, 2), -np.inf)
    np.maximum.at(far, which, (pixels + np.array([top, left])) @ axes.T)
    far[np.isinf(far)] = np.nan
    return far @ axes


def fit_to(regions: Sequence[Region], from_shape: tuple[int, int], to_shape: tuple[int, int]
           ) -> tuple[list[Region], str]:
    """Regions drawn on one image, for another one; and a sentence if they had to be changed, else "".

    Equal sizes keep them. Sizes in proportion (binning, another objective's export) scale them with the image; others
    are a `RegionError`, because nothing says which part of the one image is the other.
    """
    scale = np.array(to_shape) / np.array(from_shape)
    if (scale == 1).all():
        return list(regions), ""
    sizes = f"{from_shape[1]}×{from_shape[0]} px, but this one has {to_shape[1]}×{to_shape[0]}"
    # Half a pixel of rounding on the shorter side is still the same picture.
    if abs(scale[0] / scale[1] - 1) > 1 / min(*from_shape, *to_shape):
        raise RegionError(f"The regions were drawn on an image of {sizes}, of other proportions; draw regions of its "
                          "own.")
    return ([Region(r.name, r.kind, (r.outline + 0.5) * scale - 0.5) for r in regions],
            f"The regions were drawn on an image of {sizes}; they are scaled by {scale.mean():.4g}.")
