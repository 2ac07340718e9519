"""Writing: a recording is there whole or not at all."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from slimclean.audio.atomic import AtomicFile
from slimclean.audio.av import film, tracks
from slimclean.audio.containers import BY_EXTENSION, MUXERS
from slimclean.audio.encodings import (
    ENCODINGS,
    codec_of,
    compression_level,
    encoder_scale,
    nearest_bit_rate,
    to_ogg,
    vorbis_nominal,
)
from slimclean.audio.formats import BITS, AudioInfo, OutputForm, check_size, file_name, output_info
from slimclean.audio.kinds import film_extension
from slimclean.audio.mpeg_info import add_info_frame
from slimclean.audio.quiet import quiet
from slimclean.audio.tags import chunks
from slimclean.audio.tags import keeping as tags
from slimclean.audio.tags.reading import read
from slimclean.errors import AudioError, told

if TYPE_CHECKING:
    from typing import Self

BLOCK_SAMPLES = 1 << 16
"""Samples encoded at a time. libsndfile's Vorbis encoder needs stack in proportion to them."""
LOSSY = frozenset(codec for codec, encoding in ENCODINGS.items() if encoding.kbits is not None)


def plan_output(info: AudioInfo, source: Path, path: Path, form: OutputForm | None = None) -> AudioInfo:
    """Say how to store the recording `source`, like `info`, under the name `path` (see `output_info`).

    Raises `AudioError` with the remedy for all that will not go, before any work is done.
    """
    named = path if path.suffix.lower() in BY_EXTENSION else Path("out" + film_extension(source))
    stored = output_info(info, named, form)
    if (fields := chunks.extensible_fields(source)) and not (form and form.mono):
        valid_bits, mask = fields
        same = stored.format.startswith(("WAV", "RF64")) and stored.subtype == info.subtype
        stored = replace(
            stored, channel_mask=mask, bits_per_sample=valid_bits if same else stored.bits_per_sample
        )
    if stored.codec in LOSSY:
        measured = _bit_rate(source, info, stored) if info.lossy else None
        rate = (form.bit_rate if form else None) or measured or stored.bit_rate
        if rate is not None:
            rate = nearest_bit_rate(stored.codec, rate, stored.channels, stored.sample_rate)
        stored = replace(stored, bit_rate=rate)
    check_size(stored, info.samples * stored.sample_rate // info.sample_rate)
    if stored.format in MUXERS:
        film.check(stored, source if tracks.is_film(source) else None)
    elif stored.format == "OGG" and stored.subtype == "FLAC":
        film.check(stored, None)
    return stored


class AudioWriter:
    """Writes blocks to a temporary file beside `path`; `commit` checks it and renames it into place.

    Leaving the context without `commit` removes the temporary file (see `AtomicFile`). What is attached to
    `source` is kept as far as the container holds it; `warnings` say after `commit` what is not.
    """

    def __init__(self, path: Path, info: AudioInfo, source: Path | None = None) -> None:
        self.path = path
        self.info = info
        self.samples = 0
        self.clipped = 0
        self.warnings: list[str] = []
        self._source = source
        self._codec = info.codec or codec_of(info.format, info.subtype)
        try:
            self._whole = AtomicFile(path, source)
        except OSError as error:
            raise AudioError(f"cannot write {path} ({told(error)})") from error
        if self._whole.temporary == path:  # a pipe or a device, which cannot be read again
            raise AudioError(f"cannot write {path} (it is a pipe or a device; standard output is -)")
        try:
            self._sink = self._open()
        except (soundfile.LibsndfileError, OSError, ValueError) as error:
            why = self._why(error)
            self._whole.__exit__(None, None, None)
            raise AudioError(f"cannot write {path} ({why})") from error
        except BaseException:
            self._whole.__exit__(None, None, None)
            raise

    def _open(self) -> soundfile.SoundFile | film.Film:
        info = self.info
        if info.format in MUXERS or film.writes_ogg(info):
            source = self._source
            if info.format not in MUXERS:
                return film.Film(self._whole.temporary, info)  # tags come later
            if source is None or tracks.is_film(source):
                return film.Film(self._whole.temporary, info, source)
            return film.Film(self._whole.temporary, info, None, read(source))
        level = None
        codec = codec_of(info.format, info.subtype)
        if info.bit_rate is not None:
            level = compression_level(codec, info.bit_rate, info.channels, info.sample_rate)
        file = soundfile.SoundFile(
            file_name(self._whole.temporary),
            "w",
            samplerate=info.sample_rate,
            channels=info.channels,
            format=info.format,
            subtype=info.subtype,
            endian=info.endian,
            compression_level=level,
            bitrate_mode="CONSTANT" if codec == "mp3" and level is not None else None,
        )
        if self._source is not None:
            for name, value in tags.strings(self._source, info).items():
                with contextlib.suppress(soundfile.LibsndfileError):  # this container has no such tag
                    setattr(file, name, value)
        return file

    def write(self, block: np.ndarray) -> None:
        """Append [C, T]; values outside [-1, 1) are clamped and counted in `clipped`."""
        kind, bits = _numbers(self.info)
        usual = round(1000 * (ENCODINGS["mp3"].kbits or 0) * self.info.channels)
        film_rate = usual if self.info.format in MUXERS else None
        scale = encoder_scale(self._codec, self.info.bit_rate or film_rate)
        self.clipped += int(np.count_nonzero(np.abs(block) > 1)) if bits is not None else 0
        self.samples += block.shape[1]
        check_size(self.info, self.samples)
        with self._errors():
            for start in range(0, block.shape[1], BLOCK_SAMPLES):
                samples = numbered(block[:, start : start + BLOCK_SAMPLES], kind, bits)
                if scale != 1:
                    samples = samples / np.float32(scale)
                if isinstance(self._sink, soundfile.SoundFile):
                    samples = to_ogg(samples, self.info.subtype)
                self._sink.write(samples)

    def commit(self, mtime_ns: int | None = None, check: Callable[[], None] = lambda: None) -> None:
        """Flush, re-open to check that everything arrived, and rename over `path`; maybe set its time.

        `check` is called right before the renaming, which it may stop by raising.
        """
        if self.samples == 0 and (self.info.format in MUXERS or codec_of(self.info.format, self.info.subtype)):
            raise AudioError(f"holds no sound, which {self.info.format} cannot store; set `extension` wav")
        with self._errors():
            self._sink.close()
            if self.info.format == "MP3":
                add_info_frame(self._whole.temporary, self.samples)
            self._check()
            if self._source is not None:
                is_film = self.info.format in MUXERS and tracks.is_film(self._source)
                stored = replace(self.info, samples=self.samples)
                self.warnings += tags.keep(self._source, self._whole.temporary, stored, film=is_film)
                self._check()  # whatever a library did to the file for the sake of its tags
            self._whole.commit(mtime_ns, check)
        if isinstance(self._sink, film.Film):
            self.warnings += self._sink.warnings
        elif self._source is not None and _is_foreign(self._source) and tracks.has_picture(self._source):
            self.warnings.append("its picture is not kept")

    def _check(self) -> None:
        if isinstance(self._sink, film.Film):
            rate = self.info.sample_rate
            samples = round(tracks.length_s(self._whole.temporary, self.info.start_s) * rate)
            whole = abs(samples - self.samples) <= film.OFF_S * rate
        else:
            with quiet(), soundfile.SoundFile(file_name(self._whole.temporary)) as written:
                samples = written.frames
                rate, channels = written.samplerate, written.channels
            if (rate, channels) != (self.info.sample_rate, self.info.channels):
                why = f"{self.info.format} made of it {channels} channels at {rate} Hz"
                raise AudioError(f"cannot write {self.path} ({why})")
            whole = samples == self.samples or (self.info.lossy and self.info.format != "MP3")
            # libsndfile takes the end mark of a VOC for a sample of 8 bits.
            whole = whole or (self.info.format == "VOC" and samples == self.samples + 1)
        if not whole:
            why = self._full() or f"{samples} of {self.samples} samples arrived"
            raise AudioError(f"cannot write {self.path} ({why})")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(self._sink, film.Film):
                self._sink.abandon()
            else:
                self._sink.close()
        except (soundfile.LibsndfileError, OSError):
            pass  # the error that brought us here says more
        finally:
            self._whole.__exit__(kind, error, trace)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (soundfile.LibsndfileError, OSError) as error:
            raise AudioError(f"cannot write {self.path} ({self._why(error)})") from error

    def _why(self, error: Exception) -> str:
        """Return the reason; libsndfile keeps the system's to itself, so the system is asked once more."""
        asked = self._full() if isinstance(error, soundfile.LibsndfileError) else None
        return asked or told(error)

    def _full(self) -> str | None:
        """Return why nothing more can be written, if so; the temporary file is about to be removed."""
        if self._whole.temporary != self.path:
            try:
                with self._whole.temporary.open("ab") as file:
                    file.write(bytes(BLOCK_SAMPLES))
            except OSError as error:
                return told(error)
        return None


def _bit_rate(source: Path, info: AudioInfo, stored: AudioInfo) -> int | None:
    """Return what to ask of the encoder: the mean, but of Vorbis what its header states: it means a quality."""
    if info.codec == stored.codec == "vorbis" or (info.subtype, stored.codec) == ("VORBIS", "vorbis"):
        with source.open("rb") as file:
            if nominal := vorbis_nominal(file.read(1 << 16)):
                return nominal
    return tracks.bit_rate(source, info)


def _is_foreign(path: Path) -> bool:
    """Tell whether a recording of this name becomes one of another kind."""
    container = BY_EXTENSION.get(path.suffix.lower())
    return container is None or container.becomes is not None


def _numbers(info: AudioInfo) -> tuple[str, int | None]:
    """Say as which numbers samples go to the encoder, and with how many bits; None: floating, as they are."""
    if info.format in MUXERS or film.writes_ogg(info):
        kind = film.sample_format(info)
        if kind in ("s16", "s32", "u8"):
            return kind, info.bits_per_sample or 16
        return kind, None if (info.codec or "").startswith("pcm_f") else 0
    if info.subtype in ("FLOAT", "DOUBLE"):
        return "flt", None
    if found := re.fullmatch(r"(?:ALAC|DWVW)_(\d+)", info.subtype):
        bits = int(found[1])
        return "s16" if bits <= 16 else "s32", bits
    if not info.subtype.startswith("PCM"):  # lossy, companded, ADPCM
        return "flt", 0
    bits = BITS[info.subtype]
    return "s16" if bits <= 16 else "s32", min(bits, info.bits_per_sample or bits)


def numbered(block: np.ndarray, kind: str, bits: int | None) -> np.ndarray:
    """Turn [C, T] into [T, C] of numbers that the encoder stores unscaled: reading back is then exact."""
    if bits is None:
        return np.ascontiguousarray(block.T, np.float64 if kind == "dbl" else np.float32)
    if bits == 0:
        return np.asarray(np.clip(block.T, -1, 1 - 2**-15), np.float32)
    limit = 2 ** (bits - 1)
    whole = np.clip(np.rint(block.T.astype(np.float64) * limit), -limit, limit - 1)
    if kind == "u8":
        return np.asarray(whole + 128, np.uint8)
    container = 16 if kind == "s16" else 32
    return np.asarray(whole * 2 ** (container - bits), np.int16 if container == 16 else np.int32)
