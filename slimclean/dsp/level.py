"""Levels of a whole recording, gathered block by block in bounded memory: what the report says."""

from __future__ import annotations

import numpy as np

BLOCKS_PER_S = 10
FLOOR_DBFS = -100.0
"""What is softer counts as this: digital silence has no level."""
BINS_PER_DB = 50
HIGHEST_DBFS = 120.0
"""Floats may be absurdly loud, within reason."""
ROUNDED = 1e-12
"""Of the power with the offset: what is left of less without it comes of rounding."""


class Tenths:
    """Cuts a stream of blocks [C, T] into tenths of a second, and gives the power of each over all channels.

    A constant offset does not count: it is no sound.
    """

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._rest: np.ndarray | None = None
        self._count = 0
        self._start = 0

    def add(self, block: np.ndarray) -> np.ndarray:
        """Take in the next samples; return the powers of the tenths that they complete, [N]."""
        x = block if self._rest is None else np.concatenate([self._rest, block], axis=1)
        end = self._start + x.shape[1]
        count = max(0, end * BLOCKS_PER_S // self._rate - self._count)
        edges = (self._count + np.arange(count + 1)) * self._rate // BLOCKS_PER_S - self._start
        self._count += count
        self._rest, self._start = x[:, edges[-1] :], self._start + int(edges[-1])
        return _powers(x[:, : edges[-1]], edges)

    def rest(self) -> np.ndarray:
        """Return the power of what is left at the end, [0 or 1]."""
        if self._rest is None or self._rest.shape[1] == 0:
            return np.zeros(0)
        return _powers(self._rest, np.array([0, self._rest.shape[1]]))


def _powers(x: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """[C, T] -> the mean over channels of the variance between neighbouring edges, [N]."""
    if len(edges) < 2 or x.shape[1] == 0:
        return np.zeros(0)
    x = x.astype(np.float64)
    lengths = np.maximum(np.diff(edges), 1)
    squares = np.add.reduceat(np.square(x), edges[:-1], axis=1) / lengths
    means = np.add.reduceat(x, edges[:-1], axis=1) / lengths
    return np.asarray(np.maximum(squares - np.square(means), 0).mean(0))


class Histogram:
    """How often each level came, in dB; it does not grow."""

    def __init__(self) -> None:
        self._counts = np.zeros(round((HIGHEST_DBFS - FLOOR_DBFS) * BINS_PER_DB) + 1, np.int64)

    def add(self, powers: np.ndarray) -> None:
        """Take in powers, [N]."""
        level_db = np.clip(10 * np.log10(powers + 1e-30), FLOOR_DBFS, HIGHEST_DBFS)
        bins = np.rint((level_db - FLOOR_DBFS) * BINS_PER_DB).astype(int)
        np.add.at(self._counts, bins, 1)

    def __len__(self) -> int:
        return int(self._counts.sum())

    def percentile_db(self, percent: float) -> float:
        """Find the level that `percent` of what was added stays below; `FLOOR_DBFS` for nothing."""
        if not len(self):
            return FLOOR_DBFS
        wanted = percent / 100 * (len(self) - 1)
        return FLOOR_DBFS + int(np.searchsorted(np.cumsum(self._counts), wanted, "right")) / BINS_PER_DB


class Level:
    """The level of a recording. Blocks [C, T] go in, in order; levels in dBFS are RMS re full scale.

    A constant offset does not count: it is no sound.
    """

    def __init__(self, sample_rate: int) -> None:
        self._tenths = Tenths(sample_rate)
        self._histogram = Histogram()
        self._sum = self._square_sum = np.zeros(1)
        self._count = 0

    def add(self, block: np.ndarray) -> np.ndarray:
        """Take in the next block, [C, T]; return the powers of the tenths that it completes, [N]."""
        self._sum = self._sum + block.sum(1, dtype=np.float64)
        self._square_sum = self._square_sum + np.square(block, dtype=np.float64).sum(1)
        self._count += block.shape[1]
        powers = self._tenths.add(block)
        self._histogram.add(powers)
        return powers

    @property
    def dbfs(self) -> float:
        """RMS of everything; -inf for silence or nothing."""
        if not self._count:
            return float("-inf")
        squares, means = self._square_sum / self._count, self._sum / self._count
        power = squares.mean() - np.square(means).mean()
        return float(10 * np.log10(power)) if power > ROUNDED * squares.mean() else float("-inf")

    def percentile_dbfs(self, percent: float) -> float:
        """Return the level, over all channels, that `percent` of the tenths of a second stay below.

        At least `FLOOR_DBFS`; a recording shorter than a tenth counts as one.
        """
        if len(self._histogram):
            return self._histogram.percentile_db(percent)
        short = Histogram()
        short.add(self._tenths.rest())
        return short.percentile_db(percent)
