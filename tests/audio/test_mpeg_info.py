"""Where the sound of an MP3 begins and ends, at bit rates whose frames are too small for LAME to say it."""

from __future__ import annotations

import shutil
import struct
import subprocess

import numpy as np
import pytest
import soundfile
from conftest import identity_enhancer, voice
from scipy import signal

from slimclean import audio
from slimclean.audio import AudioInfo, AudioWriter, OutputForm
from slimclean.audio.mpeg_info import add_info_frame
from slimclean.batch.recording import enhance_file
from slimclean.batch.task import Task


def written(path, x, rate, kbits):
    """Write [C, T] as MP3; return what is read back, [T, C]."""
    info = AudioInfo(rate, len(x), 0, "MP3", "MPEG_LAYER_III", bit_rate=1000 * kbits)
    with AudioWriter(path, info) as writer:
        writer.write(x)
        writer.commit()
    return soundfile.read(path, always_2d=True)[0]


def lag(given, found):
    return int(signal.correlate(found, given).argmax()) - (len(given) - 1)


def test_a_file_that_is_cut_short_stays_as_it_is(tmp_path):
    """A full disk: reading it back then tells."""
    written(tmp_path / "x.mp3", voice(0.5, 16_000)[None], 16_000, 96)
    data = (tmp_path / "x.mp3").read_bytes()
    at = data.index(b"Info") - 21  # without LAME's own frame
    (tmp_path / "y.mp3").write_bytes(data[at + 432 :])
    add_info_frame(tmp_path / "y.mp3", 10**6)
    assert (tmp_path / "y.mp3").read_bytes() == data[at + 432 :]


@pytest.mark.parametrize(
    ("rate", "channels", "kbits"),
    [
        (8000, 1, 16),
        (12_000, 2, 24),
        (16_000, 1, 24),
        (22_050, 1, 32),
        (24_000, 2, 48),
        (44_100, 1, 40),
        (48_000, 2, 56),
    ],
)
def test_the_sound_begins_and_ends_where_it_did(tmp_path, rate, channels, kbits):
    x = np.tile(voice(0.77, rate), (channels, 1))
    path = tmp_path / "x.mp3"
    out = written(path, x, rate, kbits)
    assert out.shape == x.T.shape
    assert lag(x[0], out[:, 0]) == 0
    assert audio.probe(path).samples == x.shape[1]
    if shutil.which("ffmpeg"):
        command = ["ffmpeg", "-v", "error", "-i", path, "-f", "f32le", "-"]
        theirs = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, "<f4")
        assert len(theirs) == x.size
        assert lag(x[0], theirs[::channels]) == 0


@pytest.mark.parametrize("kbits", [24, 64])
def test_the_frame_says_what_it_has_to(tmp_path, kbits):
    """The one that is ours beside LAME's: frames, bytes, delay, padding; a checksum of what is before it."""
    path = tmp_path / "x.mp3"
    written(path, voice(1.0)[None], 16_000, kbits)
    data = path.read_bytes()
    at = data.index(b"Info")
    flags, frames, size = struct.unpack_from(">III", data, at + 4)
    gaps = int.from_bytes(data[at + 141 : at + 144], "big")
    assert (flags, size) == (15, len(data))
    assert frames * 576 - (gaps >> 12) - (gaps & 0xFFF) == 16_000
    assert gaps >> 12 == 576
    assert data[at + 120 : at + 124] == b"LAME"
    begin = at - 13  # the header, and nine bytes of side information: MPEG 2, mono
    checksum = 0
    for bit in np.unpackbits(np.frombuffer(data[begin : at + 154], np.uint8), bitorder="little"):
        checksum = checksum >> 1 ^ (0xA001 if (checksum ^ int(bit)) & 1 else 0)
    assert struct.unpack_from(">H", data, at + 154) == (checksum,)


def test_a_frame_that_is_there_stays_and_what_is_no_file_is_left_alone(tmp_path):
    path = tmp_path / "x.mp3"
    written(path, voice(0.5)[None], 16_000, 24)
    before = path.read_bytes()
    add_info_frame(path, 1)
    assert path.read_bytes() == before
    add_info_frame(tmp_path, 1)


def test_generations_do_not_wander(tmp_path):
    """Three rounds in place, with tags before the sound: the same length, no lag, the same bit rate."""
    path = tmp_path / "x.mp3"
    x = voice(1.3, 22_050)
    written(path, x[None], 22_050, 32)
    size = path.stat().st_size
    for _ in range(3):
        row = enhance_file(Task(path, path), identity_enhancer(), OutputForm())
        assert row.status == "enhanced", row.error
    out = soundfile.read(path)[0]
    assert len(out) == len(x)
    assert lag(x, out) == 0
    assert abs(path.stat().st_size - size) < 0.1 * size
