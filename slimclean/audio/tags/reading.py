"""Reading what is attached to a recording: by mutagen, a walk over chunks, libsndfile or FFmpeg."""

from __future__ import annotations

import base64
import contextlib
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import soundfile

from slimclean.audio.attached import (
    CHANNEL_MASK,
    MOST_S,
    NAMES,
    STALE,
    STALE_TAGS,
    Attached,
    Chapter,
    Picture,
    guarded,
)
from slimclean.audio.av.tracks import COVER, av_errors, open_film
from slimclean.audio.formats import AudioInfo, file_name
from slimclean.audio.quiet import quiet
from slimclean.audio.structure.chunk_bytes import chunks_in
from slimclean.audio.tags import chunks
from slimclean.audio.tags.bounded import grows, load
from slimclean.audio.tags.code_pages import decoded
from slimclean.audio.tags.id3_reading import of_id3v2, read_id3

CUE_SHEET = "the cue sheet"
"""What is said of the one that a FLAC may have, for which other kinds have no place."""
PICTURE = "METADATA_BLOCK_PICTURE"
"""The comment that holds a picture in Ogg."""
_ASF = {"AUTHOR": "ARTIST", "WM/ALBUMTITLE": "ALBUM", "WM/GENRE": "GENRE", "WM/YEAR": "DATE",
        "WM/TRACKNUMBER": "TRACKNUMBER", "WM/ALBUMARTIST": "ALBUMARTIST", "WM/LYRICS": "LYRICS"}  # fmt: skip
_MP4_NAMES = {"stik": "media kind", "rtng": "rating", "pcst": "podcast", "pgap": "gapless"}
_AIFF_NAMES = {b"NAME": "TITLE", b"AUTH": "ARTIST", b"ANNO": "COMMENT", b"(c) ": "COPYRIGHT"}


def read(source: Path) -> Attached:
    """Return what is attached to `source`, as far as its kind can be read here; raises nothing."""
    found = Attached()
    with guarded("the rest of the tags", found):
        _read(source, found)
    dropped = (CHANNEL_MASK, "")
    found.texts = [
        each for each in found.texts if not STALE.match(each[0]) and each[0] not in dropped and each[1]
    ]
    if nonsense := [each.title for each in found.chapters if not 0 <= each.start_s <= MOST_S]:
        found.damaged += [f"the chapter {title}".strip() for title in nonsense]
        found.chapters = [each for each in found.chapters if 0 <= each.start_s <= MOST_S]
    found.damaged = list(dict.fromkeys(found.damaged))
    return found


def _read(source: Path, found: Attached) -> None:
    walked = chunks.walk(source)
    if walked.form:
        _read_chunks(source, walked, found)
        return
    given: Any = open_tags(source) if has_mutagen() else None
    if given is None and has_mutagen() and _is_tagged(source):
        found.damaged.append("some of its tags")  # what others read of them follows
    if given is not None and type(given).__name__ not in ("MP4",):
        _read_mutagen(given, found)
    elif given is not None and given.tags is not None:
        _read_mp4(given, found)
    if given is None:
        _read_libsndfile(source, found)
    if not found and not (given is None and has_mutagen() and grows(source)):
        _read_ffmpeg(source, found)
    elif not found.chapters and type(given).__name__ == "MP4":
        _read_ffmpeg(source, found, chapters_only=True)


def _is_tagged(source: Path) -> bool:
    """Tell whether mutagen should have been able to read `source`."""
    with source.open("rb") as file:
        return file.read(4).startswith((b"fLaC", b"ID3"))


def _read_libsndfile(source: Path, found: Attached) -> None:
    by_string = {name.sndfile: name.vorbis for name in NAMES if name.sndfile}
    try:
        with quiet(), soundfile.SoundFile(file_name(source)) as file:
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
        with open_film(av, source) as container:
            for chapter in container.chapters():
                base = chapter["time_base"] or 0
                title = _utf8(chapter["metadata"].get("title", ""))
                start_s, end_s = (float(chapter[key] * base) for key in ("start", "end"))
                found.chapters.append(Chapter(start_s, title, end_s))
            if chapters_only:
                return
            known = {name.ffmpeg: name.vorbis for name in NAMES}
            stale = (*STALE_TAGS, "duration", "handler_name", "vendor_id", "creation_time")
            for key, value in container.metadata.items():
                if key.lower() not in stale:
                    found.texts.append((known.get(key.lower(), key.upper()), _utf8(value)))
            for stream in container.streams.video:
                if stream.disposition.value & COVER:
                    data = next((bytes(packet) for packet in container.demux(stream) if packet.size), b"")
                    kind = "png" if stream.codec_context.name == "png" else "jpeg"
                    found.pictures += [Picture(data, f"image/{kind}")] if data else []
                    break
    except av_errors(av):
        return


def _utf8(text: str) -> str:
    """Return what came as bytes of any code page."""
    return decoded([text.encode("utf-8", "surrogateescape")])[0]


