"""Checkpoints: round trip, half precision, and what is refused."""

from __future__ import annotations

import pytest
import torch
from conftest import SMALL
from safetensors.torch import save_file

from slimclean.errors import CheckpointError
from slimclean.model import checkpoint


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


def test_what_is_no_checkpoint_is_refused(small, tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(CheckpointError, match="no model named"):
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


def test_packaged_checkpoints_are_complete():
    entries = checkpoint.packaged()
    assert entries
    for entry in entries:
        assert checkpoint.find(entry.name) == entry.path
        assert len(entry.sha256()) == 64
        assert {"licence", "scores"} <= set(entry.info)
        assert (checkpoint.WEIGHTS / "MODEL_CARD.md").read_text().count(entry.name)
    assert checkpoint.load()[1].name == entries[0].name
