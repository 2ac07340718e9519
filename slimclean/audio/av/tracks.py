"""What FFmpeg tells of a file without decoding it, through the extra `av`; `header_first` does without."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import Any

from slimclean.audio.containers import DEMUXERS
from slimclean.audio.formats import AudioInfo
from slimclean.audio.kinds import holds_tracks
from slimclean.errors import AudioError, MissingDependencyError, needs, told

DISCARD_ALL = 48
COVER = 1 << 10
"""FFmpeg's mark of a picture that stands still."""
MEASURED_S = 600
"""So much of a recording tells its bit rate."""


def import_av() -> Any:
    """Import PyAV; raises `MissingDependencyError` with the line that installs it."""
    with needs("films, M4A and Ogg FLAC need PyAV", "av"):
        import av
    return av


def av_errors(av: Any) -> tuple[type[Exception], ...]:
    """Return what PyAV raises: what FFmpeg says, and errors of Python's for what PyAV did not foresee."""
    return (
        av.error.FFmpegError, OSError, ValueError, LookupError, AttributeError, TypeError, RuntimeError,
    )  # fmt: skip


def open_film(av: Any, path: Path, errors: str = "surrogateescape") -> Any:
    """Open `path` with PyAV for reading; `errors` says what becomes of texts that are no UTF-8."""
    # An absolute path cannot be taken for the name of a protocol, nor a playlist for a film.
    options = {"format_whitelist": DEMUXERS}
    return av.open(str(path.resolve()), container_options=options, metadata_errors=errors)


def leave_out(stream: Any) -> None:
    """Let the demuxer skip the packets of `stream`; PyAV before 17 reads past them."""
    with contextlib.suppress(AttributeError):
        stream.discard = DISCARD_ALL


def is_chapters(stream: Any, film: Any) -> bool:
    """Tell whether `stream` is the track of text in which QuickTime keeps chapters."""
    try:
        return bool(int(stream.discard) == DISCARD_ALL)
    except AttributeError:  # PyAV before 17
        return stream.type == "data" and bool(film.chapters()) and "timecode" not in stream.metadata


def has_picture(path: Path) -> bool:
    """Tell whether `path` is a film with a moving picture."""
    try:
        av = import_av()
    except MissingDependencyError:
        return False
    try:
        with open_film(av, path) as container:
            return any(not stream.disposition.value & COVER for stream in container.streams.video)
    except av_errors(av):
        return False


def bit_rate(path: Path, info: AudioInfo) -> int | None:
    """Return the mean bit rate of the sound in `path`, without what is around it, in bit/s; None if unknown."""
    if info.format not in ("MP3", "OGG") and not holds_tracks(path):
        return None
    try:
        av = import_av()
    except MissingDependencyError:
        return None
    size, length, last = 0, Fraction(0), None
    try:
        with open_film(av, path) as container:
            stream = container.streams.audio[min(info.track or 1, len(container.streams.audio)) - 1]
            for packet in container.demux(stream):
                size += packet.size
                if packet.size:
                    length += _step(last, packet) * packet.time_base
                    last = packet
                if length > MEASURED_S:
                    break
            if last is not None:
                length += (last.duration or 0) * last.time_base
    except av_errors(av):
        return None
    return round(8 * size / length) if length else None


def _step(last: Any, packet: Any) -> int:
    """Return how long the packet before this one lasts, in its time base: its duration alone may be rounded."""
    if last is None:
        return 0
    duration = last.duration or 0
    apart = packet.pts - last.pts if packet.pts is not None and last.pts is not None else duration
    return int(apart) if 0 < apart <= 1.5 * duration else duration  # more is a gap


def length_s(path: Path, start_s: Fraction, track: int) -> float:
    """Return how long sound track `track`, from 1, of `path` lasts, in s, by its header, from `start_s` on.

    Raises `AudioError` where nothing tells.
    """
    av = import_av()
    try:
        with open_film(av, path) as container:
            stream = container.streams.audio[track - 1]
            if stream.duration:
                return float(stream.duration * stream.time_base)
            if "DURATION" in stream.metadata:  # Matroska's, from 0 on
                hours, minutes, seconds = stream.metadata["DURATION"].split(":")
                return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - max(0.0, float(start_s))
            return float((container.duration or 0) / 1_000_000)
    except av_errors(av) as error:
        raise AudioError(f"what was written cannot be read back ({told(error)})") from error


def first_packet(av: Any, path: Path, index: int) -> bytes:
    with open_film(av, path) as container:
        return next((bytes(p) for p in container.demux(container.streams[index]) if p.size), b"")


def header_first(path: Path) -> bool:
    """Tell whether an MP4 has its header before its data, as players on the web like it."""
    with path.open("rb") as file:
        while len(head := file.read(16)) == 16:
            size, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if kind in (b"moov", b"mdat"):
                return kind == b"moov"
            if size == 1:
                size = int.from_bytes(head[8:], "big")
            if size < 8:
                return False
            file.seek(size - 16, 1)
    return False
