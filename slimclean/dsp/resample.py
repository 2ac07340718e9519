"""Sample rates: between a recording's and the network's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr

QUALITY = "VHQ"


def resample(waveform: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Resample [C, T] -> [C, round(T to / from)], float32, linear phase, lag 0 (soxr, very high quality)."""
    if from_hz == to_hz or waveform.shape[1] == 0:
        return waveform
    wanted = round(waveform.shape[1] * to_hz / from_hz)
    out = soxr.resample(waveform.T, from_hz, to_hz, quality=QUALITY).T
    if out.shape[1] < wanted:
        out = np.pad(out, ((0, 0), (0, wanted - out.shape[1])))
    return np.ascontiguousarray(out[:, :wanted], dtype=np.float32)


def resample_blocks(blocks: Iterable[np.ndarray], from_hz: int, to_hz: int) -> Iterator[np.ndarray]:
    """Take consecutive blocks [C, T]; yield blocks of the same signal at `to_hz`, as `resample` gives."""
    if from_hz == to_hz:
        yield from blocks
        return
    stream, taken, given, out = None, 0, 0, np.zeros((1, 0), np.float32)
    for block in blocks:
        stream = stream or soxr.ResampleStream(from_hz, to_hz, block.shape[0], quality=QUALITY)
        taken += block.shape[1]
        out = np.ascontiguousarray(stream.resample_chunk(block.T).T)
        given += out.shape[1]
        yield out
    if stream is not None and taken:
        nothing = np.zeros((0, out.shape[0]), np.float32)
        out = stream.resample_chunk(nothing, last=True).T
        missing = round(taken * to_hz / from_hz) - given
        yield np.pad(out, ((0, 0), (0, max(0, missing - out.shape[1]))))[:, :missing]
