"""The kinds of file there are: what each is called, who reads it, who writes it, and what it holds."""

from __future__ import annotations

from dataclasses import dataclass


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
    """Whether browsers play it, with a codec that they have."""
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
    many_tracks: bool = False
    """Whether several tracks lie in it, which an output of such a kind keeps: films, and M4A."""

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
    many_tracks: bool = False,
) -> Container:
    """Make a container that PyAV reads and nobody writes."""
    return Container(
        name,
        tuple(extensions.split()),
        demuxers=tuple(demuxers.split(",")),
        marks=marks,
        becomes=becomes,
        clock=clock,
        many_tracks=many_tracks,
    )


BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
"""What the first box of an MP4 or QuickTime file may be called."""
_MOV = ("mov", "mp4", "m4a", "3gp", "3g2", "mj2")
_PCM = (
    "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be", "pcm_u8", "pcm_f32le",
    "pcm_f64le",
)  # fmt: skip
_MORE_PCM = ("pcm_s8", "pcm_f32be", "pcm_f64be", "pcm_alaw", "pcm_mulaw")
"""What QuickTime holds besides."""
_MATROSKA = ("flac", "aac", "alac", "ac3", "eac3", "mp3", "mp2", "opus", "vorbis", "wavpack", *_PCM)
"""Not TTA: FFmpeg guesses its length from that of the file, and cannot decode its last frame."""

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
        many_tracks=True,
    ),
    Container(
        "MP4",
        (".mp4", ".m4v"),
        demuxers=_MOV,
        marks=tuple((4, name) for name in BOXES),
        muxer="mp4",
        codecs=("aac", "alac", "ac3", "eac3", "mp3", "mp2", "opus", "flac"),
        in_browsers=True,
        clock="absolute",
        many_tracks=True,
    ),
    Container(
        "QuickTime",
        (".mov",),
        demuxers=_MOV,
        muxer="mov",
        codecs=("aac", "alac", "ac3", "eac3", "mp3", *_PCM, *_MORE_PCM),
        clock="absolute",
        many_tracks=True,
    ),
    _foreign("3GP", ".3gp .3g2", ",".join(_MOV), clock="absolute", many_tracks=True),
    Container(
        "Matroska or WebM",
        (".mkv",),
        demuxers=("matroska",),
        marks=((0, b"\x1a\x45\xdf\xa3"),),
        muxer="matroska",
        codecs=_MATROSKA,
        clock="absolute",
        many_tracks=True,
    ),
    Container(
        "Matroska sound",
        (".mka",),
        demuxers=("matroska",),
        muxer="matroska",
        sound_only=True,
        codecs=_MATROSKA,
        clock="absolute",
        many_tracks=True,
    ),
    Container(
        "WebM",
        (".webm",),
        demuxers=("webm",),
        muxer="webm",
        codecs=("opus", "vorbis"),
        in_browsers=True,
        clock="absolute",
        many_tracks=True,
    ),
    _foreign(
        "WMA",
        ".wma .wmv .asf",
        "asf",
        (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
        clock="absolute",
        many_tracks=True,
    ),
    _foreign("AAC", ".aac .loas .latm", "aac,loas", becomes=".m4a"),
    _foreign("AMR", ".amr .awb", "amr,amrnb,amrwb", (0, b"#!AMR")),
    _foreign("AC-3", ".ac3 .eac3", "ac3,eac3", (0, b"\x0b\x77")),
    _foreign("DTS", ".dts", "dts", (0, b"\x7f\xfe\x80\x01")),
    _foreign("Speex", ".spx", "ogg"),
    _foreign("G.722", ".g722", "g722"),
    _foreign("AVI", ".avi", "avi", (8, b"AVI "), many_tracks=True),
    _foreign("FLV", ".flv", "flv", (0, b"FLV\x01"), clock="absolute", many_tracks=True),
    _foreign(
        "MPEG film", ".mpg .mpeg .vob", "mpeg", (0, b"\x00\x00\x01\xba"), clock="relative", many_tracks=True
    ),
    _foreign("MPEG transport stream", ".ts .mts .m2ts", "mpegts", clock="relative", many_tracks=True),
    _foreign("Ogg film", ".ogv", "ogg", many_tracks=True),
    _foreign("WavPack", ".wv", "wv", (0, b"wvpk")),
    _foreign("Monkey's Audio", ".ape", "ape", (0, b"MAC ")),
    _foreign("TTA", ".tta", "tta", (0, b"TTA1")),
    _foreign("Musepack", ".mpc", "mpc,mpc8", (0, b"MPCK"), (0, b"MP+")),
    _foreign("MXF", ".mxf", "mxf", (0, b"\x06\x0e\x2b\x34"), clock="absolute", many_tracks=True),
    _foreign("NUT", ".nut", "nut", (0, b"nut/multimedia"), clock="absolute", many_tracks=True),
    _foreign("TrueHD", ".thd .mlp", "truehd,mlp"),
    _foreign("SBC", ".sbc", "sbc"),
    _foreign("DV", ".dv", "dv"),
    _foreign("Flash", ".swf", "swf"),
    _foreign("RealMedia", ".rm .ra", "rm", (0, b".RMF"), (0, b".ra\xfd")),
)
"""Every container: an entry here is all that a new one takes."""

BY_EXTENSION = {extension: container for container in CONTAINERS for extension in container.extensions}
DEMUXERS = ",".join(sorted({name for container in CONTAINERS for name in container.demuxers}))
"""The only containers FFmpeg may take a file for: never a playlist, which could name other files."""
EXTENSIONS = frozenset(BY_EXTENSION)
WRITABLE = frozenset(name for name, container in BY_EXTENSION.items() if container.becomes is None)
FOREIGN = frozenset(name for name, container in BY_EXTENSION.items() if container.sndfile is None)
"""Read through PyAV."""

MUXERS = frozenset(container.key for container in CONTAINERS if container.muxer)
"""`AudioInfo.format` of what is written through FFmpeg."""


WAVE_FORMS = (b"RIFF", b"RIFX", b"RF64", b"BW64")
"""What a WAV file begins with."""


def same_container(one: str, other: str) -> bool:
    """Tell whether two extensions, with their dots, name the same container, such as .aif and .aiff."""
    one, other = one.lower(), other.lower()
    return one == other or BY_EXTENSION.get(one) is BY_EXTENSION.get(other) is not None


def container_of(beginning: bytes) -> Container | None:
    """Return the container whose mark stands in these bytes, the first of a file behind its tags."""
    if beginning[8:12] == b"WAVE" and beginning[:4] not in WAVE_FORMS:
        return None
    for container in reversed(CONTAINERS):
        if any(beginning[at:].startswith(mark) for at, mark in container.marks):
            return container
    return None
