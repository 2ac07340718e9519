"""Shared by the tests: a small network, an identity network, speech-like signals."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import typer.testing
from typer.testing import CliRunner

from slimclean.cli import app
from slimclean.engine.engine import Engine
from slimclean.enhancer import Enhancer
from slimclean.model import ModelConfig, SlimmableDemucs, checkpoint
from slimclean.model.demucs import Enhanced, uf_per_frame
from slimclean.train.sources import Library, load_library, scan_folder

SMALL = ModelConfig(hidden=4, router_channels=8)
typer.testing._get_command = functools.cache(typer.testing._get_command)  # built once, not in each test


def small_network() -> SlimmableDemucs:
    torch.manual_seed(0)
    return SlimmableDemucs(SMALL).eval()


@pytest.fixture
def small() -> SlimmableDemucs:
    return small_network()


@pytest.fixture
def weights(tmp_path, small) -> Path:
    """A checkpoint of the small network."""
    path = tmp_path / "small.safetensors"
    checkpoint.save(path, SMALL, small.state_dict(), {"licence": "CC0-1.0", "scores": []})
    return path


def run(*arguments):
    """The command line, in this process."""
    return CliRunner().invoke(app, [str(a) for a in arguments])


@functools.cache
def _small_engine() -> Engine:
    return Engine(small_network())


class StubEngine:
    """An engine for `Enhancer` with the router of the small network, that gives `effect` of what it gets."""

    config = SMALL
    precision = "fp32"

    def __init__(self, effect: Callable[[torch.Tensor], torch.Tensor] = lambda noisy: noisy) -> None:
        self.effect = effect
        self.route = _small_engine().route

    def __call__(self, noisy: torch.Tensor, uf: float | torch.Tensor) -> Enhanced:
        return Enhanced(self.effect(noisy), uf_per_frame(noisy, uf, SMALL.frame_hop))


def identity_enhancer(*arguments, effect=lambda noisy: noisy, **options) -> Enhancer:
    """An `Enhancer` with a router and without an effect, or with one of your own."""
    return Enhancer(*arguments, engine=StubEngine(effect), **options)


def setting_row(uf, macs, pesq, si_sdr) -> dict[str, float | str]:
    """A row of `evaluate`; "noisy" is one, and has no MACs."""
    return {"uf": uf, "target_uf": 0.1 if uf == "auto" else "", "mean_uf": 0.2, "macs_per_sample": macs,
            "pesq_wb": pesq, "stoi": 0.9, "si_sdr_db": si_sdr}  # fmt: skip


SETTING_ROWS = [
    setting_row("noisy", "", 1.0, 0.0),
    setting_row("0.5", 20.0, 3.0, 12.0),
    setting_row("0.25", 10.0, 2.0, 10.0),
    setting_row("auto", 15.0, 2.7, 10.5),
    setting_row("auto", 25.0, 3.0, 12.0),
]


def voice(seconds: float, sample_rate: int = 16_000, seed: int = 0) -> np.ndarray:
    """Something like speech: harmonics under a syllable envelope, float32 [T], peak 0.5."""
    return _voice(seconds, sample_rate, seed).copy()


@functools.lru_cache(maxsize=64)
def _voice(seconds: float, sample_rate: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    x = sum(np.sin(k * phase + rng.uniform(0, 6)) / k for k in range(1, 20))
    x = x * np.clip(np.sin(2 * np.pi * 2.5 * time), 0, 1)
    return (0.5 * x / max(1e-9, np.abs(x).max(initial=0))).astype(np.float32)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Twenty voices and twenty noises in folders, at two sample rates."""
    root = tmp_path_factory.mktemp("corpus")
    for k in range(20):
        for kind in ("speech", "noise"):
            folder = root / kind / ("a" if k < 15 else "b")
            folder.mkdir(parents=True, exist_ok=True)
            rate = 16_000 if k % 2 else 22_050
            x = voice(1.5, rate, seed=k) if kind == "speech" else np.random.default_rng(k).normal(0, 0.1, rate)
            soundfile.write(folder / f"{k:02d}.wav", x, rate)
    return root


@pytest.fixture(scope="module")
def libraries(corpus, tmp_path_factory) -> tuple[Library, Library]:
    cache = tmp_path_factory.mktemp("cache")
    speech, noise = (load_library(scan_folder(corpus / kind), cache) for kind in ("speech", "noise"))
    return speech, noise
