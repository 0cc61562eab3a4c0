"""Batches that are drawn ahead are those that would have been drawn in their turn."""

import threading

import numpy as np
import pytest
import torch

from cellapp.loader import Loader


def drawing(seen: list):
    def draw(step: int):
        seen.append((step, threading.current_thread() is threading.main_thread()))
        rng = np.random.default_rng([3, step])
        return rng.random((2, 1, 4, 6), np.float32), rng.random(2, np.float32), rng

    return draw


@pytest.mark.parametrize("ahead", [False, True])
def test_every_step_reads_its_own_batch(ahead):
    seen = []
    loader = Loader(drawing(seen), 9, torch.device("cpu"), ahead)
    for step in (0, 1, 2, 5, 6, 8):                          # a resumed run begins anywhere
        images, targets, rng = loader(step)
        own, own_targets, own_rng = drawing([])(step)
        assert np.array_equal(images.numpy(), own) and np.array_equal(targets.numpy(), own_targets)
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert rng.integers(1000) == own_rng.integers(1000), "the loss goes on where drawing ended"
    loader.close()
    assert {main for _, main in seen} == {not ahead}
    assert max(step for step, _ in seen) == 8, "nothing is drawn beyond the end"
    assert ([step for step, _ in seen] == [0, 1, 2, 5, 6, 8]) != ahead


def test_what_goes_wrong_while_drawing_ahead_is_raised_in_its_step():
    def draw(step: int):
        if step == 2:
            raise ValueError("no crop")
        return drawing([])(step)

    loader = Loader(draw, 5, torch.device("cpu"), ahead=True)
    loader(0)
    loader(1)
    with pytest.raises(ValueError, match="no crop"):
        loader(2)
    loader.close()


def test_without_a_word_a_cpu_draws_in_its_turn():
    seen = []
    Loader(drawing(seen), 2, torch.device("cpu"))(0)
    assert seen == [(0, True)]
