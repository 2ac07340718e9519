"""Bounds on what a small ID3 tag can cost: mutagen inflates, splits and merges without any.

Frames lie within frames, compressed or not, so that only its parser knows them all: the bounds stand there
while a tag is read.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOST_INFLATED_BYTES = 1 << 24
"""What compressed frames of a tag come to in all; a cover has some MB."""
MOST_FRAMES = 4096
"""Frames of a tag, those within chapters too: its parser copies the rest of the tag for each."""
MOST_PICTURES = 256
"""Pictures side by side: its parser looks for a new name for each by trial."""
MOST_TEXTS = 4096
"""Texts within frames, which it copies likewise."""
_BOUNDED = threading.RLock()
"""Held by the thread whose bounds stand in mutagen."""


class GrowthError(ValueError):
    """ID3 grows beyond the bounds."""


def load(kind: Callable[..., Any], *given: Any, **options: Any) -> Any:
    """Return `kind(*given, **options)`, tags or a file by mutagen.

    Raises what that does, and `GrowthError`.
    """
    with _BOUNDED:
        try:
            from mutagen.id3 import _frames, _specs, _tags

            before = _frames.zlib, _tags.read_frames, _specs.MultiSpec.read
        except (ImportError, AttributeError):  # a later mutagen, made otherwise: without bounds
            return kind(*given, **options)
        bounds = _Bounds(*before[1:])

        def read_texts(spec: Any, header: Any, frame: Any, data: bytes) -> Any:
            return bounds.read_texts(spec, header, frame, data)

        try:
            _frames.zlib, _tags.read_frames, _specs.MultiSpec.read = bounds, bounds.read_frames, read_texts
            return kind(*given, **options)
        finally:
            _frames.zlib, _tags.read_frames, _specs.MultiSpec.read = before


def grows(path: Path) -> bool:
    """Tell whether the ID3 tag of `path` grows beyond the bounds."""
    import mutagen.id3

    try:
        load(mutagen.id3.ID3, path)
    except GrowthError:
        return True
    except Exception:  # mutagen raises all kinds
        return False
    return False


class _Bounds:
    """Stands in for functions of mutagen, and for `zlib` in it, while one tag is read."""

    error = zlib.error

    def __init__(self, read_frames: Callable[..., Any], read_texts: Callable[..., Any]) -> None:
        self._read_frames, self._read_texts = read_frames, read_texts
        self._bytes, self._frames, self._texts = MOST_INFLATED_BYTES, MOST_FRAMES, MOST_TEXTS

    def decompress(self, data: bytes) -> bytes:
        """Do what `zlib.decompress` does, within the bound."""
        inflating = zlib.decompressobj()
        found = inflating.decompress(data, self._bytes + 1)
        self._bytes -= len(found)
        _check(self._bytes, f"inflates to more than {MOST_INFLATED_BYTES >> 20} MB")
        if not inflating.eof:
            raise zlib.error("incomplete stream")
        return found

    def read_frames(self, header: Any, data: bytes, frames: Any) -> Any:
        """Read the frames of a tag, or those within a frame."""
        names = _names(data, header.version[1], self._frames + 1)
        self._frames -= len(names)
        _check(self._frames, f"has more than {MOST_FRAMES} frames")
        pictures = names.count(b"APIC") + names.count(b"PIC")
        _check(MOST_PICTURES - pictures, f"has more than {MOST_PICTURES} pictures")
        return self._read_frames(header, data, frames)

    def read_texts(self, spec: Any, header: Any, frame: Any, data: bytes) -> Any:
        """Read the texts of a frame, which zeros part: two in UTF-16, where encodings are 1 and 2."""
        wide = getattr(frame, "encoding", None) in (1, 2)
        self._texts -= 1 + data.count(b"\0\0" if wide else b"\0")
        _check(self._texts, f"has more than {MOST_TEXTS} texts")
        return self._read_texts(spec, header, frame, data)


def _check(left: int, problem: str) -> None:
    if left < 0:
        raise GrowthError(f"an ID3 tag that {problem}")


def _names(data: bytes, version: int, most: int) -> list[bytes]:
    """Return the names of frames in `data` of ID3v2.`version`, at most so many.

    Where sizes can be read in two ways, those of the one that finds more.
    """
    head, letters = (6, 3) if version == 2 else (10, 4)

    def walked(bits: int) -> list[bytes]:
        found: list[bytes] = []
        position = 0
        while len(found) < most and (name := data[position : position + letters]).strip(b"\0"):
            size = 0
            for byte in data[position + letters : position + 2 * letters]:
                size = size << bits | byte & (1 << bits) - 1
            found.append(name)
            position += head + size
        return found

    return max(walked(8), walked(7), key=len) if version == 4 else walked(8)
