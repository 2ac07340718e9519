"""The resampler around the backbone: sinc interpolation as one constant matrix.

Up by U with a windowed sinc h of Z zero crossings on each side:

    y[U n + p] = sum_m x[m] h[U (n - m) + p]           (m within Z samples of n)

Which x a y needs depends on n alone, so a block of 64 inputs and their neighbours, times one constant
Toeplitz matrix, give 64 U outputs: a matrix product instead of a one-channel convolution, which
is what dominates a plain implementation. Coming down is the transposed matrix and an overlap-add.

One output in U is an input untouched (h is 1 at 0 and 0 at every other multiple of U), so the
work is (U - 1) 2 Z multiply-accumulates per sample in each direction: 336 for U = 4, Z = 56.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slimclean.model.config import BLOCK as BLOCK

ZEROS = 56
"""Zero crossings on each side, as in the DEMUCS enhancer (arXiv 2006.12847)."""


class SincResampler(nn.Module):
    """Resampling by U, up and back down, each with a look-ahead of `ZEROS` samples at the lower rate."""

    matrix: Tensor

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor
        position = torch.arange(BLOCK * factor)[None, :] - factor * (
            torch.arange(BLOCK + 2 * ZEROS)[:, None] - ZEROS
        )  # of output k relative to input i, in output samples
        time = position.double() / factor
        window = torch.cos(math.pi / 2 * (time / ZEROS).clamp(-1, 1)) ** 2
        self.register_buffer("matrix", (torch.sinc(time) * window).float(), persistent=False)

    def up(self, x: Tensor) -> Tensor:
        """Interpolate, [B, T] -> [B, U T]; T is a multiple of `BLOCK`."""
        with torch.autocast(x.device.type, enabled=False):  # a waveform needs all its bits
            windows = F.pad(x.float(), (ZEROS, ZEROS)).unfold(1, BLOCK + 2 * ZEROS, BLOCK)
            return (windows @ self.matrix).flatten(1)

    def down(self, y: Tensor) -> Tensor:
        """Low-pass and take every U-th sample, [B, U T] -> [B, T]."""
        with torch.autocast(y.device.type, enabled=False):
            rows = y.float().unflatten(1, (-1, BLOCK * self.factor))
            blocks = rows @ self.matrix.T  # [B, T / 64, 64 + 2 Z]
        size = y.shape[1] // self.factor + 2 * ZEROS
        total = F.fold(blocks.mT, (1, size), (1, BLOCK + 2 * ZEROS), stride=(1, BLOCK))  # overlap-add
        return total[:, 0, 0, ZEROS:-ZEROS] / self.factor
