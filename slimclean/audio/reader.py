"""Reading, block by block, with the decoder that delivers most of what a file holds."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from slimclean.audio.containers import FOREIGN
from slimclean.audio.formats import LAYOUTS, LOUDEST, MAX_CHANNELS, SAMPLE_RATES_HZ, USUAL_LAYOUTS, AudioInfo
from slimclean.audio.kinds import kind_of
from slimclean.audio.mixdown import Mixdown
from slimclean.audio.sndfile import SndfileSource, UnknownFormatError
from slimclean.audio.structure import flac, headers, mpeg, ogg, wave_file
from slimclean.audio.structure.view import Peek, Structure
from slimclean.audio.tags import chunks
from slimclean.errors import AudioError, MissingDependencyError

if TYPE_CHECKING:
    from typing_extensions import Self  # until Python 3.11 `typing` has none

BLOCK_S = 8.0
MOST_SAMPLES = 1 << 23
"""Samples of a block, over all channels."""


class Source(Protocol):
    """What decodes a file: libsndfile or PyAV."""

    info: AudioInfo
    warnings: list[str]

    def read(self, samples: int) -> np.ndarray:
        """Read the next samples, [<= samples, C]; none at the end. Raises `AudioError` for damage and loss."""

    def close(self) -> None: ...


class AudioReader:
    """A recording opened for reading in blocks; a context manager.

    `warnings` tell what was odd about the file and what was done about it;
    they are complete after the last block. `track` counts sound tracks from 1; None takes the default one.
    """

    def __init__(self, path: Path, track: int | None = None) -> None:
        self.path = path
        _check_readable(path)
        try:
            self._source = _open(path, track)
        except PermissionError as error:
            raise AudioError("cannot be read (permission denied)") from error
        except OSError as error:
            raise AudioError(f"cannot be read ({error.strerror or error})") from error
        self.info = info = _placed(self._source.info, path)
        self.warnings = self._source.warnings
        low, high = SAMPLE_RATES_HZ
        problem = None
        if not low <= info.sample_rate <= high:
            problem = f"a sample rate of {info.sample_rate} Hz is outside {low} to {high} Hz"
        elif not 1 <= info.channels <= MAX_CHANNELS:
            problem = f"{info.channels} channels are more than the {MAX_CHANNELS} supported"
        if problem:
            self.close()
            raise AudioError(problem)

    def blocks(self, samples: int) -> Iterator[np.ndarray]:
        """Yield consecutive pieces [C, <= samples] to the end, at least one.

        Truncation, NaN, infinite and absurdly large samples (see `LOUDEST`) are errors.
        """
        seen = 0
        while len(block := self._source.read(samples)):
            sound = (np.abs(block) <= LOUDEST).all(axis=1)  # which a NaN is not
            if not sound.all():
                first = int(np.argmin(sound))
                kind = "absurdly large" if np.isfinite(block[first]).all() else "NaN or infinite"
                first_s = (seen + first) / self.info.sample_rate
                raise AudioError(f"holds {kind} samples, first at {first_s:.3f} s")
            seen += len(block)
            yield np.ascontiguousarray(block.T)
        if seen == 0:
            yield np.zeros((self.info.channels, 0), np.float32)

    def read_blocks(self, *, mono: bool = False) -> Iterator[np.ndarray]:
        """Yield blocks of at most `BLOCK_S` seconds, [C, T], on request mixed down to [1, T]."""
        mixdown = Mixdown(self.info.channels, self.info.sample_rate)
        most = MOST_SAMPLES // self.info.channels
        blocks = self.blocks(min(round(BLOCK_S * self.info.sample_rate), most))
        yield from mixdown.stream(blocks) if mono else blocks
        self.warnings += mixdown.remarks()

    def close(self) -> None:
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _placed(info: AudioInfo, path: Path) -> AudioInfo:
    """Return `info` with the channel layout that the header states, or that its encoding prescribes."""
    if info.channel_layout is not None or info.channels < 3:
        return info
    mask = (chunks.extensible_fields(path) or (0, 0))[1]
    by_number = info.format in ("FLAC", "OGG")
    layout = LAYOUTS.get(mask) or (USUAL_LAYOUTS.get(info.channels) if by_number else None)
    return replace(info, channel_layout=layout)


def _check_readable(path: Path) -> None:
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise AudioError("no such file") from error
    except OSError as error:
        raise AudioError(f"cannot be read ({error.strerror or error})") from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioError("is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise AudioError("is no regular file; a pipe goes in as -")
    if status.st_size == 0:
        raise AudioError("the file is empty")


def _open(path: Path, track: int | None) -> Source:
    """Return what decodes `path` best, by its content: libsndfile where headers can be put right, else PyAV."""
    with path.open("rb") as file:
        found = _look(Peek(file), path.suffix.lower(), track)
    if found.for_av:
        return _with_av(path, found.name, track)
    try:
        source = SndfileSource(path, found.structure)
    except UnknownFormatError as error:
        return _else_with_av(path, found.name, track, error)
    if track is not None and track > 1:
        source.close()
        raise AudioError(f"has one sound track, not {track}")
    return source


class _Found(NamedTuple):
    """What the bytes of a file tell: what people call it, "" if unknown, and who should read it, in what parts.

    Without a `structure`, libsndfile reads it as it is.
    """

    name: str
    structure: Structure | None = None
    for_av: bool = False


def _look(peek: Peek, extension: str, track: int | None) -> _Found:
    kind = kind_of(peek, extension)
    name = kind.name
    match kind.family:
        case "av":
            return _Found(name, for_av=True)
        case "riff":
            return _look_into_wave(peek, name) if kind.start == 0 else _Found(name)
        case "ogg":
            links = ogg.scan(peek) if track in (None, 1) else None
            return _Found(name, links, for_av=links is None)
        case "flac":
            return _Found(name, flac.scan(peek, kind.start))
        case "sndfile":
            return _Found(name, headers.scan(peek))
        case "mpeg":
            if (frames := mpeg.scan(peek)) is None:
                raise AudioError("not a readable recording (no MPEG frames)")
            return _Found(name, frames)
        case "unknown":
            return _Found(name)


def _look_into_wave(peek: Peek, name: str) -> _Found:
    """Find the parts of a WAV, in which there may be any codec."""
    wave = wave_file.scan(peek)
    if wave is None:
        return _Found(name)
    if codec := wave_file.CODECS.get(wave.codec):
        name = f"WAV with {codec}"
    if wave.codec not in wave_file.MPEG:
        return _Found(name, wave_file.joined(peek, wave))
    frames = mpeg.scan(peek, wave.data.start, wave.data.stop)
    return _Found(name, replace(frames, format="WAV") if frames else None)


def _else_with_av(path: Path, name: str, track: int | None, error: UnknownFormatError) -> Source:
    """Let PyAV read what libsndfile does not know, and raise what tells most where it cannot either."""
    extension = path.suffix.lower()
    try:
        return _with_av(path, name or extension, track)
    except MissingDependencyError:
        if name or extension in FOREIGN:
            raise
        raise error from None
    except AudioError as other:
        raise (other if " with " in name or track is not None else error) from None


def _with_av(path: Path, name: str, track: int | None) -> Source:
    from slimclean.audio.av.source import AvSource  # PyAV is an extra

    return AvSource(path, name, track)
