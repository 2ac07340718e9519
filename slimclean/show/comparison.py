"""A recording before and after, measured for people to look at: spectrograms, levels, the UF over time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from slimclean import audio
from slimclean.audio.av.film import track_in
from slimclean.batch.report import FileResult
from slimclean.batch.trace import Comparison, Trace
from slimclean.dsp.spectrogram import Spectrogram, SpectrogramBuilder, spectrogram
from slimclean.errors import AudioError, SlimcleanError

if TYPE_CHECKING:
    from slimclean.enhancer import Enhancer

LENGTHS_AGREE_S = 0.5
"""Lossy encoders pad a little."""


def preview(recording: Path, enhancer: Enhancer, track: int | None = None) -> Comparison:
    """Enhance a recording, or one of its sound tracks, by blocks, without writing it; errors name the file."""
    try:
        with audio.AudioReader(recording, track) as reader:
            trace = Trace(reader.info.sample_rate)
            blocks = _passed(reader.read_blocks(), trace.heard)
            for block, uf in enhancer.stream(blocks, reader.info.sample_rate):
                trace.made(block, uf)
    except AudioError as error:
        raise AudioError(f"{recording}: {error}") from error
    return trace.comparison(enhancer)


def compare(recording: Path, enhanced: Path, enhancer: Enhancer | None, track: int | None = None) -> Comparison:
    """Measure a recording and its enhanced form block by block; errors name the file.

    `track` is the sound track that was enhanced, None the default one. A mono form of several channels is
    compared with their mean. Nothing is enhanced: of `enhancer`, which made the second of the first, only the
    router runs.
    """
    if recording.resolve() == enhanced.resolve():
        raise AudioError(f"{recording}: was replaced in place, so there is nothing to compare it with")
    ufs: list[np.ndarray] = []
    try:
        with audio.AudioReader(enhanced, track_in(enhanced, recording, track)) as reader:
            mono = reader.info.channels == 1
            after = spectrogram(reader.read_blocks(), reader.info.sample_rate)
    except AudioError as error:
        raise AudioError(f"{enhanced}: {error}") from error
    try:
        with audio.AudioReader(recording, track) as reader:
            rate, blocks = reader.info.sample_rate, reader.read_blocks(mono=mono)
            if enhancer is None:
                before = spectrogram(blocks, rate)
            else:
                builder = SpectrogramBuilder(rate)
                ufs += enhancer.route_stream(_passed(blocks, builder.add), rate)
                before = builder.finish()
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
    found = compare(Path(result.file), Path(result.output), made_by, result.track)
    known = result.level_out_dbfs is not None
    return replace(found, residual=result.is_residual if known else enhancer.residual)


def _comparison(
    before: Spectrogram, after: Spectrogram, ufs: list[np.ndarray], enhancer: Enhancer | None
) -> Comparison:
    if enhancer is None:
        return Comparison(before, after, np.zeros(0))
    uf = np.concatenate(ufs) if ufs else np.zeros(0)
    return Comparison(before, after, uf, enhancer.config.frame_rate_hz, enhancer.config.ufs)


def _passed(blocks: Iterable[np.ndarray], heard: Callable[[np.ndarray], None]) -> Iterator[np.ndarray]:
    """Yield blocks [C, T] as they are, each of which goes to `heard` too."""
    for block in blocks:
        heard(block)
        yield block
