"""What `steady_levels.py` and `quiet_pauses.py` share: a short training from weights that are good already."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from slimclean.dsp import SAMPLE_RATE
from slimclean.model import ModelConfig, checkpoint
from slimclean.model.demucs import SlimmableDemucs
from slimclean.train.sources import Library, load_library, read_manifest

WARM_UP, LEAST = 10, 0.05
"""Steps in which the rate rises, and its least share; it falls over the second half of the time."""


def libraries(arguments: argparse.Namespace) -> tuple[Library, Library]:
    """Speech and noise of the manifest, decoded once beside the output."""
    cache = arguments.out.parent / "cache"
    speech, noise = (
        load_library(read_manifest(arguments.manifest, kind, "train"), cache) for kind in ("speech", "noise")
    )
    return speech, noise


def frames_of(arguments: argparse.Namespace, config: ModelConfig) -> int:
    return round(arguments.segment_s * SAMPLE_RATE / config.frame_hop)


def stacked(signals: list[np.ndarray]) -> Tensor:
    """[T] each -> [B, T]."""
    return torch.from_numpy(np.stack(signals).astype(np.float32))


def train_on(
    arguments: argparse.Namespace,
    network: SlimmableDemucs,
    header: checkpoint.Checkpoint,
    loss_of_batch: Callable[[], tuple[Tensor, str]],
) -> None:
    """Train all but the router for `minutes`; save the mean of the weights over the second half of the time.

    `loss_of_batch` draws a batch and gives its loss, and what to print of it.
    """
    network.train().router.requires_grad_(requires_grad=False)
    params = [p for p in network.parameters() if p.requires_grad]
    average, done = AveragedModel(network), 0
    optimiser = torch.optim.Adam(params, arguments.lr)
    begun = time.monotonic()
    while (part := (time.monotonic() - begun) / (60 * arguments.minutes)) < 1:
        rate = min(1, (done + 1) / WARM_UP, max(LEAST, 2 * (1 - part)))
        optimiser.param_groups[0]["lr"] = arguments.lr * rate
        loss, told = loss_of_batch()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 2.0)
        optimiser.step()
        optimiser.zero_grad()
        done += 1
        if part > 0.5:
            average.update_parameters(network)
        if done % 20 == 0:
            print(f"{done} steps, {part:.0%}: loss {float(loss.detach()):.3f}, {told}", flush=True)
    found = average.module if average.n_averaged else network
    checkpoint.save(arguments.out, header.config, dict(found.named_parameters()), header.info)


def parser(about: str | None, *, minutes: float, lr: float, segment_s: float) -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("init", help="packaged name or file of the weights to start from")
    options.add_argument("manifest", type=Path, help="CSV of speech and noise, as `slimclean train` takes it")
    options.add_argument("out", type=Path, help="file of the new weights; a folder `cache` comes beside it")
    options.add_argument("--minutes", type=float, default=minutes)
    options.add_argument("--lr", type=float, default=lr)
    options.add_argument("--segment-s", type=float, default=segment_s, help="of an example")
    options.add_argument("--seed", type=int, default=0)
    return options
