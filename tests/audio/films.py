"""Films made for tests, and an independent look at what is in a file: FFmpeg's demuxers and decoders."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy.signal import correlate

PICTURES = {".webm": "libvpx", ".mp4": "libx264", ".m4v": "libx264", ".mov": "mpeg4", ".mkv": "libx264"}
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}


def make_film(
    path, codec, x, rate=48_000, *, at=((0.0, 0, None),), sounds=1, sample_format=None, bit_rate=96_000,
    metadata=None, chapters=(), attachments=(), picture=True,
):  # fmt: skip
    """x [C, T] as the sound of a film of moving grey; `at` holds (time in s, first sample, last sample)."""
    av = pytest.importorskip("av")
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as film:
        video = None
        if picture:
            video = film.add_stream(PICTURES[path.suffix], rate=25, width=32, height=32)
            video.options = {"bf": "2", "g": "12"}
        streams = []
        for _ in range(sounds):
            stream = film.add_stream(codec, rate=rate, layout=LAYOUTS[len(x)], bit_rate=bit_rate)
            if sample_format:
                stream.codec_context.format = sample_format
            stream.time_base = Fraction(1, rate)
            stream.metadata["language"] = "deu"
            streams.append(stream)
        for name, mime, data in attachments:
            film.add_attachment(name, mime, data)
        film.metadata.update(metadata or {})
        film.set_chapters(
            [
                {
                    "id": number, "start": start, "end": end, "time_base": Fraction(1, 1000),
                    "metadata": {"title": title},
                }
                for number, (start, end, title) in enumerate(chapters)
            ]
        )  # fmt: skip
        film.start_encoding()
        packets = []
        for number in range(round(25 * x.shape[1] / rate) if picture else 0):
            grey = np.full((32, 32, 3), number * 7 % 256, np.uint8) ^ rng.integers(0, 8, (32, 32, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            packets += video.encode(frame)
        packets += video.encode(None) if picture else []
        for stream in streams:
            size = stream.codec_context.frame_size or 960
            for when, first, last in at:
                part = x[:, first:last]
                for k in range(0, part.shape[1], size):
                    packed = np.ascontiguousarray(part[:, k : k + size].T, np.float32).reshape(1, -1)
                    frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=LAYOUTS[len(x)])
                    frame.rate, frame.pts, frame.time_base = rate, round(when * rate) + k, Fraction(1, rate)
                    kind = stream.codec_context.format
                    for made in av.AudioResampler(format=kind, layout=LAYOUTS[len(x)]).resample(frame):
                        made.pts, made.time_base = frame.pts, frame.time_base
                        packets += stream.encode(made)
            packets += stream.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            film.mux(packet)
    return path


def packets(path, kind):
    """(content, time, time of decoding) of every packet of the tracks of a kind, in ms."""
    import av

    with av.open(str(path)) as film:
        streams = [stream for stream in film.streams if stream.type == kind]
        if not streams:
            return []
        found = []
        for packet in film.demux(streams):
            if packet.size:
                times = (
                    None if t is None else round(1000 * t * packet.time_base) for t in (packet.pts, packet.dts)
                )
                found.append((packet.stream.index, bytes(packet), *times))
        return found


def heard(path, track=0):
    """The sound of a track as a player has it: [C, T] from the time 0 of the film, and its rate."""
    import av

    with av.open(str(path)) as film:
        stream = film.streams.audio[track]
        rate, pieces = stream.codec_context.sample_rate, []
        convert = av.AudioResampler(format="flt", layout=stream.codec_context.layout)
        for frame in film.decode(stream):
            at = round(frame.pts * frame.time_base * rate)
            for part in convert.resample(frame):
                pieces.append((at, part.to_ndarray().reshape(-1, frame.layout.nb_channels).T))
        end = max(at + piece.shape[1] for at, piece in pieces)
        out = np.zeros((pieces[0][1].shape[0], end), np.float32)
        for at, piece in pieces:
            skipped = max(0, -at)
            out[:, at + skipped : at + piece.shape[1]] = piece[:, skipped:]
        return out, rate


def lag_samples(reference, estimate):
    """By how many samples `estimate` [T] comes later than `reference` [T]."""
    length = min(len(reference), len(estimate))
    found = correlate(estimate[:length], reference[:length], "full", method="fft")
    return int(np.argmax(found)) - (length - 1)
