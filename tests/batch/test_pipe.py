"""Standard input and output, with real processes."""

from __future__ import annotations

import errno
import io
import shlex
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio.films import make_film
from conftest import identity_enhancer, voice
from made import chunk, pcm, riff, wave_format

from slimclean import Enhancer
from slimclean.audio import OutputForm
from slimclean.audio.kinds import film_extension
from slimclean.audio.tags.chunks import content, walk
from slimclean.batch.inputs import parse_list, read_list
from slimclean.batch.pipe import enhance_pipe
from slimclean.batch.recording import enhance_file
from slimclean.batch.report import FileResult
from slimclean.batch.task import STREAM, Task
from slimclean.chunking import CONTEXT_S, FADE_S, HOP_S, LIVE_DELAY_S, LIVE_HOP_S, tail_s
from slimclean.errors import UsageError
from slimclean.model import ModelConfig


class Stream(io.BytesIO):
    """A pipe, or a terminal."""

    def __init__(self, data: bytes = b"", *, terminal: bool = False) -> None:
        super().__init__(data)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


FILMS = {".mov": "pcm_s24le", ".webm": "libopus", ".mkv": "pcm_s16le", ".m4a": "aac", ".mp4": "aac"}


@pytest.mark.parametrize(("extension", "codec"), FILMS.items())
def test_films_keep_their_container_and_encoding_through_a_pipe_and_without_a_name(tmp_path, extension, codec):
    av = pytest.importorskip("av")
    source = make_film(tmp_path / f"a{extension}", codec, voice(1.0, 48_000)[None], picture=extension != ".m4a")
    out = Stream()
    result = enhance_pipe(STREAM, STREAM, (Stream(source.read_bytes()), out), identity_enhancer(), OutputForm())
    assert result.status == "enhanced", result.error
    source.rename(tmp_path / "nameless")
    assert enhance_file(Task(tmp_path / "nameless", tmp_path / "b"), identity_enhancer()).status == "enhanced"
    (tmp_path / "c").write_bytes(out.getvalue())
    for name in ("b", "c"):
        assert film_extension(tmp_path / name) == extension
        with av.open(str(tmp_path / name)) as film:
            assert film.streams.audio[0].codec_context.name == codec.removeprefix("lib")


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


@pytest.mark.parametrize("form", [OutputForm(), OutputForm(extension=".flac")])
def test_what_a_caller_s_look_raises_is_a_warning(form):
    """The sound is through by then, whether it flowed or was spooled."""

    def look(*_):
        raise KeyError("mine")

    file = io.BytesIO()
    soundfile.write(file, voice(0.2), 16_000, format="WAV")
    out = Stream()
    result = enhance_pipe(STREAM, STREAM, (Stream(file.getvalue()), out), identity_enhancer(), form, look=look)
    assert (result.status, result.error) == ("enhanced", "")
    assert result.warnings.endswith("not drawn: KeyError: 'mine'")
    assert soundfile.info(io.BytesIO(out.getvalue())).frames == 3200


def test_no_sound_for_a_terminal():
    with pytest.raises(UsageError, match="terminal"):
        enhance_pipe(STREAM, STREAM, (Stream(), Stream(terminal=True)), identity_enhancer(), OutputForm())


def test_lists_come_from_files_and_streams(tmp_path):
    (tmp_path / "list").write_bytes(b"a.wav\nl\xe9.wav\n")
    assert read_list(tmp_path / "list", Stream()) == [Path("a.wav"), Path("l\udce9.wav")]
    assert read_list(STREAM, Stream(b"b.wav")) == [Path("b.wav")]
    with pytest.raises(UsageError, match="No such file"):
        read_list(tmp_path / "absent", Stream())


def test_lists_hold_any_name(tmp_path, monkeypatch):
    """One that begins like a comment, and those with characters at which Python would split lines."""
    monkeypatch.chdir(tmp_path)
    Path("#1 intro.wav").touch()
    names = ["#1 intro.wav", "a\u2028b.wav", "a\x85b.wav", "a\x0cb.wav", "a\x0bb\x1c.wav", "a\rb.wav"]
    for end in ("\n", "\r\n"):
        text = end.join(["# of today", f"#{'-' * 300}", "", *names])
        assert parse_list(Path("l"), text) == parse_list(Path("l"), text + end) == list(map(Path, names))
    assert parse_list(Path("l"), "a.wav\r") == [Path("a.wav")]


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


