"""Loop a noisy recording to hours, enhance it, and compare early minutes with late ones.

    python examples/long_recording.py tests/pairs/clean.flac tests/pairs/noisy.flac --hours 2

Prints peak memory, speed, and the SI-SDR of every tenth minute against the looped clean reference.
Writes the looped recording to a temporary folder: 230 MB for two hours.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from slimclean import Enhancer, audio, enhance_paths
from slimclean.scoring.metrics import si_sdr

RATE = 16_000


def peak() -> str:
    try:
        import resource
    except ModuleNotFoundError:  # on Windows
        return ""
    unit = 1 if sys.platform == "darwin" else 1024
    return f", peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9:.2f} GB"


def main(clean_path: Path, noisy_path: Path, hours: float, uf: str, model: str | None) -> None:
    clean, noisy = (audio.read(path)[0][0] for path in (clean_path, noisy_path))
    repeats = round(hours * 3600 * RATE / len(noisy))
    with tempfile.TemporaryDirectory() as folder:
        long, out = Path(folder, "long.wav"), Path(folder, "out.wav")
        with soundfile.SoundFile(long, "w", RATE, 1, "PCM_16") as file:
            for _ in range(repeats):
                file.write(noisy)
        enhancer = Enhancer("auto" if uf == "auto" else float(uf), model=model)
        (result,) = enhance_paths([long], out, enhancer)
        if result.status != "enhanced":
            sys.exit(result.error)
        print(f"{result.duration_s / 60:.1f} minutes at {1 / result.rtf:.1f}x real time{peak()}")
        for minute in range(10, int(result.duration_s // 60), 10):
            first = round(minute * 60 * RATE / len(noisy))  # the repetitions of about a minute
            count = max(1, round(60 * RATE / len(noisy)))
            piece, _ = soundfile.read(out, count * len(noisy), start=first * len(noisy), dtype="float32")
            print(f"minute {minute:4d}: SI-SDR {si_sdr(np.tile(clean, count), piece):.2f} dB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("noisy", type=Path)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--uf", default="auto")
    parser.add_argument("--model")
    arguments = parser.parse_args()
    main(arguments.clean, arguments.noisy, arguments.hours, arguments.uf, arguments.model)
