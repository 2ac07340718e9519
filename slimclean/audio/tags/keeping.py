"""What is attached to a recording, texts, pictures, chapters, moves to the new file as far as that holds it.

Between files of one kind everything is copied as it is; between kinds it goes through `Attached`. mutagen, of
the extra `tags`, does both; without it the few texts that libsndfile knows are kept. Nothing here costs the
sound.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path

from slimclean.audio.attached import NAMES, Attached
from slimclean.audio.containers import MUXERS
from slimclean.audio.formats import AudioInfo
from slimclean.audio.tags import chunks
from slimclean.audio.tags.copying import copy_same_kind, damaged_tags
from slimclean.audio.tags.reading import has_mutagen, read
from slimclean.audio.tags.writing import ID3, MP4, VORBIS, chunks_for, write

PLAIN_FRAMES = (
    b"TIT2", b"TPE1", b"TALB", b"TCON", b"TDRC", b"TYER", b"TRCK", b"TCOP", b"TSSE", b"TLEN", b"TENC"
)  # fmt: skip
"""ID3 frames that libsndfile writes too, or that mean nothing in a new file."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What the disk says when half of a tag may be written: then the file is not whole."""
PIP = "pip install 'slimclean[tags]'"


def strings(source: Path, info: AudioInfo) -> dict[str, str]:
    """Return the texts that libsndfile is to write into a file like `info`: what nothing else puts there."""
    if info.format in MUXERS or (has_mutagen() and _family(info) is not None):
        return {}
    if info.format.startswith(("WAV", "RF64", "AIFF")):
        return {}
    by_name = {name.vorbis: name.sndfile for name in NAMES if name.sndfile}
    texts: dict[str, str] = {}
    for name, value in read(source).texts:
        if name in by_name:
            texts.setdefault(by_name[name], value)
    return texts


def keep(source: Path, written: Path, info: AudioInfo, *, film: bool = False) -> list[str]:
    """Bring what is attached to `source` into `written`, whose sound is like `info`; return warnings.

    `film` says that FFmpeg copied chapters, pictures and its idea of the texts already.
    """
    try:
        return [*_hidden_chunks(source), *_keep(source, written, info, film=film)]
    except Exception as error:  # a tag never costs the sound
        for cause in (error, error.__cause__, *error.args):
            if isinstance(cause, OSError) and cause.errno in FULL:
                raise cause from error
        return [f"some tags are not kept ({' '.join(str(error).split()) or type(error).__name__})"]


def _keep(source: Path, written: Path, info: AudioInfo, *, film: bool) -> list[str]:
    ours = chunks.walk(source).family
    if info.format.startswith(("WAV", "RF64", "AIFF")):
        aiff = info.format == "AIFF"
        if ours and ours == chunks.walk(written).family:
            return chunks.keep(source, written, info)
        attached = read(source)
        put, warnings = chunks_for(attached, aiff=aiff, length_s=info.duration_s)
        return [
            *chunks.keep(source, written, info, put),
            *warnings,
            *_lost_chunks(source, info),
            *_lost_frames(attached, info),
            *_without_mutagen(source),
        ]
    family = _family(info)
    warnings = _lost_chunks(source, info)
    if family is None:
        if info.format not in MUXERS:
            return [*warnings, *_lost_tags(source, info)]
        return warnings if film else [*warnings, *_lost_frames(read(source), info)]
    if not has_mutagen():
        return warnings + _without_mutagen(source)
    copied = copy_same_kind(source, written, family, info)
    if copied is not None:
        warnings += copied
    elif not film or info.format != "MOV":
        attached = read(source)
        if attached or info.channel_mask:
            warnings += write(attached, written, family, info)
        warnings += _lost_frames(attached, info) + _lost_places(source, info)
    return warnings


def _hidden_chunks(source: Path) -> list[str]:
    return ["its header is damaged: chunks behind the damage are not kept"] if chunks.walk(source).cut else []


def _lost_chunks(source: Path, info: AudioInfo) -> list[str]:
    names = chunks.lost(source)
    if names and info.format.startswith(("WAV", "RF64")) and chunks.walk(source).form == b"RIFX":
        return [f"not kept, as they are big-endian: {', '.join(names)}"]
    return [f"{info.format} does not hold {', '.join(names)}"] if names else []


def _lost_frames(attached: Attached, info: AudioInfo) -> list[str]:
    """Return what is said of tags that the new file has no place for, and of damaged ones."""
    names = [*attached.lost, *["covers"] * (info.format == "WEBM" and bool(attached.pictures))]
    lost = [f"{info.format} does not hold {', '.join(names)}"] if names else []
    return lost + damaged_tags(attached.damaged)


def _lost_places(source: Path, info: AudioInfo) -> list[str]:
    """Return what is said where a WAV's channels are for no speakers, and the new file says they are."""
    if info.channels < 3 or (chunks.extensible_fields(source) or (0, 1))[1]:
        return []
    return [f"{info.format} cannot say that the channels are for no speakers: players take them for such"]


def _lost_tags(source: Path, info: AudioInfo) -> list[str]:
    """Return what is said where libsndfile alone writes tags, or none."""
    attached = read(source)
    known = {name.vorbis for name in NAMES if name.sndfile} if info.format == "CAF" else set()
    lost = [name for name, _ in attached.texts if name not in known]
    lost += ["covers"] * bool(attached.pictures) + ["chapters"] * bool(attached.chapters)
    lost += attached.lost
    unheld = [f"{info.format} does not hold {', '.join(dict.fromkeys(lost))}"] if lost else []
    return unheld + damaged_tags(attached.damaged)


def _without_mutagen(source: Path) -> list[str]:
    if has_mutagen() or not _rich(source):
        return []
    return [f"only plain tags are kept; covers, chapters and all others need {PIP}"]


def _rich(source: Path) -> bool:
    """Tell whether there is more than plain tags, by the names in the first part of the file."""
    with source.open("rb") as file:
        beginning = file.read(1 << 16)
    if beginning[:3] == b"ID3":
        return any(
            name not in PLAIN_FRAMES
            for name in re.findall(rb"\0(T[A-Z0-9]{3}|APIC|CHAP|USLT|W[A-Z]{3})", beginning)
        )
    if any(mark in beginning for mark in (b"image/png", b"image/jpeg", b"METADATA_BLOCK_PICTURE", b"covr")):
        return True
    marks = [beginning.find(mark) for mark in (b"fLaC", b"vorbis", b"OpusTags") if mark in beginning]
    plain = {name.vorbis for name in NAMES if name.sndfile} | {"ENCODER", "ENCODED-BY"}
    names = (
        [name.decode().upper() for name in re.findall(rb"\0([A-Za-z_-]{3,30})=", beginning[: 1 << 13])]
        if marks
        else []
    )
    return any(name not in plain for name in names) or len(set(names)) < len(names)


def _family(info: AudioInfo) -> str | None:
    """Return how tags are written into a file like `info`; None where mutagen has no hand in it."""
    if info.format in ("FLAC", "OGG"):
        return VORBIS
    if info.format == "MP3":
        return ID3
    return MP4 if info.format in ("MP4", "M4A", "MOV") else None
