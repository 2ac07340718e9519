"""STOI, differentiable: how well the envelopes of an estimate follow those of the clean speech.

Source: Taal et al. 2011, "An algorithm for intelligibility prediction of time-frequency weighted noisy speech".
Frames in which the clean speech is silent are left out of the spectrogram, not cut out of the waveform.

Glossary: B batch, T samples, F frames, K third-octave bands, S segments, N frames of a segment.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from slimclean.dsp import SAMPLE_RATE

RATE_HZ = 10_000
SIZE, HOP, FFT = 256, 128, 512
BANDS = 15
LOWEST_HZ = 150.0
"""Centre of the first third-octave band."""
SEGMENT = 30
"""Frames: 384 ms."""
DYNAMIC_RANGE_DB = 40.0
"""Frames that lie further below the loudest are silence."""
CLIP = 1 + 10 ** (15 / 20)
"""An envelope counts up to this many times the clean one: a signal to distortion ratio of -15 dB."""
_FLOOR = 1e-6


def unintelligibility(clean: Tensor, enhanced: Tensor) -> Tensor:
    """Measure 1 - STOI, [B, T] x 2 at 16 kHz -> [B]; 0 for less clean speech than a segment."""
    bands = _bands(clean.device)
    power = _spectra(torch.cat([clean, enhanced]))  # [2 B, F, bins]
    if power.shape[1] < SEGMENT:
        return 0 * enhanced.sum(-1)
    energy = power[: len(clean)].sum(-1)
    speaks = energy > energy.amax(-1, keepdim=True) * 10 ** (-DYNAMIC_RANGE_DB / 10)
    # Speech first, in its order: segments of nothing else are the first ones.
    order = speaks.logical_not().to(torch.uint8).argsort(dim=1, stable=True)
    envelopes = (power @ bands + _FLOOR).sqrt()  # [2 B, F, K]
    envelopes = envelopes.gather(1, order.repeat(2, 1)[..., None].expand(-1, -1, BANDS))
    correlation = _correlation(*envelopes.unfold(1, SEGMENT, 1).chunk(2))  # [B, S]
    segments = speaks.sum(1, keepdim=True) - SEGMENT + 1
    counts = torch.arange(correlation.shape[1], device=clean.device) < segments
    loss = ((1 - correlation) * counts).sum(1) / segments[:, 0].clamp_min(1)
    heard: Tensor = clean.square().mean(-1) > 1e-6
    return loss * heard


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    """Correlate envelopes [B, S, K, N], mean over bands, -> [B, S]; `y` is scaled and clipped first."""
    gain = x.norm(dim=-1, keepdim=True) / y.norm(dim=-1, keepdim=True)
    y = torch.minimum(y * gain, x * CLIP)
    x, y = (e - e.mean(-1, keepdim=True) for e in (x, y))
    norms = x.square().sum(-1) * y.square().sum(-1)
    correlation: Tensor = (x * y).sum(-1) / (norms + _FLOOR**2).sqrt()
    return correlation.mean(-1)


def _spectra(x: Tensor) -> Tensor:
    """Take power spectra at 10 kHz, [B, T] -> [B, F, FFT / 2 + 1]."""
    length = x.shape[-1] * RATE_HZ // SAMPLE_RATE
    # Cutting the spectrum of the whole signal limits its band.
    x = torch.fft.irfft(torch.fft.rfft(x)[..., : length // 2 + 1], length) * (length / x.shape[-1])
    window = torch.hann_window(SIZE + 2, periodic=False, device=x.device)[1:-1]
    spectrum = torch.fft.rfft(x.unfold(-1, SIZE, HOP) * window, FFT)
    power: Tensor = spectrum.real.square() + spectrum.imag.square()
    return power


@functools.cache
def _bands(device: torch.device) -> Tensor:
    """Say which bins a third-octave band sums, [FFT / 2 + 1, K]."""
    hz = np.linspace(0, RATE_HZ / 2, FFT // 2 + 1)
    centre = LOWEST_HZ * 2 ** (np.arange(BANDS) / 3)
    low, high = (np.abs(hz[:, None] - centre * 2**side).argmin(0) for side in (-1 / 6, 1 / 6))
    bins = np.arange(len(hz))[:, None]
    return torch.from_numpy(((bins >= low) & (bins < high)).astype(np.float32)).to(device)
