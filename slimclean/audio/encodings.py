"""What each encoding can hold, and how much of it: channels, rates, bits and bit rates. Opens no recording."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass

import numpy as np
import soundfile

from slimclean.audio.structure.mpeg_frame import KBITS, RATES_HZ
from slimclean.errors import AudioError

MP3_RATES_HZ = tuple(sorted(rate for rates in RATES_HZ.values() for rate in rates))
AAC_RATES_HZ = (*MP3_RATES_HZ, 64_000, 88_200, 96_000)
MP3_KBITS = (
    (32_000, (min(KBITS[3, 1]), max(KBITS[3, 1]))),
    (16_000, (min(KBITS[2, 1]), max(KBITS[2, 1]))),
    (0, (8, 64)),
)
"""From which sample rate on MPEG layer III has which least and greatest bit rate; below 16 kHz, LAME's."""
MP3_SCALES = ((176, 0.95), (208, 0.97), (240, 0.98))
"""By how much LAME makes sound softer below so many kbit/s of constant bit rate."""
OPUS_KBITS = (6, 256)
"""A channel's, at libsndfile's compression levels 1 and 0."""
OPUS_SAFE_KBITS = 20
"""A channel's where there are more than two: below it, libopus may take 512 kbit/s if some are silent."""
MP2_KBITS = ((32_000, KBITS[3, 2]), (0, KBITS[2, 2]))
"""From which sample rate on MPEG layer II has which bit rates, and no others."""
AC3_KBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
AC3_LEAST_KBITS, EAC3_LEAST_KBITS = (32, 32, 40, 40, 40, 64), (32, 32, 40, 40, 40, 56)
"""By the number of channels: with fewer bits, FFmpeg's encoder has no room for what is beside the sound."""
AAC_LEAST_BITS, AAC_MOST_BITS = 16_000, 5
"""A channel's bits a second at least, and a sample's at most: what FFmpeg's encoder keeps to, measured."""
AC3_DELAY, MP2_DELAY = 256, 512 - 32 + 1
"""In samples, FFmpeg's: a block (ac3enc.c), and what its polyphase filters take (mpegaudioenc_template.c)."""

_OGG_ORDER = {
    3: (0, 2, 1), 5: (0, 2, 1, 3, 4), 6: (0, 2, 1, 5, 3, 4), 7: (0, 2, 1, 6, 5, 3, 4),
    8: (0, 2, 1, 7, 5, 6, 3, 4),
}  # fmt: skip
"""Which channel of Vorbis and Opus (Vorbis I, 4.3.9) each one is in WAVE's order, by their number."""


def ogg_order(subtype: str, channels: int) -> tuple[int, ...] | None:
    """Return which channel libsndfile has for each of ours, which have WAVE's order; None: the same."""
    return _OGG_ORDER.get(channels) if subtype in ("VORBIS", "OPUS") else None


def to_ogg(samples: np.ndarray, subtype: str) -> np.ndarray:
    """Put [T, C] from WAVE's order into the one that libsndfile wants for `subtype`."""
    order = ogg_order(subtype, samples.shape[1])
    return samples if order is None else np.ascontiguousarray(samples[:, np.argsort(order)])


@dataclass(frozen=True)
class Encoding:
    """What one encoding can hold, as its encoder here takes it."""

    name: str
    channels: int = 64
    rates_hz: tuple[int, ...] = ()
    """The only rates; none: every one up to `greatest_hz`."""
    greatest_hz: int = 768_000
    encoder: str | None = None
    """FFmpeg's encoder, where it is not named like the codec."""
    sample_format: str | None = None
    """What samples are handed to FFmpeg's encoder in; None where only libsndfile encodes."""
    kbits: float | None = None
    """Kilobits a second and channel where the input does not tell; None: the encoding has no bit rate."""
    layouts: tuple[tuple[str, str], ...] = ()
    """Channel layouts that are stored under another name, with that name."""
    delay_samples: int = 0
    """By how much FFmpeg's encoder is late, where it gives out the end only if so much silence follows."""


