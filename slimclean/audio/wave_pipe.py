"""WAV that flows through a pipe: read as it comes, written as it goes, without a file in between.

A header at the beginning of a pipe cannot know how much follows. Encoders then give sizes near 2 or 4 GiB, or
0; such a stream goes on until it ends, an endless one for ever. What goes out has the size of what came in
where that is known, else 0xFFFFFFFF, as FFmpeg does. Chunks before the sound, such as `LIST`, go along, and so
do those behind it where the header says how much they are; what the new sound makes untrue in them is corrected
(see `chunk_contents`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from slimclean.audio.chunk_contents import changed_in_place, changes
from slimclean.audio.chunks import OF_THE_SOUND, PADDING
from slimclean.audio.formats import LOUDEST, MAX_CHANNELS, SAMPLE_RATES_HZ, AudioInfo, OutputForm
from slimclean.audio.mixdown import Mixdown
from slimclean.audio.writer import numbered
from slimclean.errors import AudioError

READ_BYTES = 1 << 16
"""At most, at a time; what is there is taken at once."""
LONGEST_S = 1.0
"""Of a block."""
UNKNOWN = 0xFFFF_FFFF
_UNKNOWN_FROM = 0x7FFF_0000
"""From this size on, a size stands for "unknown"."""
_LARGEST_HEADER = 1 << 20
"""Before the sound; what needs more is no stream."""
_LARGEST_REST = 1 << 24
"""Behind the sound; it waits in memory until the sound is written."""
_LARGEST_SIZE = 1 << 62
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_SUBTYPES = {
    (_PCM, 8): "PCM_U8", (_PCM, 16): "PCM_16", (_PCM, 24): "PCM_24", (_PCM, 32): "PCM_32",
    (_FLOAT, 32): "FLOAT", (_FLOAT, 64): "DOUBLE",
}  # fmt: skip
_BITS = {subtype: bits for (_, bits), subtype in _SUBTYPES.items()}


def flows(form: OutputForm) -> bool:
    """Tell whether what is asked for can be written as it goes: WAV, without a look at the whole first."""
    known = form.subtype is None or form.subtype in _BITS
    return form.extension in (None, ".wav") and known and form.loudness_lufs is None and form.track is None


class Bytes:
    """Reads a stream in full where bytes are counted, and remembers them until told to forget."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.taken = b""

    def exactly(self, count: int) -> bytes:
        """Return the next `count` bytes, fewer at the end."""
        parts, missing = [], count
        while missing > 0 and (part := self._stream.read(missing)):
            parts.append(part)
            missing -= len(part)
        found = b"".join(parts)
        self.taken += found
        return found


@dataclass(frozen=True)
class WaveHeader:
    """What a header says: how the sound is stored, its bytes (None: unknown), `fmt ` and the other chunks."""

    info: AudioInfo
    size: int | None
    fmt: bytes
    others: bytes
    behind: int = 0
    """Bytes of the chunks behind the sound."""

    @property
    def frame_bytes(self) -> int:
        """Bytes of a sample of all channels."""
        return self.info.channels * _BITS[self.info.subtype] // 8


