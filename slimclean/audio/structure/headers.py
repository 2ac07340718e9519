"""Headers that libsndfile misreads, but for WAV: sizes left open or wrong, formats, sound in many blocks."""

from __future__ import annotations

import re
import struct

from slimclean.audio.structure.sizes import UNKNOWN, UNKNOWN_IF_CUT_FROM, other_size, truncated
from slimclean.audio.structure.view import Part, Peek, Structure, is_chunk_name
from slimclean.errors import AudioError

_EXTENSIBLE, _FLOAT = b"\xfe\xff", b"\3\0"
_VOC_CONTINUED, _VOC_NEW_FORMAT = 2, 9
_VOC_TOGETHER_BYTES = 1 << 20
"""Of blocks that are read as one, whose size has 24 bits, at least; those of FFmpeg have 4 KiB."""
_W64_NAME = bytes.fromhex("f3acd3118cd100c04f8edb8a")
"""How the names of W64's chunks go on after four letters."""


def scan(peek: Peek) -> Structure | None:
    """Return the file with its size filled in; None where libsndfile reads it as it is.

    Raises `AudioError` where sound is cut off.
    """
    head = peek.at(0, 24)
    if head.startswith(b"caff"):
        return _caf(peek)
    if head.startswith(b"riff"):
        return _w64(peek)
    if head.startswith(b"NIST_1A"):
        _check_sphere(peek)
        return None
    if head.startswith(b"Creative Voice File"):
        return _voc(peek)
    if head[8:12] in (b"AIFF", b"AIFC"):
        return _aiff(peek)
    if head[:4] in (b".snd", b"dns.") and len(head) == 24:
        return _au(peek, head, ">" if head.startswith(b".snd") else "<")
    return None


def _caf(peek: Peek) -> Structure | None:
    position = 8
    while position + 12 <= peek.size:
        name, size = struct.unpack(">4sq", peek.at(position, 12))
        body = position + 12
        if name == b"data":
            return _filled(peek, body - 8, ">q", size, body)
        if size < 0:
            return None
        position = body + size
    return None


def _aiff(peek: Peek) -> Structure | None:
    position = 12
    while position + 8 <= peek.size:
        name, size = struct.unpack(">4sI", peek.at(position, 8))
        if name == b"SSND":
            # libsndfile takes 0 for "to the end of the file", and says itself where too little is there.
            found = _filled(peek, position + 4, ">I", size, position + 8) if size else None
            return _with_offset(peek, position, size, found)
        position += 8 + size + size % 2
    return None


def _with_offset(peek: Peek, position: int, size: int, found: Structure | None) -> Structure | None:
    """Return `found`, an AIFF with an SSND chunk of `size` at `position`, mended where that skips all sound."""
    body = position + 8
    there = min(size or peek.size, peek.size - body) if found is None else peek.size - body
    offset = int.from_bytes(peek.at(body, 4), "big")
    if offset < there - 8 or there <= 8:
        return found
    stated = struct.pack(">II", size if found is None else 0, 0)
    part = Part((range(position + 4), stated, range(body + 4, peek.size)))
    warning = f"its header skips {offset} bytes of sound, {there - 8} are there and were read"
    return Structure((part,), (*(found.warnings if found else ()), warning))


def _filled(peek: Peek, place: int, form: str, size: int, body: int) -> Structure | None:
    """Return the file with the size at `place` made that of all sound from `body` on, if it is not already.

    A size that does not go in there becomes 0, which libsndfile takes for "to the end of the file".
    """
    there = peek.size - body
    size = -1 if size >= UNKNOWN_IF_CUT_FROM and size > there else size
    if size > there:
        raise AudioError(truncated(there, size))
    stop = body + size
    if size >= 0 and (
        there - size < 12 or any(is_chunk_name(peek.at(at, 4)) for at in (stop, stop + size % 2))
    ):
        return None
    after = place + struct.calcsize(form)
    held = there < 1 << 8 * struct.calcsize(form)
    filled = struct.pack(form, there if held else 0)
    part = Part((range(place), filled, range(after, peek.size)))
    return Structure((part,), (other_size(size, there),) if size >= 0 else ())


