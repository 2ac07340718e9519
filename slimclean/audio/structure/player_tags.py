"""Tags for MP3 players, ID3 and APE, which stand before and behind sound of many kinds."""

from __future__ import annotations

import struct

from slimclean.audio.structure.view import Peek

MARKS = (b"TAG", b"ID3", b"APE")
"""How they begin."""
ID3V1_BYTES = 128
_ID3_HEAD, _APE_HEAD = 10, 32
"""Bytes of a tag's head, and of a foot where it has one."""
_APE_HAS_HEAD, _APE_IS_HEAD = 1 << 31, 1 << 29


def after_tags(peek: Peek, position: int, end: int) -> int:
    """Find where the ID3 and APE tags that begin here end."""
    while True:
        head = peek.at(position, 32)
        if len(head) >= _ID3_HEAD and head[:3] == b"ID3" and head[3] < 0xFF and max(head[6:10]) < 128:
            position += _ID3_HEAD + _id3_size(head) + (_ID3_HEAD if head[5] & 0x10 else 0)
        elif len(head) == _APE_HEAD and head[:8] == b"APETAGEX":
            size, flags = _ape_fields(head)
            position += _APE_HEAD + (size if flags & _APE_IS_HEAD else 0)
        elif head[:3] == b"TAG" and position + ID3V1_BYTES == end:
            position = end
        else:
            return min(position, end)


def without_tags(tail: bytes) -> bytes:
    """`tail` without the tags, and the zeros that some tools put behind sound, at its end."""
    while True:
        shorter = tail
        id3 = tail.rfind(b"ID3")
        if id3 >= 0 and id3 + _ID3_HEAD + _id3_size(tail[id3 : id3 + _ID3_HEAD]) == len(tail):
            shorter = tail[:id3]
        elif tail.endswith(bytes(16)):
            shorter = tail.rstrip(b"\0")
        elif tail[-ID3V1_BYTES:][:3] == b"TAG" and len(tail) >= ID3V1_BYTES:
            shorter = tail[:-ID3V1_BYTES]
        elif tail[-_APE_HEAD:][:8] == b"APETAGEX" and len(tail) >= _APE_HEAD:
            size, flags = _ape_fields(tail[-_APE_HEAD:])
            whole = size + (_APE_HEAD if flags & _APE_HAS_HEAD else 0)
            shorter = tail[:-whole] if size >= _APE_HEAD else tail
        if len(shorter) == len(tail):
            return tail
        tail = shorter


def _id3_size(head: bytes) -> int:
    """Read how long an ID3 tag is behind its head: seven bits a byte."""
    return sum((byte & 127) << 7 * place for place, byte in enumerate(reversed(head[6:10])))


def _ape_fields(head: bytes) -> tuple[int, int]:
    """Read from the head or the foot of an APE tag its size, the foot included, and flags."""
    size, flags = struct.unpack("<I4xI", head[12:24])
    return size, flags
