"""What is picked for the machine at hand."""

from __future__ import annotations

import pytest
import torch

from slimclean.enhancer import Enhancer
from slimclean.errors import UsageError
from slimclean.model.device import BF16_FROM_UF, pick_bf16, pick_device, pick_engine_bf16

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
    with pytest.raises(UsageError, match="`precision` takes"):
        Enhancer(network=small, precision="fp8")


def test_the_name_of_a_device_is_a_device(monkeypatch):
    """What torch calls a device, "cuda:0", is what the benchmark and evaluations pass on."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("cpu", "cuda", "cuda:0", "cuda:1"):
        assert pick_device(name) == torch.device(name)
        assert pick_device(str(pick_device(name))) == pick_device(name)
    with pytest.raises(UsageError, match="no such device"):
        pick_device("cuda:2")
    for name in ("cuda:", "cuda:x", "cuda:-1", "tpu", "tpu:0", "", "cuda:\u00b2"):
        with pytest.raises(UsageError, match="`device` takes"):
            pick_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("cuda", "cuda:0"):
        with pytest.raises(UsageError, match="no such device"):
            pick_device(name)
