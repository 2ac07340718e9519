"""Levels of a recording, gathered block by block: what the network is scaled by, and what the report says."""

from __future__ import annotations

import numpy as np

BLOCK_S = 0.1
FLOOR_DBFS = -100.0
"""What is softer counts as this: digital silence has no level."""
ACTIVE_DB = 10.0
"""Blocks within this of the mean power hold speech; softer ones are pauses."""


class Level:
    """The level of a recording. Blocks [C, T] go in, in order; levels in dBFS are RMS re full scale."""

    def __init__(self) -> None:
        self._powers: list[np.ndarray] = []
        self._square_sum = 0.0
        self._count = 0

    def add(self, block: np.ndarray, sample_rate: int) -> None:
        """Take in the next block, [C, T]."""
        if block.shape[1] == 0:
            return
        size = max(1, round(sample_rate * BLOCK_S))
        power = np.square(block, dtype=np.float32)
        self._square_sum += float(power.sum(dtype=np.float64))
        self._count += block.size
        starts = np.arange(0, block.shape[1], size)
        lengths = np.diff(np.append(starts, block.shape[1]))
        self._powers.append(np.add.reduceat(power, starts, axis=1) / lengths)

    @property
    def dbfs(self) -> float:
        """RMS of everything; -inf for silence or nothing."""
        rms = (self._square_sum / self._count) ** 0.5 if self._count else 0.0
        return float(20 * np.log10(rms)) if rms > 0 else float("-inf")

    @property
    def active_rms(self) -> np.ndarray:
        """RMS of each channel over its blocks with speech, [C]: pauses do not count; 0 for silence."""
        if not self._powers:
            return np.zeros(1)
        powers = np.concatenate(self._powers, axis=1)
        active = powers >= powers.mean(1, keepdims=True) * 10 ** (-ACTIVE_DB / 10)
        return np.asarray(np.sqrt(np.mean(powers, axis=1, where=active)))

    def percentile_dbfs(self, percent: float) -> float:
        """The level, over all channels, that `percent` of the blocks stay below; at least `FLOOR_DBFS`."""
        if not self._powers:
            return FLOOR_DBFS
        powers = np.concatenate(self._powers, axis=1).mean(0)
        return max(FLOOR_DBFS, float(10 * np.log10(np.percentile(powers, percent) + 1e-12)))