_SIDE = (("5.0(side)", "5.0"), ("5.1(side)", "5.1"))
_BACK = (("5.0", "5.0(side)"), ("5.1", "5.1(side)"), ("quad", "quad(side)"))
_FOR_ALAC = (
    ("2.1", "3.0"), ("quad", "4.0"), ("quad(side)", "4.0"), ("6.1", "6.1(back)"), ("7.1", "7.1(wide)")
)  # fmt: skip
ENCODINGS = {
    "mp3": Encoding("MP3", 2, MP3_RATES_HZ, encoder="libmp3lame", sample_format="flt", kbits=64),
    "opus": Encoding(
        "Opus", 64, (8_000, 12_000, 16_000, 24_000, 48_000), encoder="libopus", sample_format="flt", kbits=64,
        layouts=_SIDE,
    ),
    "vorbis": Encoding("Vorbis", 64, greatest_hz=192_000, kbits=64),
    "flac": Encoding("FLAC", 8, greatest_hz=655_350, sample_format="s32"),
    "alac": Encoding(
        "ALAC", 8, greatest_hz=384_000, sample_format="s32", layouts=(*_SIDE, *_FOR_ALAC)
    ),
    "aac": Encoding("AAC", 8, AAC_RATES_HZ, sample_format="flt", kbits=80, layouts=_SIDE),
    "ac3": Encoding(
        "AC-3", 6, (32_000, 44_100, 48_000), sample_format="flt", kbits=96, layouts=_BACK,
        delay_samples=AC3_DELAY,
    ),
    "eac3": Encoding(
        "E-AC-3", 6, (32_000, 44_100, 48_000), sample_format="flt", kbits=64, layouts=_BACK,
        delay_samples=AC3_DELAY,
    ),
    "mp2": Encoding(
        "MP2", 2, MP3_RATES_HZ[3:], sample_format="s16", kbits=128, delay_samples=MP2_DELAY
    ),
    "wavpack": Encoding("WavPack", 64, sample_format="s32"),
}  # fmt: skip
"""By FFmpeg's name of the codec. PCM, which holds anything, is not here."""

_SNDFILE = {"MPEG_LAYER_III": "mp3", "OPUS": "opus", "VORBIS": "vorbis", "FLAC": "flac"}


def codec_of(container: str, subtype: str) -> str | None:
    """Return FFmpeg's name of what libsndfile writes as `subtype` into `container`; None for PCM."""
    if container == "FLAC":
        return "flac"
    return "alac" if subtype.startswith("ALAC") else _SNDFILE.get(subtype)


def check_encodable(codec: str | None, channels: int, sample_rate: int) -> None:
    """Raise `AudioError` with the remedy where `codec` does not hold so many channels, or at this rate."""
    limit = ENCODINGS.get(codec or "")
    if limit is None:
        return
    if channels > limit.channels:
        most = "1 channel" if limit.channels == 1 else f"{limit.channels} channels"
        raise AudioError(
            f"{limit.name} holds at most {most}, not {channels}; set `mono`, or `extension` wav to keep them"
        )
    lossless = "`extension` wav" if codec == "flac" else "`extension` flac"
    if limit.rates_hz and sample_rate not in limit.rates_hz:
        nearest = next((rate for rate in limit.rates_hz if rate >= sample_rate), limit.rates_hz[-1])
        raise AudioError(
            f"{limit.name} cannot be written at {sample_rate} Hz; set `sample_rate` {nearest} or {lossless}"
        )
    whole = codec != "flac" or sample_rate <= 65_535 or sample_rate % 10 == 0
    if sample_rate > limit.greatest_hz or not whole:
        raise AudioError(
            f"{limit.name} cannot be written at {sample_rate} Hz; set `sample_rate` 48000 or {lossless}"
        )


def bit_rates(codec: str | None, channels: int, sample_rate: int) -> tuple[int, int] | None:
    """Return the least and greatest bit rate in bit/s that the encoder of `codec` keeps to; None: no limits."""
    if codec == "mp3":
        least, most = next(kbits for from_hz, kbits in MP3_KBITS if sample_rate >= from_hz)
        return 1000 * least, 1000 * most
    if codec == "opus":
        return 1000 * OPUS_KBITS[0] * channels, 1000 * OPUS_KBITS[1] * channels
    if codec == "vorbis":
        least, most = (_vorbis_nominal(level, channels, sample_rate) for level in (0.9999, 0.0))
        return least, most
    if codec == "aac":
        return AAC_LEAST_BITS * channels, AAC_MOST_BITS * sample_rate * channels
    if codec == "eac3":
        return 1000 * EAC3_LEAST_KBITS[channels - 1], 3_024_000
    certain = _certain_rates(codec, channels, sample_rate)
    return (certain[0], certain[-1]) if certain else None


