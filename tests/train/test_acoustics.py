"""Rooms, filters and synthetic sounds: each by what it would be on paper."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import scipy.signal
from test_examples import PAIR

from slimclean import audio
from slimclean.train import acoustics


def test_rooms_begin_with_the_direct_sound():
    for seed in range(5):
        response = acoustics.room_impulse_response(np.random.default_rng(seed))
        assert response[0] == pytest.approx(1, abs=1e-3)
        assert np.isfinite(response).all()
        assert np.abs(response).max() < 1.5


@pytest.mark.parametrize("rt60", [0.2, 0.4, 0.8])
def test_rooms_decay_as_asked(rt60):
    """By Schroeder's backward integral, between 10 and 25 dB under its beginning."""
    size, source, microphone = np.array([[6.0, 5.0, 3.0], [2.0, 2.0, 1.5], [4.0, 3.0, 1.7]])
    response = acoustics.shoebox_response(np.random.default_rng(0), size, source, microphone, rt60)
    energy = np.square(response[::-1], dtype=np.float64).cumsum()[::-1]
    level_db = 10 * np.log10(energy[energy > 0] / energy[0])
    from_, to = (np.flatnonzero(level_db < db)[0] for db in (-10, -25))
    assert 60 / 15 * (to - from_) / 16_000 == pytest.approx(rt60, rel=0.3)


def test_the_first_echoes_come_from_the_walls():
    """Six mirrored sources, each as far as geometry says, and weaker by one wall and its way."""
    size, source, microphone = np.array([[6.0, 5.0, 3.0], [2.1, 2.2, 1.3], [3.4, 3.1, 1.8]])
    rt60, volume, surface = 0.3, 90.0, 2 * (30 + 18 + 15)
    response = acoustics.shoebox_response(np.random.default_rng(0), size, source, microphone, rt60)
    wall = np.sqrt(1 - 0.161 * volume / surface / rt60)
    direct = np.linalg.norm(source - microphone)
    for axis in range(3):
        for plane in (0.0, size[axis]):
            image = source.copy()
            image[axis] = 2 * plane - source[axis]
            way = np.linalg.norm(image - microphone)
            at = (way - direct) / 343 * 16_000
            found = response[int(at) : int(at) + 2].sum()
            assert found == pytest.approx(wall * direct / way, rel=1e-3), (axis, plane)


@pytest.mark.parametrize("make", [acoustics.coloured_noise, acoustics.hum, acoustics.clicks, acoustics.music])
def test_synthetic_noises_have_unit_level(make):
    x = make(np.random.default_rng(1), 16_000)
    assert x.dtype == np.float32
    assert acoustics.rms(x) == pytest.approx(1, abs=1e-3)


def test_music_is_a_few_tones_at_a_time():
    def share_of_peaks(x):
        power = np.sort(np.abs(np.fft.rfft(x[:8000])) ** 2)
        return power[-80:].sum() / power.sum()

    rng = np.random.default_rng(0)
    music, noise = (
        [make(rng, 32_000) for _ in range(6)] for make in (acoustics.music, acoustics.coloured_noise)
    )
    assert np.median([share_of_peaks(x) for x in music]) > 0.8
    assert np.median([share_of_peaks(x) for x in music]) > np.median([share_of_peaks(x) for x in noise]) + 0.2
    assert not np.array_equal(music[0], music[1])


def test_a_whisper_keeps_the_envelope_and_loses_the_pitch():
    clean = audio.read(PAIR / "clean.flac")[0][0]
    whispered = acoustics.whisper(np.random.default_rng(0), clean)
    assert whispered.shape == clean.shape
    frames = [x[: len(x) // 1600 * 1600].reshape(-1, 1600) for x in (clean, whispered)]
    levels = [10 * np.log10(np.square(x).mean(1) + 1e-6) for x in frames]
    assert np.corrcoef(*levels)[0, 1] > 0.95
    voiced = frames[0][levels[0].argmax()]
    breathed = frames[1][levels[0].argmax()]
    assert _periodicity(voiced) > 0.5 > _periodicity(breathed)


def _periodicity(x: np.ndarray) -> float:
    """The autocorrelation's peak at lags of 60 to 400 Hz."""
    lags = np.correlate(x, x, "full")[len(x) - 1 :]
    return float(lags[40:266].max() / lags[0])


def response_db(filtered, hz: float) -> float:
    """Of a filter, at a frequency; it is given an impulse of a second."""
    impulse = np.zeros(16_000, np.float32)
    impulse[8_000] = 1
    return float(20 * np.log10(np.abs(np.fft.rfft(filtered(impulse)))[round(hz)]))


def test_filters_have_the_gains_asked_for():
    bent = functools.partial(acoustics.shape_spectrum, gain_db=np.array([0.0, -12.0, 6.0]))
    middle = np.sqrt(50 * 8_000)
    for hz, db in ((20, 0), (50, 0), (middle, -12), (8_000, 6), (np.sqrt(50 * middle), -6)):
        assert response_db(bent, hz) == pytest.approx(db, abs=0.3), hz
    for hz, db in ((100, -3), (50, -24), (400, 0)):
        assert response_db(lambda x: acoustics.high_pass(x, 100), hz) == pytest.approx(db, abs=0.2)
    for hz, db in ((200, -3), (3_400, -3), (800, 0)):
        assert response_db(lambda x: acoustics.band_limit(x, 200, 3_400), hz) == pytest.approx(db, abs=0.2)


def test_rumble_falls_from_low_to_high():
    for seed in range(6):
        power = np.abs(np.fft.rfft(acoustics.rumble(np.random.default_rng(seed), 64_000))) ** 2
        octaves_db = [10 * np.log10(power[4 * hz : 8 * hz].mean()) for hz in (60, 120, 240, 480)]
        assert all(-25.5 < fall < -4 for fall in np.diff(octaves_db)), octaves_db


def test_what_lies_outside_is_not_added():
    for start, wanted in ((-1, [2, 3, 0, 0]), (3, [0, 0, 0, 1]), (1, [0, 1, 2, 3]), (-9, [0, 0, 0, 0])):
        x = np.zeros(4, np.float32)
        acoustics._add_at(x, np.array([1.0, 2.0, 3.0]), start)
        assert x.tolist() == wanted


def test_a_whisper_keeps_the_formants():
    """Of noise through a resonance at 1 kHz, 25 dB over what is at 4 kHz."""
    b, a = scipy.signal.iirpeak(1_000, 8, fs=16_000)
    x = np.random.default_rng(0).normal(size=32_000)
    voiced = (scipy.signal.lfilter(b, a, x) + 0.02 * x).astype(np.float32)
    contrasts = []
    for sound in (voiced, acoustics.whisper(np.random.default_rng(1), voiced)):
        hz, power = scipy.signal.welch(sound, 16_000, nperseg=512)
        bands = (power[np.abs(hz - centre) < 100].mean() for centre in (1_000, 4_000))
        contrasts.append(10 * np.log10(np.divide(*bands)))
    assert contrasts[1] == pytest.approx(contrasts[0], abs=3)
