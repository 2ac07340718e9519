"""Validation pairs as files: speech and noise that training never hears, mixed with a fixed seed.

    python -m slimclean.train.mixtures OUT --manifest corpus/manifest.csv --count 200

writes OUT/clean and OUT/noisy, for `slimclean evaluate`, `score` and `enhance --reference`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slimclean.audio import AudioInfo, AudioWriter
from slimclean.dsp import SAMPLE_RATE
from slimclean.train.mixer import Mixer
from slimclean.train.sources import load_library, read_manifest
from slimclean.train.valid import VALID_MIX, mixed_pairs


def write_mixtures(
    out: Path,
    manifest: Annotated[Path, typer.Option(help="CSV with path, kind (speech, noise), corpus and split.")],
    count: Annotated[int, typer.Option(min=1)] = 200,
    seconds: Annotated[float, typer.Option(min=1.0, help="Of each mixture.")] = 4.0,
    seed: int = 2,
    corpus: Annotated[str, typer.Option(help="Take speech of this corpus only.")] = "",
    cache: Annotated[Path | None, typer.Option(help="Decoded audio; default: OUT/cache.")] = None,
) -> None:
    """Mix the manifest's `valid` rows into pairs of 24-bit FLAC files at 16 kHz."""
    speech, noise = (read_manifest(manifest, kind, "valid") for kind in ("speech", "noise"))
    speech = [entry for entry in speech if corpus in ("", entry[1])]
    voices, noises = (load_library(files, cache or out / "cache") for files in (speech, noise))
    for pair in mixed_pairs(Mixer(voices, noises, VALID_MIX), count, seconds, seed):
        for folder, x in (("clean", pair.clean), ("noisy", pair.noisy)):
            info = AudioInfo(SAMPLE_RATE, 1, len(x), "FLAC", "PCM_24")
            with AudioWriter(out / folder / f"{pair.name}.flac", info) as writer:
                writer.write(x[None])
                writer.commit()


if __name__ == "__main__":
    typer.run(write_mixtures)
