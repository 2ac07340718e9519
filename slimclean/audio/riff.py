"""WAV chunk by chunk: how much sound there is, whatever the sizes in its header say."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from slimclean.audio.view import Part, Peek, Piece, Structure
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
_PCM, _FLOAT, _ALAW, _ULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_UNKNOWN = 0x7FFF_0000
"""From this size on, a 32-bit size stands for "unknown" in files that were written to a pipe."""
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
    others: tuple[range, ...]
    warnings: tuple[str, ...]
    regular: bool
    """Whether libsndfile reads the file as it is, and whole."""

    @property
    def codec(self) -> int:
        """The format tag; that of the extension where there is one."""
        (kind,) = struct.unpack("<H", self.fmt[:2])
        if kind == _EXTENSIBLE and len(self.fmt) >= 26:
            (kind,) = struct.unpack("<H", self.fmt[24:26])
        return int(kind)

    @property
    def block(self) -> int:
        """Bytes of a sample of all channels, or of a block of a codec."""
        return int(struct.unpack("<H", self.fmt[12:14])[0]) or 1

    @property
    def rate_bytes(self) -> int:
        return int(struct.unpack("<I", self.fmt[8:12])[0]) or 1


def scan(peek: Peek) -> Wave | None:
    """Return the sound of a RIFF, RF64 or BW64 file; None where there is none, or no format.

    Raises `AudioError` where sound is cut off.
    """
    head = peek.at(0, 12)
    (riff_size,) = struct.unpack("<I", head[4:8])
    fmt, data, ds64 = b"", None, b""
    declared = 0
    others: list[range] = []
    warnings: list[str] = []
    regular = head[:4] != b"BW64"
    position = 12
    while position + 8 <= peek.size:
        name, size = struct.unpack("<4sI", peek.at(position, 8))
        body = position + 8
        if name == b"data" and data is None:
            declared = size
            if ds64 and size == 0xFFFF_FFFF:
                (declared,) = struct.unpack("<Q", ds64[8:16])
            if declared == 0 and body + 8 <= peek.size and _is_chunk(peek, body) and fmt:
                data = range(body, body)
            else:
                stop, remark = _end(peek, body, declared, riff_size if not ds64 else 0)
                data = range(body, stop)
                if remark:
                    warnings.append(remark)
                    regular = False
            position = data.stop
            regular = regular and bool(fmt)
        else:
            if name == b"fmt ":
                fmt = peek.at(body, min(size, 64))
            elif name == b"ds64":
                ds64 = peek.at(body, min(size, 28)).ljust(28, b"\0")
            elif name == b"data":
                regular = False
                warnings.append(f"a second data chunk of {size} bytes was left out")
            elif body + size <= peek.size:
                others.append(range(position, body + size))
            position = min(body + size, peek.size)
        if position % 2 and position < peek.size:
            padded = _is_chunk(peek, position + 1) or position + 1 >= peek.size
            if padded or not _is_chunk(peek, position):
                position += 1
            elif data is None or data.stop != position:
                regular = False  # an odd chunk without its pad byte
    regular = regular and (bool(ds64) or head[:4] == b"RIFF")
    if data is None or len(fmt) < 16:
        return None
    wave = Wave(head[:4], fmt, data, declared, tuple(others), (), regular)
    return _measured(wave, warnings, unknown=declared == 0 or (declared >= _UNKNOWN and not ds64))


def _measured(wave: Wave, warnings: list[str], *, unknown: bool) -> Wave:
    """`wave` judged: too little sound is an error, other than declared a warning."""
    there, said = len(wave.data), wave.declared
    regular = wave.regular
    if there < said and not unknown and said - there >= min(wave.block, 4):
        raise AudioError(f"truncated: {there} of {said} bytes of sound are there")
    if there > said:
        seconds, told = there / wave.rate_bytes, said / wave.rate_bytes
        warnings.append(f"its header says {told:.2f} s of sound, {seconds:.2f} s are there and were read")
        regular = False
    return Wave(wave.tag, wave.fmt, wave.data, said, wave.others, tuple(warnings), regular)


def _end(peek: Peek, body: int, declared: int, riff_size: int) -> tuple[int, str]:
    """Find where sound that begins at `body` ends, and a remark on what follows it."""
    if body + declared == peek.size:
        return peek.size, ""
    if declared == 0 or body + declared > peek.size or _UNKNOWN <= declared < 1 << 32:
        if declared and body + declared < peek.size and _follows(peek, body + declared):
            return body + declared, ""
        if declared >= _UNKNOWN or declared == 0:
            return _before_chunks(peek, body), ""
        return min(body + declared, peek.size), ""
    stop = body + declared
    # Sizes have 32 bits: more than 4 GiB went round.
    whole = stop + ((peek.size - stop) >> 32 << 32)
    if whole > stop and _follows(peek, whole):
        return whole, ""
    if _follows(peek, stop):
        return stop, ""
    rest = peek.size - stop
    outside = riff_size + 8 <= stop + 1
    if (outside and rest < declared // 10) or _is_text(peek.at(stop, 4096)):
        return stop, f"{rest} bytes behind the sound are no chunks and were left out"
    return _before_chunks(peek, stop), ""


def _follows(peek: Peek, position: int) -> bool:
    """Tell whether nothing but chunks, zeros or a tag of an MP3 player stands from `position` to the end."""
    while position < peek.size:
        if peek.size - position < 8 or peek.at(position, 3) in (b"TAG", b"ID3", b"APE"):
            return True
        if position % 2 and not _is_chunk(peek, position) and _is_chunk(peek, position + 1):
            position += 1
        if not _is_chunk(peek, position):
            return not peek.at(position, 4096).strip(b"\0") and not peek.at(peek.size - 4096, 4096).strip(b"\0")
        position += 8 + struct.unpack("<I", peek.at(position + 4, 4))[0]
    return True


def _before_chunks(peek: Peek, start: int) -> int:
    """Return the end of sound of unknown length: that of the file, or where its last known chunk begins."""
    tail_start = max(start, peek.size - (1 << 16))
    tail = peek.at(tail_start, peek.size - tail_start)
    for name in (b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"iXML", b"_PMX"):
        position = tail.find(name)
        while position >= 0:
            at = tail_start + position
            if (at - start) % 2 == 0 and _is_chunk(peek, at) and _follows(peek, at):
                return at
            position = tail.find(name, position + 1)
    return peek.size


def _is_chunk(peek: Peek, position: int) -> bool:
    """Tell whether a chunk that fits into the file begins here."""
    head = peek.at(position, 8)
    if len(head) < 8 or not all(0x20 <= byte < 0x7F for byte in head[:4]):
        return False
    (size,) = struct.unpack("<I", head[4:])
    if head[:4] == b"data":
        return True
    return position + 8 + int(size) <= peek.size + 1


def _is_text(data: bytes) -> bool:
    return bool(data) and sum(32 <= byte < 127 or byte in b"\r\n\t" for byte in data) > 0.95 * len(data)


def mended(peek: Peek, wave: Wave) -> Structure:
    """`wave` behind a header that says how much it is; RF64 beyond 4 GiB, as libsndfile writes it."""
    fact = b""
    extra: list[Piece] = []
    for chunk in wave.others:
        name = peek.at(chunk.start, 4)
        if name == b"fact":
            fact = peek.at(chunk.start, len(chunk))
        elif name == b"LIST" and len(chunk) < _CHUNK_BYTES:
            extra.append(peek.at(chunk.start, len(chunk)) + b"\0" * (len(chunk) % 2))
    block = wave.block
    size = len(wave.data) // block * block if wave.codec in (_PCM, _FLOAT, _ALAW, _ULAW) else len(wave.data)
    chunks = b"fmt " + struct.pack("<I", len(wave.fmt)) + wave.fmt + b"\0" * (len(wave.fmt) % 2) + fact
    chunks += b"".join(bytes(piece) for piece in extra)
    large = wave.tag != b"RIFF" or size > 0xFFFF_0000
    if large:
        ds64 = struct.pack("<4sIQQQI", b"ds64", 28, 4 + 36 + len(chunks) + 8 + size, size, size // block, 0)
        head = b"RF64" + struct.pack("<I", 0xFFFF_FFFF) + b"WAVE" + ds64 + chunks
    else:
        head = b"RIFF" + struct.pack("<I", 4 + len(chunks) + 8 + size) + b"WAVE" + chunks
    head += b"data" + struct.pack("<I", 0xFFFF_FFFF if large else size)
    stretch = range(wave.data.start, wave.data.start + size)
    return Structure((Part((head, stretch)),), wave.warnings)


def codec_name(tag: int) -> str:
    """Return what people call a WAV file's codec."""
    return CODECS.get(tag, f"codec {tag:#06x}")
