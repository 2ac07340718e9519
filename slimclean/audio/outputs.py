"""How an output is stored: like its input, as far as its container has that, and as was asked for."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import soundfile

from slimclean.audio.containers import BY_EXTENSION, Container
from slimclean.audio.encodings import ENCODINGS, check_bit_rate, check_encodable, codec_of, nearest_bit_rate
from slimclean.audio.formats import CODECS, AudioInfo, OutputForm, check_holds, valid_bits
from slimclean.errors import AudioError, UsageError

VOC_CHANNELS = 2


def output_suffix(source: Path, form: OutputForm) -> str:
    """Return the extension of the output of `source`."""
    container = BY_EXTENSION.get(source.suffix.lower())
    return form.extension or (container and container.becomes) or source.suffix


def output_info(info: AudioInfo, path: Path, form: OutputForm | None = None) -> AudioInfo:
    """Say how to store a recording like `info` under the name `path`.

    The same container and encoding, unless the extension asks for another container; then the encoding stays
    where that container has it, and is its default where not, with as many bits. `form` has the last word.
    Raises `AudioError` with the remedy where the outcome cannot be written.
    """
    form = form or OutputForm()
    wanted = BY_EXTENSION.get(path.suffix.lower()) or _container_of(info)
    out = replace(
        info,
        sample_rate=form.sample_rate or info.sample_rate,
        channels=1 if form.mono else info.channels,
        bit_rate=form.bit_rate or (info.bit_rate if info.lossy else None),
        channel_layout="mono" if form.mono else info.channel_layout,
        channel_mask=None if form.mono else info.channel_mask,
    )
    if wanted is not None and wanted.muxer:
        out = _by_ffmpeg(out, wanted, form.subtype)
        codec = out.codec
    else:
        out = _by_libsndfile(out, wanted, form.subtype)
        codec = codec_of(out.format, out.subtype)
    check_encodable(codec, out.channels, out.sample_rate)
    if form.bit_rate is not None:
        check_bit_rate(codec, form.bit_rate, out.channels, out.sample_rate)
    if codec not in ENCODINGS or ENCODINGS[codec].kbits is None:
        out = replace(out, bit_rate=None)
    source_codec = None if form.subtype else _replaced(info, out, codec, wanted)
    return replace(out, codec=codec, source_codec=source_codec)


def check_form(extension: str, form: OutputForm) -> None:
    """Raise `UsageError` with the remedy where no output of this extension can be as `form` asks."""
    container = BY_EXTENSION.get(extension.lower())
    if container is None:
        return
    if form.subtype is not None:
        check_holds(container, form.subtype)
    problems = [_problem(codec, form) for codec in _codecs(container, form.subtype)]
    if problems and all(problems):
        raise UsageError(problems[0])


def _codecs(container: Container, subtype: str | None) -> Iterable[str | None]:
    """Return FFmpeg's names of the codecs that an output may have; None stands for PCM."""
    if container.muxer:
        return (CODECS[subtype],) if subtype else container.codecs
    kind = container.sndfile or ""
    if asked := subtype or container.subtype:
        return (codec_of(kind, asked),)
    found = dict.fromkeys(codec_of(kind, s) for s in soundfile.available_subtypes(kind) if _is_written(kind, s))
    return (*found, "flac") if kind == "OGG" else found


def _problem(codec: str | None, form: OutputForm) -> str:
    """Return why `codec` cannot be as `form` asks, at any rate and number of channels that it leaves open.

    Of these, the ones are told whose bit rates come nearest.
    """
    limit = ENCODINGS.get(codec or "")
    if limit is None:
        return ""
    rates = limit.rates_hz if form.sample_rate is None else (form.sample_rate,)
    nearest, problem = math.inf, ""
    for rate, channels in itertools.product(rates, (1,) if form.mono else range(1, limit.channels + 1)):
        off = 0
        try:
            check_encodable(codec, channels, rate)
            if form.bit_rate is not None:
                off = abs(form.bit_rate - nearest_bit_rate(codec, form.bit_rate, channels, rate))
                check_bit_rate(codec, form.bit_rate, channels, rate)
        except AudioError as error:
            if off < nearest:
                nearest, problem = off, str(error)
        else:
            return ""
    return problem


