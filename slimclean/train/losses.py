"""What training minimises: how far the estimate is from the clean speech, and what the router may spend.

Glossary: B batch, T samples, F frames, J candidate UFs, K knots of the target UF.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slimclean.model.router import interpolate
from slimclean.model.slimmable import FrameWidths

FFT_SIZES = (512, 1024)
COMPRESSION = 0.3
TIME_WEIGHT = 1.5
MAGNITUDE_WEIGHT = 8.0
COMPLEX_WEIGHT = 0.3
SNR_WEIGHT = 0.02
"""Weight of a dB: recordings that are nearly clean have small errors, which L1 alone would not mend."""
SNR_CAP = 1e-3
"""Share of the clean signal's energy: below it, at -30 dB, an error no longer counts."""
PAUSE_UNDER_MEAN_DB, PAUSE_FLOOR_DB, PAUSE_FRAME = -35.0, -55.0, 256
"""Two levels in dB re the mean power of an example, and the samples of a frame."""
_FLOOR = 1e-4
"""Added to squared magnitudes under the power law, whose slope at zero is infinite; -40 dB below
the level of a bin in white noise at an RMS of 1."""


def enhancement_loss(clean: Tensor, enhanced: Tensor) -> Tensor:
    """Compare, [B, T] x 2 -> [B]: L1 and SNR in time, and power-compressed spectra.

    The spectra |S|^0.3 and |S|^0.3 e^{i arg S} are compared by mean squared difference at two
    resolutions (Ephrat et al. 2018 use the exponent; Braun and Tashev 2021 the two terms side by
    side). Signals are at an RMS near 1.
    """
    error, energy = clean - enhanced, clean.square().sum(-1)
    loss = TIME_WEIGHT * error.abs().mean(-1)
    noise = (error.square().sum(-1) + SNR_CAP * energy) / energy.clamp_min(1e-6)
    loss = loss + SNR_WEIGHT * torch.where(energy > 1e-6, 10 * torch.log10(noise.clamp_min(SNR_CAP)) + 30, 0)
    for size in FFT_SIZES:
        with torch.no_grad():
            wanted = _compressed(clean, size)
        given = _compressed(enhanced, size)
        magnitude, real, imag = ((w - g).square().mean((1, 2)) for w, g in zip(wanted, given, strict=True))
        loss = loss + (MAGNITUDE_WEIGHT * magnitude + COMPLEX_WEIGHT * (real + imag)) / len(FFT_SIZES)
    return loss


def pause_loss(clean: Tensor, enhanced: Tensor, noisy: Tensor) -> Tensor:
    """Measure by how much pauses are too loud, in factors of ten of power, [B, T] x 3 -> [B].

    Pauses are frames in which the clean signal lies `PAUSE_UNDER_MEAN_DB` under its mean power. Levels count
    down to `PAUSE_FLOOR_DB` under it, or under the noisy signal's where nobody speaks. Time, spectra and PESQ
    hardly tell a pause at -27 dB from one at -47 dB; listeners do.
    """
    whole = clean.shape[1] // PAUSE_FRAME * PAUSE_FRAME
    wanted, given, heard = (
        x[:, :whole].unflatten(1, (-1, PAUSE_FRAME)).square().mean(2) for x in (clean, enhanced, noisy)
    )
    mean = wanted.mean(1, keepdim=True)
    mean = torch.where(mean > 1e-5 * heard.mean(1, keepdim=True), mean, heard.mean(1, keepdim=True))
    floor = mean * 10 ** (PAUSE_FLOOR_DB / 10) + 1e-9
    excess = torch.log10((given + floor) / (wanted + floor)).clamp_min(0)
    pause = wanted < mean * 10 ** (PAUSE_UNDER_MEAN_DB / 10)
    loss: Tensor = (excess * pause).sum(1) / pause.sum(1).clamp_min(1)
    return loss


def _compressed(x: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Find |S|^0.3 and both parts of |S|^0.3 e^{i arg S}: [B, T] -> [B, bins, frames] each."""
    window = torch.hann_window(size, device=x.device)
    window = window / window.square().sum().sqrt()
    spectrum = torch.stft(x, size, size // 4, window=window, return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square() + _FLOOR
    scale = power ** ((COMPRESSION - 1) / 2)
    # |S|^0.3 is |S|^-0.7 |S|, and a root is cheaper than a second power.
    return scale * power.sqrt(), spectrum.real * scale, spectrum.imag * scale


class EfficiencyLoss:
    """Pulls the mean UF to the target, for every target at once.

    The paper's term is (mean u - target)^2 for one target. Here each item has a target of its
    own, and a batch is too few items for a mean at each, so the deviation is a running mean kept
    at the knots of the target, and the loss has the gradient that the square would have:
    2 * deviation(target) * u. `deviation` is the state to save with a checkpoint.
    """

    def __init__(self, knots: tuple[float, ...], rate: float = 0.05) -> None:
        self.knots = knots
        self.rate = rate
        self.deviation = torch.zeros(len(knots))

    def __call__(self, widths: FrameWidths, target_uf: Tensor) -> Tensor:
        """Price each item's UFs by the running means, [B]; `update` moves those."""
        u = mean_uf(widths)
        deviation = interpolate(target_uf, self.knots) @ self.deviation.to(u.device)
        return 2 * deviation * u

    def update(self, used: Tensor, target_uf: Tensor) -> None:
        """Fold in what a batch used: mean UF and target of each item, [B] and [B], on the CPU."""
        for u, target in zip(used, target_uf, strict=True):
            weight = interpolate(target[None], self.knots)[0]
            self.deviation += self.rate * weight * (u - target - self.deviation)


def mean_uf(widths: FrameWidths) -> Tensor:
    """Average the UF of each item, [B], with the gradient of whoever chose."""
    return widths.shares.mean(1) @ torch.tensor(widths.ufs, device=widths.shares.device)


def balance_loss(logits: Tensor) -> Tensor:
    """Keep every UF alive: squared distance of the mean choice from uniform, [B, F, J] -> scalar."""
    share = torch.softmax(logits, -1).mean((0, 1))
    return (share - 1 / share.numel()).square().sum()
