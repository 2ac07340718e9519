"""Passages at awkward levels, and what becomes of the voice in them: a table over pairs.

    python examples/levels.py ./clean ./noisy

The folders hold recordings of the same names, of one voice each. A row gives the mean PESQ-WB and SI-SDR of the
voice as it goes in, as it comes out, and as it comes out of a plain recording that holds nothing else. In
interviews a host, the next voice of the folder, speaks before and after, and noise lies 10 dB under each voice.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from slimclean import Enhancer
from slimclean.dsp import SAMPLE_RATE
from slimclean.errors import UndefinedMetricError
from slimclean.scoring.evaluation import Pair, folder_pairs
from slimclean.scoring.metrics import METRICS
from slimclean.scoring.tables import table
from slimclean.train.acoustics import music
from slimclean.train.voices import active_rms

SNR_DB = 10.0
SOFTER_DB = (10, 20, 26, 30)
LOUDER_DB = {"bang": 40.0, "music": 20.0}


class Case(NamedTuple):
    """A recording [T] or [C, T], where in it the voice is, the voice [T], and how it comes by itself [T].

    `gain` makes of what comes of the latter what should come of the former.
    """

    name: str
    recording: np.ndarray
    at: slice
    clean: np.ndarray
    plain: np.ndarray
    gain: np.ndarray | float = 1.0


def cases(pair: Pair, host: Pair) -> Iterator[Case]:
    """Put the voice of `pair` into recordings of all kinds."""
    clean, noisy = pair.clean, pair.noisy
    rng = np.random.default_rng(len(noisy))
    voice, talk = in_noise(pair), in_noise(host)
    loud = talk * active_rms(clean) / active_rms(host.clean)
    middle, everything = slice(len(loud), len(loud) + len(voice)), slice(0, len(noisy))
    for softer_db in SOFTER_DB:
        gain = 10 ** (-softer_db / 20)
        interview = np.concatenate([loud, gain * voice, loud])
        yield Case(f"guest {softer_db} dB under the host", interview, middle, clean, voice)
        if softer_db in (20, 26):
            own = host.clean * active_rms(clean) / active_rms(host.clean)
            yield Case(f"the host of a guest {softer_db} dB softer", interview, slice(0, len(loud)), own, loud)
    bang, song = burst(rng), music(rng, 4 * SAMPLE_RATE)
    bang *= active_rms(clean) * 10 ** (LOUDER_DB["bang"] / 20) / active_rms(bang)
    song *= active_rms(clean) * 10 ** (LOUDER_DB["music"] / 20) / active_rms(song)
    pause = np.zeros(SAMPLE_RATE // 10)
    for name, first in (("bang", np.concatenate([noisy, bang, pause])), ("music", song)):
        after = slice(len(first), len(first) + len(noisy))
        yield Case(f"{name} first", np.concatenate([first, noisy]), after, clean, noisy)
    yield Case("offset of 0.3", noisy + 0.3, everything, clean, noisy)
    fade = 10 ** (-np.linspace(0, 40, len(noisy)) / 20)
    yield Case("fade over 40 dB", noisy * fade, everything, clean * fade, noisy, fade)
    stereo = {"opposite polarity": -noisy, "one channel silent": np.zeros_like(noisy)}
    for name, other in stereo.items():
        yield Case(name, np.stack([noisy, other]), everything, clean, noisy)
    times = -(-20 * SAMPLE_RATE // len(noisy))
    faint = np.tile(noisy, times) * 1e-3 / active_rms(noisy)
    yield Case("20 s at -60 dBFS", faint, everything, clean, noisy)


def in_noise(pair: Pair) -> np.ndarray:
    """The voice of a pair with its noise `SNR_DB` under it, [T]."""
    noise = pair.noisy - pair.clean
    level = active_rms(pair.clean) * 10 ** (-SNR_DB / 20)
    return pair.clean + noise * np.float32(level / np.sqrt(np.mean(noise**2)))


def burst(rng: np.random.Generator) -> np.ndarray:
    """A door or a blow on the table, [T]."""
    time = np.arange(SAMPLE_RATE // 4) / SAMPLE_RATE
    thud = np.sin(2 * np.pi * 90 * time) * np.exp(-15 * time)
    return 2 * thud + rng.normal(size=len(time)) * np.exp(-25 * time)


def score(clean: np.ndarray, estimate: np.ndarray) -> tuple[float, float]:
    """PESQ-WB, NaN where it is undefined, and SI-SDR in dB."""
    pesq = np.nan
    with contextlib.suppress(UndefinedMetricError):
        pesq = METRICS["pesq_wb"](clean, estimate)
    return pesq, METRICS["si_sdr_db"](clean, estimate)


def first_channel(waveform: np.ndarray, at: slice) -> np.ndarray:
    return np.atleast_2d(waveform)[0, at]


def main(clean: Path, noisy: Path, enhancer: Enhancer) -> None:
    pairs = folder_pairs(clean, noisy)
    found: dict[str, list[tuple[float, ...]]] = {}
    for pair, host in zip(pairs, [*pairs[1:], pairs[0]], strict=True):
        for case in cases(pair, host):
            out = first_channel(enhancer(case.recording, SAMPLE_RATE).waveform, case.at)
            plain = enhancer(case.plain, SAMPLE_RATE).waveform * case.gain
            given = first_channel(case.recording, case.at)
            scores = score(case.clean, given), score(case.clean, out), score(case.clean, plain)
            found.setdefault(case.name, []).append(tuple(np.ravel(scores)))
    rows = []
    for name, each in found.items():
        before, after, plain_pesq = (f"{value:.2f}" for value in np.nanmean(each, axis=0)[::2])
        given_db, made_db, plain_db = (f"{value:.1f}" for value in np.nanmean(each, axis=0)[1::2])
        rows.append(
            {
                "the voice": name,
                "PESQ-WB in, out (plain)": f"{before}, {after} ({plain_pesq})",
                "SI-SDR in, out (plain), dB": f"{given_db}, {made_db} ({plain_db})",
            }
        )
    print(table(rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("noisy", type=Path)
    parser.add_argument("--uf", type=float, default=1.0)
    parser.add_argument("--model")
    arguments = parser.parse_args()
    main(arguments.clean, arguments.noisy, Enhancer(arguments.uf, model=arguments.model))
