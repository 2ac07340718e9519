"""What the engine's blocks do, as scripts: a block at one UF, or a whole recurrence, is one call from Python.

Two threads meet at the interpreter's lock once a call; operation by operation they would wait for each other
longer than small operations take.

Glossary: F frames, G groups, B batch, n rows of one UF, s stretches of rows that follow each other in time,
C channels, c channels of a group, S stride, w width. Results go to memory of the caller, named last.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slimclean.model.scripted import script


@script
def encode(
    x: Tensor,
    ahead: Tensor,
    weights: list[Tensor],
    h: Tensor,
    gate: Tensor,
    out: Tensor,
) -> None:
    """Do what `FastEncoder` does in memory of the caller: h [w + 1, n], gate and out [n, C]."""
    bias, first, second, to_value, to_gate = weights
    n, w, stretches = len(x), len(first), len(ahead)
    slim = h[:w]
    h[w].fill_(1)
    torch.addmm(bias, first, x.t(), out=slim)
    if n == stretches:
        slim.addmm_(second, ahead.t())
    else:
        rows = n // stretches
        slim[:, :-1].addmm_(second, x[1:].t())
        # Right but for the last row of each stretch, which took the next in memory for the next in time.
        ahead[:-1].sub_(x[rows::rows])
        slim.view(w, stretches, rows)[:, :, -1].add_(torch.mm(second, ahead.t()))
    slim.relu_()
    torch.mm(h.t(), to_gate, out=gate).sigmoid_()
    torch.mm(h.t(), to_value, out=out).mul_(gate)


@script
def decode(
    x: Tensor,
    weights: list[Tensor],
    h: Tensor,
    gate: Tensor,
    out: Tensor,
    ends: Tensor,
) -> None:
    """Do what `FastDecoder` does: h [w + 1, n], gate [w, n], out [n, S C_out], ends [s, S C_out]."""
    value_bias, gate_bias, to_value, to_gate, first, second = weights
    n, w, stretches = len(x), len(to_value), len(ends)
    slim = h[:w]
    h[w].fill_(1)
    torch.addmm(gate_bias, to_gate, x.t(), out=gate).sigmoid_()
    torch.addmm(value_bias, to_value, x.t(), out=slim).mul_(gate)
    torch.mm(h.t(), first, out=out)
    last = slim.view(w, stretches, n // stretches)[:, :, -1]
    torch.mm(last.t(), second, out=ends)
    if n > stretches:
        last.zero_()  # the row that comes next in memory belongs to another stretch
        out[1:].addmm_(slim[:, :-1].t(), second)


@script
def grouped_scan(gates: Tensor, candidates: Tensor, weight: Tensor, before: Tensor, out: Tensor) -> None:
    """Walk a grouped GRU: gates [F, G, B, 3 c], candidates [F, G, B, c], weight [G, c, 3 c] -> [F, G, B, c]."""
    c, h = weight.shape[1], before
    for t in range(len(gates)):
        now, candidate, after = gates[t], candidates[t], out[t]
        both = now.baddbmm_(h, weight)[:, :, : 2 * c].sigmoid_()
        candidate.addcmul_(both[:, :, :c], now[:, :, 2 * c :]).sigmoid_()
        torch.lerp(candidate, h, both[:, :, c:], out=after)
        h = after


@script
def diagonal_scan(gates: Tensor, weight: Tensor, before: Tensor, out: Tensor) -> None:
    """Walk a diagonal GRU: gates [F, 4, B, C], the last the candidate, weight [3, 1, C] -> [F, B, C]."""
    h = before
    for t in range(len(gates)):
        now, after = gates[t], out[t]
        now[:3].addcmul_(h, weight)
        both, candidate = now[:2].sigmoid_(), now[3]
        candidate.addcmul_(both[0], now[2]).sigmoid_()
        torch.lerp(candidate, h, both[1], out=after)
        h = after
