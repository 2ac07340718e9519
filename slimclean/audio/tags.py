"""What is attached to a recording, texts, pictures, chapters, moves to the new file as far as that holds it.

Between files of one kind everything is copied as it is; between kinds it goes through `Attached`. mutagen, of
the extra `tags`, does both; without it the few texts that libsndfile knows are kept. Nothing here costs the
sound.
"""

from __future__ import annotations

import base64
import errno
import os
import re
from pathlib import Path
from typing import Any

from slimclean.audio import chunks
from slimclean.audio.attached import CHANNEL_MASK, NAMES, STALE, STALE_FRAMES, Attached
from slimclean.audio.containers import MUXERS
from slimclean.audio.formats import AudioInfo
from slimclean.audio.tag_reading import CUE_SHEET, PICTURE, has_mutagen, open_tags, picture_in, read
from slimclean.audio.tag_writing import ID3, MP4, VORBIS, add_pictures, chunks_for, id3_of, write

ID3V1_BYTES = 128
ENCODER_ATOM = "\xa9too"
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
    by_name = {names[0]: names[4] for names in NAMES if names[4]}
    texts: dict[str, str] = {}
    for name, value in read(source).texts:
        if name in by_name and not STALE.match(name):
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
    copied = _same_kind(source, written, family, info)
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
    """Return what is said of tags that only the source's own kind holds, and of damaged ones."""
    lost = [f"{info.format} does not hold {', '.join(attached.lost)}"] if attached.lost else []
    return lost + _damaged(attached.damaged)


def _damaged(names: list[str]) -> list[str]:
    return [f"damaged tags are not kept: {', '.join(dict.fromkeys(names))}"] if names else []


def _lost_places(source: Path, info: AudioInfo) -> list[str]:
    """Return what is said where a WAV's channels are for no speakers, and the new file says they are."""
    if info.channels < 3 or (chunks.extension(source) or (0, 1))[1]:
        return []
    return [f"{info.format} cannot say that the channels are for no speakers: players take them for such"]


def _lost_tags(source: Path, info: AudioInfo) -> list[str]:
    """Return what is said where libsndfile alone writes tags, or none."""
    attached = read(source)
    known = {names[0] for names in NAMES if names[4]} if info.format == "CAF" else set()
    lost = [name for name, _ in attached.texts if name not in known]
    lost += ["covers"] * bool(attached.pictures) + ["chapters"] * bool(attached.chapters)
    lost += attached.lost
    unheld = [f"{info.format} does not hold {', '.join(dict.fromkeys(lost))}"] if lost else []
    return unheld + _damaged(attached.damaged)


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
    plain = {names[0] for names in NAMES if names[4]} | {"ENCODER", "ENCODED-BY"}
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


def _same_kind(source: Path, written: Path, family: str, info: AudioInfo) -> list[str] | None:
    """Copy all tags as they are where both files have the same kind of them; None where they have not.

    Returns warnings.
    """
    import mutagen.flac
    import mutagen.mp4
    import mutagen.ogg

    given = open_tags(source)
    if family == ID3 and _has_id3(source):
        _copy_id3(source, written)
    elif family == MP4 and isinstance(given, mutagen.mp4.MP4):
        _copy_mp4(given, written)
    elif family == VORBIS and isinstance(given, mutagen.flac.FLAC | mutagen.ogg.OggFileType):
        return _copy_vorbis(given, open_tags(written, info), info)
    else:
        return None
    return []


def _copy_mp4(given: Any, written: Path) -> None:
    import mutagen.mp4

    if not given.tags:
        return
    new = mutagen.mp4.MP4(written)
    if new.tags is None:
        new.add_tags()
    for key, value in given.tags.items():
        if not STALE.match(key.split(":")[-1]) and key != ENCODER_ATOM:
            new.tags[key] = value
    new.save()


