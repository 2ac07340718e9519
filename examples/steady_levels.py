"""Train on until slow speech keeps its level while the UF changes from frame to frame.

    python examples/steady_levels.py runs/gpu/model.safetensors corpus/manifest.csv steady.safetensors

A vowel that is held, or slowed down, can come out softer under alternating UFs than under either of them: the
smaller takes it for noise, and what the other hears of it is then too little. Half of the examples are slowed
speech under such UFs, which learns the output at UF 1 and pays for frames that lie under both fixed UFs; the
other half are mixtures under the router, held to what they were. The router stays; the weights are the mean
over the second half of the time.
"""

from __future__ import annotations

import argparse
import copy

import librosa
import numpy as np
import torch
from torch import Tensor
from train_on import frames_of, libraries, parser, stacked, train_on

from slimclean.model import checkpoint
from slimclean.model.demucs import SlimmableDemucs
from slimclean.model.slimmable import FrameWidths
from slimclean.train.losses import enhancement_loss
from slimclean.train.mix import MixConfig
from slimclean.train.mixer import Mixer
from slimclean.train.sources import Library
from slimclean.train.tasks import random_targets

PATTERNS = ((0, 3), (0, 3), (0, 1), (2, 0, 3, 1), (0, 2), (0, 4), (1, 3))
"""Candidate UFs, by number, in turn; the network has five or more."""
AT_RANDOM = 0.25
"""Share of the slow examples with a UF drawn anew in every frame."""
TARGETS = (0.1, 0.5)
SLOWER = (0.4, 0.7)
NOISE = (0.02, 0.12)
"""RMS of white noise under slow speech, whose own is 1."""
SPARE, SILENCE = 2048, 3e-3
"""Samples of speech more than asked for, as stretching rounds, and the RMS that is none."""
LOUD_DB, ALLOWED_DB = 15.0, 0.15
DIP_WEIGHT, SEVERE = 8.0, 0.05
"""Of the mean square in dB; above SEVERE it counts by its logarithm, for a few frames can lie 20 dB too low."""
HALF = 2
"""Examples of either kind in a batch."""


def slowed(rng: np.random.Generator, speech: Library, samples: int) -> np.ndarray:
    """Speech at an RMS of 1 that takes longer at the same pitch, float32 [samples]."""
    while True:
        rate = rng.uniform(*SLOWER)
        short = speech.crop(rng, round(samples * rate) + SPARE)
        slow = librosa.effects.time_stretch(short, rate=rate)[:samples]
        if len(slow) == samples and (level := slow.std()) > SILENCE:
            return (slow / level + rng.uniform(*NOISE) * rng.normal(size=samples)).astype(np.float32)


def alternating(rng: np.random.Generator, ufs: tuple[float, ...], frames: int) -> Tensor:
    if rng.random() < AT_RANDOM:
        return torch.from_numpy(rng.choice(ufs[:-1], frames).astype(np.float32))
    pattern = [ufs[k] for k in PATTERNS[rng.integers(len(PATTERNS))]]
    return torch.from_numpy(np.resize(pattern, frames).astype(np.float32))


def levels_db(waveform: Tensor, hop: int) -> Tensor:
    """[B, T] -> [B, F]."""
    return 10 * torch.log10(waveform.unflatten(1, (-1, hop)).square().mean(2) + 1e-6)


@torch.no_grad()
def lowest_levels(network: SlimmableDemucs, slow: Tensor) -> Tensor:
    """The lower of the levels at two fixed UFs, under which no change between them may bring it, [B, F]."""
    config = network.config
    fixed = [levels_db(network.backbone(slow, config.ufs[k]).float(), config.frame_hop) for k in (0, 3)]
    return torch.minimum(*fixed)


def dips(slow: Tensor, lowest: Tensor, given: Tensor, hop: int) -> Tensor:
    """Mean square, in dB, by which loud frames of `given` lie under the levels `lowest` [B, F], [B, T] x 2."""
    heard = levels_db(slow, hop)
    loud = heard > heard.amax(1, keepdim=True) - LOUD_DB
    return ((lowest - levels_db(given, hop) - ALLOWED_DB).clamp_min(0).square() * loud).sum() / loud.sum()


def bounded(dip: Tensor) -> Tensor:
    return torch.where(dip < SEVERE, dip, SEVERE * (1 + (dip / SEVERE + 1e-9).log()))


def loss_of(
    network: SlimmableDemucs, before: SlimmableDemucs, noisy: Tensor, ufs: Tensor
) -> tuple[Tensor, Tensor]:
    """Find the loss and the dips of a batch, its first HALF slow, [B, T] and [B, F]."""
    slow, mixtures = noisy[:HALF], noisy[HALF:]
    with torch.no_grad():
        kept = before.backbone(mixtures, FrameWidths.of(ufs[HALF:]))
        wanted = torch.cat([before.backbone(slow, 1.0), kept]).float()
    given = network.backbone(noisy, FrameWidths.of(ufs)).float()
    dip = dips(slow, lowest_levels(network, slow), given[:HALF], network.config.frame_hop)
    distance = enhancement_loss(wanted, given)
    return distance[:HALF].mean() / 2 + distance[HALF:].mean() + DIP_WEIGHT * bounded(dip), dip.detach()


def main(arguments: argparse.Namespace) -> None:
    rng = np.random.default_rng(arguments.seed)
    speech, noise = libraries(arguments)
    mixer = Mixer(speech, noise, MixConfig(clean_only=0.1, faint_noise=0, long_pause=0))
    network, header = checkpoint.load(checkpoint.find(arguments.init))
    before, hop, ufs = copy.deepcopy(network).eval(), header.config.frame_hop, header.config.ufs
    frames = frames_of(arguments, header.config)

    def batch() -> tuple[Tensor, str]:
        drawn = [slowed(rng, speech, frames * hop) for _ in range(HALF)]
        drawn += [mixer.draw(rng, frames * hop)[0] for _ in range(HALF)]
        noisy = stacked(drawn)
        with torch.no_grad():
            routed = network.route(noisy[HALF:], float(random_targets(rng, 1, TARGETS)))
        widths = torch.stack([*(alternating(rng, ufs, frames) for _ in range(HALF)), *routed])
        loss, dip = loss_of(network, before, noisy, widths)
        return loss, f"dips {float(dip):.4f}"

    train_on(arguments, network, header, batch)


if __name__ == "__main__":
    torch.set_flush_denormal(True)
    main(parser(__doc__, minutes=5.0, lr=3e-5, segment_s=2.56).parse_args())