def _read_mutagen(given: Any, found: Attached) -> None:
    """Vorbis comments, ID3, and what else has text values by name."""
    import mutagen.asf
    import mutagen.flac
    import mutagen.id3

    tags = given.tags if given.tags is not None else []
    if isinstance(tags, mutagen.id3.ID3):
        read_id3(tags, found, of_id3v2(given.filename))
        return
    if isinstance(given, mutagen.flac.FLAC):
        found.pictures += [Picture(p.data, p.mime, p.type, p.desc) for p in given.pictures]
        found.lost += [CUE_SHEET] if given.cuesheet else []
    is_asf = isinstance(given, mutagen.asf.ASF)
    pairs = tags if isinstance(tags, list) else [(k, v) for k in tags for v in _listed(tags[k])]
    first: dict[str, str] = {}
    for key, value in pairs:
        first.setdefault(str(key).upper(), str(value))
    seen: set[tuple[str, str]] = set()  # FFmpeg writes title and author of ASF in two places
    for key, value in pairs:
        name, text = str(key).upper(), str(value)
        with guarded(name, found):
            if name == PICTURE:
                picture = picture_in(text)
                found.pictures.append(Picture(picture.data, picture.mime, picture.type, picture.desc))
            elif re.fullmatch(r"CHAPTER\d+", name):
                found.chapters.append(Chapter(_seconds(text), first.get(name + "NAME", "")))
            elif not re.fullmatch(r"CHAPTER\d+NAME", name):
                pair = _ASF.get(name, name), text
                if not (is_asf and pair in seen):
                    found.texts.append(pair)
                    seen.add(pair)
    found.sort_chapters()


def picture_in(comment: str) -> Any:
    """Return the picture in a comment of Ogg as mutagen has it; raises anything for a damaged one."""
    import mutagen.flac

    return mutagen.flac.Picture(base64.b64decode(comment))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _read_mp4(given: Any, found: Attached) -> None:
    by_atom = {name.mp4: name.vorbis for name in NAMES if name.mp4}
    for key, value in given.tags.items():
        with guarded(key, found):
            _read_atom(key, value, by_atom, found)


def _read_atom(key: str, value: Any, by_atom: dict[str, str], found: Attached) -> None:
    import mutagen.mp4

    if key == "covr":
        for cover in value:
            png = cover.imageformat == mutagen.mp4.MP4Cover.FORMAT_PNG
            found.pictures.append(Picture(bytes(cover), "image/png" if png else "image/jpeg"))
    elif key in ("trkn", "disk"):
        name = "TRACKNUMBER" if key == "trkn" else "DISCNUMBER"
        found.texts += [(name, f"{a}/{b}" if b else str(a)) for a, b in value if a]
    elif key == "tmpo":
        found.texts += [("BPM", str(number)) for number in value if number]
    elif key == "cpil":
        found.texts += [("COMPILATION", "1")] if value else []
    elif key == "\xa9too":
        pass
    elif key.startswith("----"):
        texts = [bytes(each).decode("utf-8", "replace") for each in value]
        name = key.split(":")[-1].encode("latin-1").decode("utf-8", "replace")  # mutagen takes it for Latin-1
        found.texts += [(name.upper(), text) for text in texts]
    elif isinstance(value, list) and all(isinstance(each, str) for each in value):
        found.texts += [(by_atom.get(key, key.strip("\xa9").upper()), text) for text in value]
    elif value not in (False, 0, [0], []):
        found.lost.append(_MP4_NAMES.get(key, key))


def _read_chunks(source: Path, walked: chunks.Chunks, found: Attached) -> None:
    left = chunks.SMALL
    for chunk in walked.chunks:
        if chunk.name not in (b"LIST", *_AIFF_NAMES) and chunk.name.upper() != b"ID3 ":
            continue
        left -= min(chunk.size, left + 1)
        if left < 0:
            found.damaged.append(chunk.name.decode().strip())
            continue
        body = chunks.content(source, chunk)
        if chunk.name == b"LIST":
            _read_info(body, walked.order, found)
        elif name := _AIFF_NAMES.get(chunk.name):
            found.texts += [(name, text) for text in decoded([body.rstrip(b"\0")])]
        elif has_mutagen():
            _read_id3_chunk(body, found)


def _read_info(body: bytes, order: str, found: Attached) -> None:
    """Read a LIST of texts; of any other kind there is nothing to read."""
    if body[:4] == b"INFO":
        by_info = {name.info: name.vorbis for name in NAMES if name.info}
        parts = list(_info_parts(body[4:], order))
        for (name, _), text in zip(parts, decoded([value for _, value in parts]), strict=True):
            found.texts.append((by_info.get(name, name), text))


def _read_id3_chunk(body: bytes, found: Attached) -> None:
    """Read what ID3 says besides the texts that are known already."""
    import mutagen.id3

    try:
        tags = load(mutagen.id3.ID3, io.BytesIO(body))
    except Exception:  # mutagen raises all kinds for damaged tags
        found.damaged.append("ID3")
        return
    beside = Attached()
    read_id3(tags, beside)
    known = {name for name, _ in found.texts}
    found.texts += [(name, text) for name, text in beside.texts if name not in known]
    found.pictures, found.chapters, found.lost = beside.pictures, beside.chapters, beside.lost
    found.damaged += beside.damaged


def _info_parts(body: bytes, order: str) -> Iterable[tuple[str, bytes]]:
    for name, at, size in chunks_in(body, order):
        if value := body[at : at + size].split(b"\0")[0]:
            yield name.decode("latin-1"), value


def _seconds(text: str) -> float:
    """Return the time "hours:minutes:seconds"; raises `ValueError` for anything else."""
    total = 0.0
    for part in text.split(":"):
        total = total * 60 + float(part)
    return total


def has_mutagen() -> bool:
    """Tell whether the extra `tags` is installed."""
    try:
        import mutagen  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def open_tags(path: Path, info: AudioInfo | None = None) -> Any:
    """Return `path` as mutagen sees it, by content; None where it knows nothing of it."""
    import mutagen

    with path.open("rb") as file:
        is_mp3 = file.read(3) == b"ID3" or (info is not None and info.format == "MP3")
    if is_mp3:
        import mutagen.mp3

        with contextlib.suppress(Exception):
            return load(mutagen.mp3.MP3, path)
    try:
        return load(mutagen.File, path)
    except Exception:  # a parser that stumbles over damage raises all kinds
        return None
