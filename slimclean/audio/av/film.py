"""Writing through FFmpeg: sound is encoded, and what lay beside it in the source is copied packet by packet.

Needs the extra `av`.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from slimclean.audio.attached import STALE_TAGS, Attached
from slimclean.audio.av.film_sound import SoundEncoder
from slimclean.audio.av.film_tracks import OtherTracks, add_attached, add_chapters, still_true
from slimclean.audio.av.film_vorbis import VorbisSpool
from slimclean.audio.av.tracks import av_errors, header_first, import_av, leave_out, length_s, open_film
from slimclean.audio.containers import BY_EXTENSION, CONTAINERS, Container
from slimclean.audio.encodings import check_encodable
from slimclean.audio.formats import AudioInfo
from slimclean.audio.kinds import film_extension, holds_tracks
from slimclean.errors import AudioError, MissingDependencyError, told

OGG = Container("Ogg", (".ogg",), "OGG", muxer="ogg", sound_only=True, codecs=("opus", "flac"))
"""libsndfile writes Opus too, but without a hold on the bit rate, and no FLAC."""
_BY_FORMAT = {container.key: container for container in (*CONTAINERS, OGG) if container.muxer}
STALE_SOUND_TAGS = ("encoder", "bps", "number_of_bytes", "number_of_frames", "duration", "_statistics")
"""Beginnings of a sound track's tags that its new encoding makes untrue, in lower case."""
AUDIOBOOK = "M4B "
OFF_S = 0.2
"""By how much a header may round the length of the sound."""


def kept_track(info: AudioInfo, source: Path) -> int | None:
    """Say which sound track of the output, like `info`, is the recording: a film of a film keeps the others.

    None: its only one.
    """
    return info.track if _keeps_tracks(_BY_FORMAT.get(info.format), source) else None


def track_in(output: Path, source: Path, track: int | None) -> int | None:
    """Say which sound track of `output` is the one that was made of `track` of `source`."""
    if track is None:
        return None
    container = BY_EXTENSION.get(output.suffix.lower()) or BY_EXTENSION.get(film_extension(output))
    return track if _keeps_tracks(container, source) else None


def _keeps_tracks(container: Container | None, source: Path) -> bool:
    """Tell whether an output in `container` has all the sound tracks of `source`."""
    return bool(container and container.muxer and not container.sound_only) and holds_tracks(source)


