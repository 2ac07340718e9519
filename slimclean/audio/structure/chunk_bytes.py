"""RIFF chunks as bytes in memory: a name of four letters, a size, the contents, padded to even."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from slimclean.audio.structure.view import is_chunk_name


def chunk(name: bytes, body: bytes, order: str = "<") -> bytes:
    """Return the chunk `name` of contents `body`; `order` is that of bytes, < or >."""
    return struct.pack(order + "4sI", name, len(body)) + body + b"\0" * (len(body) % 2)


def chunks_in(data: bytes, order: str = "<", start: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, place and size of the contents of each chunk from `start` on; the last may be cut short."""
    at = start
    while at + 8 <= len(data):
        name, size = struct.unpack_from(order + "4sI", data, at)
        yield name, at + 8, size
        at += 8 + size + size % 2


def whole_chunks(data: bytes) -> list[tuple[bytes, bytes]] | None:
    """Return names and contents of whole chunks; None for what is something else."""
    end, found = 0, []
    for name, at, size in chunks_in(data):
        if not is_chunk_name(name) or at + size > len(data):
            return None
        found.append((name, data[at : at + size]))
        end = at + size + size % 2
    return found if end >= len(data) else None
