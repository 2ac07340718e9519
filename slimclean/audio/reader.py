"""Reading, block by block: through libsndfile, or PyAV for what that cannot read."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import numpy as np
import soundfile

from slimclean.audio.formats import LOUDEST, MAX_CHANNELS, SAMPLE_RATES_HZ, VIDEO_AND_AAC, AudioInfo, file_name
from slimclean.errors import AudioError

if TYPE_CHECKING:
    from typing import Self

BLOCK_S = 8.0
UNKNOWN_FRAMES = 1 << 62
OGG_PAGE = 65_307
"""The largest page of an Ogg file, in bytes."""


class Source(Protocol):
    """What decodes a file: libsndfile or PyAV."""

    info: AudioInfo
    tags: dict[str, str]

    def read(self, frames: int) -> np.ndarray:
        """The next samples, [<= frames, C]; none at the end. Raises `AudioError` for damage."""

    def close(self) -> None: ...


class AudioReader:
    """A recording opened for reading in blocks; a context manager. `tags` are title, artist and so on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _check_readable(path)
        if path.suffix.lower() in VIDEO_AND_AAC:
            from slimclean.audio.av import AvSource  # PyAV is an extra

            self._source: Source = AvSource(path)
        else:
            self._source = _SoundFileSource(path)
        self.info = info = self._source.info
        self.tags = self._source.tags
        low, high = SAMPLE_RATES_HZ
        problem = None
        if not low <= info.sample_rate <= high:
            problem = f"a sample rate of {info.sample_rate} Hz is outside {low} to {high} Hz"
        elif not 1 <= info.channels <= MAX_CHANNELS:
            problem = f"{info.channels} channels are more than the {MAX_CHANNELS} supported"
        if problem:
            self.close()
            raise AudioError(problem)

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        """Consecutive pieces [C, <= frames] to the end, at least one.

        Truncation, NaN, infinite and absurdly large samples (see `LOUDEST`) are errors.
        """
        seen = 0
        while len(block := self._source.read(frames)):
            sound = (np.abs(block) <= LOUDEST).all(axis=1)  # which a NaN is not
            if not sound.all():
                first = int(np.argmin(sound))
                kind = "absurdly large" if np.isfinite(block[first]).all() else "NaN or infinite"
                first_s = (seen + first) / self.info.sample_rate
                raise AudioError(f"holds {kind} samples, first at {first_s:.3f} s")
            seen += len(block)
            yield np.ascontiguousarray(block.T)
        if seen == 0 == self.info.frames:
            yield np.zeros((self.info.channels, 0), np.float32)
        # A lossy stream may lack a little at its end; how much an MP3 or a WMA holds is an estimate.
        tolerance = 1.0 if not self.info.lossy else 0.5 if "MPEG" in self.info.subtype else 0.98
        slack = self.info.sample_rate // 2 if self.info.format == "ASF" else 0
        if seen < self.info.frames * tolerance - slack:
            raise AudioError(f"truncated: {seen} of {self.info.frames} frames are there")

    def read_blocks(self, *, mono: bool = False) -> Iterator[np.ndarray]:
        """`blocks` of `BLOCK_S` seconds, on request mixed down."""
        for block in self.blocks(round(BLOCK_S * self.info.sample_rate)):
            yield block.mean(0, keepdims=True) if mono else block

    def close(self) -> None:
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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


class _SoundFileSource:
    def __init__(self, path: Path) -> None:
        try:
            self._file = file = soundfile.SoundFile(file_name(path))
        except OSError as error:
            raise AudioError(f"cannot be read ({error.strerror or error})") from error
        except (soundfile.LibsndfileError, TypeError) as error:
            if not os.access(path, os.R_OK):
                raise AudioError("cannot be read (permission denied)") from error
            reason = getattr(error, "error_string", str(error)).strip().rstrip(".")
            raise AudioError(f"not a readable recording ({reason})") from error
        # An encoder that wrote to a pipe leaves the length open; libsndfile then says 2^63 - 1.
        frames = file.frames if file.frames < UNKNOWN_FRAMES else 0
        self.info = info = AudioInfo(
            file.samplerate, file.channels, frames, file.format, file.subtype, file.endian
        )
        if info.lossy and frames:
            self.info = replace(info, bit_rate=round(path.stat().st_size * 8 / info.duration_s))
        self.tags = file.copy_metadata()
        if problem := _missing_data(path, file.format, file.extra_info):
            file.close()
            raise AudioError(problem)
        self._seen = 0

    def read(self, frames: int) -> np.ndarray:
        try:
            block: np.ndarray = self._file.read(frames, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            if self._file.frames >= UNKNOWN_FRAMES:
                raise AudioError("its header does not say how long it is; convert it first") from error
            raise AudioError(f"damaged at {self._seen / self.info.sample_rate:.2f} s ({error})") from error
        self._seen += len(block)
        return block

    def close(self) -> None:
        self._file.close()


def _missing_data(path: Path, container: str, log: str) -> str | None:
    """What says that a file was cut short, where libsndfile reads it as whole: its log, an Ogg page.

    Sizes near 2 and 4 GiB stand for "unknown" in files that were written to a pipe.
    """
    if container == "OGG" and not _ogg_ends(path):
        return "truncated: its Ogg stream has no end; what is there can be had with ffmpeg -i IN -c copy OUT"
    found = re.search(r"^\s*(?:data|SSND|riff|Data Size) : (\d+) \(should be (\d+)\)", log, re.MULTILINE)
    if found and int(found[2]) < int(found[1]) < 0x7FFF_0000:
        return f"truncated: {found[2]} of {found[1]} bytes of sound are there"
    found = re.search(r"frame count (\d+) does not match value from 'ds64' chunk of (\d+)", log)
    if found and int(found[1]) < int(found[2]):
        return f"truncated: {found[1]} of {found[2]} frames are there"
    length = re.search(r"^Length : (\d+)", log, re.MULTILINE)
    if length and re.search(r"^data : 0$", log, re.MULTILINE) and int(length[1]) > 4096:
        return "truncated: its header was never finished (it says 0 bytes of sound)"
    return None


def _ogg_ends(path: Path) -> bool:
    """Whether the last page of an Ogg file is marked as its end (RFC 3533: bit 2 of byte 5)."""
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 2 * OGG_PAGE))
        end = file.read()
    page = end.rfind(b"OggS")
    return page < 0 or page + 5 >= len(end) or bool(end[page + 5] & 4)
