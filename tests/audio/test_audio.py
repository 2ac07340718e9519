"""Reading and writing: what goes in comes out, and what is no recording says so in one line."""

from __future__ import annotations

import os

import numpy as np
import pytest
import soundfile
from conftest import voice

from slimclean import audio
from slimclean.audio import AudioReader, AudioWriter
from slimclean.errors import AudioError

PCM = [("PCM_U8", 8), ("PCM_16", 16), ("PCM_24", 24), ("PCM_32", 32)]


def copy(source, target):
    with AudioReader(source) as reader:
        with AudioWriter(target, audio.output_info(reader.info, target)) as writer:
            for block in reader.blocks(1000):
                writer.write(block)
            writer.commit()
        return reader.info


@pytest.mark.parametrize(("subtype", "bits"), PCM)
@pytest.mark.parametrize("channels", [1, 3])
def test_integer_formats_are_copied_bit_for_bit(tmp_path, subtype, bits, channels):
    rng = np.random.default_rng(0)
    whole = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (2500, channels))
    if bits == 32:
        whole = whole // 256 * 256  # what float32 can hold
    source, target = tmp_path / "in.wav", tmp_path / "out.wav"
    soundfile.write(source, (whole * 2 ** (32 - bits)).astype(np.int32), 22_050, subtype)
    info = copy(source, target)
    assert audio.probe(target) == info
    before, after = (soundfile.read(p, dtype="int32")[0] for p in (source, target))
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("name", "subtype", "rate"),
    [
        ("a.flac", "PCM_16", 44_100),
        ("a.wav", "FLOAT", 48_000),
        ("a.wav", "ULAW", 8_000),
        ("a.aiff", "PCM_24", 96_000),
    ],
)
def test_other_formats_are_copied(tmp_path, name, subtype, rate):
    source, target = tmp_path / name, tmp_path / f"out-{name}"
    soundfile.write(source, voice(0.2, rate), rate, subtype)
    copy(source, target)
    assert audio.probe(target) == audio.probe(source)
    before, after = (soundfile.read(p)[0] for p in (source, target))
    np.testing.assert_allclose(after, before, atol=1e-7)


@pytest.mark.parametrize(("name", "rate"), [("a.ogg", 44_100), ("a.opus", 48_000), ("a.mp3", 44_100)])
def test_lossy_formats_keep_length_rate_and_time(tmp_path, name, rate):
    source, target = tmp_path / name, tmp_path / f"out-{name}"
    kind = {"a.opus": ("OGG", "OPUS"), "a.ogg": ("OGG", "VORBIS"), "a.mp3": ("MP3", None)}[name]
    x = np.random.default_rng(0).normal(0, 0.05, rate)
    soundfile.write(source, x, rate, kind[1], format=kind[0])
    copy(source, target)
    before, after = (audio.read(p)[0][0] for p in (source, target))
    assert audio.probe(target).sample_rate == rate
    assert len(after) == len(before)
    lag = np.argmax(np.correlate(after[8000:20000], before[10000:18000], "valid")) - 2000
    assert abs(lag) <= 1


def test_the_extension_asks_for_the_container(tmp_path):
    source = tmp_path / "a.wav"
    soundfile.write(source, voice(0.1), 16_000, "PCM_24")
    for name, wanted in {
        "b.flac": ("FLAC", "PCM_24"),
        "b.opus": ("OGG", "OPUS"),
        "b.ogg": ("OGG", "VORBIS"),
    }.items():
        copy(source, tmp_path / name)
        info = audio.probe(tmp_path / name)
        assert (info.format, info.subtype) == wanted


def test_loud_samples_are_clamped_and_counted(tmp_path):
    info = audio.AudioInfo(16_000, 1, 0, "WAV", "PCM_16")
    with AudioWriter(tmp_path / "a.wav", info) as writer:
        writer.write(np.array([[0.5, 1.5, -2.0, 1.0]], np.float32))
        writer.commit()
    assert writer.clipped == 2
    assert soundfile.read(tmp_path / "a.wav", dtype="int16")[0].tolist() == [16384, 32767, -32768, 32767]


def test_without_commit_nothing_is_left(tmp_path):
    info = audio.AudioInfo(16_000, 1, 0, "WAV", "PCM_16")
    with AudioWriter(tmp_path / "a.wav", info) as writer:
        writer.write(np.zeros((1, 10), np.float32))
    assert list(tmp_path.iterdir()) == []


def test_bad_files_say_why(tmp_path):
    def written(name: str, data: bytes):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    whole = tmp_path / "whole.wav"
    soundfile.write(whole, voice(0.5), 16_000, "FLOAT")
    data = whole.read_bytes()
    nan = np.zeros(100, np.float32)
    nan[7] = np.nan
    soundfile.write(tmp_path / "nan.wav", nan, 16_000, "FLOAT")
    cases = {
        written("empty.wav", b""): "empty",
        written("text.wav", b"this is not audio, whatever its name says"): "not a readable recording",
        written("head.wav", data[:20]): "not a readable recording",
        written("cut.wav", data[:-2000]): "truncated: 30000 of 32000 bytes",
        tmp_path / "nan.wav": "NaN",
        tmp_path / "absent.wav": "no such file",
        tmp_path: "is a directory",
    }
    flac = tmp_path / "cut.flac"
    soundfile.write(flac, voice(2.0), 16_000)
    cases[written("cut.flac", flac.read_bytes()[:-9000])] = "truncated|damaged"
    for path, message in cases.items():
        with pytest.raises(AudioError, match=message) as caught:
            audio.read(path)
        assert "\n" not in str(caught.value)


