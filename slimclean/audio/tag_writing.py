"""Writing what came from a file of another kind: as Vorbis comments, ID3, MP4's atoms or chunks."""

from __future__ import annotations

import base64
import re
import struct
from pathlib import Path
from typing import Any

from slimclean.audio.attached import CHANNEL_MASK, NAMES, Attached
from slimclean.audio.formats import AudioInfo
from slimclean.audio.tag_reading import has_mutagen, open_tags

ID3, MP4, VORBIS = "ID3", "MP4", "Vorbis comments"
"""How tags are written."""


def write(attached: Attached, written: Path, family: str, info: AudioInfo) -> list[str]:
    if family == ID3:
        import mutagen.id3

        id3_of(mutagen.id3.ID3(), attached, info.duration_s).save(written, v1=0)
        return []
    if family == MP4:
        return _write_mp4(attached, written)
    import mutagen.flac

    new = open_tags(written, info)
    if new.tags is None:
        new.add_tags()
    for name, value in attached.texts:
        key = re.sub(r"[^ -<>-}]", "_", name) or "COMMENT"
        new.tags.append((key, value))
    for number, (start_s, title) in enumerate(attached.chapters, 1):
        new.tags.append((f"CHAPTER{number:03d}", _clock(start_s)))
        new.tags.append((f"CHAPTER{number:03d}NAME", title))
    usual = {1: 0x4, 2: 0x3}.get(info.channels)
    if info.channel_mask and info.channel_mask != usual and isinstance(new, mutagen.flac.FLAC):
        new.tags.append((CHANNEL_MASK, f"0x{info.channel_mask:04X}"))
    for one in attached.pictures:
        picture = mutagen.flac.Picture()
        picture.data, picture.mime, picture.type, picture.desc = one.data, one.mime, one.kind, one.description
        if isinstance(new, mutagen.flac.FLAC):
            new.add_picture(picture)
        else:
            new.tags.append(("METADATA_BLOCK_PICTURE", base64.b64encode(picture.write()).decode()))
    new.save()
    return []


def id3_of(tags: Any, attached: Attached, length_s: float = 0.0) -> Any:
    """`tags` with what is attached to `length_s` seconds of sound as frames."""
    from mutagen import id3

    by_name = {names[0]: names[1] for names in NAMES if names[1] != "TXXX"}
    grouped: dict[str, list[str]] = {}
    for name, value in attached.texts:
        grouped.setdefault(name, []).append(value)
    for name, values in grouped.items():
        frame = by_name.get(name) or (
            name if re.fullmatch(r"T[A-Z0-9]{3}", name) and name in id3.Frames else "TXXX"
        )
        if frame == "COMM":
            tags.add(id3.COMM(encoding=3, lang="XXX", desc="", text=values))
        elif frame == "USLT":
            tags.add(id3.USLT(encoding=3, lang="XXX", desc="", text="\n".join(values)))
        elif frame == "TXXX":
            tags.add(id3.TXXX(encoding=3, desc=name, text=values))
        elif frame.startswith("W"):
            tags.add(id3.Frames[frame](url=values[0]))
        else:
            tags.add(id3.Frames[frame](encoding=3, text=values))
    taken: set[str] = set()
    for number, one in enumerate(attached.pictures, 1):  # ID3 wants a description of its own for each
        described = f"{one.description} {number}".strip() if one.description in taken else one.description
        taken.add(described)
        tags.add(id3.APIC(encoding=3, mime=one.mime, type=one.kind, desc=described, data=one.data))
    names = [f"chp{number}" for number in range(len(attached.chapters))]
    ends = [*(start_s for start_s, _ in attached.chapters[1:]), *(None for _ in names[-1:])]
    for name, (start_s, title), end_s in zip(names, attached.chapters, ends, strict=True):
        stop = round(1000 * (end_s if end_s is not None else max(start_s, length_s)))
        tags.add(
            id3.CHAP(
                element_id=name,
                start_time=round(1000 * start_s),
                end_time=stop,
                start_offset=0xFFFF_FFFF,
                end_offset=0xFFFF_FFFF,
                sub_frames=[id3.TIT2(encoding=3, text=[title])],
            )
        )
    if names:
        tags.add(
            id3.CTOC(
                element_id="toc", flags=id3.CTOCFlags.TOP_LEVEL | id3.CTOCFlags.ORDERED, child_element_ids=names
            )
        )
    return tags


def _write_mp4(attached: Attached, written: Path) -> list[str]:
    from mutagen import mp4

    new = mp4.MP4(written)
    if new.tags is None:
        new.add_tags()
    by_name = {names[0]: names[2] for names in NAMES if names[2]}
    found: dict[str, Any] = {}
    for name, value in attached.texts:
        if name in ("TRACKNUMBER", "DISCNUMBER"):
            numbers = [int(n) for n in re.findall(r"\d+", value)[:2]] or [0]
            found["trkn" if name == "TRACKNUMBER" else "disk"] = [(*numbers, 0)[:2]]
        elif name in by_name:
            found.setdefault(by_name[name], []).append(value)
        else:
            found.setdefault(f"----:com.apple.iTunes:{name}", []).append(mp4.MP4FreeForm(value.encode()))
    for name, atom in (("BPM", "tmpo"), ("COMPILATION", "cpil")):
        values = found.pop(f"----:com.apple.iTunes:{name}", None)
        number = re.match(rb"\d+", bytes(values[0])) if values else None
        if number:
            found[atom] = bool(int(number[0])) if atom == "cpil" else [min(int(number[0]), 0xFFFF)]
    new.tags.update(found)
    covers = [
        mp4.MP4Cover(one.data, mp4.MP4Cover.FORMAT_PNG if "png" in one.mime else mp4.MP4Cover.FORMAT_JPEG)
        for one in attached.pictures
        if "png" in one.mime or "jp" in one.mime
    ]
    if covers:
        new.tags["covr"] = covers
    new.save()
    return []


def chunks_for(attached: Attached, *, aiff: bool, length_s: float = 0.0) -> tuple[tuple[bytes, bytes], ...]:
    """Chunks that say the same: INFO for WAV, names for AIFF, and ID3 for what these cannot hold."""
    found = []
    if aiff:
        names = {"TITLE": b"NAME", "ARTIST": b"AUTH", "COMMENT": b"ANNO", "COPYRIGHT": b"(c) "}
        found += [(names[name], value.encode()) for name, value in attached.texts if name in names]
    else:
        by_name = {names[0]: names[3] for names in NAMES if names[3]}
        parts, seen = b"", set()
        for name, value in attached.texts:
            if (key := by_name.get(name)) and key not in seen:
                seen.add(key)
                text = value.encode() + b"\0"
                parts += struct.pack("<4sI", key.encode(), len(text)) + text + b"\0" * (len(text) % 2)
        if parts:
            found.append((b"LIST", b"INFO" + parts))
    if has_mutagen() and attached:
        import io

        import mutagen.id3

        memory = io.BytesIO()
        id3_of(mutagen.id3.ID3(), attached, length_s).save(memory, v1=0, padding=lambda _: 0)
        found.append((b"ID3 " if aiff else b"id3 ", memory.getvalue()))
    return tuple(found)


def _clock(seconds: float) -> str:
    whole = round(1000 * seconds)
    return f"{whole // 3_600_000:02d}:{whole // 60_000 % 60:02d}:{whole // 1000 % 60:02d}.{whole % 1000:03d}"
