"""What is picked for the machine at hand."""

from __future__ import annotations

import pytest
import torch

from slimclean.enhancer import Enhancer
from slimclean.errors import UsageError
from slimclean.model.device import BF16_FROM_UF, pick_bf16, pick_engine_bf16

CPU = torch.device("cpu")


@pytest.mark.parametrize("fast", [True, False])
def test_auto_takes_bf16_only_where_the_engine_gains_from_it(fast, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast, raising=False)
    assert pick_bf16("auto", CPU) == fast
    assert pick_engine_bf16("auto", CPU, 1.0) == fast
    assert pick_engine_bf16("auto", CPU, BF16_FROM_UF) == fast
    assert not pick_engine_bf16("auto", CPU, 0.125)
    assert not pick_engine_bf16("auto", CPU, None)


@pytest.mark.parametrize("uf", [0.125, 1.0, None])
def test_what_is_asked_for_is_what_runs(uf):
    assert pick_engine_bf16("bf16", CPU, uf)
    assert not pick_engine_bf16("fp32", CPU, uf)


def test_the_enhancer_says_its_precision(small):
    assert Enhancer(1.0, network=small, precision="bf16").precision == "bf16"
    assert Enhancer("auto", network=small, device="cpu").precision == "fp32"
    with pytest.raises(UsageError, match="--precision takes"):
        Enhancer(network=small, precision="fp8")
