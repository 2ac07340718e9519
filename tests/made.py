"""Makes recordings byte by byte whose headers say what they like, for the tests."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import soundfile

RATE = 16_000


def tone(seconds: float, rate: int = RATE, channels: int = 1, seed: int = 0) -> np.ndarray:
    """A buzz in soft noise, float32 [T, C], peak below .3."""
    rng, t = np.random.default_rng(seed), np.arange(round(seconds * rate)) / rate
    x = 0.2 * np.sin(2 * np.pi * (200 + 50 * seed) * t) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t))
    return (x[:, None] + 1e-3 * rng.normal(size=(len(t), channels))).astype(np.float32)


def encoded(container: str, subtype: str | None = None, rate: int = RATE, seconds: float = 2.0,
            channels: int = 1, seed: int = 0) -> bytes:  # fmt: skip
    """A recording of so many seconds through libsndfile."""
    file = io.BytesIO()
    soundfile.write(file, tone(seconds, rate, channels, seed), rate, subtype, format=container)
    return file.getvalue()


def pcm(seconds: float = 2.0, rate: int = RATE) -> bytes:
    return (tone(seconds, rate)[:, 0] * 32767).astype("<i2").tobytes()


def chunk(name: bytes, content: bytes, *, pad: bool = True, size: int | None = None) -> bytes:
    length = struct.pack("<I", len(content) if size is None else size)
    return name + length + content + (b"\0" if pad and len(content) % 2 else b"")


def wave_format(
    kind: int = 1, channels: int = 1, rate: int = RATE, bits: int = 16, extra: bytes = b""
) -> bytes:
    block = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", kind, channels, rate, rate * block, block, bits) + extra)


def riff(*chunks: bytes, size: int | None = None, tag: bytes = b"RIFF") -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return tag + struct.pack("<I", len(body) if size is None else size) + body


def wav(
    declared: int | None = None, riff_size: int | None = None, behind: bytes = b"", seconds: float = 2.0
) -> bytes:
    """16 bits, mono, `RATE`; `declared` bytes of sound by its header; `behind` the sound, inside the RIFF."""
    return riff(wave_format(), chunk(b"data", pcm(seconds), size=declared), behind, size=riff_size)


def id3(size: int = 500) -> bytes:
    return b"ID3\3\0\0" + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127]) + bytes(size)


def id3v1() -> bytes:
    return b"TAG" + b"x" * 125


def mp3(rate: int = 44_100, channels: int = 1, seconds: float = 2.0, seed: int = 0, info: bool = True) -> bytes:
    """An MP3 with an Info frame, or without."""
    data = encoded("MP3", None, rate, seconds, channels, seed)
    if info:
        return data
    position = info_at(data)
    start = data.rfind(b"\xff\xfb", 0, position) if rate >= 32_000 else data.rfind(b"\xff\xf3", 0, position)
    after = data.index(data[start : start + 2], position)
    return data[after:]


def info_at(data: bytes) -> int:
    found = [at for at in (data.find(b"Xing"), data.find(b"Info")) if at >= 0]
    return min(found)


def counting(data: bytes, change: Callable[[int], int]) -> bytes:
    """An MP3 whose Info frame counts something else."""
    at = info_at(data) + 8
    (count,) = struct.unpack(">I", data[at : at + 4])
    return data[:at] + struct.pack(">I", change(count)) + data[at + 4 :]


def pages(data: bytes) -> list[bytes]:
    """The pages of an Ogg file."""
    found, position = [], 0
    while position < len(data):
        count = data[position + 26]
        stop = position + 27 + count + sum(data[position + 27 : position + 27 + count])
        found.append(data[position:stop])
        position = stop
    return found


def page(data: bytes, flags: int | None = None, granule: int | None = None) -> bytes:
    """An Ogg page with other flags or another granule, its checksum made right bit by bit."""
    changed = bytearray(data)
    if flags is not None:
        changed[5] = flags
    if granule is not None:
        changed[6:14] = struct.pack("<q", granule)
    changed[22:26] = bytes(4)
    register = 0
    for byte in changed:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 ^ (0x04C11DB7 if register >> 31 else 0)) & 0xFFFF_FFFF
    changed[22:26] = struct.pack("<I", register)
    return bytes(changed)


def granule(data: bytes) -> int:
    return int(struct.unpack("<q", data[6:14])[0])


def last_page(data: bytes, flags: int | None = None, change: Callable[[int], int] | None = None) -> bytes:
    """An Ogg file whose last page has other flags, or a changed granule."""
    *front, last = pages(data)
    return b"".join(front) + page(last, flags, change(granule(last)) if change else None)


def flac_total(data: bytes, samples: int) -> bytes:
    """A FLAC whose header says so many samples."""
    return (
        data[:21]
        + bytes([data[21] & 0xF0 | samples >> 32])
        + struct.pack(">I", samples & 0xFFFF_FFFF)
        + data[26:]
    )


def muxed(
    path,
    codec: str,
    x: np.ndarray,
    rate: int,
    form: str | None = None,
    at=((0.0, 0.0, None),),
    tracks: int = 1,
    default: int | None = None,
    bit_rate: int | None = None,
    **stream_options,
) -> None:
    """x [C, T] through PyAV; `at` holds (time in the file, from, to) in s; `tracks` alike, `default` marked."""
    import av

    layout = {1: "mono", 2: "stereo"}[len(x)]
    with av.open(str(path), "w", format=form) as container:
        streams = [container.add_stream(codec, rate, layout=layout, **stream_options) for _ in range(tracks)]
        for stream in streams:
            if bit_rate is not None:
                stream.bit_rate = bit_rate
        if default is not None:
            for number, stream in enumerate(streams):
                stream.disposition = av.stream.Disposition.default.value if number == default else 0
        for number, stream in enumerate(streams):
            size = stream.codec_context.frame_size or 960
            converter = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
            for when, first, last in at:
                part = x[:, int(first * rate) : None if last is None else int(last * rate)] / (number + 1)
                for k in range(0, part.shape[1], size):
                    frame = av.AudioFrame.from_ndarray(
                        np.ascontiguousarray(part[:, k : k + size], np.float32), format="fltp", layout=layout
                    )
                    frame.rate, frame.pts, frame.time_base = rate, round(when * rate) + k, Fraction(1, rate)
                    for piece in converter.resample(frame):
                        piece.pts, piece.time_base = frame.pts, frame.time_base
                        container.mux(stream.encode(piece))
            container.mux(stream.encode(None))


def decoded_samples(path, track: int = 0) -> int:
    """What FFmpeg decodes, in samples, whatever headers say."""
    import av

    with av.open(str(path), metadata_errors="replace") as container:
        return sum(frame.samples for frame in container.decode(container.streams.audio[track]))
