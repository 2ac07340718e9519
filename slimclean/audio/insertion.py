"""Room in the middle of a file, made within the file: it stays as private as it was made."""

from __future__ import annotations

import os
from typing import BinaryIO

BLOCK = 1 << 20
"""Bytes that are copied at a time."""


def make_room(file: BinaryIO, start: int, size: int) -> None:
    """Move what stands from `start` on by `size` bytes; the file is left at `start`."""
    end = file.seek(0, os.SEEK_END)
    while end > start:  # from the end, so that nothing is written over
        begin = max(start, end - BLOCK)
        file.seek(begin)
        block = file.read(end - begin)
        file.seek(begin + size)
        file.write(block)
        end = begin
    file.seek(start)
