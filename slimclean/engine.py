"""The inference form of the network: the same numbers, in less time and memory.

Three ideas on top of the plain network:

- **Tiles.** Encoder, GRU and decoder walk over the recording together, `TILE` frames at a time, so that what a
  level writes is still in cache when the next one reads it. Kernels reach two frames ahead in the encoder
  and two back in the decoder; a tile computes those frames again instead of storing every level.
- **Gather, narrow products, scatter.** Where the UF changes from frame to frame, the frames that chose the
  same UF are gathered, run through products of that width, and scattered back. Cost follows the choice.
- **Weights once.** Slices of the weights for each width in use are made contiguous and kept.

Glossary: B batch, F frames, r rows (time steps) of a level in one frame, C channels, S stride, w width.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor

from slimclean.model import SlimmableDemucs
from slimclean.model.blocks import DecoderBlock, EncoderBlock
from slimclean.model.demucs import Enhanced, uf_per_frame
from slimclean.model.gru import GroupedGRU
from slimclean.model.slimmable import width

TILE = 32
"""Frames per tile, about half a second; the widest temporary of a tile is then 2 MiB."""

REACH = 2
"""Frames that the encoder's kernels look ahead and the decoder's look back, rounded up."""

Groups = list[tuple[float, Tensor]]
"""The frames of a tile by UF: each UF with the indices of its frames in [B F]."""


class Engine:
    """Runs a network without gradients; numerically the network itself, up to rounding.

    Like the network, it takes [B, T] at `config.sample_rate` with T a multiple of `config.frame_hop`.
    """

    def __init__(self, network: SlimmableDemucs) -> None:
        self.network = network
        self.config = network.config
        self._encoder = [_Encoder(cast(EncoderBlock, block)) for block in network.encoder]
        self._decoder = [_Decoder(cast(DecoderBlock, block)) for block in network.decoder]

    @torch.inference_mode()
    def __call__(self, noisy: Tensor, uf: float | Tensor) -> Enhanced:
        """Enhance at one UF for everything, or at the UF given for each frame, [B, F]."""
        batch, samples = noisy.shape
        frames = samples // self.config.frame_hop
        steps = self.config.frame_hop * self.config.upsampling
        ufs = uf_per_frame(noisy, uf, self.config.frame_hop)
        up = self.network.resampler.up(noisy).view(batch, frames, steps)
        out = torch.empty_like(up)
        depth = self.config.depth
        kept: list[Tensor] = []  # the last frames of each skip, for the next tile's decoder
        state: Tensor | None = None
        bottom = noisy.new_zeros(batch, 0, self.config.channels[-1])
        for start, stop in _tiles(frames):
            ahead = min(frames, stop + REACH)
            groups = _group(ufs[:, start:ahead], uf)
            x = up[:, start:ahead].reshape(batch, -1, 1)
            skips = []
            for encode in self._encoder:
                x = encode(x, groups)
                skips.append(x)
            latent, state = gru_tile(self.network.gru, x[:, : stop - start], state)
            bottom = torch.cat([bottom[:, -REACH:], latent], dim=1)
            back = bottom.shape[1] - latent.shape[1]
            groups = _group(ufs[:, start - back : stop], uf)
            x = bottom
            for level in reversed(range(depth)):
                rows = self.config.stride ** (depth - 1 - level)
                now = skips[level][:, : (stop - start) * rows]
                if back:
                    x[:, : back * rows] += kept[level]
                x[:, back * rows :] += now
                skips[level] = torch.cat([kept[level], now[:, -REACH * rows :]], 1) if back else now
                skips[level] = skips[level][:, -REACH * rows :].clone()
                if level == depth - 1:
                    bottom = latent
                x = self._decoder[depth - 1 - level](x, groups)
            kept = skips
            out[:, start:stop] = x.view(batch, -1, steps)[:, back:]
        return Enhanced(self.network.resampler.down(out.flatten(1)), ufs)


def _tiles(frames: int) -> Iterator[tuple[int, int]]:
    """Consecutive [start, stop); the last tile takes in a rest shorter than the reach."""
    starts = list(range(0, frames, TILE))
    if len(starts) > 1 and frames - starts[-1] <= REACH:
        starts.pop()
    yield from itertools.pairwise([*starts, frames])


def _group(ufs: Tensor, uf: float | Tensor) -> float | Groups:
    """One UF for the tile if that is all there is, else the frames [B F] of each."""
    if not isinstance(uf, Tensor):
        return float(uf)
    flat = ufs.reshape(-1)
    values = torch.unique(flat).tolist()
    if len(values) == 1:
        return float(values[0])
    return [(value, torch.nonzero(flat == value)[:, 0]) for value in values]


class _Encoder:
    """`EncoderBlock` on prepared weights."""

    def __init__(self, block: EncoderBlock) -> None:
        self.block = block
        self._weights: dict[int, tuple[Tensor, ...]] = {}

    def __call__(self, x: Tensor, groups: float | Groups) -> Tensor:
        batch = x.shape[0]
        x = x.reshape(batch, x.shape[1] // self.block.strided.stride, -1)  # [B, N, C] -> [B, N / S, S C]
        ahead = torch.zeros_like(x)
        ahead[:, :-1] = x[:, 1:]
        if isinstance(groups, float):
            return self._narrow(x.flatten(0, 1), ahead.flatten(0, 1), groups).view(batch, x.shape[1], -1)
        frames = sum(len(index) for _, index in groups)
        now, ahead = (t.reshape(frames, -1, t.shape[-1]) for t in (x, ahead))  # [B F, r, S C]
        out = x.new_empty(frames, now.shape[1], self.block.channels)
        for uf, index in groups:
            picked = self._narrow(now[index].flatten(0, 1), ahead[index].flatten(0, 1), uf)
            out[index] = picked.view(len(index), now.shape[1], -1)
        return out.view(batch, x.shape[1], -1)

    def _narrow(self, now: Tensor, ahead: Tensor, uf: float) -> Tensor:
        """Rows [n, S C] and the rows after them -> [n, C]."""
        w = width(uf, self.block.channels)
        if w not in self._weights:
            strided, pointwise = self.block.strided, self.block.pointwise
            self._weights[w] = (
                strided.bias[:w].detach().contiguous(),
                *(half[:, :w].detach().contiguous() for half in strided.weight),
                pointwise.bias.detach().flatten(),
                torch.cat([half[:w].detach() for half in pointwise.weight], dim=1),
            )
        bias, first, second, glu_bias, glu_weight = self._weights[w]
        h = torch.addmm(bias, now, first).addmm_(ahead, second).relu_()
        return _glu(torch.addmm(glu_bias, h, glu_weight))


class _Decoder:
    """`DecoderBlock` on prepared weights; its skip is already added."""

    def __init__(self, block: DecoderBlock) -> None:
        self.block = block
        self.columns = block.transposed.weight.shape[2]
        self._weights: dict[int, tuple[Tensor, ...]] = {}

    def __call__(self, x: Tensor, groups: float | Groups) -> Tensor:
        batch, rows, channels = x.shape
        if isinstance(groups, float):
            now, after = self._narrow(x.reshape(-1, channels), groups)
        else:
            frames = sum(len(index) for _, index in groups)
            x = x.reshape(frames, -1, channels)  # [B F, r, C]
            now, after = x.new_empty(2, frames, x.shape[1], self.columns)
            for uf, index in groups:
                pieces = self._narrow(x[index].flatten(0, 1), uf)
                for whole, piece in zip((now, after), pieces, strict=True):
                    whole[index] = piece.view(len(index), -1, self.columns)
        y = now.view(batch, rows, self.columns)
        y[:, 1:] += after.view(batch, rows, self.columns)[:, :-1]
        if not self.block.last:
            y.relu_()
        return y.view(batch, rows * self.block.transposed.stride, -1)

    def _narrow(self, x: Tensor, uf: float) -> tuple[Tensor, Tensor]:
        """Rows [n, C] -> what each adds to its own S steps (with the bias) and to the next S, [n, S C']."""
        w = width(uf, self.block.channels)
        if w not in self._weights:
            pointwise, transposed = self.block.pointwise, self.block.transposed
            self._weights[w] = (
                pointwise.bias[:, :w].detach().flatten(),
                torch.cat([half[:, :w].detach() for half in pointwise.weight], dim=1),
                transposed.bias.detach().repeat(transposed.stride),
                *(half[:w].detach().contiguous() for half in transposed.weight),
            )
        glu_bias, glu_weight, bias, first, second = self._weights[w]
        h = _glu(torch.addmm(glu_bias, x, glu_weight))
        return torch.addmm(bias, h, first), h @ second


def _glu(u: Tensor) -> Tensor:
    """[n, 2 w] -> [n, w]; destroys u."""
    value, gate = u.chunk(2, dim=-1)
    return value * gate.sigmoid_()


def gru_tile(gru: GroupedGRU, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """`GroupedGRU` continued from `state` [G, B, c] (None: zeros): [B, F, C] -> [B, F, C] and the new state."""
    batch, frames, channels = x.shape
    groups, c = gru.groups, channels // gru.groups
    x = x.reshape(batch, frames, groups, c).permute(2, 1, 0, 3).reshape(groups, frames * batch, c)
    gates = torch.baddbmm(gru.input_bias, x, gru.input_weight).view(groups, frames, batch, 3 * c)
    h = x.new_zeros(groups, batch, c) if state is None else state
    out = x.new_empty(frames, groups, batch, c)
    for t, gate in enumerate(gates.transpose(0, 1).contiguous()):
        recurrent = torch.baddbmm(gru.hidden_bias, h, gru.hidden_weight)
        rz = torch.sigmoid(gate[..., : 2 * c] + recurrent[..., : 2 * c])
        candidate = torch.addcmul(gate[..., 2 * c :], rz[..., :c], recurrent[..., 2 * c :]).tanh_()
        h = torch.lerp(candidate, h, rz[..., c:], out=out[t])
    return out.permute(2, 0, 1, 3).reshape(batch, frames, channels), h