def _copy_vorbis(given: Any, new: Any, info: AudioInfo) -> list[str]:
    """Copy comments in their order, pictures, and of FLAC the cue sheet; return warnings."""
    import mutagen.flac

    old_flac, new_flac = (isinstance(file, mutagen.flac.FLAC) for file in (given, new))
    comments = [(key, value) for key, value in given.tags or [] if not STALE.match(key)]
    if not (old_flac and new_flac) or given.info.channels != info.channels:
        comments = [each for each in comments if each[0].upper() != CHANNEL_MASK]
    pictures = list(given.pictures) if old_flac else []
    damaged = []
    for key, value in [each for each in comments if each[0].upper() == PICTURE]:
        try:
            picture = picture_in(value)
        except Exception:  # mutagen and its parsers raise all kinds
            damaged.append(PICTURE)
            comments.remove((key, value))
        else:
            if new_flac:
                pictures.append(picture)
    if new_flac:
        comments = [each for each in comments if each[0].upper() != PICTURE]
    else:
        comments += [(PICTURE, base64.b64encode(picture.write()).decode()) for picture in pictures]
    if new.tags is None:
        new.add_tags()
    new.tags.clear()
    for comment in comments:
        new.tags.append(comment)
    warnings = _damaged(damaged)
    if new_flac:
        warnings += add_pictures(new, pictures)
        if old_flac and given.cuesheet:
            warnings += _copy_cue_sheet(given, new, info)
    elif old_flac and given.cuesheet:
        warnings.append(f"{info.format} does not hold {CUE_SHEET}")
    new.save()
    return warnings


def _copy_cue_sheet(given: Any, new: Any, info: AudioInfo) -> list[str]:
    """Copy the cue sheet of a FLAC, its positions at the new sample rate; return warnings.

    That of a compact disc counts its sectors of 588 samples at 44.1 kHz, and holds at no other rate (RFC 9639,
    8.7).
    """
    import mutagen.flac

    sheet, rate = given.cuesheet, info.sample_rate
    old_rate = int(given.info.sample_rate)
    if rate != old_rate:
        if sheet.compact_disc:
            return [f"{CUE_SHEET} is not kept: it is of a compact disc, which has 44100 Hz, not {rate}"]

        def moved(samples: int) -> int:
            return min(round(samples * rate / old_rate), info.samples)

        for track in sheet.tracks:
            old_start = track.start_offset
            track.start_offset = moved(old_start)
            track.indexes = [
                mutagen.flac.CueSheetTrackIndex(number, moved(old_start + offset) - track.start_offset)
                for number, offset in track.indexes
            ]
    new.metadata_blocks.append(sheet)
    return []


def _has_id3(source: Path) -> bool:
    import mutagen.id3

    try:
        mutagen.id3.ID3(source)
    except mutagen.MutagenError:
        import mutagen.apev2

        try:
            mutagen.apev2.APEv2(source)
        except mutagen.MutagenError:
            return False
    return True


def _copy_id3(source: Path, written: Path) -> None:
    """Copy ID3 in the versions that it had, and APE tags behind the sound."""
    import mutagen.apev2
    import mutagen.id3

    try:
        old, version = _id3v2(source)
        _drop_stale(old)
        old.save(written, v1=0, v2_version=version, padding=lambda _: 1024)
    except mutagen.id3.ID3NoHeaderError:
        pass
    with source.open("rb") as given:
        given.seek(-min(ID3V1_BYTES, source.stat().st_size), os.SEEK_END)
        if (end := given.read())[:3] == b"TAG":
            with written.open("ab") as file:
                file.write(end)
    try:
        ape = mutagen.apev2.APEv2(source)
    except mutagen.apev2.APENoHeaderError:
        return
    for key in [key for key in ape if STALE.match(key)]:
        del ape[key]
    ape.save(written)


def _id3v2(source: Path) -> tuple[Any, int]:
    """Return what `source` has in ID3v2, else in ID3v1, and whether to write it as version 2.3 or 2.4.

    ID3v1, which is copied as it is, adds nothing to ID3v2.
    """
    import mutagen.id3

    try:
        old = mutagen.id3.ID3(source, translate=False, load_v1=False)
    except (mutagen.id3.ID3NoHeaderError, mutagen.id3.ID3UnsupportedVersionError):
        mutagen.id3.ID3(source)  # raises where there is no ID3v1 either
        return id3_of(mutagen.id3.ID3(), read(source)), 4  # as texts: it is raw bytes in any code page
    if old.version[1] in (3, 4):
        return old, int(old.version[1])
    return mutagen.id3.ID3(source, load_v1=False), 4


def _drop_stale(id3: Any) -> None:
    for key, frame in list(id3.items()):
        if frame.FrameID in STALE_FRAMES or STALE.match(getattr(frame, "desc", "") or ""):
            del id3[key]
        elif frame.FrameID == "CHAP":
            frame.start_offset = frame.end_offset = 0xFFFF_FFFF  # bytes of the old file
