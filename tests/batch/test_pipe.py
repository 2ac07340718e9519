"""Standard input and output, with real processes."""

from __future__ import annotations

import io
import shlex
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import identity_enhancer, voice

from slimclean import Enhancer
from slimclean.audio import OutputForm
from slimclean.batch.pipe import STREAM, enhance_pipe, read_text
from slimclean.errors import UsageError


class Stream(io.BytesIO):
    """A pipe, or a terminal."""

    def __init__(self, data: bytes = b"", *, terminal: bool = False) -> None:
        super().__init__(data)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def encoded(x, rate=16_000, container="WAV", subtype=None) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, x, rate, subtype, format=container)
    return out.getvalue()


@pytest.mark.parametrize("container", ["WAV", "FLAC", "AIFF", "OGG", "MP3"])
def test_a_stream_keeps_its_container(container):
    out = Stream()
    given = encoded(voice(1.0, 44_100), 44_100, container)
    result = enhance_pipe(STREAM, STREAM, (Stream(given), out), identity_enhancer(), OutputForm())
    assert (result.status, result.file, result.output) == ("enhanced", "-", "-"), result.error
    before, after = (soundfile.info(io.BytesIO(data)) for data in (given, out.getvalue()))
    assert (after.format, after.subtype, after.samplerate) == (before.format, before.subtype, 44_100)


def test_a_form_changes_the_stream(tmp_path):
    out = Stream()
    enhance_pipe(STREAM, STREAM, (Stream(encoded(voice(0.2))), out), identity_enhancer(), OutputForm(".flac"))
    assert out.getvalue().startswith(b"fLaC")
    soundfile.write(tmp_path / "a.flac", voice(0.2), 16_000)
    out = Stream()
    result = enhance_pipe(tmp_path / "a.flac", STREAM, (Stream(), out), identity_enhancer(), OutputForm(".wav"))
    assert out.getvalue().startswith(b"RIFF")
    assert result.file == str(tmp_path / "a.flac")
    streams = (Stream(out.getvalue()), Stream())
    enhance_pipe(STREAM, tmp_path / "b.wav", streams, identity_enhancer(), OutputForm())
    assert soundfile.info(tmp_path / "b.wav").frames == 3200


def test_a_bad_stream_gives_nothing():
    out = Stream()
    result = enhance_pipe(STREAM, STREAM, (Stream(b"noise"), out), identity_enhancer(), OutputForm())
    assert result.status == "failed"
    assert "not a readable recording" in result.error
    assert out.getvalue() == b""


def test_no_sound_for_a_terminal():
    with pytest.raises(UsageError, match="terminal"):
        enhance_pipe(STREAM, STREAM, (Stream(), Stream(terminal=True)), identity_enhancer(), OutputForm())


def test_lists_come_from_files_and_streams(tmp_path):
    (tmp_path / "list").write_bytes(b"a.wav\nl\xe9.wav\n")
    assert read_text(tmp_path / "list", Stream()) == "a.wav\nl\udce9.wav\n"
    assert read_text(STREAM, Stream(b"b.wav")) == "b.wav"
    with pytest.raises(UsageError, match="No such file"):
        read_text(tmp_path / "absent", Stream())


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
def test_a_shell_pipeline(tmp_path, weights):
    """A source that cannot know its length | slimclean | a file, as with ffmpeg on either side."""
    x = (voice(1.2, 48_000) * 32767).astype("<i2")
    unknown = 0xFFFF_FFFF  # what ffmpeg writes for a pipe
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 48_000, 96_000, 2, 16)
    header = b"RIFF" + struct.pack("<I", unknown) + b"WAVE" + form + b"data" + struct.pack("<I", unknown)
    (tmp_path / "stream").write_bytes(header + x.tobytes())
    slimclean = f"{shlex.quote(sys.executable)} -m slimclean enhance - -o - --uf auto -m small.safetensors -q"
    line = f"cat stream | {slimclean} | cat > out.wav"
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    out, rate = soundfile.read(tmp_path / "out.wav")
    assert (rate, len(out)) == (48_000, len(x))
    wanted = Enhancer(model=weights)(x.astype(np.float32) / 32768, 48_000).waveform
    assert np.abs(out - wanted).max() < 2**-14
    assert not list(Path(tmp_path).glob("slimclean-*"))
