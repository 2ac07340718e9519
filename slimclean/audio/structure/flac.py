"""FLAC: streams laid end to end, and how long each is by its last frame instead of its header."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from slimclean.audio.structure.player_tags import without_tags
from slimclean.audio.structure.sizes import other_length
from slimclean.audio.structure.view import Part, Peek, Structure, check_parts
from slimclean.errors import AudioError

_STREAM_INFO = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
"""Marker and header of the first block, which is always STREAMINFO with 34 bytes."""
_BLOCKS = {1: 192, 2: 576, 3: 1152, 4: 2304, 5: 4608, **{code: 256 << code - 8 for code in range(8, 16)}}
_TAIL_BYTES = 1 << 18
"""So many bytes of tags and zeros may stand behind a stream's last frame."""


def _table(polynomial: int, bits: int) -> tuple[int, ...]:
    entries = []
    for byte in range(256):
        register = byte << bits - 8
        for _ in range(8):
            register = register << 1 ^ (polynomial if register >> bits - 1 else 0)
            register &= (1 << bits) - 1
        entries.append(register)
    return tuple(entries)


_CRC8, _CRC16 = _table(0x07, 8), _table(0x8005, 16)


@dataclass(frozen=True)
class _Stream:
    start: int
    stop: int
    head: bytes
    """Marker and STREAMINFO."""
    audio: int
    """Where the frames begin."""

    @property
    def rate(self) -> int:
        return int.from_bytes(self.head[18:21], "big") >> 4 or 1

    @property
    def block(self) -> int:
        """Samples of a frame where all are alike."""
        return int.from_bytes(self.head[8:10], "big")

    @property
    def most_frame_bytes(self) -> int:
        """Bytes of a frame of the longest block that is stored as it is, which no encoder exceeds.

        The header's own number is that of the file it was written for, or 0.
        """
        form = int.from_bytes(self.head[20:22], "big")
        channels, bits = (form >> 9 & 7) + 1, (form >> 4 & 31) + 1
        return int.from_bytes(self.head[10:12], "big") * channels * (bits + 1) // 8 + 64

    @property
    def declared(self) -> int:
        """Samples by the header; 0 if it does not say."""
        return (self.head[21] & 0xF) << 32 | int.from_bytes(self.head[22:26], "big")


def scan(peek: Peek, start: int) -> Structure | None:
    """Find the streams from `start` on; None where there is none. Raises `AudioError` where one is cut."""
    streams = _streams(peek, start)
    if not streams:
        return None
    parts, warnings = [], []
    if streams[0].start > start:
        warnings.append(f"{streams[0].start - start} bytes before the first FLAC stream were left out")
    for stream in streams:
        samples, whole = _samples(peek, stream)
        if not whole and (samples != stream.declared or not samples):
            there = f"{samples} of {stream.declared} samples" if stream.declared else f"{samples} samples"
            raise AudioError(f"truncated or damaged: {there} are there, and a part of a frame")
        if samples != stream.declared:
            head = bytearray(stream.head)
            head[21] = head[21] & 0xF0 | samples >> 32 & 0xF
            head[22:26] = struct.pack(">I", samples & 0xFFFF_FFFF)
            parts.append(Part((bytes(head), range(stream.start + len(head), stream.stop)), samples))
            if stream.declared:
                warnings.append(other_length(stream.declared / stream.rate, samples / stream.rate))
        else:
            parts.append(Part((range(stream.start, stream.stop),), samples))
    return Structure(tuple(parts), tuple(warnings), "FLAC")


def _streams(peek: Peek, start: int) -> list[_Stream]:
    starts = []
    position = start
    while (found := peek.find(b"fLaC", position, peek.size)) >= 0:
        position = found + 4
        if peek.at(found, 8) in _STREAM_INFO:
            starts.append(found)
            position = found + 42
        check_parts(len(starts))
    streams = []
    for first, stop in zip(starts, [*starts, peek.size][1:], strict=True):
        audio, last = first + 4, False
        while not last and audio + 4 <= stop:
            head = peek.at(audio, 4)
            last, audio = bool(head[0] & 0x80), audio + 4 + int.from_bytes(head[1:4], "big")
        if audio > stop or not last:
            raise AudioError(f"damaged: the blocks at byte {first} are longer than the stream")
        if audio < stop:
            streams.append(_Stream(first, stop, peek.at(first, 42), audio))
    return streams


def _samples(peek: Peek, stream: _Stream) -> tuple[int, bool]:
    """Return how many samples a stream holds by its last frame, and whether that frame is whole."""
    begin = frame_place(peek.at(stream.audio, 32), stream.block)
    start = max(stream.audio, stream.stop - _TAIL_BYTES - stream.most_frame_bytes)
    tail = without_tags(peek.at(start, stream.stop - start))
    position, candidates = len(tail), list[int]()
    while (position := tail.rfind(b"\xff", 0, position)) >= 0 and len(candidates) < 4:
        if (found := frame_place(tail[position : position + 32], stream.block)) is None:
            continue
        number, count = found[0] - (begin[0] if begin else 0), found[1]
        if _is_whole(tail, position, exactly=number + count != stream.declared):
            return number + count, True
        candidates.append(number)
    return (candidates[0] if candidates else 0), False


def frame_place(data: bytes, block: int) -> tuple[int, int] | None:
    """Read the first sample and the length of a frame from its header `data`; None if it is no header.

    `block` is how many samples each frame holds where they are all alike.
    """
    if len(data) < 6 or data[0] != 0xFF or data[1] & 0xFE != 0xF8 or data[3] & 1:
        return None
    size_code, rate_code = data[2] >> 4, data[2] & 15
    if size_code == 0 or rate_code == 15 or data[3] >> 4 > 10:
        return None
    # The number is written like a character of UTF-8, of up to 7 bytes.
    lead, position = data[4], 5
    extra = 0
    while lead & 0x80 >> extra and extra < 7:
        extra += 1
    if extra == 1:
        return None
    number = lead & 0x7F >> extra if extra else lead
    for _ in range(max(0, extra - 1)):
        if position >= len(data) or data[position] & 0xC0 != 0x80:
            return None
        number = number << 6 | data[position] & 0x3F
        position += 1
    if size_code in (6, 7):
        width = size_code - 5
        count = int.from_bytes(data[position : position + width], "big") + 1
        position += width
    else:
        count = _BLOCKS[size_code]
    position += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if position >= len(data) or _crc(data[:position], _CRC8, 8) != data[position]:
        return None
    if not data[1] & 1:  # fixed blocks are counted, not samples
        number *= block
    return number, count


def _is_whole(tail: bytes, position: int, *, exactly: bool) -> bool:
    """Check the checksum of the frame at `position` at the end, or anywhere if not `exactly`."""
    register = 0
    for index in range(position, len(tail)):
        register = (register << 8 & 0xFFFF) ^ _CRC16[register >> 8 ^ tail[index]]
        if register == 0 and not exactly and index - position > 6:
            return True
    return register == 0


def _crc(data: bytes, table: tuple[int, ...], bits: int) -> int:
    register = 0
    for byte in data:
        register = (register << 8 & (1 << bits) - 1) ^ table[register >> bits - 8 ^ byte]
    return register
