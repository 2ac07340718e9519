"""How to train: the defaults of the command line and of the API, and nothing heavy to import."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Rates are per step; `beta` and `gamma` weigh L_eff and L_bal as in the paper."""

    out: Path
    name: str = "model"
    steps: int = 10_000
    batch: int = 4
    segment_s: float = 1.28
    lr: float = 1.5e-3
    warmup_steps: int = 200
    decay: float = 0.3
    """Share of the steps, at the end, over which the learning rate falls linearly to zero."""
    freeze_router: bool = False
    """Route examples as at inference, and leave the router as it is: for one that was taught."""
    beta: float = 1.0
    gamma: float = 0.1
    perceptual: float = 0.0
    """Weight of PESQ, in raw points lost: 0.2 to 0.35, once a run has settled, costs a little SI-SDR."""
    intelligibility: float = 0.0
    """Weight of 1 - STOI."""
    ema: float = 0.999
    clip: float = 2.0
    weight_decay: float = 0.05
    """Of the matrices, per step times the learning rate: Muon's updates alone let them grow."""
    seed: int = 0
    save_every_s: float = 180.0
    valid_every: int = 2000
    workers: int = 0
    loaders: int = 1
    device: str = "auto"
    precision: str = "auto"
    info: dict[str, Any] = field(default_factory=dict)
