"""Sample rates: between a recording's and the network's."""

from __future__ import annotations

import numpy as np
import soxr


def resample(waveform: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """[C, T] -> [C, round(T to / from)], float32, linear phase, lag 0 (soxr, very high quality)."""
    if from_hz == to_hz or waveform.shape[1] == 0:
        return waveform
    wanted = round(waveform.shape[1] * to_hz / from_hz)
    out = soxr.resample(waveform.T, from_hz, to_hz, quality="VHQ").T
    if out.shape[1] < wanted:
        out = np.pad(out, ((0, 0), (0, wanted - out.shape[1])))
    return np.ascontiguousarray(out[:, :wanted], dtype=np.float32)
