"""What becomes of the contents of chunks when the sound beside them is another.

Positions in samples are scaled where the sample rate changes; sizes, loudness and history become those of the
new sound. Damaged contents stay as they are.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slimclean.audio.formats import AudioInfo, valid_bits
from slimclean.audio.structure.chunk_bytes import chunks_in
from slimclean.audio.tags.bounded import load
from slimclean.audio.tags.stale import drop_stale

NOT_MEASURED = 0x7FFF
"""A loudness in `bext` that nobody measured (EBU Tech 3285, version 2)."""
_MOST_DIGITS = 20
"""Of a number in `iXML`: those of 64 bits."""
_HISTORY = 602
"""Where the coding history of `bext` begins."""


def changes(info: AudioInfo, scale: float, order: str) -> dict[bytes, Callable[[bytes], bytes]]:
    """Return how each kind of chunk changes, its content in and out, by name; all others stay.

    The new sound is like `info`; positions in samples grow by `scale`; `order` is that of bytes, < or >.
    """
    new = _NewSound(info, scale, order)
    each: dict[bytes, Callable[[bytes], bytes]] = {
        b"bext": new.broadcast,
        b"iXML": new.ixml,
        b"cue ": lambda body: new.records(body, 4, 24, (4, 20), new.number(body, 0)),
        b"plst": lambda body: new.records(body, 4, 12, (4,), new.number(body, 0)),
        b"smpl": new.sampler,
        b"LIST": new.labels,
        b"MARK": new.markers,
        b"id3 ": _id3,
        b"ID3 ": _id3,
    }
    return {name: _or_as_it_is(change) for name, change in each.items()}


def _or_as_it_is(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Return `change`, but for contents in which it meets numbers that cannot be."""

    def changed(body: bytes) -> bytes:
        try:
            return change(body)
        except (ArithmeticError, ValueError, struct.error):
            return body

    return changed


def changed_in_place(name: bytes, body: bytes, change: dict[bytes, Callable[[bytes], bytes]]) -> bytes | None:
    """Return the changed content of a chunk whose length is fixed; None where it would have another.

    `bext` gets no line of coding history then, and `iXML` that is shorter is filled up with spaces.
    """
    new = change[name](body) if name in change else body
    if name == b"bext":
        new = new[:_HISTORY] + body[_HISTORY:]
    elif name == b"iXML":
        new = new.ljust(len(body))
    return new if len(new) == len(body) else None


