"""What the examples of a batch are for. They take these tasks in turn:

- `full`: UF 1, the ceiling that the others share their weights with;
- `static`: one narrower UF for the example, or (a quarter of them) a new random UF every few frames;
- `routed`: the router's Gumbel-softmax draw for a target UF of the example's own. A frozen router, taught
  before, chooses as it does at inference, and the backbone learns to live with its choices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from slimclean.model.slimmable import FrameWidths, Widths
from slimclean.train.config import TASKS

STATIC_UFS = (0.0625, 0.125, 0.125, 0.18, 0.25, 0.25, 0.375, 0.5)
"""Small ones more often: they have the most to learn, and are asked for most."""
LISTED = 0.5
"""Share of the examples at one UF that take one of these; the others take any, lest UFs between lag."""
Job = list[int]
"""Examples of a batch that are processed together."""


def in_turn(count: int, cycle: Sequence[str]) -> list[str]:
    """Give each of `count` examples its task."""
    return [cycle[k % len(cycle)] for k in range(count)]


def share_out(tasks: Sequence[str], workers: int) -> list[Job]:
    """Share out examples by their tasks among threads: jobs of one task each, longest first."""
    jobs = []
    for task in TASKS:
        items = [k for k, t in enumerate(tasks) if t == task]
        # A UF that is one number runs on sliced weights, so static examples go one by one.
        size = 1 if task == "static" else max(2, -(-len(items) // workers))
        jobs += [items[k : k + size] for k in range(0, len(items), size)]
    return jobs


def random_targets(rng: np.random.Generator, count: int, between: tuple[float, float]) -> torch.Tensor:
    """Draw target UFs for routed examples, [count].

    Log-uniform: from 0.1 to 1, half of them are below 0.32, where they are asked for most.
    """
    low, high = between
    return torch.from_numpy(np.exp(rng.uniform(math.log(low), math.log(high), count)).astype(np.float32))


def random_ufs(rng: np.random.Generator, frames: int, ufs: tuple[float, ...] = ()) -> np.ndarray:
    """Draw for a static example one of `ufs`; without them any UF (3 in 4), or one every few frames: [F]."""
    if ufs:
        return np.full(frames, rng.choice(ufs))
    if rng.random() < 0.75:
        if rng.random() < LISTED:
            return np.full(frames, rng.choice(STATIC_UFS))
        return np.full(frames, np.exp(rng.uniform(math.log(STATIC_UFS[0]), 0)))
    change = rng.random(frames) < 1 / rng.uniform(1, 12)
    drawn = rng.choice([*STATIC_UFS, 1.0], frames)
    return np.asarray(drawn[np.maximum.accumulate(np.where(change, np.arange(frames), 0))])


def given_widths(ufs: np.ndarray, device: torch.device) -> Widths:
    """Take UFs of frames, [B, F]: one number where they are all alike, for then the network runs on slices."""
    if (ufs == ufs[0, 0]).all():
        return float(ufs[0, 0])
    return FrameWidths.of(torch.tensor(ufs, dtype=torch.float32, device=device))
