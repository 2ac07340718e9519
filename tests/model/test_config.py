"""Sizes of the network: what fits runs, what does not is refused in one line."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from conftest import SMALL, run, voice
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from slimclean.engine.engine import Engine
from slimclean.enhancer import Enhancer
from slimclean.errors import CheckpointError
from slimclean.model import ModelConfig, SlimmableDemucs, checkpoint
from slimclean.model.config import LIMITS


def fits(**sizes) -> bool:
    try:
        ModelConfig(hidden=2, gru_groups=1, router_channels=1, router_kernel=64, router_stride=32, **sizes)
    except CheckpointError:
        return False
    return True


GEOMETRIES = [
    {"depth": depth, "stride": stride, "upsampling": upsampling}
    for depth in range(1, 13)
    for stride in range(1, 65)
    if stride**depth <= 3200 * 64
    for upsampling in range(1, 65)
    if fits(depth=depth, stride=stride, upsampling=upsampling)
]
"""All that are accepted."""


def test_there_are_geometries_of_many_kinds():
    assert {"depth": 5, "stride": 4, "upsampling": 4} in GEOMETRIES
    assert {g["depth"] for g in GEOMETRIES} >= {2, 3, 4, 5, 6, 8}
    assert {g["stride"] for g in GEOMETRIES} >= {2, 4, 8, 16}


@st.composite
def configs(draw):
    geometry = draw(st.sampled_from(GEOMETRIES))
    hop = geometry["stride"] ** geometry["depth"] // geometry["upsampling"]
    hidden = draw(st.integers(2, max(2, 24 >> (geometry["depth"] - 2))))
    deepest = hidden * 2 ** (geometry["depth"] - 1)
    router_stride = draw(st.sampled_from([n for n in (8, 16, 32, 64) if hop % n == 0]))
    return ModelConfig(
        hidden=hidden,
        gru_groups=draw(st.sampled_from([n for n in range(1, 9) if deepest % n == 0])),
        look_ahead=draw(st.sampled_from([0, 1, 16, 64])),
        router_channels=draw(st.integers(1, 9)),
        router_dilations=draw(st.sampled_from([(), (1,), (1, 2, 4, 8, 16), (32,)])),
        router_stride=router_stride,
        router_kernel=2 * router_stride,
        ufs=tuple(sorted(draw(st.sets(st.floats(0.01, 1.0), min_size=2, max_size=5)))),
        target_knots=tuple(sorted(draw(st.sets(st.floats(0.01, 1.0), min_size=2, max_size=5)))),
        **geometry,
    )


@settings(max_examples=5, deadline=None)
@given(config=configs(), frames=st.sampled_from([1, 3, 20, 131, 300]), batch=st.integers(1, 2))
def test_every_size_that_is_accepted_runs_through_the_engine(config, frames, batch):
    """131 frames are two tiles, unless the network looks ahead."""
    torch.manual_seed(0)
    network = SlimmableDemucs(config).eval()
    for weight in network.row.parameters():
        torch.nn.init.normal_(weight)
    assert sum(p.numel() for p in network.parameters()) == config.parameters
    frames = min(frames, 1 + 20_000 // config.frame_hop)
    noisy = torch.randn(batch, frames * config.frame_hop)
    engine = Engine(network)
    ufs = torch.tensor(config.ufs)[torch.randint(len(config.ufs), (batch, frames))]
    with torch.no_grad():
        for uf in (config.ufs[0], ufs):
            plain, fast = network(noisy, uf).waveform, engine(noisy, uf).waveform
            assert (fast - plain).abs().max() < 2e-5 * plain.abs().max()
        assert engine.route(noisy, 0.5).shape == network.route(noisy, 0.5).shape == (batch, frames)


@pytest.mark.parametrize(
    "geometry",
    [
        {"depth": 2, "stride": 16, "upsampling": 1},
        {"depth": 3, "stride": 8, "upsampling": 8},
        {"depth": 8, "stride": 2, "upsampling": 1},
        {"depth": 3, "stride": 20, "upsampling": 5},
    ],
)
def test_other_sizes_enhance(geometry, tmp_path):
    config = ModelConfig(hidden=4, router_channels=4, **geometry)
    torch.manual_seed(0)
    network = SlimmableDemucs(config).eval()
    checkpoint.save(tmp_path / "a.safetensors", config, network.state_dict(), {})
    out, ufs = Enhancer(model=tmp_path / "a.safetensors")(voice(0.7, 44_100), 44_100)
    assert out.shape == (30_870,)
    assert len(ufs) == -(-11_200 // config.frame_hop)
    assert np.isfinite(out).all()


WRONG = [
    {"hidden": 0}, {"hidden": 1}, {"hidden": -32}, {"hidden": 32.0}, {"hidden": "32"}, {"hidden": None},
    {"hidden": True}, {"hidden": 10**9}, {"depth": 1}, {"depth": 0}, {"depth": 10**9}, {"stride": 1},
    {"stride": 3}, {"stride": 10**9}, {"upsampling": 0}, {"upsampling": 3}, {"upsampling": 1},
    {"gru_groups": 0}, {"look_ahead": -1}, {"look_ahead": 65}, {"look_ahead": 16.0},
    {"gru_groups": 3}, {"gru_groups": -1}, {"gru_groups": 1024}, {"router_channels": 0},
    {"router_kernel": 0}, {"router_kernel": 63}, {"router_kernel": 32}, {"router_stride": 0},
    {"router_dilations": (0,)}, {"router_dilations": (33,)}, {"router_dilations": (1.0,)},
    {"router_dilations": 4}, {"router_stride": 48, "router_kernel": 96},
    {"router_stride": 512, "router_kernel": 1024},
    {"sample_rate": 8_000}, {"sample_rate": 0}, {"sample_rate": 16_000.0}, {"sample_rate": None},
    {"ufs": ()}, {"ufs": (1.0,)}, {"ufs": (0.0, 1.0)}, {"ufs": (0.5, 0.25)}, {"ufs": (0.5, 0.5)},
    {"ufs": (0.5, 1.5)}, {"ufs": (-0.5, 1.0)}, {"ufs": (0.5, float("nan"))}, {"ufs": (0.5, float("inf"))},
    {"ufs": 0.5}, {"ufs": None}, {"ufs": ("a", "b")}, {"ufs": ((0.5,), 1.0)}, {"target_knots": ()},
    {"target_knots": (0.5, 0.1)}, {"target_knots": (0.1, 2.0)}, {"hidden": 2048},
]  # fmt: skip


@pytest.mark.parametrize("sizes", WRONG, ids=str)
def test_sizes_that_do_not_fit_are_refused(sizes, tmp_path, small):
    with pytest.raises(CheckpointError, match="|".join(sizes) + "|samples|parameters"):
        dataclasses.replace(ModelConfig(), **sizes)
    values = ModelConfig().to_dict() | {k: list(v) if isinstance(v, tuple) else v for k, v in sizes.items()}
    path = tmp_path / "a.safetensors"
    metadata = {"format": checkpoint.FORMAT, "config": json.dumps(values), "info": "{}"}
    save_file(small.state_dict(), path, metadata)
    with pytest.raises(CheckpointError, match="safetensors: "):
        checkpoint.load(path)


@pytest.mark.parametrize("config", ["[]", "null", "3", "{}", "[" * 100_000, '"x"', '{"hidden": 4}', "{"])
def test_a_configuration_that_is_no_table_is_one_line(config, tmp_path, small):
    path = tmp_path / "a.safetensors"
    save_file(small.state_dict(), path, {"format": checkpoint.FORMAT, "config": config, "info": "{}"})
    done = run("enhance", tmp_path, "-m", path, "--dry-run")
    with pytest.raises(CheckpointError, match="safetensors: "):
        checkpoint.load(path)
    assert "Traceback" not in done.output


@pytest.mark.parametrize("info", ["[]", "null", '{"scores": 3}', "["])
def test_facts_that_are_no_table_are_one_line(info, tmp_path, small):
    path = tmp_path / "a.safetensors"
    config = json.dumps(SMALL.to_dict())
    save_file(small.state_dict(), path, {"format": checkpoint.FORMAT, "config": config, "info": info})
    with pytest.raises(CheckpointError, match="safetensors: "):
        checkpoint.load(path)


def test_limits_name_sizes():
    assert {*LIMITS} <= {field.name for field in dataclasses.fields(ModelConfig)}
