"""The network as one would first write it in PyTorch: `conv1d`, `conv_transpose1d`, `glu`, `nn.GRU`.

A second derivation of the same numbers, for tests, and what the benchmark calls ordinary: the same weights
without any of the care about speed that `SlimmableDemucs` and `Engine` take. One UF at a time.

Glossary: B batch, C channels, N time steps of a layer.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slimclean.model.blocks import DecoderBlock, EncoderBlock
from slimclean.model.demucs import SlimmableDemucs
from slimclean.model.gru import GroupedGRU
from slimclean.model.sinc import ZEROS
from slimclean.model.slimmable import width


class OrdinaryDemucs:
    """[B, T] -> [B, T] at one UF, channels first inside."""

    def __init__(self, network: SlimmableDemucs) -> None:
        self.config = network.config
        stride = self.config.stride
        encoder_blocks = [cast(EncoderBlock, block) for block in network.encoder.children()]
        decoder_blocks = [cast(DecoderBlock, block) for block in network.decoder.children()]
        self.encoder: list[tuple[Tensor, ...]] = [
            (
                _taps(block.strided.weight.detach(), stride).permute(2, 1, 0).contiguous(),  # [out, in, K]
                block.strided.bias.detach(),
                torch.cat([half.detach() for half in block.pointwise.weight], 1).T[..., None].contiguous(),
                block.pointwise.bias.detach().flatten(),
            )
            for block in encoder_blocks
        ]
        self.decoder: list[tuple[Tensor, ...]] = [
            (
                torch.stack([half.detach().T for half in block.pointwise.weight])[..., None],  # [2, out, in, 1]
                block.pointwise.bias.detach(),
                _taps(block.transposed.weight.detach().mT, stride).permute(2, 1, 0).contiguous(),
                block.transposed.bias.detach(),
            )
            for block in decoder_blocks
        ]
        self.grus = grus(network.gru)
        row = network.row.weight
        self.row = None if row is None else row.detach().T[:, None].contiguous()  # [C, 1, K]
        time = torch.arange(-ZEROS * self.config.upsampling, ZEROS * self.config.upsampling + 1)
        time = time.double() / self.config.upsampling
        window = torch.cos(math.pi / 2 * time / ZEROS) ** 2
        self.sinc = (torch.sinc(time) * window).float().to(network.resampler.matrix)[None, None]

    @torch.no_grad()
    def __call__(self, noisy: Tensor, uf: float) -> Tensor:
        stride, factor = self.config.stride, self.config.upsampling
        x = F.conv_transpose1d(noisy[:, None], self.sinc, stride=factor)  # [B, T] -> [B, 1, U T]
        x = x[..., ZEROS * factor : ZEROS * factor + factor * noisy.shape[1]]
        skips = []
        for strided, bias, pointwise, glu_bias in self.encoder:
            w = width(uf, len(bias))
            x = F.relu(F.conv1d(F.pad(x, (0, stride)), strided[:w], bias[:w], stride))
            x = F.glu(F.conv1d(x, pointwise[:, :w], glu_bias), dim=1)
            skips.append(x)
        parts = x.mT.chunk(len(self.grus), dim=-1)
        x = torch.cat([gru(part)[0] for gru, part in zip(self.grus, parts, strict=True)], -1).mT
        if self.row is not None:
            ahead = F.pad(x, (0, self.row.shape[2] - 1), "replicate")
            x = F.conv1d(ahead, self.row, groups=len(self.row))
        for pointwise, glu_bias, transposed, bias in self.decoder:
            w = width(uf, pointwise.shape[1])
            x = x + skips.pop()
            x = F.glu(F.conv1d(x, pointwise[:, :w].flatten(0, 1), glu_bias[:, :w].flatten()), dim=1)
            x = F.conv_transpose1d(x, transposed[:w], bias, stride)[..., :-stride]
            if skips:
                x = F.relu(x)
        return F.conv1d(x, self.sinc, stride=factor, padding=ZEROS * factor)[:, 0] / factor


def grus(gru: GroupedGRU) -> list[nn.GRU]:
    """Make a `nn.GRU` for each group, with its weights."""
    c = gru.hidden_weight.shape[1]
    out = []
    for group in range(gru.groups):
        one = nn.GRU(c, c, batch_first=True).to(gru.hidden_weight)
        with torch.no_grad():
            one.get_parameter("weight_ih_l0").copy_(gru.input_weight[group].T)
            one.get_parameter("weight_hh_l0").copy_(gru.hidden_weight[group].T)
            one.get_parameter("bias_ih_l0").copy_(gru.input_bias[group, 0])
            one.get_parameter("bias_hh_l0").copy_(gru.hidden_bias[group, 0])
        out.append(one)
    return out


def _taps(weight: Tensor, stride: int) -> Tensor:
    """[2, S C, D] -> [2 S, C, D]."""
    return weight.reshape(2 * stride, -1, weight.shape[2])
