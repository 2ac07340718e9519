"""The chunks of WAV, RF64, BW64 and AIFF files: markers, time codes and descriptions move to the new file.

libsndfile writes the sound; a walk over both files then puts in what it leaves out. Positions in samples are
scaled where the sample rate changes, what the new sound makes untrue is corrected (see `chunk_contents`), all
else is copied as bytes.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from slimclean.audio.containers import WAVE_FORMS
from slimclean.audio.formats import WAV_BYTES, AudioInfo
from slimclean.audio.insertion import BLOCK, make_room
from slimclean.audio.structure import riff, wave_file
from slimclean.audio.structure.view import Peek, is_chunk_name
from slimclean.audio.tags.chunk_contents import changes
from slimclean.errors import AudioError

FAMILIES = {b"RIFF": "wave", b"RF64": "wave", b"BW64": "wave", b"RIFX": "big-endian wave", b"FORM": "aiff"}
"""Forms of files, and of which kind each is: chunks are copied within a kind."""
OF_THE_SOUND = frozenset(
    (b"fmt ", b"data", b"fact", b"PEAK", b"ds64", b"levl", b"slnt", b"COMM", b"SSND", b"FVER")
)
"""Chunks that describe how the sound is stored: the new file has its own."""
PADDING = frozenset((b"JUNK", b"junk", b"PAD ", b"FLLR", b"filr"))
SMALL = 1 << 26
"""Bytes of chunks that are looked into, in all; those beyond are copied as they are."""
AMBISONIC = bytes.fromhex("2107d3118644c8c1ca000000")
"""The end of the format GUID of ambisonic sound."""


@dataclass(frozen=True)
class FileChunk:
    """A chunk of a file: its name, where its content begins, and how long that is."""

    name: bytes
    start: int
    size: int


@dataclass(frozen=True)
class Chunks:
    """The chunks of a file in order; `form` is one of `FAMILIES`, or empty for a file of another kind."""

    form: bytes
    chunks: tuple[FileChunk, ...] = ()
    cut: bool = False
    """Whether damage hides what follows, the sound included."""

    @property
    def family(self) -> str:
        return FAMILIES.get(self.form, "")

    @property
    def order(self) -> str:
        return ">" if self.form in (b"RIFX", b"FORM") else "<"

    def find(self, *names: bytes) -> FileChunk | None:
        return next((chunk for chunk in self.chunks if chunk.name in names), None)


def walk(path: Path) -> Chunks:
    """Return the chunks of `path`; those that the end of the file cuts off are left out."""
    with path.open("rb") as file:
        peek = Peek(file)
        steps = riff.Walk(peek, 0)
        if steps.tag not in FAMILIES or peek.at(8, 4) not in (b"WAVE", b"AIFF", b"AIFC"):
            return Chunks(b"")
        sound = _sound(peek) if peek.at(8, 4) == b"WAVE" else None
        found: list[FileChunk] = []
        position, heard = 12, False
        for _ in range(riff.MOST_CHUNKS):
            name, size, start = peek.at(position, 4), steps.number(position + 4), position + 8
            if start > peek.size or name in WAVE_FORMS:
                break  # the end, or another file laid behind this one
            named = is_chunk_name(name)
            if heard and not named:
                break  # sound behind a size that is too small
            if name in (b"data", b"SSND"):
                told = len(sound) if sound is not None and sound.start == start else size
                heard, size = True, min(told, peek.size - start)
            if start + size > peek.size:
                break
            if named:
                found.append(FileChunk(name, start, size))
            position = steps.past_pad(start + size)
    return Chunks(steps.tag, tuple(found), cut=not heard and position + 8 <= peek.size)


def _sound(peek: Peek) -> range | None:
    """Return where the sound of a WAV lies, whatever its header says; None where that cannot be told."""
    try:
        wave = wave_file.scan(peek)
    except AudioError:
        return None
    return wave.data if wave is not None else None


def content(path: Path, chunk: FileChunk) -> bytes:
    """Return what is in `chunk` of `path`."""
    with path.open("rb") as file:
        file.seek(chunk.start)
        return file.read(chunk.size)


def keep(source: Path, written: Path, info: AudioInfo, put: tuple[tuple[bytes, bytes], ...] = ()) -> list[str]:
    """Put the chunks of `source` into `written`, whose sound is like `info`, and `put` after the sound.

    Returns warnings. Chunks that stood before the sound do so again. Nothing is lost where this fails: an
    `OSError` leaves the sound as it was.
    """
    old, new = walk(source), walk(written)
    if not new.form:
        return []
    same = old.family == new.family
    kept = [chunk for chunk in old.chunks if chunk.name not in OF_THE_SOUND | PADDING] if same else []
    scale = _scale(source, old, info) if same else 1.0
    if same:
        _patch_fmt(source, old, written, new, info)
    change = changes(info, scale, old.order)
    sound = old.find(b"data", b"SSND")
    before: list[tuple[bytes, bytes | FileChunk]] = []
    after: list[tuple[bytes, bytes | FileChunk]] = [*put]
    left, unchanged = SMALL, []
    for chunk in kept:
        body: bytes | FileChunk = chunk
        if chunk.name in change and chunk.size <= left:
            left -= chunk.size
            body = change[chunk.name](content(source, chunk))
        elif chunk.name in change:
            unchanged.append(chunk.name.decode().strip())
        first = sound is not None and chunk.start < sound.start
        if new.form == b"RF64" and _size(body) % 2:
            first = False  # libsndfile loses its way in RF64 after a chunk of odd length
        (before if first else after).append((chunk.name, body))
    size = sum(8 + _size(body) for _, body in (*before, *after))
    if new.form != b"RF64" and written.stat().st_size + size > WAV_BYTES:
        return ["markers and descriptions do not fit beside 4 GB of sound; set `extension` rf64"]
    with source.open("rb") as given:
        if before:
            _insert(written, new, before, given)
        with written.open("r+b") as file:
            _to_end(file)
            for name, body in after:
                _write(file, name, body, new.order, given)
    _set_size(written, new.form)
    names = ", ".join(dict.fromkeys(unchanged))
    return [f"too large to be looked into, and as they were: {names}"] if names else []


def extensible_fields(source: Path) -> tuple[int, int] | None:
    """Return the valid bits and the channel mask of a WAVE that states them, None of another file."""
    walked = walk(source)
    fmt = walked.find(b"fmt ")
    if fmt is None or fmt.size < 40:
        return None
    kind, bits, mask = struct.unpack_from(walked.order + "H16xHI", content(source, fmt))
    return (bits, mask) if kind == wave_file.EXTENSIBLE else None


def lost(source: Path) -> list[str]:
    """Return the names of the chunks of `source` that only its own kind of file can hold."""
    tags = (b"LIST", b"id3 ", b"ID3 ", b"NAME", b"AUTH", b"ANNO", b"(c) ")
    names = [chunk.name for chunk in walk(source).chunks if chunk.name not in OF_THE_SOUND | PADDING | {*tags}]
    return [name.decode("latin-1").strip() for name in dict.fromkeys(names)]


# --- what the new sound asks for ---------------------------------------------------------------------


def _scale(source: Path, old: Chunks, info: AudioInfo) -> float:
    """Return by how much positions in samples grow."""
    if (fmt := old.find(b"fmt ")) and fmt.size >= 8:
        rate = struct.unpack(old.order + "I", content(source, fmt)[4:8])[0]
        return info.sample_rate / rate if rate else 1.0
    if (common := old.find(b"COMM")) and common.size >= 18:
        exponent, mantissa = struct.unpack(">HQ", content(source, common)[8:18])
        rate = mantissa * 2.0 ** ((exponent & 0x7FFF) - 16383 - 63)
        return float(info.sample_rate / rate) if rate else 1.0
    return 1.0


def _patch_fmt(source: Path, old: Chunks, written: Path, new: Chunks, info: AudioInfo) -> None:
    """Give the new header the old one's channel mask, valid bits and ambisonic kind, where both have them."""
    given, ours = old.find(b"fmt "), new.find(b"fmt ")
    if given is None or ours is None or given.size < 40 or ours.size < 40:
        return
    was, now = content(source, given), bytearray(content(written, ours))
    if was[:2] != b"\xfe\xff" or now[:2] != b"\xfe\xff" or was[2:4] != now[2:4]:
        return
    now[20:24] = was[20:24]
    if info.bits_per_sample and info.bits_per_sample <= int.from_bytes(now[14:16], "little"):
        now[18:20] = info.bits_per_sample.to_bytes(2, "little")
    if was[28:40] == AMBISONIC:
        now[28:40] = AMBISONIC
    with written.open("r+b") as file:
        file.seek(ours.start)
        file.write(now)


