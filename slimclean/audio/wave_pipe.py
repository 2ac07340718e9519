"""WAV that flows through a pipe: read as it comes, written as it goes, without a file in between.

A header at the beginning of a pipe cannot know how much follows. Encoders then give sizes near 2 or 4 GiB, or
0; such a stream goes on until it ends, an endless one for ever. What goes out has the size of what came in
where that is known, else 0xFFFFFFFF, as FFmpeg does. Chunks before the sound, such as `LIST`, go along, and so
do those behind it where the header says how much they are; what the new sound makes untrue in them is corrected
(see `chunk_contents`).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from slimclean.audio.formats import BITS, LOUDEST, OutputForm
from slimclean.audio.mixdown import Mixdown
from slimclean.audio.structure import wave_file
from slimclean.audio.structure.chunk_bytes import chunk, whole_chunks
from slimclean.audio.structure.sizes import UNKNOWN, UNKNOWN_FROM, truncated
from slimclean.audio.structure.view import Peek
from slimclean.audio.structure.wave_file import EXTENSIBLE, FLOAT, PCM
from slimclean.audio.tags.chunk_contents import changed_in_place, changes
from slimclean.audio.tags.chunks import OF_THE_SOUND
from slimclean.audio.wave_header import WaveHeader
from slimclean.audio.writer import quantised
from slimclean.errors import AudioError

READ_BYTES = 1 << 16
"""At most, at a time; what is there is taken at once."""
LONGEST_S = 1.0
"""Of a block."""
_MISSED_S = 0.05
"""More sound than that is missed."""
_LOOKED_AT = 1 << 20
"""Bytes behind the sound, for whether it goes on."""


def flows(form: OutputForm) -> bool:
    """Tell whether what is asked for can be written as it goes: WAV, without a look at the whole first."""
    known = form.subtype is None or form.subtype in BITS
    return form.extension in (None, ".wav") and known and form.loudness_lufs is None and form.track is None


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
        self._last = b""
        self._ahead = header.ahead
        self._more = getattr(stream, "read1", stream.read)

    def read_blocks(self, *, mono: bool = False) -> Iterator[np.ndarray]:
        """Yield consecutive blocks [C, T], at least one, on request mixed down.

        Raises `AudioError` for sound that no recording holds.
        """
        mixdown = Mixdown(self.info.channels, self.info.sample_rate)
        blocks = self._blocks()
        yield from mixdown.stream(blocks) if mono else blocks
        self.warnings += mixdown.remarks()

    def _blocks(self) -> Iterator[np.ndarray]:
        """Yield the blocks [C, T], and look at what lies behind the sound."""
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
                self._last = (self._last + data[:whole])[-(READ_BYTES // frame * frame) :]
                yield self._decoded(data[:whole])
        if seen < frame:
            yield np.zeros((self.info.channels, 0), np.float32)
        if size is not None and seen < size:
            self.problem = truncated(seen, size)
        self._read_behind()

    def _read(self, count: int) -> bytes:
        if self._ahead:
            found, self._ahead = self._ahead[:count], self._ahead[count:]
            return found
        return bytes(self._more(count))

    def _read_behind(self) -> None:
        """Keep the chunks that belong to the file; read on to the end: no writer meets a closed pipe."""
        pad = (self._header.size or 0) % 2
        wanted = pad + self._header.behind
        found, left_out, after = bytearray(), 0, b""
        while data := self._read(READ_BYTES):
            after += data[: max(0, _LOOKED_AT - len(after))]
            there = data[: wanted - len(found)]
            found += there
            rest = data[len(there) :]
            left_out += len(rest) if rest.strip(b"\0") else 0
        chunks = whole_chunks(bytes(found[pad:]))
        if len(found) < wanted or chunks is None or any(name == b"data" for name, _ in chunks):
            left_out += len(found[pad:])
        else:
            self.behind = bytes(found[pad:])
        missed_s = left_out / self._header.frame_bytes / self.info.sample_rate
        if missed_s > _MISSED_S and not self.problem and self._goes_on(after):
            told = self.info.samples / self.info.sample_rate
            self.problem = f"its header says {told:.2f} s of sound and more follows; give it as a file"
        elif left_out:
            self.warnings.append(f"{left_out} bytes behind the sound were left out")

    def _goes_on(self, after: bytes) -> bool:
        """Tell whether what comes `after` the sound is more of it, as of a file with this end."""
        size, frame, fmt = self._header.size or 0, self._header.frame_bytes, self._header.fmt
        sound = self._last[frame:] if (len(self._last) - size) % 2 else self._last
        form = chunk(b"fmt ", fmt)
        riff_size = 4 + len(form) + 8 + len(sound) + size % 2 + self._header.behind
        head = struct.pack("<4sI4s", b"RIFF", riff_size, b"WAVE") + form
        end = head + struct.pack("<4sI", b"data", len(sound)) + sound + after
        try:
            wave = wave_file.scan(Peek(io.BytesIO(end)))
        except AudioError:
            return False
        return wave is not None and (len(wave.data) > wave.declared or wave.next is not None)

    def _decoded(self, data: bytes) -> np.ndarray:
        """Return the bytes -> [C, T]."""
        subtype, bits = self.info.subtype, BITS[self.info.subtype]
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

    Values beyond [-1, 1] are clamped, and counted in `clipped`. At 1 stands the greatest number of the
    encoding, which may be a little less.
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
        self._bits = BITS[self.info.subtype]
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
        chunks, remarks = [], []
        for name, body in whole_chunks(behind) or ():
            new = changed_in_place(name, body, self._change)
            if new is None:
                remarks.append(
                    f"{name.decode().strip()} behind the sound stays as it was, for its length is fixed"
                )
            chunks.append(chunk(b"JUNK" if name in OF_THE_SOUND else name, body if new is None else new))
        return b"".join(chunks)[: len(behind)], remarks

    def _before(self, others: bytes) -> bytes:
        """Return the chunks before the sound as they are of the new one."""
        if (chunks := whole_chunks(others)) is None:
            return others
        return b"".join(chunk(name, self._change.get(name, bytes)(body)) for name, body in chunks)

    def _start(self, header: WaveHeader) -> bytes:
        size = None
        if header.size is not None:
            samples = round(header.info.samples * self.info.sample_rate / header.info.sample_rate)
            size = samples * self.info.channels * self._bits // 8
        chunks = b"WAVE" + chunk(b"fmt ", self._fmt) + self._before(header.others)
        sizes = UNKNOWN, UNKNOWN
        if size is not None and size + len(chunks) + 8 + header.behind < UNKNOWN_FROM:
            self._pad, self._behind = b"\0" * (size % 2), header.behind
            sizes = len(chunks) + 8 + size + len(self._pad) + self._behind, size
        return struct.pack("<4sI", b"RIFF", sizes[0]) + chunks + struct.pack("<4sI", b"data", sizes[1])

    def _made_fmt(self, extensible: bytes) -> bytes:
        """Return a plain `fmt `, or one with the channel mask of `extensible`."""
        channels, rate, bits = self.info.channels, self.info.sample_rate, self._bits
        tag = FLOAT if self.info.subtype in ("FLOAT", "DOUBLE") else PCM
        block = channels * bits // 8
        kind = EXTENSIBLE if extensible else tag
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
            return quantised(block, "u8", 8).tobytes()
        whole = quantised(block, "s16" if self._bits == 16 else "s32", self._valid)
        if self._bits == 24:
            return whole.flatten().astype("<i4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
        return whole.astype(f"<i{self._bits // 8}").tobytes()
