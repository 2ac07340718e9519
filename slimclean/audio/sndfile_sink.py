"""Encoding with libsndfile."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import soundfile

from slimclean.audio.encodings import codec_of, compression_level, to_ogg
from slimclean.audio.formats import AudioInfo, file_name
from slimclean.audio.mpeg_info import add_info_frame
from slimclean.audio.quiet import quiet


class SndfileSink:
    """A file with sound like `info` in it; `write` and then `close`.

    `strings` holds texts by libsndfile's names.
    """

    def __init__(self, path: Path, info: AudioInfo, strings: dict[str, str]) -> None:
        self.warnings: list[str] = []
        self._path = path
        self._info = info
        self._samples = 0
        level = None
        codec = codec_of(info.format, info.subtype)
        if info.bit_rate is not None:
            level = compression_level(codec, info.bit_rate, info.channels, info.sample_rate)
        self._file = soundfile.SoundFile(
            file_name(path),
            "w",
            samplerate=info.sample_rate,
            channels=info.channels,
            format=info.format,
            subtype=info.subtype,
            endian=info.endian,
            compression_level=level,
            bitrate_mode="CONSTANT" if codec == "mp3" and level is not None else None,
        )
        for name, value in strings.items():
            with contextlib.suppress(soundfile.LibsndfileError):  # this container has no such tag
                setattr(self._file, name, value)

    def write(self, samples: np.ndarray) -> None:
        """Append [T, C]."""
        self._samples += len(samples)
        self._file.write(to_ogg(samples, self._info.subtype))

    def close(self) -> None:
        """Write what the encoder still holds, and what only now is known."""
        self._file.close()
        if self._info.format == "MP3":
            add_info_frame(self._path, self._samples)

    def abandon(self) -> None:
        """Let go of the file; what was written is of no use unless `close` was called before."""
        with contextlib.suppress(soundfile.LibsndfileError, OSError):
            self._file.close()

    def problem(self, samples: int) -> str | None:
        """Read back what was written and say what is wrong with it, where it should be so many samples."""
        info = self._info
        with quiet(), soundfile.SoundFile(file_name(self._path)) as written:
            there, rate, channels = written.frames, written.samplerate, written.channels
        if (rate, channels) != (info.sample_rate, info.channels):
            return f"{info.format} made of it {channels} channels at {rate} Hz"
        whole = there == samples or (info.lossy and info.format != "MP3")
        # libsndfile takes the end mark of a VOC for a sample of 8 bits.
        whole = whole or (info.format == "VOC" and there == samples + 1)
        return None if whole else f"{there} of {samples} samples arrived"
