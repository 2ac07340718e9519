"""PESQ, differentiable: what ITU-T P.862 with the wide-band filter of P.862.2 takes from 4.5 points.

Source: ITU-T P.862 (2001), sections 10.2.2 to 10.2.12, and P.862.2 (2007). The alignment in
time is left out, since estimates here are in time. Filters act on spectra. The tables are those for 16 kHz.

Glossary: B batch, T samples, F frames, K Bark bands.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch
from scipy import signal
from torch import Tensor
from torch.nn import functional as F

from slimclean.dsp import SAMPLE_RATE

SIZE, HOP = 512, 256
SPEECH_BAND_HZ = (325.0, 3250.0)
LISTENING_POWER = 1e7
"""Mean square that signals are brought to within `SPEECH_BAND_HZ`: 79 dB SPL."""
POWER_SCALE = 6.910853e-6
LOUDNESS_SCALE = 1.866055e-1
ZWICKER_EXPONENT = 0.23
SYMMETRIC_WEIGHT, ASYMMETRIC_WEIGHT = 0.1, 0.0309
LOUDEST_DISTURBANCE = 45.0
MASKED = 0.25
"""Share of the softer loudness: smaller differences are not heard."""

# One entry a Bark band: spectral bins, density correction in per cent, and threshold of hearing in dB.
# fmt: off
BINS = (
    1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2,
    3, 3, 3, 3, 4, 3, 4, 5, 4, 5, 6, 6, 7, 8, 9, 9, 12, 12, 15, 16, 18, 21, 25, 20,
)
CORRECTION = (
    100, 100, 100, 100, 100, 100, 100, 100, 50, 100, 100, 100, 100, 100, 53.05, 110, 117.99, 65, 68.76, 70,
    71.43, 75, 76.84, 80.97, 88.65, 63.86, 68.16, 72.55, 75.58, 58.38, 80.95, 64.14, 54.38, 73.82, 64.44, 59.18,
    65.52, 61.4, 58.14, 57, 64.13, 54.31, 61.11, 55.08, 56.85, 55.63, 53.14, 54.99, 79.55,
)
THRESHOLD_DB = (
    77.1, 63.9, 48.5, 36.9, 30.7, 25.9, 20.2, 16.6, 12.5, 9.9, 6.9, 4.9, 2.8, 1.0, -0.1, -1.4, -2.5, -3.4, -4.1,
    -4.8, -5.3, -5.7, -5.9, -6.0, -6.0, -6.0, -6.0, -5.8, -5.4, -5.1, -4.7, -4.3, -4.0, -3.6, -3.3, -3.1, -3.0,
    -3.0, -2.9, -2.8, -2.8, -2.8, -2.9, -3.2, -3.7, -4.3, -4.4, -3.8, -2.7,
)
# fmt: on
LOWEST_WIDTH_BARK, SECOND_WIDTH_BARK, HIGHEST_WIDTH_BARK = 0.1573, 0.318, 0.5852
"""Widths grow evenly in between, to 0.7 % of the standard's table."""


def disturbance(clean: Tensor, enhanced: Tensor) -> Tensor:
    """Count the points of raw PESQ that are lost, [B, T] x 2 -> [B]; 0 where the clean signal is silent.

    4.5 minus this, through the mapping of P.862.2 (`mos`), is PESQ-WB. Levels do not matter.
    """
    heard = clean.square().mean(-1) > 1e-6
    return torch.where(heard, _points(*_frame_disturbances(clean, enhanced)), 0)


