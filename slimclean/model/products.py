"""The network's matrix products with hand-written gradients.

PyTorch's own differentiation of these expressions spends as much time on temporaries (zero-filled
gradients of slices, padded copies, one kernel per factor of a gate) as on the products themselves. These
functions accumulate in place. The tests hold them to `conv1d`, `conv_transpose1d`, `glu`, `nn.GRU` and
`gradcheck`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from slimclean.model.scripted import script

PIECE = 2048
"""Rows that a GPU multiplies together where there are many."""


def two_tap(x: Tensor, weight: Tensor, bias: Tensor, *, ahead: bool, relu: bool) -> Tensor:
    """Add x[n] @ weight[0], x[n + 1] @ weight[1] and bias, or with x[n - 1] (`ahead=False`); then ReLU.

    x [B, N, C], weight [2, C, D], bias [D] -> [B, N, D]; rows outside x are zero.
    """
    x, weight, bias = autocast(x, weight, bias)
    apply: Callable[..., Tensor] = _TwoTap.apply
    return apply(x, weight, bias, ahead, relu)


def glu_product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Gate x @ weight + bias: x [B, N, C], weight [C, 2 D] (values, then gates), bias [2 D] -> [B, N, D]."""
    x, weight, bias = autocast(x, weight, bias)
    apply: Callable[..., Tensor] = _GluProduct.apply
    return apply(x, weight, bias)


