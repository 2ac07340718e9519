"""Decoding with PyAV what libsndfile cannot: AAC, ALAC, WMA, telephone codecs, the sound of films."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from slimclean.audio.av.clock import GAP_S, Clock
from slimclean.audio.av.frames import RAW, SoundTrack, time_of
from slimclean.audio.containers import CONTAINERS
from slimclean.audio.formats import AudioInfo
from slimclean.audio.structure.sizes import other_length
from slimclean.errors import AudioError, told

_CLOCKS = {name: container.clock for container in CONTAINERS for name in container.demuxers}
LATEST_START_S = 10
"""A film whose first picture and sound both start later than this was cut from something longer."""
_REMARKED_S = 0.5
_WMA_DELAY_S = 0.1
"""WMA's decoder leaves out its first two frames, and counts them, in whatever container."""
_PADDING_SAMPLES = 2048
"""An encoder's last block is at most so long; beyond the stream's length lies nothing but its padding."""


class AvSource:
    """One sound track of a file, decoded to float32: number `track` from 1, or the default one.

    `name` is what people call such a file. Where the container has a clock, sound that starts late or pauses is
    filled up with silence. Raises `AudioError`, and `MissingDependencyError` without PyAV.
    """

    def __init__(self, path: Path, name: str, track: int | None = None) -> None:
        self._track = SoundTrack(path, name, track)
        self.warnings = self._track.warnings
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        """Tell from the first frame, and from what the container says, what the sound is like."""
        first, stream = self._track.first, self._track.stream
        codec = stream.codec_context
        form = self._track.container.format.name.split(",")[0]
        self.info = AudioInfo(
            first.sample_rate,
            len(first.layout.channels),
            0,
            form.upper(),
            codec.name.upper(),
            codec=codec.codec.canonical_name,
            bit_rate=codec.bit_rate or None,
            bits_per_sample=_bits(codec),
            channel_layout=first.layout.name,
            track=self._track.number,
        )
        # Raw streams have no length but an estimate.
        length = 0
        kind = "relative" if form == "ogg" and self._track.container.streams.video else _CLOCKS.get(form)
        if kind and stream.duration and stream.time_base:
            length = round(stream.duration * stream.time_base * self.info.sample_rate)
        self._clock = None
        if kind:
            of_windows = form == "asf" or codec.name.startswith("wma")
            delay_s = _WMA_DELAY_S if of_windows else GAP_S
            self._clock = Clock(self.info.sample_rate, self._origin(kind), self._length_s(), delay_s)
        has_duration = form not in RAW and stream.duration and stream.time_base
        self._told_s = float(stream.duration * stream.time_base) if has_duration else 0.0
        self._end = length if form == "mov" else 0
        ahead = self._clock.ahead(time_of(first)) if self._clock else 0
        duration = self._track.container.duration
        estimate = round(duration / self._track.av.time_base * self.info.sample_rate) if duration else 0
        begins = (time_of(first) or Fraction(0)) - Fraction(ahead, self.info.sample_rate)
        self.info = replace(self.info, samples=max(0, length + ahead if length else estimate), start_s=begins)
        self._rest = np.zeros((0, self.info.channels), np.float32)
        self._decoded = 0
        self._forms: set[tuple[int, str]] = {(first.sample_rate, first.layout.name)}
        self._blocks = self._convert(first)

    def _origin(self, kind: str) -> Fraction:
        """Return the file's time of the first sample, in s."""
        start = Fraction(self._track.container.start_time or 0, self._track.av.time_base)
        if kind == "absolute" and start > LATEST_START_S:
            self.warnings.append(f"its clock starts at {float(start):.0f} s, which was taken for 0")
            return start
        return start if kind == "relative" else min(Fraction(0), start)

    def _length_s(self) -> float | None:
        return (
            self._track.container.duration / self._track.av.time_base
            if self._track.container.duration
            else None
        )

    def _convert(self, first: Any) -> Iterator[np.ndarray]:
        """Yield frames as float32 [T, C] in the form of the first, silence where the clock asks for it."""
        converter, form = None, None
        frame: Any = first
        while frame is not None:
            now = (frame.sample_rate, frame.layout.name, frame.format.name)
            if now != form:
                if converter is not None:
                    yield from self._arrays(converter.resample(None))
                self._remark(now[:2])
                converter = self._track.av.AudioResampler(
                    format="flt", layout=self.info.channel_layout, rate=self.info.sample_rate
                )
                form = now
            if self._clock is not None and (silent := self._clock.ahead(time_of(frame))):
                self._clock.fill(silent)
                while silent > 0:
                    piece = min(silent, 1 << 20)
                    yield np.zeros((piece, self.info.channels), np.float32)
                    silent -= piece
            frame.pts = None
            yield from self._arrays(converter.resample(frame))  # type: ignore[union-attr]
            frame = next(self._track.frames, None)
        yield from self._arrays(converter.resample(None))  # type: ignore[union-attr]
        if self._clock is not None:
            self.warnings.extend(self._clock.remarks())
        elif self._told_s - self._decoded / self.info.sample_rate > _REMARKED_S:
            self.warnings.append(other_length(self._told_s, self._decoded / self.info.sample_rate))

    def _arrays(self, parts: Any) -> Iterator[np.ndarray]:
        for part in parts:
            block = part.to_ndarray().reshape(-1, self.info.channels)
            if self._clock is not None:
                self._clock.heard(len(block))
            yield block

    def _remark(self, form: tuple[int, str]) -> None:
        if form not in self._forms:
            self._forms.add(form)
            self.warnings.append(
                f"goes on with {form[0]} Hz, {form[1]}; made {self.info.sample_rate} Hz, "
                f"{self.info.channel_layout} like its beginning"
            )

    def read(self, samples: int) -> np.ndarray:
        """Return the next samples, [<= samples, C]; none at the end. Raises `AudioError` for damage."""
        parts, have = [self._rest], len(self._rest)
        # So much more is decoded that the padding at the end can be told from sound.
        while have < samples + _PADDING_SAMPLES and (block := self._next_block()) is not None:
            parts.append(block)
            have += len(block)
        ready = np.concatenate(parts)
        excess = self._decoded - self._end if self._end else 0
        if have < samples + _PADDING_SAMPLES and 0 < excess <= _PADDING_SAMPLES:
            ready = ready[: max(0, len(ready) - excess)]
            self._decoded = self._end
        ready, self._rest = ready[:samples], ready[samples:]
        return ready

    def _next_block(self) -> np.ndarray | None:
        try:
            block = next(self._blocks, None)
        except AudioError:
            raise
        except self._track.errors as error:
            raise AudioError(f"damaged ({told(error)})") from error
        if block is not None:
            self._decoded += len(block)
        return block

    def close(self) -> None:
        self._track.close()


_LOSSLESS_UNASKED = ("wavpack",)
"""Codecs that can be lossy and hardly ever are."""


def _bits(codec: Any) -> int | None:
    """Count the bits of a sample that hold sound; None for a lossy codec, which has no such number."""
    if found := re.match(r"pcm_[suf](\d+)", codec.name):
        return int(found[1])
    if not codec.codec.lossless or (codec.codec.lossy and codec.name not in _LOSSLESS_UNASKED):
        return None
    extra = codec.extradata or b""
    if codec.name == "alac" and len(extra) > 17:
        return int(extra[17])
    if codec.name == "flac" and len(extra) > 13:
        return ((extra[12] & 1) << 4 | extra[13] >> 4) + 1
    return int(codec.format.bytes) * 8
