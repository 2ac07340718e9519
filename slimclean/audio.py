"""Audio files: the only place that opens them. Arrays are float32 [C, T], nominally within 1.

Reading and writing go through libsndfile, block by block, so that memory does not grow with
the length of a recording.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import soundfile

if TYPE_CHECKING:
    from typing import Self

from slimclean.errors import AudioError

EXTENSIONS = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".caf", ".w64", ".rf64", ".au"}
)
MAX_CHANNELS = 64
SAMPLE_RATES_HZ = (1_000, 768_000)
BLOCK_FRAMES = 1 << 16
"""Frames decoded or encoded at a time. libsndfile's Vorbis encoder needs stack in proportion to them."""
UNKNOWN_FRAMES = 1 << 62

_LOSSY = ("VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III")
_FULL_SCALE_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}


@dataclass(frozen=True)
class AudioInfo:
    """What a file holds: `frames` samples per channel, and how they are stored (libsndfile's names)."""

    sample_rate: int
    channels: int
    frames: int
    format: str
    subtype: str
    endian: str = "FILE"

    @property
    def duration_s(self) -> float:
        return self.frames / self.sample_rate

    @property
    def lossy(self) -> bool:
        return self.subtype in _LOSSY


def walk(folder: Path) -> Iterator[Path]:
    """Recordings under `folder`, recursively, in sorted order; hidden files and folders are skipped."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            if path.suffix.lower() in EXTENSIONS and not name.startswith("."):
                yield path


def probe(path: Path) -> AudioInfo:
    """Read the header. Raises `AudioError`, as everything here does, with one line that says why."""
    with AudioReader(path) as reader:
        return reader.info


def read(path: Path) -> tuple[np.ndarray, int]:
    """A whole recording, [C, T], and its sample rate in Hz; errors name the file."""
    try:
        return _read(path)
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from error


def _read(path: Path) -> tuple[np.ndarray, int]:
    with AudioReader(path) as reader:
        return np.concatenate(list(reader.blocks(BLOCK_FRAMES)), axis=1), reader.info.sample_rate


class AudioReader:
    """A recording opened for reading in blocks; a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_dir():
            raise AudioError("is a directory")
        try:
            if path.stat().st_size == 0:
                raise AudioError("the file is empty")
            self._file = soundfile.SoundFile(path)
        except FileNotFoundError as error:
            raise AudioError("no such file") from error
        except OSError as error:
            raise AudioError(f"cannot be read ({error.strerror or error})") from error
        except (soundfile.LibsndfileError, TypeError) as error:
            if not os.access(path, os.R_OK):
                raise AudioError("cannot be read (permission denied)") from error
            reason = getattr(error, "error_string", str(error)).strip().rstrip(".")
            raise AudioError(f"not a readable recording ({reason})") from error
        file = self._file
        # An encoder that wrote to a pipe leaves the length open; libsndfile then says 2^63 - 1.
        frames = file.frames if file.frames < UNKNOWN_FRAMES else 0
        self.info = AudioInfo(file.samplerate, file.channels, frames, file.format, file.subtype, file.endian)
        low, high = SAMPLE_RATES_HZ
        problem = _missing_data(file.extra_info)
        if not low <= self.info.sample_rate <= high:
            problem = f"a sample rate of {self.info.sample_rate} Hz is outside {low} to {high} Hz"
        elif not 1 <= self.info.channels <= MAX_CHANNELS:
            problem = f"{self.info.channels} channels are more than the {MAX_CHANNELS} supported"
        if problem:
            self.close()
            raise AudioError(problem)

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        """Consecutive pieces [C, <= frames] to the end, at least one; truncation and NaN are errors."""
        seen = 0
        while True:
            try:
                block = self._file.read(frames, dtype="float32", always_2d=True)
            except (soundfile.LibsndfileError, RuntimeError) as error:
                if self._file.frames >= UNKNOWN_FRAMES:
                    raise AudioError("its header does not say how long it is; convert it first") from error
                raise AudioError(f"damaged at {seen / self.info.sample_rate:.2f} s ({error})") from error
            if len(block) == 0:
                break
            if not np.isfinite(block).all():
                first = seen + int(np.argmin(np.isfinite(block).all(axis=1)))
                raise AudioError(
                    f"holds NaN or infinite samples, first at {first / self.info.sample_rate:.3f} s"
                )
            seen += len(block)
            yield np.ascontiguousarray(block.T)
        if seen == 0 == self.info.frames:
            yield np.zeros((self.info.channels, 0), np.float32)
        # An Ogg stream may lack a little at its end; how much an MP3 holds is an estimate.
        tolerance = {"OGG": 0.98, "MP3": 0.5, "MPEG": 0.5}.get(self.info.format, 1.0)
        if seen < self.info.frames * tolerance:
            raise AudioError(f"truncated: {seen} of {self.info.frames} frames are there")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AudioWriter:
    """Writes blocks to a temporary file beside `path`; `commit` checks it and renames it into place.

    Leaving the context without `commit` removes the temporary file: a recording is there whole or not at all.
    """

    def __init__(self, path: Path, info: AudioInfo) -> None:
        self.path = path
        self.info = info
        self.frames = 0
        self.clipped = 0
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        _check_writable(info)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = soundfile.SoundFile(
                self._temporary,
                "w",
                samplerate=info.sample_rate,
                channels=info.channels,
                format=info.format,
                subtype=info.subtype,
                endian=info.endian,
            )
        except (soundfile.LibsndfileError, OSError, ValueError) as error:
            with contextlib.suppress(OSError):
                self._temporary.unlink()
            raise AudioError(f"cannot write {path} ({_reason(error)})") from error

    def write(self, block: np.ndarray) -> None:
        """Append [C, T]; values outside [-1, 1) are clamped and counted in `clipped`."""
        self.clipped += int(np.count_nonzero(np.abs(block) > 1)) if not self._is_float else 0
        try:
            for start in range(0, block.shape[1], BLOCK_FRAMES):
                self._file.write(self._encode(block[:, start : start + BLOCK_FRAMES]))
        except (soundfile.LibsndfileError, OSError) as error:
            raise AudioError(f"cannot write {self.path} ({_reason(error)})") from error
        self.frames += block.shape[1]

    def commit(self) -> None:
        """Flush, re-open to check that everything arrived, and rename over `path`."""
        try:
            self._file.close()
            with soundfile.SoundFile(self._temporary) as written:
                frames = written.frames
            if frames != self.frames and not self.info.lossy:
                raise AudioError(f"cannot write {self.path} ({frames} of {self.frames} frames arrived)")
            with open(self._temporary, "rb+") as file:
                os.fsync(file.fileno())
            self._temporary.replace(self.path)
        except (soundfile.LibsndfileError, OSError) as error:
            raise AudioError(f"cannot write {self.path} ({_reason(error)})") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        except (soundfile.LibsndfileError, OSError):
            pass  # the error that brought us here says more
        finally:
            self._temporary.unlink(missing_ok=True)

    @property
    def _is_float(self) -> bool:
        return self.info.subtype in ("FLOAT", "DOUBLE")

    def _encode(self, block: np.ndarray) -> np.ndarray:
        """To what libsndfile stores without scaling of its own, [T, C]: reading back is then exact."""
        if self._is_float:
            return np.ascontiguousarray(block.T)
        bits = _FULL_SCALE_BITS.get(self.info.subtype)
        if bits is None:  # lossy, companded, ADPCM
            return np.asarray(np.clip(block.T, -1, 1 - 2**-15))
        limit = 2 ** (bits - 1)
        whole = np.clip(np.rint(block.T.astype(np.float64) * limit), -limit, limit - 1)
        container = 16 if bits <= 16 else 32
        return np.asarray(whole * 2 ** (container - bits), np.int16 if container == 16 else np.int32)


