"""Teach the router what each UF is worth, once the backbone is done.

Joint training shows the router one draw of UFs per example, where the effect of one frame's choice drowns in
that of all the others. Here the finished backbone runs every example at every candidate UF. So the error that
each UF leaves in each frame is known, and a fresh router learns by least squares how much of it each UF saves:

    logits[f, j] - logits[f, j - 1] = expected saving of UF j in frame f, against the next smaller one

The large UFs save a twentieth of what the small ones do. So each step counts in units of its own spread, or the
small ones would drown the rest.

`calibrate` then sets the price of a UF at each target: the likeliest UF is the one that saves most after it,
which is how a budget is best spent (Everett 1963, Lagrange multipliers for allocation). PESQ counts the worst
frames of every third of a second, so savings in single frames do not add up. Therefore a UF costs more
(`EVENNESS`) the further it is from the target.

Glossary: N examples, F frames, J candidate UFs, T samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from slimclean.engine.engine import Engine
from slimclean.engine.threads import cores, side_by_side
from slimclean.model import ModelConfig, SlimmableDemucs
from slimclean.model.router import Router
from slimclean.train import perceptual
from slimclean.train.hardware import require_cpu
from slimclean.train.losses import COMPRESSION
from slimclean.train.mix import Mixer

SECONDS = 4.0
EPOCHS, BATCH = 12, 16
LR, WEIGHT_DECAY = 3e-3, 0.01
CLIP = 1.5
"""Most that a step may save, in standard deviations: a few lucky frames hold most of the variance."""
URGENCY = 0.25
"""Exponent of the noise-to-speech ratio that savings are weighed by: noisier recordings count more."""
EVENNESS = 0.5
"""Cost of a UF half or twice the target, in standard deviations of what a step there saves."""
SMOOTHER = (1.0, 2.0, 3.0, 2.0, 1.0)
"""Weights over frames: a frame's UF changes its neighbours too, and a decision should outlast a frame."""


def teach(network: SlimmableDemucs, mixer: Mixer, count: int, seed: int = 0) -> None:
    """Give the network a new router, taught on `count` mixtures; the rest stays. `calibrate` has to follow.

    Raises `SlimcleanError` for a network that is not on the CPU.
    """
    require_cpu(network)
    config = network.config
    length = round(SECONDS * config.frame_rate_hz) * config.frame_hop
    drawn = [mixer.draw(np.random.default_rng([seed, 2, k]), length) for k in range(count)]
    noisy, clean = (torch.from_numpy(np.stack(side)) for side in zip(*drawn, strict=True))
    savings = standardised_savings(*frame_errors(network, noisy, clean)) * urgency(noisy, clean)[:, None, None]
    torch.manual_seed(seed)
    network.router = Router(config)
    _fit(network.router, noisy, savings, np.random.default_rng(seed))
    with torch.no_grad():
        steps = torch.cat([network.router.base_logits(x) for x in noisy.split(BATCH)]).diff(dim=-1)
        network.router.target_shift.copy_(-EVENNESS * distances(config, steps.std((0, 1))))