@dataclass(frozen=True)
class _NewSound:
    """What the new sound is like, and what contents become beside it."""

    info: AudioInfo
    scale: float
    order: str

    def scaled(self, value: int) -> int:
        return min(0xFFFF_FFFF, round(value * self.scale))

    def number(self, body: bytes, at: int) -> int:
        return int(struct.unpack_from(self.order + "I", body, at)[0]) if len(body) >= at + 4 else 0

    def records(self, body: bytes, first: int, step: int, places: tuple[int, ...], count: int) -> bytes:
        """Scale the 32-bit numbers at `places` of `count` records of `step` bytes, from `first` on."""
        new = bytearray(body)
        for record in range(first, min(first + count * step, len(body) - step + 1), step):
            for place in places:
                (value,) = struct.unpack_from(self.order + "I", new, record + place)
                struct.pack_into(self.order + "I", new, record + place, self.scaled(value))
        return bytes(new)

    def sampler(self, body: bytes) -> bytes:
        """`smpl`: the places of loops, and how long a sample lasts."""
        new = bytearray(self.records(body, 36, 24, (8, 12), self.number(body, 28)))
        if len(new) >= 12:
            struct.pack_into(self.order + "I", new, 8, round(1e9 / self.info.sample_rate))
        return bytes(new)

    def labels(self, body: bytes) -> bytes:
        """Scale a LIST of notes to markers: `ltxt` holds a length."""
        if body[:4] != b"adtl":
            return body
        new = bytearray(body)
        for name, at, size in chunks_in(body, self.order, start=4):
            if name == b"ltxt" and size >= 8 and at + 8 <= len(new):
                struct.pack_into(self.order + "I", new, at + 4, self.scaled(self.number(body, at + 4)))
        return bytes(new)

    def markers(self, body: bytes) -> bytes:
        """AIFF's MARK: number, position, name with its length before it, padded to even."""
        new, at = bytearray(body), 2
        while at + 7 <= len(new):
            (position,) = struct.unpack_from(">I", new, at + 2)
            struct.pack_into(">I", new, at + 2, self.scaled(position))
            at += 6 + (new[at + 6] + 2) // 2 * 2
        return bytes(new)

    def broadcast(self, body: bytes) -> bytes:
        """`bext` (EBU Tech 3285): the time in samples, no loudness, one more line of coding history."""
        if len(body) < _HISTORY:
            return body
        new = bytearray(body)
        (time,) = struct.unpack_from(self.order + "Q", new, 338)
        if self.scale != 1:
            time = min((1 << 64) - 1, round(time * self.scale))
            struct.pack_into(self.order + "Q", new, 338, time)
        if struct.unpack_from(self.order + "H", new, 346)[0] >= 2:
            struct.pack_into(self.order + "5H", new, 412, *[NOT_MEASURED] * 5)
        history = bytes(new[_HISTORY:]).rstrip(b"\0")
        if history and not history.endswith(b"\r\n"):
            history += b"\r\n"
        mode = {1: "mono", 2: "stereo"}.get(self.info.channels, "multitrack")
        width = f",W={bits}" if (bits := valid_bits(self.info)) else ""
        history += f"A=PCM,F={self.info.sample_rate}{width},M={mode},T=slimclean\r\n".encode()
        history += b"\0" * (len(history) % 2)
        return bytes(new[:_HISTORY]) + history

    def ixml(self, body: bytes) -> bytes:
        def replaced(tag: bytes, value: int) -> None:
            nonlocal body
            body = re.sub(rb"(<%b>)\s*\d+\s*(</%b>)" % (tag, tag), rb"\g<1>%d\g<2>" % value, body)

        def number(tag: bytes, missing: int | None = None) -> int | None:
            found = re.search(rb"<%b>\s*(\d+)\s*</%b>" % (tag, tag), body)
            if found is None:
                return missing
            digits = found[1].lstrip(b"0")
            return int(digits or b"0") if len(digits) <= _MOST_DIGITS else None

        replaced(b"FILE_SAMPLE_RATE", self.info.sample_rate)
        if bits := valid_bits(self.info):
            replaced(b"AUDIO_BIT_DEPTH", bits)
        if self.scale == 1:
            return body
        replaced(b"TIMESTAMP_SAMPLE_RATE", self.info.sample_rate)
        for high, low in (
            (b"TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_HI", b"TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_LO"),
            (b"BWF_TIME_REFERENCE_HIGH", b"BWF_TIME_REFERENCE_LOW"),
        ):
            if (least := number(low)) is not None and (upper := number(high, 0)) is not None:
                time = round(((upper << 32) + least) * self.scale)
                replaced(high, time >> 32)
                replaced(low, time & 0xFFFF_FFFF)
        return body


def _id3(body: bytes) -> bytes:
    """Tags as in MP3, without what is of the old sound: then they are filled up to the length they had."""
    try:
        import mutagen.id3
    except ModuleNotFoundError:
        return body
    try:
        tags = load(mutagen.id3.ID3, io.BytesIO(body), translate=False)
        if not drop_stale(tags):
            return body
        return _saved(tags, max(0, len(body) - len(_saved(tags, 0))))
    except Exception:  # mutagen raises all kinds for damaged tags
        return body


def _saved(id3: Any, padding: int) -> bytes:
    memory = io.BytesIO()
    id3.save(memory, v1=0, v2_version=max(3, id3.version[1]), padding=lambda _: padding)
    return memory.getvalue()