def _certain_rates(codec: str | None, channels: int, sample_rate: int) -> tuple[int, ...]:
    """List the bit rates in bit/s of an encoding that has no others; none for any other encoding."""
    kbits: tuple[int, ...] = ()
    if codec == "mp2":
        kbits = next(kbits for from_hz, kbits in MP2_KBITS if sample_rate >= from_hz)
    elif codec == "ac3":
        kbits = tuple(one for one in AC3_KBITS if one >= AC3_LEAST_KBITS[channels - 1])
    return tuple(1000 * one for one in kbits)


def nearest_bit_rate(codec: str | None, bit_rate: int, channels: int, sample_rate: int) -> int:
    """Return the bit rate in bit/s that the encoder of `codec` takes and that is nearest to `bit_rate`."""
    if certain := _certain_rates(codec, channels, sample_rate):
        return min(certain, key=lambda one: abs(one - bit_rate))
    limits = bit_rates(codec, channels, sample_rate)
    return bit_rate if limits is None else min(max(bit_rate, limits[0]), limits[1])


def check_bit_rate(codec: str | None, bit_rate: int, channels: int, sample_rate: int) -> None:
    """Raise `AudioError` with the remedy where `codec` cannot be encoded at `bit_rate` in bit/s."""
    limits = bit_rates(codec, channels, sample_rate)
    nearest = nearest_bit_rate(codec, bit_rate, channels, sample_rate)
    if limits is None or nearest == bit_rate:
        return
    least, most = (limits[0] + 999) // 1000, limits[1] // 1000
    sound = f"{channels} channel{'s' * (channels > 1)} at {sample_rate} Hz"
    taken = f"{least} to {most} kbit/s"
    if limits[0] <= bit_rate <= limits[1]:  # of some encodings, not every number between is one
        taken = f"certain bit rates from {taken}"
    else:
        nearest = 1000 * (least if bit_rate < limits[0] else most)
    raise AudioError(
        f"{ENCODINGS[codec or ''].name} takes {taken} for {sound}, not {bit_rate / 1000:g}; "
        f"set `bit_rate` {nearest}"
    )


def encoder_scale(codec: str | None, bit_rate: int | None) -> float:
    """Return what the encoder of `codec` multiplies samples by where it is asked for a bit rate in bit/s."""
    if codec != "mp3" or bit_rate is None:
        return 1.0
    return next((scale for below, scale in MP3_SCALES if bit_rate < 1000 * below), 1.0)


def compression_level(codec: str | None, bit_rate: int, channels: int, sample_rate: int) -> float | None:
    """Return libsndfile's compression level, in [0, 1), that brings `codec` nearest to `bit_rate` in bit/s."""
    if codec == "mp3":
        least, most = next(kbits for from_hz, kbits in MP3_KBITS if sample_rate >= from_hz)
        kbits = bit_rate / 1000
    elif codec == "opus":
        (least, most), kbits = OPUS_KBITS, bit_rate / 1000 / channels
        kbits = max(kbits, OPUS_SAFE_KBITS) if channels > 2 else kbits
    elif codec == "vorbis":
        return _vorbis_level(bit_rate, channels, sample_rate)
    else:
        return None
    return min(0.9999, max(0.0, (most - kbits) / (most - least)))


@functools.cache
def _vorbis_level(bit_rate: int, channels: int, sample_rate: int) -> float:
    """By halving: the level at which the encoder itself states this bit rate in the header."""
    low, high = 0.0, 1.0
    for _ in range(7):
        middle = (low + high) / 2
        if _vorbis_nominal(middle, channels, sample_rate) > bit_rate:
            low = middle
        else:
            high = middle
    return (low + high) / 2


@functools.cache
def _vorbis_nominal(level: float, channels: int, sample_rate: int) -> int:
    memory = io.BytesIO()
    with soundfile.SoundFile(
        memory, "w", sample_rate, channels, "VORBIS", format="OGG", compression_level=level
    ):
        pass
    return vorbis_nominal(memory.getvalue()) or 0


def vorbis_nominal(beginning: bytes) -> int | None:
    """Return the bit rate that the first page of an Ogg Vorbis file states (Vorbis I, 4.2.2), in bit/s."""
    at = beginning.find(b"\x01vorbis")
    nominal = int.from_bytes(beginning[at + 20 : at + 24], "little", signed=True) if at >= 0 else 0
    return nominal if nominal > 0 else None
