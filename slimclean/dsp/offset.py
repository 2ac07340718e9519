"""A constant offset of the samples: found around each place, and taken out.

The offset is the median of the means of tenths of a second within 2 s: it moves at once where a recording
with an offset is cut to one without, and keeps still while somebody speaks. A mean that chance could have given
is no offset, so a recording without one passes as it is. Digital silence has none, and says nothing of the
sound around it. Before its first and after its last sample a recording counts as mirrored.

Glossary: C channels, T samples, N tenths of a second.
"""

from __future__ import annotations

import numpy as np

PER_S = 10
REACH = 20
"""Tenths of a second to either side of the one in the middle."""
FEWEST = 5
"""Tenths: a shorter recording does not say what its offset is."""
LEAST = 1e-4
"""-80 dBFS: below it nobody minds."""
BEYOND_CHANCE = 10.0
"""Standard errors of the median, over which an offset is one. It is taken out whole from a quarter more on."""


class OffsetTracker:
    """Takes a recording block by block and gives the offset of each tenth of a second once it is certain."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._size = max(1, sample_rate // PER_S)
        self._rest: np.ndarray | None = None
        self._first = self._count = 0
        self._known: np.ndarray | None = None
        """Means and their standard errors [2, C, N], from `REACH` before the next to give."""
        self._given = 0

    def add(self, block: np.ndarray) -> np.ndarray:
        """Return the samples [C, T] -> offsets of the tenths that got certain, [C, N]."""
        rest = block if self._rest is None else np.concatenate([self._rest, block], axis=1)
        end = self._first + rest.shape[1]
        count = max(0, end * PER_S // self._rate + 1 - self._count)
        starts = (self._count + np.arange(count)) * self._rate // PER_S - self._first
        starts = starts[starts + self._size <= rest.shape[1]]
        found = np.zeros((2, len(block), 0))
        if len(starts):
            windows = np.lib.stride_tricks.sliding_window_view(rest, self._size, axis=1)
            found = _means(windows[:, starts])
        self._count += len(starts)
        keep = min(end, self._count * self._rate // PER_S) - self._first
        self._rest, self._first = rest[:, keep:], self._first + keep
        return self._advance(found)

    def finish(self) -> np.ndarray:
        """Return the rest: together there is an offset for every tenth that was begun."""
        if self._rest is None:
            return np.zeros((1, 0))
        rest = self._rest[:, None]
        return self._advance(_means(rest) if rest.shape[2] else np.zeros((2, len(rest), 0)), last=True)

    def _advance(self, found: np.ndarray, *, last: bool = False) -> np.ndarray:
        known = found if self._known is None else np.concatenate([self._known, found], axis=2)
        count = known.shape[2] - (REACH if self._given else 0)
        """Not yet given."""
        ready = count if last else count - REACH
        if ready <= 0:
            self._known = known
            return np.zeros((known.shape[1], 0))
        margins = (0 if self._given else REACH, REACH if last else 0)
        around = np.pad(known, ((0, 0), (0, 0), margins), "symmetric")
        index = self._given + np.arange(ready)
        after = np.minimum(REACH, count - 1 - np.arange(ready)) if last else REACH
        self._given, self._known = self._given + ready, around[:, :, ready:]
        # However long the window is, a short recording fills it with little.
        return _offsets(around[:, :, : ready + 2 * REACH], np.minimum(REACH, index) + 1 + after)


def _offsets(around: np.ndarray, independent: np.ndarray) -> np.ndarray:
    """Means and errors [2, C, REACH + N + REACH] -> offsets [C, N]; `independent` means count for each."""
    windows = np.lib.stride_tricks.sliding_window_view(around, 2 * REACH + 1, axis=2)
    silent = np.asarray(~windows.any(0))
    own = silent[..., REACH]
    means, errors = np.where(silent & ~own[..., None], np.nan, windows)  # some are left in each window
    independent = np.minimum(independent, (~silent).sum(2))
    middle = np.nanmedian(means, axis=2)
    spread = 1.48 * np.nanmedian(np.abs(means - middle[..., None]), axis=2)
    error = np.maximum(spread, np.nanmedian(errors, axis=2)) / np.sqrt(np.maximum(independent, 1))
    chance = BEYOND_CHANCE * error
    sure = np.clip(4 * (np.abs(middle) / np.maximum(LEAST, chance) - 1), 0, 1)
    return np.asarray(middle * sure * (independent >= FEWEST) * ~own)


def _means(x: np.ndarray) -> np.ndarray:
    """[C, N, T] -> the means and what chance makes of those of white noise, [2, C, N]."""
    x = x.astype(np.float64)
    return np.stack([x.mean(2), x.std(2) / x.shape[2] ** 0.5])
