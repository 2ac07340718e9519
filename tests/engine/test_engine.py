"""The engine is the plain network, for every length, UF and map of UFs."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL
from hypothesis import given, settings
from hypothesis import strategies as st

from slimclean import audio
from slimclean.engine.blocks import FastGRU
from slimclean.engine.engine import Engine
from slimclean.engine.order import Order
from slimclean.engine.tiles import REACH, TILE, tiles
from slimclean.model import ModelConfig, SlimmableDemucs, checkpoint
from slimclean.model.ordinary import OrdinaryDemucs


def compare(network: SlimmableDemucs, noisy: torch.Tensor, uf: float | torch.Tensor) -> None:
    with torch.no_grad():
        plain = network(noisy, uf)
    fast = Engine(network)(noisy, uf)
    full_scale = plain.waveform.abs().max()
    assert (fast.waveform - plain.waveform).abs().max() < 1e-5 * full_scale
    assert fast.uf.equal(plain.uf)


def network_that_looks_ahead(config: ModelConfig) -> SlimmableDemucs:
    network = SlimmableDemucs(config).eval()
    torch.nn.init.normal_(network.row.weight, std=0.5)
    return network


@settings(max_examples=40, deadline=None)
@given(
    frames=st.integers(1, 3 * TILE + 2),
    batch=st.integers(1, 3),
    uf=st.sampled_from([0.05, 0.37, 1.0, "frame by frame", "in runs", "item by item"]),
    seed=st.integers(0, 99),
)
def test_the_engine_equals_the_network(frames, batch, uf, seed):
    torch.manual_seed(seed)
    network = network_that_looks_ahead(SMALL)
    noisy = torch.randn(batch, frames * SMALL.frame_hop)
    lasting = {"frame by frame": 1, "in runs": TILE, "item by item": frames}
    if uf in lasting:
        choices = torch.randint(len(SMALL.ufs), (batch, frames)).repeat_interleave(lasting[uf], 1)[:, :frames]
        compare(network, noisy, torch.tensor(SMALL.ufs)[choices])
    else:
        compare(network, noisy, uf)


@pytest.mark.parametrize("uf", [0.125, 1.0, "map"])
def test_the_engine_equals_the_network_at_full_size(uf):
    torch.manual_seed(0)
    network = network_that_looks_ahead(ModelConfig())
    config = network.config
    frames = 2 * TILE + 70
    ufs = torch.tensor(config.ufs)[torch.randint(len(config.ufs), (1, frames))] if uf == "map" else uf
    compare(network, torch.randn(1, frames * config.frame_hop), ufs)


def test_the_recurrence_continues_from_tile_to_tile(small):
    x = torch.randn(2, 10, SMALL.channels[-1])
    gru = FastGRU(small.gru)
    with torch.no_grad():
        first, state = gru(x[:, :4], None)
        second, _ = gru(x[:, 4:], state)
        torch.testing.assert_close(torch.cat([first, second], 1), small.gru(x))


def test_later_passes_leave_earlier_results_alone(small):
    """They share memory."""
    engine = Engine(small)
    long, short = torch.randn(2, 2 * TILE * SMALL.frame_hop), torch.randn(1, 9 * SMALL.frame_hop)
    first = engine(long, 0.25).waveform
    copy = first.clone()
    engine(short, 1.0)
    assert first.equal(copy)
    assert engine(long, 0.25).waveform.equal(copy)


def test_tiles_cover_everything_and_reach_far_enough():
    for frames in range(1, 5 * TILE):
        cut = list(tiles(frames))
        assert cut[0][0] == 0
        assert cut[-1][1] == frames
        assert all(a[1] == b[0] for a, b in itertools.pairwise(cut))
        assert len(cut) == 1 or min(stop - start for start, stop in cut) > REACH
    assert list(tiles(0)) in ([], [(0, 0)])


@pytest.mark.parametrize("uf", [0.125, 0.37, 1.0])
def test_the_engine_equals_ordinary_layers(uf):
    """Another derivation altogether: strided and transposed convolutions, `nn.GRU`, one long sinc."""
    torch.manual_seed(0)
    network = network_that_looks_ahead(SMALL)
    noisy = torch.randn(2, 40 * SMALL.frame_hop)
    ordinary = OrdinaryDemucs(network)(noisy, uf)
    fast = Engine(network)(noisy, uf).waveform
    assert (fast - ordinary).abs().max() < 1e-5 * ordinary.abs().max()


@pytest.mark.parametrize("dilations", [(), (1, 3), SMALL.router_dilations])
def test_the_engine_routes_like_the_router(dilations):
    torch.manual_seed(0)
    network = SlimmableDemucs(replace(SMALL, router_dilations=dilations)).eval()
    noisy = torch.randn(3, 50 * SMALL.frame_hop) * torch.rand(3, 50).repeat_interleave(SMALL.frame_hop, 1)
    torch.nn.init.normal_(network.router.head.weight)
    with torch.no_grad():
        network.router.head.bias -= network.router.base_logits(noisy).mean((0, 1))
        wanted = network.route(noisy, 0.4)
        pauses = network.router(noisy, torch.full((3,), 0.4)).isinf().any(-1).float().mean()
    assert len(wanted.unique()) > 2
    assert 0.1 < pauses < 0.9 or not dilations
    assert Engine(network).route(noisy, 0.4).equal(wanted)
    power = torch.rand(1, 3, 50)
    with torch.no_grad():
        wanted = network.route(noisy[None], 0.4, power)
    assert wanted.shape == (1, 50)
    assert Engine(network).route(noisy[None], 0.4, power).equal(wanted)


@pytest.mark.parametrize("uf", [0.125, 1.0, "map"])
def test_bf16_stays_close(uf):
    """Above 45 dB on the packaged weights and noisy speech, whatever the processor; pauses have less."""
    network = checkpoint.load()[0].eval()
    waveform = audio.read(Path(__file__).parent.parent / "pairs" / "noisy.flac")[0][0]
    waveform = waveform[48 * network.config.frame_hop : 80 * network.config.frame_hop]  # where someone speaks
    noisy = torch.from_numpy(waveform / waveform.std())[None]
    ufs = torch.tensor(network.config.ufs)[torch.arange(32)[None] % 4] if uf == "map" else uf
    fine = Engine(network)(noisy, ufs).waveform
    coarse = Engine(network, torch.bfloat16)(noisy, ufs).waveform
    error_db = 10 * torch.log10((coarse - fine).square().sum() / fine.square().sum())
    assert error_db < -45


def test_orders_of_frames_agree_with_time():
    """In a tile of two items, of which the last two frames only lead up to the others."""
    ufs = np.random.default_rng(0).choice([0.25, 0.5, 1.0], size=(2, 9))
    order = Order.of(ufs, 7, torch.device("cpu"))
    indices = order.indices
    flat = torch.from_numpy(ufs.reshape(-1))
    numbers = torch.arange(18).view(2, 9)
    assert indices.place_of_frame.equal(torch.from_numpy(order.place_of_frame))
    assert indices.frame_of_place[indices.place_of_frame].equal(numbers.flatten())
    kept = numbers[:, :7].flatten()[indices.frame_of_decoder_place]  # the frame at each of the decoder's places
    for uf, at in order.encoded:
        assert (flat[indices.frame_of_place[at]] == uf).all()
    for uf, encoded, decoded in order.decoded:
        assert (flat[kept[decoded]] == uf).all()
        assert indices.frame_of_place[encoded].equal(kept[decoded])
    assert sum(at.stop - at.start for _, at in order.encoded) == 18
    assert sum(at.stop - at.start for _, _, at in order.decoded) == 14
    before = torch.cat([torch.tensor([-1, 8]), kept])[indices.end_before]
    assert before.equal(kept - 1)
    after = torch.cat([indices.frame_of_place, torch.tensor([-1])])[indices.place_of_next]
    assert after.equal(torch.where(indices.frame_of_place % 9 == 8, -1, indices.frame_of_place + 1))
    assert kept[indices.end_of_item - 2].equal(torch.tensor([6, 15]))


def test_the_order_drawn_in_the_docstring():
    """Five frames at three UFs, four of them to keep, worked out by hand."""
    order = Order.of(np.array([[0.5, 0.25, 1.0, 0.25, 0.5]]), 4, torch.device("cpu"))
    drawn = {
        "frame_of_place": [1, 3, 0, 4, 2],
        "place_of_next": [4, 3, 0, 5, 1],
        "place_of_frame": [2, 0, 4, 1, 3],
        "frame_of_decoder_place": [1, 3, 0, 2],
        "decoder_place_of_frame": [2, 0, 3, 1],
        "end_before": [3, 4, 0, 1],
        "end_of_item": [2],
    }
    assert {name: index.tolist() for name, index in order.indices._asdict().items()} == drawn
    assert order.place_of_frame.tolist() == [2, 0, 4, 1, 3]
    assert order.encoded == [(0.25, slice(0, 2)), (0.5, slice(2, 4)), (1.0, slice(4, 5))]
    three = [(0.25, slice(0, 2), slice(0, 2)), (0.5, slice(2, 3), slice(2, 3)), (1.0, slice(4, 5), slice(3, 4))]
    assert [tuple(kept) for kept in order.decoded] == three
