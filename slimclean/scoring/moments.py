"""The plain ratios from running sums: what does not fit into memory needs one pass, block by block."""

from __future__ import annotations

import numpy as np

from slimclean.errors import UndefinedMetricError

SILENT = 1e-12
"""A share of the energy that is rounding."""


class Moments:
    """Sums over a reference and an estimate."""

    def __init__(self) -> None:
        self._count = 0
        self._sums = np.zeros(2)
        self._products = np.zeros((2, 2))
        self._error = 0.0

    def add(self, reference: np.ndarray, estimate: np.ndarray) -> None:
        """Take in the next samples of both, [T]."""
        pair = np.stack([reference, estimate]).astype(np.float64)
        self._count += pair.shape[1]
        self._sums += pair.sum(axis=1)
        self._products += pair @ pair.T
        self._error += float(np.square(pair[0] - pair[1]).sum())

    def si_sdr_db(self) -> float:
        """Return what `metrics.si_sdr` does."""
        centred = self._products - np.outer(self._sums, self._sums) / max(self._count, 1)
        for k, name in enumerate(("reference", "estimate")):
            if centred[k, k] <= SILENT * self._products[k, k]:
                raise UndefinedMetricError(f"the {name} is silent")
        target = centred[0, 1] ** 2 / centred[0, 0]
        return _ratio_db(target, centred[1, 1] - target)

    def snr_db(self) -> float:
        """Return what `metrics.snr` does."""
        return _ratio_db(self._energy(0, "reference"), self._error)

    def level_difference_db(self) -> float:
        """Return what `metrics.level_difference_db` does."""
        return _ratio_db(self._energy(1, "estimate"), self._energy(0, "reference"))

    def _energy(self, k: int, name: str) -> float:
        energy = float(self._products[k, k])
        if energy == 0:
            raise UndefinedMetricError(f"the {name} is silent")
        return energy


def _ratio_db(signal: float, noise: float) -> float:
    return float(10 * np.log10(signal / noise)) if noise > 0 else float("inf")
