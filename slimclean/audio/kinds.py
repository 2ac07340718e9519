"""What a file holds by its first bytes, for its name may say anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slimclean.audio.containers import BY_EXTENSION, Container, container_of
from slimclean.audio.structure import mpeg
from slimclean.audio.structure.player_tags import after_tags
from slimclean.audio.structure.view import Peek

SURE_BYTES = 3
"""A mark of so many bytes does not stand by chance at the beginning of something else."""
Family = Literal["riff", "ogg", "flac", "mpeg", "sndfile", "av", "unknown"]


@dataclass(frozen=True)
class Kind:
    """What should read a file, what it is, None where nothing tells, and where it begins behind tags."""

    family: Family
    container: Container | None
    start: int = 0

    @property
    def name(self) -> str:
        return self.container.name if self.container else ""


_FAMILIES: dict[str | None, Family] = {"WAV": "riff", "RF64": "riff", "OGG": "ogg", "FLAC": "flac", None: "av"}
_TS_PACKETS = ((0, 188), (4, 192), (0, 204))
"""Where a transport stream's packet begins, and its length: alone, behind a time (AVCHD), before a check."""


def kind_of(peek: Peek, extension: str) -> Kind:
    """Return what is in a file; `extension` decides only where its bytes do not."""
    start = after_tags(peek, 0, peek.size)
    head = peek.at(start, 64)
    named = BY_EXTENSION.get(extension)
    if container := container_of(head):
        family = _FAMILIES.get(container.sndfile, "sndfile")
        # Of kinds that begin alike, the name says which: .m4a, .mov, .ogv.
        alike = named and set(named.demuxers) & set(container.demuxers)
        return Kind(family, named if alike else container, start)
    if len(head) > 6 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0 and (head[2] >> 2 & 15) < 13:
        return Kind("av", BY_EXTENSION[".aac"], start)
    if mpeg.begins(peek, start, 3):
        return Kind("mpeg", BY_EXTENSION[".mp3"], start)
    if any(all(peek.at(first + size * i, 1) == b"\x47" for i in range(4)) for first, size in _TS_PACKETS):
        return Kind("av", BY_EXTENSION[".ts"])
    if named and named.sndfile == "MP3":
        return Kind("mpeg", named, start)
    return Kind("unknown", named if named and named.sndfile is None else None)


def holds_tracks(path: Path) -> bool:
    """Tell whether `path` is of a kind that holds several tracks, whatever there is in it."""
    with path.open("rb") as file:
        container = kind_of(Peek(file), path.suffix.lower()).container
    return container is not None and container.many_tracks


def is_marked(path: Path) -> bool:
    """Tell whether the first bytes of a file say that it is a recording; what cannot be read is none."""
    head = _beginning(path)
    container = container_of(head)
    if container is None or (_is_text(head) and container.name != "SPHERE"):
        return False
    return any(len(mark) >= SURE_BYTES for _, mark in container.marks)


def film_extension(path: Path) -> str:
    """Return the extension of an MP4, QuickTime or Matroska by its first bytes; "" for anything else."""
    beginning = _beginning(path)
    container = container_of(beginning)
    if container is BY_EXTENSION[".mp4"]:
        brand = beginning[8:12] if beginning[4:8] == b"ftyp" else b"qt  "  # older than brands
        return {b"qt  ": ".mov", b"M4A ": ".m4a", b"M4B ": ".m4b"}.get(brand, ".mp4")
    if container is BY_EXTENSION[".mkv"]:
        return ".webm" if b"webm" in beginning else ".mkv"
    return ""


def _beginning(path: Path) -> bytes:
    """Read the first bytes of a file; none of what cannot be read.

    Nor of pipes and devices: to open one could wait for somebody to write.
    """
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(64)
    except OSError:
        return b""


def _is_text(head: bytes) -> bool:
    """Tell whether no byte is a control character but for tabs and ends of lines."""
    return not any(byte < 0x20 and byte not in b"\t\n\r\f" for byte in head)
