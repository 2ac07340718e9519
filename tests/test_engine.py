"""The engine is the plain network, for every length, UF and map of UFs."""

from __future__ import annotations

import itertools

import pytest
import torch
from conftest import SMALL
from hypothesis import given, settings
from hypothesis import strategies as st

from slimclean.engine import REACH, TILE, Engine, _tiles
from slimclean.engine_blocks import FastGRU
from slimclean.model import SlimmableDemucs


def compare(network: SlimmableDemucs, noisy: torch.Tensor, uf: float | torch.Tensor) -> None:
    with torch.no_grad():
        plain = network(noisy, uf)
    fast = Engine(network)(noisy, uf)
    full_scale = plain.waveform.abs().max()
    assert (fast.waveform - plain.waveform).abs().max() < 1e-5 * full_scale
    assert fast.uf.equal(plain.uf)


@settings(max_examples=25, deadline=None)
@given(
    frames=st.integers(1, 3 * TILE + 2),
    batch=st.integers(1, 3),
    uf=st.sampled_from([0.05, 0.125, 0.37, 1.0, "map"]),
    seed=st.integers(0, 99),
)
def test_the_engine_equals_the_network(frames, batch, uf, seed):
    torch.manual_seed(seed)
    network = SlimmableDemucs(SMALL).eval()
    noisy = torch.randn(batch, frames * SMALL.frame_hop)
    ufs = torch.tensor(SMALL.ufs)[torch.randint(4, (batch, frames))] if uf == "map" else uf
    compare(network, noisy, ufs)


@pytest.mark.parametrize("uf", [0.125, 1.0, "map"])
def test_the_engine_equals_the_network_at_full_size(uf):
    torch.manual_seed(0)
    network = SlimmableDemucs().eval()
    config = network.config
    frames = TILE + 9
    ufs = torch.tensor(config.ufs)[torch.randint(4, (1, frames))] if uf == "map" else uf
    compare(network, torch.randn(1, frames * config.frame_hop), ufs)


def test_the_recurrence_continues_from_tile_to_tile(small):
    x = torch.randn(2, 10, SMALL.channels[-1])
    gru = FastGRU(small.gru)
    with torch.no_grad():
        first, state = gru(x[:, :4], None)
        second, _ = gru(x[:, 4:], state)
        torch.testing.assert_close(torch.cat([first, second], 1), small.gru(x))


def test_tiles_cover_everything_and_reach_far_enough():
    for frames in range(1, 5 * TILE):
        tiles = list(_tiles(frames))
        assert tiles[0][0] == 0
        assert tiles[-1][1] == frames
        assert all(a[1] == b[0] for a, b in itertools.pairwise(tiles))
        assert len(tiles) == 1 or min(stop - start for start, stop in tiles) > REACH
    assert list(_tiles(0)) in ([], [(0, 0)])
