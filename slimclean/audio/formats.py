"""How recordings are stored, and what an output should be like. Opens nothing."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import soundfile

from slimclean.audio.containers import BY_EXTENSION, WRITABLE, Container
from slimclean.audio.encodings import ENCODINGS, check, check_bit_rate, codec_of
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
_CODECS = {
    "PCM_S8": "pcm_s8", "PCM_U8": "pcm_u8", "PCM_16": "pcm_s16le", "PCM_24": "pcm_s24le",
    "PCM_32": "pcm_s32le", "FLOAT": "pcm_f32le", "DOUBLE": "pcm_f64le", "VORBIS": "vorbis", "OPUS": "opus",
    "AAC": "aac", "ALAC": "alac",
}  # fmt: skip
"""What `subtype` takes, and FFmpeg's name for it."""
BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 32, "DOUBLE": 64}
"""Bits of a sample in the encodings that lose none."""
_STORED_BITS = BITS | {"ULAW": 8, "ALAW": 8}
WAV_BYTES = (1 << 32) - (1 << 16)
"""What a WAV or AIFF file can hold, its header's sizes being 32 bits wide."""
VOC_CHANNELS = 2
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

    `extension` is that of the new container, such as ".flac"; `subtype` one of libsndfile's names;
    `loudness_lufs` the integrated loudness that they get, with a true peak of at most `true_peak_dbtp`. Raises
    `UsageError` for what cannot be.
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
        if self.extension is not None and self.extension not in WRITABLE:
            choices = ", ".join(sorted(name[1:] for name in WRITABLE))
            raise UsageError(f"`extension` takes {choices}, not {self.extension.lstrip('.')}")
        if self.subtype is not None and self.subtype not in _CODECS:
            raise UsageError(f"`subtype` takes {', '.join(_CODECS)}, not {self.subtype}")
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
            _check_holds(BY_EXTENSION[self.extension], self.subtype)
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


def _check_holds(container: Container, subtype: str) -> None:
    """Raise `UsageError` where `container` has no place for the encoding `subtype`."""
    if container.muxer:
        held = _CODECS[subtype] in container.codecs
    else:
        held = subtype not in ("AAC", "ALAC") and soundfile.check_format(container.sndfile or "", subtype)
    if not held:
        raise UsageError(f"{container.key} does not hold {subtype}")


def file_name(path: Path) -> str | bytes:
    """Return `path` as soundfile takes it: as bytes where names need not be text."""
    return os.fsencode(path) if os.name == "posix" else str(path)


def output_suffix(source: Path, form: OutputForm) -> str:
    """Return the extension of the output of `source`."""
    container = BY_EXTENSION.get(source.suffix.lower())
    return form.extension or (container and container.becomes) or source.suffix


def output_info(info: AudioInfo, path: Path, form: OutputForm | None = None) -> AudioInfo:
    """Say how to store a recording like `info` under the name `path`.

    The same container and encoding, unless the extension asks for another container; then the encoding stays
    where that container has it, and is its default where not, with as many bits. `form` has the last word.
    Raises `AudioError` with the remedy where the outcome cannot be written.
    """
    form = form or OutputForm()
    wanted = BY_EXTENSION.get(path.suffix.lower()) or _container_of(info)
    out = replace(
        info,
        sample_rate=form.sample_rate or info.sample_rate,
        channels=1 if form.mono else info.channels,
        bit_rate=form.bit_rate or (info.bit_rate if info.lossy else None),
        channel_layout="mono" if form.mono else info.channel_layout,
        channel_mask=None if form.mono else info.channel_mask,
    )
    if wanted is not None and wanted.muxer:
        out = _by_ffmpeg(out, wanted, form.subtype)
        codec = out.codec
    else:
        out = _by_libsndfile(out, wanted, form.subtype)
        codec = codec_of(out.format, out.subtype)
    check(codec, out.channels, out.sample_rate)
    if form.bit_rate is not None:
        check_bit_rate(codec, form.bit_rate, out.channels, out.sample_rate)
    if codec not in ENCODINGS or ENCODINGS[codec].kbits is None:
        out = replace(out, bit_rate=None)
    source_codec = None if form.subtype else _replaced(info, out, codec, wanted)
    return replace(out, codec=codec, source_codec=source_codec)


