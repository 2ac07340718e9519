"""Decoding with PyAV what libsndfile cannot: AAC, ALAC, WMA, telephone codecs, the sound of films."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from slimclean.audio import riff
from slimclean.audio.clock import GAP_S, Clock
from slimclean.audio.containers import CONTAINERS
from slimclean.audio.extent import missing_bytes
from slimclean.audio.formats import AudioInfo
from slimclean.audio.view import Peek
from slimclean.errors import AudioError, needs, told

DEMUXERS = ",".join(sorted({name for container in CONTAINERS for name in container.demuxers}))
"""The only containers FFmpeg may take a file for: never a playlist, which could name other files."""
_CLOCKS = {name: container.clock for container in CONTAINERS for name in container.demuxers}
LATEST_START_S = 10
"""A film whose first picture and sound both start later than this was cut from something longer."""
_REMARKED_S = 0.5
_WMA_DELAY_S = 0.1
"""WMA's decoder leaves out its first two frames, and counts them, in whatever container."""
_MOST_BYTES = 1 << 29
_OGG_HEADERS = 3
"""So many packets at the beginning of a link of a chain are headers, which are not decoded again."""
_SILENT_AMR_BYTES = 8
"""A frame of AMR that holds no speech is not larger."""
_RAW = ("aac", "ac3", "eac3", "amr", "amrnb", "amrwb", "dts", "mp3", "g722", "gsm")
"""Containers that are nothing but packets; players do not mind if the last is cut short."""
_PADDING_SAMPLES = 2048
"""An encoder's last block is at most so long; beyond the stream's length lies nothing but its padding."""
TAGS = {
    "title": "title", "artist": "artist", "album": "album", "comment": "comment", "genre": "genre",
    "date": "date", "copyright": "copyright", "track": "tracknumber",
}  # fmt: skip
"""FFmpeg's names and libsndfile's."""