def read_header(source: Bytes) -> WaveHeader | None:
    """Read up to the first sample; None for what is no WAV, or WAV of a kind that does not flow."""
    head = source.exactly(12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        return None
    fmt, others, sizes = b"", b"", None
    while len(source.taken) < _LARGEST_HEADER:
        start = source.exactly(8)
        if len(start) < 8:
            return None
        name, size = struct.unpack("<4sI", start)
        if name == b"data":
            riff_size, size = sizes if sizes and size == UNKNOWN else (_number(head[4:]), size)
            behind = riff_size + 8 - (len(source.taken) + size + size % 2)
            header = _header(fmt, others, size, exact=sizes is not None)
            fits = header is not None and header.size is not None and 0 < behind <= _LARGEST_REST
            return replace(header, behind=behind) if header and fits else header
        if size > _LARGEST_HEADER:
            return None
        body = source.exactly(size + size % 2)
        if len(body) < size or body[size:].strip(b"\0"):
            return None  # cut short, or without its pad byte
        if name == b"fmt ":
            fmt = body[:size]
        elif name == b"ds64":
            if size < 16:
                return None
            sizes = struct.unpack("<QQ", body[:16])
        elif name not in OF_THE_SOUND | PADDING:
            others += start + body
    return None


def _number(data: bytes) -> int:
    return int.from_bytes(data[:4], "little")


def _header(fmt: bytes, others: bytes, size: int, *, exact: bool) -> WaveHeader | None:
    """Return the header; `exact` says that sizes have 64 bits, so that none stands for "unknown"."""
    if len(fmt) < 16:
        return None
    tag, channels, rate, _, block, bits = struct.unpack("<HHIIHH", fmt[:16])
    valid, mask = None, None
    if tag == _EXTENSIBLE and len(fmt) >= 40:
        valid, mask, tag = struct.unpack("<HIH", fmt[18:26])
    subtype = _SUBTYPES.get((tag, bits))
    low, high = SAMPLE_RATES_HZ
    if subtype is None or not 1 <= channels <= MAX_CHANNELS or not low <= rate <= high:
        return None
    if block != channels * bits // 8:
        return None
    known = 0 < size < (_LARGEST_SIZE if exact else _UNKNOWN_FROM) and size != UNKNOWN
    valid = valid if valid and valid < bits and tag == _PCM else None
    info = AudioInfo(
        rate, channels, size // block if known else 0, "WAV", subtype, bits_per_sample=valid, channel_mask=mask
    )
    return WaveHeader(info, size if known else None, fmt, others)


def _chunks(data: bytes) -> list[tuple[bytes, bytes]] | None:
    """Return names and contents of whole chunks; None for what is something else."""
    at, found = 0, []
    while at + 8 <= len(data) and all(0x20 <= byte < 0x7F for byte in data[at : at + 4]):
        end = at + 8 + _number(data[at + 4 :])
        if end > len(data):
            return None
        found.append((data[at : at + 4], data[at + 8 : end]))
        at = end + end % 2
    return found if at >= len(data) else None


def _joined(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join(
        struct.pack("<4sI", name, len(body)) + body + b"\0" * (len(body) % 2) for name, body in chunks
    )


class WaveSource:
    """Gives the sound of a stream, from after its header on, as it comes.

    After the last block `problem` says what was wrong with the stream, if anything, and `behind` holds
    the chunks behind the sound.
    """

    def __init__(self, stream: BinaryIO, header: WaveHeader) -> None:
        self.info = header.info
        self.warnings: list[str] = []
        self.problem = ""
        self.behind = b""
        self._header = header
        self._read = getattr(stream, "read1", stream.read)

    def read_blocks(self, *, mono: bool = False) -> Iterator[np.ndarray]:
        """Yield consecutive blocks [C, T], at least one, on request mixed down.

        Raises `AudioError` for sound that no recording holds.
        """
        mixdown = Mixdown(self.info.channels, self.info.sample_rate)
        size, frame = self._header.size, self._header.frame_bytes
        longest = max(frame, round(LONGEST_S * self.info.sample_rate) * frame)
        seen, rest = 0, b""
        while size is None or seen < size:
            wanted = min(READ_BYTES, longest) if size is None else min(READ_BYTES, longest, size - seen)
            data = self._read(wanted)
            if not data:
                break
            seen += len(data)
            data = rest + data
            whole = len(data) // frame * frame
            rest = data[whole:]
            if whole:
                block = self._decoded(data[:whole])
                yield mixdown(block) if mono else block
        if seen < frame:
            yield np.zeros((1 if mono else self.info.channels, 0), np.float32)
        self.warnings += mixdown.remarks()
        if size is not None and seen < size:
            self.problem = f"truncated: {seen} of {size} bytes of sound are there"
        self._read_behind()

    def _read_behind(self) -> None:
        """Keep the chunks that belong to the file; read on to the end: no writer meets a closed pipe."""
        pad = (self._header.size or 0) % 2
        wanted = pad + self._header.behind
        found, left_out = bytearray(), 0
        while data := self._read(READ_BYTES):
            there = data[: wanted - len(found)]
            found += there
            rest = data[len(there) :]
            left_out += len(rest) if rest.strip(b"\0") else 0
        chunks = _chunks(bytes(found[pad:]))
        if len(found) < wanted or chunks is None or any(name == b"data" for name, _ in chunks):
            left_out += len(found[pad:])
        else:
            self.behind = bytes(found[pad:])
        if left_out:
            self.warnings.append(f"{left_out} bytes behind the sound were left out")

    def _decoded(self, data: bytes) -> np.ndarray:
        """Return the bytes -> [C, T]."""
        subtype, bits = self.info.subtype, _BITS[self.info.subtype]
        if subtype in ("FLOAT", "DOUBLE"):
            x: np.ndarray = np.frombuffer(data, f"<f{bits // 8}").astype(np.float32)
            if not (np.abs(x) <= LOUDEST).all():  # which a NaN is not
                raise AudioError("holds NaN, infinite or absurdly large samples")
        elif subtype == "PCM_U8":
            x = (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
        elif subtype == "PCM_24":
            high = np.zeros((len(data) // 3, 4), np.uint8)
            high[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            x = high.view("<i4")[:, 0].astype(np.float32) / 2**31
        else:
            x = np.frombuffer(data, f"<i{bits // 8}").astype(np.float32) / 2 ** (bits - 1)
        return np.ascontiguousarray(x.reshape(-1, self.info.channels).T)


class WaveSink:
    """Writes blocks as WAV to a stream, each at once; the header goes out before the first.

    `clipped` counts values outside [-1, 1), which are clamped.
    """

    def __init__(self, stream: BinaryIO, header: WaveHeader, form: OutputForm) -> None:
        given = header.info
        self.info = replace(
            given,
            subtype=form.subtype or given.subtype,
            sample_rate=form.sample_rate or given.sample_rate,
            channels=1 if form.mono else given.channels,
        )
        self.clipped = 0
        self._stream = stream
        self._bits = _BITS[self.info.subtype]
        same = self.info == given
        as_before = self.info.subtype == given.subtype
        self._valid = (given.bits_per_sample if as_before else None) or self._bits
        if same:
            self._fmt = header.fmt
        else:
            self._fmt = self._made_fmt(b"" if form.mono or given.channel_mask is None else header.fmt)
        self._change = changes(self.info, self.info.sample_rate / given.sample_rate, "<")
        self._pad = b""
        self._behind = 0
        self._head: bytes | None = self._start(header)

    def write(self, block: np.ndarray) -> None:
        """Append [C, T]."""
        if self._head is not None:
            self._stream.write(self._head)
            self._head = None
        self._stream.write(self._encoded(block))
        self._stream.flush()

    def finish(self, source: WaveSource) -> list[str]:
        """Write what stands behind the sound, as much as the header says; return warnings."""
        lost = source.behind and not self._behind
        rest, remarks = self._corrected(source.behind)
        if len(rest) != self._behind:
            rest = struct.pack("<4sI", b"JUNK", max(0, self._behind - 8))[: self._behind]
            rest = rest.ljust(self._behind, b"\0")
        self._stream.write(self._pad + rest)
        self._stream.flush()
        return ["chunks behind so much sound were left out"] if lost else remarks

    def _corrected(self, behind: bytes) -> tuple[bytes, list[str]]:
        """Return chunks whose length is stated already, as they are of the new sound, and warnings."""
        chunks: list[tuple[bytes, bytes]] = []
        remarks = []
        for name, body in _chunks(behind) or ():
            new = changed_in_place(name, body, self._change)
            if new is None:
                remarks.append(
                    f"{name.decode().strip()} behind the sound stays as it was, for its length is fixed"
                )
            chunks.append((b"JUNK" if name in OF_THE_SOUND else name, body if new is None else new))
        return _joined(chunks)[: len(behind)], remarks

    def _before(self, others: bytes) -> bytes:
        """Return the chunks before the sound as they are of the new one."""
        if (chunks := _chunks(others)) is None:
            return others
        return _joined((name, self._change.get(name, bytes)(body)) for name, body in chunks)

    def _start(self, header: WaveHeader) -> bytes:
        size = None
        if header.size is not None:
            frames = round(header.info.frames * self.info.sample_rate / header.info.sample_rate)
            size = frames * self.info.channels * self._bits // 8
        fmt = self._fmt + b"\0" * (len(self._fmt) % 2)
        chunks = b"WAVE" + struct.pack("<4sI", b"fmt ", len(self._fmt)) + fmt + self._before(header.others)
        sizes = UNKNOWN, UNKNOWN
        if size is not None and size + len(chunks) + 8 + header.behind < _UNKNOWN_FROM:
            self._pad, self._behind = b"\0" * (size % 2), header.behind
            sizes = len(chunks) + 8 + size + len(self._pad) + self._behind, size
        return struct.pack("<4sI", b"RIFF", sizes[0]) + chunks + struct.pack("<4sI", b"data", sizes[1])

    def _made_fmt(self, extensible: bytes) -> bytes:
        """Return a plain `fmt `, or one with the channel mask of `extensible`."""
        channels, rate, bits = self.info.channels, self.info.sample_rate, self._bits
        tag = _FLOAT if self.info.subtype in ("FLOAT", "DOUBLE") else _PCM
        block = channels * bits // 8
        kind = _EXTENSIBLE if extensible else tag
        plain = struct.pack("<HHIIHH", kind, channels, rate, rate * block, block, bits)
        if not extensible:
            return plain
        (mask,) = struct.unpack_from("<I", extensible, 20)
        return plain + struct.pack("<HHIH", 22, self._valid, mask, tag) + extensible[26:40]

    def _encoded(self, block: np.ndarray) -> bytes:
        """[C, T] -> bytes."""
        if self.info.subtype in ("FLOAT", "DOUBLE"):
            return np.ascontiguousarray(block.T, f"<f{self._bits // 8}").tobytes()
        self.clipped += int(np.count_nonzero(np.abs(block) > 1))
        if self._bits == 8:
            return numbered(block, "u8", 8).tobytes()
        whole = numbered(block, "s16" if self._bits == 16 else "s32", self._valid)
        if self._bits == 24:
            return whole.flatten().astype("<i4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
        return whole.astype(f"<i{self._bits // 8}").tobytes()