def _missing_data(log: str) -> str | None:
    """What libsndfile's log of a header says of a WAV file cut short, which it otherwise reads as whole.

    Sizes near 2 and 4 GiB stand for "unknown" in files that were written to a pipe.
    """
    found = re.search(r"^data : (\d+) \(should be (\d+)\)", log, re.MULTILINE)
    if found and int(found[2]) < int(found[1]) < 0x7FFF_0000:
        return f"truncated: {found[2]} of {found[1]} bytes of sound are there"
    length = re.search(r"^Length : (\d+)", log, re.MULTILINE)
    if length and re.search(r"^data : 0$", log, re.MULTILINE) and int(length[1]) > 4096:
        return "truncated: its header was never finished (it says 0 bytes of sound)"
    return None


def _check_writable(info: AudioInfo) -> None:
    opus_rates = (8_000, 12_000, 16_000, 24_000, 48_000)
    if info.subtype == "OPUS" and info.sample_rate not in opus_rates:
        raise AudioError(f"Opus cannot be written at {info.sample_rate} Hz; convert to 48000 Hz or to FLAC")
    if not soundfile.check_format(info.format, info.subtype, info.endian):
        raise AudioError(
            f"{info.format} with {info.subtype} can be read but not written; convert to WAV or FLAC"
        )


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(getattr(error, "error_string", error)).strip().rstrip(".")


_CONTAINERS = {
    ".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".oga": "OGG", ".opus": "OGG", ".mp3": "MP3",
    ".aiff": "AIFF", ".aif": "AIFF", ".caf": "CAF", ".w64": "W64", ".rf64": "RF64", ".au": "AU",
}  # fmt: skip


def output_info(info: AudioInfo, path: Path) -> AudioInfo:
    """How to store a recording like `info` under the name `path`.

    The same container and subtype, unless the extension asks for another container; then the subtype
    stays where that container has it, and is its default (Opus for .opus) where not.
    """
    extension = path.suffix.lower()
    container = _CONTAINERS.get(extension, info.format)
    same = container == info.format or {container, info.format} <= {"WAV", "WAVEX", "RF64"}
    if extension == ".opus" and info.subtype != "OPUS":
        return replace(info, format="OGG", subtype="OPUS", endian="FILE")
    if same:
        return info
    keeps = soundfile.check_format(container, info.subtype)
    subtype = info.subtype if keeps else soundfile.default_subtype(container)
    return replace(info, format=container, subtype=subtype, endian="FILE")
