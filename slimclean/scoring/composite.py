"""The two spectral distances behind CSIG, CBAK and COVL. Arrays are float64 [T] at 16 kHz.

Source: Loizou, "Speech Enhancement: Theory and Practice", 2007, chapter 10, and the authors' `composite.m`:
frames of 30 ms every 7.5 ms, and the mean of the 95 % of frames that are nearest.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from slimclean.dsp import SAMPLE_RATE
from slimclean.errors import UndefinedMetricError

SIZE, HOP = 480, 120
LPC_ORDER = 16
KEPT = 0.95
SILENT = 1e-12
"""Energy of a frame of silence: at most -150 dBFS."""
_WINDOW = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, SIZE + 1) / (SIZE + 1)))

# Critical bands of Klatt's measure: centres and widths in Hz.
_CENTRES_HZ = np.array([
    50, 120, 190, 260, 330, 400, 470, 540, 617.372, 703.378, 798.717, 904.128, 1020.38, 1148.30, 1288.72,
    1442.54, 1610.70, 1794.16, 1993.93, 2211.08, 2446.71, 2701.97, 2978.04, 3276.17, 3597.63,
])  # fmt: skip
_WIDTHS_HZ = np.array([
    70, 70, 70, 70, 70, 70, 70, 77.3724, 86.0056, 95.3398, 105.411, 116.256, 127.914, 140.423, 153.823,
    168.154, 183.457, 199.776, 217.153, 235.631, 255.255, 276.072, 298.126, 321.465, 346.136,
])  # fmt: skip


def log_likelihood_ratio(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Measure how much worse the estimate's linear predictor fits the reference, 0 to 2, lower is better.

    Frames in which the reference is silent have nothing to fit and do not count. Undefined
    (`UndefinedMetricError`) below one frame of 30 ms, and where no frame counts.
    """
    scores = []
    for s, e in zip(windowed_frames(reference), windowed_frames(estimate), strict=True):
        r = np.correlate(s, s, "full")[SIZE - 1 : SIZE + LPC_ORDER]
        if r[0] < SILENT:
            continue
        a, b = _predictor(r), _predictor(np.correlate(e, e, "full")[SIZE - 1 : SIZE + LPC_ORDER])
        matrix = linalg.toeplitz(r)
        scores.append(np.log(max((b @ matrix @ b) / max(a @ matrix @ a, 1e-20), 1e-20)))
    if not scores:
        raise UndefinedMetricError("the reference is silent")
    return _mean_of_nearest(np.clip(scores, 0, 2))


def weighted_spectral_slope(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Return Klatt's 1982 distance of spectral slopes in 25 critical bands, 0 or more, lower is better.

    Undefined (`UndefinedMetricError`) below one frame of 30 ms.
    """
    bands = _critical_bands()
    s, e = (
        10
        * np.log10(
            np.maximum(np.square(np.abs(np.fft.rfft(windowed_frames(x), 1024)))[:, :512] @ bands.T, 1e-10)
        )
        for x in (reference, estimate)
    )
    slopes, weights = [], []
    for level in (s, e):
        slopes.append(np.diff(level))
        to_peak = _nearest_peak(level, slopes[-1])
        maximum = level.max(axis=1, keepdims=True)
        global_weight = 20 / (20 + maximum - level[:, :-1])
        weights.append(global_weight * (1 / (1 + to_peak - level[:, :-1])))
    weight = (weights[0] + weights[1]) / 2
    distance = (weight * np.square(slopes[0] - slopes[1])).sum(axis=1) / weight.sum(axis=1)
    return _mean_of_nearest(distance)


def windowed_frames(x: np.ndarray) -> np.ndarray:
    """Cut [T] into Hann-windowed frames of 30 ms every 7.5 ms, [frames, SIZE].

    Raises `UndefinedMetricError` below one frame.
    """
    if len(x) < SIZE:
        raise UndefinedMetricError("shorter than one frame of 30 ms")
    return np.asarray(np.lib.stride_tricks.sliding_window_view(x, SIZE)[::HOP] * _WINDOW)


def _predictor(autocorrelation: np.ndarray) -> np.ndarray:
    """Return the prediction error filter [1, -a_1 ... -a_16] for r_0 ... r_16."""
    r = autocorrelation.copy()
    r[0] = r[0] * (1 + 1e-9) + 1e-20  # silence predicts nothing
    return np.concatenate([[1], -linalg.solve_toeplitz(r[:-1], r[1:])])


def _critical_bands() -> np.ndarray:
    """Return Gaussian filters over 512 bins up to 8 kHz, [25, 512], cut below -30 dB."""
    bins = np.arange(512)
    centre = np.floor(_CENTRES_HZ / (SAMPLE_RATE / 2) * 512)[:, None]
    spread = (_WIDTHS_HZ / (SAMPLE_RATE / 2) * 512)[:, None]
    normal = np.log(_WIDTHS_HZ.min() / _WIDTHS_HZ)[:, None]
    filters = np.exp(-11 * np.square((bins - centre) / spread) + normal)
    return np.asarray(np.where(filters > np.exp(-30 / (2 * 2.303)), filters, 0))


def _nearest_peak(level: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Find the level of the peak to which each band's slope leads, to the right or the left, [frames, 24]."""
    frames, bands = slope.shape
    peak = np.empty_like(slope)
    rows = np.arange(frames)
    for k in range(bands):
        to = np.full(frames, k)
        rising = slope[:, k] > 0
        for _ in range(bands):
            here = slope[rows, np.clip(to, 0, bands - 1)]
            to = to + (rising & (to < bands) & (here > 0)) - (~rising & (to >= 0) & (here <= 0)).astype(int)
        peak[:, k] = np.where(
            rising, level[rows, np.maximum(to - 1, 0)], level[rows, np.minimum(to + 1, bands)]
        )
    return peak


def _mean_of_nearest(scores: np.ndarray) -> float:
    """Return the mean of the lowest 95 %."""
    scores = np.sort(scores)
    return float(scores[: max(1, round(len(scores) * KEPT))].mean())
