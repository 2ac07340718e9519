"""A recording before and after, measured for people to look at: spectrograms, levels, the UF over time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slimclean import audio
from slimclean.enhancer import Enhancer, Level
from slimclean.errors import AudioError
from slimclean.spectrogram import Spectrogram, SpectrogramBuilder, spectrogram

READ_BLOCK_S = 8.0
AUDIBLE_DBFS = -80.0
"""Below it, how much was removed says nothing."""
LENGTHS_AGREE_S = 0.5
"""Lossy encoders pad a little."""


@dataclass(frozen=True)
class Comparison:
    """What a picture needs: `uf` [F] at `frame_rate_hz`, the candidates of the router in `ufs`."""

    before: Spectrogram
    after: Spectrogram
    uf: np.ndarray
    frame_rate_hz: float
    ufs: tuple[float, ...]

    @property
    def mean_uf(self) -> float | None:
        return float(self.uf.mean()) if len(self.uf) else None

    @property
    def removed_db(self) -> np.ndarray:
        """By how much the level fell in each column of `before`; NaN where there was nothing to hear, [N]."""
        after = np.interp(self.before.times_s, self.after.times_s, self.after.dbfs)
        return np.where(self.before.dbfs > AUDIBLE_DBFS, self.before.dbfs - after, np.nan)


def compare(recording: Path, enhanced: Path | None, enhancer: Enhancer) -> Comparison:
    """Measure a recording and its enhanced form, block by block; errors name the file.

    With `enhanced`, only the router of `enhancer` runs; without, the recording is enhanced, but not written.
    """
    try:
        if enhanced is None:
            return _enhance(recording, enhancer)
        level, before = _measure(recording)
        with audio.AudioReader(recording) as reader:
            ufs = list(enhancer.route_stream(_blocks(reader), reader.info.sample_rate, level))
    except AudioError as error:
        raise AudioError(f"{recording}: {error}") from error
    try:
        after = _measure(enhanced)[1]
    except AudioError as error:
        raise AudioError(f"{enhanced}: {error}") from error
    if abs(before.duration_s - after.duration_s) > LENGTHS_AGREE_S:
        raise AudioError(
            f"{recording} lasts {before.duration_s:.1f} s and {enhanced} {after.duration_s:.1f} s: "
            "not one recording before and after"
        )
    return _comparison(before, after, ufs, enhancer)


def _comparison(
    before: Spectrogram, after: Spectrogram, ufs: list[np.ndarray], enhancer: Enhancer
) -> Comparison:
    uf = np.concatenate(ufs) if ufs else np.zeros(0)
    return Comparison(before, after, uf, enhancer.config.frame_rate_hz, enhancer.config.ufs)


def _blocks(reader: audio.AudioReader) -> Iterator[np.ndarray]:
    return reader.blocks(round(READ_BLOCK_S * reader.info.sample_rate))


def _measure(path: Path) -> tuple[Level, Spectrogram]:
    level = Level()
    with audio.AudioReader(path) as reader:
        builder = SpectrogramBuilder(reader.info.sample_rate)
        for block in _blocks(reader):
            level.add(block, reader.info.sample_rate)
            builder.add(block)
    return level, builder.finish()


def _enhance(recording: Path, enhancer: Enhancer) -> Comparison:
    level, before = _measure(recording)
    ufs: list[np.ndarray] = []
    with audio.AudioReader(recording) as reader:
        rate = reader.info.sample_rate

        def out() -> Iterator[np.ndarray]:
            for block, uf in enhancer.stream(_blocks(reader), rate, level):
                ufs.append(uf)
                yield block

        after = spectrogram(out(), rate)
    return _comparison(before, after, ufs, enhancer)
