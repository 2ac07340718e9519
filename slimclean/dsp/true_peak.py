"""Peaks between the samples (ITU-R BS.1770, annex 2): what a converter makes of them at four times the rate.

Glossary: C channels, T samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from scipy.ndimage import maximum_filter1d

HALF_TAPS = 16
OVERSAMPLING = 4
AT_ONCE = 1 << 15


def interpolators() -> np.ndarray:
    """Filters for the points a quarter, a half and three quarters of the way between two samples, [taps, 3].

    Taps 0 to `2 * HALF_TAPS - 1` belong to the samples from `HALF_TAPS - 1` before the earlier of the two on.
    """
    taps = np.arange(1 - HALF_TAPS, HALF_TAPS + 1)[:, None]
    points = np.arange(1, OVERSAMPLING) / OVERSAMPLING
    window = np.i0(8 * np.sqrt(1 - ((taps - points) / (HALF_TAPS + 0.5)) ** 2)) / np.i0(8)
    filters = np.sinc(taps - points) * window
    return np.asarray(filters / filters.sum(0), np.float32)


_FILTERS = interpolators()
_GAIN = float(np.abs(_FILTERS).sum(axis=0).max())
"""How many times higher than all samples around it a point between two of them may be."""


def peaks_between(x: np.ndarray, level: float) -> np.ndarray:
    """Find the peak of any channel before each sample and behind the last: [C, T + 2 HALF_TAPS] -> [T + 1].

    `x` has `HALF_TAPS` samples more on either side. Where it cannot be above `level`, it may be 0.
    """
    taps = 2 * HALF_TAPS
    at = np.abs(x).max(axis=0)
    between = np.zeros(x.shape[1] - taps + 1, np.float32)
    loudest = maximum_filter1d(at, taps)[HALF_TAPS : HALF_TAPS + len(between)]  # of the samples that count
    suspects = np.flatnonzero(loudest * _GAIN > level)
    windows = np.lib.stride_tricks.sliding_window_view(x, taps, axis=1)
    for first in range(0, len(suspects), AT_ONCE):
        some = suspects[first : first + AT_ONCE]
        between[some] = np.abs(windows[:, some] @ _FILTERS).max(axis=(0, 2))
    return between


def around(pieces: Iterable[np.ndarray], reach: int, *, silence: bool = False) -> Iterator[np.ndarray]:
    """Yield consecutive pieces [..., T] -> others with `reach` neighbours on either side.

    Beyond the ends lies silence, or the first and the last value on and on.
    """
    held: np.ndarray | None = None
    for piece in pieces:
        if held is None:
            held = np.repeat(0 * piece[..., :1] if silence else piece[..., :1], reach, axis=-1)
        held = np.concatenate([held, piece], axis=-1)
        if held.shape[-1] > 2 * reach:
            yield held
            held = held[..., -2 * reach :]
    if held is not None:
        end = np.repeat(0 * held[..., -1:] if silence else held[..., -1:], reach, axis=-1)
        yield np.concatenate([held, end], axis=-1)


class TruePeak:
    """The highest peak of a recording, as a share of full scale: `add` its blocks in order, then `finish`."""

    def __init__(self, channels: int) -> None:
        self._held = np.zeros((channels, 2 * HALF_TAPS - 1), np.float32)
        self._highest = 0.0

    def add(self, block: np.ndarray) -> None:
        """Take in the next samples, [C, T]."""
        if not block.shape[1]:
            return
        self._highest = max(self._highest, float(np.abs(block).max()))
        x = np.concatenate([self._held, block.astype(np.float32, copy=False)], axis=1)
        if self._highest > 0:
            self._highest = max(self._highest, float(peaks_between(x, self._highest).max()))
        self._held = x[:, 1 - 2 * HALF_TAPS :].copy()

    def finish(self) -> float:
        """Return the highest peak of all."""
        self.add(np.zeros((len(self._held), HALF_TAPS), np.float32))
        return self._highest
