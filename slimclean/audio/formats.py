"""How recordings are stored: names of formats, and what an output should be like. Opens nothing."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import soundfile

from slimclean.audio.encodings import ENCODINGS, check, check_bit_rate, codec_of
from slimclean.errors import AudioError, UsageError


@dataclass(frozen=True)
class Container:
    """A kind of file: what it is called, who reads it, and who writes it."""

    name: str
    """What people call it, or the codec that it stands for."""
    extensions: tuple[str, ...]
    sndfile: str | None = None
    """libsndfile's name, by which it is read and written; None: PyAV reads it."""
    subtype: str | None = None
    """The one encoding that it holds; None: several, of which libsndfile has a default."""
    demuxers: tuple[str, ...] = ()
    """FFmpeg's names of what reads it."""
    marks: tuple[tuple[int, bytes], ...] = ()
    """Where a mark stands, and which, that tells it from all others whatever its name."""
    in_browsers: bool = False
    """Whether browsers play it."""
    becomes: str | None = None
    """The extension of an output where it cannot be written itself."""
    muxer: str | None = None
    """FFmpeg's name of what writes it; None: libsndfile writes it, or nobody."""
    sound_only: bool = False
    """Whether nobody looks for pictures here."""
    codecs: tuple[str, ...] = ()
    """What `muxer` can hold and we can encode, in FFmpeg's names; the first stands in for what is not here."""
    clock: str = ""
    """Whether times stand beside the sound: "absolute", or "relative" to the first of them."""

    @property
    def key(self) -> str:
        """Its name in `AudioInfo.format` where FFmpeg writes it, and in messages: MP4, MOV, MKV."""
        return self.extensions[0][1:].upper()


def _foreign(
    name: str,
    extensions: str,
    demuxers: str,
    *marks: tuple[int, bytes],
    clock: str = "",
    becomes: str = ".flac",
) -> Container:
    """Make a container that PyAV reads and nobody writes."""
    return Container(
        name,
        tuple(extensions.split()),
        demuxers=tuple(demuxers.split(",")),
        marks=marks,
        becomes=becomes,
        clock=clock,
    )


_MOV = ("mov", "mp4", "m4a", "3gp", "3g2", "mj2")
_PCM = (
    "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be", "pcm_u8", "pcm_s8",
    "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_alaw", "pcm_mulaw",
)  # fmt: skip
_MATROSKA = ("flac", "aac", "alac", "ac3", "eac3", "mp3", "mp2", "opus", "vorbis", "wavpack", "tta", *_PCM)

