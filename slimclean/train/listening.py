"""Where nobody speaks for a while: what the router is taught to hear besides what each UF saves.

Single frames between two words say little: they are too short for a router to leave and come back. So a pause
is silence in the clean speech that lasts. Its ends are the next word's onset and the last one's decay, whatever
the noise hides of them: they are left to speech. Shorter silence counts for little either way, and so does the
softest speech: what is lost of it, once it is taken for a pause, is hardly heard.

Glossary: N examples, T samples, F frames.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from slimclean.scoring.pauses import PAUSE_DB, levels, pauses

END_S = 0.032
"""What is left of a pause to the speech on either side."""
SOFT_WEIGHT, LOUD_WEIGHT, LOUDEST_DB = 0.2, 3.0, 3.5
"""How much silence counts that is no pause, as does speech at `PAUSE_DB`, and how much active speech, against 1
for a pause; in between, and up to the loudest, it grows with the square of the height in dB."""


class Listening(NamedTuple):
    """Examples to hear pauses in: `noisy` [N, T]; whether each frame lies in one, and its weight, [N, F]."""

    noisy: Tensor
    pause: Tensor
    weight: Tensor


def listening(noisy: np.ndarray, clean: np.ndarray, hop: int, frame_rate_hz: float) -> Listening:
    """Mark the pauses of examples [N, T] x 2, T a multiple of `hop`; noisy is kept in half precision."""
    level = levels(clean, hop)
    inside = eroded(pauses(level, frame_rate_hz), round(END_S * frame_rate_hz))
    height = 1 - np.clip(level, PAUSE_DB, LOUDEST_DB) / PAUSE_DB
    weight = np.where(inside, 1, SOFT_WEIGHT + (LOUD_WEIGHT - SOFT_WEIGHT) * height**2).astype(np.float32)
    return Listening(torch.from_numpy(noisy).half(), torch.from_numpy(inside), torch.from_numpy(weight))


def eroded(flags: np.ndarray, frames: int) -> np.ndarray:
    """Take so many frames off both ends of each run, but not at the example's ends, [N, F] -> [N, F]."""
    taken: np.ndarray = ndimage.binary_erosion(flags, np.ones((1, 2 * frames + 1)), border_value=1)
    return taken
