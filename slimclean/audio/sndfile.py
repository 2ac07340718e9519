"""Decoding with libsndfile, part by part: a chain of files laid end to end reads like one."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import soxr

from slimclean.audio.encodings import ogg_order
from slimclean.audio.formats import AudioInfo, file_name
from slimclean.audio.quiet import quiet
from slimclean.audio.structure.sizes import UNKNOWN_FROM, other_length, truncated
from slimclean.audio.structure.view import Part, Structure, View
from slimclean.errors import AudioError, told

UNKNOWN_SAMPLES = 1 << 62
MOST_VALUES = 1 << 22
"""How many values are asked for at a time: a header may promise any number of samples and channels."""
REMARKED_S = 0.1
"""A lossy recording may be shorter than its header says by so much without a remark."""
MOST_WARNINGS = 20
"""Of the parts of one file; others are counted."""


class UnknownFormatError(AudioError):
    """libsndfile does not know what this is; something else may."""


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]
    """Read from its beginning to its end, and not beyond, where there may be tags.

    soundfile seeks after each read. In a FLAC that was cut as it is, whose frames are numbered as they were,
    that leads elsewhere.
    """

    _given = 0

    def seekable(self) -> bool:
        return False

    def next(self, samples: int) -> np.ndarray:
        """Return the next samples as float32, [<= samples, C]; none at the end."""
        block: np.ndarray = self.read(min(samples, self.frames - self._given), "float32", always_2d=True)
        self._given += len(block)
        return block


class SndfileSource:
    """The parts of a file, decoded to float32 in the rate and the channels of the first.

    Without `structure`, libsndfile is shown the file as it is and believed. Raises `AudioError`.
    """

    def __init__(self, path: Path, structure: Structure | None = None) -> None:
        self._path = path
        self._sure = structure is not None
        whole = Part((range(path.stat().st_size),))
        self._parts = list(structure.parts) if structure else [whole]
        self.warnings: list[str] = []
        self._untold = 0
        for warning in structure.warnings if structure else ():
            self._remark(warning)
        self._file, self._view = self._open(self._parts[0])
        file = self._file
        self.info = info = AudioInfo(file.samplerate, file.channels, 0, file.format, file.subtype, file.endian)
        if structure and structure.format:
            self.info = info = replace(info, format=structure.format)
        if structure is None and (problem := _missing_data(file.extra_info)):
            self.close()
            raise AudioError(problem)
        samples = self._samples()
        self.info = replace(info, samples=samples)
        if info.lossy and samples:
            self.info = replace(self.info, bit_rate=round(path.stat().st_size * 8 / self.info.duration_s))
        self._index, self._seen = 0, 0
        self._missing = self._parts[0].missing
        self._adapt = _Adapter(info, file.samplerate, file.channels)

    def _open(self, part: Part) -> tuple[_Sequential, View | None]:
        view: View | None = None
        try:
            with quiet():
                if part.pieces == (range(self._path.stat().st_size),):
                    return _Sequential(file_name(self._path)), None
                view = View(self._path, part.pieces)
                file = _Sequential(view)
            view.reraise()
            return file, view
        except OSError as error:
            raise AudioError(f"cannot be read ({error.strerror or error})") from error
        except (soundfile.LibsndfileError, TypeError) as error:
            if view is not None:
                view.reraise()
                view.close()
            if not os.access(self._path, os.R_OK):
                raise AudioError("cannot be read (permission denied)") from error
            raise UnknownFormatError(f"not a readable recording ({told(error)})") from error

    def _samples(self) -> int:
        """Count the samples of all parts at the rate of the first, as far as known before decoding."""
        total = 0
        for index, part in enumerate(self._parts):
            rate, samples = self.info.sample_rate, part.samples
            if index or samples is None:
                file, view = (self._file, None) if index == 0 else self._open(part)
                rate, samples = file.samplerate, part.samples or file.frames
                if index:
                    _close(file, view)
            # An encoder that wrote to a pipe leaves the length open; libsndfile then says 2^63 - 1.
            total += round(samples * self.info.sample_rate / rate) if samples < UNKNOWN_SAMPLES else 0
        return total

    def read(self, samples: int) -> np.ndarray:
        """Return the next samples, [<= samples, C]; none at the end. Raises `AudioError` for damage."""
        blocks, have = [], 0
        while have < samples:
            block = self._read(samples - have)
            last = not len(block)
            block = self._adapt(block, last=last)
            blocks.append(block)
            have += len(block)
            if last and not self._next():
                break
        order = ogg_order(self.info.subtype, self.info.channels)
        whole = np.concatenate(blocks)
        return whole if order is None else whole[:, order]

    def _read(self, samples: int) -> np.ndarray:
        samples = min(samples, max(1, MOST_VALUES // self._file.channels))
        if self._missing:
            silent = min(samples, self._missing)
            self._missing -= silent
            self._seen += silent
            return np.zeros((silent, self._file.channels), np.float32)
        try:
            with quiet() if "MPEG" in self.info.subtype else contextlib.nullcontext():
                block = self._file.next(samples)
            if self._view is not None:
                self._view.reraise()
        except (soundfile.LibsndfileError, RuntimeError) as error:
            if self._view is not None:
                self._view.reraise()
            if self._file.frames >= UNKNOWN_SAMPLES:
                raise AudioError("its header does not say how long it is; convert it first") from error
            at_s = self._seen / self._file.samplerate
            raise AudioError(f"damaged at {at_s:.2f} s ({error})") from error
        self._seen += len(block)
        return block

    def _next(self) -> bool:
        """Judge the part that just ended, and go on to the next, if there is one."""
        if self._index == len(self._parts):
            return False
        if self._view is not None and (problem := self._view.problem):
            raise AudioError(f"cannot be read ({problem.strerror or problem})")
        declared = self._parts[self._index].samples or self._file.frames
        declared = declared if declared < UNKNOWN_SAMPLES else 0
        missing = declared - self._seen
        rate = self._file.samplerate
        if self._sure and self.info.lossy:
            if missing > REMARKED_S * rate:
                self._remark(other_length(declared / rate, self._seen / rate))
        elif missing > (0.02 * declared if self.info.lossy else 0):
            raise AudioError(f"truncated: {self._seen} of {declared} samples are there")
        self._index, self._seen = self._index + 1, 0
        if self._index == len(self._parts):
            if self._untold:
                self.warnings.append(f"{self._untold} more warnings like these were left out")
            return False
        _close(self._file, self._view)
        self._file, self._view = self._open(self._parts[self._index])
        self._missing = self._parts[self._index].missing
        file = self._file
        form = (file.samplerate, file.channels)
        self._adapt = _Adapter(self.info, *form)
        if form != (self.info.sample_rate, self.info.channels):
            self._remark(
                f"part {self._index + 1} of {len(self._parts)} has {form[0]} Hz and {_channels(form[1])}; "
                f"it was made {self.info.sample_rate} Hz and {_channels(self.info.channels)} like the first"
            )
        return True

    def _remark(self, warning: str) -> None:
        """Warn, unless there are so many warnings that nobody reads them."""
        if len(self.warnings) < MOST_WARNINGS:
            self.warnings.append(warning)
        else:
            self._untold += 1

    def close(self) -> None:
        _close(self._file, self._view)


def _close(file: soundfile.SoundFile, view: View | None) -> None:
    file.close()
    if view is not None:
        view.close()


class _Adapter:
    """Makes blocks of another rate or number of channels like those of `info`."""

    def __init__(self, info: AudioInfo, rate: int, channels: int) -> None:
        self._channels = info.channels
        if channels != info.channels and 1 not in (channels, info.channels):
            raise AudioError(
                f"a part with {_channels(channels)} follows one with {_channels(info.channels)}; split it first"
            )
        self._resampler = None
        if rate != info.sample_rate:
            self._resampler = soxr.ResampleStream(rate, info.sample_rate, info.channels, dtype="float32")

    def __call__(self, block: np.ndarray, *, last: bool) -> np.ndarray:
        """`block` [T, C] in the form of the first part; `last` when nothing of its part follows."""
        if block.shape[1] != self._channels:
            mixed = block.mean(axis=1, keepdims=True) if self._channels == 1 else block
            block = np.repeat(mixed, self._channels, axis=1) if self._channels > 1 else mixed
        if self._resampler is not None:
            block = self._resampler.resample_chunk(np.ascontiguousarray(block), last=last)
            if last:
                self._resampler = None
        return block


def _channels(count: int) -> str:
    return {1: "one channel"}.get(count, f"{count} channels")


def _missing_data(log: str) -> str | None:
    """Find in libsndfile's log that an AIFF, CAF or W64 file was cut short, which it reads as whole.

    Sizes near 2 and 4 GiB stand for "unknown" in files that were written to a pipe.
    """
    found = re.search(r"^\s*(?:data|SSND|riff|Data Size) : (\d+) \(should be (\d+)\)", log, re.MULTILINE)
    if found and int(found[2]) < int(found[1]) < UNKNOWN_FROM:
        return truncated(int(found[2]), int(found[1]))
    return None
