"""Spectrograms of recordings of any length in bounded memory, and the levels that go with them.

Columns hold the mean power of a power of two of short frames: whenever there are too many, neighbours are
merged, so the length need not be known in advance. Glossary: C channels, T samples, B bins, N columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

HOP_S = 0.008
"""Between frames, before any merging."""
WINDOW_HOPS = 5
"""A window is 40 ms: harmonics of a voice are apart, and its syllables too."""
COLUMNS = 1000
"""There are fewer than twice as many."""
FRAMES_AT_ONCE = 512
LOWEST_DB = -120.0
SHOWN_DB = 80
"""Range of a picture's colours, below the loudest."""


@dataclass(frozen=True)
class Spectrogram:
    """Mean power [B, N] over all channels, per bin from 0 Hz to half of `sample_rate`, in full-scale sines.

    `duration_s` is that of the recording, `column_s` that of a column.
    """

    power: np.ndarray
    sample_rate: int
    duration_s: float
    column_s: float

    @property
    def level_db(self) -> np.ndarray:
        """[B, N] in dB re a full-scale sine."""
        return decibels(self.power)

    @property
    def dbfs(self) -> np.ndarray:
        """RMS level of each column in dB re full scale, [N]."""
        # The window spreads a sine of power 1 over 1.5 bins (Hann), and its RMS is that of 1/2.
        return decibels(self.power.sum(axis=0) / 1.5 / 2)

    @property
    def times_s(self) -> np.ndarray:
        """The middle of each column, [N]."""
        return (np.arange(self.power.shape[1]) + 0.5) * self.column_s


def decibels(power: np.ndarray) -> np.ndarray:
    """Return power in dB, at least `LOWEST_DB`."""
    return np.asarray(10 * np.log10(np.maximum(power, 10 ** (LOWEST_DB / 10))))


class SpectrogramBuilder:
    """Takes a recording block by block."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self._hop = max(1, round(HOP_S * sample_rate))
        size = self._hop * WINDOW_HOPS
        self._window = np.hanning(size + 1)[:-1].astype(np.float32)
        self._scale = 4 / float(self._window.sum()) ** 2  # a full-scale sine reaches 1 in its bin
        self._buffer: np.ndarray | None = None
        self._samples = 0
        self._merged = 1
        """Frames per column."""
        self._columns: list[np.ndarray] = []
        self._open: np.ndarray | None = None
        self._open_count = 0

    def add(self, block: np.ndarray) -> None:
        """Take in the next samples, [C, T]."""
        self._samples += block.shape[1]
        if self._buffer is None:  # the first frame is centred on the first sample
            self._buffer = np.zeros((len(block), (len(self._window) - self._hop) // 2), np.float32)
        self._push(block)

    def finish(self) -> Spectrogram:
        """Return what was taken in so far as a whole."""
        if self._buffer is not None:
            self._push(np.zeros((len(self._buffer), len(self._window)), np.float32))
        columns = [*self._columns]
        if self._open is not None:
            columns.append(self._open / self._open_count)
        wanted = max(1, -(-self._samples // (self._hop * self._merged)))
        bins = len(self._window) // 2 + 1
        power = np.stack(columns, axis=1)[:, :wanted] if columns else np.zeros((bins, 1))
        column_s = self._merged * self._hop / self.sample_rate
        return Spectrogram(
            power.astype(np.float32), self.sample_rate, self._samples / self.sample_rate, column_s
        )

    def _push(self, block: np.ndarray) -> None:
        assert self._buffer is not None
        size, hop = len(self._window), self._hop
        x = np.concatenate([self._buffer, block], axis=1)
        frames = max(0, (x.shape[1] - size) // hop + 1)
        for first in range(0, frames, FRAMES_AT_ONCE):
            count = min(FRAMES_AT_ONCE, frames - first)
            piece = x[:, first * hop : (first + count - 1) * hop + size]
            windows = np.lib.stride_tricks.sliding_window_view(piece, size, axis=1)[:, ::hop]
            spectrum = np.fft.rfft(windows * self._window, axis=-1)
            power = (np.square(spectrum.real) + np.square(spectrum.imag)).mean(axis=0) * self._scale
            for frame in power:
                self._take(frame)
        self._buffer = x[:, frames * hop :]

    def _take(self, frame: np.ndarray) -> None:
        self._open = frame if self._open is None else self._open + frame
        self._open_count += 1
        if self._open_count < self._merged:
            return
        self._columns.append(self._open / self._open_count)
        self._open, self._open_count = None, 0
        if len(self._columns) == 2 * COLUMNS:
            pairs = zip(self._columns[::2], self._columns[1::2], strict=True)
            self._columns = [(a + b) / 2 for a, b in pairs]
            self._merged *= 2


def spectrogram(blocks: Iterable[np.ndarray], sample_rate: int) -> Spectrogram:
    """Make the spectrogram of a recording that comes in consecutive blocks [C, T]."""
    builder = SpectrogramBuilder(sample_rate)
    for block in blocks:
        builder.add(block)
    return builder.finish()


def reduce_columns(values: np.ndarray, columns: int) -> np.ndarray:
    """Average equal stretches, [..., N] -> [..., at most `columns`]."""
    n = values.shape[-1]
    if n <= columns:
        return values
    edges = np.linspace(0, n, columns + 1).round().astype(int)
    return np.asarray(np.add.reduceat(values, edges[:-1], axis=-1) / np.diff(edges))


def for_pixels(power: np.ndarray, pixels: tuple[int, int]) -> np.ndarray:
    """Reduce power [B, N] to at most so many rows and columns, for a picture.

    A row shows the loudest of its bins, since their mean would make a tone the softer the more there are: by
    10 dB at 192 kHz. Steady noise rises little, by 10 log10(1 + 1/2 + ... + 1/n) for n bins at most: 3 dB at
    48 kHz, 5 at 192, and less where columns are means already. A column shows the mean of its time.
    """
    columns = _windows(power, pixels[1]).mean(axis=-1)
    return np.asarray(_windows(columns.T, pixels[0]).max(axis=-1).T)


def _windows(values: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many windows that cover the last axis, [..., N] -> [..., most, W].

    All are as long, and overlap where they must: noise in longer ones would stand out as stripes.
    """
    n = values.shape[-1]
    count, length = min(n, most), -(-n // most)
    starts = np.linspace(0, n - length, count).round().astype(int)
    return values[..., starts[:, None] + np.arange(length)]