class SlowSource:
    """WAV of unknown length that comes 0.1 s at a time; `given_s` is what was taken of it."""

    def __init__(self, seconds: float, rate: int = 16_000, channels: int = 1) -> None:
        form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * 2 * channels, 2 * channels, 16)
        self._header = b"RIFF\xff\xff\xff\xffWAVE" + form + b"data\xff\xff\xff\xff"
        self._piece = (np.tile(voice(0.1, rate)[:, None], channels) * 32767).astype("<i2").tobytes()
        self._left, self._rest = round(seconds * 10), b""
        self.given_s = 0.0

    def read(self, count: int) -> bytes:
        found, self._header = self._header[:count], self._header[count:]
        return found

    def read1(self, count: int) -> bytes:
        if not self._rest and self._left:
            self._rest, self._left = self._piece, self._left - 1
            self.given_s += 0.1
        found, self._rest = self._rest[:count], self._rest[count:]
        return found


class Sink(Stream):
    """Notes how much of a source was taken when its first sound came out, and how far behind it was at most."""

    def __init__(self, source: SlowSource, bytes_per_s: int) -> None:
        super().__init__()
        self.source, self._bytes_per_s = source, bytes_per_s
        self.behind_s: list[float] = []
        self._sound = 0

    def write(self, data) -> int:
        if not data.startswith(b"RIFF"):
            self.behind_s.append(self.source.given_s - self._sound / self._bytes_per_s)
            self._sound += len(data)
        return super().write(data)


@pytest.mark.parametrize(("rate", "channels", "out_rate"), [(16_000, 1, None), (44_100, 2, 48_000)])
def test_wav_flows_with_the_stated_delay(rate, channels, out_rate):
    """An endless source would do: what goes out trails what comes in by the stated delay, and no more."""
    source = SlowSource(20, rate, channels)
    out = Sink(source, 2 * channels * (out_rate or rate))
    result = enhance_pipe(STREAM, STREAM, (source, out), identity_enhancer(), OutputForm(sample_rate=out_rate))
    assert result.status == "enhanced", result.error
    assert LIVE_DELAY_S < 6.5
    again_s = CONTEXT_S + FADE_S + tail_s(ModelConfig())
    told = f"{again_s / HOP_S:.1%} more in a long recording and {again_s / LIVE_HOP_S:.0%} in a pipe"
    assert told.replace("%", " %") in FileResult.__doc__
    assert max(out.behind_s) < LIVE_DELAY_S + 0.3
    assert len(out.behind_s) > 5
    x, found_rate = soundfile.read(io.BytesIO(out.getvalue()), always_2d=True)
    assert (len(x), found_rate, x.shape[1]) == (20 * (out_rate or rate), out_rate or rate, channels)
    assert result.duration_s == 20


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_what_flows_through_an_identity_is_the_same_file(subtype, channels):
    x = np.stack([voice(0.7, seed=seed) for seed in range(channels)], axis=1)
    given = encoded(x, subtype=subtype)
    out = Stream()
    result = enhance_pipe(STREAM, STREAM, (Stream(given), out), identity_enhancer(), OutputForm())
    assert result.status == "enhanced", result.error
    before, after = (soundfile.read(io.BytesIO(data))[0] for data in (given, out.getvalue()))
    step = 2.0**-7 if subtype == "PCM_U8" else 2.0**-15
    assert np.abs(before - after).max() <= step
    assert soundfile.info(io.BytesIO(out.getvalue())).subtype == subtype


