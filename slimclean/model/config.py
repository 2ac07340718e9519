"""Every size of the network, in one place; it travels in the checkpoint's header."""

from __future__ import annotations

import dataclasses
from typing import Any

from slimclean.errors import CheckpointError


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of `SlimmableDemucs`; the defaults reproduce the cost published in arXiv 2507.04879.

    `hidden` channels after the first encoder block, doubled by each of the `depth` levels; every
    convolution has kernel `2 * stride`; the network runs at `upsampling` times `sample_rate`.
    `ufs` are the utilization factors the router chooses from, ascending, in (0, 1]. The paper has not the
    smallest, which is for pauses.
    `target_knots` are the target UFs between which the router's bias is interpolated.
    """

    sample_rate: int = 16_000
    hidden: int = 32
    depth: int = 5
    stride: int = 4
    upsampling: int = 4
    gru_groups: int = 4
    ufs: tuple[float, ...] = (0.0625, 0.125, 0.25, 0.5, 1.0)
    router_channels: int = 64
    router_kernel: int = 64
    router_stride: int = 32
    target_knots: tuple[float, ...] = (0.1, 0.13, 0.16, 0.2, 0.25, 0.35, 0.5, 0.75, 1.0)

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
    def frame_rate_hz(self) -> float:
        return self.sample_rate / self.frame_hop

    def to_dict(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Inverse of `to_dict`; an unknown or missing key is a `CheckpointError`."""
        known = {field.name for field in dataclasses.fields(cls)}
        if wrong := known.symmetric_difference(values):
            raise CheckpointError(f"model configuration does not fit: {', '.join(sorted(wrong))}")
        sizes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**sizes)
