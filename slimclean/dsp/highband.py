"""What lies above the network's band follows what the network did to the top of its own."""

from __future__ import annotations

import numpy as np

from slimclean.dsp import SAMPLE_RATE

GATE_BAND_HZ = (4_000, 7_500)
"""The top of the network's band, which stands for what lies above it."""


def highband_gain(noisy: np.ndarray, enhanced: np.ndarray, hop: int, samples: int) -> np.ndarray:
    """Return the gain above the network's band: what it did to the top of its own, [C, T] x 2 -> [1, samples].

    The ratio of magnitudes between 4 and 7.5 kHz over all channels, per 16 ms frame, at most 1, smoothed over
    about 50 ms and interpolated. Exactly 1 where nothing changed.
    """
    size = 2 * hop
    band = slice(*(round(f * size / SAMPLE_RATE) for f in GATE_BAND_HZ))
    power = []
    for signal in (noisy, enhanced):
        padded = np.pad(signal, ((0, 0), (hop // 2, size)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=1)[:, ::hop]
        spectrum = np.fft.rfft(windows * np.hanning(size).astype(np.float32), axis=-1)[..., band]
        power.append(np.square(np.abs(spectrum)).sum(axis=(0, 2)))
    smoother = np.array([1, 2, 3, 2, 1]) / 9
    before, after = (np.convolve(np.pad(p, 2, "edge"), smoother, "valid") for p in power)
    gain = np.sqrt(np.minimum(1.0, (after + 1e-12) / (before + 1e-12)))
    centres = (np.arange(len(gain)) + 0.5) * hop
    times = np.arange(samples) * (noisy.shape[1] / max(samples, 1))
    return np.asarray(np.interp(times, centres, gain), np.float32)[None]
