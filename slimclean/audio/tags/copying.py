"""Tags between two files that hold the same kind of them: copied as they are, with mutagen.

What speaks of the old sound or its bytes stays behind.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

from slimclean.audio.attached import CHANNEL_MASK, STALE
from slimclean.audio.formats import AudioInfo
from slimclean.audio.structure.player_tags import ID3V1_BYTES
from slimclean.audio.tags.bounded import GrowthError, load
from slimclean.audio.tags.reading import CUE_SHEET, PICTURE, open_tags, picture_in, read
from slimclean.audio.tags.stale import drop_stale
from slimclean.audio.tags.writing import ID3, MP4, VORBIS, add_pictures, id3_of

_ENCODER_ATOM = "\xa9too"


def copy_same_kind(source: Path, written: Path, family: str, info: AudioInfo) -> list[str] | None:
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
        if not STALE.match(key.split(":")[-1]) and key != _ENCODER_ATOM:
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
    damaged, whole = [], []
    for key, value in comments:
        if key.upper() == PICTURE:
            try:
                picture = picture_in(value)
            except Exception:  # mutagen and its parsers raise all kinds
                damaged.append(PICTURE)
                continue
            if new_flac:
                pictures.append(picture)
                continue
        whole.append((key, value))
    comments = whole
    if not new_flac:
        comments += [(PICTURE, base64.b64encode(picture.write()).decode()) for picture in pictures]
    if new.tags is None:
        new.add_tags()
    new.tags.clear()
    for comment in comments:
        new.tags.append(comment)
    warnings = damaged_tags(damaged)
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
        load(mutagen.id3.ID3, source)
    except (mutagen.MutagenError, GrowthError):
        import mutagen.apev2

        try:
            mutagen.apev2.APEv2(source)
        except mutagen.MutagenError:
            return False
    return True


def _copy_id3(source: Path, written: Path) -> None:
    """Copy ID3 in the versions that it had, and APE tags behind the sound."""
    import mutagen.id3

    try:
        old, version = _id3v2(source)
        drop_stale(old)
        old.save(written, v1=0, v2_version=version, padding=lambda _: 1024)
    except mutagen.id3.ID3NoHeaderError:
        pass
    _copy_ape(source, written)
    with source.open("rb") as given:
        given.seek(-min(ID3V1_BYTES, source.stat().st_size), os.SEEK_END)
        if (end := given.read())[:3] == b"TAG":  # which is where it is looked for: behind all else
            with written.open("ab") as file:
                file.write(end)


def _copy_ape(source: Path, written: Path) -> None:
    import mutagen.apev2

    try:
        ape = mutagen.apev2.APEv2(source)
    except mutagen.apev2.APENoHeaderError:
        return
    for key in [key for key in ape if STALE.match(key)]:
        del ape[key]
    if ape:
        ape.save(written)


def _id3v2(source: Path) -> tuple[Any, int]:
    """Return what `source` has in ID3v2, else in ID3v1, and whether to write it as version 2.3 or 2.4.

    ID3v1, which is copied as it is, adds nothing to ID3v2.
    """
    import mutagen.id3

    try:
        old = load(mutagen.id3.ID3, source, translate=False, load_v1=False)
    except (mutagen.id3.ID3NoHeaderError, mutagen.id3.ID3UnsupportedVersionError):
        load(mutagen.id3.ID3, source)  # raises where there is no ID3v1 either
        return id3_of(mutagen.id3.ID3(), read(source)), 4  # as texts: it is raw bytes in any code page
    if old.version[1] in (3, 4):
        return old, int(old.version[1])
    return load(mutagen.id3.ID3, source, load_v1=False), 4


def damaged_tags(names: list[str]) -> list[str]:
    """Return what is said of tags that make no sense."""
    return [f"damaged tags are not kept: {', '.join(dict.fromkeys(names))}"] if names else []
