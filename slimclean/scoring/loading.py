"""A recording and its reference, read so that they can be compared."""

from __future__ import annotations

from pathlib import Path

from slimclean.dsp import SAMPLE_RATE
from slimclean.errors import SlimcleanError
from slimclean.scoring.alignment import Alignment, bring_together
from slimclean.scoring.metrics import LAG
from slimclean.scoring.signals import Signal, read_signal, resampled


def load_alike(
    reference: Path,
    estimate: Path,
    notes: dict[str, bool],
    *,
    align: bool = False,
    called: str = "the estimate",
    track: int | None = None,
) -> tuple[Signal, Signal, float | None]:
    """Read both, at 16 kHz and [C, T] of one shape, and find the delay of the estimate in samples at 16 kHz.

    `track` is the estimate's, where it holds several.
    Raises `SlimcleanError` where they do not belong together. See `bring_together`.
    """
    r, r_rate = read_signal(reference)
    e, e_rate = (r, r_rate) if estimate == reference else read_signal(estimate, track)
    for rate in {r_rate: None, e_rate: None}:
        if rate != SAMPLE_RATE:
            notes[f"resampled from {rate} to {SAMPLE_RATE} Hz"] = False
    if r.shape[0] != e.shape[0]:
        raise SlimcleanError(f"{r.shape[0]} and {e.shape[0]} channels do not pair")
    rate = r_rate if r_rate == e_rate else SAMPLE_RATE
    r, e = resampled(r, r_rate, rate), resampled(e, e_rate, rate)
    pair = Alignment(r, e, 0, 0) if e is r else bring_together(r, e, rate, align=align)
    if pair.cut_samples and (r_rate == e_rate or abs(pair.cut_samples) > 1):  # not what rounding does
        difference = f"{abs(pair.cut_samples)} samples ({1000 * abs(pair.cut_samples) / rate:.1f} ms)"
        longer = "longer" if pair.cut_samples > 0 else "shorter"
        notes[f"cut to the shorter: {called} is {difference} {longer}"] = False
    lag = None if pair.delay_samples is None else pair.delay_samples * SAMPLE_RATE / rate
    if lag:
        late = f"{1000 * abs(lag) / SAMPLE_RATE:.1f} ms {'late' if lag > 0 else 'early'}"
        then = "was taken out" if align else "can be taken out with align"
        notes[f"{LAG} {lag:g}: {called} is {late}, which {then}"] = False
    elif lag is None and align:
        notes[f"not aligned: no delay of {called} stands out"] = False
    return resampled(pair.reference, rate, SAMPLE_RATE), resampled(pair.estimate, rate, SAMPLE_RATE), lag
