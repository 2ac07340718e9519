"""MPEG audio (MP3, MP2) frame by frame, because its headers guess how long it is.

A Xing or Info frame counts the frames of what it was written for; files are cut, joined and tagged
afterwards. Each stretch of like frames becomes a part that begins with an Info frame which counts right.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from slimclean.audio.structure.mpeg_frame import (
    GAPS,
    HEADER,
    HEADER_BYTES,
    NO_GAP,
    FrameHeader,
    counted_frames,
    empty_info_frame,
    frame_header,
    info_offset,
    is_mono,
    state_count,
)
from slimclean.audio.structure.player_tags import after_tags
from slimclean.audio.structure.sizes import other_length
from slimclean.audio.structure.view import Part, Peek, Piece, Structure, check_parts
from slimclean.errors import AudioError

DECODER_DELAY = 529
"""Samples that libmpg123 leaves out at the beginning where there is an Info frame."""
SEARCH_BYTES = 1 << 20
"""How far into a file the first frame may lie."""


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
            position, remark = _past_others(peek, position, end, sections)
            warnings += [remark] * bool(remark)
            continue
        if position + header.length > end:
            cut = True
            break
        info = counted_frames(peek, position, header, data)
        if info is not None or _differs(sections, header, data):
            sections.append(_Section(header, is_mono(data), data))
            check_parts(len(sections))
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


def _past_others(peek: Peek, position: int, end: int, sections: list[_Section]) -> tuple[int, str]:
    """Return where frames go on behind tags or anything else, and what is remarked of it, "" for nothing."""
    after = after_tags(peek, position, end)
    if after > position:
        return after, ""
    after = _next_frame(peek, position + 1, end, end) or end
    if not sections or _is_known(peek, position, after):
        return after, ""
    skipped = after - position
    sections[-1].skipped_bytes += skipped
    seconds = sum(section.seconds for section in sections)
    return after, f"{skipped} bytes at {seconds:.2f} s are no MPEG frames and were left out"


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
            warnings.append(other_length(seconds, section.seconds, header="a header"))
    if cut:
        warnings.append("the last MPEG frame is cut short")
    return warnings


def _differs(sections: list[_Section], header: FrameHeader, data: bytes) -> bool:
    """Tell whether a frame is not of the same form as the one before it."""
    if not sections:
        return True
    now = sections[-1].header
    return (now.version, now.layer, now.rate, sections[-1].mono) != (
        header.version, header.layer, header.rate, is_mono(data),
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
    # A header has to begin before `last`, and may end behind it.
    while (position := peek.search(HEADER, HEADER_BYTES, position, last + HEADER_BYTES - 1)) >= 0:
        if _is_frame(peek, position, end):
            return position
        position += 1
    return None


def _is_known(peek: Peek, position: int, stop: int) -> bool:
    """Tell whether zeros, or tags that can only be told from their end, stand here."""
    first, last = peek.at(position, min(stop - position, 4096)), peek.at(max(position, stop - 160), 160)
    return not first.strip(b"\0") or first.startswith(b"LYRICSBEGIN") or b"APETAGEX" in last


def _is_plain(section: _Section) -> bool:
    """Tell whether libmpg123 takes the Info frame for one, for which there must be zeros before its mark."""
    offset = info_offset(section.header, section.mono)
    marked = section.info[offset : offset + 4] in (b"Xing", b"Info")
    return marked and not any(section.info[4:offset]) and not _no_gaps(section)


def _no_gaps(section: _Section) -> bool:
    """Tell whether the delay or padding that is stated is none, and would cost sound."""
    offset = info_offset(section.header, section.mono) + GAPS
    gaps = int.from_bytes(section.info[offset : offset + 3], "big")
    return NO_GAP in (gaps >> 12, gaps & NO_GAP)


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
