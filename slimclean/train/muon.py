"""Muon for the matrices of the convolutions and the GRU, in fp32 or bf16.

Source: Keller Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks";
the update is scaled by 0.2 sqrt(max side), which gives it the size of an Adam update (Liu et al.
2025, arXiv 2502.16982). `torch.optim.Muon` is the same but for two-dimensional bf16 parameters only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

STEPS = 4
BLOCK = 128
"""Rows orthogonalised together. The iteration's cost grows with the square of the rows, and whole matrices of
the deepest level would take as long as the rest of a training step."""
A, B, C = 3.4445, -4.7750, 2.0315
"""Coefficients of the quintic iteration, from the source."""


def orthogonalise(update: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Bring the singular values of [..., n, m] near 1 (Newton-Schulz, in `dtype`)."""
    n, m = update.shape[-2:]
    x = update.reshape(-1, n, m)
    x = (x.mT if n > m else x).to(dtype)
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    x = _on_squares(x) if dtype == torch.float32 else _on_all(x)
    return (x.mT if n > m else x).to(update.dtype).reshape(update.shape)


def _on_all(x: Tensor) -> Tensor:
    """Iterate as the source writes it, on matrices [k, n, m]."""
    for _ in range(STEPS):
        gram = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=B, alpha=C)
        x = torch.baddbmm(x, polynomial, x, beta=A)
    return x


def _on_squares(x: Tensor) -> Tensor:
    """Iterate only what x is multiplied by, in 60 % of the time: polynomials of x x^T, which commute.

    Not in bf16, which leaves x x^T negative eigenvalues, and these grow.
    """
    gram = torch.bmm(x, x.mT)
    total = None
    for left in reversed(range(STEPS)):
        polynomial = torch.baddbmm(gram, gram, gram, beta=B, alpha=C)
        polynomial.diagonal(dim1=-2, dim2=-1).add_(A)
        total = polynomial if total is None else torch.bmm(polynomial, total)
        if left:
            gram = torch.bmm(polynomial, torch.bmm(gram, polynomial))
    assert total is not None
    return torch.bmm(total, x)


def in_blocks(x: Tensor) -> Tensor:
    """Cut [..., n, m] into [..., n / BLOCK, BLOCK, m] where that is whole."""
    n, m = x.shape[-2:]
    return x.reshape(*x.shape[:-2], n // BLOCK, BLOCK, m) if n % BLOCK == 0 else x


class Muon(torch.optim.Optimizer):
    """Momentum (Nesterov), orthogonalised; parameters are matrices or stacks of matrices [G, n, m].

    `run` maps a function over the parameters; a thread pool's `map` makes the step parallel. `dtype` is
    that of the iteration, which forgives bf16.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype

    def step(  # type: ignore[override]
        self, run: Callable[[Callable[[Tensor], None], Iterable[Tensor]], Iterable[None]] = map
    ) -> None:
        for group in self.param_groups:

            @torch.no_grad()
            def update(p: Tensor, group: dict[str, float] = group) -> None:
                assert p.grad is not None
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                buffer: Tensor = state["momentum"]
                buffer.lerp_(p.grad, 1 - group["momentum"])
                blocks = in_blocks(p.grad.lerp(buffer, group["momentum"]))
                direction = orthogonalise(blocks, self.dtype).reshape(p.shape)
                scale = 0.2 * max(blocks.shape[-2:]) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(direction, alpha=-group["lr"] * scale)

            # Largest first, so that the last thread to finish has little left to do.
            for _ in run(update, sorted(group["params"], key=lambda p: -p.numel())):
                pass
