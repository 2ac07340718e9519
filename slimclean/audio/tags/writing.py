"""Writing what came from a file of another kind: as Vorbis comments, ID3, MP4's atoms or chunks."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slimclean.audio.attached import CHANNEL_MASK, NAMES, Attached
from slimclean.audio.formats import AudioInfo
from slimclean.audio.structure.chunk_bytes import chunk
from slimclean.audio.tags.reading import PICTURE, has_mutagen, open_tags

ID3, MP4, VORBIS = "ID3", "MP4", "Vorbis comments"
"""How tags are written."""


FLAC_BLOCK_BYTES = (1 << 24) - 1
"""What a block of FLAC can hold."""


def write(attached: Attached, written: Path, family: str, info: AudioInfo) -> list[str]:
    """Put what is attached into `written`, and return what is said of tags that do not go in."""
    if family == ID3:
        import mutagen.id3

        warnings: list[str] = []
        id3_of(mutagen.id3.ID3(), attached, info.duration_s, warnings).save(written, v1=0)
        return warnings
    if family == MP4:
        return _write_mp4(attached, written, info)
    import mutagen.flac

    new = open_tags(written, info)
    if new.tags is None:
        new.add_tags()
    for name, value in attached.texts:
        key = re.sub(r"[^ -<>-}]", "_", name) or "COMMENT"
        new.tags.append((key, value))
    for number, chapter in enumerate(attached.chapters, 1):
        new.tags.append((f"CHAPTER{number:03d}", _clock(chapter.start_s)))
        new.tags.append((f"CHAPTER{number:03d}NAME", chapter.title))
    usual = {1: 0x4, 2: 0x3}.get(info.channels)
    if info.channel_mask and info.channel_mask != usual and isinstance(new, mutagen.flac.FLAC):
        new.tags.append((CHANNEL_MASK, f"0x{info.channel_mask:04X}"))
    pictures = []
    for one in attached.pictures:
        picture = mutagen.flac.Picture()
        picture.data, picture.mime, picture.type, picture.desc = one.data, one.mime, one.kind, one.description
        pictures.append(picture)
    warnings = []
    if isinstance(new, mutagen.flac.FLAC):
        warnings = add_pictures(new, pictures)
    else:
        for picture in pictures:
            new.tags.append((PICTURE, base64.b64encode(picture.write()).decode()))
    new.save()
    return warnings


def add_pictures(flac: Any, pictures: list[Any]) -> list[str]:
    """Add what FLAC can hold of `pictures`, and return what is said of the others."""
    large = [each for each in pictures if len(each.write()) > FLAC_BLOCK_BYTES]
    for picture in pictures:
        if picture not in large:
            flac.add_picture(picture)
    return ["a picture of more than 16 MB is not kept: FLAC does not hold it"] if large else []


def id3_of(tags: Any, attached: Attached, length_s: float = 0.0, warnings: list[str] | None = None) -> Any:
    """Add frames of what is attached to `length_s` seconds of sound to the ID3 `tags`, and return them.

    `warnings` get what does not go in.
    """
    from mutagen import id3

    frames = [*_text_frames(attached), *_picture_frames(attached)]
    for kind, values in frames:
        try:
            frame = id3.Frames[kind](**values)
            trial = id3.ID3()
            trial.add(frame)
            trial.save(io.BytesIO())
        except Exception:  # a value that this kind of frame cannot have, and mutagen raises all kinds
            if warnings is not None:
                warnings.append(f"ID3 does not hold the tag {values.get('desc') or kind} as it is")
        else:
            tags.add(frame)
    _add_chapter_frames(tags, attached, length_s)
    return tags


def _text_frames(attached: Attached) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the kind and the values of a frame for each name of a text."""
    from mutagen import id3

    by_name = {name.vorbis: name.id3 for name in NAMES if name.id3 != "TXXX"}
    grouped: dict[str, list[str]] = {}
    for name, value in attached.texts:
        grouped.setdefault(name, []).append(value)
    for name, values in grouped.items():
        is_text = name in id3.Frames and issubclass(id3.Frames[name], id3.TextFrame)
        kind = by_name.get(name) or (name if is_text else "TXXX")
        if kind == "COMM":
            yield kind, {"encoding": 3, "lang": "XXX", "desc": "", "text": values}
        elif kind == "USLT":
            yield kind, {"encoding": 3, "lang": "XXX", "desc": "", "text": "\n".join(values)}
        elif kind == "TXXX":
            yield kind, {"encoding": 3, "desc": name, "text": values}
        elif kind.startswith("W"):
            yield kind, {"url": values[0]}
        else:
            yield kind, {"encoding": 3, "text": values}


def _picture_frames(attached: Attached) -> Iterator[tuple[str, dict[str, Any]]]:
    taken: set[str] = set()
    for number, one in enumerate(attached.pictures, 1):  # ID3 wants a description of its own for each
        described = f"{one.description} {number}".strip() if one.description in taken else one.description
        taken.add(described)
        yield "APIC", {"encoding": 3, "mime": one.mime, "type": one.kind, "desc": described, "data": one.data}


