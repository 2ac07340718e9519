"""The sound of films and telephones through PyAV: its clock, its tracks, and what has no length of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
from fractions import Fraction

import numpy as np
import pytest
import soundfile
from conftest import identity_enhancer, run
from made import decoded_samples, muxed, tone

from slimclean import audio
from slimclean.audio import AudioReader, OutputForm
from slimclean.audio.av.clock import Clock
from slimclean.audio.formats import valid_bits
from slimclean.audio.kinds import holds_tracks, kind_of
from slimclean.audio.structure.view import Peek
from slimclean.batch.recording import enhance_file
from slimclean.batch.task import Task
from slimclean.errors import AudioError, UsageError

av = pytest.importorskip("av")
RATE = 48_000


def sound(seconds, rate=RATE, channels=1):
    return tone(seconds, rate, channels).T


def read(path, track=None):
    with AudioReader(path, track) as reader:
        return np.concatenate(list(reader.blocks(9_999)), axis=1), "; ".join(reader.warnings)


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "pcm_s16le"), ("a.webm", "libopus")])
def test_sound_that_starts_late_and_pauses_keeps_its_time(tmp_path, name, codec):
    x = sound(4)
    muxed(tmp_path / name, codec, x, RATE, at=((0.5, 0, 2), (4.5, 2, None)))
    after, told = read(tmp_path / name)
    assert after.shape[1] / RATE == pytest.approx(6.5, abs=0.01)
    assert not after[:, : int(0.49 * RATE)].any()
    assert not after[:, int(2.52 * RATE) : int(4.49 * RATE)].any()
    late, wanted = after[0, int(4.6 * RATE) : int(6.4 * RATE)], x[0, int(2.1 * RATE) : int(3.9 * RATE)]
    lag = np.argmax(np.correlate(late[1000:], wanted[2000:-2000], "valid")) - 1000
    assert abs(lag) < 0.01 * RATE
    assert re.search(r"starts 0\.50 s late.*pauses once, for 2\.00 s", told)


def test_a_transport_stream_counts_from_its_own_beginning(tmp_path):
    muxed(tmp_path / "a.ts", "mp2", sound(2), RATE, "mpegts")
    after, told = read(tmp_path / "a.ts")
    assert after.shape[1] == decoded_samples(tmp_path / "a.ts")
    assert told == ""


def packed_anew(data, size):
    """A transport stream's packets of 188 bytes as those of 192, a time before each, or 204, a check behind."""
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    return b"".join(bytes(4) + one if size == 192 else one + bytes(16) for one in packets)


@pytest.mark.parametrize("name", ["a.m2ts", "a.bin", "a.wav"])
@pytest.mark.parametrize("size", [192, 204])
def test_transport_streams_of_longer_packets_are_known_and_their_tracks_taken(tmp_path, name, size):
    path, plain = tmp_path / name, tmp_path / "plain.ts"
    muxed(plain, "mp2", sound(1), RATE, "mpegts", tracks=2)
    path.write_bytes(packed_anew(plain.read_bytes(), size))
    with path.open("rb") as file:
        assert kind_of(Peek(file), "").name == "MPEG transport stream"
    assert "2 sound tracks: number 1 was taken" in read(path)[1]
    assert np.abs(read(path, 1)[0]).max() > 1.8 * np.abs(read(path, 2)[0]).max()


def test_a_track_of_what_only_its_name_tells(tmp_path):
    """Behind bytes that are no packet, nothing else says what this is."""
    path = tmp_path / "a.ts"
    muxed(path, "mp2", sound(1), RATE, "mpegts", tracks=2)
    path.write_bytes(bytes(100) + path.read_bytes())
    assert np.abs(read(path, 1)[0]).max() > 1.8 * np.abs(read(path, 2)[0]).max()
    with pytest.raises(AudioError, match="has 2 sound tracks, not 3"):
        read(path, 3)
    for extension in ("wav", "pvf"):
        soundfile.write(tmp_path / f"b.{extension}", sound(0.1).T, RATE, format=extension)
        with pytest.raises(AudioError, match="has one sound track, not 2"):
            read(tmp_path / f"b.{extension}", 2)


@pytest.mark.parametrize("name", ["a.ts", "a.bin", "nameless"])
def test_what_holds_tracks_says_its_content(tmp_path, name):
    """As with how it is read: a transport stream's other tracks are kept, whatever it is called."""
    muxed(tmp_path / name, "mp2", sound(1), RATE, "mpegts", tracks=2)
    assert holds_tracks(tmp_path / name)
    result = enhance_file(Task(tmp_path / name, tmp_path / "b.mkv"), identity_enhancer())
    assert result.status == "enhanced", result.error
    with av.open(str(tmp_path / "b.mkv")) as film:
        assert len(film.streams.audio) == 2


