"""Writing: a recording is there whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from slimclean.audio.formats import AudioInfo, file_name
from slimclean.errors import AudioError

if TYPE_CHECKING:
    from typing import Self

BLOCK_FRAMES = 1 << 16
"""Frames encoded at a time. libsndfile's Vorbis encoder needs stack in proportion to them."""
STALE_S = 24 * 3600
"""A temporary file of another machine that is older than this was left by a run that died."""
WAV_BYTES = (1 << 32) - (1 << 16)
"""What a WAV file can hold, its header's sizes being 32 bits wide."""

_FULL_SCALE_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
_HOST = re.sub(r"\W", "", socket.gethostname())[:16] or "host"


class AudioWriter:
    """Writes blocks to a temporary file beside `path`; `commit` checks it and renames it into place.

    Leaving the context without `commit` removes the temporary file. One that a killed run left for the
    same `path` is removed first. `tags` are kept as far as the container holds them.
    """

    def __init__(self, path: Path, info: AudioInfo, tags: dict[str, str] | None = None) -> None:
        self.path = path
        self.info = info
        self.frames = 0
        self.clipped = 0
        self._temporary = _temporary(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(path)
            self._file = soundfile.SoundFile(
                file_name(self._temporary),
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
        for name, value in (tags or {}).items():
            with contextlib.suppress(soundfile.LibsndfileError):  # this container has no such tag
                setattr(self._file, name, value)

    def write(self, block: np.ndarray) -> None:
        """Append [C, T]; values outside [-1, 1) are clamped and counted in `clipped`."""
        self.clipped += int(np.count_nonzero(np.abs(block) > 1)) if not self._is_float else 0
        self.frames += block.shape[1]
        bits = _FULL_SCALE_BITS.get(self.info.subtype, 64 if self.info.subtype == "DOUBLE" else 32)
        if self.info.format.startswith("WAV") and self.frames * self.info.channels * bits // 8 > WAV_BYTES:
            raise AudioError("more than 4 GB do not fit into WAV; add --format flac or --format rf64")
        try:
            for start in range(0, block.shape[1], BLOCK_FRAMES):
                self._file.write(self._encode(block[:, start : start + BLOCK_FRAMES]))
        except (soundfile.LibsndfileError, OSError) as error:
            raise AudioError(f"cannot write {self.path} ({_reason(error)})") from error

    def commit(self, mtime: float | None = None) -> None:
        """Flush, re-open to check that everything arrived, and rename over `path`; maybe set its time."""
        try:
            self._file.close()
            with soundfile.SoundFile(file_name(self._temporary)) as written:
                frames = written.frames
            if frames != self.frames and not self.info.lossy:
                raise AudioError(f"cannot write {self.path} ({frames} of {self.frames} frames arrived)")
            if mtime is not None:
                os.utime(self._temporary, (mtime, mtime))
            _sync(self._temporary)
            self._temporary.replace(self.path)
            if os.name == "posix":
                _sync(self.path.parent)  # the new name is in the folder, not in the file
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


def _temporary(path: Path) -> Path:
    """Hidden, beside `path`, named after machine and process; short whatever the length of the name."""
    return path.with_name(f"{_prefix(path)}{_HOST}-{os.getpid()}.part")


def _prefix(path: Path) -> str:
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]
    return f".slimclean-{digest}-"


def remove_leftovers(path: Path) -> None:
    """Remove what processes that died left of their attempts at `path`."""
    for left in path.parent.glob(f"{_prefix(path)}*.part"):
        host, _, pid = left.stem.removeprefix(_prefix(path)).rpartition("-")
        with contextlib.suppress(OSError, ValueError):
            dead = host == _HOST and not _is_alive(int(pid))
            if dead or time.time() - left.stat().st_mtime > STALE_S:
                left.unlink()


def _is_alive(pid: int) -> bool:
    if os.name != "posix":
        return True  # there, asking would kill
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() or os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
