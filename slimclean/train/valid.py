"""Validation during training: pairs mixed with fixed seeds from speakers and recordings of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from slimclean.dsp import SAMPLE_RATE
from slimclean.errors import SlimcleanError
from slimclean.model import SlimmableDemucs
from slimclean.scoring.evaluation import QUICK, Pair, Row, evaluate
from slimclean.train.mix import MixConfig
from slimclean.train.mixer import Mixer

VALID_MIX = MixConfig(
    local_level=False,
    quiet_targets=False,
    faint_noise=0.0,
    long_pause=0.0,
    two_speakers=0.0,
    fade=0.0,
    turned_away=0.0,
    slam=0.0,
    voice_speed=0.0,
    whispered=0.0,
    music=0.0,
    noise_only=0.0,
    clean_only=0.0,
    clipped=0.0,
    narrowband=0.0,
)
"""Recordings as they come in. Every pair has speech and noise: the scores are undefined without."""


def mixed_pairs(mixer: Mixer, count: int, seconds: float, seed: int = 1) -> list[Pair]:
    """Mix `count` pairs of `seconds` each, the larger side's peak at 0.9; scores want a `VALID_MIX` mixer."""
    pairs = []
    for k in range(count):
        noisy, clean = mixer.draw(np.random.default_rng([seed, k]), round(seconds * SAMPLE_RATE))
        peak = np.float32(max(1e-6, np.abs(noisy).max(), np.abs(clean).max()))
        pairs.append(Pair(f"mix{k:03d}", clean / peak * 0.9, noisy / peak * 0.9))
    return pairs


def validator(pairs: list[Pair]) -> Callable[[SlimmableDemucs], Iterator[Row]]:
    """Make what the training loop calls with its averaged weights."""
    if not pairs:
        raise SlimcleanError("no validation pairs")
    return lambda network: evaluate(network, pairs, QUICK)
