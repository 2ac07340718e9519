"""Whether a film or its like ends before its container says: then sound was cut off."""

from __future__ import annotations

import struct

from slimclean.audio.containers import BOXES
from slimclean.audio.structure.sizes import UNKNOWN_FROM
from slimclean.audio.structure.view import Peek

_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067


def missing_bytes(peek: Peek) -> int:
    """Count the bytes that a container promises beyond the end of its file; 0 also where it does not say."""
    head = peek.at(0, 16)
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        end = _matroska(peek)
    elif head.startswith(b"\x30\x26\xb2\x75"):
        end = _asf(peek)
    elif head.startswith(b"RIFF"):
        end = 8 + int.from_bytes(head[4:8], "little")
        end = 0 if end >= UNKNOWN_FROM else end
    elif head[4:8] in BOXES:
        end = _boxes(peek)
    else:
        end = 0
    return max(0, end - peek.size)


def _boxes(peek: Peek) -> int:
    """Return the end of the last box of an MP4 (ISO 14496-12, 4.2)."""
    position = 0
    while position + 8 <= peek.size:
        size, name = struct.unpack(">I4s", peek.at(position, 8))
        if size == 1:
            size = int.from_bytes(peek.at(position + 8, 8), "big")
        if size == 0 or not all(0x20 <= byte < 0x7F or byte == 0xA9 for byte in name):
            return peek.size  # to the end of the file, or something behind the boxes
        if size < 8:
            return peek.size
        position += size
    return position


def _matroska(peek: Peek) -> int:
    """Return the end of the segment of a Matroska file (RFC 8794); 0 for a broadcast, which does not say."""
    position = 0
    for _ in range(8):
        name, body = _number(peek, position, keep_marker=True)
        size, body = _number(peek, body, keep_marker=False)
        if body == 0:
            return 0
        unknown = size == (1 << 7 * _width(peek, position + _width(peek, position))) - 1
        if name == _SEGMENT or (name != _EBML and size > peek.size):
            return 0 if unknown or name != _SEGMENT else body + size
        position = body + size
    return 0


def _width(peek: Peek, position: int) -> int:
    first = peek.at(position, 1)
    return 9 - first[0].bit_length() if first and first[0] else 0


def _number(peek: Peek, position: int, *, keep_marker: bool) -> tuple[int, int]:
    """Read a number of variable width, and where it ends; 0, 0 for none."""
    width = _width(peek, position)
    data = peek.at(position, width)
    if not width or len(data) < width:
        return 0, 0
    value = int.from_bytes(data, "big")
    return (value if keep_marker else value & (1 << 7 * width) - 1), position + width


def _asf(peek: Peek) -> int:
    """Return the size of the file by the properties of an ASF header; 0 for a broadcast."""
    head = peek.at(0, 1 << 16)
    at = head.find(_ASF_PROPERTIES)
    if at < 0 or len(head) < at + 104:
        return 0
    size, flags = struct.unpack("<Q", head[at + 40 : at + 48])[0], head[at + 88]
    return 0 if flags & 1 else int(size)
