"""MPEG audio (MP3, MP2) frame by frame, because its headers guess how long it is.

A Xing or Info frame counts the frames of what it was written for; files are cut, joined and tagged
afterwards. Each stretch of like frames becomes a part that begins with an Info frame which counts right.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from slimclean.audio.view import Part, Peek, Piece, Structure
from slimclean.errors import AudioError

_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""By the header's two bits of version: MPEG 1, 2 and 2.5."""
_KBITS = {
    (3, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 1): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""By version (2.5 is like 2) and the header's two bits of layer, where 3 is layer I."""
GAPS, _NO_GAP = 141, 0xFFF
"""Where in an Info frame 12 bits each tell of samples before and behind the sound, and what is none: all set.

FFmpeg writes up to some 3,600 before the sound, where it cuts a file without encoding it anew.
"""
DECODER_DELAY = 529
"""Samples that libmpg123 leaves out at the beginning where there is an Info frame."""
SEARCH_BYTES = 1 << 20
"""How far into a file the first frame may lie."""


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
    for version, rates in _RATES_HZ.items():
        for layer in (1, 2, 3):
            kbits = _KBITS[3 if version == 3 else 2, layer]
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


@dataclass
class _Section:
    """Consecutive frames of one rate, version and number of channels."""

    header: FrameHeader
    mono: bool
    first: bytes
    info: bytes = b""
    """The Xing, Info or VBRI frame before them, if any."""
    frames: int = 0
    counted: int | None = None
    pieces: list[range] = field(default_factory=list)
    skipped_bytes: int = 0

    def add(self, start: int, stop: int) -> None:
        self.frames += 1
        if self.pieces and self.pieces[-1].stop == start:
            self.pieces[-1] = range(self.pieces[-1].start, stop)
        else:
            self.pieces.append(range(start, stop))

    @property
    def seconds(self) -> float:
        return self.frames * self.header.samples / self.header.rate


def scan(peek: Peek, start: int = 0, end: int | None = None) -> Structure | None:
    """Return the stretches of MPEG audio from `start` to `end`; None where there are none.

    Raises `AudioError` where a header counts frames that are cut off or overwritten.
    """
    end = peek.size if end is None else end
    begin = after_tags(peek, start, end)
    position = _next_frame(peek, begin, min(end, begin + SEARCH_BYTES), end)
    if position is None:
        return None
    first = position
    sections: list[_Section] = []
    warnings: list[str] = []
    if peek.at(begin, min(position - begin, 4096)).strip(b"\0"):
        warnings.append(f"{position - begin} bytes before the first MPEG frame were left out")
    cut = False
    while position < end:
        data = peek.at(position, 4)
        header = frame_header(data)
        if header is None or (_differs(sections, header, data) and not _is_frame(peek, position, end)):
            after = after_tags(peek, position, end)
            if after == position:
                after = _next_frame(peek, position + 1, end, end) or end
                skipped = after - position
                if sections and not _is_known(peek, position, after):
                    sections[-1].skipped_bytes += skipped
                    seconds = sum(section.seconds for section in sections)
                    warnings.append(f"{skipped} bytes at {seconds:.2f} s are no MPEG frames and were left out")
            position = after
            continue
        if position + header.length > end:
            cut = True
            break
        info = counted_frames(peek, position, header, data)
        if info is not None or _differs(sections, header, data):
            sections.append(_Section(header, data[3] >> 6 == 3, data))
        if info is not None:
            sections[-1].info = peek.at(position, header.length)
            sections[-1].counted = info
        else:
            sections[-1].add(position, position + header.length)
        position += header.length
    sections = [section for section in sections if section.frames]
    if not sections:
        return None
    warnings.extend(_judge(sections, cut=cut))
    regular = sections[0].counted == sections[0].frames and _is_plain(sections[0])
    if len(sections) == 1 and regular and not warnings and first == begin:
        return Structure((Part((range(start, end),)),))
    tags = [range(start, begin)] if begin > start else []
    parts = [_part(section, tags if section is sections[0] else []) for section in sections]
    return Structure(tuple(parts), tuple(warnings))


def _judge(sections: list[_Section], *, cut: bool) -> list[str]:
    warnings = []
    for section in sections:
        counted = section.counted or section.frames
        seconds = counted * section.header.samples / section.header.rate
        last = section is sections[-1]
        if counted > section.frames and (section.skipped_bytes >= section.header.length or (last and cut)):
            kind = "truncated" if last and cut else "damaged"
            raise AudioError(f"{kind}: {section.frames} of {counted} MPEG frames are there")
        if abs(counted - section.frames) > 1:
            warnings.append(f"a header says {seconds:.2f} s, {section.seconds:.2f} s are there and were read")
    if cut:
        warnings.append("the last MPEG frame is cut short")
    return warnings


def frame_header(data: bytes) -> FrameHeader | None:
    """Read the four bytes that a frame begins with; None where they begin none."""
    return _TABLE.get((data[1], data[2])) if len(data) == 4 and data[0] == 0xFF else None


def _differs(sections: list[_Section], header: FrameHeader, data: bytes) -> bool:
    """Tell whether a frame is not of the same form as the one before it."""
    if not sections:
        return True
    now = sections[-1].header
    return (now.version, now.layer, now.rate, sections[-1].mono) != (
        header.version, header.layer, header.rate, data[3] >> 6 == 3,
    )  # fmt: skip


def _is_frame(peek: Peek, position: int, end: int) -> bool:
    """Tell whether a frame stands here and another of its form, or the end, after it."""
    data = peek.at(position, 4)
    header = frame_header(data)
    if header is None:
        return False
    follows = position + header.length
    if follows >= end or after_tags(peek, follows, end) > follows:
        return follows <= end
    after = frame_header(peek.at(follows, 4))
    return after is not None and (after.version, after.layer) == (header.version, header.layer)


def begins(peek: Peek, position: int, frames: int) -> bool:
    """Tell whether so many MPEG frames, or the whole file's, stand one behind the other from here on."""
    for _ in range(frames):
        if not _is_frame(peek, position, peek.size):
            return False
        header = frame_header(peek.at(position, 4))
        assert header is not None
        position += header.length
        if position >= peek.size:
            break
    return True


def _next_frame(peek: Peek, position: int, last: int, end: int) -> int | None:
    """Return the first position from `position` on and before `last` where a frame begins."""
    while (position := peek.find(b"\xff", position, last)) >= 0:
        if _is_frame(peek, position, end):
            return position
        position += 1
    return None


def _is_known(peek: Peek, position: int, stop: int) -> bool:
    """Tell whether zeros, or tags that can only be told from their end, stand here."""
    first, last = peek.at(position, min(stop - position, 4096)), peek.at(max(position, stop - 160), 160)
    return not first.strip(b"\0") or first.startswith(b"LYRICSBEGIN") or b"APETAGEX" in last


def after_tags(peek: Peek, position: int, end: int) -> int:
    """Find where the ID3 and APE tags that begin here end."""
    while True:
        head = peek.at(position, 32)
        if len(head) >= 10 and head[:3] == b"ID3" and head[3] < 0xFF and max(head[6:10]) < 128:
            size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
            position += 10 + size + (10 if head[5] & 0x10 else 0)
        elif len(head) == 32 and head[:8] == b"APETAGEX":
            position += 32 + (struct.unpack("<I", head[12:16])[0] if head[23] & 0x20 else 0)
        elif head[:3] == b"TAG" and position + 128 == end:
            position = end
        else:
            return min(position, end)


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
    offset = info_offset(header, data[3] >> 6 == 3)
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
            offset = info_offset(header, first[3] >> 6 == 3)
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


def _is_plain(section: _Section) -> bool:
    """Tell whether libmpg123 takes the Info frame for one, for which there must be zeros before its mark."""
    offset = info_offset(section.header, section.mono)
    marked = section.info[offset : offset + 4] in (b"Xing", b"Info")
    return marked and not any(section.info[4:offset]) and not _no_gaps(section)


def _no_gaps(section: _Section) -> bool:
    """Tell whether the delay or padding that is stated is none, and would cost sound."""
    offset = info_offset(section.header, section.mono) + GAPS
    gaps = int.from_bytes(section.info[offset : offset + 3], "big")
    return _NO_GAP in (gaps >> 12, gaps & _NO_GAP)


_COUNTED = 12
"""Bytes of an Info frame, from the mark on, that counts frames and nothing else."""


def _part(section: _Section, tags: list[range]) -> Part:
    """Return the frames behind tags and an Info frame that counts them; layers I and II have no such frame."""
    header, samples = section.header, section.frames * section.header.samples
    if header.layer != 1:
        return Part((*tags, *section.pieces), samples)
    offset = info_offset(header, section.mono)
    total_bytes = sum(len(piece) for piece in section.pieces)
    frame = bytearray(section.info)
    kept = bytes(frame[offset : offset + 4]) in (b"Xing", b"Info") and frame[offset + 7] & 1
    if not kept:
        frame = empty_info_frame(section.first, 1, _COUNTED)
    frame[4:offset] = bytes(offset - 4)
    state_count(frame, offset, section.frames, total_bytes)
    if _no_gaps(section):
        frame[offset + GAPS : offset + GAPS + 3] = bytes(3)
    pieces: tuple[Piece, ...] = (*tags, bytes(frame), *section.pieces)
    # Who wrote no such frame had them in mind.
    return Part(pieces) if kept else Part(pieces, samples, DECODER_DELAY)