# --- writing ---------------------------------------------------------------------------------------------


def _insert(path: Path, chunks: Chunks, extra: list[tuple[bytes, bytes | FileChunk]], given: BinaryIO) -> None:
    """Put `extra` chunks before the sound of `path`, within the file: it stays as private as it was made."""
    sound = chunks.find(b"data", b"SSND")
    assert sound is not None
    room = sum(8 + size + size % 2 for size in (_size(body) for _, body in extra))
    with path.open("r+b") as file:
        make_room(file, sound.start - 8, room)
        for name, body in extra:
            _write(file, name, body, chunks.order, given)


def _size(body: bytes | FileChunk) -> int:
    return body.size if isinstance(body, FileChunk) else len(body)


def _write(file: BinaryIO, name: bytes, body: bytes | FileChunk, order: str, given: BinaryIO) -> None:
    """Write a chunk whose content is `body`, or lies in `given`."""
    size = _size(body)
    file.write(struct.pack(order + "4sI", name, size))
    if isinstance(body, FileChunk):
        given.seek(body.start)
        left = size
        while left and (block := given.read(min(left, BLOCK))):
            file.write(block)
            left -= len(block)
    else:
        file.write(body)
    file.write(b"\0" * (size % 2))


def _to_end(file: BinaryIO) -> None:
    if file.seek(0, os.SEEK_END) % 2:
        file.write(b"\0")


def _set_size(path: Path, form: bytes) -> None:
    """State the size of the file anew: in the header, or for RF64 in the chunk after it."""
    size = path.stat().st_size - 8
    with path.open("r+b") as file:
        if form == b"RF64":
            file.seek(20)
            file.write(struct.pack("<Q", size))
        else:
            file.seek(4)
            file.write(struct.pack(Chunks(form).order + "I", size))
