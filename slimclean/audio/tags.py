"""What is attached to a recording, texts, pictures, chapters, moves to the new file as far as that holds it.

Between files of one kind everything is copied as it is; between kinds it goes through `Attached`. mutagen, of
the extra `tags`, does both; without it the few texts that libsndfile knows are kept. Nothing here costs the
sound.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import soundfile

from slimclean.audio import chunks
from slimclean.audio.av import DEMUXERS
from slimclean.audio.formats import MUXERS, AudioInfo, file_name

NAMES = (
    ("TITLE", "TIT2", "\xa9nam", "INAM", "title"),
    ("ARTIST", "TPE1", "\xa9ART", "IART", "artist"),
    ("ALBUM", "TALB", "\xa9alb", "IPRD", "album"),
    ("ALBUMARTIST", "TPE2", "aART", "", ""),
    ("COMPOSER", "TCOM", "\xa9wrt", "IMUS", ""),
    ("COMMENT", "COMM", "\xa9cmt", "ICMT", "comment"),
    ("DESCRIPTION", "TXXX", "desc", "ISBJ", ""),
    ("GENRE", "TCON", "\xa9gen", "IGNR", "genre"),
    ("DATE", "TDRC", "\xa9day", "ICRD", "date"),
    ("COPYRIGHT", "TCOP", "cprt", "ICOP", "copyright"),
    ("TRACKNUMBER", "TRCK", "", "ITRK", "tracknumber"),
    ("LICENSE", "WCOP", "", "", "license"),
    ("ENCODED-BY", "TENC", "\xa9too", "ITCH", ""),
    ("LANGUAGE", "TLAN", "", "ILNG", ""),
    ("ISRC", "TSRC", "", "ISRC", ""),
    ("PUBLISHER", "TPUB", "", "", ""),
    ("LYRICS", "USLT", "\xa9lyr", "", ""),
)
"""One text under its names: in Vorbis comments, ID3, MP4, RIFF INFO and libsndfile."""
STALE = re.compile(r"replaygain_|r128_|itunnorm$|itunsmpb$", re.IGNORECASE)
"""Texts that the new sound makes untrue: loudness, the encoder's delay."""
CHANNEL_MASK = "WAVEFORMATEXTENSIBLE_CHANNEL_MASK"
"""Where FLAC keeps which speakers its channels are for."""
STALE_FRAMES = ("RVA2", "RVAD", "RGAD", "EQU2", "EQUA", "TLEN", "TSIZ", "MLLT", "ASPI", "SEEK", "TSSE", "TFLT")
"""ID3 frames that speak of the old sound or its bytes."""
ID3V1_BYTES = 128
_ID3, _MP4, _VORBIS = "ID3", "MP4", "Vorbis comments"
PIP = "pip install 'slimclean[tags]'"


@dataclass
class Picture:
    """An image, `kind` being ID3's number (3: the front cover)."""

    data: bytes
    mime: str = "image/jpeg"
    kind: int = 3
    description: str = ""