def test_a_wav_from_a_pipe_does_not_know_its_length(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, voice(0.5), 16_000, "PCM_16")
    data = bytearray(path.read_bytes())
    start = data.index(b"data") + 4
    data[start : start + 4] = b"\xff" * 4
    path.write_bytes(data)
    assert audio.read(path)[0].shape == (1, 8_000)


def test_what_is_cut_short_is_never_taken_for_whole(tmp_path):
    x = np.random.default_rng(0).normal(0, 0.05, 96_000)
    for name, kind in (("a.mp3", ("MP3", None)), ("a.ogg", ("OGG", "VORBIS")), ("a.opus", ("OGG", "OPUS"))):
        path = tmp_path / name
        soundfile.write(path, x, 48_000, kind[1], format=kind[0])
        data = path.read_bytes()
        whole = audio.read(path)[0].shape[1]
        for part in (1000, 5000):
            path.write_bytes(data[:part])
            try:
                assert audio.read(path)[0].shape[1] < whole / 2
                assert audio.probe(path).samples < whole / 2  # as its own header says
            except AudioError:
                pass
        holed = bytearray(data)
        holed[len(data) // 2 : len(data) // 2 + 4000] = bytes(4000)
        path.write_bytes(holed)
        if name != "a.mp3":  # whose decoder skips over damage and keeps the time
            with pytest.raises(AudioError, match=r"truncated|damaged|malformed"):
                audio.read(path)
    path = tmp_path / "crashed.wav"
    soundfile.write(path, x, 48_000, "PCM_16")
    data = bytearray(path.read_bytes())
    start = data.index(b"data") + 4
    data[start : start + 4] = bytes(4)
    path.write_bytes(data)
    assert audio.read(path)[0].shape == (1, 96_000)  # the recorder died; its header says 0 bytes


@pytest.mark.parametrize("container", ["WAV", "RF64"])
def test_a_header_that_is_cut_short_is_no_empty_recording(tmp_path, container):
    path = tmp_path / "a.wav"
    soundfile.write(path, voice(0.1), 16_000, "PCM_16", format=container)
    data = path.read_bytes()
    for size in range(1, data.index(b"data") + 8):
        path.write_bytes(data[:size])
        with pytest.raises(AudioError):
            audio.read(path)


def test_a_flac_from_a_pipe_is_read(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, voice(0.5), 16_000)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the length in STREAMINFO: unknown
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert audio.probe(path).samples == 8_000
    assert audio.read(path)[0].shape == (1, 8_000)


def test_long_blocks_are_encoded_in_pieces(tmp_path):
    """Sixteen seconds at 192 kHz in one call overflow the stack of the Vorbis encoder."""
    info = audio.AudioInfo(192_000, 1, 0, "OGG", "VORBIS")
    with AudioWriter(tmp_path / "a.ogg", info) as writer:
        writer.write(np.zeros((1, 16 * 192_000), np.float32))
        writer.commit()
    assert audio.probe(tmp_path / "a.ogg").samples == 16 * 192_000


def test_rf64_stays_rf64_under_the_name_wav(tmp_path):
    source = tmp_path / "a.wav"
    soundfile.write(source, voice(0.1), 16_000, "PCM_16", format="RF64")
    copy(source, tmp_path / "b.wav")
    assert audio.probe(tmp_path / "b.wav").format == "RF64"


def test_absurd_headers_are_refused(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros((10, 65), np.float32), 16_000)
    with pytest.raises(AudioError, match="65 channels"):
        audio.probe(path)
    soundfile.write(path, np.zeros(10, np.float32), 900_000)
    with pytest.raises(AudioError, match="900000 Hz"):
        audio.probe(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files_say_so(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, voice(0.1), 16_000)
    path.chmod(0)
    with pytest.raises(AudioError, match="permission denied"):
        audio.read(path)


def test_what_cannot_be_written_names_the_fix(tmp_path):
    with pytest.raises(AudioError, match="48000"):
        AudioWriter(tmp_path / "a.opus", audio.AudioInfo(44_100, 1, 0, "OGG", "OPUS"))
    (tmp_path / "file").touch()
    in_a_file = tmp_path / "file" / "b.wav"
    with pytest.raises(AudioError, match="cannot write"):
        AudioWriter(in_a_file, audio.AudioInfo(44_100, 1, 0, "WAV", "PCM_16"))


def test_walk_skips_hidden_and_foreign_files(tmp_path):
    for name in ("b.wav", "a/c.FLAC", "notes.txt", ".hidden.wav", ".git/d.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name, text in (("README", "MAC addresses of the recorders"), ("TODO", "The free text\tof it\r\n")):
        (tmp_path / name).write_text(text)  # like Monkey's Audio, and like MP4
    assert [p.relative_to(tmp_path).as_posix() for p in audio.walk(tmp_path)] == ["b.wav", "a/c.FLAC"]
