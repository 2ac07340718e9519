"""Vorbis for other containers than Ogg: libsndfile encodes it, better than FFmpeg's own encoder; PyAV muxes."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from slimclean.audio.encodings import compression_level, to_ogg
from slimclean.audio.formats import AudioInfo
from slimclean.audio.structure.ogg_packets import TAIL_BYTES, vorbis_block


class VorbisSpool:
    """Vorbis on its way into another container: encoded into a file without a name in `folder`."""

    def __init__(self, folder: Path, info: AudioInfo) -> None:
        bit_rate = info.bit_rate or 64_000 * info.channels
        level = compression_level("vorbis", bit_rate, info.channels, info.sample_rate)
        self._spool = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        # By its number: what goes wrong in a Python object within libsndfile is printed, not raised.
        spool = self._spool.fileno() if os.name == "posix" else self._spool
        try:
            self._file = soundfile.SoundFile(
                spool,
                "w",
                info.sample_rate,
                info.channels,
                "VORBIS",
                format="OGG",
                compression_level=level,
                closefd=False,
            )
        except BaseException:
            self._spool.close()
            raise
        self._read: Any = None
        self._start_s = info.start_s

    def write(self, samples: np.ndarray) -> None:
        self._file.write(to_ogg(samples, "VORBIS"))

    def add_to(self, out: Any, av: Any) -> Any:
        self._file.close()
        self._spool.seek(0)
        self._read = av.open(self._spool, format="ogg")
        return out.add_stream_from_template(self._read.streams.audio[0], opaque=True)

    def packets(self, samples: int, av: Any) -> Iterator[Any]:
        """Yield packets of `samples` in all, with their times.

        FFmpeg's are wrong where one page holds all, and where a page ends between a short and a long block.
        """
        stream = self._read.streams.audio[0]
        headers = stream.codec_context.extradata
        block = vorbis_block(headers[headers.index(b"\x01vorbis") :], headers[-TAIL_BYTES:])
        assert block is not None
        start = round(self._start_s / stream.time_base)
        at, before, one_page = 0, 0, False
        for number, packet in enumerate(packet for packet in self._read.demux(stream) if packet.size):
            size = block(bytes(packet))
            length = (before + size) // 4
            before = size
            if number == 0:  # it only primes the decoder, but in one page it has a time of its own
                length = packet.duration
                at, one_page = -length, packet.pts == 0
            elif one_page and packet.has_sidedata("skip_samples"):  # as many too many as the first is long
                packet = av.Packet(bytes(packet))
                packet.is_keyframe, packet.time_base = True, stream.time_base
            packet.duration = min(length, samples - at)
            packet.pts = packet.dts = start + max(0, at)  # a time below 0 would shift the picture
            at += packet.duration
            yield packet

    def remove(self) -> None:
        with contextlib.suppress(Exception):
            self._file.close()
        if self._read is not None:
            self._read.close()
        self._spool.close()
