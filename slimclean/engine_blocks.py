"""The parts of the network on prepared weights, for `Engine`: the same products, laid out for speed.

Between blocks signals are rows, [n, C], a time step a row. Inside, where a block is slim, they are columns,
[w, n]: then every element-wise operation runs over long contiguous memory however narrow w is, and a bias
is one more row of weights against a row of ones. Results go to memory that the caller owns and uses again.

Glossary: B batch, T samples, f frames, r rows of a level in one frame, n = f r, C channels, S stride, w width.
A stretch is rows that follow each other in time: of a frame, or of all the frames of an item.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from slimclean.model.blocks import DecoderBlock, EncoderBlock
from slimclean.model.gru import GroupedGRU
from slimclean.model.router import LOG_FLOOR, Router
from slimclean.model.sinc import BLOCK, ZEROS, SincResampler
from slimclean.model.slimmable import width


class Scratch:
    """Memory by name, used again: fresh pages cost more than the arithmetic done on them."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._flat: dict[object, Tensor] = {}

    def __call__(self, name: object, *shape: int, dtype: torch.dtype) -> Tensor:
        """An uninitialised tensor; valid until the name is asked for again."""
        size, key = math.prod(shape), (name, dtype)
        flat = self._flat.get(key)
        if flat is None or len(flat) < size:
            flat = self._flat[key] = self._like.new_empty(size, dtype=dtype)
        return flat[:size].view(shape)