def _check_sphere(peek: Peek) -> None:
    """Raise where a SPHERE file holds less than its header counts, which libsndfile does not notice."""
    text = peek.at(0, 4096).decode("latin-1")
    found = dict(re.findall(r"^(sample_count|sample_n_bytes|channel_count) -i (\d+)", text, re.MULTILINE))
    length = re.match(r"NIST_1A\n\s*(\d+)\n", text)
    if length is None or len(found) < 3 or re.search(r"^sample_coding -s\d+ .*shorten", text, re.MULTILINE):
        return
    size = int(found["sample_count"]) * int(found["sample_n_bytes"]) * int(found["channel_count"])
    there = peek.size - int(length[1])
    if there < size:
        raise AudioError(truncated(there, size))


def _w64(peek: Peek) -> Structure | None:
    """Return the file as libsndfile has to see it.

    It takes what follows the sound for sound, and floating point for whole numbers where the format is an
    extensible one, as FFmpeg's is.
    """
    position, tag, stop = 40, None, peek.size
    warnings: tuple[str, ...] = ()
    while position + 24 <= peek.size:
        name, (size,) = peek.at(position, 16), struct.unpack("<Q", peek.at(position + 16, 8))
        body, end = position + 24, position + size
        if name.startswith(b"fmt ") and (peek.at(body, 2), peek.at(body + 24, 2)) == (_EXTENSIBLE, _FLOAT):
            tag = body
        if name.startswith(b"data"):
            if size > 24 and end < peek.size - 7:
                if peek.at(-(-end // 8) * 8 + 4, 12) == _W64_NAME:
                    stop = end
                else:
                    warnings = (other_size(size - 24, peek.size - body),)
            break
        if size < 24:
            return None
        position += -(-size // 8) * 8
    if tag is not None:
        return Structure((Part((range(tag), _FLOAT, range(tag + 2, stop))),), warnings)
    return Structure((Part((range(stop),)),), warnings) if warnings or stop < peek.size else None


def _voc(peek: Peek) -> Structure | None:
    """Return sound of 16 bits and more in parts of one block each, which is all that libsndfile reads of it.

    FFmpeg writes a block of new format, of type 9, and continues it in others, of type 2.
    """
    position = int.from_bytes(peek.at(20, 2), "little")
    header, form = range(position), b""
    blocks: list[range] = []
    count = 0
    while position + 4 <= peek.size and (kind := (head := peek.at(position, 4))[0]):
        start = position + 4
        stop = start + int.from_bytes(head[1:], "little")
        if stop > peek.size:
            raise AudioError(f"truncated: {peek.size - start} of {stop - start} bytes of a block are there")
        if kind == _VOC_NEW_FORMAT and not form:
            form, start = peek.at(start, 12), start + 12
        elif kind != _VOC_CONTINUED or not form:
            return None
        count += 1
        if start < stop:
            blocks.append(range(start, stop))
        position = stop
    if count < 2:
        return None
    together: list[list[range]] = []
    size = _VOC_TOGETHER_BYTES
    for block in blocks:
        if size >= _VOC_TOGETHER_BYTES or size + len(form) + len(block) >= 1 << 24:
            together.append([])
            size = 0
        together[-1].append(block)
        size += len(block)
    parts = []
    for some in together or [[]]:
        size = len(form) + sum(map(len, some))
        if size >= 1 << 24:
            return None
        head = bytes([_VOC_NEW_FORMAT]) + size.to_bytes(3, "little") + form
        parts.append(Part((header, head, *some, b"\0")))
    return Structure(tuple(parts))


def _au(peek: Peek, head: bytes, endian: str) -> Structure | None:
    offset, size = struct.unpack(endian + "II", head[4:12])
    there = peek.size - offset
    if there < 0:
        raise AudioError(f"truncated: its sound begins at byte {offset}, {peek.size} are there")
    if size == UNKNOWN or offset < 24 or there == size:
        return None
    if size > there:
        raise AudioError(truncated(there, size))
    filled = head[:8] + struct.pack(endian + "I", UNKNOWN) + head[12:]
    return Structure((Part((filled, range(24, peek.size))),), (other_size(size, there),))
