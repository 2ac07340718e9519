"""What becomes of recordings that are not noisy speech at a sensible level: a table.

    python examples/robustness.py tests/pairs/clean.flac tests/pairs/noisy.flac

CLEAN and NOISY are one utterance. PESQ needs pip install 'slimclean[score]'.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from slimclean import Enhancer, audio
from slimclean.errors import MissingDependencyError
from slimclean.metrics import METRICS, SAMPLE_RATE
from slimclean.report import table
from slimclean.resample import resample

Run = Callable[[np.ndarray, int], np.ndarray]


def checks(clean: np.ndarray, noisy: np.ndarray, run: Run) -> Iterator[tuple[str, str]]:
    """Pairs of what was tried and what came out; signals are [T] at 16 kHz."""
    rng = np.random.default_rng(0)
    kept = run(clean, SAMPLE_RATE)
    yield "clean speech: SI-SDR of the output, dB", f"{METRICS['si_sdr_db'](clean, kept):.1f}"
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
    phone = resample(noisy[None], SAMPLE_RATE, 8_000)[0]
    wanted = resample(clean[None], SAMPLE_RATE, 8_000)[0]
    before, after = (METRICS["si_sdr_db"](wanted, x) for x in (phone, run(phone, 8_000)))
    yield "at 8 kHz: SI-SDR in, out, dB", f"{before:.1f}, {after:.1f}"


def _db(x: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(x)) + 1e-20))


def _pesq(clean: np.ndarray, x: np.ndarray) -> str:
    try:
        return f"{METRICS['pesq_wb'](clean, x):.2f}"
    except MissingDependencyError:
        return "?"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("noisy", type=Path)
    parser.add_argument("--model")
    arguments = parser.parse_args()
    signals = []
    for path in (arguments.clean, arguments.noisy):
        waveform, rate = audio.read(path)
        signals.append(resample(waveform[:1], rate, SAMPLE_RATE)[0])
    columns: dict[str, dict[str, str]] = {}
    for name, enhancer in {
        "UF 0.125": Enhancer(0.125, model=arguments.model),
        "auto": Enhancer("auto", 0.25, arguments.model),
        "UF 1": Enhancer(1.0, model=arguments.model),
    }.items():

        def run(x: np.ndarray, rate: int, enhancer: Enhancer = enhancer) -> np.ndarray:
            return enhancer(x, rate).waveform

        for check, found in checks(*signals, run):
            columns.setdefault(check, {"recording": check})[name] = found
    print(table(list(columns.values())))