@dataclass
class Attached:
    """What lies beside the sound: texts by Vorbis comment name, pictures, chapters as (start in s, title)."""

    texts: list[tuple[str, str]] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    chapters: list[tuple[float, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.texts or self.pictures or self.chapters)


def strings(source: Path, info: AudioInfo) -> dict[str, str]:
    """Return the texts that libsndfile is to write into a file like `info`: what nothing else puts there."""
    if info.format in MUXERS or (_mutagen() and _family(info) is not None):
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
        return _keep(source, written, info, film=film)
    except Exception as error:  # a tag never costs the sound
        return [f"tags are not kept ({' '.join(str(error).split()) or type(error).__name__})"]


def _keep(source: Path, written: Path, info: AudioInfo, *, film: bool) -> list[str]:
    ours = chunks.walk(source).form
    if info.format.startswith(("WAV", "RF64", "AIFF")):
        aiff = info.format == "AIFF"
        if ours and (ours == b"FORM") == aiff:
            return chunks.keep(source, written, info)
        attached = read(source)
        put = _chunks_of(attached, aiff=aiff)
        return [
            *chunks.keep(source, written, info, put),
            *_lost_chunks(source, info),
            *_without_mutagen(source),
        ]
    family = _family(info)
    warnings = _lost_chunks(source, info)
    if family is None:
        return (
            warnings
            if info.format in MUXERS
            else warnings + ([] if not _rich(source) else [f"{info.format} holds few tags: some are not kept"])
        )
    if not _mutagen():
        return warnings + _without_mutagen(source)
    if not _same_kind(source, written, family, info) and (not film or info.format != "MOV"):
        attached = read(source)
        if attached or info.channel_mask:
            warnings += _write(attached, written, family, info)
    return warnings


def _lost_chunks(source: Path, info: AudioInfo) -> list[str]:
    names = chunks.lost(source)
    return [f"{info.format} does not hold {', '.join(names)}"] if names else []


def _without_mutagen(source: Path) -> list[str]:
    if _mutagen() or not _rich(source):
        return []
    return [f"only plain tags are kept; covers, chapters and all others need {PIP}"]


def _rich(source: Path) -> bool:
    """Whether there are tags at all, by the marks of their kinds."""
    with source.open("rb") as file:
        beginning = file.read(1 << 16)
    marks = (b"ID3", b"fLaC", b"vorbis", b"OpusTags", b"ilst", b"id3 ")
    return any(mark in beginning for mark in marks)


# --- kinds of tags -----------------------------------------------------------------------------------


def _mutagen() -> Any:
    try:
        import mutagen
    except ModuleNotFoundError:
        return None
    return mutagen


def _family(info: AudioInfo) -> str | None:
    """Return how tags are written into a file like `info`; None where mutagen has no hand in it."""
    if info.format in ("FLAC", "OGG"):
        return _VORBIS
    if info.format == "MP3":
        return _ID3
    return _MP4 if info.format in ("MP4", "M4A", "MOV") else None


def _opened(path: Path, info: AudioInfo | None = None) -> Any:
    """Return `path` as mutagen sees it, by content; None where it knows nothing of it."""
    import mutagen

    with path.open("rb") as file:
        is_mp3 = file.read(3) == b"ID3" or (info is not None and info.format == "MP3")
    if is_mp3:
        import mutagen.mp3

        with contextlib.suppress(mutagen.MutagenError):
            return mutagen.mp3.MP3(path)
    try:
        return mutagen.File(path)
    except mutagen.MutagenError:
        return None


def _same_kind(source: Path, written: Path, family: str, info: AudioInfo) -> bool:
    """Copy all tags as they are where both files have the same kind of them; False where they have not."""
    import mutagen.flac
    import mutagen.id3
    import mutagen.mp4
    import mutagen.ogg

    given = _opened(source)
    if family == _ID3 and _has_id3(source):
        _copy_id3(source, written)
        return True
    if family == _MP4 and isinstance(given, mutagen.mp4.MP4):
        if not given.tags:
            return True
        new = mutagen.mp4.MP4(written)
        if new.tags is None:
            new.add_tags()
        for key, value in given.tags.items():
            if not STALE.match(key.split(":")[-1]) and key != "\xa9too":
                new.tags[key] = value
        new.save()
        return True
    vorbis = isinstance(given, mutagen.flac.FLAC | mutagen.ogg.OggFileType)
    if family == _VORBIS and vorbis:
        new = _opened(written, info)
        both = isinstance(given, mutagen.flac.FLAC) and isinstance(new, mutagen.flac.FLAC)
        comments = [(key, value) for key, value in given.tags or [] if not STALE.match(key)]
        if not both or given.info.channels != info.channels:
            comments = [each for each in comments if each[0].upper() != CHANNEL_MASK]
        pictures = []
        if isinstance(given, mutagen.flac.FLAC):
            pictures = given.pictures
        if new.tags is None:
            new.add_tags()
        new.tags.clear()
        if both:
            for picture in pictures:
                new.add_picture(picture)
            if given.cuesheet and info.sample_rate == given.info.sample_rate:
                new.metadata_blocks.append(given.cuesheet)
        elif isinstance(new, mutagen.flac.FLAC):
            for key, value in comments:
                if key.upper() == "METADATA_BLOCK_PICTURE":
                    new.add_picture(mutagen.flac.Picture(base64.b64decode(value)))
            comments = [each for each in comments if each[0].upper() != "METADATA_BLOCK_PICTURE"]
        else:
            comments += [
                ("METADATA_BLOCK_PICTURE", base64.b64encode(picture.write()).decode()) for picture in pictures
            ]
        for key, value in comments:
            new.tags.append((key, value))
        new.save()
        return True
    return False


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
    """ID3 in the version that it had, and APE tags behind the sound."""
    import mutagen.apev2
    import mutagen.id3

    try:
        old = mutagen.id3.ID3(source, translate=False)
        version = 3 if old.version[1] == 3 else 4
        if old.version[1] not in (3, 4):
            old = mutagen.id3.ID3(source)
        if old.version[0] == 1:  # which is raw bytes in any code page, and is copied as such below
            old = _fill_id3(mutagen.id3.ID3(), read(source))
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


def _drop_stale(id3: Any) -> None:
    for key, frame in list(id3.items()):
        if frame.FrameID in STALE_FRAMES or STALE.match(getattr(frame, "desc", "") or ""):
            del id3[key]
        elif frame.FrameID == "CHAP":
            frame.start_offset = frame.end_offset = 0xFFFF_FFFF  # bytes of the old file


# --- reading into the common form --------------------------------------------------------------------


def read(source: Path) -> Attached:
    """Return what is attached to `source`, as far as its kind can be read here."""
    found = Attached()
    walked = chunks.walk(source)
    if walked.form:
        _read_chunks(source, walked, found)
        return found
    given: Any = _opened(source) if _mutagen() else None
    if given is not None and type(given).__name__ not in ("MP4",) and given.tags is not None:
        _read_mutagen(given, found)
    elif given is not None and given.tags is not None:
        _read_mp4(given, found)
    if given is None:
        _read_libsndfile(source, found)
    if not found:
        _read_ffmpeg(source, found)
    elif not found.chapters and type(given).__name__ == "MP4":
        _read_ffmpeg(source, found, chapters_only=True)
    dropped = (CHANNEL_MASK, "")
    found.texts = [
        each for each in found.texts if not STALE.match(each[0]) and each[0] not in dropped and each[1]
    ]
    return found


def _read_libsndfile(source: Path, found: Attached) -> None:
    by_string = {names[4]: names[0] for names in NAMES if names[4]}
    try:
        with soundfile.SoundFile(file_name(source)) as file:
            for key in by_string:
                try:
                    value = getattr(file, key)
                except UnicodeDecodeError:
                    continue
                if value:
                    found.texts.append((by_string[key], value))
    except (soundfile.LibsndfileError, TypeError, OSError):
        pass


def _read_ffmpeg(source: Path, found: Attached, *, chapters_only: bool = False) -> None:
    try:
        import av
    except ModuleNotFoundError:
        return
    try:
        options = {"format_whitelist": DEMUXERS}
        with av.open(str(source.resolve()), options=options, metadata_errors="replace") as container:
            for chapter in container.chapters():
                base = chapter["time_base"] or 0
                found.chapters.append((float(chapter["start"] * base), chapter["metadata"].get("title", "")))
            if chapters_only:
                return
            known = {"track": "TRACKNUMBER", "album_artist": "ALBUMARTIST", "encoded_by": "ENCODED-BY"}
            stale = ("encoder", "major_brand", "minor_version", "compatible_brands", "duration", "handler_name",
                     "vendor_id", "creation_time")  # fmt: skip
            for key, value in container.metadata.items():
                if key.lower() not in stale:
                    found.texts.append((known.get(key.lower(), key.upper()), str(value)))
            for stream in container.streams.video:
                if stream.disposition & av.stream.Disposition.attached_pic:
                    data = next((bytes(packet) for packet in container.demux(stream) if packet.size), b"")
                    kind = "png" if stream.codec_context.name == "png" else "jpeg"
                    found.pictures += [Picture(data, f"image/{kind}")] if data else []
                    break
    except (av.error.FFmpegError, OSError, ValueError):
        return


def _read_mutagen(given: Any, found: Attached) -> None:
    """Vorbis comments, ID3, and what else has text values by name."""
    import mutagen.flac
    import mutagen.id3

    tags = given.tags
    if isinstance(tags, mutagen.id3.ID3):
        _read_id3(tags, found)
        return
    if isinstance(given, mutagen.flac.FLAC):
        found.pictures += [Picture(p.data, p.mime, p.type, p.desc) for p in given.pictures]
    pairs = tags if isinstance(tags, list) else [(k, v) for k in tags for v in _listed(tags[k])]
    marks: dict[str, float] = {}
    for key, value in pairs:
        name, text = str(key).upper(), str(value)
        if name == "METADATA_BLOCK_PICTURE":
            picture = mutagen.flac.Picture(base64.b64decode(text))
            found.pictures.append(Picture(picture.data, picture.mime, picture.type, picture.desc))
        elif re.fullmatch(r"CHAPTER\d+", name):
            marks[name] = _seconds(text)
            found.chapters.append((marks[name], dict_get(pairs, name + "NAME")))
        elif not re.fullmatch(r"CHAPTER\d+NAME", name):
            found.texts.append((_ASF.get(name, name), text))


_ASF = {"AUTHOR": "ARTIST", "WM/ALBUMTITLE": "ALBUM", "WM/GENRE": "GENRE", "WM/YEAR": "DATE",
        "WM/TRACKNUMBER": "TRACKNUMBER", "WM/ALBUMARTIST": "ALBUMARTIST", "WM/LYRICS": "LYRICS"}  # fmt: skip


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def dict_get(pairs: Iterable[tuple[str, Any]], name: str) -> str:
    """Return the text under `name`, whatever its case; "" for none."""
    return next((str(value) for key, value in pairs if str(key).upper() == name), "")


def _read_id3(tags: Any, found: Attached) -> None:
    by_frame = {names[1]: names[0] for names in NAMES}
    for frame in tags.values():
        kind = frame.FrameID
        if kind == "APIC":
            found.pictures.append(Picture(frame.data, frame.mime, int(frame.type), frame.desc))
        elif kind == "CHAP":
            titles = frame.sub_frames.getall("TIT2")
            found.chapters.append((frame.start_time / 1000, str(titles[0]) if titles else ""))
        elif kind == "TXXX":
            found.texts += [(frame.desc.upper(), _right(str(text), frame)) for text in frame.text]
        elif kind in ("COMM", "USLT"):
            plain = kind == "USLT" or frame.desc in ("", "ID3v1 Comment")
            name = by_frame[kind] if plain else frame.desc.upper()
            texts = frame.text if isinstance(frame.text, list) else [frame.text]
            found.texts += [(name, _right(str(text), frame)) for text in texts]
        elif kind.startswith("T") and kind not in STALE_FRAMES:
            values = frame.genres if kind == "TCON" else frame.text
            found.texts += [(by_frame.get(kind, kind), _right(str(text), frame)) for text in values]
        elif kind.startswith("W"):
            found.texts.append((by_frame.get(kind, kind), frame.url))
    found.chapters.sort()


def _right(text: str, frame: Any) -> str:
    """Old programs put bytes of any code page where ID3 has Latin-1."""
    if getattr(frame, "encoding", None) != 0:
        return text
    return decoded([text.encode("latin-1", "replace")])[0] if not text.isascii() else text


def _read_mp4(given: Any, found: Attached) -> None:
    import mutagen.mp4

    by_atom = {names[2]: names[0] for names in NAMES if names[2]}
    for key, value in given.tags.items():
        if key == "covr":
            for cover in value:
                png = cover.imageformat == mutagen.mp4.MP4Cover.FORMAT_PNG
                found.pictures.append(Picture(bytes(cover), "image/png" if png else "image/jpeg"))
        elif key in ("trkn", "disk"):
            name = "TRACKNUMBER" if key == "trkn" else "DISCNUMBER"
            found.texts += [(name, f"{a}/{b}" if b else str(a)) for a, b in value if a]
        elif key.startswith("----"):
            texts = [bytes(each).decode("utf-8", "replace") for each in value]
            found.texts += [(key.split(":")[-1].upper(), text) for text in texts]
        elif isinstance(value, list) and all(isinstance(each, str) for each in value):
            found.texts += [(by_atom.get(key, key.strip("\xa9").upper()), text) for text in value]


def _read_chunks(source: Path, walked: chunks.Chunks, found: Attached) -> None:
    by_info = {names[3]: names[0] for names in NAMES if names[3]}
    for chunk in walked.chunks:
        if chunk.size > chunks.SMALL:
            continue
        if chunk.name == b"LIST":
            body = chunks.content(source, chunk)
            if body[:4] == b"INFO":
                parts = list(_info_parts(body[4:]))
                for (name, _), text in zip(parts, decoded([value for _, value in parts]), strict=True):
                    found.texts.append((by_info.get(name, name), text))
        elif chunk.name in (b"NAME", b"AUTH", b"ANNO", b"(c) "):
            name = {b"NAME": "TITLE", b"AUTH": "ARTIST", b"ANNO": "COMMENT", b"(c) ": "COPYRIGHT"}[chunk.name]
            found.texts += [(name, text) for text in decoded([chunks.content(source, chunk).rstrip(b"\0")])]
        elif chunk.name.upper() == b"ID3 " and _mutagen():
            import io

            import mutagen.id3

            try:
                tags = mutagen.id3.ID3(io.BytesIO(chunks.content(source, chunk)))
            except mutagen.MutagenError:
                continue
            beside = Attached()
            _read_id3(tags, beside)
            known = {name for name, _ in found.texts}
            found.texts += [(name, text) for name, text in beside.texts if name not in known]
            found.pictures, found.chapters = beside.pictures, beside.chapters
    found.texts = [(name, value) for name, value in found.texts if value and not STALE.match(name)]


def _info_parts(body: bytes) -> Iterable[tuple[str, bytes]]:
    at = 0
    while at + 8 <= len(body):
        name, size = struct.unpack_from("<4sI", body, at)
        if value := body[at + 8 : at + 8 + size].split(b"\0")[0]:
            yield name.decode("latin-1"), value
        at += 8 + size + size % 2


def decoded(texts: list[bytes]) -> list[str]:
    """Decode texts of one file by the code page that fits them all: UTF-8, Shift-JIS, or one of Windows'."""
    whole = b"\n".join(texts)
    for page in ("utf-8", "cp932", "cp1251"):
        try:
            text = whole.decode(page)
        except UnicodeDecodeError:
            continue
        if (
            page == "utf-8"
            or (page == "cp932" and _is_japanese(whole, text))
            or (page == "cp1251" and re.search(rb"[\xc0-\xff]{3}", whole))
        ):
            return [each.decode(page) for each in texts]
    return [each.decode("cp1252", "replace") for each in texts]


def _is_japanese(raw: bytes, text: str) -> bool:
    """Whether what decodes as Shift-JIS is that: kana and kanji, in pairs of bytes unlike Western text."""
    wide = [character for character in text if ord(character) > 0x7F]
    full = [
        c for c in wide if "\u3000" <= c <= "\u30ff" or "\u4e00" <= c <= "\u9fff" or "\uff01" <= c <= "\uff5e"
    ]
    return len(full) == len(wide) and bool(re.search(rb"[\x81-\x9f]", raw))


def _seconds(text: str) -> float:
    total = 0.0
    for part in text.split(":"):
        try:
            total = total * 60 + float(part)
        except ValueError:
            return 0.0
    return total


# --- writing from the common form --------------------------------------------------------------------


def _write(attached: Attached, written: Path, family: str, info: AudioInfo) -> list[str]:
    if family == _ID3:
        import mutagen.id3

        _fill_id3(mutagen.id3.ID3(), attached).save(written, v1=0)
        return []
    if family == _MP4:
        return _write_mp4(attached, written)
    import mutagen.flac

    new = _opened(written, info)
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


def _fill_id3(tags: Any, attached: Attached) -> Any:
    """`tags` with what is attached as frames."""
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
    for one in attached.pictures:
        tags.add(id3.APIC(encoding=3, mime=one.mime, type=one.kind, desc=one.description, data=one.data))
    names = [f"chp{number}" for number in range(len(attached.chapters))]
    ends = [*(start_s for start_s, _ in attached.chapters[1:]), *(None for _ in names[-1:])]
    for name, (start_s, title), end_s in zip(names, attached.chapters, ends, strict=True):
        stop = round(1000 * end_s) if end_s is not None else round(1000 * start_s)
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
    found: dict[str, list[Any]] = {}
    for name, value in attached.texts:
        if name in ("TRACKNUMBER", "DISCNUMBER"):
            numbers = [int(n) for n in re.findall(r"\d+", value)[:2]] or [0]
            found["trkn" if name == "TRACKNUMBER" else "disk"] = [(*numbers, 0)[:2]]
        elif name in by_name:
            found.setdefault(by_name[name], []).append(value)
        else:
            found.setdefault(f"----:com.apple.iTunes:{name}", []).append(mp4.MP4FreeForm(value.encode()))
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


def _chunks_of(attached: Attached, *, aiff: bool) -> tuple[tuple[bytes, bytes], ...]:
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
    if _mutagen() and attached:
        import io

        import mutagen.id3

        memory = io.BytesIO()
        _fill_id3(mutagen.id3.ID3(), attached).save(memory, v1=0, padding=lambda _: 0)
        found.append((b"ID3 " if aiff else b"id3 ", memory.getvalue()))
    return tuple(found)


def _clock(seconds: float) -> str:
    whole = round(1000 * seconds)
    return f"{whole // 3_600_000:02d}:{whole // 60_000 % 60:02d}:{whole // 1000 % 60:02d}.{whole % 1000:03d}"
