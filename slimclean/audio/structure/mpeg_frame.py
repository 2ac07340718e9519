"""One frame of MPEG audio (MP3, MP2): what its header says, and the Info frame that counts those behind it."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from slimclean.audio.structure.view import Peek

RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""By the header's two bits of version: MPEG 1, 2 and 2.5."""
KBITS = {
    (3, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 1): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""By version (2.5 is like 2) and the header's two bits of layer, where 3 is layer I."""
GAPS, NO_GAP = 141, 0xFFF
"""Where in an Info frame 12 bits each tell of samples before and behind the sound, and what is none: all set.

FFmpeg writes up to some 3,600 before the sound, where it cuts a file without encoding it anew.
"""


@dataclass(frozen=True)
class FrameHeader:
    """What the header of a frame says: `length` is in bytes, `layer` 3 for layer I."""

    length: int
    samples: int
    rate: int
    version: int
    layer: int


def _headers() -> dict[tuple[int, int], FrameHeader]:
    """List the valid second and third bytes of a frame (ISO 11172-3, 2.4.2.3), but for free bit rates."""
    found = {}
    for version, rates in RATES_HZ.items():
        for layer in (1, 2, 3):
            kbits = KBITS[3 if version == 3 else 2, layer]
            samples = {3: 384, 2: 1152, 1: 1152 if version == 3 else 576}[layer]
            for third in range(256):
                rate_index, bits_index, padding = third >> 2 & 3, third >> 4, third >> 1 & 1
                if rate_index == 3 or not 1 <= bits_index <= 14:
                    continue
                rate = rates[rate_index]
                if layer == 3:
                    length = (12_000 * kbits[bits_index - 1] // rate + padding) * 4
                else:
                    length = samples // 8 * 1000 * kbits[bits_index - 1] // rate + padding
                for protection in (0, 1):
                    second = 0xE0 | version << 3 | layer << 1 | protection
                    found[second, third] = FrameHeader(length, samples, rate, version, layer)
    return found


_TABLE = _headers()
# Runs of 0xFF, as erased memory has them, hold no header: each byte of one would be looked at otherwise.
HEADER = re.compile(
    b"\xff[%b][%b]" % tuple(re.escape(bytes(sorted({pair[place] for pair in _TABLE}))) for place in (0, 1))
)
"""The first three of a header's four bytes."""
HEADER_BYTES = 3


def frame_header(data: bytes) -> FrameHeader | None:
    """Read the four bytes that a frame begins with; None where they begin none."""
    return _TABLE.get((data[1], data[2])) if len(data) == 4 and data[0] == 0xFF else None


def is_mono(data: bytes) -> bool:
    """Tell whether the four bytes that a frame begins with say that it has one channel."""
    return data[3] >> 6 == 3


def info_offset(header: FrameHeader, mono: bool) -> int:
    """Return where in a frame the mark of an Info frame stands: behind the side information."""
    return (
        4
        + {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}[header.version == 3, mono]
    )


def counted_frames(peek: Peek, position: int, header: FrameHeader, data: bytes) -> int | None:
    """Read how many frames an Xing, Info or VBRI frame counts; 0 if it does not say, None if it is none."""
    if header.layer != 1:
        return None
    frame = peek.at(position, min(header.length, 64))
    offset = info_offset(header, is_mono(data))
    for at in {offset, offset + 2}:  # two bytes of checksum shift it, in some encoders' files
        if frame[at : at + 4] in (b"Xing", b"Info"):
            flags, count = struct.unpack(">II", frame[at + 4 : at + 12].ljust(8, b"\0"))
            return int(count) if flags & 1 else 0
    if frame[36:40] == b"VBRI":
        return int.from_bytes(frame[50:54], "big")
    return None


def empty_info_frame(first: bytes, flags: int, size: int) -> bytearray:
    """Make an Info frame for frames that begin like `first`, without a checksum, that states nothing.

    `flags` say what stands in it: 1 how many frames, 2 how many bytes, 4 a table of contents, 8 a quality. It
    has the least bit rate with which `size` bytes, from the mark on, fit.
    """
    offset = 4
    for index in range(1, 15):
        head = bytes([first[0], first[1] | 1, index << 4 | first[2] & 0x0C, first[3]])
        if (header := frame_header(head)) is not None:
            offset = info_offset(header, is_mono(first))
            if header.length >= offset + size:
                break
    else:
        raise AssertionError(f"no frame holds {size} bytes")
    frame = bytearray(header.length)
    frame[:4] = head
    frame[offset : offset + 8] = b"Info" + struct.pack(">I", flags)
    return frame


def state_count(frame: bytearray, offset: int, frames: int, total_bytes: int) -> None:
    """Write into an Info frame, whose mark is at `offset`, of how many frames and bytes it stands before."""
    struct.pack_into(">I", frame, offset + 8, frames)
    if frame[offset + 7] & 2:
        struct.pack_into(">I", frame, offset + 12, total_bytes + len(frame))
