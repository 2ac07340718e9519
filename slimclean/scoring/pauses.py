"""Where clean speech is active, and where it says nothing for a while.

Glossary: N examples, T samples, F frames.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

ACTIVE_DB = -30.0
"""Frames within this of the loudest hold active speech, whose mean power is the level of the speech."""
PAUSE_DB = -35.0
"""A pause lies so far under active speech."""
LONG_S = 0.3
"""The shortest pause: what is shorter lies between two words."""
EMPTY = 1e-7
"""Mean square under which an example holds nobody at all: it is one pause."""


def is_active(power: np.ndarray) -> np.ndarray:
    """Tell which frames hold active speech, by their powers: [..., F] -> [..., F]."""
    found: np.ndarray = power >= power.max(-1, keepdims=True, initial=0) * 10 ** (ACTIVE_DB / 10)
    return found


def levels(clean: np.ndarray, hop: int) -> np.ndarray:
    """Measure each frame in dB re active speech, [N, T] -> [N, F], much as `metrics.pause_db` does."""
    power = np.square(clean.reshape(len(clean), -1, hop), dtype=np.float32).mean(2)
    active = is_active(power)
    speech = (power * active).sum(1, keepdims=True) / active.sum(1, keepdims=True)
    level: np.ndarray = 10 * np.log10((power + 1e-12) / (speech + 1e-12))
    return np.where(power.max(1, keepdims=True) < EMPTY, -np.inf, level)


def pauses(level: np.ndarray, frame_rate_hz: float) -> np.ndarray:
    """Find the frames, [N, F] of `levels`, that lie under `PAUSE_DB` for `LONG_S` at least."""
    silent = level < PAUSE_DB
    runs, count = ndimage.label(silent, [[0, 0, 0], [1, 1, 1], [0, 0, 0]])  # along time alone
    lengths = ndimage.sum_labels(silent, runs, np.arange(count + 1))
    kept: np.ndarray = silent & (lengths[runs] >= round(LONG_S * frame_rate_hz))
    return kept
