"""A look-ahead limiter: lowers the loudest peaks, and what lies between the samples there, under a ceiling.

    x --> peaks at 4x the rate --> gain a sample needs --> least of +-5 ms --> release --> smoothed --> * x

The gain of a sample is a mean over +-5 ms of gains each of which is at most what that sample needs, so it is at
most that itself: no peak comes through. One gain holds for all channels, so nothing wanders between them.
Everything is a fixed function of the samples around: how a recording was cut into blocks makes no difference.

Glossary: C channels, T samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from scipy.ndimage import minimum_filter1d, uniform_filter1d

from slimclean.dsp.true_peak import HALF_TAPS, around, peaks_between

LOOK_AHEAD_S = 0.005
RELEASE_DB_PER_S = 60.0
"""How fast the gain comes back: 6 dB in a tenth of a second, too slow to bend the waves of a voice."""


class Limiter:
    """Keeps a recording under `ceiling`, a share of full scale; after `stream`, it tells what it did.

    `reduction_db` is the most by which the gain fell, `share` the share of time for which it was below 0.999.
    """

    def __init__(self, sample_rate: int, ceiling: float) -> None:
        self.reduction_db = 0.0
        self._limited = self._total = 0
        self._ceiling = ceiling
        self._reach = 2 * max(1, round(LOOK_AHEAD_S / 2 * sample_rate))  # even: a mean has a middle
        self._release_db = RELEASE_DB_PER_S / sample_rate

    @property
    def share(self) -> float:
        return self._limited / self._total if self._total else 0.0

    def stream(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield consecutive blocks [C, T] -> consecutive blocks of the same signal, limited, lag 0."""
        waiting: list[np.ndarray] = []

        def seen() -> Iterator[np.ndarray]:
            for block in blocks:
                if block.shape[1]:
                    waiting.append(block)
                    yield block

        for gain in self._smoothed(
            self._released(self._least(map(self._needed, around(seen(), HALF_TAPS, silence=True))))
        ):
            x = np.concatenate(waiting, axis=1) if len(waiting) > 1 else waiting[0]
            waiting[:] = [x[:, len(gain) :]]
            self._total += len(gain)
            lowest = float(gain.min())
            if lowest < 1:
                self._limited += int(np.count_nonzero(gain < 0.999))
                self.reduction_db = max(self.reduction_db, -20 * float(np.log10(lowest)))
            yield x[:, : len(gain)] * gain.astype(np.float32) if lowest < 1 else x[:, : len(gain)]

    def _needed(self, x: np.ndarray) -> np.ndarray:
        """Find the gain of each sample, [T], from `HALF_TAPS` more on either side, [C, T + 2 HALF_TAPS]."""
        level = np.abs(x).max(axis=0)
        between = peaks_between(x, self._ceiling)
        peak = np.maximum(level[HALF_TAPS:-HALF_TAPS], np.maximum(between[:-1], between[1:]))
        return np.asarray(np.minimum(1.0, self._ceiling / np.maximum(peak, np.float32(1e-9))))

    def _least(self, gains: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for gain in around(gains, self._reach):
            yield minimum_filter1d(gain, 2 * self._reach + 1)[self._reach : -self._reach]

    def _released(self, gains: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Let each gain [T] rise no faster than the release: in dB, the least of lines that rise from each."""
        before, lowest = 0, np.inf
        for gain in gains:
            line = self._release_db * np.arange(before, before + len(gain))
            least = np.minimum(np.minimum.accumulate(20 * np.log10(gain) - line), lowest)
            before, lowest = before + len(gain), least[-1]
            yield 10 ** ((least + line) / 20)

    def _smoothed(self, gains: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Two means in a row, each over half the reach: corners become curves."""
        for gain in around(gains, self._reach):
            size = self._reach + 1
            smooth = gain if gain.min() == 1 else uniform_filter1d(uniform_filter1d(gain, size), size)
            yield smooth[self._reach : -self._reach]
