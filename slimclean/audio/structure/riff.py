"""RIFF and its like chunk by chunk, where sizes and pad bytes may be wrong."""

from __future__ import annotations

import struct

from slimclean.audio.containers import WAVE_FORMS
from slimclean.audio.structure.player_tags import MARKS
from slimclean.audio.structure.view import BLOCK_BYTES, Peek, is_chunk_name

MOST_CHUNKS = 10_000
BEHIND = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"iXML", b"_PMX")
"""What stands behind sound, if anything."""


class Walk:
    """The chunks of one RIFF, RIFX, RF64, BW64 or FORM file that begins at `start`, in their order of bytes."""

    def __init__(self, peek: Peek, start: int) -> None:
        self.peek = peek
        self.start = start
        self.tag = peek.at(start, 4)
        self.order = ">" if self.tag in (b"RIFX", b"FORM") else "<"
        self._strange: set[int] = set()
        """From where on something else was found: chains of chunks that meet are followed once."""

    def number(self, position: int) -> int:
        return int(struct.unpack(self.order + "I", self.peek.at(position, 4).ljust(4, b"\0"))[0])

    def is_chunk(self, position: int) -> bool:
        """Tell whether a chunk that fits into the file begins here."""
        head = self.peek.at(position, 8)
        if len(head) < 8 or not is_chunk_name(head[:4]):
            return False
        return head[:4] == b"data" or position + 8 + self.number(position + 4) <= self.peek.size + 1

    def past_pad(self, position: int) -> int:
        """Return where what follows a chunk that ends at `position` begins: some writers do not pad."""
        if position % 2 == 0:
            return position
        padded = self.is_chunk(position + 1) or position + 1 >= self.peek.size
        return position + 1 if padded or not self.is_chunk(position) else position

    def is_file(self, position: int) -> bool:
        """Tell whether another file begins here."""
        head = self.peek.at(position, 12)
        return head[:4] in WAVE_FORMS and head[8:] == b"WAVE"

    def follows(self, position: int) -> bool:
        """Tell whether only chunks, zeros, a tag of an MP3 player or another file stand from here on."""
        passed: set[int] = set()
        while len(passed) < MOST_CHUNKS and position not in self._strange:
            passed.add(position)
            if position >= self.peek.size:
                return True
            if self.peek.size - position < 8 or self.peek.at(position, 3) in MARKS:
                return True
            if position % 2 and not self.is_chunk(position) and self.is_chunk(position + 1):
                position += 1
            if self.is_file(position):
                return True
            if not self.is_chunk(position):
                if self._is_zero(position):
                    return True
                break
            position += 8 + self.number(position + 4)
        self._strange |= passed
        return False

    def _is_zero(self, position: int) -> bool:
        while position < self.peek.size:
            block = self.peek.at(position, BLOCK_BYTES)
            if block.strip(b"\0"):
                return False
            position += len(block)
        return True

    def before_chunks(self, start: int) -> int:
        """Return the end of sound of unknown length: that of the file, or where its last known chunk begins."""
        tail_start = max(start, self.peek.size - (1 << 16))
        tail = self.peek.at(tail_start, self.peek.size - tail_start)
        for name in BEHIND:
            position = tail.find(name)
            while position >= 0:
                at = tail_start + position
                if (at - start) % 2 == 0 and self.is_chunk(at) and self.follows(at):
                    return at
                position = tail.find(name, position + 1)
        return self.peek.size
