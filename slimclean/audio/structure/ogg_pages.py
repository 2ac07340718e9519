"""Pages of Ogg (RFC 3533), one after the other, and what is no page."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from slimclean.audio.structure.player_tags import MARKS
from slimclean.audio.structure.view import Peek

CONTINUED, FIRST, LAST = 1, 2, 4
"""Flags of a page: it goes on with a packet of the one before, begins its stream, ends it."""
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class Page:
    """Where a page lies, and what its header says."""

    start: int
    body: int
    """Where its packets begin."""
    stop: int
    flags: int
    granule: int
    serial: int
    sequence: int
    lacing: bytes

    @property
    def packets(self) -> list[int]:
        """Sizes of the packets that end on this page."""
        sizes, size = [], 0
        for part in self.lacing:
            size += part
            if part < 255:
                sizes.append(size)
                size = 0
        return sizes


@dataclass(frozen=True)
class NoPage:
    """What stands where a page should: `junk` bytes that belong to none, maybe of one that is `damaged`.

    Or the beginning of one, `cut` by the end of the file.
    """

    junk: int = 0
    damaged: bool = False
    cut: bool = False


def packet_heads(peek: Peek, page: Page) -> list[bytes]:
    """Return how each packet that ends on `page` begins there."""
    heads, position = [], page.body
    for size in page.packets:
        heads.append(peek.at(position, min(size, 32)))
        position += size
    return heads


def pages(peek: Peek) -> Iterator[Page | NoPage]:
    """Go over the pages of a file, and what lies between them."""
    position = 0
    while position < peek.size:
        head = peek.at(position, 27)
        if not head.startswith(b"OggS\0"[: len(head)]):
            if len(head) < 4 and b"OggS".startswith(head):
                yield NoPage(cut=True)
                return
            found = _next_page(peek, position + 1)
            # What names itself a tag is not sound that was lost.
            if peek.at(position, 3) not in MARKS:
                yield NoPage(found - position)
            position = found
            continue
        if len(head) < 27:
            yield NoPage(cut=True)
            return
        flags, granule, serial, sequence, checksum, count = struct.unpack("<xxxxxBqIIIB", head)
        lacing = peek.at(position + 27, count)
        body = position + 27 + count
        stop = body + sum(lacing)
        if stop > peek.size or len(lacing) < count:
            # A page that is cut, or the letters OggS in a page that was lost.
            after = peek.find(b"OggS", position + 4, peek.size)
            if after < 0:
                yield NoPage(cut=True)
                return
            yield NoPage(after - position)
            position = after
            continue
        if page_checksum(peek.at(position, stop - position)) != checksum:
            yield NoPage(4, damaged=True)
            position += 4
            continue
        yield Page(position, body, stop, flags, granule, serial, sequence, lacing)
        position = stop


def _next_page(peek: Peek, position: int) -> int:
    """Find where a page may begin from here on, if only with its first letters; else the end of the file."""
    found = peek.find(b"OggS\0", position, peek.size)
    if found >= 0:
        return found
    last = peek.size - 4
    return last if last >= position and peek.at(last, 4) == b"OggS" else peek.size


def page_checksum(page: bytes) -> int:
    """Ogg's CRC: zlib's with the bits of each byte the other way round, from 0 and not inverted."""
    plain = page[:22] + bytes(4) + page[26:]
    value = zlib.crc32(plain.translate(_REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{value:032b}"[::-1], 2)
