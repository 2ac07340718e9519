"""How to train: the defaults of the command line and of the API, and nothing heavy to import."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slimclean.errors import UsageError

STATE = "state.safetensors"
"""The file in a run folder that the run continues from."""
LONGEST_SEGMENT_S = 600
"""Seconds: what is longer fits no memory."""
VALID_COUNT = 24
"""Validation mixtures."""
TEACH_COUNT = 400
"""Mixtures on which a router is taught at the end, unless it is frozen."""
TASKS = ("routed", "full", "static")
"""What an example of a batch may be for, the costly ones first; see `tasks`."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train; `beta` and `gamma` weigh L_eff and L_bal as in the paper. Raises `UsageError`."""

    out: Path
    name: str = "model"
    steps: int = 10_000
    batch: int = 4
    """Examples a step."""
    segment_s: float = 1.28
    """Seconds of an example."""
    lr: float = 1.5e-3
    """Learning rate of Muon and AdamW, before the decay."""
    warmup_steps: int = 200
    """Steps, from the first on, over which the learning rate rises linearly."""
    decay: float = 0.3
    """Share of the steps, at the end, over which the learning rate falls linearly to 0; at 0 it never does."""
    branch: Path | None = None
    """A run folder to branch off: `steps` more steps from its state, which stays as it is."""
    tasks: tuple[str, ...] = ("full", "static", "routed", "static")
    """What the examples of a batch are for, in turn; see `tasks`."""
    static_ufs: tuple[float, ...] = ()
    """The UFs of static examples, drawn alike, one for an example; without them, see `tasks`."""
    targets: tuple[float, float] = (0.1, 1.0)
    """Least and greatest target UF of routed examples, drawn log-uniformly; equal: a router for one target."""
    freeze_router: bool = False
    """Route examples as at inference, and leave the router as it is: for one that was taught."""
    beta: float = 1.0
    gamma: float = 0.1
    perceptual: float = 0.0
    """Weight of PESQ, in raw points lost: 0.2 to 0.35, once a run has settled, costs a little SI-SDR."""
    intelligibility: float = 0.0
    """Weight of 1 - STOI."""
    pauses: float = 0.0
    """Weight of what is left in pauses, in factors of ten of power: around 0.08."""
    opinion: float = 0.0
    """Pull of DNSMOS, at most so many times that of the rest of the speech loss: 0.2 to 2."""
    opinion_beyond: float = 0.0
    """Points that DNSMOS still asks for beyond those of the clean speech."""
    ema: float = 0.999
    """Decay a step of the moving average of the weights, which is what is validated and saved."""
    clip: float = 2.0
    """Greatest norm of a step's gradient; a larger one is scaled down to it."""
    weight_decay: float = 0.05
    """Of the matrices, per step times the learning rate: Muon's updates alone let them grow."""
    seed: int = 0
    save_every_s: float = 180.0
    """Seconds between two states on the disk, which an interrupted run goes on from."""
    valid_every: int = 2000
    """Steps between validations."""
    workers: int = 0
    """Threads that share a step; 0: one a core."""
    loaders: int = 1
    """Processes that mix examples; 0: the training process itself."""
    device: str = "auto"
    precision: str = "auto"
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name in ("", Path(STATE).stem) or Path(self.name).name != self.name:
            raise UsageError(f"`name` is that of a file in `out`, other than {STATE}, not {self.name!r}")
        if not 0 < self.segment_s <= LONGEST_SEGMENT_S:
            raise UsageError(
                f"`segment_s` takes seconds above 0, at most {LONGEST_SEGMENT_S}, not {self.segment_s:g}"
            )
        if not 0 < self.lr < math.inf:
            raise UsageError(f"`lr` takes a number above 0, not {self.lr:g}")
        for name in ("beta", "gamma", "perceptual", "intelligibility", "pauses", "opinion", "opinion_beyond"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"`{name}` takes a number of at least 0, not {getattr(self, name):g}")
        if self.seed < 0:
            raise UsageError(f"`seed` takes whole numbers from 0 on, not {self.seed}")
        low, high = self.targets
        if not 0 < low <= high <= 1:
            raise UsageError(f"`targets` are UFs in (0, 1] in rising order, not {low}, {high}")
        if not all(0 < uf <= 1 for uf in self.static_ufs):
            raise UsageError(f"`static_ufs` lie in (0, 1], not {', '.join(map(str, self.static_ufs))}")
        if not self.tasks or not set(self.tasks) <= set(TASKS):
            raise UsageError(f"tasks are {', '.join(TASKS)}, not {', '.join(self.tasks) or 'none'}")
        if left := set(self.tasks) - set(self.tasks[: self.batch]):
            raise UsageError(
                f"a batch of {self.batch} never comes to the task {min(left)}; `batch` has to be larger"
            )
