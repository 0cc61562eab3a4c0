"""The one loop through which networks read images: every pixel once, and no seams."""

import numpy as np
import pytest

from cellapp.tiling import apply_tiled, count_tiles, pad_to_multiple, tiles

SHAPES = [(1, 1), (8, 8), (64, 64), (65, 63), (200, 30), (7, 300), (128, 129)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("tile", "halo"), [(64, 0), (64, 16), (16, 40), (512, 40)])
def test_tiles_cover_every_pixel_once_and_reach_a_halo_further(shape, tile, halo):
    covered = np.zeros(shape, int)
    number = 0
    for inner, outer in tiles(shape, tile, halo):
        covered[inner] += 1
        number += 1
        for i, o, length in zip(inner, outer, shape, strict=True):
            assert o.start == max(0, i.start - halo)
            assert o.stop == min(length, i.stop + halo)
    assert (covered == 1).all()
    assert number == count_tiles(shape, tile)


@pytest.mark.parametrize("shape", SHAPES)
def test_padding_mirrors_up_to_the_next_multiple(rng, shape):
    image = rng.normal(size=shape)
    padded = pad_to_multiple(image, 8)
    assert all(p % 8 == 0 and 0 <= p - s < 8 for p, s in zip(padded.shape, shape, strict=True))
    np.testing.assert_array_equal(padded[: shape[0], : shape[1]], image)
    if padded.shape[0] > shape[0]:
        np.testing.assert_array_equal(padded[shape[0], : shape[1]], image[-1])
    assert pad_to_multiple(image, 1) is image


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tile", [16, 50, 64, 512])
def test_a_local_network_gives_the_same_map_in_tiles(rng, shape, tile):
    image = rng.normal(size=shape).astype(np.float32)
    reach = 5

    def network(square):
        assert square.shape[0] % 4 == 0
        assert square.shape[1] % 4 == 0
        padded = np.pad(square, reach)
        return sum(padded[k : k + square.shape[0], k : k + square.shape[1]] for k in range(2 * reach + 1))

    whole = network(pad_to_multiple(image, 4))[: shape[0], : shape[1]]
    out = apply_tiled(image, network, stride=4, halo=8, tile=tile)
    np.testing.assert_array_equal(out, whole)
    assert out.dtype == np.float32
    if max(shape) > 64 and tile < 100:
        without = apply_tiled(image, network, stride=4, halo=0, tile=tile)
        assert np.abs(without - whole).max() > 0.1, "without a halo there are seams"


def test_progress_is_told_before_the_first_tile_and_after_each():
    calls = []
    apply_tiled(np.zeros((100, 60), np.float32), lambda s: s, stride=4, halo=4, tile=32,
                progress=lambda *now: calls.append(now))
    assert calls == [(k, 8) for k in range(9)]


def test_what_progress_raises_ends_the_loop():
    read = []

    def progress(done, total):
        if done == 2:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        apply_tiled(np.zeros((64, 64), np.float32), lambda s: read.append(1) or s, stride=4, halo=4, tile=16,
                    progress=progress)
    assert len(read) == 2


def test_a_halo_off_the_stride_is_refused():
    with pytest.raises(ValueError, match="halo 12 is not a multiple of the stride 8"):
        apply_tiled(np.zeros((64, 64), np.float32), lambda s: s, stride=8, halo=12, tile=32)
