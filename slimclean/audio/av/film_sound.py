"""The sound of a film on its way in: samples to packets, with FFmpeg's encoders.

Needs the extra `av`. Samples are handed over packed, [T, C].
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from slimclean.audio.encodings import ENCODINGS
from slimclean.audio.formats import USUAL_LAYOUTS, AudioInfo

STEER_S, STEER_LEAST, STEER_MOST, STEER_SAMPLES = 2.0, 0.5, 2.0, 4096
"""How AAC is kept at its bit rate: so soon, within these shares of it, looking after so many samples."""


class SoundEncoder:
    """Encodes sound like `info`, whose first sample is number `first` on the film's clock.

    `add_to` a film, then `encode` and `finish`, which yield the packets.
    """

    def __init__(self, av: Any, info: AudioInfo, first: int) -> None:
        self._av, self._info = av, info
        self._limit = ENCODINGS.get(info.codec or "")
        self._next = first
        self._step = _step(info)
        self._held = np.zeros((0, info.channels))
        self._stream: Any = None
        self._bit_rate = self._bits = self._encoded = 0
        self._layout = self._stored_layout()

    def _stored_layout(self) -> str:
        """Return FFmpeg's name of the channel layout as the encoding has it."""
        info, asked = self._info, self._info.channel_layout or ""
        # PCM in Matroska has "2 channels" without places, which encoders refuse.
        placed = asked and not asked.endswith(" channels")
        known = placed and self._av.AudioLayout(asked).nb_channels == info.channels
        layout = asked if known else USUAL_LAYOUTS.get(info.channels, f"{info.channels} channels")
        return dict(self._limit.layouts).get(layout, layout) if self._limit else layout

    def add_to(self, out: Any) -> Any:
        """Add the track to `out`, an open film, and return it."""
        info, limit = self._info, self._limit
        codec = self._av.Codec((limit and limit.encoder) or info.codec, "w")
        self._stream = out.add_stream(codec.name, rate=info.sample_rate, layout=self._layout)
        kind = sample_format(info)
        offered = [each.name for each in codec.audio_formats or ()]
        self._stream.codec_context.format = kind if kind in offered or not offered else kind + "p"
        self._stream.time_base = Fraction(1, info.sample_rate)
        if limit and limit.kbits is not None:
            self._bit_rate = info.bit_rate or round(1000 * limit.kbits * info.channels)
            self._stream.bit_rate = self._bit_rate
        if codec.name == "libopus":
            self._stream.options = {"vbr": "off"}  # or pauses that became silent take next to nothing
            if info.channels in (5, 7):  # of which FFmpeg else mixes up the order
                self._stream.options["mapping_family"] = "1"
        return self._stream

    def encode(self, samples: np.ndarray) -> Iterator[Any]:
        """Take in [T, C] in the encoder's own kind of number (see `sample_format`)."""
        held = np.concatenate([self._held, samples]) if len(self._held) else samples
        whole = len(held) // self._step * self._step
        self._held = held[whole:].copy()
        yield from self._encoded_packets(held[:whole])

    def finish(self) -> Iterator[Any]:
        """Encode what is held back, and so much silence that a late encoder gives out all the sound."""
        delay = self._limit.delay_samples if self._limit else 0
        silence = np.zeros((delay, self._info.channels), self._held.dtype)
        yield from self._encoded_packets(np.concatenate([self._held, silence]))
        yield from self._stream.encode(None)

    def _encoded_packets(self, samples: np.ndarray) -> Iterator[Any]:
        rate, channels = self._info.sample_rate, self._info.channels
        step = self._step if self._step > 1 else max(1, len(samples))
        for start in range(0, len(samples), step):
            packed = np.ascontiguousarray(samples[start : start + step]).reshape(1, -1)
            frame = self._av.AudioFrame.from_ndarray(
                packed, format=sample_format(self._info), layout=self._layout
            )
            frame.rate, frame.time_base, frame.pts = rate, Fraction(1, rate), self._next
            self._next += packed.shape[1] // channels
            self._encoded += packed.shape[1] // channels
            for packet in self._stream.encode(frame):
                self._bits += 8 * packet.size
                yield packet
            if self._info.codec == "aac":
                self._steer()

    def _steer(self) -> None:
        """Ask the encoder of AAC for what is left to spend: by itself it misses its rate around silence."""
        wanted = self._bit_rate
        spare = wanted * self._encoded / self._info.sample_rate - self._bits
        share = min(STEER_MOST, max(STEER_LEAST, 1 + spare / (wanted * STEER_S)))
        self._stream.codec_context.bit_rate = round(wanted * share)


def sample_format(info: AudioInfo) -> str:
    """Return FFmpeg's name for the numbers that `Film.write` takes: flt, dbl, s16, s32 or u8."""
    codec = info.codec or ""
    if codec.startswith("pcm_"):
        return {"pcm_f3": "flt", "pcm_f6": "dbl", "pcm_u8": "u8", "pcm_s8": "u8"}.get(
            codec[:6], "s16" if (info.bits_per_sample or 16) <= 16 else "s32"
        )
    chosen = ENCODINGS[codec].sample_format or "flt"
    return "s16" if chosen == "s32" and (info.bits_per_sample or 16) <= 16 else chosen


def _step(info: AudioInfo) -> int:
    """Return how many samples are handed over at a time, 1 for any number of them."""
    codec, rate = info.codec or "", info.sample_rate
    if codec.startswith("pcm_"):  # whole milliseconds, for Matroska has no finer time
        return next((rate * ms // 1000 for ms in (20, 40) if rate * ms % 1000 == 0), rate // 50)
    return STEER_SAMPLES if codec == "aac" else 1
