"""Mixing channels down to one without losing what cancels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

OPPOSITE = 0.5
"""Channels that correlate less than its negative are wired the other way round: their mean is 6 dB softer."""
FADE_S = 0.01
LISTENED_S = (0.1, 0.5)
"""Channels are compared over this much at least, and over that much of what came before a block beside it."""


class Mixdown:
    """The mean of the channels, block by block; a channel that is opposite to the first is turned before.

    Blocks may have any length: what came before a short one is heard with it.
    """

    def __init__(self, channels: int, sample_rate: int) -> None:
        self._signs = np.ones(channels, np.float32)
        self._fade = max(1, round(FADE_S * sample_rate))
        self._least, self._kept = (round(seconds * sample_rate) for seconds in LISTENED_S)
        self._recent = np.zeros((channels, 0))
        self._begun = False
        self.turned: set[int] = set()
        """The channels that were turned anywhere, from 0."""

    def stream(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield consecutive blocks [C, T] as [1, T]; the first with sound waits until there is enough of it."""
        waiting: np.ndarray | None = None
        for block in blocks:
            if waiting is None and (self._begun or not block.any()):
                yield self(block)
                continue
            waiting = block if waiting is None else np.concatenate([waiting, block], axis=1)
            if _heard(waiting) >= self._least or waiting.shape[1] >= self._kept:
                yield self(waiting)
                waiting = None
        if waiting is not None:
            yield self(waiting)

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """Mix the next block down, [C, T] -> [1, T]."""
        x = np.concatenate([self._recent, block.astype(np.float64)], axis=1)
        self._recent = x[:, max(0, x.shape[1] - self._kept) :].copy()
        signs = self._measured(x)
        if not self._begun or block.shape[1] == 0:
            self._signs, self._begun = signs, self._begun or bool(block.any())
        mixed = np.asarray((block * signs[:, None]).mean(0, keepdims=True), np.float32)
        if (signs != self._signs).any():
            fade = np.minimum(1, np.arange(block.shape[1], dtype=np.float32) / self._fade)
            before = (block * self._signs[:, None]).mean(0, keepdims=True)
            mixed = (1 - fade) * before + fade * mixed
            self._signs = signs
        self.turned |= set(np.flatnonzero(signs < 0).tolist())
        return mixed

    def _measured(self, x: np.ndarray) -> np.ndarray:
        """Return the sign of each channel by its correlation with the first that is not silent."""
        signs = self._signs.copy()
        power = np.square(x).sum(1)
        heard = np.flatnonzero(power > 0)
        if len(heard) < 2 or _heard(x) < self._least:
            return signs
        first = heard[0]
        for channel in heard[1:]:
            correlation = float(x[first] @ x[channel]) / np.sqrt(power[first] * power[channel])
            if abs(correlation) > OPPOSITE:
                signs[channel] = signs[first] * np.sign(correlation)
        return signs

    def remarks(self) -> list[str]:
        """Return what was done, in short phrases."""
        if not self.turned:
            return []
        names = " and ".join(str(channel + 1) for channel in sorted(self.turned))
        return [f"channels cancel: number {names} was turned round before mixing down"]


def _heard(x: np.ndarray) -> int:
    """Count the samples of [C, T] at which any channel sounds."""
    return int(np.count_nonzero(x.any(axis=0)))
