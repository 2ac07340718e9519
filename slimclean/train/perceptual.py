"""A differentiable sketch of PESQ: loudness differences in Bark bands, what was added weighing most.

Source: ITU-T P.862 and P.862.2, whose disturbances are kept (loudness after Zwicker, masking, asymmetry,
the two norms and their weights) and whose alignment is left out: estimates here are in time and in level.

Glossary: B batch, T samples, F frames, K bands.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

SAMPLE_RATE = 16_000
SIZE, HOP = 512, 256
BANDS = 49
SPEECH_DB_SPL = 99.0
"""Of the whole signal. The standard listens at 79 dB, but counts narrow bands several times; this agrees
with its disturbances on enhanced speech."""
LOUDNESS_EXPONENT = 0.23
LOUDNESS_SCALE = 0.145
"""Makes a tone of 1 kHz at 40 dB SPL one sone."""
MASKED = 0.25
"""Of the softer loudness: smaller differences are not heard."""
SYMMETRIC_WEIGHT, ASYMMETRIC_WEIGHT = 0.1, 0.0309
LOUDEST_DISTURBANCE = 45.0


def disturbance(clean: Tensor, enhanced: Tensor) -> Tensor:
    """How many points of raw PESQ are lost, [B, T] x 2 -> [B]; 0 where the clean signal is silent."""
    matrix, threshold = (x.to(clean.device) for x in _bands())
    window = torch.hann_window(SIZE, device=clean.device)
    window = window / window.square().sum().sqrt()
    spectrum = torch.stft(torch.cat([clean, enhanced]), SIZE, HOP, window=window, return_complex=True)
    power = (spectrum.real.square() + spectrum.imag.square()).mT @ matrix  # [2 B, F, K]
    reference, estimate = power.chunk(2)
    level = clean.square().mean(-1)
    scale = 10 ** (SPEECH_DB_SPL / 10) / level.clamp_min(1e-6)[:, None, None]
    reference, estimate = reference * scale, estimate * scale  # 1 is 0 dB SPL
    reference = reference * _colour(reference, estimate)
    a, b = _loudness(reference, threshold), _loudness(estimate, threshold)
    heard = ((a - b).abs() - MASKED * torch.minimum(a, b)).clamp_min(0)
    asymmetry = ((estimate.detach() + 50) / (reference + 50)) ** 1.2  # steep; a weight, not an aim
    added = torch.where(asymmetry < 3, 0, asymmetry.clamp_max(12))
    total = BANDS * _band_width()
    symmetric = ((heard * _band_width()).square().sum(-1) / total + 1e-8).sqrt() * total
    asymmetric = (heard * added).sum(-1) * _band_width()
    points = SYMMETRIC_WEIGHT * _over_time(symmetric) + ASYMMETRIC_WEIGHT * _over_time(asymmetric)
    return torch.where(level > 1e-6, points, 0)


def _colour(reference: Tensor, estimate: Tensor) -> Tensor:
    """The estimate's long-term spectrum over the reference's, [B, 1, K], at most 20 dB: a filter is no noise.

    Without a gradient: it is a judgement of the listener, not something to aim at.
    """
    with torch.no_grad():
        means = [x.mean(1, keepdim=True) + 1000 for x in (estimate, reference)]
        return (means[0] / means[1]).clamp(0.01, 100)


def _over_time(frames: Tensor) -> Tensor:
    """[B, F] -> [B]: the loud ones of each third of a second count (L6), then all thirds alike (L2)."""
    frames = frames.clamp_max(LOUDEST_DISTURBANCE)
    length = min(20, frames.shape[1])
    pieces = frames.unfold(1, length, max(1, length // 2))  # [B, pieces, 20]
    return ((pieces + 1e-4) ** 6).mean(-1).pow(1 / 3).mean(-1).sqrt()


def _loudness(power: Tensor, threshold: Tensor) -> Tensor:
    """Zwicker's law: sone per Bark of a band's power, both re 0 dB SPL."""
    gained = (0.5 + 0.5 * power / threshold) ** LOUDNESS_EXPONENT - 1
    return LOUDNESS_SCALE * (2 * threshold) ** LOUDNESS_EXPONENT * gained.clamp_min(0)


def _bark(hz: Tensor) -> Tensor:
    return 6 * torch.asinh(hz / 600)


def _band_width() -> float:
    """Width of a band in Bark: about 0.4."""
    return float(_bark(torch.tensor(SAMPLE_RATE / 2))) / BANDS


@functools.cache
def _bands() -> tuple[Tensor, Tensor]:
    """The matrix from bins to bands of equal width in Bark [257, K], and the threshold in quiet [K]."""
    hz = torch.linspace(0, SAMPLE_RATE / 2, SIZE // 2 + 1)
    centres = (torch.arange(BANDS) + 0.5) * _band_width()
    # Triangles as wide as the bands, or as the bins where those are wider, so that none is empty.
    distance = (_bark(hz)[:, None] - centres).abs()
    bin_width = _bark(hz + hz[1]) - _bark(hz)
    reach = bin_width.clamp_min(_band_width())[:, None]
    matrix = (1 - distance / reach).clamp_min(0)
    matrix = matrix / matrix.sum(1, keepdim=True).clamp_min(1e-9) / len(hz)
    # The wide-band standard's input filter, a high-pass near 100 Hz, at unit gain above.
    z = torch.exp(-2j * torch.pi * hz / SAMPLE_RATE)
    response = (1 - 2 * z + z**2) / (1 - 1.9444777 * z + 0.94597794 * z**2)
    matrix = matrix * response.abs().square()[:, None]
    khz = 600 * torch.sinh(centres / 6) / 1000
    quiet_db = 3.64 * khz**-0.8 - 6.5 * torch.exp(-0.6 * (khz - 3.3) ** 2) + 1e-3 * khz**4
    return matrix, 10 ** (quiet_db.clamp(15, 60) / 10)
