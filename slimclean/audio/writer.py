"""Writing: a recording is there whole or not at all."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from slimclean.audio.atomic import AtomicFile
from slimclean.audio.formats import AudioInfo, file_name
from slimclean.errors import AudioError

if TYPE_CHECKING:
    from typing import Self

BLOCK_FRAMES = 1 << 16
"""Frames encoded at a time. libsndfile's Vorbis encoder needs stack in proportion to them."""
WAV_BYTES = (1 << 32) - (1 << 16)
"""What a WAV file can hold, its header's sizes being 32 bits wide."""

_FULL_SCALE_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}


class AudioWriter:
    """Writes blocks to a temporary file beside `path`; `commit` checks it and renames it into place.

    Leaving the context without `commit` removes the temporary file (see `AtomicFile`). `tags` are kept as far
    as the container holds them. `like` is what it is made from: the output is no more open to others than that.
    """

    def __init__(
        self, path: Path, info: AudioInfo, tags: dict[str, str] | None = None, like: Path | None = None
    ) -> None:
        self.path = path
        self.info = info
        self.frames = 0
        self.clipped = 0
        try:
            self._whole = AtomicFile(path, like)
        except OSError as error:
            raise AudioError(f"cannot write {path} ({_reason(error)})") from error
        try:
            self._file = soundfile.SoundFile(
                file_name(self._whole.temporary),
                "w",
                samplerate=info.sample_rate,
                channels=info.channels,
                format=info.format,
                subtype=info.subtype,
                endian=info.endian,
            )
        except (soundfile.LibsndfileError, OSError, ValueError) as error:
            self._whole.__exit__(None, None, None)
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
            raise AudioError("more than 4 GB do not fit into WAV; set `extension` flac or `extension` rf64")
        try:
            for start in range(0, block.shape[1], BLOCK_FRAMES):
                self._file.write(self._encode(block[:, start : start + BLOCK_FRAMES]))
        except (soundfile.LibsndfileError, OSError) as error:
            raise AudioError(f"cannot write {self.path} ({_reason(error)})") from error

    def commit(self, mtime: float | None = None) -> None:
        """Flush, re-open to check that everything arrived, and rename over `path`; maybe set its time."""
        try:
            self._file.close()
            with soundfile.SoundFile(file_name(self._whole.temporary)) as written:
                frames = written.frames
            if frames != self.frames and not self.info.lossy:
                raise AudioError(f"cannot write {self.path} ({frames} of {self.frames} frames arrived)")
            self._whole.commit(mtime)
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
            self._whole.__exit__(kind, error, trace)

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


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
