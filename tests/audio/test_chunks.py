"""Chunks of WAV files that are laid out unusually: BW64, RIFX, and without pad bytes."""

from __future__ import annotations

import io
import struct
import time

import made
import numpy as np
import pytest
from conftest import identity_enhancer
from made import chunk, riff, wave_format

from slimclean.audio import OutputForm
from slimclean.audio.formats import AudioInfo
from slimclean.audio.tags import chunks
from slimclean.audio.tags import keeping as tags
from slimclean.audio.tags.chunk_contents import changes
from slimclean.audio.tags.chunks import content, extensible_fields, walk
from slimclean.audio.tags.reading import read
from slimclean.audio.wave_header import Bytes, read_header
from slimclean.batch.recording import enhance_file
from slimclean.batch.task import Task

BEXT = b"Reporter".ljust(602, b"\0")
SOUND = made.pcm(0.5)
DATA = chunk(b"data", SOUND)
TITLE = b"INFO" + chunk(b"INAM", b"Hello", pad=False)
IXML = chunk(b"iXML", b"<BWFXML></BWFXML>")


def swapped(sound: bytes) -> bytes:
    return np.frombuffer(sound, "<i2").astype(">i2").tobytes()


def big_endian(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WAVE" + b"".join(
        name + struct.pack(">I", len(body)) + body + b"\0" * (len(body) % 2) for name, body in chunks
    )
    return b"RIFX" + struct.pack(">I", len(body)) + body


def enhanced(tmp_path, data: bytes, name: str = "b.wav", form: OutputForm | None = None):
    """Enhance a file of these bytes; return its row and the chunks that come out."""
    (tmp_path / "a.wav").write_bytes(data)
    result = enhance_file(Task(tmp_path / "a.wav", tmp_path / name), identity_enhancer(), form)
    assert result.status == "enhanced", result.error
    walked = walk(tmp_path / name)
    return result, {each.name: content(tmp_path / name, each) for each in walked.chunks}


