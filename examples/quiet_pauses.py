"""Train on until faint noise goes too, in the long pauses of a good recording.

    python examples/quiet_pauses.py runs/gpu/model.safetensors corpus/manifest.csv quiet.safetensors

Mixtures at -5 to 25 dB teach that noise is loud, and read sentences that pauses are short: noise 25 dB and
more under the voice then stays for seconds after each word. A third of the examples hold such noise, most of
them with long pauses, a third are the usual mixtures: both learn the clean speech, with PESQ in the loss, and
the latter are held to what they were. A third is slow speech under alternating UFs, as in `steady_levels.py`.
The router stays; the weights are the mean over the second half of the time.
"""

from __future__ import annotations

import argparse
import copy

import numpy as np
import torch
from steady_levels import DIP_WEIGHT, alternating, bounded, dips, lowest_levels, slowed
from torch import Tensor
from train_on import frames_of, libraries, parser, stacked, train_on

from slimclean.model import checkpoint
from slimclean.model.demucs import SlimmableDemucs
from slimclean.model.slimmable import FrameWidths
from slimclean.train.losses import enhancement_loss, pause_loss
from slimclean.train.mix import MixConfig
from slimclean.train.mixer import Mixer
from slimclean.train.pesq_loss import disturbance
from slimclean.train.tasks import random_targets, random_ufs

FAINT = MixConfig(
    faint_noise=1, long_pause=0.6, reverb=0.2, whispered=0.1, synthetic_noise=0.35, two_noises=0.1,
    noise_only=0, clean_only=0, slam=0, clipped=0, gated_noise=0, babble=0.02, music=0.02,
)  # fmt: skip
USUAL = MixConfig(clean_only=0.1, faint_noise=0, long_pause=0)
UFS = (0.0625, 0.125, 0.18, 0.25, 0.375, 0.5, 0.75, 1.0)
AT_FULL, AT_FIXED = 0.3, 0.25
"""Shares of the examples at UF 1 and at other UFs; the rest are under the router."""
TARGETS = (0.1, 0.5)
FAINT_PAUSES, USUAL_PAUSES = 0.3, 0.1
"""Weights of what is left in pauses."""
FAINT_PESQ, USUAL_PESQ = 0.42, 0.63
LEARNED, SLOW = 0.5, 0.5
"""Weights of the clean speech in the usual mixtures, whose old output counts 1, and of slow speech."""
EACH = 2
"""Examples of a kind in a batch."""


def widths(rng: np.random.Generator, network: SlimmableDemucs, noisy: Tensor) -> Tensor:
    """Draw a way to run for each of [B, T], UFs [B, F]."""
    frames, chosen = noisy.shape[1] // network.config.frame_hop, []
    for example in noisy:
        kind = rng.random()
        if kind < AT_FULL:
            chosen.append(torch.ones(frames))
        elif kind < AT_FULL + AT_FIXED:
            chosen.append(torch.from_numpy(random_ufs(rng, frames, UFS)).float())
        else:
            with torch.no_grad():
                chosen.append(network.route(example[None], float(random_targets(rng, 1, TARGETS)))[0])
    return torch.stack(chosen)


def loss_of(
    network: SlimmableDemucs, before: SlimmableDemucs, noisy: Tensor, clean: Tensor, ufs: Tensor
) -> tuple[Tensor, Tensor]:
    """Find the loss, and what is left in the pauses of either kind, of [B, T] x 2 at [B, F]; EACH are faint."""
    with torch.no_grad():
        kept = before.backbone(noisy[EACH:], FrameWidths.of(ufs[EACH:])).float()
    given = network.backbone(noisy, FrameWidths.of(ufs)).float()
    held = enhancement_loss(kept, given[EACH:]).mean()
    scale = 1 / noisy.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-3)
    wanted, given = clean * scale, given * scale
    faint, usual = (
        weight * enhancement_loss(wanted[kind], given[kind]).mean()
        + pesq * disturbance(wanted[kind], given[kind]).mean()
        for kind, weight, pesq in ((slice(EACH), 1, FAINT_PESQ), (slice(EACH, None), LEARNED, USUAL_PESQ))
    )
    left = pause_loss(wanted, given, noisy * scale)
    pauses = torch.stack([left[:EACH].mean(), left[EACH:].mean()])
    return faint + usual + held + FAINT_PAUSES * pauses[0] + USUAL_PAUSES * pauses[1], pauses.detach()


def loss_of_slow(network: SlimmableDemucs, before: SlimmableDemucs, slow: Tensor, ufs: Tensor) -> Tensor:
    """Find the loss of slow speech [B, T] at [B, F]: the output at UF 1 is wanted, and no dips."""
    with torch.no_grad():
        wanted = before.backbone(slow, 1.0).float()
    given = network.backbone(slow, FrameWidths.of(ufs)).float()
    dip = dips(slow, lowest_levels(network, slow), given, network.config.frame_hop)
    return SLOW * enhancement_loss(wanted, given).mean() + DIP_WEIGHT * bounded(dip)


def main(arguments: argparse.Namespace) -> None:
    rng = np.random.default_rng(arguments.seed)
    library = libraries(arguments)
    faint, usual = Mixer(*library, FAINT), Mixer(*library, USUAL)
    network, header = checkpoint.load(checkpoint.find(arguments.init))
    before, ufs = copy.deepcopy(network).eval(), header.config.ufs
    frames = frames_of(arguments, header.config)
    samples = frames * header.config.frame_hop

    def batch() -> tuple[Tensor, str]:
        drawn = [mixer.draw(rng, samples) for mixer in (faint, usual) for _ in range(EACH)]
        noisy, clean = map(stacked, map(list, zip(*drawn, strict=True)))
        loss, pauses = loss_of(network, before, noisy, clean, widths(rng, network, noisy))
        slow = stacked([slowed(rng, library[0], samples) for _ in range(EACH)])
        loss = loss + loss_of_slow(
            network, before, slow, torch.stack([alternating(rng, ufs, frames) for _ in slow])
        )
        return loss, "pauses " + ", ".join(f"{float(pause):.3f}" for pause in pauses)

    train_on(arguments, network, header, batch)


if __name__ == "__main__":
    torch.set_flush_denormal(True)
    main(parser(__doc__, minutes=25.0, lr=3e-5, segment_s=3.328).parse_args())
