"""The one loop through which every network reads an image: inner squares cut out of outer ones.

    outer = inner + halo on every side, clipped at the image
    the network reads outer, only its inner part is kept

With tile, halo and origin all multiples of the network's stride, and a halo of at least the radius of its
receptive field, the tiles together equal one pass over the whole image. An image smaller than a tile is
one tile, so there is one code path.
"""

from collections.abc import Callable, Iterator

import numpy as np

Slices = tuple[slice, slice]


def pad_to_multiple(image: np.ndarray, multiple: int) -> np.ndarray:
    """Mirror ``(..., H, W)`` at the bottom and the right until H and W are multiples of ``multiple``."""
    height, width = image.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if not bottom and not right:
        return image
    pads = [(0, 0)] * (image.ndim - 2) + [(0, bottom), (0, right)]
    return np.pad(image, pads, mode="symmetric")


def tiles(shape: tuple[int, int], tile: int, halo: int) -> Iterator[tuple[Slices, Slices]]:
    """Yield ``(inner, outer)`` slices that cover ``shape`` without overlap, row by row."""
    height, width = shape
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            inner = slice(top, bottom), slice(left, right)
            outer = (slice(max(top - halo, 0), min(bottom + halo, height)),
                     slice(max(left - halo, 0), min(right + halo, width)))
            yield inner, outer


def count_tiles(shape: tuple[int, int], tile: int) -> int:
    """How many tiles `tiles` yields for an image of ``shape``."""
    return -(-shape[0] // tile) * -(-shape[1] // tile)


def apply_tiled(
    image: np.ndarray,
    network: Callable[[np.ndarray], np.ndarray],
    *,
    stride: int,
    halo: int,
    tile: int,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Run ``network`` over an image of any size.

    Parameters
    ----------
    image : (H, W) float32
    network : maps an ``(h, w)`` array, h and w multiples of ``stride``, to an ``(h, w)`` float32 map, or to K of them,
        ``(K, h, w)``
    stride : all pooling steps of the network together
    halo : context in pixels round each tile; a multiple of ``stride``
    tile : side of the inner squares in pixels; rounded up to a multiple of ``stride``
    progress : called with (tiles done, tiles in all) before the first tile and after each; whatever it
        raises ends the loop

    Returns
    -------
    (H, W) float32 map, or (K, H, W).
    """
    if halo % stride:
        raise ValueError(f"halo {halo} is not a multiple of the stride {stride}")
    height, width = image.shape
    tile = -(-tile // stride) * stride
    padded = pad_to_multiple(image, stride)
    total = count_tiles(padded.shape, tile)
    out = None
    if progress:
        progress(0, total)
    for done, (inner, outer) in enumerate(tiles(padded.shape, tile, halo), start=1):
        result = network(padded[outer])
        if out is None:
            out = np.empty((*result.shape[:-2], *padded.shape), dtype=np.float32)
        top, left = inner[0].start - outer[0].start, inner[1].start - outer[1].start
        rows, columns = inner[0].stop - inner[0].start, inner[1].stop - inner[1].start
        out[..., *inner] = result[..., top : top + rows, left : left + columns]
        if progress:
            progress(done, total)
    return out[..., :height, :width]
