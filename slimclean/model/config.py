"""Every size of the network, in one place; it travels in the checkpoint's header."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

from slimclean.dsp import SAMPLE_RATE
from slimclean.errors import CheckpointError

BLOCK = 64
"""Samples that the resampler takes at a time: a frame is a whole number of blocks."""

ALIGNED_S = 2
"""A recording is cut at multiples of this many seconds, where a frame has to begin."""

MOST_PARAMETERS = 2**27
"""As many as fit, in half precision, into the largest checkpoint file that is read."""

TAPS = 5
"""Frames that each layer of the router weighs, two of them on either side."""

MOST_REACH = 64
"""Most frames that the router may hear each way, a second by default."""

LIMITS = {
    "hidden": (2, 4096),  # two channels hold the signal's two signs, from the start of training
    "depth": (2, 12),
    "stride": (2, 64),
    "upsampling": (1, 64),
    "gru_groups": (1, 4096),
    "look_ahead": (0, 64),
    "router_channels": (1, 4096),
    "router_kernel": (2, 8192),
    "router_stride": (1, 4096),
}
"""The least and the most of each size on its own."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of `SlimmableDemucs`; but for the look-ahead, the defaults cost what arXiv 2507.04879 publishes.

    `hidden` channels after the first encoder block, doubled by each of the `depth` levels; every
    convolution has kernel `2 * stride`; the network runs at `upsampling` times `sample_rate`.
    After the GRU every channel hears `look_ahead` frames ahead; the paper's network hears none.
    `ufs` are the utilization factors the router chooses from, ascending, in (0, 1]. The paper's set lacks the
    smallest, which is for pauses.
    `router_dilations` are the frames between the taps of the router's layers, one each; it hears twice their
    sum each way. Without them it has a diagonal GRU, as in the paper.
    `target_knots` are the target UFs between which the router's bias is interpolated.
    Raises `CheckpointError` for sizes that do not fit each other: whatever is accepted trains and enhances.
    """

    sample_rate: int = SAMPLE_RATE
    hidden: int = 32
    depth: int = 5
    stride: int = 4
    upsampling: int = 4
    gru_groups: int = 4
    look_ahead: int = 64
    ufs: tuple[float, ...] = (0.0625, 0.125, 0.25, 0.5, 1.0)
    router_channels: int = 64
    router_kernel: int = 64
    router_stride: int = 32
    router_dilations: tuple[int, ...] = (1, 2, 4, 8, 16)
    target_knots: tuple[float, ...] = (0.1, 0.13, 0.16, 0.2, 0.25, 0.35, 0.5, 0.75, 1.0)

    def __post_init__(self) -> None:
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise CheckpointError(f"{name} is {value!r}, not a whole number from {least} to {most}")
        for name in ("ufs", "target_knots"):
            object.__setattr__(self, name, _ascending(name, getattr(self, name)))
        object.__setattr__(self, "router_dilations", _dilations(self.router_dilations))
        if problem := self._misfit():
            raise CheckpointError(problem)

    def _misfit(self) -> str | None:
        """Say what does not fit what; None if all fits."""
        if type(self.sample_rate) is not int or self.sample_rate != SAMPLE_RATE:
            return f"sample_rate is {self.sample_rate!r}, where only {SAMPLE_RATE} is known"
        steps = self.stride**self.depth
        if steps % self.upsampling or self.frame_hop % BLOCK:
            return (
                f"stride {self.stride}, depth {self.depth} and upsampling {self.upsampling} give frames of "
                f"{steps / self.upsampling:g} samples, not of a multiple of {BLOCK}"
            )
        if ALIGNED_S * SAMPLE_RATE % self.frame_hop:
            return f"frames of {self.frame_hop} samples do not fill {ALIGNED_S} s, where recordings are cut"
        if BLOCK * self.upsampling % self.stride:
            return f"stride {self.stride} does not divide {BLOCK} times upsampling {self.upsampling}"
        if self.channels[-1] % self.gru_groups:
            return f"gru_groups {self.gru_groups} does not divide the {self.channels[-1]} channels of the GRU"
        if self.router_kernel != 2 * self.router_stride:
            return f"router_kernel {self.router_kernel} is not twice router_stride {self.router_stride}"
        if self.frame_hop % self.router_stride:
            return f"router_stride {self.router_stride} does not divide a frame of {self.frame_hop} samples"
        if self.parameters > MOST_PARAMETERS:
            return f"{self.parameters:,} parameters are more than a checkpoint may hold, {MOST_PARAMETERS:,}"
        return None

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        total = 0
        for c, c2 in itertools.pairwise((1, *self.channels)):
            convolutions = 2 * self.kernel * c * c2 + c + c2  # there and back, with a bias each
            total += convolutions + 2 * (2 * c2 * c2 + 2 * c2)
        c = self.channels[-1]
        total += 6 * c * (c // self.gru_groups) + 6 * c
        total += c * (self.look_ahead + 1) if self.look_ahead else 0
        r, ufs, layers = self.router_channels, len(self.ufs), len(self.router_dilations)
        pause = r + 1 + len(self.target_knots)
        context = r * (r + 1 + layers * (r + TAPS + 2)) + pause if layers else r * (3 * r + 7)
        return total + r * (self.router_kernel + 1 + ufs) + ufs + context + len(self.target_knots) * (1 + ufs)

    @property
    def kernel(self) -> int:
        """Kernel of every strided and transposed convolution, in time steps of its input."""
        return 2 * self.stride

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels after each encoder block: (32, 64, 128, 256, 512)."""
        return tuple(self.hidden * 2**level for level in range(self.depth))

    @property
    def frame_hop(self) -> int:
        """Samples at `sample_rate` between two frames of the bottleneck: 256, or 16 ms."""
        return int(self.stride**self.depth // self.upsampling)

    @property
    def router_reach(self) -> int:
        """Frames that the router hears each way, 62 by default; 1, and only ahead, where it is recurrent."""
        return TAPS // 2 * sum(self.router_dilations) or 1

    @property
    def frame_rate_hz(self) -> float:
        return self.sample_rate / self.frame_hop

    def to_dict(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Read what `to_dict` gives; without `look_ahead` or `router_dilations`, a network that has none.

        Raises `CheckpointError` for an unknown or missing key and for misfits.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, dict):
            raise CheckpointError("model configuration does not fit: it is no table of names and values")
        values = {"look_ahead": 0, "router_dilations": ()} | values
        if wrong := known.symmetric_difference(values):
            raise CheckpointError(f"model configuration does not fit: {', '.join(sorted(wrong))}")
        sizes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**sizes)


def _dilations(values: Any) -> tuple[int, ...]:
    """Take the values as they are. Raises `CheckpointError` unless they are few whole numbers above 0."""
    numbers = tuple(values) if isinstance(values, (tuple, list)) else (0,)
    if not all(type(v) is int and v > 0 for v in numbers) or TAPS // 2 * sum(numbers) > MOST_REACH:
        raise CheckpointError(
            f"router_dilations is {values!r}, not whole numbers above 0 "
            f"of at most {MOST_REACH // (TAPS // 2)} in all"
        )
    return numbers


def _ascending(name: str, values: Any) -> tuple[float, ...]:
    """Take the values as floats. Raises `CheckpointError` unless they are numbers in (0, 1] that rise."""
    numbers = tuple(values) if isinstance(values, (tuple, list)) else ()
    fits = len(numbers) >= 2 and all(type(v) in (int, float) and math.isfinite(v) for v in numbers)
    if not fits or not all(a < b for a, b in itertools.pairwise((0, *numbers))) or numbers[-1] > 1:
        raise CheckpointError(f"{name} is {values!r}, not two or more rising numbers above 0 and at most 1")
    return tuple(map(float, numbers))