class FastEncoder:
    """`EncoderBlock` on rows of one UF."""

    def __init__(self, block: EncoderBlock, dtype: torch.dtype) -> None:
        self.block = block
        self.inputs = block.strided.weight.shape[1]  # S C_in
        self.outputs = block.channels
        self.dtype = dtype
        self._weights: dict[int, tuple[Tensor, ...]] = {}

    def __call__(self, x: Tensor, ahead: Tensor, uf: float, out: Tensor, scratch: Scratch) -> None:
        """x [n, S C_in], s stretches of time, and the row that follows each, [s, S C_in] -> `out` [n, C]."""
        n, w, stretches = len(x), width(uf, self.outputs), len(ahead)
        bias, first, second, value, gate = self._prepare(w)
        h = scratch("h", w + 1, n, dtype=self.dtype)
        h[w] = 1
        slim = h[:w]
        torch.addmm(bias, first, x.T, out=slim)
        if n == stretches:
            slim.addmm_(second, ahead.T)
        else:
            slim[:, :-1].addmm_(second, x[1:].T)
            # Right but for the last row of each stretch, which took the next in memory for the next in time.
            ahead[:-1] -= x[n // stretches :: n // stretches]
            slim.view(w, stretches, -1)[..., -1] += torch.mm(second, ahead.T)
        slim.relu_()
        open_ = torch.mm(h.T, gate, out=scratch("gate", n, self.outputs, dtype=self.dtype)).sigmoid_()
        torch.mm(h.T, value, out=out).mul_(open_)

    def _prepare(self, w: int) -> tuple[Tensor, ...]:
        if w not in self._weights:
            strided, pointwise = self.block.strided, self.block.pointwise
            halves = torch.cat([pointwise.weight[:, :w], pointwise.bias[:, None]], dim=1)  # [2, w + 1, C]
            self._weights[w] = _kept(
                self.dtype, strided.bias[:w, None], *(half[:, :w].T for half in strided.weight), *halves
            )
        return self._weights[w]


class FastDecoder:
    """`DecoderBlock` on rows of one UF; its skip is added before, its ReLU applied after."""

    def __init__(self, block: DecoderBlock, dtype: torch.dtype) -> None:
        self.block = block
        self.inputs = block.channels
        self.outputs = block.transposed.weight.shape[2]  # S C_out
        self.dtype = dtype
        self._weights: dict[int, tuple[Tensor, ...]] = {}

    def __call__(self, x: Tensor, uf: float, out: Tensor, ends: Tensor, scratch: Scratch) -> None:
        """x [n, C], s stretches of time -> `out` [n, S C_out].

        What the last row of each stretch adds to whatever row comes next in time goes to `ends` [s, S C_out].
        """
        n, w = len(x), width(uf, self.inputs)
        value_bias, gate_bias, value, gate, first, second = self._prepare(w)
        h = scratch("h", w + 1, n, dtype=self.dtype)
        h[w] = 1
        slim = h[:w]
        open_ = torch.addmm(gate_bias, gate, x.T, out=scratch("gate", w, n, dtype=self.dtype)).sigmoid_()
        torch.addmm(value_bias, value, x.T, out=slim).mul_(open_)
        torch.mm(h.T, first, out=out)
        last = slim.view(w, len(ends), -1)[..., -1]
        torch.mm(last.T, second, out=ends)
        if n > len(ends):
            last.zero_()  # the row that comes next in memory belongs to another stretch
            out[1:].addmm_(slim[:, :-1].T, second)

    def _prepare(self, w: int) -> tuple[Tensor, ...]:
        if w not in self._weights:
            pointwise, transposed = self.block.pointwise, self.block.transposed
            bias = transposed.bias.repeat(transposed.stride)[None]
            self._weights[w] = _kept(
                self.dtype,
                *pointwise.bias[:, :w, None],
                *(half[:, :w].T for half in pointwise.weight),
                torch.cat([transposed.weight[0, :w], bias]),
                transposed.weight[1, :w],
            )
        return self._weights[w]


class FastGRU:
    """`GroupedGRU`, continued from a state."""

    def __init__(self, gru: GroupedGRU) -> None:
        self.groups = gru.groups
        c = gru.hidden_weight.shape[1]
        bias = gru.input_bias.detach().clone()
        bias[..., : 2 * c] += gru.hidden_bias[..., : 2 * c].detach()
        tensors = gru.input_weight, bias, gru.hidden_weight, gru.hidden_bias
        self._rz = _kept(torch.float32, *(t[..., : 2 * c] for t in tensors[:3]))
        self._n = _kept(torch.float32, *(t[..., 2 * c :] for t in tensors))

    def __call__(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """[B, f, C] and the state before, [G, B, c] (None: zeros) -> [B, f, C] and the state after."""
        batch, frames, channels = x.shape
        groups, c = self.groups, channels // self.groups
        x = x.reshape(batch, frames, groups, c).permute(2, 1, 0, 3).reshape(groups, frames * batch, c)
        rz_weight, rz_bias, rz_hidden = self._rz
        n_weight, n_bias, n_hidden, hidden_bias = self._n
        rz = torch.baddbmm(rz_bias, x, rz_weight).view(groups, frames, batch, 2 * c).transpose(0, 1)
        n = torch.baddbmm(n_bias, x, n_weight).view(groups, frames, batch, c).transpose(0, 1)
        rz, n = rz.contiguous(), n.contiguous()
        h = x.new_zeros(groups, batch, c) if state is None else state
        out = x.new_empty(frames, groups, batch, c)
        recurrent = torch.empty_like(h)
        hidden_bias = hidden_bias.expand_as(recurrent).contiguous()
        steps = zip(*(t.unbind() for t in (rz, rz[..., :c], rz[..., c:], n, out)), strict=True)
        for both, r, z, candidate, after in steps:
            both.baddbmm_(h, rz_hidden).sigmoid_()
            torch.baddbmm(hidden_bias, h, n_hidden, out=recurrent)
            candidate.addcmul_(r, recurrent).tanh_()
            h = torch.lerp(candidate, h, z, out=after)
        return out.permute(2, 0, 1, 3).reshape(batch, frames, channels), h.clone()


class FastRouter:
    """`SlimmableDemucs.route`: its convolution as two products, its scan without temporaries."""

    def __init__(self, router: Router) -> None:
        self.router = router
        assert router.config.router_kernel == 2 * router.config.router_stride
        self._taps = _kept(torch.float32, *router.conv.weight[:, 0].chunk(2, dim=1))  # [C, S] each

    def __call__(self, noisy: Tensor, target_uf: float) -> Tensor:
        """[B, T] -> the UF of each frame, [B, F]."""
        config, head = self.router.config, self.router
        batch, stride = len(noisy), config.router_stride
        rows = noisy.view(-1, stride)
        x = torch.addmm(cast(Tensor, head.conv.bias), rows, self._taps[0].T)
        x = x.view(batch, -1, x.shape[1])
        after = torch.mm(rows, self._taps[1].T).view_as(x)
        x[:, :-1] += after[:, 1:]
        x = x.relu_().unflatten(1, (-1, config.frame_hop // stride)).mean(2)  # [B, F, C]
        hidden = self._scan(head.delayed(torch.log(x + LOG_FLOOR)))
        logits = head.priced(head.head(hidden), noisy.new_full((batch,), target_uf))
        return torch.tensor(config.ufs, device=noisy.device)[logits.argmax(-1)]

    def _scan(self, features: Tensor) -> Tensor:
        """`DiagonalGRU`, [B, F, C] -> [B, F, C]."""
        gru = self.router.gru
        gates = torch.matmul(features, gru.input_weight).add_(gru.input_bias)
        batch, frames, columns = gates.shape
        gates = gates.view(batch, frames, 3, columns // 3).permute(1, 2, 0, 3).contiguous()  # [F, 3, B, C]
        u_rz, u_n = gru.hidden_weight[:2, None], gru.hidden_weight[2]
        h = gates.new_zeros(batch, columns // 3)
        recurrent, out = torch.empty_like(h), gates.new_empty(frames, *h.shape)
        steps = zip(*(t.unbind() for t in (gates[:, :2], *gates.unbind(1), out)), strict=True)
        for rz, r, z, candidate, after in steps:
            rz.addcmul_(h, u_rz).sigmoid_()
            torch.addcmul(gru.hidden_bias, h, u_n, out=recurrent)
            candidate.addcmul_(r, recurrent).tanh_()
            h = torch.lerp(candidate, h, z, out=after)
        return out.transpose(0, 1)


class FastResampler:
    """`SincResampler` from and to columns: the S upsampled steps of a row of the first block lie far apart."""

    def __init__(self, resampler: SincResampler, stride: int) -> None:
        self.factor = resampler.factor
        matrix = resampler.matrix.view(len(resampler.matrix), -1, stride)  # [64 + 2 Z, 64 U / S, S]
        self._up = _kept(torch.float32, *matrix.unbind(2))
        self._down = _kept(torch.float32, *(part.T / self.factor for part in matrix.unbind(2)))

    def up(self, x: Tensor) -> Tensor:
        """[B, T] -> [S, B, U T / S]; T is a multiple of `BLOCK`."""
        windows = F.pad(x, (ZEROS, ZEROS)).unfold(1, BLOCK + 2 * ZEROS, BLOCK).flatten(0, 1)
        out = x.new_empty(len(self._up), len(windows), self._up[0].shape[1])
        for step, matrix in zip(out, self._up, strict=True):
            torch.mm(windows, matrix, out=step)
        return out.view(len(out), len(x), -1)

    def down(self, y: Tensor) -> Tensor:
        """[S, B, U T / S] -> [B, T], low-passed."""
        batch = y.shape[1]
        rows = y.view(len(y), -1, self._down[0].shape[0])
        blocks = torch.mm(rows[0], self._down[0])
        for part, matrix in zip(rows[1:], self._down[1:], strict=True):
            blocks.addmm_(part, matrix)
        blocks = blocks.view(batch, -1, BLOCK + 2 * ZEROS)
        count = blocks.shape[1]
        out = y.new_zeros(batch, count + 2 * ZEROS // BLOCK + 2, BLOCK)
        for first in range(0, BLOCK + 2 * ZEROS, BLOCK):  # overlap-add
            piece = blocks[..., first : first + BLOCK]
            at = first // BLOCK
            out[:, at : at + count, : piece.shape[2]] += piece
        return out.flatten(1)[:, ZEROS : ZEROS + count * BLOCK]


def _kept(dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Contiguous copies."""
    return tuple(tensor.detach().to(dtype).contiguous() for tensor in tensors)
