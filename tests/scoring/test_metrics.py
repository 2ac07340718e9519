"""Metrics on signals whose scores are known."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from conftest import voice

from slimclean.errors import MissingDependencyError, SlimcleanError, UndefinedMetricError
from slimclean.scoring.metrics import log_spectral_distance, pause_db, pesq_wb, si_sdr, stoi

needs_pesq = pytest.mark.skipif(importlib.util.find_spec("pesq") is None, reason="pesq is not installed")


def test_si_sdr_is_the_ratio_of_energies():
    rng = np.random.default_rng(0)
    s = rng.normal(size=16_000)
    n = rng.normal(size=16_000)
    s, n = s - s.mean(), n - n.mean()
    n -= (n @ s) / (s @ s) * s  # orthogonal, so that the answer is exact
    n *= np.linalg.norm(s) / np.linalg.norm(n) / 10  # 20 dB below
    assert si_sdr(s, s + n) == pytest.approx(20)
    assert si_sdr(s, 7 * (s + n)) == pytest.approx(20)
    assert si_sdr(3 * s + 1, s + n - 2) == pytest.approx(20)


def test_si_sdr_of_a_copy_and_of_silence():
    x = voice(0.5)
    assert si_sdr(x, x * 2) > 100
    for pair in ((np.zeros(10), np.ones(10)), (np.arange(10.0), np.zeros(10))):
        with pytest.raises(UndefinedMetricError):
            si_sdr(*pair)
    with pytest.raises(UndefinedMetricError, match="the estimate is silent"):
        si_sdr(x, np.zeros_like(x))


def test_pesq_of_silence_says_so():
    pytest.importorskip("pesq")
    with pytest.raises(UndefinedMetricError, match="PESQ: the estimate is silent"):
        pesq_wb(voice(1.0), np.zeros(16_000))


def test_the_level_in_pauses_is_that_of_what_is_left_there():
    rng = np.random.default_rng(0)
    said = np.where(np.arange(64_000) // 8_000 % 2 == 0, rng.normal(size=64_000), 0)
    rest = rng.normal(size=64_000)
    for level_db in (-20.0, -45.0):
        left = said + 10 ** (level_db / 20) * rest * (said == 0)
        assert pause_db(said, left) == pytest.approx(level_db, abs=0.3)
        assert pause_db(said, 0.01 * left) == pytest.approx(level_db, abs=0.3)
    assert pause_db(said, said) == -100
    with pytest.raises(UndefinedMetricError, match="no pause"):
        pause_db(rest, said + rest)
    for pair in ((0 * said, rest), (said, 0 * said), (said[:100], said[:100])):
        with pytest.raises(UndefinedMetricError):
            pause_db(*pair)


def test_signals_must_pair():
    for measure in (si_sdr, pesq_wb, stoi):
        with pytest.raises(SlimcleanError, match="do not pair"):
            measure(np.ones(10), np.ones(11))


@needs_pesq
def test_a_copy_scores_the_top():
    x = voice(2.0)
    assert pesq_wb(x, x) == pytest.approx(4.64, abs=0.01)
    assert stoi(x, x) == pytest.approx(1.0, abs=1e-4)


@needs_pesq
def test_without_speech_there_is_no_score():
    with pytest.raises(UndefinedMetricError, match="PESQ"):
        pesq_wb(np.zeros(16_000, np.float32), np.zeros(16_000, np.float32))
    with pytest.raises(UndefinedMetricError, match="STOI"):
        stoi(voice(0.2), voice(0.2))


@pytest.mark.parametrize("samples", [1, 100, 400, 600])
def test_what_is_shorter_than_a_frame_is_too_short_for_stoi(samples):
    pytest.importorskip("pystoi")
    x = voice(1.0)[1_000 : 1_000 + samples]
    with pytest.raises(UndefinedMetricError, match="too little speech"):
        stoi(x, x)


def test_missing_packages_name_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pesq", None)
    monkeypatch.setitem(sys.modules, "pystoi", None)
    for measure in (pesq_wb, stoi):
        with pytest.raises(MissingDependencyError, match=r"slimclean\[score\]"):
            measure(np.ones(10), np.ones(10))


def test_the_spectral_distance_by_its_definition():
    """librosa's frames and decibels against a loop over frames."""
    rng = np.random.default_rng(0)
    s = rng.normal(size=4000) * np.repeat([1.0, 1e-3], 2000)
    e = s + 0.1 * rng.normal(size=4000)
    powers = [
        [np.abs(np.fft.rfft(x[at : at + 512] * np.hanning(512))) ** 2 for at in range(0, 4000 - 511, 256)]
        for x in (s, e)
    ]
    a, b = (10 * np.log10(np.maximum(p, np.max(powers[0]) * 1e-8)) for p in powers)
    distance = np.mean([np.sqrt(np.mean((x - y) ** 2)) for x, y in zip(a, b, strict=True)])
    assert log_spectral_distance(s, e) == pytest.approx(distance, rel=1e-9)


def test_librosa_is_imported_where_it_is_used_alone():
    """It takes a second or more to import."""
    code = "import sys; from slimclean.scoring import metrics; assert 'librosa' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
