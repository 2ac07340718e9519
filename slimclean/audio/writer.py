"""Writing: a recording is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import numpy as np
import soundfile

from slimclean.audio.atomic import AtomicFile
from slimclean.audio.av import film, film_sound, tracks
from slimclean.audio.containers import BY_EXTENSION, MUXERS
from slimclean.audio.encodings import (
    ENCODINGS,
    codec_of,
    encoder_scale,
    nearest_bit_rate,
    vorbis_nominal,
)
from slimclean.audio.formats import BITS, AudioInfo, OutputForm, check_size
from slimclean.audio.kinds import film_extension, holds_tracks
from slimclean.audio.outputs import output_info
from slimclean.audio.sndfile_sink import SndfileSink
from slimclean.audio.tags import chunks
from slimclean.audio.tags import keeping as tags
from slimclean.audio.tags.reading import read
from slimclean.errors import AudioError, told

if TYPE_CHECKING:
    from typing_extensions import Self  # until Python 3.11 `typing` has none

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
        film.check(stored, source if holds_tracks(source) else None)
    elif stored.format == "OGG" and stored.subtype == "FLAC":
        film.check(stored, None)
    return stored


class Sink(Protocol):
    """What encodes into a file: libsndfile or PyAV."""

    warnings: list[str]

    def write(self, samples: np.ndarray) -> None:
        """Append [T, C], numbers of the kind that `_kind_of_numbers` says."""

    def close(self) -> None:
        """Write the rest; the file is whole."""

    def abandon(self) -> None:
        """Let go of the file, whole or not."""

    def problem(self, samples: int) -> str | None:
        """Read back what was written and say what is wrong with it, where it should be so many samples."""


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
        try:
            self._whole = AtomicFile(path, source)
        except OSError as error:
            raise AudioError(f"cannot write {path} ({told(error)})") from error
        if self._whole.temporary == path:  # a pipe or a device, which cannot be read again
            raise AudioError(f"cannot write {path} (it is a pipe or a device; standard output is -)")
        try:
            self._is_film = info.format in MUXERS and source is not None and holds_tracks(source)
            self._sink = self._open()
            self._kind, self._bits = _kind_of_numbers(info)
            self._scale = np.float32(_scale(info))
        except (soundfile.LibsndfileError, OSError, ValueError) as error:
            why = self._why(error)
            self._whole.__exit__(None, None, None)
            raise AudioError(f"cannot write {path} ({why})") from error
        except BaseException:
            self._whole.__exit__(None, None, None)
            raise

    def _open(self) -> Sink:
        info, source, path = self.info, self._source, self._whole.temporary
        if info.format not in MUXERS and not film.writes_ogg(info):
            return SndfileSink(path, info, tags.strings(source, info) if source is not None else {})
        if self._is_film:
            return film.Film(path, info, source)
        # Into Ogg, tags come later.
        attached = read(source) if source is not None and info.format in MUXERS else None
        return film.Film(path, info, None, attached)

    def write(self, block: np.ndarray) -> None:
        """Append [C, T]; values beyond [-1, 1] are clamped, and counted in `clipped`.

        At 1 stands the greatest number of the encoding, which may be a little less.
        """
        self.clipped += int(np.count_nonzero(np.abs(block) > 1)) if self._bits is not None else 0
        self.samples += block.shape[1]
        check_size(self.info, self.samples)
        with self._errors():
            for start in range(0, block.shape[1], BLOCK_SAMPLES):
                samples = quantised(block[:, start : start + BLOCK_SAMPLES], self._kind, self._bits)
                self._sink.write(samples if self._scale == 1 else samples / self._scale)

    def commit(self, mtime_ns: int | None = None, check: Callable[[], None] = lambda: None) -> None:
        """Flush, re-open to check that everything arrived, and rename over `path`; maybe set its time.

        `check` is called right before the renaming, which it may stop by raising.
        """
        if self.samples == 0 and (self.info.format in MUXERS or codec_of(self.info.format, self.info.subtype)):
            raise AudioError(f"holds no sound, which {self.info.format} cannot store; set `extension` wav")
        with self._errors():
            self._sink.close()
            self._check()
            if self._source is not None:
                stored = replace(self.info, samples=self.samples)
                self.warnings += tags.keep(self._source, self._whole.temporary, stored, film=self._is_film)
                self._check()  # whatever a library did to the file for the sake of its tags
            self._whole.commit(mtime_ns, check)
        self.warnings += self._sink.warnings
        source = self._source
        if self.info.format not in MUXERS and source and _is_foreign(source) and tracks.has_picture(source):
            self.warnings.append("its picture is not kept")

    @property
    def committed(self) -> os.stat_result | None:
        """What the file was like when `commit` put it into its place."""
        return self._whole.committed

    def _check(self) -> None:
        if problem := self._sink.problem(self.samples):
            raise AudioError(f"cannot write {self.path} ({self._full() or problem})")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._sink.abandon()
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


def _kind_of_numbers(info: AudioInfo) -> tuple[str, int | None]:
    """Say as which numbers samples go to the encoder, and with how many bits; None: floating, as they are."""
    if info.format in MUXERS or film.writes_ogg(info):
        kind = film_sound.sample_format(info)
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


def _scale(info: AudioInfo) -> float:
    """Return by how much the encoder makes sound softer, which is made up for before."""
    rate = info.bit_rate
    if rate is None and info.format in MUXERS:
        rate = round(1000 * (ENCODINGS["mp3"].kbits or 0) * info.channels)
    return encoder_scale(info.codec or codec_of(info.format, info.subtype), rate)


def quantised(block: np.ndarray, kind: str, bits: int | None) -> np.ndarray:
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
