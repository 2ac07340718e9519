"""Packets of one sound track to frames, with PyAV: which track, what is damaged, and what is only odd."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from slimclean.audio.av.tracks import av_errors, open_film
from slimclean.audio.structure import wave_file
from slimclean.audio.structure.extent import missing_bytes
from slimclean.audio.structure.view import Peek
from slimclean.errors import AudioError, needs, told

_MOST_BYTES = 1 << 29
_OGG_HEADERS = 3
"""So many packets at the beginning of a link of a chain are headers, which are not decoded again."""
_SILENT_AMR_BYTES = 8
"""A frame of AMR that holds no speech is not larger."""
RAW = ("aac", "ac3", "eac3", "amr", "amrnb", "amrwb", "dts", "mp3", "g722", "gsm")
"""Containers that are nothing but packets; players do not mind if the last is cut short."""


class SoundTrack:
    """One sound track of a file: number `track` from 1, or the default one that can be decoded.

    `name` is what people call such a file. `first` is its first frame, `frames` yields those after it,
    `warnings` grow on the way; `errors` is what PyAV raises. Raises `AudioError`, and `MissingDependencyError`
    without PyAV.
    """

    def __init__(self, path: Path, name: str, track: int | None) -> None:
        with needs(f"{name} needs PyAV", "av"):
            import av
        av.logging.set_level(None)
        self.av = av
        self.errors = av_errors(av)
        self._path = path
        self.warnings: list[str] = []
        self._paused = False
        with path.open("rb") as file:
            self._missing_bytes = missing_bytes(Peek(file))
        self.container = self._open_container()
        try:
            self.number, self.first = self._choose(track)
        except BaseException:
            self.close()
            raise
        self.stream = self.container.streams.audio[self.number - 1]

    def close(self) -> None:
        self.container.close()

    def _open_container(self) -> Any:
        try:
            return open_film(self.av, self._path, errors="replace")
        except self.errors as error:
            raise AudioError(f"not a readable recording ({told(error)})") from error

    def _choose(self, track: int | None) -> tuple[int, Any]:
        """Return the number of a track that can be decoded, and its first frame."""
        streams = list(self.container.streams.audio)
        if not streams:
            raise AudioError("holds no sound")
        if track is not None and not 1 <= track <= len(streams):
            raise AudioError(f"has {_tracks(len(streams))}, not {track}")
        wanted = [track] if track is not None else sorted(
            range(1, len(streams) + 1), key=lambda number: not self._is_default(streams[number - 1])
        )  # fmt: skip
        reason = ""
        for number in wanted:
            stream = self.container.streams.audio[number - 1]
            if stream.codec_context is None:
                reason = reason or "no decoder knows its codec"
                continue
            self.frames = self._decode(stream)
            try:
                first = next(self.frames, None)
            except AudioError as error:
                first, reason = None, reason or str(error)
            if first is not None:
                if len(streams) > 1 and track is None:
                    why = "the first that can be decoded" if reason else "the default or first"
                    self.warnings.append(
                        f"{_tracks(len(streams))}: number {number} was taken, {why}; `track` takes another"
                    )
                return number, first
            reason = reason or "nothing in it can be decoded"
            self.container.close()
            self.container = self._open_container()
        which = f"sound track {track}" if track is not None and len(streams) > 1 else "its sound"
        raise AudioError(f"not a readable recording ({which}: {reason})")

    def _is_default(self, stream: Any) -> bool:
        return bool(stream.disposition & self.av.stream.Disposition.default)

    def _decode(self, stream: Any) -> Iterator[Any]:
        """Decoded frames; a packet that cannot be decoded is an error where others follow."""
        problem, problems, at_s, any_decoded = "", 0, 0.0, False
        packets = self._packets(stream)
        while True:
            try:
                if (packet := next(packets, None)) is None:
                    break
                for frame in self._frames_of(packet, stream):
                    headers = problems <= _OGG_HEADERS and self.container.format.name == "ogg"
                    if problem and any_decoded and not headers:
                        raise AudioError(f"damaged at {at_s:.2f} s ({problem})")
                    if problem and not any_decoded:
                        self.warnings.append("its first packets cannot be decoded and were left out")
                    problem, problems, any_decoded = "", 0, True
                    at_s = float(time_of(frame) or 0)
                    if frame.samples and frame.sample_rate:
                        yield frame
            except self.av.error.EOFError:
                break
            except self.errors as error:
                problem, problems = problem or told(error), problems + 1
                if not isinstance(error, self.av.error.InvalidDataError):
                    break
        if problem and not any_decoded:
            raise AudioError(problem)
        if self._missing_bytes:
            raise AudioError(f"truncated: the last {self._missing_bytes} bytes are missing")
        raw = self.container.format.name in RAW
        if problem and (problems > 1 or not raw):
            raise AudioError(f"damaged at {at_s:.2f} s ({problem})")
        if problem:
            self.warnings.append("the last packet is cut short or damaged")

    def _frames_of(self, packet: Any, stream: Any) -> list[Any]:
        """Decode a packet; a pause, in which a telephone sends no sound and FFmpeg knows none, is silence."""
        try:
            return list(packet.decode())
        except self.errors:
            codec = stream.codec_context
            rate = {"amrnb": 8_000, "amrwb": 16_000, "amr_nb": 8_000, "amr_wb": 16_000}.get(codec.name, 0)
            if not rate or not packet.size or packet.size > _SILENT_AMR_BYTES:
                raise
            frame = self.av.AudioFrame.from_ndarray(np.zeros((1, rate // 50), np.float32), "flt", "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, packet.pts, packet.time_base
            if not self._paused:
                self.warnings.append("pauses in which the telephone sent no sound are silence")
            self._paused = True
            return [frame]

    def _packets(self, stream: Any) -> Iterator[Any]:
        """Return an iterator of what is to be decoded; AAC in WAV, which nothing divides, is one packet."""
        codec = stream.codec_context
        if codec.name != "aac" or not codec.extradata or self.container.format.name != "wav":
            return iter(self.container.demux(stream))
        with self._path.open("rb") as file:
            wave = wave_file.scan(Peek(file))
            if wave is None or len(wave.data) > _MOST_BYTES:
                raise AudioError("AAC in WAV of such a size cannot be read; convert it first")
            file.seek(wave.data.start)
            packet = self.av.Packet(file.read(len(wave.data)))
        packet.stream = stream
        end = self.av.Packet()
        end.stream = stream
        return iter((packet, end))


def time_of(frame: Any) -> Fraction | None:
    """Return the time of a frame in s, if it has one."""
    return frame.pts * frame.time_base if frame.pts is not None and frame.time_base else None


def _tracks(count: int) -> str:
    return "one sound track" if count == 1 else f"{count} sound tracks"