def test_what_holds_one_track_only_is_no_film_by_its_name(tmp_path):
    for name in ("a.ts", "a.mpg", "a.ogv"):
        soundfile.write(tmp_path / name, sound(0.1).T, RATE, format="WAV")
        assert not holds_tracks(tmp_path / name)
    muxed(tmp_path / "b.ogv", "libopus", sound(0.1), RATE, "ogg")
    shutil.copy(tmp_path / "b.ogv", tmp_path / "b.ogg")
    assert (holds_tracks(tmp_path / "b.ogv"), holds_tracks(tmp_path / "b.ogg")) == (True, False)


def test_small_jitter_is_no_pause(tmp_path):
    """Matroska's times are whole milliseconds, and frames of AAC are not."""
    muxed(tmp_path / "a.mkv", "aac", sound(5, 44_100), 44_100)
    after, told = read(tmp_path / "a.mkv")
    assert after.shape[1] == decoded_samples(tmp_path / "a.mkv")
    assert told == ""


def test_of_two_tracks_the_default_one_is_taken_and_said(tmp_path):
    path = tmp_path / "a.mkv"
    muxed(path, "pcm_s16le", sound(1), RATE, tracks=2, default=1)
    first, second = read(path, 1)[0], read(path, 2)[0]
    after, told = read(path)
    assert np.abs(first).max() > 1.8 * np.abs(second).max()
    np.testing.assert_array_equal(after, second)
    assert told.startswith("2 sound tracks: number 2 was taken")
    assert read(path, 1)[1] == ""
    with pytest.raises(AudioError, match="has 2 sound tracks, not 3"):
        read(path, 3)


def test_a_track_that_nobody_decodes_is_passed_over(tmp_path):
    path = tmp_path / "film.mov"
    muxed(path, "aac", sound(1), RATE, tracks=2)
    data = bytearray(path.read_bytes())
    table = data.index(b"stsd")
    for old, new in ((b"mp4a", b"apac"), (b"esds", b"free")):
        at = data.index(old, table)
        data[at : at + 4] = new
    path.write_bytes(data)
    after, told = read(path)
    assert after.shape[1] == RATE
    assert "number 2 was taken, the first that can be decoded" in told
    with pytest.raises(AudioError, match="sound track 1: no decoder knows its codec"):
        read(path, 1)


def test_the_command_line_takes_a_track(tmp_path, weights):
    path = tmp_path / "a.mkv"
    muxed(path, "pcm_s16le", sound(0.5), RATE, tracks=2)
    outputs = {}
    for number in (1, 2):
        out = tmp_path / f"{number}.wav"
        result = run("enhance", path, "-o", out, "--track", number, "--model", weights, "--uf", 1, "--dry", 1)
        assert result.exit_code == 0, result.output
        outputs[number] = np.abs(audio.read(out)[0]).max()
    assert outputs[1] > 1.8 * outputs[2]
    assert run("enhance", path, "--track", 0).exit_code == 2
    with pytest.raises(UsageError, match="counts from 1"):
        OutputForm(track=0)


def test_raw_aac_has_no_length_but_that_of_its_sound(tmp_path):
    path = tmp_path / "a.aac"
    muxed(path, "aac", sound(20), RATE, "adts", options={"b": "32000"})
    after, told = read(path)
    assert after.shape[1] == decoded_samples(path)
    assert after.shape[1] / RATE == pytest.approx(20, abs=0.05)
    assert told == ""
    path.write_bytes(2 * path.read_bytes())
    assert read(path)[0].shape[1] / RATE == pytest.approx(40, abs=0.1)
    path.write_bytes(path.read_bytes()[:-100])
    assert "last packet is cut short" in read(path)[1]


def test_raw_aac_of_two_rates_goes_on_in_the_first(tmp_path):
    muxed(tmp_path / "a.aac", "aac", sound(2, 44_100), 44_100, "adts")
    muxed(tmp_path / "b.aac", "aac", sound(2, 22_050, 2), 22_050, "adts")
    both = tmp_path / "c.aac"
    both.write_bytes((tmp_path / "a.aac").read_bytes() + (tmp_path / "b.aac").read_bytes())
    after, told = read(both)
    assert after.shape[1] / 44_100 == pytest.approx(4, abs=0.15)
    assert after.shape[0] == 1
    assert "goes on with 22050 Hz, stereo" in told


