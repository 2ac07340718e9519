"""Encoder and decoder blocks: full width outside, slim inside.

Because every block takes and gives all its channels, the UF may change from one frame to the
next without any other block noticing (arXiv 2507.04879, section 2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slimclean.model.routed import routed_decoder, routed_encoder
from slimclean.model.slimmable import (
    FrameWidths,
    PointwiseConv,
    StridedConv,
    TransposedConv,
    Widths,
    columns,
    slim,
)


def _gathers(x: Tensor, widths: FrameWidths) -> bool:
    """Tell whether to gather: on a CPU in fp32.

    In bf16 every new number of rows costs half a millisecond there, and a GPU takes less time for all channels
    than for the copies.
    """
    return x.device.type == "cpu" and widths.is_hard and not torch.is_autocast_enabled("cpu")


class EncoderBlock(nn.Module):
    """Strided convolution (slim), ReLU, 1x1 convolution and GLU, [B, N, C_in] -> [B, N / S, C_out]."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.channels = out_channels
        self.strided = StridedConv(in_channels, out_channels, stride)
        self.pointwise = PointwiseConv(out_channels, out_channels)

    def forward(self, x: Tensor, widths: Widths) -> Tensor:
        first, second = self.strided, self.pointwise
        if isinstance(widths, FrameWidths) and _gathers(x, widths):
            return routed_encoder(
                first.rows(x),
                (first.weight, second.weight),
                (first.bias, second.bias),
                widths.groups(self.channels),
            )
        h = first(x, columns(widths, self.channels))
        y: Tensor = second(slim(h, widths), self.channels)
        return y


class DecoderBlock(nn.Module):
    """[B, N, C_in] -> [B, S N, C_out]: skip added, 1x1 convolution and GLU (slim), transposed convolution.

    A ReLU follows except in the block that gives the waveform (`last`).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, last: bool) -> None:
        super().__init__()
        self.channels = in_channels
        self.last = last
        self.pointwise = PointwiseConv(in_channels, in_channels)
        self.transposed = TransposedConv(in_channels, out_channels, stride)

    def forward(self, x: Tensor, skip: Tensor, widths: Widths) -> Tensor:
        first, second = self.pointwise, self.transposed
        if isinstance(widths, FrameWidths) and _gathers(x, widths):
            y = routed_decoder(
                x + skip,
                (first.weight, second.weight),
                (first.bias, second.bias_by_column),
                widths.groups(self.channels),
                relu=not self.last,
            )
            return second.steps(y)
        h = slim(first(x + skip, columns(widths, self.channels)), widths)
        out: Tensor = second(h, relu=not self.last)
        return out
