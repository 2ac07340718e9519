"""Blocks whose frames run at UFs of their own, at the cost of their mean UF.

Frames that chose one UF are gathered, go through matrices sliced to its width together, and are scattered
back to their places. A block takes and gives all channels, so nothing else notices. The gradients are written
out, as in `products`; the tests hold values and gradients to the masked form in `slimmable`, which computes
every channel and then zeroes those that a frame does not use.

    encoder block    near[n] = x4[n], far[n] = x4[n + 1]     h = ReLU([near far] W[:, :w]),  y = GLU(h P[:w])
    decoder block    h = GLU(x P[:, :w]),  [near far] = h V[:w]                  y4[n] = near[n] + far[n - 1]

Glossary: B batch, F frames, N rows of a layer (R of them a frame), K columns of a row (stride times channels),
D channels inside the block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from slimclean.model.products import autocast, glu_slope

Group = tuple[int, Tensor]
"""Channels to keep, and which of the B F frames keep them."""


def routed_encoder(
    x: Tensor, weights: tuple[Tensor, Tensor], biases: tuple[Tensor, Tensor], groups: Sequence[Group]
) -> Tensor:
    """Strided convolution, ReLU, 1x1 convolution and GLU: x4 [B, N, K] -> [B, N, D].

    `weights` are [2, K, D] and [2, D, D], `biases` [D] and [2, D]; `groups` cover every frame once.
    """
    x, *parameters = autocast(x, *weights, *biases)
    apply: Callable[..., Tensor] = _RoutedEncoder.apply
    return apply(x, *parameters, groups)


def routed_decoder(
    x: Tensor,
    weights: tuple[Tensor, Tensor],
    biases: tuple[Tensor, Tensor],
    groups: Sequence[Group],
    *,
    relu: bool,
) -> Tensor:
    """Run 1x1 convolution, GLU, transposed convolution and `relu`: x [B, N, D] -> y4 [B, N, K].

    `weights` are [2, D, D] and [2, D, K], `biases` [2, D] and [K]; `groups` cover every frame once.
    """
    x, *parameters = autocast(x, *weights, *biases)
    apply: Callable[..., Tensor] = _RoutedDecoder.apply
    return apply(x, *parameters, groups, relu)


class _RoutedEncoder(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, strided: Tensor, pointwise: Tensor, b: Tensor, b2: Tensor, groups: Sequence[Group]
    ) -> Tensor:
        batch, rows, columns = x.shape
        frames = sum(len(index) for _, index in groups)
        padded = torch.cat([x, x.new_zeros(batch, 1, columns)], 1)
        # Row n and its successor side by side are one row of 2 K overlapping columns.
        pairs = padded.as_strided((batch, rows, 2 * columns), ((rows + 1) * columns, columns, 1))
        y = x.new_empty(frames, batch * rows // frames, pointwise.shape[2])
        saved = []
        pairs = pairs.reshape(frames, -1, 2 * columns)
        for w, index in groups:
            near_far = pairs.index_select(0, index).flatten(0, 1)
            h = torch.addmm(b[:w], near_far, strided[..., :w].flatten(0, 1)).relu_()
            value, gate = torch.addmm(b2.flatten(), h, _side_by_side(pointwise[:, :w])).chunk(2, -1)
            open_ = gate.contiguous().sigmoid_()
            part = value * open_
            y.index_copy_(0, index, part.view(len(index), *y.shape[1:]))
            saved += [near_far, h, value, open_, part]
        ctx.groups, ctx.shape = groups, x.shape
        ctx.save_for_backward(strided, pointwise, *saved)
        return y.view(batch, rows, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        strided, pointwise, *saved = ctx.saved_tensors
        batch, rows, columns = ctx.shape
        frames = sum(len(index) for _, index in ctx.groups)
        grad = grad.reshape(frames, -1, grad.shape[-1])
        d_strided, d_pointwise = torch.zeros_like(strided), torch.zeros_like(pointwise)
        d_b, d_b2 = strided.new_zeros(strided.shape[2]), strided.new_zeros(2, pointwise.shape[2])
        d_pairs = grad.new_empty(frames, batch * rows // frames, 2 * columns)
        for k, (w, index) in enumerate(ctx.groups):
            near_far, h, value, open_, part = saved[5 * k : 5 * k + 5]
            both = glu_slope(grad.index_select(0, index).flatten(0, 1), value, open_, part)
            d_pointwise[:, :w] += torch.stack((h.T @ both).chunk(2, 1))
            d_b2 += both.sum(0).view(2, -1)
            d_h = torch.ops.aten.threshold_backward(both @ _side_by_side(pointwise[:, :w]).T, h, 0)
            d_strided[..., :w] += (near_far.T @ d_h).unflatten(0, (2, -1))
            d_b[:w] += d_h.sum(0)
            if ctx.needs_input_grad[0]:
                d_part = d_h @ strided[..., :w].flatten(0, 1).T
                d_pairs.index_copy_(0, index, d_part.view(len(index), *d_pairs.shape[1:]))
        d_x = None
        if ctx.needs_input_grad[0]:
            near, far = d_pairs.view(batch, rows, 2, columns).unbind(2)
            d_x = near.contiguous()
            d_x[:, 1:] += far[:, :-1]
        return d_x, d_strided, d_pointwise, d_b, d_b2, None


class _RoutedDecoder(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        pointwise: Tensor,
        transposed: Tensor,
        b: Tensor,
        b2: Tensor,
        groups: Sequence[Group],
        relu: bool,
    ) -> Tensor:
        batch, rows, channels = x.shape
        columns = transposed.shape[2]
        frames = sum(len(index) for _, index in groups)
        by_frame = x.reshape(frames, -1, channels)
        pairs = x.new_empty(frames, by_frame.shape[1], 2 * columns)
        saved = []
        for w, index in groups:
            part = by_frame.index_select(0, index).flatten(0, 1)
            value, gate = torch.addmm(b[:, :w].flatten(), part, _side_by_side(pointwise[..., :w])).chunk(2, -1)
            open_ = gate.contiguous().sigmoid_()
            h = value * open_
            pairs.index_copy_(
                0, index, (h @ _side_by_side(transposed[:, :w])).view(len(index), *pairs.shape[1:])
            )
            saved += [part, value, open_, h]
        near, far = pairs.view(batch, rows, 2, columns).unbind(2)
        y = near + b2
        y[:, 1:] += far[:, :-1]
        if relu:
            y.relu_()
        ctx.groups, ctx.relu = groups, relu
        ctx.save_for_backward(pointwise, transposed, y if relu else None, *saved)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        pointwise, transposed, y, *saved = ctx.saved_tensors
        batch, rows, columns = grad.shape
        g = torch.ops.aten.threshold_backward(grad, y, 0) if ctx.relu else grad.contiguous()
        frames = sum(len(index) for _, index in ctx.groups)
        padded = torch.cat([g, g.new_zeros(batch, 1, columns)], 1)
        pairs = padded.as_strided((batch, rows, 2 * columns), ((rows + 1) * columns, columns, 1))
        pairs = pairs.reshape(frames, -1, 2 * columns)
        d_pointwise, d_transposed = torch.zeros_like(pointwise), torch.zeros_like(transposed)
        d_b = pointwise.new_zeros(2, pointwise.shape[2])
        d_x = g.new_empty(frames, batch * rows // frames, pointwise.shape[1])
        for k, (w, index) in enumerate(ctx.groups):
            part, value, open_, h = saved[4 * k : 4 * k + 4]
            near_far = pairs.index_select(0, index).flatten(0, 1)
            d_transposed[:, :w] += torch.stack((h.T @ near_far).chunk(2, 1))
            both = glu_slope(near_far @ _side_by_side(transposed[:, :w]).T, value, open_, h)
            d_pointwise[..., :w] += torch.stack((part.T @ both).chunk(2, 1))
            d_b[:, :w] += both.sum(0).view(2, -1)
            d_part = both @ _side_by_side(pointwise[..., :w]).T
            d_x.index_copy_(0, index, d_part.view(len(index), *d_x.shape[1:]))
        return d_x.view(batch, rows, -1), d_pointwise, d_transposed, d_b, g.sum((0, 1)), None, None


def _side_by_side(halves: Tensor) -> Tensor:
    """[2, n, m] -> [n, 2 m]: both halves in one product."""
    return torch.cat(halves.unbind(), 1)
