"""Metrics on signals whose scores are known."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from conftest import voice
from test_examples import PAIR

from slimclean import audio
from slimclean.dsp.resample import resample
from slimclean.errors import MissingDependencyError, SlimcleanError, UndefinedMetricError
from slimclean.scoring import composite, metrics
from slimclean.scoring.alignment import delay_samples
from slimclean.scoring.composite import log_likelihood_ratio, weighted_spectral_slope
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
    for constant in (0.0, 0.1, 1e-3):  # in double precision the mean of 0.1 is not 0.1
        with pytest.raises(UndefinedMetricError, match="the estimate is silent"):
            si_sdr(x, np.full(len(x), constant))


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
    with pytest.raises(UndefinedMetricError, match="the reference is silent"):
        stoi(np.zeros(16_000), voice(1.0))


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


def hann_frames(x: np.ndarray) -> list[np.ndarray]:
    window = np.sin(np.pi * np.arange(1, 481) / 481) ** 2
    return [x[at : at + 480] * window for at in range(0, len(x) - 479, 120)]


def mean_of_nearest(scores: list[float]) -> float:
    return float(np.mean(sorted(scores)[: round(0.95 * len(scores))]))


@pytest.fixture
def spoken() -> tuple[np.ndarray, np.ndarray]:
    """A voice, and that in noise through a filter, with much of it for a while."""
    rng = np.random.default_rng(0)
    s = voice(0.5).astype(np.float64) + 1e-3 * rng.normal(size=8_000)
    e = np.convolve(s, [1, 0.6, 0.3], "same") + 0.01 * rng.normal(size=8_000)
    e[1_000:2_000] += rng.normal(size=1_000)
    return s, e


def test_the_likelihood_ratio_is_what_the_wrong_predictor_leaves(spoken):
    """Energies of prediction errors, filter by filter, instead of quadratic forms."""

    def predictor(x: np.ndarray) -> np.ndarray:
        r = [x[: 480 - k] @ x[k:] for k in range(17)]
        matrix = [[r[abs(i - j)] for j in range(16)] for i in range(16)]
        return np.concatenate([[1], -np.linalg.solve(matrix, r[1:])])

    scores = []
    for s, e in zip(*map(hann_frames, spoken), strict=True):
        own, others = (np.square(np.convolve(s, predictor(x))).sum() for x in (s, e))
        scores.append(min(2.0, np.log(others / own)))
    assert max(scores) == 2
    assert log_likelihood_ratio(*spoken) == pytest.approx(mean_of_nearest(scores), rel=1e-6)


def test_the_spectral_slope_by_loops_over_bands(spoken):
    """Klatt's distance, frame by frame and band by band."""
    centres, widths = composite._CENTRES_HZ, composite._WIDTHS_HZ
    np.testing.assert_allclose(np.diff(centres), widths[:-1], rtol=1e-4)  # bands lie side by side

    bands = np.zeros((25, 512))
    for k, (centre, width) in enumerate(zip(centres, widths, strict=True)):
        for place in range(512):
            share = 70 / width * np.exp(-11 * ((place - centre // 15.625) * 15.625 / width) ** 2)
            bands[k, place] = share if share > np.exp(-15 / 2.303) else 0

    def levels(frame: np.ndarray) -> list[float]:
        power = np.abs(np.fft.fft(frame, 1024)[:512]) ** 2
        return [10 * np.log10(max(power @ band, 1e-10)) for band in bands]

    def peak(level: list[float], k: int) -> float:
        up = level[k + 1] > level[k]
        while 0 <= k < 24 and (level[k + 1] > level[k]) == up:
            k += 1 if up else -1
        return level[k - 1] if up else level[k + 1]

    def weight(level: list[float], k: int) -> float:
        return 20 / (20 + max(level) - level[k]) / (1 + peak(level, k) - level[k])

    scores = []
    for a, b in zip(*(map(levels, hann_frames(x)) for x in spoken), strict=True):
        weights = [(weight(a, k) + weight(b, k)) / 2 for k in range(24)]
        apart = [(a[k + 1] - a[k] - b[k + 1] + b[k]) ** 2 for k in range(24)]
        scores.append(np.average(apart, weights=weights))
    assert weighted_spectral_slope(*spoken) == pytest.approx(mean_of_nearest(scores), rel=1e-9)


def test_predicted_opinions_are_those_of_hu_and_loizou(monkeypatch):
    """One measure at a time: what a point, a unit of each moves."""
    found = {"pesq_wb": 2.0, "log_likelihood_ratio": 0.0, "weighted_spectral_slope": 0.0, "segmental_snr": 0.0}
    for name in found:
        monkeypatch.setattr(metrics, name, lambda *_, name=name: found[name])
    x = np.ones(1000)
    start = metrics.composite(x, x)
    assert start == pytest.approx({"csig": 3.093 + 1.206, "cbak": 1.634 + 0.956, "covl": 1.594 + 1.61})
    for name, change, wanted in (
        ("pesq_wb", 1.0, (0.603, 0.478, 0.805)),
        ("log_likelihood_ratio", 1.0, (-1.029, 0, -0.512)),
        ("weighted_spectral_slope", 100.0, (-0.9, -0.7, -0.7)),
        ("segmental_snr", 10.0, (0, 0.63, 0)),
    ):
        found[name] += change
        moved = [after - start[scale] for scale, after in metrics.composite(x, x).items()]
        assert moved == pytest.approx(wanted, abs=1e-9), name
        found[name] -= change


def test_segments_count_between_their_limits():
    """A hundredth of full scale in noise of full scale, and nothing but what was said."""
    x = np.random.default_rng(0).normal(size=4_800)
    assert metrics.segmental_snr(x, 100 * x) == -10
    assert metrics.segmental_snr(x, (1 + 1e-6) * x) == 35


@needs_pesq
def test_narrow_band_pesq_is_that_of_both_at_8_khz():
    import pesq

    clean, noisy = (audio.read(PAIR / f"{name}.flac")[0][0] for name in ("clean", "noisy"))
    telephone = [resample(x[None], 16_000, 8_000)[0] for x in (clean, noisy)]
    assert metrics.pesq_nb(clean, noisy) == pytest.approx(pesq.pesq(8_000, *telephone, "nb"), abs=0.02)


@pytest.mark.parametrize(("level_db", "pauses"), [(-33.0, False), (-37.0, True)])
def test_a_pause_lies_35_db_under_speech(level_db, pauses):
    x = np.random.default_rng(0).normal(size=64_000) * np.where(
        np.arange(64_000) < 32_000, 1, 10 ** (level_db / 20)
    )
    if pauses:
        assert pause_db(x, x) == pytest.approx(level_db, abs=0.2)
    else:
        with pytest.raises(UndefinedMetricError, match="no pause"):
            pause_db(x, x)


def test_a_delay_is_looked_for_in_all_of_a_long_recording():
    """Of which the first half a minute says nothing."""
    said = np.concatenate([np.zeros(31_000), np.random.default_rng(0).normal(size=60_000)])[None]
    assert delay_samples(said[:, 17:], said[:, :-17], 1_000) == 17
