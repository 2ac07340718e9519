"""What ID3 holds: frames of version 2, and what version 1 says besides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slimclean.audio.attached import NAMES, STALE_FRAMES, Attached, Chapter, Picture, guarded
from slimclean.audio.tags.bounded import load
from slimclean.audio.tags.code_pages import decoded

ID3V1_FIELD_BYTES = (30, 28, 4)
"""Where ID3v1 cuts a text: also a comment before the number of the track, and a year."""
ID3V1_PAGES = ("latin-1", "utf-8", "cp1251", "cp932")
"""The code pages of programs that wrote it."""


def of_id3v2(path: str | Path) -> Any:
    """Return the frames of ID3v2 at the beginning of `path`, without those of ID3v1; None for none."""
    import mutagen.id3

    try:
        return load(mutagen.id3.ID3, path, load_v1=False)
    except mutagen.MutagenError:
        return None


def read_id3(tags: Any, found: Attached, of_v2: Any = None) -> None:
    """Read frames of ID3. Those that are not `of_v2` are of ID3v1, and left out where they repeat others."""
    by_frame = {name.id3: name.vorbis for name in NAMES}
    of_v1 = []
    known: list[tuple[str, str]] = []
    for key, frame in tags.items():
        if of_v2 is not None and key not in of_v2:
            of_v1.append(frame)
            continue
        with guarded(frame.FrameID, found):
            _read_frame(frame, by_frame, found)
            known += [("COMMENT", str(text)) for text in frame.text] if frame.FrameID == "COMM" else []
    known += found.texts
    for frame in of_v1:
        with guarded(frame.FrameID, found):
            added = Attached()
            _read_frame(frame, by_frame, added)
            for name, text in added.texts:
                if not any(name == key and _repeats(str(frame.text[0]), whole) for key, whole in known):
                    found.texts.append((name, text))
    found.sort_chapters()


def _repeats(short: str, whole: str) -> bool:
    """Tell whether `short`, bytes of ID3v1 taken for Latin-1, is `whole` or the part of it that fits there."""
    raw = short.encode("latin-1", "replace")
    pages = (whole.encode(page, "replace") for page in ID3V1_PAGES)
    return any(raw == page[:cut].split(b"\0")[0].strip() for page in pages for cut in ID3V1_FIELD_BYTES)


def _read_frame(frame: Any, by_frame: dict[str, str], found: Attached) -> None:
    kind = frame.FrameID
    if kind == "APIC":
        found.pictures.append(Picture(frame.data, frame.mime, int(frame.type), frame.desc))
    elif kind == "CHAP":
        titles = frame.sub_frames.getall("TIT2")
        start_s, end_s = frame.start_time / 1000, frame.end_time / 1000
        found.chapters.append(Chapter(start_s, str(titles[0]) if titles else "", end_s))
        if frame.sub_frames.getall("APIC") and "pictures of chapters" not in found.lost:
            found.lost.append("pictures of chapters")
    elif kind == "TXXX":
        found.texts += [(frame.desc.upper(), _right(str(text), frame)) for text in frame.text]
    elif kind in ("COMM", "USLT"):
        plain = kind == "USLT" or frame.desc in ("", "ID3v1 Comment")
        name = by_frame[kind] if plain else frame.desc.upper()
        texts = frame.text if isinstance(frame.text, list) else [frame.text]
        found.texts += [(name, _right(str(text), frame)) for text in texts]
    elif kind.startswith("T") and kind not in STALE_FRAMES and hasattr(frame, "text"):
        values = frame.genres if kind == "TCON" else frame.text
        found.texts += [(by_frame.get(kind, kind), _right(str(text), frame)) for text in values]
    elif kind.startswith("W"):
        found.texts.append((by_frame.get(kind, kind), frame.url))
    elif kind not in ("CTOC", *STALE_FRAMES) and kind not in found.lost:
        found.lost.append(kind)  # TIPL and TMCL, lists of people, among them


def _right(text: str, frame: Any) -> str:
    """Old programs put bytes of any code page where ID3 has Latin-1."""
    if getattr(frame, "encoding", None) != 0:
        return text
    return decoded([text.encode("latin-1", "replace")])[0] if not text.isascii() else text
