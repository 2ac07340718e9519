"""WAV chunk by chunk: how much sound there is, whatever the sizes in its header say."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace

import numpy as np

from slimclean.audio.structure.chunk_bytes import chunk
from slimclean.audio.structure.riff import BEHIND, MOST_CHUNKS, Walk
from slimclean.audio.structure.sizes import UNKNOWN, UNKNOWN_FROM, UNKNOWN_FROM_64, other_length, truncated
from slimclean.audio.structure.view import BLOCK_BYTES, Part, Peek, Piece, Structure, check_parts
from slimclean.errors import AudioError

MPEG = (0x50, 0x55)
"""Format tags of MPEG audio: layers I and II, and MP3."""
CODECS = {
    0x11: "IMA ADPCM", 0x20: "Yamaha ADPCM", 0x22: "TrueSpeech", 0x31: "GSM", 0x38: "AMR", 0x42: "G.723",
    0x45: "G.726", 0x50: "MPEG layer II", 0x55: "MP3", 0x57: "AMR", 0x64: "G.726", 0x65: "G.722", 0x83: "G.729",
    0xFF: "AAC", 0x161: "WMA", 0x162: "WMA", 0x1600: "AAC", 0x1610: "AAC", 0x2000: "AC-3", 0x28F: "G.722",
    0x674F: "Vorbis", 0x7A21: "AMR", 0xA106: "AAC", 0xA109: "Speex",
}  # fmt: skip
"""Names of what stands in WAV files besides PCM, by format tag."""
PCM, FLOAT, ALAW, ULAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
"""Other format tags; EXTENSIBLE says that the real one stands further behind."""
_LOUDER, _SOFT = 4.0, 1e-3
"""Bytes of something else are this many times louder than a recording, and by so much of full scale."""
_CHUNK_BYTES = 1 << 22
"""No other chunk before the sound is larger where chunks are moved; pictures are smaller."""


@dataclass(frozen=True)
class Wave:
    """The chunks of a WAV file that matter: format, sound and where that really ends."""

    tag: bytes
    fmt: bytes
    data: range
    declared: int
    """Bytes of sound by the header."""
    others: tuple[range, ...] = ()
    warnings: tuple[str, ...] = ()
    regular: bool = True
    """Whether libsndfile reads the file as it is, and whole."""
    next: int | None = None
    """Where another WAV file begins that was laid behind this one."""

    @property
    def order(self) -> str:
        """The order of bytes, as `struct` writes it."""
        return ">" if self.tag == b"RIFX" else "<"

    @property
    def codec(self) -> int:
        """The format tag; that of the extension where there is one."""
        (kind,) = struct.unpack(self.order + "H", self.fmt[:2])
        if kind == EXTENSIBLE and len(self.fmt) >= 26:
            (kind,) = struct.unpack(self.order + "H", self.fmt[24:26])
        return int(kind)

    @property
    def block(self) -> int:
        """Bytes of a sample of all channels, or of a block of a codec."""
        return int(struct.unpack(self.order + "H", self.fmt[12:14])[0]) or 1

    @property
    def bits(self) -> int:
        return int(struct.unpack(self.order + "H", self.fmt[14:16])[0])

    @property
    def rate_bytes(self) -> int:
        return int(struct.unpack(self.order + "I", self.fmt[8:12])[0]) or 1


@dataclass
class _Found:
    """What the chunks hold that were walked over so far; the fields are those of `Wave`."""

    walk: Walk
    regular: bool
    fmt: bytes = b""
    ds64: bytes = b""
    """The sizes of 64 bits, where they count."""
    any_data: bool = False
    data: range = range(0)
    declared: int = 0
    others: list[range] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def take_sound(self, body: int, size: int) -> int:
        """Take in a `data` chunk whose sound begins at `body`; return where that really ends."""
        walk = self.walk
        self.regular = self.regular and not self.any_data and bool(self.fmt)
        self.any_data, self.declared = True, size
        if self.ds64 and size == UNKNOWN:
            (self.declared,) = struct.unpack("<Q", self.ds64[8:16])
            if self.declared >= UNKNOWN_FROM_64:
                self.declared, self.ds64 = UNKNOWN, b""
        if self.declared == 0 and self.fmt and body + 8 <= walk.peek.size and walk.is_chunk(body):
            self.data = range(body, body)
            return body
        riff_end = 0 if self.ds64 else walk.start + 8 + walk.number(walk.start + 4)
        stop, remark = _end(walk, body, self.declared, riff_end, self.fmt)
        self.data = range(body, stop)
        self.warnings += [remark] * bool(remark)
        # libsndfile takes what stands behind sound of unknown length for more of it.
        self.regular = self.regular and not remark and stop in (body + self.declared, walk.peek.size)
        return stop

    def take_other(self, name: bytes, body: int, size: int) -> int:
        """Take in any other chunk whose content begins at `body`; return where that ends in the file."""
        peek = self.walk.peek
        if name == b"fmt ":
            self.fmt = peek.at(body, min(size, 64))
        elif name == b"ds64":
            self.ds64 = peek.at(body, min(size, 28)).ljust(28, b"\0")
        elif name == b"data":
            self.regular = False
            self.warnings.append(f"a second data chunk of {size} bytes was left out")
        elif body + size <= peek.size:
            self.others.append(range(body - 8, body + size))
        return min(body + size, peek.size)


def scan(peek: Peek, start: int = 0) -> Wave | None:
    """Return the sound of a file that begins at `start`; None where there is none, or no format.

    Raises `AudioError` where sound is cut off.
    """
    walk = Walk(peek, start)
    found = _Found(walk, regular=walk.tag != b"BW64")
    following: int | None = None
    position, count = start + 12, 0
    while position + 8 <= peek.size:
        count += 1
        if count > MOST_CHUNKS:
            raise AudioError(f"damaged: more than {MOST_CHUNKS} chunks")
        name, size, body = peek.at(position, 4), walk.number(position + 4), position + 8
        if found.any_data and walk.is_file(position):
            following = position
            break
        if name == b"data" and not found.data:
            position = found.take_sound(body, size)
        else:
            position = found.take_other(name, body, size)
        if position % 2 and position < peek.size:
            after = walk.past_pad(position)
            if after == position != found.data.stop:
                found.regular = False  # an odd chunk without its pad byte
            position = after
    if not found.any_data and found.fmt and peek.at(position, 4) == b"data":
        raise AudioError("truncated: it ends where its header says how much sound there is")
    if not found.any_data or len(found.fmt) < 16:
        return None
    declared, exact = found.declared, bool(found.ds64)
    regular = found.regular and (exact or walk.tag in (b"RIFF", b"RIFX"))
    wave = Wave(walk.tag, found.fmt, found.data, declared, tuple(found.others), (), regular, following)
    unknown = declared == 0 or (declared >= UNKNOWN_FROM and not exact)
    return _measured(wave, found.warnings, unknown=unknown)


def _measured(wave: Wave, warnings: list[str], *, unknown: bool) -> Wave:
    """Judge `wave`: too little sound is an error, other than declared a warning."""
    there, said = len(wave.data), wave.declared
    regular = wave.regular
    if there < said and not unknown and said - there >= min(wave.block, 4):
        raise AudioError(truncated(there, said))
    if there > said:
        warnings.append(other_length(said / wave.rate_bytes, there / wave.rate_bytes))
        regular = False
    return replace(wave, warnings=tuple(warnings), regular=regular)


def _end(walk: Walk, body: int, declared: int, riff_end: int, fmt: bytes) -> tuple[int, str]:
    """Find where sound that begins at `body` ends; with a remark on what follows it."""
    size = walk.peek.size
    if body + declared == size:
        return size, ""
    if declared == 0 or body + declared > size or UNKNOWN_FROM <= declared < 1 << 32:
        if declared and body + declared < size and walk.follows(body + declared):
            return body + declared, ""
        if declared >= UNKNOWN_FROM or declared == 0:
            return walk.before_chunks(body), ""
        return min(body + declared, size), ""
    stop = body + declared
    # Sizes have 32 bits: more than 4 GiB went round.
    whole = stop + ((size - stop) >> 32 << 32)
    if whole > stop and walk.follows(whole):
        return whole, ""
    if walk.follows(stop):
        return stop, ""
    if walk.peek.at(stop + stop % 2, 4) in BEHIND:
        return stop, "the chunks behind the sound are cut short"
    outside = riff_end <= stop + 1
    if (outside and not _goes_on(walk, fmt, body, stop)) or _is_text(walk.peek.at(stop, 4096)):
        return stop, f"{size - stop} bytes behind the sound are no chunks and were left out"
    return walk.before_chunks(stop), ""


def _goes_on(walk: Walk, fmt: bytes, body: int, stop: int) -> bool:
    """Tell whether what follows `stop` sounds like what is before it, and not like bytes of something else."""
    if len(fmt) < 16:
        return True
    wave = Wave(walk.tag, fmt, range(body, stop), 0)
    before = _loudness(
        wave, walk.peek.at(max(body, stop - BLOCK_BYTES // wave.block * wave.block), BLOCK_BYTES)
    )
    after = _loudness(wave, walk.peek.at(stop, BLOCK_BYTES))
    return before is None or after is None or after <= _LOUDER * before + _SOFT


def _loudness(wave: Wave, data: bytes) -> float | None:
    """Measure the RMS of PCM, 1 for full scale; None for what is not PCM."""
    kinds = {(PCM, 8): "u1", (PCM, 16): "i2", (PCM, 24): "i2", (PCM, 32): "i4", (FLOAT, 32): "f4"}
    kind = kinds.get((wave.codec, wave.bits))
    if kind is None:
        return None
    if wave.bits == 24:  # the upper two of three bytes
        triples = np.frombuffer(data[: len(data) // 3 * 3], np.uint8).reshape(-1, 3)
        data = triples[:, 1:].tobytes() if wave.order == "<" else triples[:, :2].tobytes()
    samples = np.frombuffer(data[: len(data) // int(kind[1]) * int(kind[1])], wave.order + kind).astype(
        np.float64
    )
    full = {"u1": 128.0, "i2": 2.0**15, "i4": 2.0**31, "f4": 1.0}[kind]
    samples = samples - 128 if kind == "u1" else samples
    with np.errstate(over="ignore", invalid="ignore"):
        rms = float(np.sqrt(np.mean(np.square(samples)))) / full if len(samples) else 0.0
    return rms if np.isfinite(rms) else np.inf


def _is_text(data: bytes) -> bool:
    return bool(data) and sum(32 <= byte < 127 or byte in b"\r\n\t" for byte in data) > 0.95 * len(data)


def joined(peek: Peek, wave: Wave) -> Structure:
    """Give `wave` and what is laid behind it headers that say how much it is; as it is if all is well."""
    if wave.regular and wave.next is None:
        return Structure((Part((range(peek.size),)),), wave.warnings)
    parts, warnings = [], list(wave.warnings)
    each: Wave | None = wave
    while each is not None:
        parts.append(_mended(peek, each))
        check_parts(len(parts))
        each = scan(peek, each.next) if each.next is not None else None
        warnings += each.warnings if each is not None else ()
    return Structure(tuple(parts), tuple(warnings))


def _mended(peek: Peek, wave: Wave) -> Part:
    """Put `wave` behind a header that says how much it is; RF64 beyond 4 GiB, as libsndfile writes it."""
    pieces: list[Piece] = []
    for place in wave.others:
        if len(place) < _CHUNK_BYTES and peek.at(place.start, 4) in (b"fact", b"LIST"):
            pieces += [place, b"\0" * (len(place) % 2)]
    block, order = wave.block, wave.order
    size = len(wave.data) // block * block if wave.codec in (PCM, FLOAT, ALAW, ULAW) else len(wave.data)
    fmt = chunk(b"fmt ", wave.fmt, order)
    chunk_bytes = len(fmt) + sum(map(len, pieces))
    large = wave.tag in (b"RF64", b"BW64") or chunk_bytes + size > 0xFFFF_0000
    if large:
        ds64 = struct.pack("<4sIQQQI", b"ds64", 28, 4 + 36 + chunk_bytes + 8 + size, size, size // block, 0)
        head = b"RF64" + struct.pack("<I", UNKNOWN) + b"WAVE" + ds64
    else:
        head = wave.tag + struct.pack(order + "I", 4 + chunk_bytes + 8 + size) + b"WAVE"
    data = b"data" + struct.pack(order + "I", UNKNOWN if large else size)
    return Part((head + fmt, *pieces, data, range(wave.data.start, wave.data.start + size)))