@pytest.mark.parametrize(("kind", "bits"), [("s16p", 16), ("s32p", 24), ("fltp", 24)])
def test_wavpack_keeps_its_bits(tmp_path, kind, bits):
    muxed(tmp_path / "a.wv", "wavpack", 0.01 * sound(1), RATE, "wv", format=kind)
    for name in ("b.mka", "b.flac"):
        result = enhance_file(Task(tmp_path / "a.wv", tmp_path / name), identity_enhancer())
        assert result.status == "enhanced", result.error
        np.testing.assert_allclose(read(tmp_path / name)[0], read(tmp_path / "a.wv")[0], atol=2**-bits)
        with AudioReader(tmp_path / name) as reader:
            assert (valid_bits(reader.info) > 16) == (bits > 16)


def test_texts_that_wma_has_twice_are_there_once(tmp_path):
    """FFmpeg writes title and author both among the descriptions and among the attributes."""
    mutagen = pytest.importorskip("mutagen")
    with av.open(str(tmp_path / "a.wma"), "w", format="asf") as out:
        stream = out.add_stream("wmav2", rate=44_100, layout="mono", bit_rate=64_000)
        out.metadata.update({"title": "T", "artist": "Ann"})
        frame = av.AudioFrame.from_ndarray(sound(1, 44_100)[:1], format="fltp", layout="mono")
        frame.rate = 44_100
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    result = enhance_file(Task(tmp_path / "a.wma", tmp_path / "b.flac"), identity_enhancer())
    assert result.status == "enhanced", result.error
    tags = mutagen.File(tmp_path / "b.flac")
    assert (tags["title"], tags["artist"]) == (["T"], ["Ann"])


@pytest.mark.parametrize(
    ("name", "codec", "rate", "form"),
    [
        ("g722.wav", "g722", 16_000, "wav"),
        ("g726.wav", "g726", 8_000, "wav"),
        ("adpcm.wav", "adpcm_yamaha", 16_000, "wav"),
        ("a.ac3", "ac3", 48_000, "ac3"),
        ("a.mp2", "mp2", 48_000, "mp2"),
        ("a.wv", "wavpack", 48_000, "wv"),
        ("a.tta", "tta", 48_000, "tta"),
        ("a.g722", "g722", 16_000, "g722"),
        ("a.mka", "libopus", 48_000, "matroska"),
        ("a.avi", "libmp3lame", 44_100, "avi"),
        ("a.flv", "aac", 44_100, "flv"),
        ("a.wma", "wmav2", 44_100, "asf"),
        ("speex.spx", "libspeex", 16_000, "ogg"),
        ("ac3.mp3", "ac3", 48_000, "ac3"),
        ("aac.wave", "aac", 48_000, "adts"),
        ("flac.m4a", "flac", 48_000, "flac"),
        ("nameless", "aac", 48_000, "mp4"),
    ],
)
def test_what_is_named_like_this_or_like_that_is_read(tmp_path, name, codec, rate, form):
    path = tmp_path / name
    try:
        muxed(path, codec, sound(2, rate), rate, form, bit_rate=64_000 if codec == "wmav2" else None)
    except (av.error.FFmpegError, ValueError) as error:
        pytest.skip(f"this FFmpeg has no encoder for {codec}: {error}")
    after, told = read(path)
    assert after.shape[1] / rate == pytest.approx(decoded_samples(path) / rate, abs=0.05)
    assert after.shape[1] / rate == pytest.approx(2, abs=0.15)
    assert told == ""
    result = enhance_file(Task(path, tmp_path / "out.flac"), identity_enhancer())
    assert (result.status, result.error) == ("enhanced", "")


@pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="PyAV does not put WMA there, the program ffmpeg does"
)
def test_wma_in_matroska_does_not_start_with_silence(tmp_path):
    soundfile.write(tmp_path / "a.wav", sound(1, 44_100).T, 44_100)
    path = tmp_path / "a.mka"
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", "-c:a", "wmav2", path]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    after, told = read(path)
    assert after.shape[1] == decoded_samples(path)
    assert told == ""


def test_aac_in_wav_is_read_whole(tmp_path):
    """FFmpeg writes it so that nothing tells where a frame ends, and cannot read it again."""
    path = tmp_path / "a.wav"
    muxed(path, "aac", sound(4, 44_100), 44_100, "wav")
    after, told = read(path)
    assert after.shape[1] / 44_100 == pytest.approx(4, abs=0.1)
    assert np.abs(after[:, -20_000:-4_000]).max() > 0.05
    assert told == ""
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(AudioError, match="truncated"):
        read(path)


