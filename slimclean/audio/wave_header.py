"""The header of WAV at the beginning of a pipe, read as it comes, and lists of chunks."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import BinaryIO

from slimclean.audio.formats import BITS, MAX_CHANNELS, SAMPLE_RATES_HZ, AudioInfo
from slimclean.audio.structure.sizes import UNKNOWN, UNKNOWN_FROM, UNKNOWN_FROM_64
from slimclean.audio.structure.view import is_chunk_name
from slimclean.audio.structure.wave_file import EXTENSIBLE, FLOAT, PCM
from slimclean.audio.tags.chunks import OF_THE_SOUND, PADDING

_LARGEST_HEADER = 1 << 20
"""Before the sound; what needs more is no stream."""
_LARGEST_REST = 1 << 24
"""Behind the sound; it waits in memory until the sound is written."""
_SUBTYPES = {
    (PCM, 8): "PCM_U8", (PCM, 16): "PCM_16", (PCM, 24): "PCM_24", (PCM, 32): "PCM_32",
    (FLOAT, 32): "FLOAT", (FLOAT, 64): "DOUBLE",
}  # fmt: skip


class Bytes:
    """Reads a stream in full where bytes are counted, and remembers them, `count` bytes so far."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._taken: list[bytes] = []
        self.count = 0

    @property
    def taken(self) -> bytes:
        """What was read so far."""
        return b"".join(self._taken)

    def exactly(self, count: int) -> bytes:
        """Return the next `count` bytes, fewer at the end."""
        parts, missing = [], count
        while missing > 0 and (part := self._stream.read(missing)):
            parts.append(part)
            missing -= len(part)
        found = b"".join(parts)
        self._taken.append(found)
        self.count += len(found)
        return found


@dataclass(frozen=True)
class WaveHeader:
    """What a header says: how the sound is stored, its bytes (None: unknown), `fmt ` and the other chunks."""

    info: AudioInfo
    size: int | None
    fmt: bytes
    others: bytes
    behind: int = 0
    """Bytes of the chunks behind the sound."""
    ahead: bytes = b""
    """Bytes from behind the header that were read to tell what they are."""

    @property
    def frame_bytes(self) -> int:
        """Bytes of a sample of all channels."""
        return self.info.channels * BITS[self.info.subtype] // 8


def read_header(source: Bytes) -> WaveHeader | None:
    """Read up to the first sample; None for what is no WAV, or WAV of a kind that does not flow."""
    head = source.exactly(12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        return None
    fmt, sizes = b"", None
    others: list[bytes] = []
    while source.count < _LARGEST_HEADER:
        start = source.exactly(8)
        if len(start) < 8:
            return None
        name, size = struct.unpack("<4sI", start)
        if name == b"data":
            riff_size, size = sizes if sizes and size == UNKNOWN else (_number(head[4:]), size)
            behind = riff_size + 8 - (source.count + size + size % 2)
            header = _header(fmt, b"".join(others), size, exact=sizes is not None)
            if header is None or not 0 < behind <= _LARGEST_REST:
                return header
            if size == 0:
                ahead = source.exactly(8)
                empty = _is_chunk(ahead, behind)
                return replace(header, size=0 if empty else None, behind=behind if empty else 0, ahead=ahead)
            return header if header.size is None else replace(header, behind=behind)
        if size > _LARGEST_HEADER:
            return None
        body = source.exactly(size + size % 2)
        if len(body) < size or body[size:].strip(b"\0"):
            return None  # cut short, or without its pad byte
        if name == b"fmt ":
            fmt = body[:size]
        elif name == b"ds64":
            if size < 16:
                return None
            sizes = struct.unpack("<QQ", body[:16])
        elif name not in OF_THE_SOUND | PADDING:
            others += [start, body]
    return None


def _is_chunk(head: bytes, room: int) -> bool:
    """Tell whether a chunk of at most `room` bytes begins with these eight."""
    return len(head) == 8 and is_chunk_name(head[:4]) and 8 + _number(head[4:]) <= room


def _number(data: bytes) -> int:
    return int.from_bytes(data[:4], "little")


def _header(fmt: bytes, others: bytes, size: int, *, exact: bool) -> WaveHeader | None:
    """Return the header; `exact` says that sizes have 64 bits, so that none stands for "unknown"."""
    if len(fmt) < 16:
        return None
    tag, channels, rate, _, block, bits = struct.unpack("<HHIIHH", fmt[:16])
    valid, mask = None, None
    if tag == EXTENSIBLE and len(fmt) >= 40:
        valid, mask, tag = struct.unpack("<HIH", fmt[18:26])
    subtype = _SUBTYPES.get((tag, bits))
    low, high = SAMPLE_RATES_HZ
    if subtype is None or not 1 <= channels <= MAX_CHANNELS or not low <= rate <= high:
        return None
    if block != channels * bits // 8:
        return None
    known = 0 < size < (UNKNOWN_FROM_64 if exact else UNKNOWN_FROM) and size != UNKNOWN
    valid = valid if valid and valid < bits and tag == PCM else None
    info = AudioInfo(
        rate, channels, size // block if known else 0, "WAV", subtype, bits_per_sample=valid, channel_mask=mask
    )
    return WaveHeader(info, size if known else None, fmt, others)