class Film:
    """A file in the container `info.format` with sound like `info` in it; `write` and then `close`.

    With `source`, its other tracks, chapters, attachments and tags come along, and the sound takes the place of
    the track `info.track`; a source of another kind gives what is `attached` to it. `warnings` say what stays
    behind, and `track` which sound track of the file this is, from 1. Raises `AudioError`, also where the
    container cannot hold one of the other tracks.
    """

    def __init__(
        self,
        path: Path | io.BytesIO,
        info: AudioInfo,
        source: Path | None = None,
        attached: Attached | None = None,
    ) -> None:
        self._av = import_av()
        self._attached = attached or Attached()
        self.info = info = replace(info, codec=info.codec or info.subtype.lower())
        check_encodable(info.codec, info.channels, info.sample_rate)
        self.warnings: list[str] = []
        self.track = 1
        self._path = path
        self._container = _BY_FORMAT[info.format]
        self._given = 0
        self._in: Any = None
        self._out: Any = None
        self._sound: Any = None
        self._others: OtherTracks | None = None
        self._encoder: SoundEncoder | None = None
        self._spool: VorbisSpool | None = None
        try:
            with self._errors():
                if source is not None:
                    self._in = open_film(self._av, source)
                if info.codec == "vorbis" and isinstance(path, Path):
                    # FFmpeg's own encoder is no match for libsndfile's.
                    self._spool = VorbisSpool(path.parent, info)
                else:
                    first = round(info.start_s * info.sample_rate) if source is not None else 0
                    self._encoder = None if info.codec == "vorbis" else SoundEncoder(self._av, info, first)
                    self._begin()
        except BaseException:
            self.abandon()
            raise

    def write(self, samples: np.ndarray) -> None:
        """Append [T, C] in the encoder's own kind of number (see `sample_format`)."""
        self._given += len(samples)
        if self._encoder is not None:
            with self._errors():
                self._mux(self._encoder.encode(samples))
        elif self._spool is not None:
            self._spool.write(samples)

    def close(self) -> None:
        """Write what the encoder still holds, the rest of the other tracks and the header."""
        with self._errors():
            if self._encoder is not None:
                self._mux(self._encoder.finish())
            elif self._spool is not None:
                self._begin()
                self._mux(self._spool.packets(self._given, self._av))
            if self._others is not None:
                self._others.copy_until(None)
            else:  # the header is written, but only now it is known where the last chapter ends
                add_chapters(self._attached, self._out, self._given / self.info.sample_rate)
            self._out.close()
        self.abandon()

    def problem(self, samples: int) -> str | None:
        """Read the header of what was written and say what is wrong, where it should be so many samples."""
        assert isinstance(self._path, Path)
        rate = self.info.sample_rate
        there = round(length_s(self._path, self.info.start_s, self.track) * rate)
        return None if abs(there - samples) <= OFF_S * rate else f"{there} of {samples} samples arrived"

    def abandon(self) -> None:
        """Let go of everything; what was written is of no use unless `close` was called before."""
        if self._spool is not None:
            self._spool.remove()
        _close(self._out)
        _close(self._in)
        self._out = self._in = None

    # --- tracks ------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Open the output with all its tracks and write its header, without data tracks if refused."""
        try:
            self._open(data=True)
        except self._av.error.FFmpegError:
            if self._others is None or not self._others.has_data:
                raise
            self.warnings.append(f"the data track is not kept: {self._container.key} refuses it")
            _close(self._out)
            self._open(data=False)
        if self._others is not None:
            self._others.start()

    def _open(self, *, data: bool) -> None:
        name = str(self._path) if isinstance(self._path, Path) else self._path
        self._out = self._av.open(
            name,
            "w",
            format=self._container.muxer,
            options=self._options(),
            metadata_errors="surrogateescape",
        )
        replaced = None
        if self._in is not None:
            self._others = OtherTracks(self._av, self._in, self._out, self._container, self.warnings)
            sounds = self._in.streams.audio
            replaced = sounds[min(self.info.track or 1, len(sounds)) - 1]
            for stream in self._in.streams:
                if stream is replaced or stream.index == replaced.index:
                    self._add_sound(replaced)
                    self.track = len(self._out.streams.audio)
                elif not self._others.add(stream, data=data):
                    leave_out(stream)
            leave_out(replaced)
            self._out.metadata.update(still_true(self._in.metadata, STALE_TAGS))
            self._out.set_chapters(self._in.chapters())
        else:
            self._add_sound(None)
            add_attached(self._attached, self._out, self._container)
        if len(self._out.streams):
            self._out.start_encoding()

    def _options(self) -> dict[str, str]:
        flags = []
        if self._container.muxer in ("mp4", "mov", "ipod") and self._in is not None:
            if self._container.muxer == "mov" or any("." in key for key in self._in.metadata):
                flags.append("use_metadata_tags")  # keys of QuickTime's own kind
            if isinstance(self._path, Path) and header_first(Path(self._in.name)):
                flags.append("faststart")
        options = {"movflags": "+".join(flags)} if flags else {}
        if self._in is not None and self._in.metadata.get("major_brand") == AUDIOBOOK:
            options["brand"] = AUDIOBOOK
        if self._container.muxer in ("mp4", "mov"):
            options["write_tmcd"] = "0"  # PyAV cannot tell FFmpeg the frame rate that this takes
        if self._container.muxer in ("mp4", "mov", "ipod"):  # or the sound ends at a whole millisecond
            options["movie_timescale"] = str(self.info.sample_rate)
        return options

    def _add_sound(self, old: Any) -> None:
        if self._encoder is not None:
            self._sound = self._encoder.add_to(self._out)
        elif self._spool is not None:
            self._sound = self._spool.add_to(self._out, self._av)
        else:
            return  # `check` asks whether the other tracks go in
        if old is None:
            return
        self._sound.metadata.update(still_true(old.metadata, STALE_SOUND_TAGS))
        self._sound.disposition = old.disposition.value  # before 18, PyAV sets numbers only

    # --- packets -----------------------------------------------------------------------------------

    def _mux(self, packets: Iterable[Any]) -> None:
        """Write packets of sound, each after what the other tracks hold up to its time."""
        for packet in packets:
            if self._others is not None:
                self._others.copy_until(packet.dts * packet.time_base)
            packet.stream = self._sound
            self._out.mux_one(packet)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (*av_errors(self._av), soundfile.LibsndfileError) as error:
            raise AudioError(f"cannot write {self._container.key} ({told(error)})") from error


def _close(container: Any) -> None:
    """Close an open film, if it is one, that may be half-begun."""
    if container is not None:
        with contextlib.suppress(Exception):
            container.close()


def check(info: AudioInfo, source: Path | None) -> None:
    """Raise what `Film` would for these, before any work; nothing is written."""
    trial = Film(io.BytesIO(), info, source)
    trial.abandon()


def writes_ogg(info: AudioInfo) -> bool:
    """Tell whether Ogg like `info` is written here: FLAC, and with PyAV Opus of the usual channels."""
    if info.format == "OGG" and info.subtype == "FLAC":
        return True
    if info.format != "OGG" or info.subtype != "OPUS" or info.channels > 2:
        return False
    try:
        import_av()
    except MissingDependencyError:
        return False
    return True
