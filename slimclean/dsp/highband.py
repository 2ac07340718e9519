"""What lies above the network's band follows what the network did to the top of its own."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from slimclean.dsp import SAMPLE_RATE

GATE_BAND_HZ = (4_000, 7_500)
"""The top of the network's band, which stands for what lies above it; of a recording of a lower rate than the
network's, that of its own band, in proportion: what resampling leaves out at its end goes the same way."""
SMOOTHER = np.array([1, 2, 3, 2, 1]) / 9


def highband_gain(
    noisy: np.ndarray, enhanced: np.ndarray, hop: int, samples: int, sample_rate: int
) -> np.ndarray:
    """Return the gain above the network's band: what it did to the top of its own, [C, T] x 2 -> [C, samples].

    The ratio of magnitudes at the top of the band, of a channel by itself, as the network hears it, per 16 ms
    frame, at most 1, smoothed over about 50 ms and interpolated to `samples` at `sample_rate`. Exactly 1 where
    nothing changed.
    """
    size = 2 * hop
    scale = min(1.0, sample_rate / SAMPLE_RATE)
    band = slice(*(round(f * scale * size / SAMPLE_RATE) for f in GATE_BAND_HZ))
    power = []
    for signal in (noisy, enhanced):
        padded = np.pad(signal, ((0, 0), (hop // 2, size)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=1)[:, ::hop]
        spectrum = np.fft.rfft(windows * np.hanning(size).astype(np.float32), axis=-1)[..., band]
        power.append(np.square(np.abs(spectrum)).sum(axis=2))
    before, after = (ndimage.convolve1d(p, SMOOTHER, axis=1, mode="nearest") for p in power)
    gains = np.sqrt(np.minimum(1.0, (after + 1e-12) / (before + 1e-12)))
    centres = (np.arange(gains.shape[1]) + 0.5) * hop
    times = np.arange(samples) * (noisy.shape[1] / max(samples, 1))
    return np.stack([np.interp(times, centres, gain) for gain in gains]).astype(np.float32)
