"""Slimmable convolutions as matrix products, and what says how wide each frame is.

Glossary: B batch, F frames of the bottleneck, N time steps of a layer, C channels, S stride,
J candidate utilization factors (UFs).

Signals inside the network are channels-last, [B, N, C]. With kernel 2 S and stride S, S steps in
a row are one row of a matrix ([B, N, C] -> [B, N / S, S C] is a free reshape), and then

    strided convolution       h[n]  = x4[n] @ W[0] + x4[n + 1] @ W[1]
    transposed convolution    y4[n] = h[n] @ V[0] + h[n - 1] @ V[1]

so that keeping the first w channels is keeping the first w columns (or rows) of the matrices.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slimclean.model.products import glu_product, two_tap


def width(uf: float, channels: int) -> int:
    """Count the channels that a layer keeps at `uf` in (0, 1]: ceil(channels * uf), at least 1."""
    # The small margin keeps 0.1 * 10 and its like from being rounded up twice.
    return min(channels, max(1, math.ceil(channels * uf - 1e-6)))


@dataclass(frozen=True)
class FrameWidths:
    """One width per frame, as shares of the candidate UFs.

    `shares` is [B, F, J]: one-hot for a hard choice; a straight-through one-hot carries the
    gradient to whoever chose. `ufs` are the J candidates.
    """

    shares: Tensor
    ufs: tuple[float, ...]

    @classmethod
    def of(cls, uf: Tensor) -> FrameWidths:
        """Take the UF of each frame, [B, F] in (0, 1]; equal UFs share a candidate."""
        ufs, index = torch.unique(uf, return_inverse=True)
        return cls(F.one_hot(index, len(ufs)).to(torch.float32), tuple(ufs.tolist()))

    @classmethod
    def together(cls, *several: FrameWidths) -> FrameWidths:
        """Lay the items of several one after the other, each with candidates of its own."""
        parts, before, total = [], 0, sum(len(widths.ufs) for widths in several)
        for widths in several:
            count = len(widths.ufs)
            parts.append(F.pad(widths.shares, (before, total - before - count)))
            before += count
        return cls(torch.cat(parts), tuple(uf for widths in several for uf in widths.ufs))

    def __getitem__(self, items: Tensor) -> FrameWidths:
        """Pick items by their numbers, [B]."""
        return FrameWidths(self.shares[items], self.ufs)

    @property
    def is_hard(self) -> bool:
        """Whether nobody wants to learn from the choice: only then may frames be gathered."""
        return not self.shares.requires_grad

    @functools.cached_property
    def frames(self) -> tuple[Tensor, ...]:
        """Which of the B F frames each candidate serves, in the order of `ufs`; indices ascend."""
        chosen = self.shares.argmax(-1).flatten()
        return tuple((chosen == j).nonzero()[:, 0] for j in range(len(self.ufs)))

    def groups(self, channels: int) -> list[tuple[int, Tensor]]:
        """List the width of each UF that is in use, of `channels`, and the indices of its frames."""
        each = zip(self.ufs, self.frames, strict=True)
        return [(width(uf, channels), index) for uf, index in each if len(index)]

    def mask(self, channels: int) -> Tensor:
        """Mark each channel with 1 where it is kept and 0 where not, [B, F, C]."""
        kept = torch.tensor([width(uf, channels) for uf in self.ufs], device=self.shares.device)
        masks = torch.arange(channels, device=self.shares.device) < kept[:, None]  # [J, C]
        return self.shares @ masks.to(self.shares.dtype)


Widths = float | FrameWidths
"""What a block takes as its UF: one number for the whole signal, or one choice per frame."""


def columns(widths: Widths, channels: int) -> int:
    """Count the channels to compute: the slice for one UF, all of them when frames differ."""
    return width(widths, channels) if isinstance(widths, float) else channels


def slim(h: Tensor, widths: Widths) -> Tensor:
    """Zero, frame by frame, the channels of h [B, N, C] that its frames do not use.

    Masking full layers costs full compute: it is for training and as the readable definition.
    """
    if isinstance(widths, float):
        return h
    mask = widths.mask(h.shape[-1]).to(h.dtype)  # [B, F, C]
    steps = h.shape[1] // mask.shape[1]
    kept: Tensor = h.unflatten(1, (-1, steps)) * mask[:, :, None]
    return kept.flatten(1, 2)


def _first(weight: Tensor, dim: int, count: int) -> Tensor:
    """Take the first `count` along `dim`; the tensor itself when that is all, whose gradient is cheaper."""
    return weight if weight.shape[dim] == count else weight.narrow(dim, 0, count).contiguous()


def _weight(*shape: int, fan_in: int) -> nn.Parameter:
    """Draw weights with the variance 2 / fan_in that keeps a signal's level through ReLUs (He et al. 2015)."""
    bound = math.sqrt(6 / fan_in)
    return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))


class StridedConv(nn.Module):
    """Conv1d(in, out, 2 S, S) and ReLU, [B, N, in] -> [B, N / S, w], padded at the end with S zeros.

    `weight` is [2, S in, out]: row `in k + c` of half `j` is tap `S j + k` of input channel `c`.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        fan_in = 2 * stride * in_channels
        self.weight = _weight(2, stride * in_channels, out_channels, fan_in=fan_in)
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def rows(self, x: Tensor) -> Tensor:
        """Lay S steps in a row side by side: [B, N, C] -> [B, N / S, S C]."""
        return x.reshape(x.shape[0], x.shape[1] // self.stride, -1)

    def forward(self, x: Tensor, w: int) -> Tensor:
        weight, bias = _first(self.weight, 2, w), _first(self.bias, 0, w)
        return two_tap(self.rows(x), weight, bias, ahead=True, relu=True)


class TransposedConv(nn.Module):
    """ConvTranspose1d(in, out, 2 S, S) and `relu`, [B, N, w] -> [B, S N, out], its last S steps cut.

    `weight` is [2, in, S out]: column `out k + c` of half `j` is tap `S j + k` of output channel `c`.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        fan_in = 2 * in_channels
        self.weight = _weight(2, in_channels, stride * out_channels, fan_in=fan_in)
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, h: Tensor, *, relu: bool) -> Tensor:
        weight = _first(self.weight, 1, h.shape[-1])
        return self.steps(two_tap(h, weight, self.bias_by_column, ahead=False, relu=relu))

    @property
    def bias_by_column(self) -> Tensor:
        return self.bias.repeat(self.stride)

    def steps(self, y: Tensor) -> Tensor:
        """Take steps apart, the inverse of `StridedConv.rows`: [B, N, S C] -> [B, S N, C]."""
        return y.reshape(y.shape[0], y.shape[1] * self.stride, -1)


class PointwiseConv(nn.Module):
    """Conv1d(in, 2 out, 1) and GLU: [B, N, <= in] -> [B, N, <= out].

    `weight` is [2, in, out], `bias` [2, out]: the value half and the gate half.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = _weight(2, in_channels, out_channels, fan_in=in_channels)
        self.bias = nn.Parameter(torch.zeros(2, out_channels))

    def forward(self, h: Tensor, w: int) -> Tensor:
        weight = _first(_first(self.weight, 1, h.shape[-1]), 2, w)
        return glu_product(h, torch.cat(weight.unbind(), dim=1), _first(self.bias, 1, w).flatten())
