"""The Info frame of an MP3: where its sound begins and ends among the encoder's own samples.

LAME writes one as large as all the other frames, and none where these are too small for it: at 32 kbit/s and
16 kHz, say. Then players begin 1105 samples early, and no header says how long the sound is. A frame of a
larger bit rate says it as well, as FFmpeg's do. Source: "Mp3 Info Tag revision 1", LAME's own description.
"""

from __future__ import annotations

import struct
from pathlib import Path

from slimclean.audio.insertion import make_room
from slimclean.audio.structure.mpeg_frame import (
    GAPS,
    counted_frames,
    empty_info_frame,
    frame_header,
    state_count,
)
from slimclean.audio.structure.player_tags import after_tags
from slimclean.audio.structure.view import Peek

DELAY = 576
"""Samples that LAME puts before the sound; a decoder's own delay comes on top."""
_BYTES = 156
"""From the mark on, LAME's extension included."""
_CONSTANT = 1
"""The kind of bit rate, in LAME's extension."""
_ALL = 0xF
"""Frames, bytes, a table of contents and a quality are there."""


def add_info_frame(path: Path, samples: int) -> None:
    """Put an Info frame before the MP3 of constant bit rate in `path` that LAME gave none.

    `samples` is what the encoder was given. A file that has such a frame, or is no regular one, stays as it is.
    """
    if not path.is_file():
        return
    with path.open("r+b") as file:
        peek = Peek(file)
        start = after_tags(peek, 0, peek.size)
        first = peek.at(start, 4)
        header = frame_header(first)
        if header is None or counted_frames(peek, start, header, first) is not None:
            return
        frames, end = 0, start
        while (here := frame_header(peek.at(end, 4))) is not None and end + here.length <= peek.size:
            frames, end = frames + 1, end + here.length
        padding = frames * header.samples - DELAY - samples
        if padding < 0:  # cut short, which reading it will tell
            return
        frame = _info_frame(first, frames, end - start, padding)
        make_room(file, start, len(frame))
        file.write(frame)


def _info_frame(first: bytes, frames: int, total_bytes: int, padding: int) -> bytes:
    """Make the frame for `frames` others of `total_bytes`, the first of which begins with `first`."""
    contents = bytes(256 * percent // 100 for percent in range(100))
    frame = empty_info_frame(first, _ALL, _BYTES)
    offset = frame.index(b"Info")
    state_count(frame, offset, frames, total_bytes)
    frame[offset + 16 : offset + 116] = contents
    frame[offset + 120 : offset + 130] = b"LAME3.100" + bytes([_CONSTANT])
    frame[offset + GAPS : offset + GAPS + 3] = (DELAY << 12 | padding).to_bytes(3, "big")
    frame[offset + 148 : offset + 152] = struct.pack(">I", total_bytes + len(frame))
    frame[offset + 154 : offset + 156] = struct.pack(">H", _checksum(bytes(frame[: offset + 154])))
    return bytes(frame)


def _checksum(data: bytes) -> int:
    """CRC-16 of polynomial 0x8005, bits reversed."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc
