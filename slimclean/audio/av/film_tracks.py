"""What lies beside the sound of a film: its other tracks, copied packet by packet, and its attachments.

Needs the extra `av`.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from slimclean.audio.attached import NAMES, STALE, STALE_TAGS, Attached
from slimclean.audio.av.tracks import COVER, first_packet, is_chapters
from slimclean.audio.containers import CONTAINERS, Container
from slimclean.errors import AudioError

_KEYS = {name.vorbis: name.ffmpeg for name in NAMES}
"""FFmpeg's names of texts."""


class OtherTracks:
    """The tracks of `source`, an open film, but for the sound that is replaced, on their way into `out`.

    That is an open film in `container`. `add` each to it, `start`, and `copy_until` times that rise. `warnings`
    get what stays behind.
    """

    def __init__(self, av: Any, source: Any, out: Any, container: Container, warnings: list[str]) -> None:
        self._av = av
        self._source = source
        self._out = out
        self._container = container
        self._warnings = warnings
        self._tracks: dict[int, Any] = {}
        self._rest: Iterator[Any] = iter(())
        self._next: Any = None

    @property
    def has_data(self) -> bool:
        """Whether a track of neither picture, sound nor text was added."""
        return any(track.type == "data" for track in self._tracks.values())

    def add(self, stream: Any, *, data: bool) -> bool:
        """Add a track for the packets of `stream`; False where it stays behind."""
        is_cover = bool(stream.disposition.value & COVER)
        if self._container.sound_only and not is_cover:
            return False
        matroska = self._container.muxer in ("matroska", "webm")
        if is_cover and not matroska:
            return False  # it stands among the tags, and is copied with them
        if stream.type == "attachment" or (is_cover and matroska):
            return self._attach(stream, is_cover=is_cover)
        if stream.type == "data" and (time := stream.metadata.get("timecode")):
            self._out.metadata["timecode"] = time
            self._warnings.append(f"the track of time codes is not kept; its beginning, {time}, is a tag")
            return False
        hidden = is_chapters(stream, self._source)
        if (
            hidden
            or stream.type not in ("video", "audio", "subtitle", "data")
            or (stream.type == "data" and not data)
        ):
            return False
        if stream.codec_context is None and stream.type != "data":
            if stream.type == "video":
                raise AudioError(
                    "its picture is in a codec that FFmpeg cannot name; `extension` flac takes the sound"
                )
            self._warnings.append(f"track {stream.index} ({stream.type}, of an unknown codec) is not kept")
            return False
        try:
            track = self._out.add_stream_from_template(stream, opaque=True)
        except ValueError as error:
            return self._refused(stream, error)
        track.metadata.update(without(stream.metadata, STALE_TAGS[1:] if matroska else ()))
        track.disposition = stream.disposition.value
        track.time_base = stream.time_base
        if self.same_kind and stream.codec_context is not None:
            with contextlib.suppress(ValueError, UnicodeError):  # hvc1 or hev1: players care
                track.codec_context.codec_tag = stream.codec_context.codec_tag
        self._tracks[stream.index] = track
        return True

    def _attach(self, stream: Any, *, is_cover: bool) -> bool:
        if self._container.muxer != "matroska":
            what = "cover" if is_cover else f"attachment {stream.metadata.get('filename', '')}".rstrip()
            self._warnings.append(f"the {what} is not kept")
            return False
        if is_cover:
            kind = "png" if stream.codec_context.name == "png" else "jpeg"
            data = first_packet(self._av, Path(self._source.name), stream.index)
            mime, name = f"image/{kind}", stream.metadata.get("filename", f"cover.{kind.replace('e', '')}")
        else:
            data, name = stream.data, stream.metadata.get("filename", "attachment")
            mime = stream.metadata.get("mimetype", "application/octet-stream")
        if data:
            self._out.add_attachment(name, mime, data)
        return False  # it has no packets

    def _refused(self, stream: Any, error: ValueError) -> bool:
        """Tell of a track that the container has no place for: data is left out with a warning.

        Returns False for data; raises `AudioError` for all else.
        """
        codec = stream.codec_context.name if stream.codec_context else stream.name
        if stream.type == "data":
            self._warnings.append(
                f"the data track ({codec}) is not kept: {self._container.key} has no place for it"
            )
            return False
        able = [c for c in CONTAINERS if c.muxer and not c.sound_only and _holds(self._av, c, codec)]
        names = " and ".join(c.extensions[0] for c in able) or "no other"
        raise AudioError(
            f"{self._container.key} does not hold the {stream.type} track ({codec}), {names} can; "
            "`extension` flac takes the sound alone"
        ) from error

    def start(self) -> None:
        """Read the first packet; all tracks are added."""
        self._rest = (p for p in self._source.demux() if p.size and p.stream.index in self._tracks)
        self._next = next(self._rest, None)

    def copy_until(self, time_s: Fraction | None) -> None:
        """Write what lies before a time, None: everything."""
        while (packet := self._next) is not None:
            stamp = packet.dts if packet.dts is not None else packet.pts
            if time_s is not None and stamp is not None and stamp * packet.time_base > time_s:
                return
            packet.stream = self._tracks[packet.stream.index]
            self._out.mux_one(packet)
            self._next = next(self._rest, None)

    @property
    def same_kind(self) -> bool:
        """Whether the output is in the container of the source."""
        return any(name in self._container.demuxers for name in self._source.format.name.split(","))


def add_attached(attached: Attached, out: Any, container: Container) -> None:
    """Add texts and pictures of a source that is no film."""
    for name, value in attached.texts:
        if name == "TRACKNUMBER" and "mov" in container.demuxers and not _is_16_bit(value):
            continue  # FFmpeg would write another number
        key = _KEYS.get(name, name.lower())
        out.metadata[key] = "; ".join(filter(None, [out.metadata.get(key), value]))
    if container.muxer == "matroska":
        for picture in attached.pictures:
            kind = picture.mime.removeprefix("image/").replace("jpeg", "jpg")
            out.add_attachment(f"cover.{kind}", picture.mime, picture.data)


def add_chapters(attached: Attached, out: Any, length_s: float) -> None:
    """Add the chapters of a source that is no film to `length_s` seconds of sound, all of which is written."""
    ends_s = attached.chapter_ends_s(length_s)
    chapters = []
    for number, (chapter, end_s) in enumerate(zip(attached.chapters, ends_s, strict=True)):
        start = round(1000 * chapter.start_s)
        chapters.append(
            {
                "id": number,
                "start": start,
                "end": max(start + 1, round(1000 * end_s)),
                "time_base": Fraction(1, 1000),
                "metadata": {"title": chapter.title},
            }
        )
    out.set_chapters(chapters)


def _is_16_bit(text: str) -> bool:
    """Tell whether each number in `text` has a place in MP4."""
    return all(len(number) < 6 and int(number) <= 0xFFFF for number in re.findall(r"[0-9]+", text))


def _holds(av: Any, container: Container, codec: str) -> bool:
    with av.open(io.BytesIO(), "w", format=container.muxer) as trial:
        return codec in trial.supported_codecs


def without(tags: dict[str, str], beginnings: Iterable[str]) -> dict[str, str]:
    """Return `tags` less those whose names begin so."""
    return {key: value for key, value in tags.items() if not key.lower().startswith(tuple(beginnings))}


def still_true(tags: dict[str, str], beginnings: Iterable[str]) -> dict[str, str]:
    """Return `tags` less those whose names begin so, and those that new sound makes untrue (see `STALE`)."""
    return {key: value for key, value in without(tags, beginnings).items() if not STALE.match(key)}