def test_chunks_before_the_sound_and_masks_go_along():
    x = (voice(0.3) * 32767).astype("<i2").tobytes()
    note = b"LIST" + struct.pack("<I", 18) + b"INFOINAM" + struct.pack("<I", 6) + b"title\0"
    guid = bytes.fromhex("0100000000001000800000aa00389b71")
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 16_000, 32_000, 2, 16, 22, 16, 4) + guid
    body = b"WAVEfmt " + struct.pack("<I", 40) + form + note + b"data" + struct.pack("<I", len(x)) + x
    given = b"RIFF" + struct.pack("<I", len(body)) + body + b"cue " + struct.pack("<I", 4) + b"\0\0\0\0"
    out = Stream()
    result = enhance_pipe(STREAM, STREAM, (Stream(given), out), identity_enhancer(), OutputForm())
    assert result.status == "enhanced"
    assert out.getvalue()[: len(body) + 8 - len(x)] == given[: len(body) + 8 - len(x)]
    assert "12 bytes behind the sound were left out" in result.warnings  # outside the RIFF


TITLE = chunk(b"LIST", b"INFO" + chunk(b"INAM", b"Title\0"))
BEXT = chunk(b"bext", b"Reporter".ljust(602, b"\0"))


def flowed(given: bytes, form: OutputForm | None = None):
    """Return the row and the bytes of a stream that went through."""
    out = Stream()
    result = enhance_pipe(STREAM, STREAM, (Stream(given), out), identity_enhancer(), form or OutputForm())
    return result, out.getvalue()