CONTAINERS = (
    Container(
        "WAV",
        (".wav", ".wave", ".bwf"),
        "WAV",
        demuxers=("wav",),
        marks=((8, b"WAVE"),),
        in_browsers=True,
    ),
    Container("RF64", (".rf64",), "RF64", marks=((0, b"RF64"), (0, b"BW64"))),
    Container("FLAC", (".flac",), "FLAC", marks=((0, b"fLaC"),), in_browsers=True),
    Container("Ogg", (".ogg", ".oga"), "OGG", demuxers=("ogg",), marks=((0, b"OggS"),), in_browsers=True),
    Container("Opus", (".opus",), "OGG", "OPUS", in_browsers=True),
    Container("MP3", (".mp3", ".mpga"), "MP3", demuxers=("mp3",), in_browsers=True),
    Container("MPEG layer II", (".mp2",), "MP3", demuxers=("mp3",), becomes=".flac"),
    Container(
        "AIFF", (".aiff", ".aif", ".aifc"), "AIFF", demuxers=("aiff",), marks=((8, b"AIFF"), (8, b"AIFC"))
    ),
    Container("CAF", (".caf",), "CAF", demuxers=("caf",), marks=((0, b"caff"),)),
    Container("W64", (".w64",), "W64", demuxers=("w64",), marks=((0, b"riff\x2e\x91\xcf\x11"),)),
    Container("AU", (".au", ".snd"), "AU", demuxers=("au",), marks=((0, b".snd"), (0, b"dns."))),
    Container("SPHERE", (".sph",), "NIST", demuxers=("nistsphere",), marks=((0, b"NIST_1A"),)),
    Container("VOC", (".voc",), "VOC", demuxers=("voc",), marks=((0, b"Creative Voice File"),)),
    Container("GSM", (".gsm",), "RAW", "GSM610", demuxers=("gsm",), becomes=".flac"),
    Container(
        "M4A",
        (".m4a", ".m4b"),
        demuxers=_MOV,
        muxer="ipod",
        sound_only=True,
        codecs=("aac", "alac", "ac3"),
        in_browsers=True,
        clock="absolute",
    ),
    Container(
        "MP4",
        (".mp4", ".m4v"),
        demuxers=_MOV,
        marks=tuple((4, mark) for mark in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")),
        muxer="mp4",
        codecs=("aac", "alac", "ac3", "eac3", "mp3", "mp2", "opus", "flac"),
        in_browsers=True,
        clock="absolute",
    ),
    Container(
        "QuickTime",
        (".mov",),
        demuxers=_MOV,
        muxer="mov",
        codecs=("aac", "alac", "ac3", "eac3", "mp3", *_PCM),
        clock="absolute",
    ),
    _foreign("3GP", ".3gp .3g2", ",".join(_MOV), clock="absolute"),
    Container(
        "Matroska or WebM",
        (".mkv",),
        demuxers=("matroska",),
        marks=((0, b"\x1a\x45\xdf\xa3"),),
        muxer="matroska",
        codecs=_MATROSKA,
        clock="absolute",
    ),
    Container(
        "Matroska sound",
        (".mka",),
        demuxers=("matroska",),
        muxer="matroska",
        sound_only=True,
        codecs=_MATROSKA,
        clock="absolute",
    ),
    Container(
        "WebM",
        (".webm",),
        demuxers=("webm",),
        muxer="webm",
        codecs=("opus", "vorbis"),
        in_browsers=True,
        clock="absolute",
    ),
    _foreign("WMA", ".wma .wmv .asf", "asf", (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"), clock="absolute"),
    _foreign("AAC", ".aac .loas .latm", "aac,loas", becomes=".m4a"),
    _foreign("AMR", ".amr .awb", "amr,amrnb,amrwb", (0, b"#!AMR")),
    _foreign("AC-3", ".ac3 .eac3", "ac3,eac3", (0, b"\x0b\x77")),
    _foreign("DTS", ".dts", "dts", (0, b"\x7f\xfe\x80\x01")),
    _foreign("Speex", ".spx", "ogg"),
    _foreign("G.722", ".g722", "g722"),
    _foreign("AVI", ".avi", "avi", (8, b"AVI ")),
    _foreign("FLV", ".flv", "flv", (0, b"FLV\x01"), clock="absolute"),
    _foreign("MPEG film", ".mpg .mpeg .vob", "mpeg", (0, b"\x00\x00\x01\xba"), clock="relative"),
    _foreign("MPEG transport stream", ".ts .mts .m2ts", "mpegts", clock="relative"),
    _foreign("Ogg film", ".ogv", "ogg"),
    _foreign("WavPack", ".wv", "wv", (0, b"wvpk")),
    _foreign("Monkey's Audio", ".ape", "ape", (0, b"MAC ")),
    _foreign("TTA", ".tta", "tta", (0, b"TTA1")),
    _foreign("Musepack", ".mpc", "mpc,mpc8", (0, b"MPCK"), (0, b"MP+")),
    _foreign("MXF", ".mxf", "mxf", (0, b"\x06\x0e\x2b\x34"), clock="absolute"),
    _foreign("NUT", ".nut", "nut", (0, b"nut/multimedia"), clock="absolute"),
    _foreign("TrueHD", ".thd .mlp", "truehd,mlp"),
    _foreign("SBC", ".sbc", "sbc"),
    _foreign("DV", ".dv", "dv"),
    _foreign("Flash", ".swf", "swf"),
    _foreign("RealMedia", ".rm .ra", "rm", (0, b".RMF"), (0, b".ra\xfd")),
)
"""Every container: an entry here is all that a new one takes."""

BY_EXTENSION = {extension: container for container in CONTAINERS for extension in container.extensions}
EXTENSIONS = frozenset(BY_EXTENSION)
WRITABLE = frozenset(name for name, container in BY_EXTENSION.items() if container.becomes is None)
FOREIGN = frozenset(name for name, container in BY_EXTENSION.items() if container.sndfile is None)
"""Read through PyAV."""

MUXERS = frozenset(container.key for container in CONTAINERS if container.muxer)
"""`AudioInfo.format` of what is written through FFmpeg."""

LAYOUTS = {
    0x0B: "2.1", 0x07: "3.0", 0x33: "quad", 0x603: "quad(side)", 0x37: "5.0", 0x607: "5.0(side)", 0x3F: "5.1",
    0x60F: "5.1(side)", 0x70F: "6.1", 0x63F: "7.1", 0xFF: "7.1(wide)",
}  # fmt: skip
"""FFmpeg's names of channel masks."""
USUAL_LAYOUTS = {3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""What so many channels of FLAC, Vorbis and Opus are for."""
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
_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 32, "DOUBLE": 64}
BIT_RATES = (4_000, 4_000_000)


@dataclass(frozen=True)
class AudioInfo:
    """What a file holds: `frames` samples per channel, and how they are stored (libsndfile's names).

    The fields after `endian` describe the source as far as it is known, and do not count when two are compared:
    `codec` and `channel_layout` have FFmpeg's names, `bit_rate` is that of lossy sound in bit/s,
    `bits_per_sample` counts the bits that hold sound, `channel_mask` is that of a WAVE header, `track`
    which of several sound tracks this is, from 1, and `start_s` the time on a film's clock of the first sample.
    """

    sample_rate: int
    channels: int
    frames: int
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

    @property
    def duration_s(self) -> float:
        return self.frames / self.sample_rate

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
        if self.sample_rate is not None and not low <= self.sample_rate <= high:
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

    def unused(self, stored: AudioInfo) -> list[str]:
        """Return what is remarked of an output like `stored`, to which not all of this applies."""
        if self.bit_rate is None or stored.bit_rate is not None:
            return []
        return [f"`bit_rate` is not used: {stored.format} with {stored.subtype} has none"]


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


def container_of(beginning: bytes) -> Container | None:
    """Return the container whose mark stands in these bytes, the first of a file behind its tags."""
    if beginning[8:12] == b"WAVE" and beginning[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
        return None
    for container in reversed(CONTAINERS):
        if any(beginning[at:].startswith(mark) for at, mark in container.marks):
            return container
    return None


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
    return replace(out, codec=codec)


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
        bits = 24 if _bits(info) > 16 else 16
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
    floating = info.subtype in ("FLOAT", "DOUBLE") or (info.codec or "").startswith("pcm_f")
    deep = ("FLOAT", "PCM_24") if floating else ("PCM_24",) if _bits(info) > 16 else ()
    choices: tuple[str, ...] = (info.subtype, *deep, soundfile.default_subtype(container))
    return next(choice for choice in choices if choice in there)


def _bits(info: AudioInfo) -> int:
    """Return how many bits of a sample hold sound; 0 where the encoding is lossy."""
    return info.bits_per_sample or _BITS.get(info.subtype, 0)
