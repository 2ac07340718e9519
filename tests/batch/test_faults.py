"""Bad and odd recordings, a kind a line: what each gives, and what it says."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import identity_enhancer, voice
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from slimclean import audio
from slimclean.batch.recording import enhance_file
from slimclean.batch.run import enhance_paths
from slimclean.batch.task import Task
from slimclean.errors import UsageError

Maker = Callable[[Path], None]


def sound(rate=16_000, subtype=None, channels=1, seconds=0.2, container=None, gain=1.0) -> Maker:
    def make(path: Path) -> None:
        x = np.stack([gain * voice(seconds, rate, seed=c) for c in range(channels)], axis=1)
        soundfile.write(path, x, rate, subtype, format=container)

    return make


def samples(values, subtype="FLOAT", rate=16_000) -> Maker:
    return lambda path: soundfile.write(path, np.asarray(values), rate, subtype)


def data(content: bytes) -> Maker:
    return lambda path: path.write_bytes(content)


def cut(make: Maker, share: float) -> Maker:
    """The first `share` of what `make` writes."""

    def made(path: Path) -> None:
        make(path)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])

    return made


def damaged(make: Maker, start: float, stop: float) -> Maker:
    """What `make` writes with 0xAA in a part of it."""

    def made(path: Path) -> None:
        make(path)
        whole = bytearray(path.read_bytes())
        first, last = int(len(whole) * start), int(len(whole) * stop)
        whole[first:last] = b"\xaa" * (last - first)
        path.write_bytes(bytes(whole))

    return made


def wav_header(channels=1, rate=16_000, bits=16, data_bytes=32_000, there=32_000, kind=1) -> Maker:
    """A WAV file whose header says what it likes."""
    block = (channels * bits // 8) & 0xFFFF
    form = struct.pack("<HHIIHH", kind, channels & 0xFFFF, rate, rate * block & 0xFFFFFFFF, block, bits)
    body = (
        b"fmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", data_bytes)
        + b"\1\0" * (there // 2)
    )
    return data(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)


FAILS = "failed"
GOOD = "enhanced"

KINDS: dict[str, tuple[str, Maker, str, str]] = {
    # kind: (name, how it is made, status, what the error or the warnings hold)
    "empty file": ("a.wav", data(b""), FAILS, "the file is empty"),
    "one byte": ("a.wav", data(b"R"), FAILS, "not a readable recording"),
    "text": ("a.wav", data(b"Dear diary, " * 100), FAILS, "not a readable recording"),
    "zeros": ("a.flac", data(bytes(5000)), FAILS, "not a readable recording"),
    "a picture": ("a.ogg", data(b"\x89PNG\r\n\x1a\n" + bytes(500)), FAILS, "not a readable recording"),
    "an archive": ("a.mp3", data(b"PK\x03\x04" + bytes(500)), FAILS, "not a readable recording"),
    "a web page": ("a.opus", data(b"<html><body>404</body></html>"), FAILS, "not a readable recording"),
    "a script": ("a.wav", data(b"#!/bin/sh\nrm -rf /\n"), FAILS, "not a readable recording"),
    "a pickle": ("a.wav", data(b"\x80\x04\x95cposix\nsystem\n."), FAILS, "not a readable recording"),
    "a playlist named m4a": (
        "a.m4a",
        data(b"#EXTM3U\nfile:///etc/passwd\n"),
        FAILS,
        "not a readable recording",
    ),
    "a text named mp4": ("a.mp4", data(b"x" * 4000), FAILS, "not a readable recording"),
    "a header alone": ("a.wav", wav_header(data_bytes=32_000, there=0), FAILS, "truncated"),
    "half a header": ("a.wav", cut(wav_header(), 20 / 32_044), FAILS, "not a readable recording"),
    "WAV cut": ("a.wav", cut(sound(), 0.6), FAILS, "truncated"),
    "24-bit WAV cut": ("a.wav", cut(sound(subtype="PCM_24"), 0.5), FAILS, "truncated"),
    "FLAC cut": ("a.flac", cut(sound(), 0.5), FAILS, "damaged|truncated"),
    "FLAC damaged": ("a.flac", damaged(sound(seconds=2.0), 0.5, 0.6), FAILS, "damaged|truncated"),
    "AIFF cut": ("a.aiff", cut(sound(), 0.4), FAILS, "truncated|not a readable"),
    "CAF cut": ("a.caf", cut(sound(), 0.4), FAILS, "truncated|not a readable"),
    "Vorbis cut": ("a.ogg", cut(sound(seconds=3.0), 0.5), FAILS, "truncated|damaged|not a readable"),
    "Opus cut": (
        "a.opus",
        cut(sound(48_000, "OPUS", container="OGG", seconds=3.0), 0.5),
        FAILS,
        "truncated|damaged",
    ),
    "MP3 cut": ("a.mp3", cut(sound(seconds=3.0), 0.3), FAILS, "truncated|damaged"),
    "a header that claims 4 GB": ("a.wav", wav_header(data_bytes=0xFFFF_0000 - 1), GOOD, ""),
    "a header that claims 1 GB": ("a.wav", wav_header(data_bytes=1 << 30), FAILS, "truncated"),
    "a header of 65535 channels": ("a.wav", wav_header(channels=65_535), FAILS, "channels|not a readable"),
    "a header of no channels": ("a.wav", wav_header(channels=0), FAILS, "not a readable"),
    "65 channels": ("a.wav", sound(channels=65), FAILS, "65 channels are more than the 64"),
    "a rate of 0": ("a.wav", wav_header(rate=0), FAILS, "outside|not a readable"),
    "a rate of 1 Hz": ("a.wav", wav_header(rate=1), FAILS, "outside 1000 to 768000"),
    "a rate of 4 GHz": ("a.wav", wav_header(rate=0xFFFF_FFFF), FAILS, "outside|not a readable"),
    "an unknown codec": ("a.wav", wav_header(kind=0x7777), FAILS, "not a readable"),
    "13 bits": ("a.wav", wav_header(bits=13), GOOD, ""),
    "NaN": ("a.wav", samples([0.1, np.nan, 0.1]), FAILS, "NaN or infinite samples, first at 0.000 s"),
    "1e30": ("a.wav", samples([0.1, 0.1, 1e30]), FAILS, "absurdly large samples, first at 0.000 s"),
    "infinity": ("a.wav", samples([0.1] * 32_000 + [np.inf]), FAILS, "first at 2.000 s"),
    "no samples": ("a.wav", samples(np.zeros(0)), GOOD, ""),
    "one sample": ("a.wav", samples([0.5]), GOOD, ""),
    "digital silence": ("a.wav", samples(np.zeros(8000), "PCM_16"), GOOD, "silent"),
    "a constant": ("a.wav", samples(np.full(8000, 0.3)), GOOD, ""),
    "clipped": ("a.wav", sound(gain=9.0, subtype="PCM_16"), GOOD, "input clipped"),
    "beyond full scale": ("a.wav", sound(gain=9.0, subtype="FLOAT"), GOOD, ""),
    "very soft": ("a.wav", sound(gain=1e-4, subtype="FLOAT"), GOOD, ""),
    "8 bits": ("a.wav", sound(subtype="PCM_U8"), GOOD, ""),
    "32 bits": ("a.wav", sound(subtype="PCM_32"), GOOD, ""),
    "doubles": ("a.wav", sound(subtype="DOUBLE"), GOOD, ""),
    "mu-law": ("a.wav", sound(8_000, "ULAW"), GOOD, "nothing above 4 kHz"),
    "ADPCM": ("a.wav", sound(subtype="IMA_ADPCM"), GOOD, ""),
    "telephone": ("a.wav", sound(8_000, seconds=1.0), GOOD, "nothing above 4 kHz"),
    "1 kHz": ("a.wav", sound(1_000, seconds=1.0), GOOD, ""),
    "11,127 Hz": ("a.wav", sound(11_127), GOOD, ""),
    "96 kHz": ("a.flac", sound(96_000, "PCM_24"), GOOD, ""),
    "192 kHz": ("a.wav", sound(192_000), GOOD, ""),
    "12 channels": ("a.wav", sound(channels=12), GOOD, ""),
    "64 channels": ("a.wav", sound(channels=64, seconds=0.05), GOOD, ""),
    "WAV named flac": ("a.flac", sound(container="WAV"), GOOD, ""),
    "VOC of six channels": (
        "a.flac",
        sound(channels=6),
        FAILS,
        "VOC holds at most 2 channels, not 6; set `mono`",
    ),
    "Opus at 44.1 kHz": ("a.wav", sound(44_100), FAILS, "`sample_rate` 48000 or `extension` flac"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_has_its_row(tmp_path, kind):
    name, make, status, message = KINDS[kind]
    source = tmp_path / name
    make(source)
    before = source.read_bytes()
    destination = tmp_path / "out" / ("b.opus" if "Opus at" in kind else "b.voc" if "VOC of" in kind else name)
    result = enhance_file(Task(source, destination), identity_enhancer())
    assert result.status == status, result.error
    assert "\n" not in result.error
    assert "Error:" not in result.error  # of Python's own; ours say what to do
    if status == FAILS:
        import re

        assert re.search(message, result.error), result.error
        assert not destination.exists()
        assert not destination.parent.exists() or not list(destination.parent.iterdir())
    else:
        assert message in result.warnings
        then, now = audio.probe(source), audio.probe(destination)
        assert (now.samples, now.sample_rate, now.channels) == (then.samples, then.sample_rate, then.channels)
        assert then.subtype == now.subtype
    assert source.read_bytes() == before


def test_there_are_forty_kinds():
    assert len(KINDS) >= 40


@pytest.mark.skipif(sys.platform == "win32", reason="names that this system does not allow")
@pytest.mark.parametrize(
    "name",
    ["-o.wav", "--help.wav", "new\nline.wav", "tab\t.wav", "drei-ä-\u4e09.wav", "a" * 251 + ".wav",
     "%s {0}.wav", "q\"uo'te.wav", "*.wav", " .wav", "back\\slash.wav", os.fsdecode(b"latin-\xe9.wav")],
)  # fmt: skip
def test_any_name_is_a_name(tmp_path, name):
    folder = tmp_path / "in"
    folder.mkdir()
    sound()(folder / "plain.wav")
    (folder / "plain.wav").rename(folder / name)
    (result,) = enhance_paths([folder], tmp_path / "out", identity_enhancer(), report=tmp_path / "r.csv")
    assert result.status == "enhanced", result.error
    assert [p.name for p in (tmp_path / "out").iterdir()] == [name]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX files")
def test_what_is_no_regular_file(tmp_path):
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    sound()(folder / "good.wav")
    os.mkfifo(folder / "pipe.wav")
    (folder / "dangling.wav").symlink_to(tmp_path / "nothing")
    (folder / "itself.wav").symlink_to(folder / "itself.wav")
    (folder / "sub" / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "link.wav").symlink_to(folder / "good.wav")
    results = enhance_paths([folder], tmp_path / "out", identity_enhancer())
    rows = {Path(r.file).name: r for r in results}
    assert {name: r.status for name, r in rows.items()} == {
        "good.wav": "enhanced", "link.wav": "enhanced",
        "pipe.wav": "failed", "dangling.wav": "failed", "itself.wav": "failed",
    }  # fmt: skip
    assert "no regular file" in rows["pipe.wav"].error
    assert rows["dangling.wav"].error == "no such file"
    assert "symbolic links" in rows["itself.wav"].error


def test_outputs_stay_in_their_folder(tmp_path):
    """A link out of the tree is read, but what it leads to is written inside the output."""
    outside = tmp_path / "outside"
    outside.mkdir()
    sound()(outside / "secret.wav")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").symlink_to(outside / "secret.wav")
    before = (outside / "secret.wav").read_bytes()
    enhance_paths([tmp_path / "in"], tmp_path / "out", identity_enhancer())
    assert [p.name for p in outside.iterdir()] == ["secret.wav"]
    assert (outside / "secret.wav").read_bytes() == before
    assert not (tmp_path / "out" / "a.wav").is_symlink()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    sound(seconds=2.0)(tmp_path / "a.wav")
    monkeypatch.setattr("slimclean.audio.atomic._create", lambda *_: (Path("/dev/full"), None))
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    result = enhance_file(Task(tmp_path / "a.wav", tmp_path / "b.wav"), identity_enhancer())
    assert result.status == "failed"
    assert result.error == f"cannot write {tmp_path / 'b.wav'} (No space left on device)"
    assert not (tmp_path / "b.wav").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_the_system_says_why_nothing_can_be_written(tmp_path, suffix):
    """A file that may not grow any more, of which libsndfile says "System error"."""
    import resource

    source = tmp_path / "in.wav"
    soundfile.write(source, np.random.default_rng(0).uniform(-1, 1, 64_000), 16_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        row = enhance_file(Task(source, tmp_path / f"out{suffix}"), identity_enhancer())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert row.status == "failed"
    assert "File too large" in row.error
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.wav"]


def test_a_folder_that_cannot_be_made(tmp_path):
    """The plan refuses what is in the way then; what comes into it later costs the recording."""
    sound()(tmp_path / "a.wav")
    (tmp_path / "file").write_text("in the way")
    task = Task(tmp_path / "a.wav", tmp_path / "file" / "out.wav")
    with pytest.raises(UsageError, match="is a file, where a folder"):
        enhance_paths([task.source], task.destination, identity_enhancer())
    result = enhance_file(task, identity_enhancer())
    assert result.status == "failed"
    assert "cannot write" in result.error


ENCODINGS = [
    ("wav", "PCM_16", 15), ("wav", "PCM_24", 23), ("wav", "PCM_U8", 7), ("wav", "FLOAT", 22),
    ("flac", "PCM_16", 15), ("flac", "PCM_24", 22), ("aiff", "PCM_16", 15), ("w64", "PCM_32", 22),
]  # fmt: skip


@given(
    frames=st.integers(0, 40_000),
    rate=st.sampled_from([8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000]),
    channels=st.integers(1, 4),
    encoding=st.sampled_from(ENCODINGS),
)
@settings(max_examples=40, deadline=None)
def test_any_length_rate_channels_and_encoding(tmp_path_factory, frames, rate, channels, encoding):
    """An identity network gives every file back: same header, samples within a quantisation step."""
    extension, subtype, bits = encoding
    assume(frames or extension != "flac")  # libsndfile writes such a FLAC as a file of no bytes
    folder = tmp_path_factory.mktemp("any")
    source, destination = folder / f"a.{extension}", folder / f"b.{extension}"
    x = np.random.default_rng(frames).uniform(-0.9, 0.9, (frames, channels))
    soundfile.write(source, x, rate, subtype)
    result = enhance_file(Task(source, destination), identity_enhancer())
    assert result.status == "enhanced", result.error
    assert audio.probe(destination) == audio.probe(source)
    before, after = audio.read(source)[0], audio.read(destination)[0]
    assert np.abs(after - before).max(initial=0) <= 2.0**-bits + 3e-6  # of resampling, in float32
