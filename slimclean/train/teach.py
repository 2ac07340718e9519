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

Where nobody speaks, savings are small, but so they are in clean speech. So a router with dilations also learns,
as a yes or no, where a pause is (see `listening`), and what it takes for one runs at the smallest UF. The
larger the target, the more is lost where soft speech is taken for a pause: so the surer it has to be
(`PAUSE_ODDS`).

Glossary: N examples, F frames, J candidate UFs, T samples.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from slimclean.engine.engine import Engine
from slimclean.engine.threads import cores, side_by_side
from slimclean.model import ModelConfig, SlimmableDemucs
from slimclean.model.router import Router
from slimclean.train import pesq_loss
from slimclean.train.hardware import require_cpu
from slimclean.train.listening import Listening, listening
from slimclean.train.losses import COMPRESSION
from slimclean.train.mixer import Mixer

SECONDS = 4.0
EPOCHS, BATCH = 18, 16
LISTENING = 7
"""Mixtures to hear pauses in besides each whose errors are measured; they cost no pass of the network."""
LISTENING_BATCH, LISTENING_WEIGHT = 48, 3.0
"""Of those in a step, and what they weigh against savings."""
PAUSE_ODDS = ((0.16, -1.5), (0.25, -1.1), (0.5, 2.5))
"""Targets, and the log odds that a pause has to have there; in octaves interpolated, and alike beyond."""
LR, WEIGHT_DECAY = 4e-3, 0.01
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
    measured = _drawn(mixer, config, range(count), seed)
    noisy, clean = (torch.from_numpy(x) for x in measured)
    savings = standardised_savings(*frame_errors(network, noisy, clean)) * urgency(noisy, clean)[:, None, None]
    torch.manual_seed(seed)
    network.router = Router(config)
    heard = _listening(mixer, config, measured, seed) if network.router.knows_pauses else None
    _fit(network.router, noisy, savings, np.random.default_rng(seed), heard)
    with torch.no_grad():
        base = torch.cat([network.router.base_logits(x) for x in noisy.split(BATCH)])
        steps = base[..., : len(config.ufs)].diff(dim=-1)
        network.router.target_shift[:, : len(config.ufs)] = -EVENNESS * distances(config, steps.std((0, 1)))
        if heard is not None:
            targets, odds = zip(*PAUSE_ODDS, strict=True)
            at = np.interp(np.log2(config.target_knots), np.log2(targets), odds)
            network.router.target_shift[:, -1] = -torch.from_numpy(at).float()


def _drawn(mixer: Mixer, config: ModelConfig, which: Iterable[int], seed: int) -> list[np.ndarray]:
    """Mix examples, noisy and clean, [N, T] each."""
    length = round(SECONDS * config.frame_rate_hz) * config.frame_hop
    drawn = [mixer.draw(np.random.default_rng([seed, 2, k]), length) for k in which]
    return [np.stack(side) for side in zip(*drawn, strict=True)]


def _listening(mixer: Mixer, config: ModelConfig, measured: list[np.ndarray], seed: int) -> Listening:
    """Mix examples to hear pauses in, besides those that are measured; only half of their memory stays."""
    count, length = measured[0].shape
    total, frames = count * (1 + LISTENING), length // config.frame_hop
    noisy = torch.empty(total, length, dtype=torch.half)
    heard = Listening(noisy, torch.empty(total, frames, dtype=torch.bool), torch.empty(total, frames))
    others = (range(start, min(start + 256, total)) for start in range(count, total, 256))
    drawn = itertools.chain([measured], (_drawn(mixer, config, which, seed) for which in others))
    start = 0
    for x, y in drawn:
        marked = listening(x, y, config.frame_hop, config.frame_rate_hz)
        for kept, new in zip(heard, marked, strict=True):
            kept[start : start + len(x)] = new
        start += len(x)
    return heard


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
        heard = pesq_loss.by_frame(y, enhanced, around=len(config.ufs) // 2)  # [J, F] or another rate
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


def _fit(
    router: Router,
    noisy: Tensor,
    savings: Tensor,
    rng: np.random.Generator,
    heard: Listening | None = None,
) -> None:
    """Fit the router to savings [N, F, J] on noisy [N, T], and to the pauses that are `heard`."""
    steps = savings.diff(dim=-1)  # [N, F, J - 1]
    spread = steps.std((0, 1)).clamp_min(1e-8)
    steps = (steps / spread).clamp(-CLIP, CLIP)
    ufs = savings.shape[-1]
    optimiser = torch.optim.AdamW(router.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    batches = [items for _ in range(EPOCHS) for items in _batches(rng.permutation(len(noisy)))]
    for step, items in enumerate(batches):
        optimiser.param_groups[0]["lr"] = LR * (1 - step / len(batches))
        found = router.base_logits(noisy[items])[..., :ufs].diff(dim=-1)
        loss = (found - steps[items]).square().sum(-1).mean()
        if heard is not None:
            some = rng.integers(len(heard.noisy), size=LISTENING_BATCH)
            loss = loss + LISTENING_WEIGHT * _pause_loss(router, Listening(*(x[some] for x in heard)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        for p in (router.head.weight, router.head.bias):  # from each step's own unit to the common one
            in_common = torch.einsum("j,j...->j...", spread, p[:ufs].diff(dim=0)).cumsum(0)
            p[:ufs] = torch.cat([torch.zeros_like(p[:1]), in_common])


def _pause_loss(router: Router, heard: Listening) -> Tensor:
    """Compare the router's pauses with those that were marked: weighed cross entropy."""
    found = router.base_logits(heard.noisy.float())[..., -1]
    loss: Tensor = F.binary_cross_entropy_with_logits(found, heard.pause.float(), heard.weight)
    return loss


def _batches(order: np.ndarray) -> Sequence[np.ndarray]:
    return [order[k : k + BATCH] for k in range(0, len(order), BATCH)]
