"""Recordings that do not fit into memory score as those that do."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import soundfile
from conftest import voice

from slimclean.errors import UndefinedMetricError
from slimclean.scoring.metrics import si_sdr
from slimclean.scoring.moments import Moments
from slimclean.scoring.pairs import ScorePair, score_pair
from slimclean.scoring.signals import Stored, blocks_of, store

NAMES = ["si_sdr_db", "snr_db", "level_difference_db", "segmental_snr_db", "lag_samples"]


@pytest.fixture
def stored(monkeypatch):
    """Hardly anything fits into memory, and pieces are small."""
    monkeypatch.setattr("slimclean.scoring.signals.IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr("slimclean.scoring.signals.BLOCK", 7001)


def write_pair(folder, seconds, rate, channels=1, late=0):
    rng = np.random.default_rng(0)
    clean = np.stack([np.tile(voice(1.0, rate, seed=c), seconds) for c in range(channels)], axis=1)
    noisy = 0.7 * np.roll(clean, late, axis=0) + 0.02 * rng.normal(size=clean.shape)
    for name, x in (("r", clean), ("e", noisy)):
        soundfile.write(folder / f"{name}.wav", x, rate, "FLOAT")
    return ScorePair("x", folder / "r.wav", folder / "e.wav", folder / "e.wav")


@pytest.mark.parametrize(("rate", "channels", "align"), [(16_000, 1, False), (44_100, 2, True)])
def test_scores_do_not_depend_on_where_the_signals_are(tmp_path, request, rate, channels, align):
    pair = write_pair(tmp_path, 33, rate, channels, late=rate // 20)
    inside = score_pair(pair, NAMES, align=align)
    request.getfixturevalue("stored")
    outside = score_pair(pair, NAMES, align=align)
    assert (outside.status, outside.note) == ("scored", inside.note), outside.error
    assert outside.lag_samples == inside.lag_samples == 800
    for name, value in inside.values.items():
        assert outside.values[name] == pytest.approx(value, abs=1e-5), name


@pytest.mark.usefixtures("stored")
def test_a_stored_signal_slices_like_an_array():
    x = np.arange(2 * 5000, dtype=np.float32).reshape(2, 5000)
    signal = store(np.array_split(x, 7, axis=1))
    assert isinstance(signal, Stored)
    assert signal.shape == (2, 5000)
    for cut in (slice(None), slice(3, 40), slice(-10, None), slice(20, 10), slice(4990, 9000)):
        part = signal[:, cut]
        assert part.shape == x[:, cut].shape
        for row, wanted in zip(part, x[:, cut], strict=True):
            np.testing.assert_array_equal(row[:], wanted)
            np.testing.assert_array_equal(row[2:-3], wanted[2:-3])
    np.testing.assert_array_equal(np.concatenate(list(blocks_of(signal[:, 5:])), axis=1), x[:, 5:])


def test_running_sums_say_what_is_undefined():
    zeros, ones = np.zeros(1000, np.float32), np.ones(1000, np.float32)
    wave = np.sin(np.arange(1000)).astype(np.float32)
    for pair, name in (((zeros, wave), "reference"), ((ones, wave), "reference"), ((wave, ones), "estimate")):
        moments = Moments()
        moments.add(*pair)
        with pytest.raises(UndefinedMetricError, match=f"the {name} is silent"):
            moments.si_sdr_db()
    moments = Moments()
    moments.add(wave, wave + np.float32(0.1) * wave[::-1])
    assert moments.si_sdr_db() == pytest.approx(si_sdr(wave, wave + np.float32(0.1) * wave[::-1]), abs=1e-6)
    moments = Moments()
    moments.add(wave, wave)
    assert moments.snr_db() == np.inf


@pytest.mark.usefixtures("stored")
def test_memory_does_not_grow_with_length(tmp_path):
    peaks = []
    for seconds in (100, 400):
        pair = write_pair(tmp_path, seconds, 8_000)
        tracemalloc.start()
        assert score_pair(pair, ["si_sdr_db", "lag_samples"]).status == "scored"
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
