"""What is attached to a recording, in one form for all kinds of files."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple


class TagNames(NamedTuple):
    """One text's names: in Vorbis comments, ID3, MP4, RIFF INFO, libsndfile, FFmpeg; "" where it has none."""

    vorbis: str
    id3: str
    mp4: str = ""
    info: str = ""
    sndfile: str = ""
    ffmpeg_own: str = ""

    @property
    def ffmpeg(self) -> str:
        """That of Vorbis comments in small letters, or its own."""
        return self.ffmpeg_own or self.vorbis.lower()


NAMES = (
    TagNames("TITLE", "TIT2", "\xa9nam", "INAM", "title"),
    TagNames("ARTIST", "TPE1", "\xa9ART", "IART", "artist"),
    TagNames("ALBUM", "TALB", "\xa9alb", "IPRD", "album"),
    TagNames("ALBUMARTIST", "TPE2", "aART", "", "", "album_artist"),
    TagNames("COMPOSER", "TCOM", "\xa9wrt", "IMUS"),
    TagNames("COMMENT", "COMM", "\xa9cmt", "ICMT", "comment"),
    TagNames("DESCRIPTION", "TXXX", "desc", "ISBJ"),
    TagNames("GENRE", "TCON", "\xa9gen", "IGNR", "genre"),
    TagNames("DATE", "TDRC", "\xa9day", "ICRD", "date"),
    TagNames("COPYRIGHT", "TCOP", "cprt", "ICOP", "copyright"),
    TagNames("TRACKNUMBER", "TRCK", "", "ITRK", "tracknumber", "track"),
    TagNames("LICENSE", "WCOP", "", "", "license"),
    TagNames("ENCODED-BY", "TENC", "", "ITCH", "", "encoded_by"),
    TagNames("BPM", "TBPM"),
    TagNames("COMPILATION", "TCMP"),
    TagNames("LANGUAGE", "TLAN", "", "ILNG"),
    TagNames("ISRC", "TSRC", "", "ISRC"),
    TagNames("PUBLISHER", "TPUB"),
    TagNames("LYRICS", "USLT", "\xa9lyr"),
)
STALE = re.compile(r"replaygain_|r128_|mp3gain_|itunnorm$|itunsmpb$", re.IGNORECASE)
"""Texts that the new sound makes untrue: loudness, how a gain is undone, the encoder's delay."""
STALE_TAGS = ("encoder", "major_brand", "minor_version", "compatible_brands")
"""Tags of FFmpeg's that speak of the old file."""
CHANNEL_MASK = "WAVEFORMATEXTENSIBLE_CHANNEL_MASK"
"""Where FLAC keeps which speakers its channels are for."""
STALE_FRAMES = ("RVA2", "RVAD", "RGAD", "EQU2", "EQUA", "TLEN", "TSIZ", "MLLT", "ASPI", "SEEK", "TSSE", "TFLT")
"""ID3 frames that speak of the old sound or its bytes."""


MOST_S = 0xFFFF_FFFE / 1000
"""The latest time that a chapter of ID3 can have."""
LEAST_CHAPTER_S = 0.0015
"""A chapter that is no longer says nothing of its end: some programs write 1 ms for an end they do not know."""
_KINDS = range(21)


@dataclass
class Picture:
    """An image, `kind` being ID3's number (3: the front cover). What is no kind or MIME type is put right."""

    data: bytes
    mime: str = "image/jpeg"
    kind: int = 3
    description: str = ""

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            self.kind = 0
        if not re.fullmatch(r"[\w.+-]+/[\w.+-]+|-->", self.mime, re.ASCII):
            self.mime = "image/png" if self.data.startswith(b"\x89PNG") else "image/jpeg"


class Chapter(NamedTuple):
    """A part of a recording, from `start_s` to `end_s`, times in seconds; None: nobody says where it ends."""

    start_s: float
    title: str
    end_s: float | None = None


@dataclass
class Attached:
    """What lies beside the sound: texts by Vorbis comment name, pictures, and chapters in their order."""

    texts: list[tuple[str, str]] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    chapters: list[Chapter] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Names of what only the source's own kind of tags can hold."""
    damaged: list[str] = field(default_factory=list)
    """Names of what cannot be made sense of."""

    def __bool__(self) -> bool:
        return bool(self.texts or self.pictures or self.chapters)

    def sort_chapters(self) -> None:
        """Put the chapters into the order of their beginnings."""
        self.chapters.sort(key=lambda chapter: (chapter.start_s, chapter.title))

    def chapter_ends_s(self, length_s: float) -> list[float]:
        """Return where each chapter ends, in s, in `length_s` seconds of sound, and not before it begins.

        That is its own end where it has one, else the beginning of the next, and at last the end of the sound.
        """
        ends_s = []
        following_s = [*(chapter.start_s for chapter in self.chapters[1:]), length_s]
        for chapter, next_s in zip(self.chapters, following_s, strict=False):
            end_s = chapter.end_s
            if end_s is None or not end_s > chapter.start_s + LEAST_CHAPTER_S:
                end_s = next_s
            ends_s.append(max(chapter.start_s, min(end_s, length_s)))
        return ends_s


@contextlib.contextmanager
def guarded(name: str, found: Attached) -> Iterator[None]:
    """Let what goes wrong inside cost the tag called `name` and nothing else."""
    try:
        yield
    except Exception:  # mutagen and its parsers raise all kinds
        found.damaged.append(name)
