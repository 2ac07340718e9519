"""Pieces side by side: in order, bounded, and on threads that take the tiniest numbers for zero."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from slimclean.chunking import BATCH, batches
from slimclean.dsp.overlap_add import Chunk
from slimclean.engine.threads import _elsewhere, cores, side_by_side

TINY = torch.full((64,), 1e-30)


def product_of_tiny_numbers(_: int) -> float:
    return float((TINY * 1e-10).max())


@pytest.mark.parametrize("threads", [1, 3])
def test_tiny_numbers_are_zero_inside_and_stay_numbers_outside(threads):
    assert set(side_by_side(product_of_tiny_numbers, range(5), threads)) == {0.0}
    assert product_of_tiny_numbers(0) > 0


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_results_come_in_order_and_pieces_are_not_taken_early(threads):
    taken = []

    def pieces():
        for k in range(20):
            taken.append(k)
            yield k

    before = torch.get_num_threads()
    for done, result in enumerate(side_by_side(lambda k: k * k, pieces(), threads)):
        assert result == done**2
        assert len(taken) <= done + threads + (threads > 1)  # a live stream does not wait for the next piece
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("channels", "count", "sizes"),
    [
        (1, 1, [1]),
        (1, 5, [3, 2]),
        (1, 16, [8, 8]),
        (1, 18, [8, 8, 1, 1]),
        (2, 9, [4, 4, 1]),
        (12, 3, [1, 1, 1]),
    ],
)
def test_batches_are_even_and_in_order(channels, count, sizes):
    pieces = [(Chunk(k, k, k, k, 0, 0), np.zeros((channels, 10))) for k in range(count)]
    found = list(batches(iter(pieces)))
    assert [len(run) for run in found] == sizes
    assert [chunk.start for run in found for chunk, _ in run] == list(range(count))
    assert max(sizes) * channels <= max(BATCH, channels)


def test_chunks_of_another_length_have_a_batch_of_their_own():
    lengths = [8, 10, 10, 10, 6]
    pieces = [(Chunk(k, k, k, k, 0, 0), np.zeros((1, n))) for k, n in enumerate(lengths)]
    found = [[x.shape[1] for _, x in run] for run in batches(iter(pieces))]
    assert found == [[8], [10, 10], [10], [6]]


@pytest.mark.parametrize("order", ["first in, first out", "last in, first out", "abandoned"])
def test_interleaved_work_leaves_the_number_of_threads_alone(order):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        first, second = (side_by_side(lambda _: torch.get_num_threads(), range(4), 2) for _ in range(2))
        assert next(first) == next(second) == 1
        assert torch.get_num_threads() == cores() == 3
        for work in (second, first) if order == "last in, first out" else (first, second):
            assert _elsewhere(torch.get_num_threads) == 1  # as long as anybody is inside
            if order == "abandoned":
                work.close()
            else:
                assert set(work) == {1}
        assert torch.get_num_threads() == cores() == 3
        assert _elsewhere(torch.get_num_threads) == 3
    finally:
        torch.set_num_threads(before)


def test_work_of_two_threads_leaves_the_number_of_threads_alone():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    mine = side_by_side(lambda _: torch.get_num_threads(), range(4), 2)

    def another() -> list[int]:
        own = list(side_by_side(lambda _: torch.get_num_threads(), range(4), 2))
        return [*own, cores()]

    try:
        assert next(mine) == 1
        assert _elsewhere(another) == [1, 1, 1, 1, 3]
        assert set(mine) == {1}
        assert _elsewhere(torch.get_num_threads) == torch.get_num_threads() == cores() == 3
    finally:
        torch.set_num_threads(before)


ABANDONED = """
from slimclean.engine.threads import side_by_side
work = side_by_side(lambda k: k, range(100), 2)
next(work)
cycle = [work]
cycle.append(cycle)
"""


def test_a_program_may_end_in_the_middle_of_work():
    done = subprocess.run(
        [sys.executable, "-c", ABANDONED], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
