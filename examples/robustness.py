"""What becomes of recordings that are not noisy speech at a sensible level: a table.

    python examples/robustness.py tests/pairs/clean.flac tests/pairs/noisy.flac

CLEAN and NOISY are one utterance. PESQ needs pip install 'slimclean[score]'.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import levels
import numpy as np
from joblib import Parallel, delayed
from scipy import signal

from slimclean import Enhancer, audio
from slimclean.cli.values import parse_uf
from slimclean.dsp import SAMPLE_RATE
from slimclean.dsp.resample import resample
from slimclean.errors import MissingDependencyError
from slimclean.scoring.evaluation import Pair
from slimclean.scoring.metrics import METRICS
from slimclean.scoring.tables import table
from slimclean.train.acoustics import high_pass, whisper
from slimclean.train.mixer import LOWEST_VOICE_HZ

Run = Callable[[np.ndarray, int], np.ndarray]
PAUSE_S, SETTLED = 3, SAMPLE_RATE // 5
"""Of a pause in a take, the seconds, and the samples at either end that are not looked at."""


def checks(
    clean: np.ndarray, noisy: np.ndarray, run: Run, *, with_levels: bool = True
) -> Iterator[tuple[str, str]]:
    """Pairs of what was tried and what came out; signals are [T] at 16 kHz."""
    rng = np.random.default_rng(0)
    kept = run(clean, SAMPLE_RATE)
    yield "clean speech: SI-SDR of the output, dB", f"{METRICS['si_sdr_db'](clean, kept):.1f}"
    voice = high_pass(clean, LOWEST_VOICE_HZ)  # below is rumble, which is noise
    left = METRICS["si_sdr_db"](voice, run(voice, SAMPLE_RATE))
    yield f"clean speech, from {LOWEST_VOICE_HZ:.0f} Hz up: SI-SDR, dB", f"{left:.1f}"
    yield "clean speech: change of level, dB", f"{_db(kept) - _db(clean):.2f}"
    yield "silence: loudest sample", f"{np.abs(run(0 * clean, SAMPLE_RATE)).max():.1g}"
    white = rng.normal(0, 0.05, len(clean))
    brown = np.cumsum(white) - np.convolve(np.cumsum(white), np.ones(400) / 400, "same")
    for name, noise in (
        ("white", white),
        ("brown", 0.05 * brown / brown.std()),
        ("noise of the pair", noisy - clean),
    ):
        yield f"noise only ({name}): change of level, dB", f"{_db(run(noise, SAMPLE_RATE)) - _db(noise):.1f}"
    peak = np.abs(noisy).max()
    variants = {
        "as it is": noisy,
        "at -40 dBFS": noisy * 10 ** ((-40 - _db(noisy)) / 20),
        "clipped by 6 dB": np.clip(noisy, -peak / 2, peak / 2),
    }
    for name, x in variants.items():
        yield f"noisy, {name}: PESQ-WB in, out", f"{_pesq(clean, x)}, {_pesq(clean, run(x, SAMPLE_RATE))}"
    silent = np.zeros(PAUSE_S * SAMPLE_RATE)
    take = np.concatenate([clean, silent, clean])
    pause = slice(len(clean) + SETTLED, len(clean) + len(silent) - SETTLED)
    faint = np.random.default_rng(1).normal(size=len(take))
    for snr_db in (25, 35, 45):
        noise = at_snr(faint, clean, snr_db)
        left = _db(run(take + noise, SAMPLE_RATE)[pause]) - _db(noise[pause])
        name = f"white noise {snr_db} dB under the voice"
        yield f"{name}, in a pause of {PAUSE_S} s: change of level, dB", f"{left:.1f}"
    phone = resample(noisy[None], SAMPLE_RATE, 8_000)[0]
    wanted = resample(clean[None], SAMPLE_RATE, 8_000)[0]
    before, after = (METRICS["si_sdr_db"](wanted, x) for x in (phone, run(phone, 8_000)))
    yield "at 8 kHz: SI-SDR in, out, dB", f"{before:.1f}, {after:.1f}"
    music = chords(len(clean))
    noise = noisy - clean
    voices = {
        "music under it": (clean, music),
        "whispered": (whisper(rng, clean), noise),
        "as high as a child's": (faster(clean, 1.4), noise),
        "shouted": (shouted(clean), noise),
    }
    for name, (voice, other) in voices.items():
        x = voice + at_snr(other[: len(voice)], voice, 10)
        out = run(x, SAMPLE_RATE)
        before, after = (METRICS["si_sdr_db"](voice, y) for y in (x, out))
        yield f"voice, {name}, 10 dB: SI-SDR in, out, dB", f"{before:.1f}, {after:.1f}"
        if name.startswith("music"):
            ratio = np.log(kurtosis(out - voice) / kurtosis(x - voice))
            yield "music under it: log kurtosis ratio of what is left", f"{ratio:.2f}"
    pair = Pair("", clean, noisy)
    for case in levels.cases(pair, pair) if with_levels else ():
        out = levels.first_channel(run(case.recording, SAMPLE_RATE), case.at)
        given = levels.first_channel(case.recording, case.at)
        scores = (f"{_pesq(case.clean, x)} {METRICS['si_sdr_db'](case.clean, x):.1f}" for x in (given, out))
        yield f"{case.name}: PESQ-WB and SI-SDR, dB, in, out", ", ".join(scores)


def at_snr(noise: np.ndarray, voice: np.ndarray, snr_db: float) -> np.ndarray:
    return noise * 10 ** ((_db(voice) - _db(noise) - snr_db) / 20)


def chords(length: int) -> np.ndarray:
    """Four chords of plucked strings, over and over, [T]."""
    time = np.arange(length) / SAMPLE_RATE
    x = np.zeros(length)
    for beat in range(int(time[-1] / 0.5) + 1):
        root = 110 * 2 ** ([0, 5, 7, 3][beat // 2 % 4] / 12)
        since = np.maximum(time - beat * 0.5, 0)
        for note in (1, 1.25, 1.5, 2):
            for harmonic in range(1, 7):
                hz = root * note * harmonic
                x += np.exp(-3 * since * harmonic**0.5) * np.sin(2 * np.pi * hz * since) / harmonic
    return x


def faster(voice: np.ndarray, times: float) -> np.ndarray:
    """Played faster: pitch and formants rise, [T / times]."""
    return resample(voice[None].astype(np.float32), round(SAMPLE_RATE * times), SAMPLE_RATE)[0]


def shouted(voice: np.ndarray) -> np.ndarray:
    """Higher, with more treble, and driven into soft clipping."""
    x = faster(voice, 1.25)
    x = signal.lfilter([1, -0.7], [1], x)
    return np.tanh(4 * x / np.abs(x).max())


def kurtosis(x: np.ndarray) -> float:
    """Of spectral powers: isolated tones that come and go, musical noise, raise it (Uemura et al. 2008)."""
    power = np.abs(signal.stft(x, nperseg=512)[2]) ** 2
    return float(np.mean(power**4) / np.mean(power**2) ** 2)


def _db(x: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(x)) + 1e-20))


def _pesq(clean: np.ndarray, x: np.ndarray) -> str:
    try:
        return f"{METRICS['pesq_wb'](clean, x):.2f}"
    except MissingDependencyError:
        return "?"


def column(
    uf: float | Literal["auto"], model: str | None, pair: list[np.ndarray], with_levels: bool
) -> dict[str, str]:
    """What becomes of every recording at one UF of one model."""
    enhancer = Enhancer(uf, model=model)
    return dict(checks(*pair, lambda x, rate: enhancer(x, rate).waveform, with_levels=with_levels))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("noisy", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--uf", nargs="+", default=["0.125", "auto", "1"], help="a column each")
    parser.add_argument("--no-levels", dest="levels", action="store_false", help="without awkward levels")
    arguments = parser.parse_args()
    signals = []
    for path in (arguments.clean, arguments.noisy):
        waveform, rate = audio.read(path)
        signals.append(resample(waveform[:1], rate, SAMPLE_RATE)[0])
    ufs = {"auto" if uf == "auto" else f"UF {float(uf):g}": parse_uf(uf) for uf in arguments.uf}
    work = (delayed(column)(uf, arguments.model, signals, arguments.levels) for uf in ufs.values())
    columns = dict(zip(ufs, Parallel(n_jobs=len(ufs))(work), strict=True))
    rows = [
        {"recording": check, **{name: found[check] for name, found in columns.items()}}
        for check in next(iter(columns.values()))
    ]
    print(table(rows))
