"""Writing through FFmpeg: sound is encoded, and what lay beside it in the source is copied packet by packet.

Needs the extra `av`. Samples are handed over packed, [T, C].
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from slimclean.audio.attached import STALE_TAGS, Attached
from slimclean.audio.av.film_tracks import OtherTracks, add_attached, add_chapters, still_true
from slimclean.audio.av.film_vorbis import VorbisSpool
from slimclean.audio.av.tracks import av_errors, header_first, import_av, leave_out, length_s, open_film
from slimclean.audio.containers import BY_EXTENSION, CONTAINERS, Container
from slimclean.audio.encodings import ENCODINGS, check_encodable
from slimclean.audio.formats import USUAL_LAYOUTS, AudioInfo
from slimclean.audio.kinds import film_extension, holds_tracks
from slimclean.errors import AudioError, MissingDependencyError, told

OGG = Container("Ogg", (".ogg",), "OGG", muxer="ogg", sound_only=True, codecs=("opus", "flac"))
"""libsndfile writes Opus too, but without a hold on the bit rate, and no FLAC."""
_BY_FORMAT = {container.key: container for container in (*CONTAINERS, OGG) if container.muxer}
STALE_SOUND_TAGS = ("encoder", "bps", "number_of_bytes", "number_of_frames", "duration", "_statistics")
"""Beginnings of a sound track's tags that its new encoding makes untrue, in lower case."""
AUDIOBOOK = "M4B "
STEER_S, STEER_LEAST, STEER_MOST, STEER_SAMPLES = 2.0, 0.5, 2.0, 4096
"""How AAC is kept at its bit rate: so soon, within these shares of it, looking after so many samples."""
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
        self._samples = round(info.start_s * info.sample_rate) if source is not None else 0
        self._held = np.zeros((0, info.channels))
        self._step = _step(info)
        self._bits = self._encoded = self._given = 0
        self._in: Any = None
        self._out: Any = None
        self._sound: Any = None
        self._others: OtherTracks | None = None
        self._ogg: VorbisSpool | None = None
        try:
            with self._errors():
                if source is not None:
                    self._in = open_film(self._av, source)
                if info.codec == "vorbis" and isinstance(path, Path):
                    # FFmpeg's own encoder is no match for libsndfile's.
                    self._ogg = VorbisSpool(path.parent, info)
                else:
                    self._begin()
        except BaseException:
            self.abandon()
            raise

    def write(self, samples: np.ndarray) -> None:
        """Append [T, C] in the encoder's own kind of number (see `sample_format`)."""
        self._given += len(samples)
        if self._ogg is not None:
            self._ogg.write(samples)
            return
        held = np.concatenate([self._held, samples]) if len(self._held) else samples
        whole = len(held) // self._step * self._step
        self._held = held[whole:].copy()
        with self._errors():
            self._encode(held[:whole])

    def _encode(self, samples: np.ndarray) -> None:
        step = self._step if self._step > 1 else max(1, len(samples))
        for start in range(0, len(samples), step):
            packed = np.ascontiguousarray(samples[start : start + step]).reshape(1, -1)
            frame = self._av.AudioFrame.from_ndarray(
                packed, format=sample_format(self.info), layout=self._layout
            )
            rate = self.info.sample_rate
            frame.rate, frame.time_base, frame.pts = rate, Fraction(1, rate), self._samples
            self._samples += packed.shape[1] // self.info.channels
            self._encoded += packed.shape[1] // self.info.channels
            self._mux(self._sound.encode(frame))
            if self.info.codec == "aac":
                self._steer()

    def _silence(self) -> np.ndarray:
        """Return the silence, [T, C], after which a late encoder has given out all the sound."""
        limit = ENCODINGS.get(self.info.codec or "")
        return np.zeros((limit.delay_samples if limit else 0, self.info.channels), self._held.dtype)

    def _steer(self) -> None:
        """Ask the encoder of AAC for what is left to spend: by itself it misses its rate around silence."""
        wanted = self._bit_rate
        spare = wanted * self._encoded / self.info.sample_rate - self._bits
        share = min(STEER_MOST, max(STEER_LEAST, 1 + spare / (wanted * STEER_S)))
        self._sound.codec_context.bit_rate = round(wanted * share)

    def close(self) -> None:
        """Write what the encoder still holds, the rest of the other tracks and the header."""
        with self._errors():
            if self._ogg is not None:
                self._begin()
                self._mux(self._ogg.packets(self._given, self._av))
            else:
                self._encode(np.concatenate([self._held, self._silence()]))
                self._mux(self._sound.encode(None))
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
        if self._ogg is not None:
            self._ogg.remove()
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
        info = self.info
        if info.codec == "vorbis" and self._ogg is None:
            return  # `check` asks whether the other tracks go in
        if self._ogg is not None:
            self._sound = self._ogg.add_to(self._out, self._av)
        else:
            limit = ENCODINGS.get(info.codec or "")
            codec = self._av.Codec((limit and limit.encoder) or info.codec, "w")
            asked = info.channel_layout or ""
            # PCM in Matroska has "2 channels" without places, which encoders refuse.
            placed = asked and not asked.endswith(" channels")
            known = placed and self._av.AudioLayout(asked).nb_channels == info.channels
            layout = asked if known else USUAL_LAYOUTS.get(info.channels, f"{info.channels} channels")
            self._layout = dict(limit.layouts).get(layout, layout) if limit else layout
            self._sound = self._out.add_stream(codec.name, rate=info.sample_rate, layout=self._layout)
            kind = sample_format(info)
            offered = [each.name for each in codec.audio_formats or ()]
            self._sound.codec_context.format = kind if kind in offered or not offered else kind + "p"
            self._sound.time_base = Fraction(1, info.sample_rate)
            if limit and limit.kbits is not None:
                self._bit_rate = info.bit_rate or round(1000 * limit.kbits * info.channels)
                self._sound.bit_rate = self._bit_rate
            if codec.name == "libopus":
                self._sound.options = {"vbr": "off"}  # or pauses that became silent take next to nothing
                if info.channels in (5, 7):  # of which FFmpeg else mixes up the order
                    self._sound.options["mapping_family"] = "1"
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
            self._bits += 8 * packet.size
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


def sample_format(info: AudioInfo) -> str:
    """Return FFmpeg's name for the numbers that `Film.write` takes: flt, dbl, s16, s32 or u8."""
    codec = info.codec or ""
    if codec.startswith("pcm_"):
        return {"pcm_f3": "flt", "pcm_f6": "dbl", "pcm_u8": "u8", "pcm_s8": "u8"}.get(
            codec[:6], "s16" if (info.bits_per_sample or 16) <= 16 else "s32"
        )
    chosen = ENCODINGS[codec].sample_format or "flt"
    return "s16" if chosen == "s32" and (info.bits_per_sample or 16) <= 16 else chosen


def _step(info: AudioInfo) -> int:
    """Return how many samples are handed over at a time, 1 for any number of them."""
    codec, rate = info.codec or "", info.sample_rate
    if codec.startswith("pcm_"):  # whole milliseconds, for Matroska has no finer time
        return next((rate * ms // 1000 for ms in (20, 40) if rate * ms % 1000 == 0), rate // 50)
    return STEER_SAMPLES if codec == "aac" else 1