def _replaced(info: AudioInfo, out: AudioInfo, codec: str | None, wanted: Container | None) -> str | None:
    """Return the name of the encoding of `info` where `out`, whose encoding is another, has its container.

    `codec` is that of `out`. An extension that stands for an encoding, such as .opus, asks for that.
    """
    names = {"MATROSKA": ("matroska", "webm")}.get(info.format, (info.format.lower(),))
    same = out.format == info.format or (out.format == "WAV" and info.format in ("WAVEX", "RF64"))
    same = same or (wanted is not None and any(name in wanted.demuxers for name in names))
    if not same or (wanted is not None and wanted.subtype):
        return None
    in_ogg = info.format == "OGG" and not info.lossy  # libsndfile names the bits of FLAC there
    old = info.codec or ("flac" if in_ogg else codec_of(info.format, info.subtype))
    is_pcm = re.match(r"pcm_[suf]\d", old or "") and out.subtype.startswith(("PCM", "FLOAT", "DOUBLE"))
    if is_pcm or (old == codec if old else info.subtype == out.subtype):
        return None
    return old or info.subtype


def _container_of(info: AudioInfo) -> Container | None:
    """Return where to store what came without a name, from a pipe, if FFmpeg read it."""
    extension = {"MOV": ".mp4", "MATROSKA": ".mkv", "ASF": ".flac", "AAC": ".m4a"}.get(info.format)
    return BY_EXTENSION[extension] if extension else None


def _by_ffmpeg(info: AudioInfo, container: Container, subtype: str | None) -> AudioInfo:
    codec = CODECS[subtype] if subtype else info.codec or codec_of(info.format, info.subtype)
    if codec not in container.codecs:
        if subtype:
            raise AudioError(f"{container.key} does not hold {subtype}; leave out `subtype`")
        codec = container.codecs[0]
    bits = None
    if found := re.match(r"pcm_[suf](\d+)", codec):
        bits = int(found[1])
    elif codec in ENCODINGS and ENCODINGS[codec].kbits is None:
        bits = 24 if valid_bits(info) > 16 else 16
    return replace(
        info,
        format=container.key,
        subtype=codec.upper(),
        endian="FILE",
        codec=codec,
        bits_per_sample=bits,
    )


def _by_libsndfile(info: AudioInfo, wanted: Container | None, subtype: str | None) -> AudioInfo:
    container = (wanted and wanted.sndfile) or info.format
    if container == "RAW" or container not in soundfile.available_formats():
        container = "FLAC"  # a name without an extension, and what only PyAV reads
    # WAVs that are RF64 inside stay so; what is called .rf64 becomes it, whatever its size.
    same = container == info.format or (container == "WAV" and info.format in ("WAVEX", "RF64"))
    same = same and soundfile.check_format(info.format, info.subtype)
    out = info
    if (
        container == "OGG" == info.format
        and not info.lossy
        and not (subtype or info.bit_rate or (wanted and wanted.subtype))
    ):
        return replace(info, subtype="FLAC", endian="FILE", bits_per_sample=24 if valid_bits(info) > 16 else 16)
    if wanted and wanted.subtype and info.subtype != wanted.subtype:
        out = replace(info, format=container, subtype=wanted.subtype, endian="FILE")
    elif not same or not _is_written(container, info.subtype):
        out = replace(info, format=container, subtype=_subtype(info, container), endian="FILE")
    if subtype:
        out = replace(out, subtype=subtype, bits_per_sample=None)
    if not _is_written(out.format, out.subtype, out.endian):
        raise AudioError(
            f"{out.format} with {out.subtype} can be read but not written; "
            "set `extension` wav or `extension` flac"
        )
    if out.format == "VOC" and out.subtype == "PCM_U8":  # there, a rate is one of 256 times
        out = replace(out, subtype="PCM_16", bits_per_sample=None)
    if out.format == "VOC" and out.channels > VOC_CHANNELS:
        raise AudioError(
            f"VOC holds at most {VOC_CHANNELS} channels, not {out.channels}; "
            "set `mono`, or `extension` wav to keep them"
        )
    return out


def _is_written(container: str, subtype: str, endian: str = "FILE") -> bool:
    """Tell if libsndfile writes `subtype` into `container`; of MP3 in WAV and layer II it only says so."""
    mpeg = subtype.startswith("MPEG")
    if container not in soundfile.available_formats() or (
        mpeg and (container, subtype) != ("MP3", "MPEG_LAYER_III")
    ):
        return False
    return bool(soundfile.check_format(container, subtype, endian))


def _subtype(info: AudioInfo, container: str) -> str:
    """Return the encoding in another container that keeps what `info` holds, or that container's default."""
    there = [name for name in soundfile.available_subtypes(container) if _is_written(container, name)]
    deep = ("FLOAT", "PCM_24") if info.floating else ("PCM_24",) if valid_bits(info) > 16 else ()
    choices: tuple[str, ...] = (info.subtype, *deep, soundfile.default_subtype(container))
    return next(choice for choice in choices if choice in there)