def gru_scan(gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Run G GRUs from h = 0: gates [F, G, B, 3 c] (x W + b), weight [G, c, 3 c] -> [F, G, B, c]."""
    apply: Callable[..., Tensor] = _GruScan.apply
    return apply(gates.to(weight.dtype), weight, bias)


def diagonal_scan(gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Run a diagonal GRU from h = 0: gates [F, B, 3 C] (x W + b), weight [3, C] -> [F, B, C]."""
    apply: Callable[..., Tensor] = _DiagonalScan.apply
    return apply(gates, weight, bias)


def autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Cast the tensors to the type that an enclosing `torch.autocast` asks for."""
    kind = tensors[0].device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        return tuple(tensor.to(dtype) for tensor in tensors)
    return tensors


class _TwoTap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, ahead: bool, relu: bool) -> Tensor:
        batch = x.shape[0]
        y = torch.baddbmm(bias, x, weight[0].expand(batch, -1, -1))
        to, of = (y[:, :-1], x[:, 1:]) if ahead else (y[:, 1:], x[:, :-1])
        to.baddbmm_(of, weight[1].expand(batch, -1, -1))
        if relu:
            y.relu_()
        ctx.ahead, ctx.relu = ahead, relu
        ctx.save_for_backward(x, weight, y if relu else None)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, y = ctx.saved_tensors
        batch, _, channels = x.shape
        g = torch.ops.aten.threshold_backward(grad, y, 0) if ctx.relu else grad.contiguous()
        # The rows that meet in the second tap.
        near, far = (slice(None, -1), slice(1, None)) if ctx.ahead else (slice(1, None), slice(None, -1))
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.bmm(g, weight[0].T.expand(batch, -1, -1))
            grad_x[:, far].baddbmm_(g[:, near], weight[1].T.expand(batch, -1, -1))
        grad_weight = torch.empty_like(weight)
        rows, slopes = x.reshape(-1, channels), g.reshape(-1, g.shape[-1])
        if _on_gpu(x):
            # One product over all rows, less the pairs of an item's end and the next one's beginning.
            x_edge, g_edge = (x[1:, 0], g[:-1, -1]) if ctx.ahead else (x[:-1, -1], g[1:, 0])
            pair = (rows[1:], slopes[:-1]) if ctx.ahead else (rows[:-1], slopes[1:])
            grad_weight[0] = over_rows(rows, slopes)
            grad_weight[1] = over_rows(*pair) - x_edge.T @ g_edge
        else:
            torch.mm(rows.T, slopes, out=grad_weight[0])
            grad_weight[1].zero_()
            for item in range(batch):
                grad_weight[1].addmm_(x[item, far].T, g[item, near])
        return grad_x, grad_weight, g.sum((0, 1)), None, None


class _GluProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        value, gate = torch.addmm(bias, x.reshape(-1, x.shape[-1]), weight).chunk(2, -1)
        open_ = gate.contiguous().sigmoid_()  # in bf16, functions of strided memory take several times as long
        y = value * open_
        ctx.save_for_backward(x, weight, value, open_, y)
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, value, open_, y = ctx.saved_tensors
        both = glu_slope(grad.reshape(-1, y.shape[-1]), value, open_, y)
        rows = x.reshape(-1, x.shape[-1])
        return (both @ weight.T).view(x.shape), over_rows(rows, both), both.sum(0)


def over_rows(x: Tensor, y: Tensor) -> Tensor:
    """Multiply x.T @ y, [n, p] x [n, q] -> [p, q], where n is large.

    A GPU does that piece by piece: one small product occupies few of its processors.
    """
    pieces = len(x) // PIECE if _on_gpu(x) else 0
    if pieces < 2:
        return x.T @ y
    whole = pieces * PIECE
    inner, inner2 = (t[:whole].unflatten(0, (pieces, PIECE)) for t in (x, y))
    return torch.bmm(inner.mT, inner2).sum(0) + x[whole:].T @ y[whole:]


def _on_gpu(x: Tensor) -> bool:
    return x.is_cuda


def glu_slope(grad: Tensor, value: Tensor, open_: Tensor, y: Tensor) -> Tensor:
    """Take the gradient of a GLU's output back to its values and gates, side by side: [n, d] -> [n, 2 d]."""
    d = grad.shape[-1]
    both = torch.empty(len(grad), 2 * d, dtype=grad.dtype, device=grad.device)
    grad_value, grad_gate = both[:, :d], both[:, d:]
    torch.mul(grad, open_, out=grad_value)
    torch.sub(value, y, out=grad_gate)  # sigmoid' = s (1 - s), so the gate's slope is v s - y s
    grad_gate.mul_(grad_value)
    return both


class _GruScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        c = weight.shape[1]
        with torch.autocast(gates.device.type, enabled=False):
            hidden, rz, candidate, recurrent = _gru_forward(gates, weight, bias)
        recurrent_n = recurrent[..., 2 * c :]
        ctx.save_for_backward(weight, hidden, rz, candidate, recurrent_n)
        return hidden[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weight, hidden, rz, candidate, recurrent_n = ctx.saved_tensors
        frames, groups, batch, c = candidate.shape
        r, z = rz[..., :c], rz[..., c:]
        to_r, to_z, to_candidate = _slopes(hidden[:-1], r, z, candidate, recurrent_n)
        factors = torch.stack([to_r, to_z, to_candidate * r], dim=3)  # [F, G, B, 3, c], recurrent side
        total, recurrent_grad = _gru_backward(grad, z, factors, weight.mT.contiguous())
        flat = recurrent_grad.view(frames, groups, batch, 3 * c)
        inputs_grad = torch.cat([flat[..., : 2 * c], total * to_candidate], dim=-1)
        rows = flat.transpose(0, 1).reshape(groups, frames * batch, 3 * c)
        before = hidden[:-1].transpose(0, 1).reshape(groups, frames * batch, c)
        return inputs_grad, before.mT @ rows, rows.sum(1, keepdim=True)


def _slopes(before: Tensor, r: Tensor, z: Tensor, candidate: Tensor, recurrent: Tensor) -> tuple[Tensor, ...]:
    """Differentiate a GRU's new state by the arguments of r's and z's sigmoid and of the candidate's tanh.

    So the walk back only multiplies. `before` is the last state, `recurrent` what r lets into the candidate.
    """
    to_candidate = (1 - z) * (1 - candidate * candidate)
    return to_candidate * recurrent * r * (1 - r), (before - candidate) * z * (1 - z), to_candidate


class _DiagonalScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        hidden, rz, candidate, recurrent = _diagonal_forward(gates, weight, bias)
        ctx.save_for_backward(weight, hidden, rz, candidate, recurrent)
        return hidden[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weight, hidden, rz, candidate, recurrent = ctx.saved_tensors
        r, z = rz.unbind(1)
        to_r, to_z, to_candidate = _slopes(hidden[:-1], r, z, candidate, recurrent)
        sides = torch.stack([to_r, to_z, to_candidate * r], dim=1)  # [F, 3, B, C], recurrent side
        back = z + (sides * weight[:, None]).sum(1)
        total = _diagonal_backward(grad, back)
        sides = sides * total[:, None]
        inputs = torch.stack([sides[:, 0], sides[:, 1], total * to_candidate], dim=2)  # [F, B, 3, C]
        before = hidden[:-1, None]
        return inputs.flatten(2), (sides * before).sum((0, 2)), sides[:, 2].sum((0, 1))


@script
def _gru_forward(gates: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """States [F + 1, G, B, c], r and z [F, G, B, 2 c], candidates [F, G, B, c], recurrent [F, G, B, 3 c]."""
    frames, groups, batch = gates.shape[:3]
    c = weight.shape[1]
    hidden = torch.zeros([frames + 1, groups, batch, c], dtype=gates.dtype, device=gates.device)
    rz, candidate = gates[..., : 2 * c].contiguous(), gates[..., 2 * c :].contiguous()
    recurrent = torch.empty_like(gates)
    for t in range(frames):
        now, both = recurrent[t], rz[t]
        torch.baddbmm(bias, hidden[t], weight, out=now)
        both.add_(now[..., : 2 * c]).sigmoid_()
        candidate[t].addcmul_(both[..., :c], now[..., 2 * c :]).tanh_()
        torch.lerp(candidate[t], hidden[t], both[..., c:], out=hidden[t + 1])
    return hidden, rz, candidate, recurrent


@script
def _gru_backward(grad: Tensor, z: Tensor, factors: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the states, [F, G, B, c], and of the recurrent side of the gates, [F, G, B, 3, c]."""
    total = grad.clone(memory_format=torch.contiguous_format)
    recurrent = torch.empty_like(factors)
    flat = recurrent.flatten(3)
    frames = len(total)
    for t in range(frames - 1, -1, -1):
        if t + 1 < frames:
            total[t].addcmul_(total[t + 1], z[t + 1]).baddbmm_(flat[t + 1], back)
        torch.mul(total[t].unsqueeze(2), factors[t], out=recurrent[t])
    return total, recurrent


@script
def _diagonal_forward(gates: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """States [F + 1, B, C], r and z [F, 2, B, C], candidates and recurrent sides [F, B, C]."""
    frames, batch = gates.shape[:2]
    c = weight.shape[1]
    weight_rz, weight_n = weight[:2].unsqueeze(1), weight[2]
    hidden = torch.zeros([frames + 1, batch, c], dtype=gates.dtype, device=gates.device)
    by_gate = gates.view(frames, batch, 3, c).transpose(1, 2)  # [F, 3, B, C]
    rz, candidate = by_gate[:, :2].contiguous(), by_gate[:, 2].contiguous()
    recurrent = torch.empty_like(candidate)
    for t in range(frames):
        both = rz[t]
        both.addcmul_(hidden[t], weight_rz).sigmoid_()
        torch.addcmul(bias, hidden[t], weight_n, out=recurrent[t])
        candidate[t].addcmul_(both[0], recurrent[t]).tanh_()
        torch.lerp(candidate[t], hidden[t], both[1], out=hidden[t + 1])
    return hidden, rz, candidate, recurrent


@script
def _diagonal_backward(grad: Tensor, back: Tensor) -> Tensor:
    """Find the gradients of the states, [F, B, C]; `back` is each state's slope by the one before."""
    total = grad.clone(memory_format=torch.contiguous_format)
    for t in range(len(total) - 2, -1, -1):
        total[t].addcmul_(total[t + 1], back[t + 1])
    return total
