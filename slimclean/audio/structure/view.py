"""Looking into a file at any place, and a view of it in which headers tell the truth."""

from __future__ import annotations

import functools
import io
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from slimclean.errors import AudioError

BLOCK_BYTES = 1 << 20
MOST_STEPS = 200_000
"""No recording of a day needs so many searches for where it goes on."""
MOST_PARTS = 10_000
"""No recording was joined from more; a part takes milliseconds to open."""

Piece = bytes | range
"""Bytes of our own, or the stretch of the file with these positions."""


@dataclass(frozen=True)
class Part:
    """What decodes by itself: the pieces that make it a whole file, and its length where that is sure.

    The first `missing` samples of that the decoder leaves out: they are silence.
    """

    pieces: tuple[Piece, ...]
    samples: int | None = None
    missing: int = 0


@dataclass(frozen=True)
class Structure:
    """What a file is made of: parts to be decoded one after another, and what is odd about it."""

    parts: tuple[Part, ...]
    warnings: tuple[str, ...] = ()
    format: str | None = None
    """The name of the container, where the parts do not tell it."""

    def __post_init__(self) -> None:
        check_parts(len(self.parts))


def check_parts(count: int) -> None:
    """Raise `AudioError` where these are more parts than a recording has."""
    if count > MOST_PARTS:
        raise AudioError(f"damaged: more than {MOST_PARTS} recordings are laid end to end")


@functools.cache
def _literally(text: bytes) -> re.Pattern[bytes]:
    return re.compile(re.escape(text))


class Peek:
    """Reads a few bytes at a time from anywhere in a file, for walks from header to header."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, io.SEEK_END)
        self._start, self._block = 0, b""
        self._steps = 0

    def at(self, position: int, count: int) -> bytes:
        """Return up to `count` bytes from `position` on; fewer at the end of the file."""
        offset = position - self._start
        if offset < 0 or offset + count > len(self._block):
            self._file.seek(position)
            self._block = self._file.read(max(count, min(BLOCK_BYTES, 64 * count)))
            self._start, offset = position, 0
        return self._block[offset : offset + count]

    def find(self, pattern: bytes, position: int, end: int) -> int:
        """Find where `pattern` first stands from `position` on, wholly before `end`; -1 if nowhere."""
        return self.search(_literally(pattern), len(pattern), position, end)

    def search(self, pattern: re.Pattern[bytes], width: int, position: int, end: int) -> int:
        """Find where `pattern`, of `width` bytes, first fits from `position` on, wholly before `end`; or -1.

        After `MOST_STEPS` finds it is nowhere any more: what has so many marks holds none that count.
        """
        self._steps += 1
        while position < end and self._steps <= MOST_STEPS:
            offset = position - self._start
            if not 0 <= offset <= len(self._block) - width:
                self._file.seek(position)
                self._start, self._block, offset = position, self._file.read(BLOCK_BYTES), 0
                if len(self._block) < width:
                    return -1
            found = pattern.search(self._block, offset, max(0, end - self._start))
            if found is not None:
                return self._start + found.start()
            position = self._start + len(self._block) - width + 1
        return -1


def is_chunk_name(data: bytes) -> bool:
    """Tell whether these can be the letters of a chunk's name."""
    return all(0x20 <= byte < 0x7F for byte in data)


class View(io.RawIOBase):
    """Pieces of a file as a file of their own, for libsndfile. Never raises: callbacks of C cannot."""

    def __init__(self, path: Path, pieces: Sequence[Piece]) -> None:
        self._file = path.open("rb")
        self._pieces = [piece for piece in pieces if len(piece)]
        self._ends = list(accumulate(len(piece) for piece in self._pieces))
        self._position = 0
        self.problem: OSError | None = None
        self._interrupt: BaseException | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._ends[-1] if self._ends else 0}
        self._position = max(0, origin[whence] + offset)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        target, done = memoryview(buffer).cast("B"), 0
        try:
            while done < len(target) and (got := self._read(target[done:])):
                done += got
        except OSError as error:
            self.problem = error
        except BaseException as error:  # an interrupt: C would drop it, and the sound that is asked for
            self._interrupt = error
        return done

    def reraise(self) -> None:
        """Raise what came while C was reading, and could not pass through it."""
        if self._interrupt is not None:
            raise self._interrupt

    def _read(self, target: memoryview) -> int:
        index = bisect_right(self._ends, self._position)
        if index == len(self._pieces):
            return 0
        piece = self._pieces[index]
        offset = self._position - (self._ends[index] - len(piece))
        count = min(len(target), len(piece) - offset)
        if isinstance(piece, bytes):
            target[:count] = piece[offset : offset + count]
        else:
            self._file.seek(piece.start + offset)
            count = self._file.readinto(target[:count])
        self._position += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
