"""What happens to voices before they are mixed: the floor of their recording, a second speaker, fades.

Arrays are float32 [T] at 16 kHz.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from slimclean.dsp import SAMPLE_RATE
from slimclean.scoring.pauses import is_active
from slimclean.train.acoustics import shape_spectrum

HOP = 160
"""10 ms: gains are decided this often."""
FLOOR_DB = -35.0
"""Below active speech: what is softer is the floor of the recording, not a voice."""
RATIO = 2.0
DEEPEST_DB = -20.0
OPEN_HOPS = 8
"""Around speech, on either side: the ends of words are softer than the floor of some recordings."""


def active_rms(x: np.ndarray) -> float:
    """Measure the level of speech, not of its pauses: RMS over frames of 20 ms (see `is_active`)."""
    power = np.square(x[: len(x) // 320 * 320].reshape(-1, 320)).mean(1)
    return float(np.sqrt(power[is_active(power)].mean() + 1e-10))


def without_floor(voice: np.ndarray) -> np.ndarray:
    """Quieten the pauses of a voice by a downward expander, as a target for the network.

    Corpora have floors some 46 dB under the speech, and a network leaves what its targets hold. Below
    `FLOOR_DB` the level falls twice as fast, by at most `DEEPEST_DB`, but not within 80 ms of speech.
    """
    hops = -(-len(voice) // HOP)
    power = np.square(np.pad(voice, (0, hops * HOP - len(voice))).reshape(hops, HOP)).mean(1)
    level_db = 10 * np.log10(power + 1e-12) - 20 * np.log10(active_rms(voice))
    level_db = ndimage.maximum_filter1d(level_db, 2 * OPEN_HOPS + 1, mode="nearest")
    gain_db = np.clip((level_db - FLOOR_DB) * (RATIO - 1), DEEPEST_DB, 0)
    gain = _by_sample(ndimage.uniform_filter1d(gain_db, 5, mode="nearest"), len(voice))
    return np.asarray(voice * gain)


def turns(rng: np.random.Generator, length: int, softer_db: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw gains of two people who speak in turn, the second `softer_db` under the first."""
    first = rng.random() < 0.5
    edges = np.sort(rng.uniform(0.15, 0.85, 1 if rng.random() < 0.7 else 2)) * length
    at = np.arange(0, length + HOP, HOP)
    host = (np.searchsorted(edges, at) % 2 == 0) == first
    ramp = ndimage.uniform_filter1d(host.astype(np.float64), 7, mode="nearest")
    gains = [np.interp(np.arange(length), at, g).astype(np.float32) for g in (ramp, 1 - ramp)]
    return gains[0], gains[1] * np.float32(10 ** (-softer_db / 20))


def fade(rng: np.random.Generator, length: int) -> np.ndarray:
    """Draw a gain that falls or rises by up to 40 dB over the example."""
    depth_db = rng.uniform(6, 40)
    ends = (0.0, -depth_db) if rng.random() < 0.5 else (-depth_db, 0.0)
    at = np.sort(rng.uniform(0, length, 2))
    return np.asarray(10 ** (np.interp(np.arange(length), at, ends) / 20), np.float32)


def pause(rng: np.random.Generator, length: int) -> np.ndarray:
    """Draw a gain that is 0 for .8 to 3.4 s, if the example lasts so long, with edges of 50 ms."""
    start = rng.uniform(0.2, 2.2) * SAMPLE_RATE
    stop = start + rng.uniform(0.8, 3.4) * SAMPLE_RATE
    edge = 0.05 * SAMPLE_RATE
    knots = [start, start + edge, stop - edge, stop]
    return np.interp(np.arange(length), knots, [1, 0, 0, 1]).astype(np.float32)


def turned_away(rng: np.random.Generator, voice: np.ndarray) -> np.ndarray:
    """Turn a voice from the microphone for a while: softer by 6 to 18 dB, and duller."""
    dull = shape_spectrum(voice, -rng.uniform(6, 14) - np.linspace(0, rng.uniform(0, 12), 8))
    start, stop = np.sort(rng.uniform(-0.2, 1.2, 2)) * len(voice)
    edge = rng.uniform(0.1, 0.4) * SAMPLE_RATE
    knots = [start, start + edge, max(stop, start + edge), max(stop, start + edge) + edge]
    away = np.interp(np.arange(len(voice)), knots, [0, 1, 1, 0])
    return np.asarray(voice + (dull - voice) * away, np.float32)


def _by_sample(gain_db: np.ndarray, length: int) -> np.ndarray:
    at = (np.arange(len(gain_db)) + 0.5) * HOP
    return np.asarray(10 ** (np.interp(np.arange(length), at, gain_db) / 20), np.float32)