@torch.no_grad()
def by_frame(clean: Tensor, enhanced: Tensor, around: int) -> Tensor:
    """Estimate what each hop of `HOP` samples costs of PESQ-WB, [T] and [B, T] -> [B, T // HOP].

    To first order around item `around`, for estimates that differ little: how steep PESQ is in each frame's
    disturbances there, times those disturbances. 0 where the clean signal is silent.
    """
    if clean.square().mean() <= 1e-6:
        return torch.zeros(len(enhanced), clean.shape[-1] // HOP, device=clean.device)
    kinds = _frame_disturbances(clean.expand_as(enhanced), enhanced)
    with torch.enable_grad():
        here = [frames[around, None].clone().requires_grad_() for frames in kinds]
        slopes = torch.autograd.grad(-mos(_points(*here)).sum(), here)
    costs = F.pad(slopes[0] * kinds[0] + slopes[1] * kinds[1], (1, 1), "replicate")
    return (costs[:, 1:] + costs[:, :-1]) / 2  # each hop lies in two frames


def mos(disturbance: Tensor) -> Tensor:
    """Map the points lost to PESQ-WB by P.862.2, 1.04 to 4.64."""
    return 0.999 + 4 * torch.sigmoid(1.3669 * (4.5 - disturbance) - 3.8224)


def _frame_disturbances(clean: Tensor, enhanced: Tensor) -> tuple[Tensor, Tensor]:
    """Measure both disturbances, symmetric and asymmetric, [B, T] x 2 -> [B, F] each."""
    bands = _bands(clean.device)
    spectra = _bark_spectrum(_at_listening_level(torch.cat([clean, enhanced])), bands)
    reference, estimate = spectra.chunk(2)  # [B, F, K]
    reference = reference * _filter_heard(reference, estimate, bands)
    estimate = estimate * _gain_heard(reference, estimate, bands)

    a, b = (_loudness(power, bands) for power in (reference, estimate))
    difference = ((a - b).abs() - MASKED * torch.minimum(a, b)).clamp_min(0)[..., 1:] * bands.width
    added = ((estimate + 50) / (reference + 50))[..., 1:] ** 1.2
    added = torch.where(added < 3, 0, added.clamp_max(12))
    total = bands.width.sum()
    symmetric = (total * (difference.square().sum(-1) + 1e-8)).sqrt()
    asymmetric = (difference * added).sum(-1)
    loud = ((_audible(reference, bands, 1).sum(-1) + 1e5) / 1e7) ** 0.04
    return (symmetric / loud).clamp_max(LOUDEST_DISTURBANCE), (asymmetric / loud).clamp_max(LOUDEST_DISTURBANCE)


def _points(symmetric: Tensor, asymmetric: Tensor) -> Tensor:
    """Add up both disturbances over time, [B, F] x 2 -> [B]."""
    return SYMMETRIC_WEIGHT * _over_time(symmetric) + ASYMMETRIC_WEIGHT * _over_time(asymmetric)


class _Bands(NamedTuple):
    sums: Tensor
    """[257, K]: bins to bands, with the receive filter and the standard's scale in it."""
    width: Tensor
    """[K - 1], in Bark; the lowest band does not count."""
    threshold: Tensor
    """[K]: power at the threshold of hearing."""
    exponent: Tensor
    """[K]: of loudness, larger in the lowest bands."""


def _at_listening_level(x: Tensor) -> Tensor:
    spectrum = torch.fft.rfft(x)
    passed = _speech_band(spectrum.shape[-1], x.device)
    power = (spectrum.real.square() + spectrum.imag.square()) @ passed * (2 / x.shape[-1] ** 2)
    gain: Tensor = (LISTENING_POWER / power.clamp_min(1e-9)).sqrt()
    return x * gain[:, None]


def _bark_spectrum(x: Tensor, bands: _Bands) -> Tensor:
    window = torch.hann_window(SIZE, device=x.device)
    spectrum = torch.stft(x, SIZE, HOP, window=window, center=False, return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square()).mT @ bands.sums


def _audible(power: Tensor, bands: _Bands, times_threshold: float) -> Tensor:
    return torch.where(power > bands.threshold * times_threshold, power, 0)


def _filter_heard(reference: Tensor, estimate: Tensor, bands: _Bands) -> Tensor:
    """Find the filter between both, [B, 1, K], within 20 dB: it is no noise."""
    speech = _audible(reference, bands, 100).sum(-1, keepdim=True) > 1e7
    means = [(_audible(x, bands, 100) * speech).mean(1, keepdim=True) + 1000 for x in (estimate, reference)]
    return (means[0] / means[1]).clamp(0.01, 100)


def _gain_heard(reference: Tensor, estimate: Tensor, bands: _Bands) -> Tensor:
    """Find the reference's short-term gain over the estimate, [B, F, 1]: slow changes of it are no noise."""
    totals = [_audible(x, bands, 1).sum(-1, keepdim=True) + 5e3 for x in (reference, estimate)]
    ratio = totals[0] / totals[1]
    smooth = torch.cat([ratio[:, :1], 0.8 * ratio[:, 1:] + 0.2 * ratio[:, :-1]], 1)
    return smooth.clamp(3e-4, 5)


def _loudness(power: Tensor, bands: _Bands) -> Tensor:
    """Turn a band's power into sone per Bark by Zwicker's law."""
    gained = (0.5 + 0.5 * power / bands.threshold) ** bands.exponent - 1
    return LOUDNESS_SCALE * (2 * bands.threshold) ** bands.exponent * gained.clamp_min(0)


def _over_time(frames: Tensor) -> Tensor:
    """Average [B, F] -> [B]: loud frames of each third of a second count (L6), then all thirds alike (L2)."""
    length = min(20, frames.shape[1])
    pieces = frames.unfold(1, length, max(1, length // 2))  # [B, pieces, 20]
    return ((pieces + 1e-4) ** 6).mean(-1).pow(1 / 3).mean(-1).sqrt()


@functools.cache
def _speech_band(bins: int, device: torch.device) -> Tensor:
    """Say how much of the power at each bin is within `SPEECH_BAND_HZ`."""
    hz = np.linspace(0, SAMPLE_RATE / 2, bins)
    sos = signal.butter(5, SPEECH_BAND_HZ, "bandpass", fs=SAMPLE_RATE, output="sos")
    response = np.abs(signal.sosfreqz(sos, hz, fs=SAMPLE_RATE)[1])
    return torch.from_numpy((response**2).astype(np.float32)).to(device)


@functools.cache
def _bands(device: torch.device) -> _Bands:
    bins = np.array(BINS)
    sums = np.zeros((SIZE // 2 + 1, len(bins)))
    sums[np.arange(bins.sum()), np.repeat(np.arange(len(bins)), bins)] = 1
    sums *= np.array(CORRECTION) * POWER_SCALE
    # The receive filter of P.862.2, a high-pass near 100 Hz.
    hz = np.linspace(0, SAMPLE_RATE / 2, len(sums))
    response = signal.freqz([1, -2, 1], [1, -1.9444777, 0.94597794], hz, fs=SAMPLE_RATE)[1]
    sums *= (2.740826 * np.abs(response[:, None])) ** 2
    sums[0] = 0
    width = np.geomspace(SECOND_WIDTH_BARK, HIGHEST_WIDTH_BARK, len(bins) - 1)
    edge = LOWEST_WIDTH_BARK + np.cumsum(width)
    centre = np.concatenate([[LOWEST_WIDTH_BARK / 2], edge - width / 2])
    exponent = ZWICKER_EXPONENT * np.clip(6 / (centre + 2), 1, 2) ** 0.15
    threshold = 10 ** (np.array(THRESHOLD_DB) / 10)
    tables = sums, width, threshold, exponent
    return _Bands(*(torch.tensor(x, dtype=torch.float32, device=device) for x in tables))
