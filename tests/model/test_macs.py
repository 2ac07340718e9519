"""MACs against the published totals and against PyTorch's own counter."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from slimclean.model import ModelConfig, SlimmableDemucs
from slimclean.model.macs import (
    convolution_macs,
    gru_macs,
    macs_per_sample,
    resampler_macs,
    router_macs,
    row_macs,
)
from slimclean.model.sinc import BLOCK, ZEROS
from slimclean.model.slimmable import width

PUBLISHED = {0.125: 8_944, 0.25: 15_664, 0.5: 29_104, 1.0: 55_985}


@pytest.mark.parametrize(("uf", "published"), PUBLISHED.items())
def test_totals_are_the_published_ones(uf, published):
    """Without the router, as published; the 16 or 17 that are left are how the resampler is counted."""
    config = ModelConfig(look_ahead=0)  # the paper's network has none
    ours = macs_per_sample(config, [uf], routed=False)
    assert row_macs(config) == 0
    assert convolution_macs(config, uf) == 53_760 * uf
    assert gru_macs(config) == 1_536
    assert 0 <= published - ours <= 17 < resampler_macs(config) == 672


def _count(run) -> float:
    """MACs of the matrix products in `run()`, by PyTorch's counter; it knows `baddbmm` but not in place."""
    in_place = {torch.ops.aten.baddbmm_: lambda _, a, b, **__: 2 * math.prod(a) * b[-1]}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        run()
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("uf", [0.125, 0.37, 1.0])
def test_pytorch_counts_the_same(uf):
    config = ModelConfig()
    network = SlimmableDemucs(config).eval()
    noisy = torch.randn(1, 16 * config.frame_hop)
    counted = _count(lambda: network.backbone(noisy, uf))
    # As a dense block matrix the resampler is computed with its zeros, both ways.
    counted -= 2 * (BLOCK + 2 * ZEROS) * config.upsampling * noisy.shape[1]
    # The second tap of a convolution has no partner at one end of the signal: one product less a layer.
    for inputs, channels in itertools.pairwise((1, *config.channels)):
        counted += 2 * config.stride * inputs * width(uf, channels)
    wanted = convolution_macs(config, uf) + gru_macs(config) + row_macs(config)
    assert counted / noisy.shape[1] == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("dilations", [(), (1, 2, 4, 8, 16)])
def test_pytorch_counts_the_router_the_same(dilations):
    config = ModelConfig(router_dilations=dilations)
    network = SlimmableDemucs(config).eval()
    noisy = torch.randn(1, 16 * config.frame_hop)
    counted = _count(lambda: network.route(noisy, 0.25))
    counted -= network.router.target_shift.numel()  # the target, once a call
    recurrent = 0 if dilations else 3 * config.router_channels
    elementwise = recurrent / config.frame_hop  # which the counter leaves out
    assert counted / noisy.shape[1] + elementwise == pytest.approx(router_macs(config), rel=1e-9)


def test_looking_ahead_costs_a_product_a_tap():
    with_it, without = (macs_per_sample(ModelConfig(look_ahead=n), [0.5], routed=False) for n in (64, 0))
    taps_per_frame = 65 * ModelConfig().channels[-1]
    assert with_it - without == row_macs(ModelConfig()) == taps_per_frame / ModelConfig().frame_hop == 130


def test_a_mixture_costs_the_mean():
    config = ModelConfig()
    low, high = (macs_per_sample(config, [v], routed=True) for v in (0.125, 1.0))
    assert macs_per_sample(config, [0.125, 1.0], routed=True) == pytest.approx((low + high) / 2)
    often = macs_per_sample(config, [0.125, 1.0, 0.125, 0.125], routed=True)
    assert often == pytest.approx((3 * low + high) / 4)
    assert macs_per_sample(config, [], routed=True) == 0


def test_who_chooses_costs_something_too():
    config = ModelConfig()
    chosen, given = (macs_per_sample(config, [0.25], routed=routed) for routed in (True, False))
    assert chosen - given == pytest.approx(router_macs(config))
