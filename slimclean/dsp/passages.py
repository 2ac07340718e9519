"""A recording passage by passage: its sound without an offset, and the level of each place.

Blocks go in, and come out some seconds later, when it is certain what offset and what level they have.

Glossary: C channels, T samples, N frames of 20 ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from slimclean.dsp.local_level import FRAMES_PER_S, LocalLevel
from slimclean.dsp.offset import PER_S, OffsetTracker

PIECE_S = 8
"""Longer blocks are taken in pieces of this length."""


class Passages:
    """What is known of the passages of one recording while it streams by."""

    def __init__(self, sample_rate: int) -> None:
        self.offset = 0.0
        """The largest that was taken out so far, with its sign."""
        self._rate = sample_rate
        self._level, self._offset = LocalLevel(sample_rate), OffsetTracker(sample_rate)
        self._frames = np.zeros((2, 1, 0), np.float32)
        """Level and share to enhance, from frame `_first_frame` on."""
        self._first_frame = 0
        self._offsets = np.zeros((1, 0))
        self._first_offset = 0

    def stream(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Take consecutive blocks [C, T], at least one; yield the sound without offset in other blocks.

        `between` tells the level of what was given.
        """
        waiting: np.ndarray | None = None
        start = 0
        for block in _in_pieces(blocks, PIECE_S * self._rate):
            waiting = block if waiting is None else np.concatenate([waiting, block], axis=1)
            self._take(self._level.add(block), self._offset.add(block))
            certain = max(start, min(self._levels_end(), self._offsets_end()))
            if certain > start:
                yield self._without_offset(waiting[:, : certain - start], start)
                waiting, start = waiting[:, certain - start :], certain
        if waiting is not None:
            self._take(self._level.finish(), self._offset.finish())
            yield self._without_offset(waiting, start)

    def between(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return level and share to enhance, [C, N], of frames begun in [`start`, `stop`); forget earlier ones.

        `start`, in samples, is where a frame begins.
        """
        first = round(start * FRAMES_PER_S / self._rate)
        self._frames = self._frames[:, :, first - self._first_frame :]
        self._first_frame = first
        level, heard = self._frames[:, :, : -(-(stop - start) * FRAMES_PER_S // self._rate)]
        return level, heard

    def _take(self, frames: tuple[np.ndarray, np.ndarray], offsets: np.ndarray) -> None:
        if frames[0].shape[1]:
            fresh = np.stack(frames)
            self._frames = np.concatenate([self._frames, fresh], axis=2) if self._frames.shape[2] else fresh
        if offsets.shape[1]:
            largest = offsets.flat[np.abs(offsets).argmax()]
            self.offset = float(max(self.offset, largest, key=abs))
            self._offsets = (
                np.concatenate([self._offsets, offsets], axis=1) if self._offsets.shape[1] else offsets
            )

    def _levels_end(self) -> int:
        return (self._first_frame + self._frames.shape[2]) * self._rate // FRAMES_PER_S

    def _offsets_end(self) -> int:
        """Return up to the middle of the last tenth, from which on the next one counts too."""
        known = self._first_offset + self._offsets.shape[1]
        return (2 * known - 1) * self._rate // (2 * PER_S)

    def _without_offset(self, x: np.ndarray, start: int) -> np.ndarray:
        """[C, T] from sample `start` on, less a line from tenth to tenth."""
        places = (start + np.arange(x.shape[1]) + 0.5) * (PER_S / self._rate) - 0.5 - self._first_offset
        before = np.maximum(np.floor(places), 0).astype(int)
        if x.shape[1] and self._offsets.any():
            last = self._offsets.shape[1] - 1
            share = np.clip(places - before, 0, 1)
            line = self._offsets[:, np.minimum(before, last)] * (1 - share)
            line += self._offsets[:, np.minimum(before + 1, last)] * share
            x = (x - line).astype(np.float32)
        if x.shape[1]:
            self._offsets = self._offsets[:, min(int(before[-1]), self._offsets.shape[1] - 1) :]
            self._first_offset += int(before[-1])
        return x


def _in_pieces(blocks: Iterable[np.ndarray], samples: int) -> Iterator[np.ndarray]:
    for block in blocks:
        for start in range(0, max(1, block.shape[1]), samples):
            yield block[:, start : start + samples]
