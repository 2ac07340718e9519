"""Where an estimate lies against its reference: its delay, and lengths that differ a little.

Other tools lose a frame at the end, pad one, or come late by what their filters and models look ahead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from slimclean.errors import SlimcleanError
from slimclean.scoring.signals import Signal

MAX_DELAY_S = 1.0
"""Delays beyond this are not looked for."""
MAX_CUT_S = 0.1
"""By how much the lengths of a pair may differ."""
PIECE_S = 30.0
PIECES = 40
"""How many pieces of a long recording are listened to, evenly spread."""
WHITENING = 0.5
"""The exponent that flattens the spectrum: 0 is the plain correlation, whose peak is wide, 1 the phase
transform, which listens to bands without speech as much as to those with it."""
RIVAL_S = 0.01
"""Within this of the peak, another value is the same peak."""
CLEAR = 2.0
"""How far the peak must stand above every other: 1.5 is the most of unrelated speech, 7 the least in noise."""
ALIKE = 0.5
"""A correlation coefficient from which it need not: a hum or a tone has peaks of one height."""


@dataclass(frozen=True)
class Alignment:
    """Two signals [C, T] of one length, and what was found and done on the way.

    `delay_samples` is that of the estimate, at the signals' rate, above 0 where it is late; None where nothing
    stands out. `cut_samples` is by how much the estimate was longer than what it was compared with, below 0
    where it was shorter.
    """

    reference: Signal
    estimate: Signal
    delay_samples: int | None
    cut_samples: int


def bring_together(reference: Signal, estimate: Signal, sample_rate: int, *, align: bool = False) -> Alignment:
    """Cut two signals [C, T] of one rate to the shorter length; with `align`, after taking out the delay.

    Raises `SlimcleanError` where the lengths differ by more than `MAX_CUT_S` and the delay does not explain it.
    """
    delay = delay_samples(reference, estimate, sample_rate)
    cut = estimate.shape[1] - reference.shape[1]
    if align and delay:
        reference, estimate = reference[:, max(0, -delay) :], estimate[:, max(0, delay) :]
        # One that is late and longer by as much is whole, and so is one that lost at its end what it is late.
        cut = min(cut, estimate.shape[1] - reference.shape[1], key=abs)
    if abs(cut) > MAX_CUT_S * sample_rate:
        lengths = " and ".join(f"{x.shape[1] / sample_rate:.3f}" for x in (reference, estimate))
        raise SlimcleanError(f"lengths of {lengths} s do not pair")
    length = min(reference.shape[1], estimate.shape[1])
    if length == 0:
        raise SlimcleanError("holds no samples")
    return Alignment(reference[:, :length], estimate[:, :length], delay, cut)


def delay_samples(reference: Signal, estimate: Signal, sample_rate: int) -> int | None:
    """Find by how many samples the estimate is late, up to `MAX_DELAY_S` either way; below 0 it is early.

    The largest magnitude of the cross-correlation of [C, T] and [C, U], half whitened, over all channels and
    pieces of 30 s together; polarity does not matter. None where no value stands out, as for silence and for
    signals that have nothing in common. Source: generalised cross-correlation, Knapp and Carter 1976.
    """
    length = min(reference.shape[1], estimate.shape[1])
    if length == 0:
        return None
    reach = min(round(MAX_DELAY_S * sample_rate), length - 1)
    piece = min(length, round(PIECE_S * sample_rate))
    size = fft.next_fast_len(piece + reach, real=True)
    count = -(-length // piece)
    starts = [piece * k for k in np.linspace(0, count - 1, min(count, PIECES)).round().astype(int).tolist()]
    across = np.zeros(size // 2 + 1, np.complex128)
    energy = np.zeros(2)
    for r, e in zip(reference, estimate, strict=True):
        for start in starts:
            pair = [x[start : min(start + piece, length)] for x in (r, e)]
            pair = [np.asarray(x - x.mean(), np.float32) for x in pair]
            energy += [float(x @ x) for x in pair]
            s, t = (fft.rfft(x, size) for x in pair)
            across += t * s.conj()
    if not energy.all():
        return None

    def correlation(spectrum: np.ndarray) -> np.ndarray:
        values = np.abs(fft.irfft(spectrum, size))
        return np.concatenate([values[size - reach :], values[: reach + 1]])

    magnitude = np.abs(across)
    peaks = correlation(across / np.maximum(magnitude, 1e-12 * magnitude.max()) ** WHITENING)
    best = int(peaks.argmax())
    others = peaks.copy()
    near = round(RIVAL_S * sample_rate)
    others[max(0, best - near) : best + near + 1] = 0
    alike = correlation(across)[best] / np.sqrt(energy.prod())
    return best - reach if peaks[best] > CLEAR * others.max() or alike > ALIKE else None
