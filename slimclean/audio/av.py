"""Reading what libsndfile cannot: AAC, ALAC and WMA, alone or beside pictures. Needs the extra `av`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from slimclean.audio.formats import CONTAINERS, AudioInfo
from slimclean.errors import AudioError, MissingDependencyError

DEMUXERS = ",".join(name for container in CONTAINERS for name in container.demuxers)
"""The only containers FFmpeg may take a file for: never a playlist, which could name other files."""
TAGS = {
    "title": "title", "artist": "artist", "album": "album", "comment": "comment", "genre": "genre",
    "date": "date", "copyright": "copyright", "track": "tracknumber",
}  # fmt: skip
"""FFmpeg's names and libsndfile's."""


class AvSource:
    """The first audio stream of a file, decoded to float32."""

    def __init__(self, path: Path) -> None:
        try:
            import av
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"{path.suffix} files need PyAV: pip install 'slimclean[av]'"
            ) from error
        self._error: type[Exception] = av.error.FFmpegError
        try:
            # An absolute path cannot be taken for the name of a protocol.
            self._container = av.open(str(path.resolve()), options={"format_whitelist": DEMUXERS})
        except (self._error, ValueError) as error:
            raise AudioError(f"not a readable recording ({_reason(error)})") from error
        if not self._container.streams.audio:
            self.close()
            raise AudioError("holds no sound")
        stream = self._container.streams.audio[0]
        duration = stream.duration * stream.time_base if stream.duration and stream.time_base else 0
        codec = stream.codec_context
        self.info = AudioInfo(
            codec.sample_rate,
            codec.channels,
            # Matroska keeps milliseconds and no length of its streams: then nothing is known.
            round(duration * codec.sample_rate),
            self._container.format.name.split(",")[0].upper(),
            codec.name.upper(),
            codec=codec.name,
            bit_rate=codec.bit_rate or None,
            bits_per_sample=_bits(codec),
            channel_layout=codec.layout.name,
            track=1,
        )
        metadata = {**stream.metadata, **self._container.metadata}
        self.tags = {ours: str(metadata[name]) for name, ours in TAGS.items() if metadata.get(name)}
        self._blocks = self._decode(stream, av.AudioResampler(format="flt", layout=codec.layout))
        self._rest = np.zeros((0, max(1, codec.channels)), np.float32)
        self._left = self.info.frames or None

    def _decode(self, stream: Any, converter: Any) -> Iterator[np.ndarray]:
        for frame in self._container.decode(stream):
            for part in converter.resample(frame):
                yield part.to_ndarray().reshape(-1, self.info.channels)

    def read(self, frames: int) -> np.ndarray:
        parts, have = [self._rest], len(self._rest)
        try:
            while have < frames and (block := next(self._blocks, None)) is not None:
                parts.append(block)
                have += len(block)
        except (self._error, ValueError) as error:
            raise AudioError(f"damaged ({_reason(error)})") from error
        ready = np.concatenate(parts)
        # The encoder's padding at the end lies beyond the stream's own length.
        ready, self._rest = ready[:frames][: self._left], ready[frames:]
        if self._left is not None:
            self._left -= len(ready)
        return ready

    def close(self) -> None:
        self._container.close()


def _bits(codec: Any) -> int | None:
    """Bits of a sample that hold sound; None for a lossy codec, whose samples have no such number."""
    if found := re.match(r"pcm_[suf](\d+)", codec.name):
        return int(found[1])
    if codec.codec.lossy or not codec.codec.lossless:
        return None
    extra = codec.extradata or b""
    if codec.name == "alac" and len(extra) > 17:
        return int(extra[17])
    if codec.name == "flac" and len(extra) > 13:
        return ((extra[12] & 1) << 4 | extra[13] >> 4) + 1
    return int(codec.format.bytes) * 8


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).strip().rstrip(".")
