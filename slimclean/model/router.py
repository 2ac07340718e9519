"""The router: which UF each frame gets, from the noisy signal and the target UF.

Source: arXiv 2507.04879, section 3. Ours: the features are averaged over the frame and compressed by a
logarithm, one router serves every target, it hears a second each way, and it knows a pause when it hears one.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slimclean.dsp import SAMPLE_RATE
from slimclean.model.config import TAPS, ModelConfig
from slimclean.model.gru import DiagonalGRU
from slimclean.model.slimmable import FrameWidths

LOG_FLOOR = 1e-3
"""Added before the logarithm: about -60 dB below the nominal input level."""

LOWEST_HZ, HIGHEST_HZ = 60.0, 7600.0
"""What the filters listen to at first."""

LOOK_AHEAD_FRAMES = 1
"""A `DiagonalGRU` also hears the next frame, which the backbone's kernels reach anyway."""


class Context(nn.Module):
    """What is heard around each frame, [B, F, C] -> [B, F, C]: residual convolutions, ever further apart.

    Every layer adds ReLU(1x1(depthwise(x))), whose `TAPS` lie one of the `dilations` apart.
    """

    def __init__(self, channels: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.first = nn.Linear(channels, channels)
        self.depthwise = nn.ModuleList(
            nn.Conv1d(channels, channels, TAPS, padding=TAPS // 2 * d, dilation=d, groups=channels)
            for d in dilations
        )
        self.pointwise = nn.ModuleList(nn.Linear(channels, channels) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for depthwise, pointwise in zip(self.depthwise, self.pointwise, strict=True):
            x = x + F.relu(pointwise(depthwise(x.mT).mT))
        return x


class Router(nn.Module):
    """Conv1d -> ReLU -> mean over the frame -> log -> `Context` -> 1x1 conv -> logits over the UFs.

    One more logit is that of a pause: where it is above 0, nobody speaks for a while, and the smallest UF is
    the one. Without dilations the context is a `DiagonalGRU`, as in the paper, and there is no such logit.
    The target UF scales and shifts the logits; scale and shift are interpolated between
    `target_knots`, where they are learned.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        channels, ufs = config.router_channels, len(config.ufs)
        self.conv = nn.Conv1d(1, channels, config.router_kernel, config.router_stride)
        with torch.no_grad():
            self.conv.weight[:, 0] = _filters(channels, config.router_kernel)
        nn.init.zeros_(cast(Tensor, self.conv.bias))
        if config.router_dilations:
            self.context = Context(channels, config.router_dilations)
        else:
            self.gru = DiagonalGRU(channels, channels)
        self.head = nn.Linear(channels, ufs + self.knows_pauses)
        self.target_scale = nn.Parameter(torch.ones(len(config.target_knots)))
        shifts = _shifts_for(config.target_knots, config.ufs)
        self.target_shift = nn.Parameter(F.pad(shifts, (0, int(self.knows_pauses))))
        nn.init.normal_(self.head.weight, std=0.1 / channels**0.5)
        self.forget_pauses()

    @property
    def knows_pauses(self) -> bool:
        """Whether the last logit is that of a pause."""
        return bool(self.config.router_dilations)

    @torch.no_grad()
    def forget_pauses(self) -> None:
        """Take no frame for a pause, until `train.teach` tells again: no loss of joint training does."""
        if self.knows_pauses:
            self.head.weight[-1] = 0
            self.head.bias[-1] = -1
            self.target_shift[:, -1] = 0

    def features(self, noisy: Tensor, power: Tensor | None = None) -> Tensor:
        """Listen to each frame, [B, T] -> [B, F, C]; or to N channels, [B, N, T] with a `power` [B, N, F]."""
        if power is not None:
            responses = self.responses(noisy.flatten(0, 1)).unflatten(0, noisy.shape[:2])
            return torch.log(together(responses, power) + LOG_FLOOR)
        return torch.log(self.responses(noisy) + LOG_FLOOR)

    def responses(self, noisy: Tensor) -> Tensor:
        """Give what each filter answers to a frame, [B, T] -> [B, F, C], at least 0."""
        overlap = self.config.router_kernel - self.config.router_stride
        x = F.relu(self.conv(F.pad(noisy, (0, overlap))[:, None]))  # [B, C, T / router_stride]
        steps = self.config.frame_hop // self.config.router_stride
        out: Tensor = x.unflatten(2, (-1, steps)).mean(3).mT  # [B, C, F] -> [B, F, C]
        return out

    def base_logits(self, noisy: Tensor, power: Tensor | None = None) -> Tensor:
        """Give the logits before the target has its say, [B, T] -> [B, F, J]; see `features`.

        Where the router `knows_pauses`, one more follows, that of a pause.
        """
        logits: Tensor = self.head(self.in_context(self.features(noisy, power)))
        return logits

    def in_context(self, features: Tensor) -> Tensor:
        """Tell what each frame sounds like among its neighbours, [B, F, C] -> [B, F, C]."""
        dilations = self.config.router_dilations
        out: Tensor = self.context(features) if dilations else self.gru(self.delayed(features))
        return out

    def forward(self, noisy: Tensor, target_uf: Tensor, power: Tensor | None = None) -> Tensor:
        """Give the candidate UFs' logits, [B, T] and targets [B] in (0, 1] -> [B, F, J]; see `features`."""
        return self.priced(self.base_logits(noisy, power), target_uf)

    def delayed(self, features: Tensor) -> Tensor:
        """Shift features so that those `LOOK_AHEAD_FRAMES` later decide on each frame; the last ones repeat."""
        return F.pad(features.mT, (0, LOOK_AHEAD_FRAMES), "replicate").mT[:, LOOK_AHEAD_FRAMES:]

    def priced(self, base: Tensor, target_uf: Tensor) -> Tensor:
        """Scale and shift base logits for target UFs [B], -> [B, F, J]; in a pause only the first stays."""
        return self.priced_between(base, interpolate(target_uf, self.config.target_knots))

    def priced_between(self, base: Tensor, knots: Tensor) -> Tensor:
        """Do the same for weights of the targets' knots, [B, K]; see `interpolate`."""
        scale = (knots @ self.target_scale)[:, None, None]
        shift = (knots @ self.target_shift)[:, None]
        ufs = len(self.config.ufs)
        out: Tensor = base[..., :ufs] * scale + shift[..., :ufs]
        if self.knows_pauses:
            pause = base[..., ufs:] + shift[..., ufs:] > 0
            larger = torch.arange(ufs, device=out.device) > 0
            out = out.masked_fill(pause & larger, -torch.inf)
        return out

    def likeliest(self, logits: Tensor) -> Tensor:
        """Choose as at inference, [B, F, J] -> the UF of each frame, [B, F]."""
        return torch.tensor(self.config.ufs, dtype=torch.float32, device=logits.device)[logits.argmax(-1)]

    def sample(self, logits: Tensor, noise: Tensor) -> FrameWidths:
        """Draw by a straight-through Gumbel-softmax; `noise` is uniform in (0, 1), of the logits' shape.

        One-hot on the way forward, on the way back the softmax's gradient, at temperature 1 (Jang et al. 2017).
        """
        gumbel = -torch.log(-torch.log(noise.clamp(1e-9, 1 - 1e-6)))
        soft = torch.softmax(logits + gumbel, dim=-1)
        hard = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
        return FrameWidths(hard + soft - soft.detach(), self.config.ufs)


def together(responses: Tensor, power: Tensor) -> Tensor:
    """Make one of the channels' responses, [B, N, F, C], each counting by its power [B, N, F] there: [B, F, C].

    Powers add up where waves may cancel: a channel wired the wrong way round, or a silent one, changes nothing.
    """
    share = power + torch.finfo(power.dtype).tiny
    share = share / share.sum(1, keepdim=True)
    return (responses * share[..., None]).sum(1)


def _filters(channels: int, kernel: int) -> Tensor:
    """Make filters to begin with, [C, kernel] of norm 1: windowed cosines, then sines, evenly spaced in mel.

    From filters drawn at random the router learns what a pause is more slowly, and less of it.
    """
    low, high = (math.log1p(f / 700) for f in (LOWEST_HZ, HIGHEST_HZ))
    hz = 700 * torch.expm1(torch.linspace(low, high, (channels + 1) // 2))
    phase = 2 * torch.pi / SAMPLE_RATE * hz[:, None] * (torch.arange(kernel) - (kernel - 1) / 2)
    window = torch.hann_window(kernel + 2, periodic=False)[1:-1]
    return F.normalize(torch.cat([phase.cos(), phase.sin()])[:channels] * window, dim=1)


def _shifts_for(targets: tuple[float, ...], ufs: tuple[float, ...]) -> Tensor:
    """Find logits, linear in the UF by at most 30, whose softmax has each target as its mean UF: [K, J]."""
    candidates = torch.tensor(ufs)
    slopes = torch.linspace(-30, 30, 601)[:, None]
    means = torch.softmax(slopes * candidates, -1) @ candidates
    best = (means - torch.tensor(targets)[:, None]).abs().argmin(-1)
    return slopes[best] * (candidates - candidates.mean())


def interpolate(values: Tensor, knots: tuple[float, ...]) -> Tensor:
    """Weigh ascending knots so as to interpolate values [B] linearly: [B, K], each row sums to 1."""
    at = torch.tensor(knots, device=values.device, dtype=values.dtype)
    values = values.clamp(at[0], at[-1])[:, None]
    left = ((values - at[:-1]) / at.diff()).clamp(0, 1)  # how much of each interval is passed
    one = torch.ones_like(values)
    return torch.cat([one, left], dim=1) - torch.cat([left, torch.zeros_like(values)], dim=1)
