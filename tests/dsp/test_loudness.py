"""The loudness meter on the signals that EBU Tech 3341 describes, and beside BS.1770 written out."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import scipy.signal
from conftest import voice

pytest.importorskip("av", reason="the meter needs PyAV")

from slimclean.dsp import loudness
from slimclean.dsp.loudness import Loudness, LoudnessMeter, together_lufs
from slimclean.dsp.true_peak import HALF_TAPS, TruePeak, interpolators, peaks_between
from slimclean.errors import MissingDependencyError


def tones(*parts, rate=48_000, offsets_db=(0, 0)):
    """A sine of 1 kHz in all channels, [C, T]: (seconds, peak in dBFS) after each other."""
    lengths = [round(seconds * rate) for seconds, _ in parts]
    gain = np.repeat([10 ** (db / 20) for _, db in parts], lengths)
    sine = gain * np.sin(2 * np.pi * 1000 * np.arange(len(gain)) / rate)
    return np.stack([10 ** (db / 20) * sine for db in offsets_db]).astype(np.float32)


def measure(x, rate=48_000, layout=None, block=100_000) -> Loudness:
    meter = LoudnessMeter(rate, len(x), layout)
    for start in range(0, x.shape[1], block):
        meter.add(x[:, start : start + block])
    return meter.finish()


def plain_lufs(x, weights):
    """BS.1770-4 for 48 kHz with the standard's own coefficients; all in memory, all in double precision."""
    shelf = (1.53512485958697, -2.69169618940638, 1.19839281085285, 1, -1.69065929318241, 0.73248077421585)
    high_pass = (1, -2, 1, 1, -1.99004745483398, 0.99007225036621)
    y = scipy.signal.sosfilt([shelf, high_pass], np.asarray(x, np.float64))
    blocks = np.lib.stride_tricks.sliding_window_view(y, 19_200, axis=1)[:, ::4_800]
    power = np.asarray(weights) @ np.square(blocks).mean(-1)
    heard = power[-0.691 + 10 * np.log10(power + 1e-20) > -70]
    heard = heard[heard > heard.mean() / 10]
    return -0.691 + 10 * np.log10(heard.mean())


@pytest.mark.parametrize(
    ("parts", "lufs"),
    [
        pytest.param([(20, -23)], -23, id="1"),
        pytest.param([(20, -33)], -33, id="2"),
        pytest.param([(10, -36), (60, -23), (10, -36)], -23, id="3"),
        pytest.param([(10, -72), (10, -36), (60, -23), (10, -36), (10, -72)], -23, id="4"),
        pytest.param([(20, -26), (20.1, -20), (20, -26)], -23, id="5"),
    ],
)
def test_programme_loudness_of_ebu_3341(parts, lufs):
    assert measure(tones(*parts)).integrated_lufs == pytest.approx(lufs, abs=0.05)


@pytest.mark.parametrize("rate", [1_000 * 3, 8_000, 11_025, 16_000, 44_100, 96_000, 192_000])
def test_every_rate(rate):
    assert measure(tones((5, -23), rate=rate), rate).integrated_lufs == pytest.approx(-23, abs=0.1)


def test_surround_of_ebu_3341_case_6():
    """Two front channels, centre, two surrounds; a loud bass channel changes nothing."""
    x = tones((20, 0), offsets_db=(-28, -28, -24, -30, -30))
    assert measure(x, layout="5.0").integrated_lufs == pytest.approx(-23, abs=0.05)
    with_bass = np.insert(x, 3, 0.5, axis=0)
    assert measure(with_bass, layout="5.1").integrated_lufs == pytest.approx(-23, abs=0.05)


@pytest.mark.parametrize(
    ("samples_a_period", "degrees", "amplitude", "dbtp"),
    [
        pytest.param(4, 0, 0.5, -6, id="15"),
        pytest.param(4, 45, 0.5, -6, id="16"),
        pytest.param(6, 60, 0.5, -6, id="17"),
        pytest.param(8, 67.5, 0.5, -6, id="18"),
        pytest.param(4, 45, 1.41, 3, id="19"),
    ],
)
def test_true_peak_of_ebu_3341(samples_a_period, degrees, amplitude, dbtp):
    n = np.arange(48_000)
    fade = np.minimum(1, np.minimum(n, n[::-1]) / 2_400)
    sine = amplitude * np.sin(2 * np.pi * n / samples_a_period + np.radians(degrees))
    assert measure(np.stack([fade * sine] * 2).astype(np.float32)).true_peak_dbtp == pytest.approx(
        dbtp, abs=0.1
    )


@pytest.mark.parametrize("offset", range(4))
def test_one_peak_between_samples_of_ebu_3341_cases_20_to_23(offset):
    """One period of twice the amplitude, made at four times the rate, of which every fourth sample is taken."""
    n = np.arange(4 * 48_000)
    x = 0.5 * np.sin(2 * np.pi * n / 24)
    x[96_000:96_024] *= 2
    x = np.convolve(x, scipy.signal.firwin(511, 0.23, window=("kaiser", 9)), "same")
    wanted = 20 * np.log10(np.abs(scipy.signal.resample_poly(x, 4, 1)).max())
    x = x[None, offset::4].astype(np.float32)
    assert measure(x).true_peak_dbtp == pytest.approx(wanted, abs=0.1)


