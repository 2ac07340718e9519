"""The level of passages: what decides about it and what does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slimclean.dsp.local_level import (
    FRAMES_PER_S,
    LOOK_AHEAD_S,
    RANGE_DB,
    LocalLevel,
    level_curve,
    spread,
)

RATE = 16_000


def voice(seconds: float, db: float = -20.0, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Noise in syllables of 0.2 s, [T], at an RMS of `db` re full scale."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    x = rng.normal(size=len(time)) * (0.15 + np.abs(np.sin(np.pi * time / 0.2)))
    return (x / np.sqrt(np.mean(x**2)) * 10 ** (db / 20)).astype(np.float32)


def curve_db(x: np.ndarray, rate: int = RATE) -> np.ndarray:
    return 20 * np.log10(level_curve(x, rate))


def at(seconds: float) -> int:
    return round(seconds * RATE)


def in_pieces(x: np.ndarray, rate: int, sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    track, parts, start = LocalLevel(rate), [], 0
    while start < x.shape[1]:
        size = sizes[len(parts) % len(sizes)]
        parts.append(track.add(x[:, start : start + size]))
        start += size
    parts.append(track.finish())
    level, heard = (np.concatenate(each, axis=1) for each in zip(*parts, strict=True))
    return level, heard


@settings(deadline=None, max_examples=15)
@given(
    rate=st.sampled_from([1_000, 8_000, 11_025, 16_000, 44_100]),
    seconds=st.floats(0.0, 7.0),
    channels=st.integers(1, 3),
    sizes=st.lists(st.integers(1, 200_000), min_size=1, max_size=5),
    seed=st.integers(0, 99),
)
def test_pieces_do_not_matter(rate: int, seconds: float, channels: int, sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples = 1 + round(seconds * rate)
    drift = np.exp(np.cumsum(rng.normal(size=samples)) * 3 / np.sqrt(samples))
    x = (rng.normal(size=(channels, samples)) * drift).astype(np.float32)
    sizes = [max(1, size * rate // 200_000) for size in sizes]
    whole, pieces = in_pieces(x, rate, [samples]), in_pieces(x, rate, sizes)
    assert whole[0].shape == (channels, -(-samples * FRAMES_PER_S // rate))
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_follows_the_voice_at_a_change_of_speaker() -> None:
    curve = curve_db(np.concatenate([voice(4, -20), voice(4, -46, 1), voice(4, -20, 2)]))
    for nearest, off_db in ((0.3, 7), (1.0, 2)):  # seconds from a change
        host, guest, again = (slice(at(4 * k + nearest), at(4 * k + 4 - nearest)) for k in range(3))
        assert np.abs(curve[host] + 20).max() < off_db
        assert np.abs(curve[guest] + 46).max() < off_db
        assert np.abs(curve[again] + 20).max() < off_db


def test_it_is_local() -> None:
    x = voice(12)
    other = x.copy()
    other[at(8) :] = voice(4, -34, 1)
    same, changed = at(8 - LOOK_AHEAD_S), at(8.5)
    one, two = level_curve(x, RATE), level_curve(other, RATE)
    np.testing.assert_array_equal(one[:same], two[:same])
    assert (one[changed:] > two[changed:]).all()


def test_pauses_are_held_and_long_ones_stay_within_the_range() -> None:
    def paused(seconds: float) -> np.ndarray:
        pause = voice(seconds, -90, 1)
        return curve_db(np.concatenate([voice(3), pause, voice(3, seed=2)]))

    assert paused(0.5)[at(3) : at(3.5)].min() > -20 - 10
    long = paused(6)
    assert long.min() == pytest.approx(-20 - RANGE_DB, abs=4)
    assert long.min() >= -20 - RANGE_DB - 4


def test_a_bang_moves_it_only_where_it_is() -> None:
    x = voice(6)
    banged = x.copy()
    bang = voice(0.25, 20, 1) * np.exp(-np.arange(at(0.25)) / at(0.05)).astype(np.float32)
    banged[at(3) : at(3.25)] += bang
    moved = np.abs(curve_db(banged) - curve_db(x))
    assert moved[: at(2.9)].max() < 6
    assert moved[at(3.4) :].max() < 6
    assert moved.max() > 15  # the network is spared the bang itself


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_offset_and_rumble_count_for_nothing(rate: int) -> None:
    x = voice(5, -40, rate=rate)
    time = np.arange(len(x)) / rate
    rumble = 0.3 * np.sin(2 * np.pi * 7 * time) + 0.3
    assert np.abs(curve_db(x + rumble.astype(np.float32), rate) - curve_db(x, rate)).max() < 0.2


def test_it_scales_with_the_recording() -> None:
    x = voice(5)
    np.testing.assert_allclose(level_curve(x * np.float32(0.01), RATE), level_curve(x, RATE) * 0.01, rtol=1e-4)


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000, 192_000])
def test_the_rate_hardly_matters(rate: int) -> None:
    low = np.convolve(voice(4), np.hanning(9) / 4, "same")  # most of a voice lies below 4 kHz
    x = np.interp(np.arange(4 * rate) / rate, np.arange(len(low)) / RATE, low).astype(np.float32)
    level = in_pieces(x[None], rate, [rate])[0]
    expected = in_pieces(low[None].astype(np.float32), RATE, [RATE])[0]
    assert np.abs(20 * np.log10(level / expected)).max() < 1.0


def test_silence_has_no_level() -> None:
    speech = voice(4)
    x = np.concatenate([speech, np.zeros(at(8), np.float32), speech * np.float32(1e-6)])[None]
    _, heard = in_pieces(x, RATE, [4_000])
    assert (heard[0, : 4 * FRAMES_PER_S] == 1).all()
    assert (heard[0, 6 * FRAMES_PER_S :] == 0).all()
    nothing = in_pieces(np.zeros((1, at(3)), np.float32), RATE, [4_000])
    np.testing.assert_allclose(nothing[0], 1e-5)
    assert not nothing[1].any()


def test_channels_do_not_touch() -> None:
    x = np.stack([voice(3), voice(3, -50, 1)])
    np.testing.assert_array_equal(level_curve(x, RATE)[1], level_curve(x[1], RATE))


def test_spread_goes_from_centre_to_centre() -> None:
    np.testing.assert_allclose(spread(np.array([[1.0, 2.0]]), 8, 4), [[1, 1, 1.125, 1.375, 1.625, 1.875, 2, 2]])


def test_the_loudest_voice_is_remembered_from_piece_to_piece() -> None:
    x = np.concatenate([voice(3, -10), voice(9, -70, 1)])[None]
    whole, pieces = (in_pieces(x, RATE, [size]) for size in (x.shape[1], RATE // 2))
    np.testing.assert_array_equal(whole[0], pieces[0])
    assert 20 * np.log10(whole[0][0, 450:].max()) > -10 - RANGE_DB - 8  # and a voice in another room is none


def test_steady_noise_in_a_pause_is_not_taken_for_a_voice() -> None:
    noise = 10 ** (-40 / 20) * np.random.default_rng(0).normal(size=at(12)).astype(np.float32)
    noise[: at(3)] += voice(3)
    noise[at(9) :] += voice(3, seed=1)
    assert curve_db(noise).min() > -20 - 8


def test_it_turns_at_once_and_not_before() -> None:
    """Down to a soft voice within a tenth of a second, and to words that are hardly softer not at all."""
    soft, little = (
        curve_db(np.concatenate([voice(4), voice(4, db, 1), voice(4, seed=2)])) for db in (-46, -26)
    )
    assert soft[at(3.9)] > -22
    assert soft[at(4.1)] == pytest.approx(-46, abs=2)
    assert little[at(1) : at(11)].min() > -22


def test_it_does_not_fall_in_the_last_second() -> None:
    for seconds, falls in ((0.95, False), (2.0, True)):
        assert (curve_db(np.concatenate([voice(4), voice(seconds, -46, 1)])).min() < -40) == falls


def test_a_word_of_the_host_amid_the_guest_counts_in_full() -> None:
    x = np.concatenate([voice(4), voice(6, -46, 1)])
    x[at(7) : at(7.3)] = voice(0.3, seed=2)
    assert curve_db(x)[at(7.15)] > -26


def test_the_loudest_voice_is_forgotten_by_and_by() -> None:
    curve = curve_db(np.concatenate([voice(3, -10), voice(47, -70, 1)]))
    assert np.median(curve[at(8) : at(10)]) > -58
    assert np.median(curve[at(46) :]) < -60