class AvSource:
    """One sound track of a file, decoded to float32: number `track` from 1, or the default one.

    `name` is what people call such a file. Where the container has a clock, sound that starts late or pauses is
    filled up with silence. Raises `AudioError`, and `MissingDependencyError` without PyAV.
    """

    def __init__(self, path: Path, name: str, track: int | None = None) -> None:
        with needs(f"{name} needs PyAV", "av"):
            import av
        av.logging.set_level(None)
        self._av = av
        # The others are PyAV's for what it did not foresee.
        self._errors = (
            av.error.FFmpegError,
            OSError,
            ValueError,
            LookupError,
            AttributeError,
            TypeError,
            RuntimeError,
        )
        self._path = path
        self.warnings: list[str] = []
        self._paused = False
        with path.open("rb") as file:
            self._missing_bytes = missing_bytes(Peek(file))
        self._container = self._open_container()
        try:
            self._start(track)
        except BaseException:
            self.close()
            raise

    def _open_container(self) -> Any:
        try:
            # An absolute path cannot be taken for the name of a protocol.
            return self._av.open(
                str(self._path.resolve()),
                container_options={"format_whitelist": DEMUXERS},
                metadata_errors="replace",
            )
        except self._errors as error:
            raise AudioError(f"not a readable recording ({told(error)})") from error

    def _start(self, track: int | None) -> None:
        """Choose a track, decode its first frame, and tell from that what the sound is like."""
        number, first = self._choose(track)
        stream = self._container.streams.audio[number - 1]
        codec = stream.codec_context
        form = self._container.format.name.split(",")[0]
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
            track=number,
        )
        metadata = {**stream.metadata, **self._container.metadata}
        self.tags = {ours: str(metadata[name]) for name, ours in TAGS.items() if metadata.get(name)}
        # Raw streams have no length but an estimate.
        length = 0
        kind = "relative" if form == "ogg" and self._container.streams.video else _CLOCKS.get(form)
        if kind and stream.duration and stream.time_base:
            length = round(stream.duration * stream.time_base * self.info.sample_rate)
        self._clock = None
        if kind:
            of_windows = form == "asf" or codec.name.startswith("wma")
            delay_s = _WMA_DELAY_S if of_windows else GAP_S
            self._clock = Clock(self.info.sample_rate, self._origin(kind), self._length_s(), delay_s)
        told = form not in _RAW and stream.duration and stream.time_base
        self._told_s = float(stream.duration * stream.time_base) if told else 0.0
        self._end = length if form == "mov" else 0
        ahead = self._clock.ahead(_time(first)) if self._clock else 0
        duration = self._container.duration
        estimate = round(duration / self._av.time_base * self.info.sample_rate) if duration else 0
        begins = (_time(first) or Fraction(0)) - Fraction(ahead, self.info.sample_rate)
        self.info = replace(self.info, samples=max(0, length + ahead if length else estimate), start_s=begins)
        self._rest = np.zeros((0, self.info.channels), np.float32)
        self._decoded = 0
        self._forms: set[tuple[int, str]] = {(first.sample_rate, first.layout.name)}
        self._blocks = self._convert(first)

    def _origin(self, kind: str) -> Fraction:
        """Return the file's time of the first sample, in s."""
        start = Fraction(self._container.start_time or 0, self._av.time_base)
        if kind == "absolute" and start > LATEST_START_S:
            self.warnings.append(f"its clock starts at {float(start):.0f} s, which was taken for 0")
            return start
        return start if kind == "relative" else min(Fraction(0), start)

    def _length_s(self) -> float | None:
        return self._container.duration / self._av.time_base if self._container.duration else None

    def _choose(self, track: int | None) -> tuple[int, Any]:
        """Return the number of a track that can be decoded, and its first frame."""
        streams = list(self._container.streams.audio)
        if not streams:
            raise AudioError("holds no sound")
        if track is not None and not 1 <= track <= len(streams):
            raise AudioError(f"has {_tracks(len(streams))}, not {track}")
        wanted = [track] if track is not None else sorted(
            range(1, len(streams) + 1), key=lambda number: not self._is_default(streams[number - 1])
        )  # fmt: skip
        reason = ""
        for number in wanted:
            stream = self._container.streams.audio[number - 1]
            if stream.codec_context is None:
                reason = reason or "no decoder knows its codec"
                continue
            self._frames = self._decode(stream)
            try:
                first = next(self._frames, None)
            except AudioError as error:
                first, reason = None, reason or str(error)
            if first is not None:
                if len(streams) > 1 and track is None:
                    why = "the first that can be decoded" if reason else "the default or first"
                    self.warnings.append(
                        f"{_tracks(len(streams))}: number {number} was taken, {why}; --track takes another"
                    )
                return number, first
            reason = reason or "nothing in it can be decoded"
            self._container.close()
            self._container = self._open_container()
        which = f"sound track {track}" if track is not None and len(streams) > 1 else "its sound"
        raise AudioError(f"not a readable recording ({which}: {reason})")

    def _is_default(self, stream: Any) -> bool:
        return bool(stream.disposition & self._av.stream.Disposition.default)

    def _decode(self, stream: Any) -> Iterator[Any]:
        """Decoded frames; a packet that cannot be decoded is an error where others follow."""
        problem, problems, at_s, any_decoded = "", 0, 0.0, False
        packets = self._packets(stream)
        while True:
            try:
                if (packet := next(packets, None)) is None:
                    break
                for frame in self._frames_of(packet, stream):
                    headers = problems <= _OGG_HEADERS and self._container.format.name == "ogg"
                    if problem and any_decoded and not headers:
                        raise AudioError(f"damaged at {at_s:.2f} s ({problem})")
                    if problem and not any_decoded:
                        self.warnings.append("its first packets cannot be decoded and were left out")
                    problem, problems, any_decoded = "", 0, True
                    at_s = float(_time(frame) or 0)
                    if frame.samples and frame.sample_rate:
                        yield frame
            except StopIteration:
                break
            except self._av.error.EOFError:
                break
            except self._errors as error:
                problem, problems = problem or told(error), problems + 1
                if not isinstance(error, self._av.error.InvalidDataError):
                    break
        if problem and not any_decoded:
            raise AudioError(problem)
        if self._missing_bytes:
            raise AudioError(f"truncated: the last {self._missing_bytes} bytes are missing")
        raw = self._container.format.name in _RAW
        if problem and (problems > 1 or not raw):
            raise AudioError(f"damaged at {at_s:.2f} s ({problem})")
        if problem:
            self.warnings.append("the last packet is cut short or damaged")

    def _frames_of(self, packet: Any, stream: Any) -> list[Any]:
        """Decode a packet; a pause, in which a telephone sends no sound and FFmpeg knows none, is silence."""
        try:
            return list(packet.decode())
        except self._errors:
            codec = stream.codec_context
            rate = {"amrnb": 8_000, "amrwb": 16_000, "amr_nb": 8_000, "amr_wb": 16_000}.get(codec.name, 0)
            if not rate or not packet.size or packet.size > _SILENT_AMR_BYTES:
                raise
            frame = self._av.AudioFrame.from_ndarray(np.zeros((1, rate // 50), np.float32), "flt", "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, packet.pts, packet.time_base
            if not self._paused:
                self.warnings.append("pauses in which the telephone sent no sound are silence")
            self._paused = True
            return [frame]

    def _packets(self, stream: Any) -> Iterator[Any]:
        """Yield what is to be decoded; AAC in WAV, which nothing divides, as one packet."""
        codec = stream.codec_context
        if codec.name != "aac" or not codec.extradata or self._container.format.name != "wav":
            return iter(self._container.demux(stream))
        with self._path.open("rb") as file:
            wave = riff.scan(Peek(file))
            if wave is None or len(wave.data) > _MOST_BYTES:
                raise AudioError("AAC in WAV of such a size cannot be read; convert it first")
            file.seek(wave.data.start)
            packet = self._av.Packet(file.read(len(wave.data)))
        packet.stream = stream
        end = self._av.Packet()
        end.stream = stream
        return iter((packet, end))

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
                converter = self._av.AudioResampler(
                    format="flt", layout=self.info.channel_layout, rate=self.info.sample_rate
                )
                form = now
            if self._clock is not None and (silent := self._clock.ahead(_time(frame))):
                self._clock.fill(silent)
                while silent > 0:
                    piece = min(silent, 1 << 20)
                    yield np.zeros((piece, self.info.channels), np.float32)
                    silent -= piece
            frame.pts = None
            yield from self._arrays(converter.resample(frame))  # type: ignore[union-attr]
            frame = next(self._frames, None)
        yield from self._arrays(converter.resample(None))  # type: ignore[union-attr]
        if self._clock is not None:
            self.warnings.extend(self._clock.remarks())
        elif self._told_s - self._decoded / self.info.sample_rate > _REMARKED_S:
            there_s = self._decoded / self.info.sample_rate
            self.warnings.append(
                f"its header says {self._told_s:.2f} s, {there_s:.2f} s are there and were read"
            )

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
        except self._errors as error:
            raise AudioError(f"damaged ({told(error)})") from error
        if block is not None:
            self._decoded += len(block)
        return block

    def close(self) -> None:
        self._container.close()


def _time(frame: Any) -> Fraction | None:
    return frame.pts * frame.time_base if frame.pts is not None and frame.time_base else None


def _tracks(count: int) -> str:
    return "one sound track" if count == 1 else f"{count} sound tracks"


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
