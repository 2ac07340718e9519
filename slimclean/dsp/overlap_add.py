"""Long recordings in pieces: split with context, cross-fade back.

    chunk k reads   context | hop ............................. | fade | tail
    chunk k writes          | hop, faded in over its first fade | fade |
    chunk k + 1 reads             context ............ | hop ......
    chunk k + 1 writes                                 | fade | ....

The context warms up the recurrent layers and is thrown away; the tail is what the network looks ahead.
Where two chunks meet, linear ramps w and 1 - w add up to exactly 1, so an identity in the middle
returns the input. Nothing needs to know the length of the recording in advance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Layout:
    """Lengths in samples, in the order of the drawing."""

    context: int
    hop: int
    fade: int
    tail: int


@dataclass(frozen=True)
class Chunk:
    """Which samples a chunk reads, [`read_start`, `read_stop`), and writes, [`start`, `stop`)."""

    read_start: int
    start: int
    stop: int
    read_stop: int
    fade_in: int
    fade_out: int

    def kept(self, processed: np.ndarray) -> np.ndarray:
        """Return what `processed` [C, read length] contributes to [`start`, `stop`), faded at its ends."""
        out = processed[:, self.start - self.read_start : self.stop - self.read_start].copy()
        if self.fade_in:
            out[:, : self.fade_in] *= ramp(self.fade_in)
        if self.fade_out:
            out[:, out.shape[1] - self.fade_out :] *= 1 - ramp(self.fade_out)
        return out


def ramp(length: int) -> np.ndarray:
    """Make a line from just above 0 to just below 1, float32 [length]."""
    return ((np.arange(length) + 0.5) / length).astype(np.float32)


def split(blocks: Iterable[np.ndarray], layout: Layout) -> Iterator[tuple[Chunk, np.ndarray]]:
    """Cut blocks [C, any length], at least one, into chunks and the samples each reads, [C, read length].

    An input of no samples gives one empty chunk, so that its channels are known downstream.
    """
    source = iter(blocks)
    buffer, offset, ended = next(source), 0, False
    start = 0
    while True:
        wanted = start + layout.hop + layout.fade + layout.tail
        while not ended and offset + buffer.shape[1] <= wanted:
            block = next(source, None)
            if block is None:
                ended = True
            else:
                buffer = np.concatenate([buffer, block], axis=1)
        end = offset + buffer.shape[1]
        # What would be left for another chunk must at least fill the cross-fade.
        last = end <= start + layout.hop + layout.fade
        stop = end if last else start + layout.hop + layout.fade
        read_stop = min(end, stop + layout.tail)
        fade_in = layout.fade if start else 0
        chunk = Chunk(offset, start, stop, read_stop, fade_in, 0 if last else layout.fade)
        yield chunk, buffer[:, : read_stop - offset]
        if last:
            return
        start += layout.hop
        keep_from = max(0, start - layout.context)
        buffer, offset = buffer[:, keep_from - offset :], keep_from


def join(pieces: Iterable[tuple[Chunk, np.ndarray]]) -> Iterator[np.ndarray]:
    """Cross-fade chunks, whose processed samples are [C, read length], in order; yield the output in blocks."""
    pending: np.ndarray | None = None
    for chunk, processed in pieces:
        out = chunk.kept(processed)
        if pending is not None:
            out[:, : chunk.fade_in] += pending
        done = out.shape[1] - chunk.fade_out
        pending = out[:, done:]
        yield out[:, :done]
