"""What a small tag can cost in memory and time is bounded; what lies within the bounds is read."""

from __future__ import annotations

import time
import tracemalloc
import zlib

import pytest
from audio.test_attached import chunk, chunks_of, enhanced, fmt, pcm, riff, written

from slimclean.audio.tags import bounded
from slimclean.audio.tags.reading import read

mutagen = pytest.importorskip("mutagen")
ZEROS = bytes(bounded.MOST_INFLATED_BYTES + 1)


def synchsafe(number: int) -> bytes:
    return bytes(number >> place & 127 for place in (21, 14, 7, 0))


def frame(name: bytes, body: bytes, version: int = 4, flags: bytes = b"\0\0") -> bytes:
    size = synchsafe(len(body)) if version == 4 else len(body).to_bytes(4, "big")
    return name + size + flags + body


def compressed(name: bytes, body: bytes, version: int = 4) -> bytes:
    flags = b"\0\x09" if version == 4 else b"\0\x80"
    return frame(name, b"\0\0\0\1" + zlib.compress(body, 9), version, flags)


def tag(*frames: bytes, version: int = 4) -> bytes:
    body = b"".join(frames)
    return b"ID3" + bytes([version, 0, 0]) + synchsafe(len(body)) + body


def chapter(*frames: bytes) -> bytes:
    return b"c\0" + bytes(16) + b"".join(frames)


TITLE = frame(b"TIT2", b"\3T")
PICTURE = b"\0image/png\0\3\0" + b"x"
GROWING = {
    "inflated": tag(TITLE, compressed(b"TXXX", ZEROS)),
    "version 3": tag(compressed(b"TXXX", ZEROS, 3), version=3),
    "in all": tag(*[compressed(b"GEOB", ZEROS[: 1 << 22])] * 5),
    "in a chapter": tag(frame(b"CHAP", chapter(compressed(b"APIC", ZEROS)))),
    "in what was inflated": tag(compressed(b"CHAP", chapter(compressed(b"APIC", ZEROS)))),
    "frames": tag(TITLE * 5000),
    "empty frames": tag(frame(b"TIT2", b"") * 5000, version=3),
    "frames in a chapter": tag(compressed(b"CHAP", chapter(TITLE * 5000))),
    "texts": tag(frame(b"TIT2", b"\3" + b"a\0" * 5000)),
    "pictures": tag(*[frame(b"APIC", PICTURE)] * 300),
}


@pytest.mark.parametrize("kind", GROWING)
def test_a_tag_of_id3_that_grows_beyond_bounds_costs_only_itself(tmp_path, kind):
    source = written(tmp_path / "a.mp3", format="MP3")
    source.write_bytes(GROWING[kind] + source.read_bytes())
    tracemalloc.start()
    started = time.process_time()
    try:
        found = read(source)
        assert tracemalloc.get_traced_memory()[1] < 6 * bounded.MOST_INFLATED_BYTES
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 5
    assert found.damaged == ["some of its tags"]
    with pytest.raises(bounded.GrowthError):
        bounded.load(mutagen.id3.ID3, source)


@pytest.mark.parametrize("name", ["b.mp3", "b.flac"])
def test_a_tag_that_grows_is_named_in_a_warning(tmp_path, name):
    source = written(tmp_path / "a.mp3", format="MP3")
    source.write_bytes(GROWING["inflated"] + source.read_bytes())
    assert "damaged tags are not kept: some of its tags" in enhanced(source, tmp_path / name).warnings


def test_a_chunk_of_id3_that_grows_costs_only_itself(tmp_path):
    text = b"INFO" + chunk(b"INAM", b"T\0")
    body = GROWING["inflated"]
    (tmp_path / "a.wav").write_bytes(riff(fmt(), pcm(), chunk(b"LIST", text), chunk(b"id3 ", body)))
    result = enhanced(tmp_path / "a.wav", tmp_path / "b.flac")
    assert mutagen.File(tmp_path / "b.flac").tags["title"] == ["T"]
    assert "damaged tags are not kept: ID3" in result.warnings
    enhanced(tmp_path / "a.wav", tmp_path / "b.wav")
    assert dict(chunks_of(tmp_path / "b.wav"))[b"id3 "] == body


def test_compressed_frames_within_the_bounds_are_read(tmp_path):
    source = written(tmp_path / "a.mp3", format="MP3")
    picture = PICTURE + bytes(1 << 20)
    long = "\1" + "ab" * 10_000
    frames = compressed(b"APIC", picture), frame(b"TIT2", b"\1" + long.encode("utf-16"))
    source.write_bytes(tag(*frames, compressed(b"TALB", b"\3A")) + source.read_bytes())
    found = read(source)
    assert found.texts == [("TITLE", long), ("ALBUM", "A")]
    assert (len(found.pictures[0].data), found.damaged) == ((1 << 20) + 1, [])


@pytest.mark.parametrize("name", ["b.flac", "b.ogg", "b.mp3"])
def test_thousands_of_comments_take_no_longer_each(tmp_path, name):
    """Chapters without names, and pictures that make no sense behind other comments."""
    source = written(tmp_path / "a.flac", format="FLAC")
    file = mutagen.File(source)
    if file.tags is None:
        file.add_tags()
    for number in range(20_000):
        file.tags.append((f"CHAPTER{number:05}", "00:00:00.1"))
    for _ in range(20_000 if name != "b.mp3" else 1):
        file.tags.append(("METADATA_BLOCK_PICTURE", "AAAA"))
    file.save()
    started = time.process_time()
    if name == "b.mp3":
        assert len(read(source).chapters) == 20_000
    else:
        assert "damaged tags" in enhanced(source, tmp_path / name).warnings
    assert time.process_time() - started < 5
