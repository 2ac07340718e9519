"""Offsets: found, followed, and not imagined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slimclean.dsp.offset import OffsetTracker
from slimclean.dsp.passages import Passages

RATE = 16_000


def offsets(x: np.ndarray, rate: int = RATE, size: int | None = None) -> np.ndarray:
    tracker, size = OffsetTracker(rate), size or max(1, x.shape[1])
    parts = [tracker.add(x[:, start : start + size]) for start in range(0, x.shape[1], size)]
    return np.concatenate([*parts, tracker.finish()], axis=1)


def noise(seconds: float, rms: float = 0.05, rate: int = RATE) -> np.ndarray:
    return np.random.default_rng(0).normal(0, rms, (1, round(seconds * rate)))


@pytest.mark.parametrize("offset", [0.3, -0.3, 0.02])
@pytest.mark.parametrize("rate", [8_000, 11_025, 48_000])
def test_an_offset_is_taken_out(offset, rate):
    x = (noise(5, rate=rate) + offset).astype(np.float32)
    passages = Passages(rate)
    out = np.concatenate(list(passages.stream([x])), axis=1)
    assert out.shape == x.shape
    assert passages.offset == pytest.approx(offset, abs=0.003)
    assert np.abs(out - (x - offset)).max() < 0.003


def test_it_follows_a_cut():
    x = noise(8)
    x[:, 4 * RATE :] = 0
    x[:, : 4 * RATE] += 0.3
    found = offsets(x)[0]
    np.testing.assert_allclose(found[:40], 0.3, atol=0.01)
    assert not found[40:].any()


@pytest.mark.parametrize(("take_s", "gap_s"), [(1.5, 3), (3, 1), (3, 0.2)])
def test_digital_silence_between_takes_has_none(take_s, gap_s):
    take, gap = (int(10 * seconds) for seconds in (take_s, gap_s))
    x = np.tile(np.concatenate([noise(take_s) + 0.3, np.zeros((1, round(gap_s * RATE)))], axis=1), 4)
    found = offsets(x)[0].reshape(4, take + gap)
    np.testing.assert_allclose(found[:, :take], 0.3, atol=0.01)
    assert not found[:, take:].any()


def test_phrases_between_digital_silence_have_none():
    x = noise(30)
    x[:, np.arange(x.shape[1]) // RATE % 3 > 0] = 0
    assert not offsets(x).any()


@settings(deadline=None, max_examples=30)
@given(samples=st.integers(1, 30_000), rate=st.sampled_from([1_000, 8_000, 44_100]), seed=st.integers(0, 9_999))
def test_noise_has_none(samples, rate, seed):
    assert not offsets(np.random.default_rng(seed).uniform(-1, 1, (1, samples)), rate).any()


@settings(deadline=None, max_examples=15)
@given(samples=st.integers(1, 9_000), size=st.integers(1, 9_000), rate=st.sampled_from([1_000, 1_102, 3_000]))
def test_pieces_do_not_matter(samples, size, rate):
    x = np.random.default_rng(samples).normal(0.2, 0.1, (2, samples)).astype(np.float32)
    x[1, samples // 2 :] -= 0.4
    np.testing.assert_array_equal(offsets(x, rate, size), offsets(x, rate))
    blocks = [x[:, start : start + size] for start in range(0, samples, size)]
    whole, pieces = (np.concatenate(list(Passages(rate).stream(each)), axis=1) for each in ([x], blocks))
    np.testing.assert_array_equal(whole, pieces)
    assert whole.shape == x.shape


def test_a_drift_is_followed_from_tenth_to_tenth():
    drift = (0.2 + 0.01 * np.arange(8 * RATE) / RATE)[None].astype(np.float32)
    out = np.concatenate(list(Passages(RATE).stream([drift])), axis=1)
    assert np.abs(out[:, 2 * RATE : 6 * RATE]).max() < 1e-4  # within 2 s of an end the recording is mirrored


def test_what_nobody_minds_stays_and_the_rest_goes_by_and_by():
    for offset, share in ((9e-5, 0), (1.1e-4, 0.4), (1.3e-4, 1)):
        np.testing.assert_allclose(
            offsets(np.full((1, 3 * RATE), offset)), share * offset, rtol=1e-6, atol=1e-12
        )


@pytest.mark.parametrize(("tenths", "known"), [(4, False), (5, True)])
def test_so_much_has_to_be_heard(tenths, known):
    assert offsets(np.full((1, tenths * RATE // 10), 0.3)).any() == known


def test_short_noise_whose_tenths_agree_by_chance_has_none():
    rng = np.random.default_rng(0)
    for x in rng.normal(size=(1_000, 1, 500)):
        assert not offsets(x, 1_000).any()