def _add_chapter_frames(tags: Any, attached: Attached, length_s: float) -> None:
    """Add a frame for each chapter, and one that lists them."""
    from mutagen import id3

    names = [f"chp{number}" for number in range(len(attached.chapters))]
    ends_s = attached.chapter_ends_s(length_s)
    for name, chapter, end_s in zip(names, attached.chapters, ends_s, strict=True):
        tags.add(
            id3.CHAP(
                element_id=name,
                start_time=round(1000 * chapter.start_s),
                end_time=round(1000 * end_s),
                start_offset=0xFFFF_FFFF,
                end_offset=0xFFFF_FFFF,
                sub_frames=[id3.TIT2(encoding=3, text=[chapter.title])],
            )
        )
    if names:
        flags = id3.CTOCFlags.TOP_LEVEL | id3.CTOCFlags.ORDERED
        tags.add(id3.CTOC(element_id="toc", flags=flags, child_element_ids=names))


def _write_mp4(attached: Attached, written: Path, info: AudioInfo) -> list[str]:
    from mutagen import mp4

    warnings = []

    new = mp4.MP4(written)
    if new.tags is None:
        new.add_tags()
    by_name = {name.vorbis: name.mp4 for name in NAMES if name.mp4}
    found: dict[str, Any] = {}
    for name, value in attached.texts:
        if name in _NUMBERS:
            atom, most = _NUMBERS[name]
            numbers = _whole_numbers(value)
            if numbers is not None and max(numbers) <= most:
                found[atom] = (
                    [numbers] if atom in PAIRS else bool(numbers[0]) if atom == "cpil" else [numbers[0]]
                )
            else:
                new.tags.pop(atom, None)  # what FFmpeg made of it
                warnings.append(f"the tag {name} is not kept: {info.format} has no such number as {value[:20]}")
        elif name in by_name:
            found.setdefault(by_name[name], []).append(value)
        else:
            key = name.encode().decode("latin-1")  # for which mutagen takes it
            found.setdefault(f"----:com.apple.iTunes:{key}", []).append(mp4.MP4FreeForm(value.encode()))
    new.tags.update(found)
    covers = [
        mp4.MP4Cover(one.data, mp4.MP4Cover.FORMAT_PNG if "png" in one.mime else mp4.MP4Cover.FORMAT_JPEG)
        for one in attached.pictures
        if "png" in one.mime or "jp" in one.mime
    ]
    if covers:
        new.tags["covr"] = covers
    if len(covers) < len(attached.pictures):
        warnings.append(f"{info.format} holds pictures in PNG and JPEG only")
    new.save()
    return warnings


PAIRS = ("trkn", "disk")
_NUMBERS = {
    "TRACKNUMBER": ("trkn", 0xFFFF), "DISCNUMBER": ("disk", 0xFFFF), "BPM": ("tmpo", 0xFFFF),
    "COMPILATION": ("cpil", 1),
}  # fmt: skip
"""Texts for which MP4 has numbers: where, and up to what."""


def _whole_numbers(text: str) -> tuple[int, int] | None:
    """Return 3 and 9 of "3/9", 3 and 0 of "3", 120 and 0 of "120.5"; None of what is no number."""
    found = re.fullmatch(r"\s*([0-9]{1,9})(?:[.,][0-9]*)?\s*(?:/\s*([0-9]{0,9})\s*)?", text)
    return (int(found[1]), int(found[2] or 0)) if found else None


def chunks_for(
    attached: Attached, *, aiff: bool, length_s: float = 0.0
) -> tuple[tuple[tuple[bytes, bytes], ...], list[str]]:
    """Chunks that say the same: INFO for WAV, names for AIFF, and ID3 for what these cannot hold; warnings."""
    warnings: list[str] = []
    found = []
    if aiff:
        names = {"TITLE": b"NAME", "ARTIST": b"AUTH", "COMMENT": b"ANNO", "COPYRIGHT": b"(c) "}
        found += [(names[name], value.encode()) for name, value in attached.texts if name in names]
    else:
        by_name = {name.vorbis: name.info for name in NAMES if name.info}
        parts, seen = b"", set()
        for name, value in attached.texts:
            if (key := by_name.get(name)) and key not in seen:
                seen.add(key)
                parts += chunk(key.encode(), value.encode() + b"\0")
        if parts:
            found.append((b"LIST", b"INFO" + parts))
    if has_mutagen() and attached:
        import mutagen.id3

        memory = io.BytesIO()
        id3_of(mutagen.id3.ID3(), attached, length_s, warnings).save(memory, v1=0, padding=lambda _: 0)
        found.append((b"ID3 " if aiff else b"id3 ", memory.getvalue()))
    return tuple(found), warnings


def _clock(seconds: float) -> str:
    whole = round(1000 * seconds)
    return f"{whole // 3_600_000:02d}:{whole // 60_000 % 60:02d}:{whole // 1000 % 60:02d}.{whole % 1000:03d}"