def _replaced(info: AudioInfo, out: AudioInfo, codec: str | None, wanted: Container | None) -> str | None:
    """Return the name of the encoding of `info` where `out`, whose encoding is another, has its container.

    `codec` is that of `out`. An extension that stands for an encoding, such as .opus, asks for that.
    """
    names = {"MATROSKA": ("matroska", "webm")}.get(info.format, (info.format.lower(),))
    same = out.format == info.format or (out.format == "WAV" and info.format in ("WAVEX", "RF64"))
    same = same or (wanted is not None and any(name in wanted.demuxers for name in names))
    if not same or (wanted is not None and wanted.subtype):
        return None
    in_ogg = info.format == "OGG" and not info.lossy  # libsndfile names the bits of FLAC there
    old = info.codec or ("flac" if in_ogg else codec_of(info.format, info.subtype))
    is_pcm = re.match(r"pcm_[suf]\d", old or "") and out.subtype.startswith(("PCM", "FLOAT", "DOUBLE"))
    if is_pcm or (old == codec if old else info.subtype == out.subtype):
        return None
    return old or info.subtype


def _container_of(info: AudioInfo) -> Container | None:
    """Return where to store what came without a name, from a pipe, if FFmpeg read it."""
    extension = {"MOV": ".mp4", "MATROSKA": ".mkv", "ASF": ".flac", "AAC": ".m4a"}.get(info.format)
    return BY_EXTENSION[extension] if extension else None


def _by_ffmpeg(info: AudioInfo, container: Container, subtype: str | None) -> AudioInfo:
    codec = _CODECS[subtype] if subtype else info.codec or codec_of(info.format, info.subtype)
    if codec not in container.codecs:
        if subtype:
            raise AudioError(f"{container.key} does not hold {subtype}; leave out `subtype`")
        codec = container.codecs[0]
    bits = None
    if found := re.match(r"pcm_[suf](\d+)", codec):
        bits = int(found[1])
    elif codec in ENCODINGS and ENCODINGS[codec].kbits is None:
        bits = 24 if valid_bits(info) > 16 else 16
    return replace(
        info,
        format=container.key,
        subtype=codec.upper(),
        endian="FILE",
        codec=codec,
        bits_per_sample=bits,
    )


def _by_libsndfile(info: AudioInfo, wanted: Container | None, subtype: str | None) -> AudioInfo:
    container = (wanted and wanted.sndfile) or info.format
    if container == "RAW" or container not in soundfile.available_formats():
        container = "FLAC"  # a name without an extension, and what only PyAV reads
    # WAVs that are RF64 inside stay so; what is called .rf64 becomes it, whatever its size.
    same = container == info.format or (container == "WAV" and info.format in ("WAVEX", "RF64"))
    same = same and soundfile.check_format(info.format, info.subtype)
    out = info
    if (
        container == "OGG" == info.format
        and not info.lossy
        and not (subtype or info.bit_rate or (wanted and wanted.subtype))
    ):
        return replace(info, subtype="FLAC", endian="FILE", bits_per_sample=24 if valid_bits(info) > 16 else 16)
    if wanted and wanted.subtype and info.subtype != wanted.subtype:
        out = replace(info, format=container, subtype=wanted.subtype, endian="FILE")
    elif not same or not _is_written(container, info.subtype):
        out = replace(info, format=container, subtype=_subtype(info, container), endian="FILE")
    if subtype:
        out = replace(out, subtype=subtype, bits_per_sample=None)
    if not _is_written(out.format, out.subtype, out.endian):
        raise AudioError(
            f"{out.format} with {out.subtype} can be read but not written; "
            "set `extension` wav or `extension` flac"
        )
    if out.format == "VOC" and out.subtype == "PCM_U8":  # there, a rate is one of 256 times
        out = replace(out, subtype="PCM_16", bits_per_sample=None)
    if out.format == "VOC" and out.channels > VOC_CHANNELS:
        raise AudioError(
            f"VOC holds at most {VOC_CHANNELS} channels, not {out.channels}; "
            "set `mono`, or `extension` wav to keep them"
        )
    return out


def _is_written(container: str, subtype: str, endian: str = "FILE") -> bool:
    """Tell if libsndfile writes `subtype` into `container`; of MP3 in WAV and layer II it only says so."""
    mpeg = subtype.startswith("MPEG")
    if container not in soundfile.available_formats() or (
        mpeg and (container, subtype) != ("MP3", "MPEG_LAYER_III")
    ):
        return False
    return bool(soundfile.check_format(container, subtype, endian))


def _subtype(info: AudioInfo, container: str) -> str:
    """Return the encoding in another container that keeps what `info` holds, or that container's default."""
    there = [name for name in soundfile.available_subtypes(container) if _is_written(container, name)]
    deep = ("FLOAT", "PCM_24") if info.floating else ("PCM_24",) if valid_bits(info) > 16 else ()
    choices: tuple[str, ...] = (info.subtype, *deep, soundfile.default_subtype(container))
    return next(choice for choice in choices if choice in there)


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
