"""What enhancement costs, in multiply-accumulates (MACs).

The counts are those of the network as published, convolutions slimmed and the sinc
interpolators at one product per non-zero tap; `torch.utils.flop_counter` agrees on the layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np

from slimclean.model.config import TAPS, ModelConfig
from slimclean.model.sinc import ZEROS
from slimclean.model.slimmable import width


def convolution_macs(config: ModelConfig, uf: float) -> float:
    """Count the MACs per sample of all encoder and decoder blocks at `uf`: 53,760 x UF by default."""
    total = Fraction(0)
    inputs = 1
    for level, channels in enumerate(config.channels, start=1):
        w = width(uf, channels)
        strided = config.kernel * inputs * w
        pointwise = w * 2 * channels
        # The decoder block of a level mirrors its encoder block product for product.
        rate = Fraction(config.upsampling, config.stride**level)  # steps per sample
        total += 2 * (strided + pointwise) * rate
        inputs = channels
    return float(total)


def gru_macs(config: ModelConfig) -> float:
    """Count the MACs per sample of the grouped GRU: 1,536 by default."""
    return 6 * config.channels[-1] ** 2 / config.gru_groups / config.frame_hop


def row_macs(config: ModelConfig) -> float:
    """Count the MACs per sample of the row convolution after the GRU: 130 by default, 0 without look-ahead."""
    taps = config.look_ahead + 1 if config.look_ahead else 0
    return taps * config.channels[-1] / config.frame_hop


def resampler_macs(config: ModelConfig) -> float:
    """Count the MACs per sample of both sinc interpolators: 672 by default."""
    return 2 * (config.upsampling - 1) * 2 * ZEROS


def router_macs(config: ModelConfig) -> float:
    """Count the MACs per sample of the router, convolution, context and head: 231.75 by default."""
    c, layers = config.router_channels, len(config.router_dilations)
    context = c * c + layers * (TAPS * c + c * c) + c if layers else 3 * c * c + 3 * c
    per_frame = context + c * len(config.ufs)
    return c * config.router_kernel / config.router_stride + per_frame / config.frame_hop


def macs_per_sample(config: ModelConfig, ufs: Iterable[float], *, routed: bool) -> float:
    """Average the MACs per 16 kHz sample over frames run at `ufs`, with the router's share if it chose them."""
    values, counts = np.unique(np.fromiter(ufs, float), return_counts=True)
    if not len(values):
        return 0.0
    convolutions = np.average([convolution_macs(config, v) for v in values], weights=counts)
    fixed = gru_macs(config) + row_macs(config) + resampler_macs(config)
    return float(convolutions + fixed + (router_macs(config) if routed else 0))