@pytest.mark.parametrize("samples", [8000, 8001])
@pytest.mark.parametrize("tag", [b"RIFF", b"RF64"])
def test_chunks_behind_the_sound_go_along(samples, tag):
    sound = bytes([116, 140]) * (samples // 2) + b"\x80" * (samples % 2)
    form, data = wave_format(bits=8), chunk(b"data", sound)
    given = riff(form, data, TITLE, BEXT)
    if tag == b"RF64":
        sizes = struct.pack("<QQQI", len(given) - 8 + 36, samples, samples, 0)
        data = chunk(b"data", sound, size=0xFFFF_FFFF)
        given = riff(chunk(b"ds64", sizes), form, data, TITLE, BEXT, size=0xFFFF_FFFF, tag=tag)
    result, out = flowed(given)
    assert result.warnings == ""
    assert out[:8] == b"RIFF" + struct.pack("<I", len(out) - 8)
    assert out[44 + samples :] == b"\0" * (samples % 2) + TITLE + BEXT
    assert result.duration_s == samples / 16_000


def test_what_is_no_chunk_behind_the_sound_is_left_out_with_a_warning():
    for rest in (b"\1" * 100, chunk(b"data", b"\1" * 92), (TITLE + BEXT)[:100]):
        result, out = flowed(riff(wave_format(), chunk(b"data", pcm(0.5)), rest))
        assert "100 bytes behind the sound were left out" in result.warnings
        assert out[:8] == b"RIFF" + struct.pack("<I", len(out) - 8)
        assert out[44 + 16_000 :] == chunk(b"JUNK", bytes(92))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("riff_is_right", [True, False])
def test_sound_that_goes_on_behind_a_size_that_is_too_small_is_a_failure(bits, riff_is_right):
    sound = pcm(1.0) if bits == 16 else (128 + 90 * voice(1.0)).astype(np.uint8).tobytes()
    told = len(sound) // 4 + 1 if bits == 8 else len(sound) // 4
    given = riff(wave_format(bits=bits), chunk(b"data", sound, size=told))
    if not riff_is_right:
        given = given[:4] + struct.pack("<I", 36 + told) + given[8:]
    result, _ = flowed(given)
    assert (result.status, result.error) == (
        "failed",
        "its header says 0.25 s of sound and more follows; give it as a file",
    )


def test_another_wav_behind_the_first_is_a_failure():
    one = riff(wave_format(), chunk(b"data", pcm(0.5)))
    result, _ = flowed(one + one)
    assert (result.status, result.error) == (
        "failed",
        "its header says 0.50 s of sound and more follows; give it as a file",
    )


def test_no_sound_and_chunks_behind_it():
    """A size of 0 is unknown where sound follows, and none where a chunk does that the header counts."""
    given = riff(wave_format(), chunk(b"data", b""), TITLE)
    result, out = flowed(given)
    assert result.status == "enhanced", result.error
    assert result.duration_s == 0
    assert out == given
    result, out = flowed(riff(wave_format(), chunk(b"data", pcm(0.5), size=0)))
    assert result.status == "enhanced", result.error
    assert result.duration_s == 0.5
    assert len(out) == 44 + 16_000


CUE = chunk(b"cue ", struct.pack("<III4sIII", 1, 7, 4000, b"data", 0, 0, 4000))
TIMED_BEXT = chunk(b"bext", (b"Reporter".ljust(338, b"\0") + struct.pack("<QH", 48_000, 2)).ljust(602, b"\1"))
XML = b"<BWFXML><FILE_SAMPLE_RATE>16000</FILE_SAMPLE_RATE><AUDIO_BIT_DEPTH>%s</AUDIO_BIT_DEPTH></BWFXML>"


def contents(path: Path) -> dict[bytes, bytes]:
    return {found.name: content(path, found) for found in walk(path).chunks}


@pytest.mark.parametrize("rate", [8000, 16_000])
@pytest.mark.parametrize("behind", [False, True])
def test_chunks_change_with_the_sound_as_in_files(tmp_path, rate, behind):
    """Before the sound to the byte; behind it, where lengths are fixed, without a line of coding history."""
    timed = (TIMED_BEXT, CUE, chunk(b"iXML", XML % b"16"), chunk(b"PEAK", bytes(16)))
    sound = chunk(b"data", pcm(0.5))
    given = riff(wave_format(), sound, *timed) if behind else riff(wave_format(), *timed, sound)
    (tmp_path / "in.wav").write_bytes(given)
    form = OutputForm(sample_rate=rate)
    task = Task(tmp_path / "in.wav", tmp_path / "file.wav")
    assert enhance_file(task, identity_enhancer(), form).status == "enhanced"
    result, out = flowed(given, form)
    assert result.warnings == ""
    (tmp_path / "pipe.wav").write_bytes(out)
    file, pipe = contents(tmp_path / "file.wav"), contents(tmp_path / "pipe.wav")
    assert struct.unpack_from("<I", pipe[b"cue "], 8) == (4000 * rate // 16_000,)
    assert struct.unpack_from("<Q", pipe[b"bext"], 338) == (48_000 * rate // 16_000,)
    assert b"PEAK" not in pipe
    assert pipe[b"cue "] == file[b"cue "]
    assert pipe[b"iXML"].rstrip() == file[b"iXML"].rstrip()
    assert pipe[b"bext"] == file[b"bext"][:602] if behind else file[b"bext"]
    assert out[:8] == b"RIFF" + struct.pack("<I", len(out) - 8)


def test_a_chunk_behind_the_sound_that_would_be_longer_stays_with_a_warning():
    xml = chunk(b"iXML", XML % b"8")
    result, out = flowed(riff(wave_format(), chunk(b"data", pcm(0.5)), xml, CUE), OutputForm(subtype="PCM_16"))
    assert result.warnings == "iXML behind the sound stays as it was, for its length is fixed"
    assert out.endswith(xml + CUE)


@pytest.mark.parametrize("subtype", [None, "FLOAT"])
def test_masks_and_valid_bits_go_along_where_the_rate_changes(subtype):
    guid = bytes.fromhex("000000001000800000aa00389b71")
    extra = struct.pack("<HHIH", 22, 12, 0x60F, 1) + guid
    given = riff(wave_format(0xFFFE, 6, extra=extra), chunk(b"data", 6 * pcm(0.5)))
    _, out = flowed(given, OutputForm(sample_rate=8000, subtype=subtype))
    bits, valid, kind = (32, 32, 3) if subtype else (16, 12, 1)
    extra = struct.pack("<HHIH", 22, valid, 0x60F, kind) + guid
    assert out[12:60] == wave_format(0xFFFE, 6, 8000, bits, extra)
    assert soundfile.info(io.BytesIO(out)).channels == 6
    _, out = flowed(given, OutputForm(mono=True))
    assert out[12:36] == wave_format()


@pytest.mark.parametrize(
    "given",
    [
        riff(chunk(b"ds64", bytes(8)), wave_format(), chunk(b"data", pcm(0.5), size=0xFFFF_FFFF), tag=b"RF64"),
        riff(chunk(b"ds64", b""), wave_format(), chunk(b"data", pcm(0.5), size=0xFFFF_FFFF), tag=b"RF64"),
        riff(wave_format(), chunk(b"LIST", b"INFO!", pad=False), BEXT, chunk(b"data", pcm(0.5))),
    ],
)
def test_headers_that_do_not_flow_are_spooled(given):
    result, out = flowed(given)
    assert (result.status, result.duration_s) == ("enhanced", 0.5), result.error
    assert soundfile.info(io.BytesIO(out)).frames == 8000


@pytest.mark.parametrize(
    "given",
    [
        riff(chunk(b"fmt ", bytes(14)), chunk(b"data", pcm(0.5))),
        riff(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 0, 0, 0, 0, 0)), chunk(b"data", pcm(0.5))),
        riff(chunk(b"fmt ", bytes(16), size=0xFFFF_FFFF), chunk(b"data", pcm(0.5))),
        riff(chunk(b"ds64", b"\xff" * 8, size=0xFFFF_FFFF), tag=b"RF64"),
    ],
)
def test_headers_that_make_no_sense_are_failures(given):
    result, out = flowed(given)
    assert (result.status, out) == ("failed", b"")
    assert result.error


def test_a_size_that_no_disk_holds_is_unknown():
    sizes = struct.pack("<QQQI", 1 << 63, 1 << 63, 0, 0)
    data = chunk(b"data", pcm(0.5), size=0xFFFF_FFFF)
    result, _ = flowed(riff(chunk(b"ds64", sizes), wave_format(), data, tag=b"RF64"))
    assert (result.status, result.duration_s) == ("enhanced", 0.5), result.error


@pytest.mark.parametrize("form", [OutputForm(), OutputForm(".flac")])
def test_a_full_disk_behind_the_pipe_is_a_failure(form):
    class Full(Stream):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    streams = Stream(encoded(voice(1.0))), Full()
    result = enhance_pipe(STREAM, STREAM, streams, identity_enhancer(), form)
    assert (result.status, result.error, result.file) == ("failed", "No space left on device", "-")


def test_a_stream_that_cannot_be_read_is_a_failure(tmp_path):
    class Broken(Stream):
        def read(self, count=-1):
            raise OSError(errno.EIO, "Input/output error")

    for destination in (STREAM, tmp_path / "b.wav"):
        streams = Broken(), Stream()
        result = enhance_pipe(STREAM, destination, streams, identity_enhancer(), OutputForm())
        assert (result.status, result.error) == ("failed", "Input/output error")
        assert (result.file, result.output) == ("-", str(destination))


def test_a_stream_that_is_cut_short_flows_to_its_end_and_fails():
    given, out = encoded(voice(3.0))[:-20_000], Stream()
    result = enhance_pipe(STREAM, STREAM, (Stream(given), out), identity_enhancer(), OutputForm())
    assert (result.status, result.error) == ("failed", "truncated: 76000 of 96000 bytes of sound are there")
    assert len(out.getvalue()) == len(given)


@pytest.mark.parametrize("form", [OutputForm(".flac"), OutputForm(loudness_lufs=-20.0)])
def test_what_cannot_flow_is_spooled(form):
    out = Stream()
    result = enhance_pipe(STREAM, STREAM, (Stream(encoded(voice(1.0))), out), identity_enhancer(), form)
    assert result.status == "enhanced", result.error
    assert soundfile.info(io.BytesIO(out.getvalue())).frames == 16_000


def test_a_reader_that_left_ends_the_work():
    class Closed(Stream):
        def write(self, data):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        enhance_pipe(STREAM, STREAM, (Stream(encoded(voice(1.0))), Closed()), identity_enhancer(), OutputForm())


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux only")
@pytest.mark.long
def test_ten_hours_flow_in_bounded_memory(tmp_path, weights):
    command = [sys.executable, "-m", "slimclean", "enhance", "-", "-o", "-", "-m", str(weights), "-q"]
    piece = (np.random.default_rng(0).normal(0, 0.1, 60 * 16_000) * voice(60.0) * 32767).astype("<i2").tobytes()
    header = SlowSource(0).read(100)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        memory = []
        process.stdin.write(header)
        for _ in range(600):
            process.stdin.write(piece)
            status = Path(f"/proc/{process.pid}/status").read_text()
            memory.append(
                next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
            )
        process.stdin.close()
        assert process.wait() == 0
    assert max(memory[60:]) < 1.05 * max(memory[5:60])
