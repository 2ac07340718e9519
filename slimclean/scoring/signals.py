"""Recordings to score: arrays where they are short, files where they are long, so that memory stays bounded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np

from slimclean.audio import AudioReader
from slimclean.dsp.resample import resample, resample_blocks
from slimclean.errors import AudioError

IN_MEMORY_BYTES = 64 * 2**20
"""What holds more goes to a temporary file: 17 minutes at 16 kHz, or 3 of stereo at 48 kHz."""
BLOCK = 1 << 18
"""Samples per channel that are read at a time."""


class _Spill:
    """A temporary file that is closed, and so gone, with the last signal that reads it."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="slimclean-")  # noqa: SIM115

    def write(self, block: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(block.T, np.float32).tobytes())

    def read(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        return self._file.read(size)

    def __del__(self) -> None:
        self._file.close()


class Channel:
    """One channel of a `Stored` signal: slices of it are arrays [T]."""

    def __init__(self, signal: Stored, channel: int) -> None:
        self._signal, self._channel = signal, channel

    def __len__(self) -> int:
        return self._signal.shape[1]

    def __getitem__(self, cut: slice) -> np.ndarray:
        start, stop, _ = cut.indices(len(self))
        return np.ascontiguousarray(self._signal.read(start, stop)[:, self._channel])


class Stored:
    """A signal [C, T] in a file of float32: `[:, a:b]` is another, iterating gives its channels."""

    def __init__(self, file: _Spill, channels: int, start: int, stop: int) -> None:
        self._file, self._start = file, start
        self.shape = (channels, stop - start)

    def __getitem__(self, key: tuple[slice, slice]) -> Stored:
        start, stop, _ = key[1].indices(self.shape[1])
        return Stored(self._file, self.shape[0], self._start + start, self._start + max(start, stop))

    def __iter__(self) -> Iterator[Channel]:
        return (Channel(self, channel) for channel in range(self.shape[0]))

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the samples from `start` to `stop`, [T, C]."""
        channels = self.shape[0]
        data = self._file.read((self._start + start) * channels * 4, max(0, stop - start) * channels * 4)
        return np.frombuffer(data, np.float32).reshape(-1, channels)


Signal: TypeAlias = np.ndarray | Stored
"""[C, T], float32."""


def store(blocks: Iterable[np.ndarray]) -> Signal:
    """Gather consecutive blocks [C, T], at least one, into a signal."""
    held: list[np.ndarray] = []
    file: _Spill | None = None
    samples = size = 0
    for block in blocks:
        samples += block.shape[1]
        size += block.nbytes
        held.append(block)
        if file is None and size > IN_MEMORY_BYTES:
            file = _Spill()
        if file is not None:
            for piece in held:
                file.write(piece)
            held = [held[0][:, :0]]
    if file is None:
        return np.concatenate(held, axis=1)
    return Stored(file, len(held[0]), 0, samples)


def blocks_of(signal: Signal) -> Iterator[np.ndarray]:
    """Yield consecutive pieces [C, T] of a signal."""
    for start in range(0, signal.shape[1], BLOCK):
        stop = min(start + BLOCK, signal.shape[1])
        yield signal[:, start:stop] if isinstance(signal, np.ndarray) else signal.read(start, stop).T


def read_signal(path: Path, track: int | None = None) -> tuple[Signal, int]:
    """Read a recording, of several sound tracks the one asked for, and its sample rate in Hz.

    Raises `AudioError` that names the file.
    """
    try:
        with AudioReader(path, track) as reader:
            return store(reader.read_blocks()), reader.info.sample_rate
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from error


def resampled(signal: Signal, from_hz: int, to_hz: int) -> Signal:
    """Return a signal at another rate, as `resample` does."""
    if isinstance(signal, np.ndarray):
        return resample(signal, from_hz, to_hz)
    return signal if from_hz == to_hz else store(resample_blocks(blocks_of(signal), from_hz, to_hz))
