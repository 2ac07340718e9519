"""A folder of recordings of the kinds that people complain about: each has its row, and all of its sound."""

from __future__ import annotations

import sys

import pytest
import soundfile
from conftest import identity_enhancer
from made import chunk, counting, encoded, flac_total, last_page, mp3, muxed, pcm, riff, tone, wav, wave_format

from slimclean.audio import AudioReader
from slimclean.batch.run import enhance_paths

LIBSNDFILE = {
    # name: (content, seconds from how it was made, what the warnings hold)
    "chained.ogg": (lambda: b"".join(encoded("OGG", "VORBIS", seed=k) for k in range(3)), 6.0, ""),
    "chained.opus": (lambda: b"".join(encoded("OGG", "OPUS", 48_000, seed=k) for k in range(3)), 6.0, ""),
    "joined.flac": (lambda: encoded("FLAC") + flac_total(encoded("FLAC"), 0), 4.0, ""),
    "joined.mp3": (lambda: mp3() + mp3(seed=1) + mp3(seed=2), 6.0, ""),
    "joined-mono-stereo.mp3": (lambda: mp3() + mp3(channels=2), 4.0, "part 2 of 2"),
    "counted-low.mp3": (lambda: counting(mp3(), lambda n: n // 4), 2.0, "a header says"),
    "no-end.opus": (lambda: last_page(encoded("OGG", "OPUS", 48_000), 0), 2.0, "no end mark"),
    "streamed.wav": (lambda: wav(0xFFFF_FFFF, 0xFFFF_FFFF), 2.0, ""),
    "died.wav": (lambda: wav(0, 0), 2.0, "its header says 0.00 s"),
    "no-pad.wav": (
        lambda: riff(wave_format(), chunk(b"note", b"odd", pad=False), chunk(b"data", pcm())),
        2.0,
        "",
    ),
    "list-of-zeros.wav": (
        lambda: riff(wave_format(), chunk(b"LIST", bytes(393_164)), chunk(b"data", pcm())),
        2.0,
        "",
    ),
    "mp3-in.wav": (
        lambda: riff(wave_format(0x55, rate=44_100), chunk(b"data", mp3(info=False))),
        2.03,
        "",
    ),
    "two.wav": (lambda: wav() + wav(seconds=1.0), 3.0, ""),
    "small.wav": (lambda: wav(20_000), 2.0, "its header says"),
    "named-like.wave": (lambda: encoded("FLAC"), 2.0, ""),
    "named-like.aifc": (lambda: encoded("AIFF"), 2.0, ""),
    "named-like.bwf": (wav, 2.0, ""),
}
FFMPEG = {
    # name: (codec, FFmpeg's container, rate, times, tracks, seconds, what the warnings hold)
    "talk.aac": ("aac", "adts", 44_100, None, 1, 2.0, ""),
    "layer-two.mp3": ("mp2", "mp2", 44_100, None, 1, 2.0, ""),
    "late.mkv": ("pcm_s16le", None, 48_000, ((0.5, 0, 1), (3.0, 1, None)), 1, 4.0, "sound starts 0.50 s late"),
    "two-tracks.mkv": ("pcm_s16le", None, 48_000, None, 2, 2.0, "2 sound tracks: number 1"),
    "really-m4a.mp3": ("aac", "mp4", 44_100, None, 1, 2.0, ""),
    "really-m4a.wav": ("aac", "mp4", 44_100, None, 1, 2.0, ""),
    "g726.wav": ("g726", "wav", 8_000, None, 1, 2.0, ""),
    "g722.wav": ("g722", "wav", 16_000, None, 1, 2.0, ""),
}
BROKEN = {
    "text.wav": (lambda: b"Dear diary, " * 100, "not a readable recording"),
    "cut.wav": (lambda: wav()[:-9_000], "truncated"),
    "cut.opus": (lambda: encoded("OGG", "OPUS", 48_000)[:-200], "truncated"),
    "text.amr": (lambda: b"x", "not a readable recording"),
}


def test_each_has_its_row_and_all_of_its_sound(tmp_path, capfd):
    pytest.importorskip("av")
    source = tmp_path / "in"
    source.mkdir()
    expected = {}
    for name, (content, seconds, warning) in LIBSNDFILE.items():
        (source / name).write_bytes(content())
        expected[name] = ("enhanced", seconds, warning)
    for name, (codec, form, rate, at, tracks, seconds, warning) in FFMPEG.items():
        times = {} if at is None else {"at": at}
        muxed(source / name, codec, tone(2, rate).T, rate, form, tracks=tracks, **times)
        expected[name] = ("enhanced", seconds, warning)
    for name, (content, error) in BROKEN.items():
        (source / name).write_bytes(content())
        expected[name] = ("failed", None, error)
    (source / "notes.txt").write_text("not sound")
    rows = {
        row.file.rsplit("/", 1)[-1]: row
        for row in enhance_paths([source], tmp_path / "out", identity_enhancer())
    }
    assert set(rows) == set(expected)
    for name, (status, seconds, words) in expected.items():
        row = rows[name]
        assert row.status == status, (name, row.error)
        if status == "failed":
            assert words in row.error, name
            continue
        assert row.duration_s == pytest.approx(seconds, abs=0.06), name
        assert words in row.warnings, (name, row.warnings)
        assert bool(words) == any(
            part in row.warnings for part in ("part ", "header", "end mark", "starts", "tracks")
        ), (name, row.warnings)
        # What was written, decoded by another reading of it.
        with AudioReader(tmp_path / "out" / row.output.rsplit("/", 1)[-1]) as reader:
            written = sum(block.shape[1] for block in reader.blocks(50_000)) / reader.info.sample_rate
        assert written == pytest.approx(seconds, abs=0.12), name
    assert capfd.readouterr() == ("", "")


def test_without_pyav_a_row_says_what_it_is_and_what_reads_it(tmp_path, monkeypatch):
    pytest.importorskip("av")
    muxed(tmp_path / "a.wav", "g726", tone(1, 8_000).T, 8_000, "wav")
    muxed(tmp_path / "b.mp3", "aac", tone(1, 44_100).T, 44_100, "mp4")
    (tmp_path / "c.dat.amr").write_bytes(b"#!AMR\n" + 20 * (b"\x3c" + bytes(31)))
    soundfile.write(tmp_path / "d.wav", tone(1), 16_000)
    monkeypatch.setitem(sys.modules, "av", None)
    rows = enhance_paths([tmp_path], tmp_path / "out", identity_enhancer())
    cure = "needs PyAV: pip install 'slimclean[av]'"
    assert [row.error for row in rows] == [f"WAV with G.726 {cure}", f"MP4 {cure}", f"AMR {cure}", ""]
