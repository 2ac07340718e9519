"""Make the router keep its word: the mean UF over validation recordings equals the target.

Training pulls the mean of sampled choices to the target; at inference the likeliest choice counts, whose mean
differs. One number a knot, added to the logits in proportion to the UF, closes the gap, as far as pauses leave
room: they run at the smallest UF whatever the target.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from slimclean.dsp import SAMPLE_RATE
from slimclean.dsp.local_level import level_curve
from slimclean.model import SlimmableDemucs
from slimclean.train.hardware import require_cpu

STEPS = 40
"""Steps of the bisection between slopes of +-`LIMIT` logits per unit of UF."""
LIMIT = 60.0
FLOOR = 1.15
"""The lowest mean UF to aim at, times the smallest candidate: a lower one would leave no choice to make."""


@torch.no_grad()
def calibrate(network: SlimmableDemucs, recordings: Sequence[np.ndarray]) -> dict[float, float]:
    """Shift the router's logits at each knot; recordings are [T] at 16 kHz.

    Returns the mean UF reached at each knot, less than the knot where pauses leave no room.
    Raises `SlimcleanError` for a network that is not on the CPU.
    """
    require_cpu(network)
    config = network.config
    ufs = torch.tensor(config.ufs)
    base = torch.cat([_base_logits(network, x) for x in recordings], dim=1)  # [1, frames, J or one more]
    reached = {}
    for k, knot in enumerate(config.target_knots):
        logits = network.router.priced(base, torch.tensor([knot]))[0]
        most = float(network.router.likeliest(logits + LIMIT * ufs).mean())
        target = min(max(knot, FLOOR * config.ufs[0]), most - 1e-3)
        low, high = -LIMIT, LIMIT
        for _ in range(STEPS):
            slope = (low + high) / 2
            if network.router.likeliest(logits + slope * ufs).mean() < target:
                low = slope
            else:
                high = slope
        network.router.target_shift[k, : len(ufs)] += high * (ufs - ufs.mean())
        reached[knot] = float(network.router.likeliest(logits + high * ufs).mean())
    return reached


def _base_logits(network: SlimmableDemucs, x: np.ndarray) -> Tensor:
    """Give the router's logits for one recording, brought to level and length as `Enhancer` does."""
    noisy = np.pad(x / level_curve(x, SAMPLE_RATE), (0, -len(x) % network.config.frame_hop))[None]
    return network.router.base_logits(torch.from_numpy(noisy))
