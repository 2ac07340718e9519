"""A piece of a recording: what a page plays, and compares."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slimclean.audio import AudioReader
from slimclean.errors import AudioError, UsageError

SECONDS = 60.0
"""How much of a longer recording a page compares."""


@dataclass(frozen=True)
class Stretch:
    """A piece of a recording: `waveform` [C, T] at `sample_rate` Hz, from `start_s` on.

    `channel_layout` is FFmpeg's name of what the channels are for, where the recording says that.
    """

    waveform: np.ndarray
    sample_rate: int
    start_s: float = 0.0
    channel_layout: str | None = None

    @property
    def duration_s(self) -> float:
        return int(self.waveform.shape[1]) / self.sample_rate


def read_stretch(
    recording: Path, start_s: float = 0.0, seconds: float = SECONDS, track: int | None = None
) -> Stretch:
    """Read at most `seconds` of a recording, or of one of its sound tracks, from `start_s` on.

    Raises `AudioError` and `UsageError`, which name the file.
    """
    try:
        with AudioReader(recording, track) as reader:
            rate, layout = reader.info.sample_rate, reader.info.channel_layout
            waveform, seen = between(
                reader.read_blocks(), round(start_s * rate), round((start_s + seconds) * rate)
            )
    except AudioError as error:
        raise AudioError(f"{recording}: {error}") from error
    if not seen:
        raise UsageError(f"{recording}: holds no sound")
    if not waveform.shape[1]:
        raise UsageError(f"{recording}: ends at {seen / rate:.1f} s; give an earlier `start`")
    return Stretch(waveform, rate, start_s, layout)


def between(blocks: Iterable[np.ndarray], first: int, last: int) -> tuple[np.ndarray, int]:
    """Cut samples [`first`, `last`) out of consecutive blocks [C, T], at least one.

    Returns also how many samples were read, no more blocks than it takes.
    """
    pieces, seen = [], 0
    for block in blocks:
        pieces.append(block[:, max(0, first - seen) : max(0, last - seen)])
        seen += block.shape[1]
        if seen >= last:
            break
    return np.concatenate(pieces, axis=1), seen
