"""Teach the router what each UF is worth, once the backbone is done.

Joint training shows the router one draw of UFs per example, and what one frame's choice changed drowns in what
all the others did. Here the finished backbone runs every example at every candidate UF; the error that each UF
leaves in each frame is then known, and the router is trained on the expected error under its choices, with a
price on the UF that makes the mean UF at every target what was asked for:

    minimise  mean_f sum_j p_j(f, target) E[f, j]   such that   mean_f sum_j p_j(f, target) u_j = target

Glossary: N examples, F frames, J candidate UFs, K knots of the target UF, T samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from slimclean.engine import Engine
from slimclean.model import SlimmableDemucs
from slimclean.train.data import Mixer
from slimclean.train.losses import COMPRESSION

SECONDS = 4.0
EPOCHS, BATCH = 24, 16
LR = 3e-3
PRICE_RATE = 4.0
"""Of the prices' ascent, per unit of deviation of the mean UF."""
SMOOTHER = (1.0, 2.0, 3.0, 2.0, 1.0)
"""Over frames: what a frame's UF changes reaches its neighbours, and a decision should outlast a frame."""


def teach(network: SlimmableDemucs, mixer: Mixer, count: int, seed: int = 0) -> None:
    """Train `network.router` in place on `count` mixtures; the rest of the network stays as it is."""
    length = round(SECONDS * network.config.sample_rate / network.config.frame_hop) * network.config.frame_hop
    drawn = [mixer.draw(np.random.default_rng([seed, 2, k]), length) for k in range(count)]
    noisy, clean = (torch.from_numpy(np.stack(side)) for side in zip(*drawn, strict=True))
    errors = _standardise(*_errors(network, noisy, clean))
    _fit(network, noisy, errors, seed)


@torch.inference_mode()
def _errors(network: SlimmableDemucs, noisy: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """What each UF leaves, per frame: in the waveform and in compressed spectra, [N, F, J] each."""
    engine = Engine(network)
    found: list[tuple[Tensor, Tensor]] = []
    for uf in network.config.ufs:
        pairs = [
            _frame_errors(engine(x[None], uf).waveform[0], y, network.config.frame_hop)
            for x, y in zip(noisy, clean, strict=True)
        ]
        found.append((torch.stack([a for a, _ in pairs]), torch.stack([b for _, b in pairs])))
    return torch.stack([a for a, _ in found], -1), torch.stack([b for _, b in found], -1)


def _frame_errors(enhanced: Tensor, clean: Tensor, hop: int) -> tuple[Tensor, Tensor]:
    """[T] and [T] -> squared error and error of compressed magnitudes, [F] each."""
    squared = (enhanced - clean).square().unflatten(0, (-1, hop)).mean(1)
    window = torch.hann_window(2 * hop)
    padded = F.pad(torch.stack([enhanced, clean]), (hop // 2, hop + hop // 2))
    spectra = torch.stft(padded, 2 * hop, hop, window=window / window.norm(), center=False, return_complex=True)
    magnitude = (spectra.abs().square() + 1e-4) ** (COMPRESSION / 2)
    return squared, (magnitude[0] - magnitude[1]).square().mean(0)[: len(squared)]


def _standardise(squared: Tensor, spectral: Tensor) -> Tensor:
    """One error, [N, F, J]: both kinds as savings against the smallest UF, at equal spread, smoothed.

    The squared error counts relative to that of its example, which is what a mean of decibels does.
    """
    relative = squared / squared.mean((1, 2), keepdim=True).clamp_min(1e-8)
    total = torch.zeros_like(relative)
    kernel = torch.tensor(SMOOTHER) / sum(SMOOTHER)
    for error in (relative, spectral):
        saving = error[..., :1] - error
        saving = saving / saving[..., -1].std().clamp_min(1e-8)
        smooth = F.conv1d(
            F.pad(saving.permute(0, 2, 1).flatten(0, 1)[:, None], (len(kernel) // 2,) * 2, "replicate"),
            kernel[None, None],
        )
        total -= smooth[:, 0].unflatten(0, (len(saving), -1)).permute(0, 2, 1)
    return total / 2


def _fit(network: SlimmableDemucs, noisy: Tensor, errors: Tensor, seed: int) -> None:
    router, knots = network.router, torch.tensor(network.config.target_knots)
    ufs = torch.tensor(network.config.ufs)
    wanted = knots.clamp(1.15 * float(ufs[0]), 0.97 * float(ufs[-1]))
    prices = torch.zeros(len(knots))
    optimiser = torch.optim.Adam(router.parameters(), lr=LR)
    order = np.random.default_rng(seed)
    batches = [b for _ in range(EPOCHS) for b in _batches(order.permutation(len(noisy)))]
    for step, items in enumerate(batches):
        optimiser.param_groups[0]["lr"] = LR * (1 - step / len(batches))
        x, error = noisy[items], errors[items]
        logits = _logits_at_knots(network, x)  # [K, N, F, J]
        choice = torch.softmax(logits, -1)
        spent = (choice @ ufs).mean((1, 2))  # [K]
        expected = (choice * error).sum(-1).mean((1, 2))
        deviation = spent - wanted
        loss = (expected + prices * deviation + deviation.square()).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        prices += PRICE_RATE / len(batches) ** 0.5 * deviation.detach()


def _logits_at_knots(network: SlimmableDemucs, noisy: Tensor) -> Tensor:
    """The router's logits at every knot, sharing the work below the target: [N, T] -> [K, N, F, J]."""
    router = network.router
    base = router.base_logits(noisy)
    scale, shift = router.target_scale[:, None, None, None], router.target_shift[:, None, None, :]
    return base * scale + shift


def _batches(order: np.ndarray) -> Sequence[np.ndarray]:
    return [order[k : k + BATCH] for k in range(0, len(order), BATCH)]