def test_soft_peaks_are_as_exact_as_loud_ones():
    """However the recording is cut into blocks; 10^-6 of full scale is far below a filter's three decimals."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.1, (2, 20_000)).astype(np.float32)
    fine = np.abs(scipy.signal.resample(x, 32 * x.shape[1], axis=1)).max()
    found = []
    for gain, block in ((1, 20_000), (1e-3, 20_000), (1e-6, 20_000), (1e-6, 7), (1e-6, 333)):
        peak = TruePeak(2)
        for at in range(0, 20_000, block):
            peak.add(np.float32(gain) * x[:, at : at + block])
        found.append(peak.finish() / gain)
    np.testing.assert_allclose(found, found[0], rtol=1e-5)
    assert found[0] == pytest.approx(fine, rel=0.03)
    assert TruePeak(1).finish() == 0


def test_blocks_do_not_hide_a_peak():
    """Of noise at its limits, where a point between two samples may be far above both."""
    x = np.sign(np.random.default_rng(0).normal(size=(1, 5_000))).astype(np.float32)
    found = []
    for block in (1, 33, 5_000):
        peak = TruePeak(1)
        for at in range(0, 5_000, block):
            peak.add(x[:, at : at + block])
        found.append(peak.finish())
    assert found[0] == pytest.approx(found[1], rel=1e-5) == pytest.approx(found[2], rel=1e-5)
    assert found[0] > 2


def test_points_are_left_out_only_where_they_are_below_the_level():
    """Of a sparse signal, whose loud samples reach far."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(2, 4_000)) * np.where(rng.random((2, 4_000)) < 0.01, 10, 0.001)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x, 2 * HALF_TAPS, axis=1)
    every = np.abs(windows @ interpolators()).max(axis=(0, 2))
    for level in (0.05, 0.5, 2.0, 10.0):
        found = peaks_between(x, level)
        assert 0 < np.count_nonzero(found < every) < len(every)
        np.testing.assert_array_equal(found[every > level], every[every > level])


def test_a_peak_in_the_last_samples_counts():
    x = np.zeros((1, 30_000), np.float32)
    x[0, -20:] = 0.5 * (-1.0) ** (np.arange(20) // 2)
    assert measure(x).true_peak_dbtp > -4


def test_beside_the_standard_written_out():
    x = np.stack([voice(4, 48_000, seed) * gain for seed, gain in enumerate((0.3, 1, 0.5, 0.7, 0.2))])
    assert measure(x).integrated_lufs == pytest.approx(plain_lufs(x, np.ones(5)), abs=0.03)
    weights = (1, 1, 1, 1.41, 1.41)
    assert measure(x, layout="5.0").integrated_lufs == pytest.approx(plain_lufs(x, weights), abs=0.03)


@pytest.mark.parametrize("layout", ["no such", "", "5.1", "mono"])
def test_layouts_of_others_do_not_matter(layout):
    x = tones((1, -23))
    assert measure(x, layout=layout) == measure(x)


def test_blocks_make_no_difference():
    x = np.stack([voice(3, 44_100), voice(3, 44_100, 1)])
    assert measure(x, 44_100, block=4_411) == measure(x, 44_100, block=1_000_000)


def test_64_channels():
    x = np.repeat(tones((0.6, -23), offsets_db=(0,)), 64, axis=0)
    assert measure(x).integrated_lufs == pytest.approx(-26 + 10 * np.log10(64), abs=0.1)


@pytest.mark.parametrize("x", [np.zeros((2, 0)), np.zeros((2, 48_000)), tones((0.3, -3)), tones((2, -80))])
def test_no_programme_has_no_loudness(x):
    found = measure(x.astype(np.float32))
    assert found.integrated_lufs == -np.inf
    assert not found.blocks


def test_several_recordings_as_one_programme():
    """Gated together: what one recording alone would count for is under the gate of the set."""
    loud, soft, long = tones((4, -20)), tones((4, -60)), tones((12, -26))
    alone = [measure(x) for x in (loud, soft, long, np.zeros((2, 100_000), np.float32))]
    whole = plain_lufs(np.concatenate([loud, long], axis=1), [1, 1])
    assert together_lufs(alone) == pytest.approx(whole, abs=0.1)
    assert together_lufs(alone[:1]) == pytest.approx(alone[0].integrated_lufs, abs=0.03)
    assert together_lufs([]) == together_lufs(alone[3:]) == -np.inf


def test_without_pyav(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'slimclean\[av\]'"):
        loudness.require_meter()


def test_a_loud_moment_gates_no_hour():
    """The gate lies under the mean of all blocks, in which each counts once."""
    blocks = {-2_000: 1, -3_300: 500}
    power = (10**-2.0 + 500 * 10**-3.3) / 501
    assert together_lufs([Loudness(0, 0, blocks)]) == pytest.approx(10 * np.log10(power))
