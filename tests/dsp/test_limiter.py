"""The limiter: under the ceiling between the samples too, no change below it, blocks of any size."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import soxr
from conftest import voice
from hypothesis import given, settings
from hypothesis import strategies as st

from slimclean.dsp.limiter import LOOK_AHEAD_S, RELEASE_DB_PER_S, Limiter

CEILING = 10 ** (-1 / 20)


def limited(x, rate=48_000, block=48_000, ceiling=CEILING):
    limiter = Limiter(rate, ceiling)
    blocks = [x[:, start : start + block] for start in range(0, x.shape[1], block)]
    return np.concatenate([x[:, :0], *limiter.stream(blocks)], axis=1), limiter


def true_peak(x):
    """By another interpolation than the limiter's."""
    return float(np.abs(soxr.resample(x.T, 1, 8, quality="VHQ")).max())


def loud_signals():
    rng = np.random.default_rng(0)
    low = scipy.signal.butter(8, 0.6, output="sos")
    n = np.arange(24_000)
    yield "voices", np.stack([voice(1, 48_000), voice(1, 48_000, 1)]) * 4
    yield "noise", scipy.signal.sosfilt(low, rng.standard_normal((2, 24_000)))
    yield "between samples", 1.2 * np.sin(np.pi / 2 * n + np.pi / 4)[None]
    click = np.zeros((1, 24_000))
    click[:, [0, 1, 12_000, 23_999]] = 3
    yield "clicks", click


@pytest.mark.parametrize("x", [pytest.param(x, id=name) for name, x in loud_signals()])
def test_nothing_is_above_the_ceiling(x):
    y, limiter = limited(x.astype(np.float32))
    assert true_peak(x) > 1.1 > CEILING
    assert true_peak(y) <= CEILING * 10 ** (0.3 / 20)
    assert np.abs(y).max() <= CEILING * (1 + 1e-6)
    assert 0 < limiter.share <= 1
    assert limiter.reduction_db > 1


def test_what_is_below_stays_as_it_is():
    x = voice(2, 48_000)[None] * 1.7
    y, limiter = limited(x)
    np.testing.assert_array_equal(y, x)
    assert limiter.reduction_db == limiter.share == 0


def test_far_from_a_peak_nothing_changes():
    x = np.full((2, 48_000), 0.1, np.float32)
    x[0, 20_000] = 2 * CEILING
    y, limiter = limited(x)
    before, after = (
        20_000 - round(LOOK_AHEAD_S * 48_000) * 2 - 2,
        20_000 + round(6.1 / RELEASE_DB_PER_S * 48_000) + 500,
    )
    np.testing.assert_array_equal(y[:, :before], x[:, :before])
    np.testing.assert_allclose(y[:, after:], x[:, after:], rtol=1e-6)
    np.testing.assert_allclose(y[1] / x[1], y[0] / x[0], rtol=1e-6)  # one gain for both channels
    assert y[1, 20_000] == pytest.approx(0.05, rel=0.02)
    assert limiter.reduction_db == pytest.approx(6.02, abs=0.1)
    assert limiter.share == pytest.approx(6.02 / RELEASE_DB_PER_S + 2 * LOOK_AHEAD_S, abs=0.01)  # of a second


@settings(deadline=None, max_examples=15)
@given(samples=st.integers(0, 3_000), block=st.integers(1, 1_000))
def test_blocks_make_no_difference(samples, block):
    x = np.random.default_rng(samples).standard_normal((2, samples)).astype(np.float32)
    y, whole = limited(x, rate=8_000, block=10_000)
    pieces, limiter = limited(x, rate=8_000, block=block)
    np.testing.assert_allclose(pieces, y, atol=1e-5)
    assert pieces.shape == x.shape
    assert limiter.reduction_db == pytest.approx(whole.reduction_db, abs=1e-4)
