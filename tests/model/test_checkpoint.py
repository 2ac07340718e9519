"""Checkpoints: round trip, half precision, and what is refused."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from conftest import SMALL, run
from safetensors.torch import save_file

from slimclean import Enhancer
from slimclean.errors import CheckpointError, UsageError
from slimclean.model import SlimmableDemucs, checkpoint


def test_a_saved_network_is_loaded(small, tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, SMALL, small.state_dict(), {"licence": "CC0-1.0"})
    network, header = checkpoint.load(path)
    assert (header.name, header.config, header.info) == ("a", SMALL, {"licence": "CC0-1.0"})
    assert not network.training
    for name, tensor in small.state_dict().items():
        assert tensor.equal(network.state_dict()[name])
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_half_precision_is_loaded_as_float32(small, tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, SMALL, small.state_dict(), {}, torch.float16)
    network, _ = checkpoint.load(str(path))
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    noisy = torch.randn(1, 2048)
    with torch.no_grad():
        torch.testing.assert_close(
            network(noisy, 1.0).waveform, small(noisy, 1.0).waveform, atol=2e-3, rtol=1e-2
        )


def test_older_weights_without_look_ahead_and_with_a_recurrent_router_go_on_to_work(tmp_path):
    """Their headers know neither `look_ahead` nor `router_dilations`."""
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, look_ahead=0, router_dilations=())
    network, path = SlimmableDemucs(config).eval(), tmp_path / "old.safetensors"
    torch.nn.init.normal_(network.router.head.weight)
    known = {k: v for k, v in config.to_dict().items() if k not in ("look_ahead", "router_dilations")}
    header = {"format": checkpoint.FORMAT, "config": json.dumps(known), "info": "{}"}
    save_file(dict(network.named_parameters()), path, header)
    loaded, read = checkpoint.load(path)
    assert read.config == config
    x = np.random.default_rng(0).normal(0, 0.1, 20_480).astype(np.float32)
    enhanced, ufs = Enhancer("auto", 0.4, network=loaded)(x, 16_000)
    again, expected = Enhancer("auto", 0.4, network=network)(x, 16_000)
    assert len(np.unique(ufs)) > 1
    np.testing.assert_array_equal(ufs, expected)
    np.testing.assert_array_equal(enhanced, again)


def test_what_is_no_checkpoint_is_refused(small, tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(UsageError, match="no model named"):
        checkpoint.load("no-such-model")
    path.write_bytes(b"\x80\x04not a checkpoint")
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.load(path)
    save_file(small.state_dict(), path)
    with pytest.raises(CheckpointError, match="not a slimclean checkpoint"):
        checkpoint.load(path)
    partial = dict(list(small.state_dict().items())[1:])
    checkpoint.save(path, SMALL, partial, {})
    with pytest.raises(CheckpointError, match="do not fit"):
        checkpoint.load(path)


KINDS = {"F6_E2M3": 6, "F4": 4, "C64": 64, "I32": 32, "BOOL": 8, "F64": 64}


@pytest.mark.parametrize("dtype", KINDS)
def test_weights_of_another_kind_are_refused(small, tmp_path, dtype):
    """Stored as numbers that torch does not load, loads with a warning, or that are no weights."""
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, SMALL, {"a": torch.zeros(96)} | small.state_dict(), {})
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["a"] |= {"dtype": dtype, "shape": [96 * 32 // KINDS[dtype]]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    with pytest.raises(CheckpointError, match="do not fit" if dtype == "F64" else "cannot be read") as caught:
        checkpoint.load(path)
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(small, tmp_path, value):
    path, weights = tmp_path / "a.safetensors", small.state_dict()
    weights["router.head.weight"].view(-1)[3] = value
    checkpoint.save(path, SMALL, weights, {})
    with pytest.raises(CheckpointError, match=r"router\.head\.weight holds NaN or infinite numbers"):
        checkpoint.load(path)
    weights["router.head.weight"].fill_(3e38)  # whose sum is infinite
    checkpoint.save(path, SMALL, weights, {})
    assert checkpoint.load(path)[0].router.head.weight.max() == 3e38


@pytest.mark.parametrize("name", ["hidden", "h" * 100_000, "ufs", "router_dilations"])
def test_messages_quote_no_more_of_a_checkpoint_than_a_line_holds(tmp_path, name):
    config = SMALL.to_dict() | {name: "x" * 100_000}
    header = {"format": checkpoint.FORMAT, "config": json.dumps(config), "info": "{}"}
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", header)
    with pytest.raises(CheckpointError, match=r" \.\.\. ") as caught:
        checkpoint.load(tmp_path / "a.safetensors")
    assert len(str(caught.value)) < 500


def test_packaged_checkpoints_are_complete():
    entries = checkpoint.packaged()
    assert entries
    for entry in entries:
        assert checkpoint.find(entry.name) == entry.path
        assert len(entry.sha256()) == 64
        assert {"licence", "scores"} <= set(entry.info)
        assert (checkpoint.WEIGHTS / "MODEL_CARD.md").read_text().count(entry.name)
    assert checkpoint.load()[1].name == checkpoint.default_name()


def test_the_default_is_named_whatever_else_is_packaged(tmp_path, monkeypatch, small):
    """A second checkpoint is a file in weights/; which one is the default says weights/DEFAULT."""
    for name in ("slim-10", "slim-5", "a"):
        checkpoint.save(tmp_path / f"{name}.safetensors", SMALL, small.state_dict(), {})
    monkeypatch.setattr(checkpoint, "WEIGHTS", tmp_path)
    monkeypatch.setattr(checkpoint, "DEFAULT", tmp_path / "DEFAULT")
    with pytest.raises(CheckpointError, match="no packaged weights"):
        checkpoint.find()
    for name in ("slim-5", "slim-10"):
        (tmp_path / "DEFAULT").write_text(f"{name}\n")
        assert checkpoint.load()[1].name == checkpoint.default_name() == name
        listed = run("models").stdout.splitlines()
        assert [line.split()[0] for line in listed if line.endswith("(default)")] == [name]
    assert checkpoint.find("a") == tmp_path / "a.safetensors"
    assert [entry.name for entry in checkpoint.packaged()] == ["a", "slim-10", "slim-5"]
    (tmp_path / "DEFAULT").write_text("gone")
    with pytest.raises(CheckpointError, match="no packaged weights"):
        checkpoint.load()
