"""How recordings are stored, and what is asked of outputs. Opens nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import soundfile

from slimclean.audio.containers import BY_EXTENSION, WRITABLE, Container
from slimclean.errors import AudioError, UsageError

LAYOUTS = {
    0x0B: "2.1", 0x07: "3.0", 0x33: "quad", 0x603: "quad(side)", 0x37: "5.0", 0x607: "5.0(side)", 0x3F: "5.1",
    0x60F: "5.1(side)", 0x70F: "6.1", 0x63F: "7.1", 0xFF: "7.1(wide)",
}  # fmt: skip
"""FFmpeg's names of channel masks."""
USUAL_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""What so many channels are for where nothing says it, as in FLAC, Vorbis and Opus."""
MAX_CHANNELS = 64
SAMPLE_RATES_HZ = (1_000, 768_000)
LOUDEST = 1e6
"""Times full scale: what is louder is no recording, and would overflow."""
LOUDNESS_LUFS = (-60.0, -5.0)
TRUE_PEAK_DBTP = (-20.0, 0.0)

_LOSSLESS = ("PCM", "FLOAT", "DOUBLE", "ULAW", "ALAW", "ALAC", "FLAC", "WAVPACK", "TTA", "APE",
             "TRUEHD", "MLP", "TAK", "SHORTEN")  # fmt: skip
CODECS = {
    "PCM_S8": "pcm_s8", "PCM_U8": "pcm_u8", "PCM_16": "pcm_s16le", "PCM_24": "pcm_s24le",
    "PCM_32": "pcm_s32le", "FLOAT": "pcm_f32le", "DOUBLE": "pcm_f64le", "ULAW": "pcm_mulaw", "ALAW": "pcm_alaw",
    "VORBIS": "vorbis", "OPUS": "opus", "AAC": "aac", "ALAC": "alac",
}  # fmt: skip
"""What `subtype` takes, and FFmpeg's name for it."""
BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 32, "DOUBLE": 64}
"""Bits of a sample in the encodings that lose none."""
_STORED_BITS = BITS | {"ULAW": 8, "ALAW": 8}
WAV_BYTES = (1 << 32) - (1 << 16)
"""What a WAV or AIFF file can hold, its header's sizes being 32 bits wide."""
BIT_RATES = (4_000, 4_000_000)


@dataclass(frozen=True)
class AudioInfo:
    """What a file holds: `samples` per channel, and how they are stored.

    `format` and `subtype` have libsndfile's names where it reads or writes the file; else `format` has that of
    FFmpeg's demuxer, or of the container to write (`Container.key`), and `subtype` the codec's, in capitals.

    The fields after `endian` describe the source as far as it is known, and do not count when two are compared:
    `codec` and `channel_layout` have FFmpeg's names, `bit_rate` is that of lossy sound in bit/s,
    `bits_per_sample` counts the bits that hold sound, `channel_mask` is that of a WAVE header, `track`
    which of several sound tracks this is, from 1, and `start_s` the time on a film's clock of the first sample.
    `source_codec` names the encoding of the input where an output in the same container has another, unasked.
    """

    sample_rate: int
    channels: int
    samples: int
    format: str
    subtype: str
    endian: str = "FILE"
    codec: str | None = field(default=None, compare=False)
    bit_rate: int | None = field(default=None, compare=False)
    bits_per_sample: int | None = field(default=None, compare=False)
    channel_layout: str | None = field(default=None, compare=False)
    channel_mask: int | None = field(default=None, compare=False)
    track: int | None = field(default=None, compare=False)
    start_s: Fraction = field(default=Fraction(0), compare=False)
    source_codec: str | None = field(default=None, compare=False)

    @property
    def duration_s(self) -> float:
        return self.samples / self.sample_rate

    @property
    def floating(self) -> bool:
        """Whether samples beyond full scale are kept, not clamped."""
        return self.subtype in ("FLOAT", "DOUBLE") or (self.codec or "").startswith("pcm_f")

    @property
    def lossy(self) -> bool:
        """Whether a decoder may give back a slightly different number of samples."""
        return not self.subtype.startswith(_LOSSLESS)


