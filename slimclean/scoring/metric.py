"""What a measure is, besides its function: how it is found in long recordings, called and read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from slimclean.scoring.moments import Moments

SEGMENT_S = 30.0
"""PESQ's code has room for 50 utterances, and most measures take time or memory that hours do not leave."""


@dataclass(frozen=True)
class Metric:
    """A measure: its column, how it is found, what people call it, and how its numbers are read."""

    name: str
    function: Callable[..., float | Mapping[str, float]]
    """Of (reference, estimate), or of (estimate) where it is heard `alone`. Where several measures come from
    one calculation, it returns all of them by their names."""
    label: str
    unit: str = ""
    best: Literal["high", "low", "zero"] = "high"
    longest_s: float | None = SEGMENT_S
    """What is longer is taken in equal segments of at most this; None: it takes what fits into memory."""
    running: Callable[[Moments], float] | None = None
    """How it is found where a recording does not fit into memory; None: in segments."""
    across: Callable[[Sequence[float]], Any] = np.mean
    """What makes one value of those of channels and segments."""
    alone: bool = False
    """Whether it needs no reference."""
    package: Callable[[], object] = lambda: None
    """Imports what it needs of an extra; raises `MissingDependencyError` with the line that installs it."""

    def __call__(self, reference: np.ndarray, estimate: np.ndarray) -> float:
        """Return its value for two signals [T] at 16 kHz; raises `UndefinedMetricError`."""
        return self.pick(self.of(reference, estimate))

    def of(self, reference: np.ndarray, estimate: np.ndarray) -> float | Mapping[str, float]:
        """Return what `function` gives: maybe the values of other measures too."""
        return self.function(estimate) if self.alone else self.function(reference, estimate)

    def pick(self, found: float | Mapping[str, float]) -> float:
        """Return the value of this measure out of what `function` gave."""
        return found[self.name] if isinstance(found, Mapping) else found

    def improvement(self, before: float, after: float) -> float:
        """Return by how much the value became better; below 0 it became worse."""
        if self.best == "zero":
            return abs(before) - abs(after)
        return before - after if self.best == "low" else after - before

    @property
    def axis(self) -> str:
        """What stands at the axis of a picture."""
        remarks = ", ".join(filter(None, [self.unit, "lower is better" if self.best == "low" else ""]))
        return f"{self.label} ({remarks})" if remarks else self.label