def test_chunks_of_bw64_go_into_rf64(tmp_path):
    ds64 = chunk(b"ds64", struct.pack("<QQQI", 0, len(SOUND), len(SOUND) // 2, 0))
    others = chunk(b"bext", BEXT) + chunk(b"axml", b"<adm/>")
    unknown = 0xFFFF_FFFF
    data = chunk(b"data", SOUND, size=unknown)
    result, new = enhanced(tmp_path, riff(ds64, wave_format(), others, data, IXML, size=unknown, tag=b"BW64"))
    assert list(new) == [b"ds64", b"fmt ", b"bext", b"axml", b"data", b"iXML"]
    assert (new[b"bext"][:412], new[b"axml"], len(new[b"data"])) == (BEXT[:412], b"<adm/>", len(SOUND))
    assert result.warnings == ""


def test_an_odd_chunk_without_its_pad_byte_hides_nothing(tmp_path):
    title = chunk(b"LIST", TITLE, pad=False)
    result, new = enhanced(tmp_path, riff(wave_format(), title, chunk(b"bext", BEXT), DATA, IXML))
    assert list(new) == [b"fmt ", b"LIST", b"bext", b"data", b"iXML"]
    assert (new[b"LIST"], len(new[b"data"])) == (TITLE, len(SOUND))
    assert result.warnings == ""


def test_zeros_before_the_sound_hide_nothing(tmp_path):
    result, new = enhanced(tmp_path, riff(wave_format(), bytes(16), chunk(b"bext", BEXT), DATA, IXML))
    assert list(new) == [b"fmt ", b"bext", b"data", b"iXML"]
    assert result.warnings == ""


def test_chunks_of_rifx_are_big_endian(tmp_path):
    form = struct.pack(">HHIIHH", 1, 1, made.RATE, 2 * made.RATE, 2, 16)
    bext = BEXT[:338] + struct.pack(">QH", 48_000, 1) + BEXT[348:]
    play = struct.pack(">IIII", 1, 1, 4000, 1)
    chunks = (b"fmt ", form), (b"bext", bext), (b"data", swapped(SOUND)), (b"plst", play)
    _, new = enhanced(tmp_path, big_endian(*chunks), form=OutputForm(sample_rate=8000))
    assert list(new) == [b"fmt ", b"bext", b"data", b"plst"]
    data = (tmp_path / "b.wav").read_bytes()
    assert data[:8] == b"RIFX" + struct.pack(">I", len(data) - 8)
    assert struct.unpack_from(">QH", new[b"bext"], 338) == (24_000, 1)
    assert struct.unpack_from(">II", new[b"plst"]) == (1, 1)


def test_texts_of_rifx_go_into_rf64_and_the_rest_is_named(tmp_path):
    form = struct.pack(">HHIIHH", 1, 1, made.RATE, 2 * made.RATE, 2, 16)
    title = b"INFO" + b"INAM" + struct.pack(">I", 6) + b"Hello\0"
    chunks = (b"fmt ", form), (b"LIST", title), (b"bext", BEXT), (b"data", swapped(SOUND))
    result, new = enhanced(tmp_path, big_endian(*chunks), "b.rf64")
    assert new[b"LIST"] == b"INFO" + chunk(b"INAM", b"Hello\0")
    assert b"bext" not in new
    assert result.warnings == "not kept, as they are big-endian: bext"


def test_the_channel_mask_of_rifx_is_read(tmp_path):
    form = struct.pack(">HHIIHHHHI", 0xFFFE, 2, made.RATE, 4 * made.RATE, 4, 16, 22, 16, 0x600)
    (tmp_path / "a.wav").write_bytes(big_endian((b"fmt ", form + bytes(16)), (b"data", swapped(SOUND))))
    assert extensible_fields(tmp_path / "a.wav") == (16, 0x600)


@pytest.mark.parametrize("declared", [0, 0xFFFF_FFFF, 0x7FFF_F000, 1000])
def test_chunks_behind_sound_of_unknown_length_go_along(tmp_path, declared):
    data = chunk(b"data", SOUND, size=declared)
    _, new = enhanced(tmp_path, riff(wave_format(), data, chunk(b"LIST", TITLE), IXML))
    assert list(new) == [b"fmt ", b"data", b"LIST", b"iXML"]
    assert (len(new[b"data"]), new[b"LIST"]) == (len(SOUND), TITLE)


def test_chunks_behind_more_than_4_gib_are_found(tmp_path):
    """A size of 32 bits went round; the gigabytes take no room."""
    size = (1 << 32) + (1 << 20)
    with (tmp_path / "a.wav").open("wb") as file:
        file.write(riff(wave_format(), chunk(b"data", b"", size=size & 0xFFFF_FFFF), size=0))
        file.seek(size, 1)
        file.write(chunk(b"LIST", TITLE))
    assert [(each.name, each.size) for each in walk(tmp_path / "a.wav").chunks[1:]] == [
        (b"data", size),
        (b"LIST", len(TITLE)),
    ]


@pytest.mark.parametrize("name", ["b.wav", "b.flac"])
def test_damage_that_hides_the_sound_from_the_walk_is_said(tmp_path, name):
    (tmp_path / "a.wav").write_bytes(riff(wave_format(), chunk(b"bext", BEXT)) + 2000 * b"\xff")
    assert walk(tmp_path / "a.wav").cut
    (tmp_path / name).write_bytes(made.encoded("WAV" if name == "b.wav" else "FLAC"))
    info = AudioInfo(made.RATE, 1, 2 * made.RATE, "WAV" if name == "b.wav" else "FLAC", "PCM_16")
    assert tags.keep(tmp_path / "a.wav", tmp_path / name, info)[0].startswith("its header is damaged")


def test_a_ds64_that_the_end_of_the_file_cuts_off_is_no_error(tmp_path):
    (tmp_path / "a.wav").write_bytes(riff(b"ds64" + struct.pack("<I", 28) + bytes(4), tag=b"RF64"))
    assert extensible_fields(tmp_path / "a.wav") is None


TIME = b"<FILE_SAMPLE_RATE>16000</FILE_SAMPLE_RATE><BWF_TIME_REFERENCE_%b>%b</BWF_TIME_REFERENCE_%b>"


@pytest.mark.parametrize("place", [b"LOW", b"HIGH"])
@pytest.mark.parametrize("digits", [400, 5000])
def test_a_time_that_no_recording_has_stays_as_it_is(tmp_path, place, digits):
    told = TIME % (place, b"9" * digits, place)
    told += b"" if place == b"LOW" else b"<BWF_TIME_REFERENCE_LOW>7</BWF_TIME_REFERENCE_LOW>"
    bext = BEXT[:338] + struct.pack("<QH", 48_000, 1) + BEXT[348:]
    data = riff(wave_format(), chunk(b"bext", bext), chunk(b"iXML", told), DATA)
    result, new = enhanced(tmp_path, data, form=OutputForm(sample_rate=8000))
    assert new[b"iXML"] == told.replace(b"16000", b"8000")
    assert struct.unpack_from("<Q", new[b"bext"], 338) == (24_000,)
    assert result.warnings == ""


def test_contents_that_cannot_be_changed_stay_as_they_are():
    change = changes(AudioInfo(8000, 1, 8000, "WAV", "PCM_16"), float("inf"), "<")
    for name, body in ((b"bext", bytes(338) + b"\1" * 300), (b"cue ", b"\1\0\0\0" * 7), (b"MARK", b"\1" * 20)):
        assert change[name](body) == body


def test_what_is_looked_into_is_bounded_in_all(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "SMALL", 100)
    body = b"<FILE_SAMPLE_RATE>16000</FILE_SAMPLE_RATE>"
    bulk = b"abcd".ljust(1000)
    data = riff(wave_format(), *[chunk(b"iXML", body)] * 3, chunk(b"bulk", bulk), DATA)
    result, _ = enhanced(tmp_path, data, form=OutputForm(sample_rate=8000))
    written = tmp_path / "b.wav"
    found = [content(written, each) for each in walk(written).chunks if each.name == b"iXML"]
    assert found == [body.replace(b"16000", b"8000")] * 2 + [body]
    assert bulk in written.read_bytes()
    assert result.warnings == "too large to be looked into, and as they were: iXML"


def test_texts_of_chunks_are_bounded_in_all(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "SMALL", 50)
    texts = [b"INFO" + chunk(name, bytes([65 + k]) * 20) for k, name in enumerate((b"INAM", b"IART", b"ICMT"))]
    (tmp_path / "a.wav").write_bytes(riff(wave_format(), *[chunk(b"LIST", each) for each in texts], DATA))
    found = read(tmp_path / "a.wav")
    assert found.texts == [("TITLE", "A" * 20)]
    assert found.damaged == ["LIST"]


def test_a_header_of_many_chunks_is_read_soon():
    data = riff(wave_format(), chunk(b"abcd", b"") * 120_000, DATA)
    stream = Bytes(io.BytesIO(data))
    started = time.process_time()
    header = read_header(stream)
    assert time.process_time() - started < 3
    assert header is not None
    assert len(header.others) == 8 * 120_000
    assert stream.taken == data[: -len(SOUND)]