@pytest.mark.parametrize(("mark", "frame", "rate"), [
    (b"#!AMR\n", b"\x3c" + bytes(31), 8_000), (b"#!AMR-WB\n", b"\x44" + bytes(60), 16_000),
])  # fmt: skip
def test_a_telephone_s_recordings_are_read(tmp_path, mark, frame, rate):
    for name in ("a.amr", "b.wav"):
        (tmp_path / name).write_bytes(mark + 100 * frame)  # frames of 20 ms
        with AudioReader(tmp_path / name) as reader:
            assert reader.info.sample_rate == rate
            assert sum(block.shape[1] for block in reader.blocks(1_000)) == 2 * rate


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.avi"])
def test_films_that_are_cut_short_are_errors(tmp_path, name):
    codec = {"a.mp4": "aac", "a.mkv": "flac", "a.webm": "libopus", "a.avi": "libmp3lame"}[name]
    muxed(tmp_path / name, codec, sound(3), RATE)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(AudioError, match=r"truncated|damaged|not a readable"):
        read(tmp_path / name)


def test_the_row_has_what_the_reader_noticed(tmp_path):
    path = tmp_path / "late.mkv"
    muxed(path, "pcm_s16le", sound(1), RATE, at=((0.5, 0, None),), tracks=2)
    result = enhance_file(Task(path, tmp_path / "out.wav"), identity_enhancer())
    assert result.status == "enhanced"
    assert result.duration_s == pytest.approx(1.5, abs=0.002)
    assert "2 sound tracks" in result.warnings
    assert "starts 0.50 s late" in result.warnings


@pytest.mark.parametrize(
    ("name", "codec", "told"),
    [
        ("a.caf", "alac", "alac, cannot be encoded here: PCM_24 instead"),
        ("a.mka", "wmav2", "wmav2, cannot be encoded here: flac instead"),
        ("a.wav", "wmav2", "wmav2, cannot be encoded here: PCM_16 instead"),
    ],
)
def test_the_row_tells_of_an_encoding_that_becomes_another(tmp_path, name, codec, told):
    muxed(tmp_path / name, codec, sound(1), RATE, bit_rate=64_000)
    result = enhance_file(Task(tmp_path / name, tmp_path / f"b-{name}"), identity_enhancer())
    assert result.status == "enhanced", result.error
    assert result.warnings.count("cannot be encoded here") == 1
    assert f"its sound, {told}" in result.warnings


def test_a_clock_that_starts_hours_late_is_taken_from_there(tmp_path):
    """As in a cut of a long stream; not ten hours of silence."""
    path = tmp_path / "a.mkv"
    muxed(path, "pcm_s16le", sound(2), RATE, at=((36_000, 0, 1), (36_002, 1, None)))
    after, told = read(path)
    assert after.shape[1] / RATE == pytest.approx(3, abs=0.002)
    assert "its clock starts at 36000 s" in told


def test_a_pause_of_days_is_a_jump_of_the_clock(tmp_path):
    """The container's own length is reckoned from the same times; it was a month of silence."""
    path, samples = tmp_path / "a.mkv", 0
    muxed(path, "pcm_s16le", sound(2), RATE, at=((0, 0, 1), (30 * 86_400, 1, None)))
    with AudioReader(path) as reader:
        for block in reader.blocks(RATE):
            samples += block.shape[1]
            assert samples < 3 * RATE
        assert "times in the file jump: they were not followed there" in reader.warnings
    assert samples == pytest.approx(2 * RATE, abs=0.002 * RATE)


def test_a_pause_of_an_hour_stays_one():
    clock = Clock(RATE, Fraction(0), 2 * 3600.0)
    clock.heard(RATE)
    assert clock.ahead(Fraction(3601)) == 3600 * RATE
    assert Clock(RATE, Fraction(0), 2 * 3600.0).ahead(Fraction(3600)) == 3600 * RATE  # before the sound


def test_pauses_of_a_telephone_are_silence(tmp_path):
    """Frames without data (type 15), which FFmpeg does not decode, between frames of speech."""
    path, speech = tmp_path / "a.amr", b"\x3c" + bytes(31)
    path.write_bytes(b"#!AMR\n" + 40 * speech + 10 * b"\x7c" + 50 * speech)
    after, told = read(path)
    assert after.shape[1] == 2 * 8_000
    assert told == "pauses in which the telephone sent no sound are silence"


def test_a_chain_of_speex_is_read_to_its_end(tmp_path):
    path = tmp_path / "a.spx"
    try:
        muxed(path, "libspeex", sound(2, 16_000), 16_000, "ogg")
    except (av.error.FFmpegError, ValueError) as error:
        pytest.skip(f"this FFmpeg has no encoder for Speex: {error}")
    path.write_bytes(2 * path.read_bytes())
    assert read(path)[0].shape[1] / 16_000 == pytest.approx(4, abs=0.1)
