"""Splitting and joining with nothing in between is the identity, for every length and block size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimclean.dsp.overlap_add import Layout, join, ramp, split

LAYOUT = Layout(context=6, hop=20, fade=4, tail=3)


def blocks_of(x: np.ndarray, size: int):
    return [x[:, k : k + size] for k in range(0, max(1, x.shape[1]), size)]


@given(length=st.integers(0, 200), size=st.integers(1, 90), channels=st.integers(1, 3))
def test_an_identity_returns_its_input(length, size, channels):
    x = np.random.default_rng(length).normal(size=(channels, length)).astype(np.float32)
    out = list(join(split(blocks_of(x, size), LAYOUT)))
    joined = np.concatenate(out, axis=1)
    assert joined.shape[1] == length
    if length:
        np.testing.assert_allclose(joined, x, rtol=0, atol=1e-6)


@given(length=st.integers(1, 200))
def test_the_weights_of_every_sample_sum_to_one(length):
    ones = np.ones((1, length), np.float32)
    joined = np.concatenate(list(join(split([ones], LAYOUT))), axis=1)
    np.testing.assert_allclose(joined, 1, rtol=0, atol=1e-7)


@given(length=st.integers(1, 300), size=st.integers(1, 100))
def test_chunks_have_their_context_and_tail(length, size):
    x = np.arange(length, dtype=np.float32)[None]
    for chunk, samples in split(blocks_of(x, size), LAYOUT):
        assert samples.shape[1] == chunk.read_stop - chunk.read_start
        np.testing.assert_array_equal(samples, x[:, chunk.read_start : chunk.read_stop])
        assert chunk.read_start == max(0, chunk.start - LAYOUT.context)
        assert chunk.read_stop == min(length, chunk.stop + LAYOUT.tail)


def test_no_seam_where_chunks_disagree():
    """A constant step between chunks becomes a ramp over the fade, not a jump."""
    x = np.zeros((1, 60), np.float32)
    pieces = ((c, np.full_like(s, k)) for k, (c, s) in enumerate(split([x], LAYOUT)))
    joined = np.concatenate(list(join(pieces)), axis=1)[0]
    assert np.abs(np.diff(joined)).max() == pytest.approx(1 / LAYOUT.fade)


def test_ramps_are_complementary():
    np.testing.assert_allclose(ramp(7) + ramp(7)[::-1], 1)
