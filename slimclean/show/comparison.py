"""A recording before and after, measured for people to look at: spectrograms, levels, the UF over time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from slimclean import audio
from slimclean.batch.report import FileResult
from slimclean.batch.trace import Comparison
from slimclean.dsp.spectrogram import Spectrogram, spectrogram
from slimclean.errors import AudioError, SlimcleanError

if TYPE_CHECKING:
    from slimclean.enhancer import Enhancer

LENGTHS_AGREE_S = 0.5
"""Lossy encoders pad a little."""


def preview(recording: Path, enhancer: Enhancer) -> Comparison:
    """Enhance a recording block by block, without writing it; errors name the file."""
    ufs: list[np.ndarray] = []
    try:
        before = _measure(recording)
        with audio.AudioReader(recording) as reader:
            rate = reader.info.sample_rate

            def out() -> Iterator[np.ndarray]:
                for block, uf in enhancer.stream(reader.read_blocks(), rate):
                    ufs.append(uf)
                    yield block

            after = spectrogram(out(), rate)
    except AudioError as error:
        raise AudioError(f"{recording}: {error}") from error
    return _comparison(before, after, ufs, enhancer)


def compare(recording: Path, enhanced: Path, enhancer: Enhancer | None) -> Comparison:
    """Measure a recording and its enhanced form block by block; errors name the file.

    A mono form of several channels is compared with their mean. Nothing is enhanced: of `enhancer`, which made
    the second of the first, only the router runs.
    """
    if recording.resolve() == enhanced.resolve():
        raise AudioError(f"{recording}: was replaced in place, so there is nothing to compare it with")
    ufs: list[np.ndarray] = []
    try:
        after = _measure(enhanced)
        mono = audio.probe(enhanced).channels == 1
    except AudioError as error:
        raise AudioError(f"{enhanced}: {error}") from error
    try:
        before = _measure(recording, mono=mono)
        if enhancer is not None:
            with audio.AudioReader(recording) as reader:
                ufs += enhancer.route_stream(reader.read_blocks(mono=mono), reader.info.sample_rate)
    except AudioError as error:
        raise AudioError(f"{recording}: {error}") from error
    if abs(before.duration_s - after.duration_s) > LENGTHS_AGREE_S:
        raise AudioError(
            f"{recording} lasts {before.duration_s:.1f} s and {enhanced} {after.duration_s:.1f} s: "
            "not one recording before and after"
        )
    return _comparison(before, after, ufs, enhancer)


def compare_result(result: FileResult, enhancer: Enhancer) -> Comparison:
    """Compare the two recordings of a row, with the network of `enhancer` at the UF that the row tells."""
    made_by: Enhancer | None = None
    if result.uf == str(enhancer.uf) and result.target_uf in (None, enhancer.target_uf):
        made_by = enhancer
    elif result.uf:
        try:
            uf: float | Literal["auto"] = "auto" if result.uf == "auto" else float(result.uf)
        except ValueError as error:
            raise SlimcleanError(f"{result.file}: {result.uf!r} is no UF") from error
        target_uf = enhancer.target_uf if result.target_uf is None else result.target_uf
        made_by = enhancer.at(uf, target_uf)
    return compare(Path(result.file), Path(result.output), made_by)


def _comparison(
    before: Spectrogram, after: Spectrogram, ufs: list[np.ndarray], enhancer: Enhancer | None
) -> Comparison:
    if enhancer is None:
        return Comparison(before, after, np.zeros(0))
    uf = np.concatenate(ufs) if ufs else np.zeros(0)
    return Comparison(before, after, uf, enhancer.config.frame_rate_hz, enhancer.config.ufs)


def _measure(path: Path, *, mono: bool = False) -> Spectrogram:
    with audio.AudioReader(path) as reader:
        return spectrogram(reader.read_blocks(mono=mono), reader.info.sample_rate)