@dataclass(frozen=True)
class OutputForm:
    """What outputs should be like where they should not be like their inputs; None is "as it came".

    `extension` is that of the new container, such as ".flac" or "flac"; `subtype` the encoding, AAC, ALAC or
    one of libsndfile's names, such as PCM_24; `loudness_lufs` the integrated loudness that they get, with a
    true peak of at most `true_peak_dbtp`. Raises `UsageError` for what cannot be.
    """

    extension: str | None = None
    subtype: str | None = None
    sample_rate: int | None = None
    mono: bool = False
    keep_mtime: bool = False
    loudness_lufs: float | None = None
    true_peak_dbtp: float = -1.0
    bit_rate: int | None = None
    """Bit/s of what is lossy."""
    track: int | None = None
    """Which of several sound tracks of the input, from 1; None: the default one."""

    def __post_init__(self) -> None:
        if self.extension is not None:
            object.__setattr__(self, "extension", "." + self.extension.lower().lstrip("."))
        if self.subtype is not None:
            object.__setattr__(self, "subtype", self.subtype.upper())
        if self.extension is not None and self.extension not in WRITABLE:
            choices = ", ".join(sorted(name[1:] for name in WRITABLE))
            raise UsageError(f"`extension` takes {choices}, not {self.extension.lstrip('.')}")
        if self.subtype is not None and self.subtype not in CODECS:
            raise UsageError(f"`subtype` takes {', '.join(CODECS)}, not {self.subtype}")
        low, high = SAMPLE_RATES_HZ
        rate = self.sample_rate
        if rate is not None and not (low <= rate <= high and rate == int(rate)):
            raise UsageError(f"`sample_rate` takes {low} to {high} Hz, not {self.sample_rate}")
        if self.track is not None and self.track < 1:
            raise UsageError(f"`track` counts from 1, not {self.track}")
        least, most = BIT_RATES
        if self.bit_rate is not None and not least <= self.bit_rate <= most:
            raise UsageError(f"`bit_rate` takes {least} to {most} bit/s, not {self.bit_rate}")
        if self.extension and self.subtype:
            check_holds(BY_EXTENSION[self.extension], self.subtype)
        if self.bit_rate is not None and (lossless := self._lossless()):
            raise UsageError(
                f"{lossless} has no `bit_rate`; leave it out, or set `extension` to a lossy format"
            )
        for name, value, (softest, loudest) in (
            ("loudness_lufs", self.loudness_lufs, LOUDNESS_LUFS),
            ("true_peak_dbtp", self.true_peak_dbtp, TRUE_PEAK_DBTP),
        ):
            if value is not None and not softest <= value <= loudest:
                raise UsageError(f"`{name}` takes a number from {softest:g} to {loudest:g}, not {value:g}")

    def _lossless(self) -> str | None:
        """Return the name of what is asked for where it holds no sound that has a bit rate."""
        if self.subtype is not None:
            lossy = self.subtype in ("VORBIS", "OPUS", "AAC")
            return None if lossy else self.subtype
        if self.extension is None or BY_EXTENSION[self.extension].muxer:
            return None
        lossy = BY_EXTENSION[self.extension].sndfile in ("OGG", "MP3")
        return None if lossy else BY_EXTENSION[self.extension].key

    def remarks(self, stored: AudioInfo) -> list[str]:
        """Return what is remarked of an output like `stored`: where it is not as it came, or as asked for."""
        remarks = []
        if stored.source_codec:
            new = stored.codec or stored.subtype
            remarks.append(f"its sound, {stored.source_codec}, cannot be encoded here: {new} instead")
        if self.bit_rate is not None and stored.bit_rate is None:
            remarks.append(f"`bit_rate` is not used: {stored.format} with {stored.subtype} has none")
        return remarks


def check_holds(container: Container, subtype: str) -> None:
    """Raise `UsageError` with the remedy where `container` has no place for the encoding `subtype`."""

    def holds(subtype: str) -> bool:
        if container.muxer:
            return CODECS[subtype] in container.codecs
        return subtype not in ("AAC", "ALAC") and soundfile.check_format(container.sndfile or "", subtype)

    if not holds(subtype):
        held = ", ".join(filter(holds, CODECS))
        raise UsageError(
            f"{container.key} does not hold {subtype}; leave out `subtype`{held and f', or take {held}'}"
        )


def file_name(path: Path) -> str | bytes:
    """Return `path` as soundfile takes it: as bytes where names need not be text."""
    return os.fsencode(path) if os.name == "posix" else str(path)


def valid_bits(info: AudioInfo) -> int:
    """Return how many bits of a sample hold sound; 0 where the encoding is lossy."""
    return info.bits_per_sample or BITS.get(info.subtype, 0)


def check_size(info: AudioInfo, samples: int) -> None:
    """Raise `AudioError` where a file like `info` cannot hold so many samples per channel."""
    if not info.format.startswith(("WAV", "AIFF")):
        return
    if samples * info.channels * _STORED_BITS.get(info.subtype, 0) // 8 > WAV_BYTES:
        raise AudioError(
            f"more than 4 GB do not fit into {info.format[:4].rstrip('E')}; "
            "set `extension` flac or `extension` rf64"
        )
