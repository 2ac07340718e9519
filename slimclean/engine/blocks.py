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

from slimclean.engine.kernels import decode, diagonal_scan, encode, grouped_scan
from slimclean.model.blocks import DecoderBlock, EncoderBlock
from slimclean.model.gru import GroupedGRU
from slimclean.model.router import LOG_FLOOR, Context, Router, together
from slimclean.model.sinc import BLOCK, ZEROS, SincResampler
from slimclean.model.slimmable import width


class Scratch:
    """Memory by name, used again: fresh pages cost more than the arithmetic done on them."""

    def __init__(self, like: Tensor) -> None:
        self._like = like.new_empty(0)
        self._flat: dict[object, Tensor] = {}

    def __call__(self, name: object, *shape: int, dtype: torch.dtype) -> Tensor:
        """Lend an uninitialised tensor; it is valid until the name is asked for again."""
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
        self._weights: dict[int, list[Tensor]] = {}

    def __call__(self, x: Tensor, ahead: Tensor, uf: float, out: Tensor, scratch: Scratch) -> None:
        """Encode x [n, S C_in], s stretches of time, and the row after each, [s, S C_in] -> `out` [n, C]."""
        n, w = len(x), width(uf, self.outputs)
        h = scratch("h", w + 1, n, dtype=self.dtype)
        encode(x, ahead, self._prepare(w), h, scratch("gate", n, self.outputs, dtype=self.dtype), out)

    def _prepare(self, w: int) -> list[Tensor]:
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
        self._weights: dict[int, list[Tensor]] = {}

    def __call__(self, x: Tensor, uf: float, out: Tensor, ends: Tensor, scratch: Scratch) -> None:
        """Decode x [n, C], s stretches of time -> `out` [n, S C_out].

        What the last row of each stretch adds to whatever row comes next in time goes to `ends` [s, S C_out].
        """
        n, w = len(x), width(uf, self.inputs)
        h = scratch("h", w + 1, n, dtype=self.dtype)
        decode(x, self._prepare(w), h, scratch("gate", w, n, dtype=self.dtype), out, ends)

    def _prepare(self, w: int) -> list[Tensor]:
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
    """`GroupedGRU`, continued from a state; its tanh is a sigmoid, see `_without_tanh`."""

    def __init__(self, gru: GroupedGRU) -> None:
        self.groups = gru.groups
        c = gru.hidden_weight.shape[1]
        weight, bias, hidden_weight, hidden_bias = _without_tanh(
            gru.input_weight, gru.input_bias, gru.hidden_weight, gru.hidden_bias, gru.hidden_weight.sum(1, True)
        )
        bias[..., : 2 * c] += hidden_bias[..., : 2 * c]
        both, candidate = slice(None, 2 * c), slice(2 * c, None)
        self._rz = _kept(torch.float32, weight[..., both], bias[..., both])
        self._n = _kept(torch.float32, weight[..., candidate], bias[..., candidate])
        self._hidden_weight, self._hidden_bias = _kept(
            torch.float32, hidden_weight, hidden_bias[..., candidate]
        )

    def __call__(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Go on from a state, [G, B, c] or None at first: [B, f, C] -> [B, f, C] and the state after."""
        batch, frames, channels = x.shape
        groups, c = self.groups, channels // self.groups
        x = x.reshape(batch, frames, groups, c).permute(2, 1, 0, 3).reshape(groups, frames * batch, c)
        by_frame = groups, frames, batch, -1
        gates = x.new_empty(frames, groups, batch, 3 * c)  # r, z and the recurrent side of the candidate
        gates[..., : 2 * c] = torch.baddbmm(self._rz[1], x, self._rz[0]).view(by_frame).transpose(0, 1)
        gates[..., 2 * c :] = self._hidden_bias
        candidate = torch.baddbmm(self._n[1], x, self._n[0]).view(by_frame).transpose(0, 1).contiguous()
        out = torch.empty_like(candidate)
        before = out.new_full((groups, batch, c), 0.5) if state is None else state
        grouped_scan(gates, candidate, self._hidden_weight, before, out)
        after = out[-1].clone()
        return out.permute(2, 0, 1, 3).reshape(batch, frames, channels).mul_(2).sub_(1), after


class FastRouter:
    """`SlimmableDemucs.route`: its convolution as two products, its context as below."""

    def __init__(self, router: Router) -> None:
        self.router = router
        assert router.config.router_kernel == 2 * router.config.router_stride
        self._taps = _kept(torch.float32, *router.conv.weight[:, 0].chunk(2, dim=1))  # [C, S] each
        dilations = router.config.router_dilations
        self._in_context = FastContext(router.context) if dilations else FastDiagonalGRU(router)

    def __call__(self, noisy: Tensor, target_uf: float, power: Tensor | None = None) -> Tensor:
        """Choose the UF of each frame, [B, T] -> [B, F]; or [B, N, T] with the N channels' `power`."""
        config, router = self.router.config, self.router
        batch, stride = len(noisy), config.router_stride
        rows = noisy.reshape(-1, stride)
        x = torch.addmm(cast(Tensor, router.conv.bias), rows, self._taps[0].T)
        x = x.view(noisy.shape[:-1].numel(), -1, x.shape[1])
        after = torch.mm(rows, self._taps[1].T).view_as(x)
        x[:, :-1] += after[:, 1:]
        x = x.relu_().unflatten(1, (-1, config.frame_hop // stride)).mean(2)  # [B, F, C]
        if power is not None:
            x = together(x.unflatten(0, noisy.shape[:2]), power)
        base = router.head(self._in_context(torch.log(x + LOG_FLOOR)))
        return router.likeliest(router.priced(base, noisy.new_full((batch,), target_uf)))


class FastContext:
    """`Context`, [B, F, C] -> [B, F, C]: a depthwise convolution is `TAPS` multiples of the frames, shifted."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._layers = [self._prepare(cast(torch.nn.Conv1d, layer)) for layer in context.depthwise]

    def __call__(self, features: Tensor) -> Tensor:
        """Listen, [B, F, C] -> [B, F, C]."""
        x: Tensor = self.context.first(features)
        frames = x.shape[1]
        for (dilation, taps, bias), pointwise in zip(self._layers, self.context.pointwise, strict=True):
            reach = len(taps) // 2 * dilation
            padded = F.pad(x, (0, 0, reach, reach))
            around = bias.expand_as(x).clone()
            for k, tap in enumerate(taps):
                around.addcmul_(padded[:, k * dilation : k * dilation + frames], tap)
            x = x.add_(pointwise(around).relu_())
        return x

    @staticmethod
    def _prepare(layer: torch.nn.Conv1d) -> tuple[int, Tensor, Tensor]:
        """Give the dilation, the taps [K, C] and the bias [C]."""
        taps, bias = _kept(torch.float32, layer.weight[:, 0].T, cast(Tensor, layer.bias))
        return layer.dilation[0], taps, bias


class FastDiagonalGRU:
    """The context of a router without dilations: the next frame's features, then its scan."""

    def __init__(self, router: Router) -> None:
        self.delayed = router.delayed
        gru, c = router.gru, router.config.router_channels
        hidden_bias = torch.cat([gru.hidden_bias.new_zeros(2 * c), gru.hidden_bias])
        weight, bias, hidden_weight, hidden_bias = _without_tanh(
            gru.input_weight,
            gru.input_bias,
            gru.hidden_weight.flatten(),
            hidden_bias,
            gru.hidden_weight.flatten(),
        )
        bias[: 2 * c] += hidden_bias[: 2 * c]
        # Columns r, z, the recurrent side of the candidate, and the candidate.
        weight = torch.cat([weight[:, : 2 * c], torch.zeros_like(weight[:, :c]), weight[:, 2 * c :]], 1)
        bias = torch.cat([bias[: 2 * c], hidden_bias[2 * c :], bias[2 * c :]])
        self._gates = _kept(torch.float32, bias, weight, hidden_weight.view(3, 1, c))

    def __call__(self, features: Tensor) -> Tensor:
        """Listen, [B, F, C] -> [B, F, C]."""
        features = self.delayed(features)
        batch, frames, c = features.shape
        bias, weight, hidden_weight = self._gates
        gates = torch.addmm(bias, features.reshape(-1, c), weight)
        gates = gates.view(batch, frames, 4, c).permute(1, 2, 0, 3).contiguous()  # [F, 4, B, C]
        out = gates.new_empty(frames, batch, c)
        diagonal_scan(gates, hidden_weight, gates.new_full((batch, c), 0.5), out)
        return out.mul_(2).sub_(1).transpose(0, 1)


class FastResampler:
    """`SincResampler` from and to columns: the S upsampled steps of a row of the first block lie far apart."""

    def __init__(self, resampler: SincResampler, stride: int) -> None:
        self.factor = resampler.factor
        matrix = resampler.matrix.view(len(resampler.matrix), -1, stride)  # [64 + 2 Z, 64 U / S, S]
        self._up = _kept(torch.float32, *matrix.unbind(2))
        self._down = _kept(torch.float32, *(part.T / self.factor for part in matrix.unbind(2)))

    def up(self, x: Tensor, scratch: Scratch) -> Tensor:
        """Interpolate [B, T + 2 Z], with what comes before and after, -> [S, B, U T / S]; `BLOCK` divides T."""
        windows = x.unfold(1, BLOCK + 2 * ZEROS, BLOCK)
        windows = scratch("windows", *windows.shape, dtype=x.dtype).copy_(windows).flatten(0, 1)
        out = scratch("up", len(self._up), len(windows), self._up[0].shape[1], dtype=x.dtype)
        for step, matrix in zip(out, self._up, strict=True):
            torch.mm(windows, matrix, out=step)
        return out.view(len(out), len(x), -1)

    def down(self, y: Tensor, out: Tensor) -> None:
        """Low-pass [S, B, U T / S] and add it to `out` [B, T + 2 Z], where neighbours overlap."""
        rows = y.view(len(y), -1, self._down[0].shape[0])
        blocks = torch.mm(rows[0], self._down[0])
        for part, matrix in zip(rows[1:], self._down[1:], strict=True):
            blocks.addmm_(part, matrix)
        blocks = blocks.view(len(out), -1, BLOCK + 2 * ZEROS)
        for first in range(0, BLOCK + 2 * ZEROS, BLOCK):  # overlap-add
            piece = blocks[..., first : first + BLOCK]
            out[:, first:].unfold(1, piece.shape[2], BLOCK)[:, : blocks.shape[1]].add_(piece)


def _kept(dtype: torch.dtype, *tensors: Tensor) -> list[Tensor]:
    """Detach and cast, each contiguous; what is so already stays the network's own memory."""
    return [tensor.detach().to(dtype).contiguous() for tensor in tensors]


def _without_tanh(
    weight: Tensor, bias: Tensor, hidden_weight: Tensor, hidden_bias: Tensor, sums: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rewrite a GRU's weights, [..., 3 c] in the order r, z, n, for the state g = (h + 1) / 2.

    tanh(a) = 2 sigmoid(2 a) - 1, and a sigmoid takes a sixth of the time. So the candidate becomes a sigmoid of
    twice its argument, and h = lerp(n, h, z) stays what it is. What multiplied h = 2 g - 1 doubles, and
    its column `sums` move to the bias.
    """
    c = bias.shape[-1] // 3
    scale = torch.cat([bias.new_ones(2 * c), bias.new_full((c,), 2.0)])
    tensors = weight, bias, 2 * hidden_weight, hidden_bias - sums
    return cast(tuple[Tensor, Tensor, Tensor, Tensor], tuple((tensor * scale).detach() for tensor in tensors))