def frame_errors(network: SlimmableDemucs, noisy: Tensor, clean: Tensor) -> list[Tensor]:
    """Measure what each UF leaves per frame, in waveform, compressed spectra and PESQ, [N, F, J] each."""
    config, engine = network.config, Engine(network)

    @torch.inference_mode()
    def outputs(x: Tensor) -> Tensor:
        return torch.cat([engine(x[None], uf).waveform for uf in config.ufs])  # [J, T]

    def work(pair: tuple[Tensor, Tensor]) -> list[Tensor]:
        x, y = pair
        enhanced = outputs(x)
        squared, spectral = zip(*(_frame_errors(out, y, config.frame_hop) for out in enhanced), strict=True)
        heard = perceptual.by_frame(y, enhanced, around=len(config.ufs) // 2)  # [J, F] or another rate
        heard = F.interpolate(heard[None], size=len(squared[0]))[0]
        return [torch.stack(squared, -1), torch.stack(spectral, -1), heard.mT]

    found = list(side_by_side(work, zip(noisy, clean, strict=True), cores()))
    return [torch.stack(kind) for kind in zip(*found, strict=True)]


def _frame_errors(enhanced: Tensor, clean: Tensor, hop: int) -> tuple[Tensor, Tensor]:
    """Compare [T] and [T]: squared error and error of compressed magnitudes, [F] each."""
    squared = (enhanced - clean).square().unflatten(0, (-1, hop)).mean(1)
    window = torch.hann_window(2 * hop)
    padded = F.pad(torch.stack([enhanced, clean]), (hop // 2, hop + hop // 2))
    spectra = torch.stft(padded, 2 * hop, hop, window=window / window.norm(), center=False, return_complex=True)
    magnitude = (spectra.abs().square() + 1e-4) ** (COMPRESSION / 2)
    return squared, (magnitude[0] - magnitude[1]).square().mean(0)[: len(squared)]


def standardised_savings(squared: Tensor, *others: Tensor) -> Tensor:
    """Find what each UF saves against the smallest, [N, F, J]: kinds of error at equal spread, smoothed.

    The squared error counts relative to that of its example, which is what a mean of decibels does.
    """
    relative = squared / squared.mean((1, 2), keepdim=True).clamp_min(1e-8)
    kernel = torch.tensor(SMOOTHER)[None, None] / sum(SMOOTHER)
    errors = (relative, *others)
    total = torch.zeros_like(relative)
    for error in errors:
        saving = error[..., :1] - error
        saving = saving / saving[..., -1].std().clamp_min(1e-8)
        rows = saving.permute(0, 2, 1).flatten(0, 1)[:, None]  # [N, F, J] -> [N J, 1, F]
        smooth = F.conv1d(F.pad(rows, (len(SMOOTHER) // 2,) * 2, "replicate"), kernel)
        total += smooth[:, 0].unflatten(0, (len(saving), -1)).permute(0, 2, 1) / len(errors)
    return total


def urgency(noisy: Tensor, clean: Tensor) -> Tensor:
    """Weigh examples, [N, T] x 2 -> [N]: 1 at an SNR of 10 dB, more for a noisier one."""
    energies = [x.square().mean(1) + 1e-6 for x in (noisy - clean, clean)]
    ratio = (energies[0] / energies[1]).clamp(1e-3, 10)
    return (10 * ratio) ** URGENCY


def distances(config: ModelConfig, spread: Tensor) -> Tensor:
    """Measure how far each UF is from each target, [K, J]: octaves squared, by the spread of steps there.

    `spread` [J - 1] is that of a step from one UF to the next; between steps it is interpolated in octaves.
    """
    octaves, targets = (np.log2(x) for x in (config.ufs, config.target_knots))
    unit = np.exp2(np.interp(targets, (octaves[1:] + octaves[:-1]) / 2, spread.clamp_min(1e-8).log2()))
    return torch.from_numpy(unit[:, None] * (octaves - targets[:, None]) ** 2).float()


def _fit(router: Router, noisy: Tensor, savings: Tensor, rng: np.random.Generator) -> None:
    steps = savings.diff(dim=-1)  # [N, F, J - 1]
    spread = steps.std((0, 1)).clamp_min(1e-8)
    steps = (steps / spread).clamp(-CLIP, CLIP)
    optimiser = torch.optim.AdamW(router.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    batches = [items for _ in range(EPOCHS) for items in _batches(rng.permutation(len(noisy)))]
    for step, items in enumerate(batches):
        optimiser.param_groups[0]["lr"] = LR * (1 - step / len(batches))
        found = router.base_logits(noisy[items]).diff(dim=-1)
        loss = (found - steps[items]).square().sum(-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        for p in (router.head.weight, router.head.bias):  # from each step's own unit to the common one
            in_common = torch.einsum("j,j...->j...", spread, p.diff(dim=0)).cumsum(0)
            p.copy_(torch.cat([torch.zeros_like(p[:1]), in_common]))


def _batches(order: np.ndarray) -> Sequence[np.ndarray]:
    return [order[k : k + BATCH] for k in range(0, len(order), BATCH)]
