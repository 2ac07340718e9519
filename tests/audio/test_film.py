"""Films in, films out: what is copied is the same packet by packet, and the sound lies where it lay."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import soxr
from audio.films import heard, lag_samples, make_film, packets
from conftest import identity_enhancer, voice

from slimclean import audio
from slimclean.audio import AudioInfo, OutputForm
from slimclean.audio.av import tracks
from slimclean.audio.av.film import Film
from slimclean.audio.encodings import ENCODINGS
from slimclean.batch.recording import enhance_file
from slimclean.batch.run import enhance_paths
from slimclean.batch.task import Task
from slimclean.errors import AudioError

av = pytest.importorskip("av")
RATE = 48_000
LOSSY_MS = 1.0


def sound(seconds=2.0, channels=2, rate=RATE):
    """Voices in soft noise, which cross-correlation has no doubt about."""
    rng = np.random.default_rng(1)
    x = np.stack([voice(seconds, rate, seed) for seed in range(channels)])
    return (x + 0.01 * rng.normal(size=x.shape)).astype(np.float32)


def old_matroska(name):
    return name.endswith((".mkv", ".mka")) and av.library_versions["libavformat"] < (62, 12)


def enhanced(source, destination, form=None):
    result = enhance_file(Task(source, destination), identity_enhancer(), form)
    assert result.status == "enhanced", result.error
    return result


@pytest.mark.parametrize(
    ("name", "codec", "exact"),
    [
        ("a.mp4", "aac", False),
        ("a.mp4", "alac", True),
        ("a.mp4", "flac", True),
        ("a.m4v", "aac", False),
        ("a.mov", "pcm_s16le", True),
        ("a.mov", "pcm_s24le", True),
        ("a.mov", "pcm_s16be", True),
        ("a.mov", "pcm_mulaw", False),
        ("a.mov", "aac", False),
        ("a.mkv", "flac", True),
        ("a.mkv", "aac", False),
        ("a.mkv", "libopus", False),
        ("a.mkv", "pcm_f32le", True),
        ("a.mkv", "libmp3lame", False),
        ("a.mkv", "ac3", False),
        ("a.webm", "libopus", False),
    ],
)
def test_a_film_comes_out_as_it_was_but_for_its_sound(tmp_path, name, codec, exact):
    chapters = ((0, 1000, "One"), (1000, 2000, "Две"))
    source = make_film(tmp_path / name, codec, sound(), metadata={"title": "Gespräch"}, chapters=chapters)
    enhanced(source, tmp_path / "out" / name)
    target = tmp_path / "out" / name
    old, new = packets(source, "video"), packets(target, "video")
    assert [packet[1] for packet in new] == [packet[1] for packet in old]
    shifts = {after[2] - before[2] for before, after in zip(old, new, strict=True)}
    # FFmpeg before 8.1 starts Matroska at its encoder's delay: all tracks come so much later.
    assert shifts == {0} or (old_matroska(name) and max(shifts) - min(shifts) <= 1)
    (before, rate), (after, new_rate) = heard(source), heard(target)
    assert new_rate == rate
    assert after.shape[0] == before.shape[0]
    lag = lag_samples(before[0], after[0]) - max(shifts) * rate / 1000
    assert abs(lag) <= (0 if exact else LOSSY_MS / 1000 * rate)
    if exact:
        assert after.shape == before.shape
        np.testing.assert_allclose(after, before, atol=2**-14)
    with av.open(str(source)) as old, av.open(str(target)) as new:
        assert new.streams.audio[0].codec_context.name == old.streams.audio[0].codec_context.name
        assert new.streams.audio[0].codec_context.layout.name in ("stereo", "2 channels")
        assert new.streams.audio[0].metadata.get("language") == old.streams.audio[0].metadata.get("language")
        assert new.metadata["title"] == "Gespräch"
        assert [c["metadata"]["title"] for c in new.chapters()] == ["One", "Две"]
        assert [c["start"] * c["time_base"] for c in new.chapters()] == [0, 1]


@pytest.mark.parametrize(
    ("name", "codec", "most"),
    [
        ("a.mka", "ac3", 1535),
        ("a.mp4", "eac3", 1535),
        ("a.mkv", "mp2", 1151),
        ("a.mka", "aac", 1023),
        ("a.m4a", "aac", 0),
        ("a.mov", "mp3", 0),
        ("a.mp4", "opus", 0),
        ("a.webm", "vorbis", 1023),  # a page of Ogg holds it
        ("a.mka", "vorbis", 1023),
        ("a.mka", "flac", 0),
    ],
)
def test_no_encoder_keeps_the_end_of_the_sound(tmp_path, name, codec, most):
    """Lengths around those of whole frames: all is there, in its place, and not a frame more."""
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 5 * 1536))
    sounds = soxr.resample(noise.T, RATE // 8, RATE).T.astype(np.float32)
    for samples in (5 * 1536 - 1, 8 * 1152, 8 * 1152 - 400, 3000):
        x = sounds[:, :samples]
        key, bits = name[2:].upper(), 16 if codec == "flac" else None
        info = AudioInfo(RATE, 1, samples, key, codec.upper(), codec=codec, bits_per_sample=bits)
        with audio.AudioWriter(tmp_path / name, info) as writer:
            writer.write(x)
            writer.commit()
        y = audio.read(tmp_path / name)[0]
        late = lag_samples(x[0], y[0])
        assert late == 0 or old_matroska(name)
        assert 0 <= y.shape[1] - samples - late <= most
        end = np.stack([x[0, -240:], y[0, samples + late - 240 : samples + late]])
        assert np.corrcoef(end)[0, 1] > 0.9


def test_tta_becomes_flac(tmp_path):
    """FFmpeg cannot read the end of its own TTA in Matroska."""
    source = make_film(tmp_path / "a.mkv", "tta", sound(1.0), picture=False)
    result = enhanced(source, tmp_path / "b.mkv")
    assert "tta, cannot be encoded here: flac instead" in result.warnings
    np.testing.assert_allclose(heard(tmp_path / "b.mkv")[0], heard(source)[0], atol=2**-14)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
@pytest.mark.parametrize("start_s", [Fraction(23, 1000), Fraction(1, 2)])
def test_sound_that_starts_late_stays_under_its_picture(tmp_path, name, start_s):
    codec = "pcm_s16le" if name != "a.mp4" else "alac"
    x = sound()
    source = make_film(tmp_path / name, codec, x, at=((float(start_s), 0, None),))
    enhanced(source, tmp_path / "out" / name)
    before, after = heard(source)[0], heard(tmp_path / "out" / name)[0]
    assert before.shape == after.shape == (2, x.shape[1] + round(start_s * RATE))
    np.testing.assert_allclose(after, before, atol=2**-14)


def test_a_pause_of_the_sound_stays_a_pause(tmp_path):
    x = sound(4.0)
    source = make_film(tmp_path / "a.mkv", "pcm_s16le", x, at=((0, 0, 2 * RATE), (3.5, 2 * RATE, None)))
    result = enhanced(source, tmp_path / "b.mkv")
    assert "pauses" in result.warnings or not result.warnings
    np.testing.assert_allclose(heard(tmp_path / "b.mkv")[0], heard(source)[0], atol=2**-14)


def test_what_the_new_sound_makes_untrue_is_not_kept(tmp_path):
    """Loudness, and the delay of the old encoder, of the film and of its track."""
    untrue = {
        "iTunNORM": " 00000001",
        "iTunSMPB": " 0 1 2",
        "REPLAYGAIN_TRACK_GAIN": "-3 dB",
        "R128_TRACK_GAIN": "1",
    }
    source = make_film(tmp_path / "a.mkv", "flac", sound(0.5), metadata={"title": "T", **untrue})
    enhanced(source, tmp_path / "b.mkv")
    with av.open(str(tmp_path / "b.mkv")) as film:
        keys = {key.lower() for key in (*film.metadata, *film.streams.audio[0].metadata)}
    assert "title" in keys
    assert not keys & {key.lower() for key in untrue}


def test_other_sounds_and_attachments_are_copied(tmp_path):
    font = bytes(range(256)) * 20
    source = make_film(
        tmp_path / "a.mkv",
        "flac",
        sound(),
        sounds=2,
        attachments=(("f.ttf", "application/x-truetype-font", font),),
    )
    enhanced(source, tmp_path / "b.mkv")
    second = [packet for packet in packets(source, "audio") if packet[0] == 2]
    assert [packet for packet in packets(tmp_path / "b.mkv", "audio") if packet[0] == 2] == second
    with av.open(str(tmp_path / "b.mkv")) as film:
        kept = next(stream for stream in film.streams if stream.type == "attachment")
        assert (kept.name, kept.mimetype, kept.data) == ("f.ttf", "application/x-truetype-font", font)


def test_the_sound_alone_on_request(tmp_path):
    source = make_film(tmp_path / "a.mp4", "aac", sound(), metadata={"title": "T"}, chapters=((0, 900, "One"),))
    (result,) = enhance_paths([source], tmp_path / "out", identity_enhancer(), form=OutputForm(".flac"))
    assert result.output == str(tmp_path / "out" / "a.flac")
    info = audio.probe(tmp_path / "out" / "a.flac")
    assert (info.format, info.sample_rate, info.channels) == ("FLAC", RATE, 2)
    enhanced(source, tmp_path / "b.m4a")
    with av.open(str(tmp_path / "b.m4a")) as alone:
        assert [stream.type for stream in alone.streams if stream.type != "data"] == ["audio"]


@pytest.mark.parametrize("name", ["b.opus", "b.ogg", "b.flac", "b.wav"])
def test_of_a_film_that_cannot_come_out_as_one_the_picture_is_told_of(tmp_path, name):
    """Whoever encodes its sound."""
    source = make_film(tmp_path / "a.mkv", "aac", sound(0.5)).rename(tmp_path / "a.avi")
    assert "its picture is not kept" in enhanced(source, tmp_path / name).warnings


def test_what_a_container_cannot_hold_is_an_error_before_the_work(tmp_path):
    source = make_film(tmp_path / "a.mp4", "aac", sound(0.5))
    result = enhance_file(Task(source, tmp_path / "b.webm"), identity_enhancer())
    assert "WEBM does not hold the video track (h264), .mp4 and .mov and .mkv can" in result.error
    assert result.mean_uf is None
    result = enhance_file(Task(source, tmp_path / "b.webm"), identity_enhancer(), OutputForm(subtype="VORBIS"))
    assert "WEBM does not hold the video track" in result.error
    assert not (tmp_path / "b.webm").exists()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_what_is_refused_leaves_no_file_open(tmp_path, monkeypatch):
    """Before the work and at its beginning, where a track is refused or, begun anew without data, all."""

    def is_open():
        return {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()} & mine

    source = make_film(tmp_path / "a.mp4", "aac", sound(0.5))
    mine = {str(tmp_path / name) for name in ("a.mp4", "b.webm")}
    info = AudioInfo(RATE, 2, RATE // 2, "WEBM", "OPUS", codec="opus", track=1)
    kept = []  # a caller that keeps the error keeps what its traceback refers to
    for path in (io.BytesIO(), tmp_path / "b.webm"):
        with pytest.raises(AudioError, match="WEBM does not hold the video track") as caught:
            Film(path, info, source)
        kept.append(caught)
        assert not is_open()
    closed = []

    def refuse(film, *, data):
        film._out = SimpleNamespace(close=lambda: closed.append(data))
        film._others = SimpleNamespace(has_data=True)
        raise av.error.InvalidDataError(0, "no")

    monkeypatch.setattr(Film, "_open", refuse)
    with pytest.raises(AudioError, match="cannot write WEBM"):
        Film(tmp_path / "b.webm", info, source)
    assert closed == [True, False]
    assert not is_open()


@pytest.mark.parametrize(
    ("channels", "codec"), [(1, "aac"), (6, "aac"), (6, "ac3"), (8, "flac"), (8, "aac"), (6, "flac")]
)
def test_every_channel_stays_in_its_place(tmp_path, channels, codec):
    x = np.zeros((channels, RATE), np.float32)
    for channel in range(channels):
        x[channel] = 0.2 * np.sin(2 * np.pi * (60 + 10 * channel) * np.arange(RATE) / RATE)
    source = make_film(tmp_path / "a.mkv", codec, x, bit_rate=64_000 * channels)
    enhanced(source, tmp_path / "b.mkv")
    after = heard(tmp_path / "b.mkv")[0]
    assert after.shape[0] == channels
    spectra = np.abs(np.fft.rfft(after[:, :RATE]))
    assert [int(spectrum.argmax()) for spectrum in spectra] == [
        60 + 10 * channel for channel in range(channels)
    ]


@pytest.mark.parametrize("codec", ["alac", "pcm_s24le"])
def test_24_bits_stay_24(tmp_path, codec):
    x = sound(0.5, 1)
    name = "a.m4a" if codec == "alac" else "a.mov"
    kind = "s32p" if codec == "alac" else None
    source = make_film(tmp_path / name, codec, x, sample_format=kind, picture=name == "a.mov")
    enhanced(source, tmp_path / f"b-{name}")
    enhanced(source, tmp_path / "b.flac")
    assert audio.probe(tmp_path / f"b-{name}").bits_per_sample == 24
    assert soundfile.info(tmp_path / "b.flac").subtype == "PCM_24"
    assert np.abs(heard(tmp_path / f"b-{name}")[0] - x).max() < 2**-20
    low = np.round(heard(tmp_path / f"b-{name}")[0] * 2**23).astype(int) & 0xFF
    assert len(np.unique(low)) > 100  # the lower eight bits are no zeros


@pytest.mark.parametrize(("codec", "kbits"), [("aac", 64), ("aac", 160), ("libopus", 32), ("libopus", 128)])
def test_films_keep_the_bit_rate_of_their_sound(tmp_path, codec, kbits):
    source = make_film(tmp_path / "a.mkv", codec, sound(4.0), bit_rate=1000 * kbits)
    enhanced(source, tmp_path / "b.mkv")
    sizes = [sum(len(p[1]) for p in packets(path, "audio")) for path in (source, tmp_path / "b.mkv")]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.2)
    enhanced(source, tmp_path / "c.mkv", OutputForm(bit_rate=96_000))
    asked = 8 * sum(len(p[1]) for p in packets(tmp_path / "c.mkv", "audio")) / 4
    assert asked == pytest.approx(96_000, rel=0.2)


@pytest.mark.parametrize("codec", ["opus", "flac", "alac", "aac", "ac3", "wavpack"])
@pytest.mark.parametrize("channels", range(1, 9))
def test_channels_keep_their_order(tmp_path, codec, channels):
    """Each has a tone of its own, but for what is a subwoofer's, which some encoders filter."""
    if channels > ENCODINGS[codec].channels:
        pytest.skip("not so many")
    time = np.arange(24_000) / RATE
    tones_hz = 200 + 150 * np.arange(channels)
    x = (0.1 * np.sin(2 * np.pi * tones_hz[:, None] * time)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", x.T, RATE)
    info = replace(audio.probe(tmp_path / "a.wav"), codec=codec)
    path = tmp_path / ("a.mp4" if codec == "alac" else "a.mkv")
    with audio.AudioWriter(path, audio.plan_output(info, tmp_path / "a.wav", path)) as writer:
        writer.write(x)
        writer.commit()
    y = audio.read(path)[0]
    found_hz = np.abs(np.fft.rfft(y[:, 4_000:20_000])).argmax(1) * RATE / 16_000
    told = np.abs(y[:, 4_000:20_000]).max(1) > 0.05
    assert told.sum() >= channels - (channels > 5)
    np.testing.assert_allclose(found_hz[told], tones_hz[told], atol=6)


def test_bit_rates_of_ac3_are_its_own(tmp_path):
    soundfile.write(tmp_path / "a.wav", sound(0.1, 6).T, RATE)
    info = replace(audio.probe(tmp_path / "a.wav"), codec="ac3")
    for asked, said in ((32_000, "64 to 640 .*rate` 64000"), (200_000, "certain bit rates .*rate` 192000")):
        with pytest.raises(AudioError, match=said):
            audio.plan_output(info, tmp_path / "a.wav", tmp_path / "a.mkv", OutputForm(bit_rate=asked))


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_a_derived_bit_rate_is_one_that_the_encoder_takes(tmp_path, rate):
    """That of Opus in stereo is more than mono can have; layer II has certain ones, fewer at half the rate."""
    source = make_film(tmp_path / "a.mkv", "mp2", sound(1.0, rate=rate), rate, bit_rate=384_000)
    measured = tracks.bit_rate(source, audio.probe(source))
    assert measured == pytest.approx(384_000, rel=0.002)  # times in milliseconds or not
    enhanced(source, tmp_path / "b.mkv")
    assert tracks.bit_rate(tmp_path / "b.mkv", audio.probe(tmp_path / "b.mkv")) == pytest.approx(
        384_000, rel=0.002
    )
    enhanced(source, tmp_path / "c.mkv", OutputForm(sample_rate=24_000))
    assert tracks.bit_rate(tmp_path / "c.mkv", audio.probe(tmp_path / "c.mkv")) == pytest.approx(
        160_000, rel=0.002
    )
    with pytest.raises(
        AudioError, match=r"MP2 takes certain bit rates from 32 to 384 kbit/s .*`bit_rate` 96000"
    ):
        audio.plan_output(audio.probe(source), source, tmp_path / "d.mkv", OutputForm(bit_rate=100_000))
    opus = make_film(tmp_path / "o.mkv", "libopus", sound(1.0), bit_rate=400_000)
    stored = audio.plan_output(audio.probe(opus), opus, tmp_path / "p.mkv", OutputForm(mono=True))
    assert stored.bit_rate == 256_000


def test_the_second_sound_track_on_request(tmp_path):
    x = sound(1.0)
    source = make_film(tmp_path / "a.mkv", "pcm_s16le", x, sounds=2)
    info = replace(audio.probe(source), track=2)
    stored = audio.plan_output(info, source, tmp_path / "b.mkv")
    with audio.AudioWriter(tmp_path / "b.mkv", stored, source) as writer:
        writer.write(-x)
        writer.commit()
    np.testing.assert_allclose(heard(tmp_path / "b.mkv", 0)[0], x, atol=2**-14)
    np.testing.assert_allclose(heard(tmp_path / "b.mkv", 1)[0], -x, atol=2**-14)


def test_what_is_measured_is_the_track_on_request(tmp_path):
    """In a film, which keeps the others, as in what holds that sound alone."""
    first, second = sound(1.0), sound(1.0)[::-1]
    two = make_film(tmp_path / "two.mkv", "pcm_s16le", first, sounds=2)
    stored = audio.plan_output(replace(audio.probe(two), track=2), two, tmp_path / "a.mkv")
    with audio.AudioWriter(tmp_path / "a.mkv", stored, two) as writer:
        writer.write(second)
        writer.commit()
    soundfile.write(tmp_path / "reference.wav", second.T, RATE, "FLOAT")
    form = OutputForm(track=2, loudness_lufs=-20.0)
    for name in ("b.mkv", "b.m4a", "b.flac"):
        task = Task(tmp_path / "a.mkv", tmp_path / name, tmp_path / "reference.wav")
        result = enhance_file(task, identity_enhancer(), form)
        assert result.status == "enhanced", result.error
        assert result.si_sdr_db > 10
        assert "sound track" not in result.warnings
        assert result.loudness_out_lufs == pytest.approx(-20, abs=0.2)


def two_lengths(path, codec, track_s=(3.0, 1.0)):
    """A film without a picture, of sound tracks of these lengths in s."""
    with av.open(str(path), "w") as film:
        streams = [film.add_stream(codec, rate=RATE, layout="mono") for _ in track_s]
        packets = []
        for stream, seconds in zip(streams, track_s, strict=True):
            frame = av.AudioFrame.from_ndarray(sound(seconds, 1), format="fltp", layout="mono")
            frame.rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            resampler = av.AudioResampler(stream.codec_context.format, "mono", RATE, stream.frame_size or None)
            for part in resampler.resample(frame):
                packets += stream.encode(part)
            packets += stream.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            film.mux(packet)
    return path


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "flac"), ("a.mp4", "aac")])
def test_the_length_that_is_checked_is_that_of_the_track(tmp_path, name, codec):
    """Tracks of other lengths lie beside it; it was compared with the first."""
    source = two_lengths(tmp_path / name, codec)
    for track, seconds in ((1, 3.0), (2, 1.0)):
        result = enhanced(source, tmp_path / "out" / name, OutputForm(track=track))
        assert result.duration_s == pytest.approx(seconds, abs=0.03)
        assert tracks.length_s(tmp_path / "out" / name, Fraction(0), track) == pytest.approx(seconds, abs=0.03)


def test_a_track_that_arrives_cut_off_is_an_error(tmp_path):
    """As long a track beside it does not hide that."""
    source = two_lengths(tmp_path / "a.mkv", "flac", (1.0, 1.0))
    stored = audio.plan_output(replace(audio.probe(source), track=2), source, tmp_path / "b.mkv")
    with audio.AudioWriter(tmp_path / "b.mkv", stored, source) as writer:
        writer.write(sound(0.5, 1))
        writer.samples = RATE
        with pytest.raises(AudioError, match="24000 of 48000 samples arrived"):
            writer.commit()


def test_a_track_behind_one_that_is_not_kept_is_checked_itself(tmp_path):
    source = two_lengths(tmp_path / "a.mov", "aac", (3.0, 1.0, 2.0))
    data = bytearray(source.read_bytes())
    for old, new in ((b"mp4a", b"apac"), (b"esds", b"free")):
        at = data.index(old, data.index(b"stsd"))
        data[at : at + 4] = new
    source.write_bytes(data)
    enhanced(source, tmp_path / "b.mov", OutputForm(track=2))
    assert len(heard(tmp_path / "b.mov", 0)[0][0]) == pytest.approx(RATE, abs=1024)


@pytest.mark.parametrize("name", ["b.m4a", "b.mp4", "b.webm", "b.mkv", "b.opus"])
@pytest.mark.parametrize("channels", [2, 6])
def test_pcm_of_a_film_without_places_for_its_channels(tmp_path, name, channels):
    source = make_film(tmp_path / "a.mkv", "pcm_s16le", sound(1.0, channels), picture=False)
    result = enhance_file(Task(source, tmp_path / name), identity_enhancer())
    assert result.status == "enhanced", result.error
    assert audio.probe(tmp_path / name).channels == channels


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_texts_that_are_no_utf8_cost_nothing(tmp_path, name):
    source = make_film(
        tmp_path / name, "aac", sound(0.5), metadata={"title": "Gespr__ch"}, chapters=((0, 500, "Kap__tel"),)
    )
    source.write_bytes(source.read_bytes().replace(b"__", b"\xe4\xe4"))
    enhanced(source, tmp_path / "out" / name)
    assert b"Gespr\xe4\xe4ch" in (tmp_path / "out" / name).read_bytes()
    assert b"Kap\xe4\xe4tel" in (tmp_path / "out" / name).read_bytes()


def test_no_sound_is_an_error_where_it_cannot_be_stored(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((0, 1)), RATE)
    for name in ("b.m4a", "b.mkv", "b.opus", "b.flac"):
        result = enhance_file(Task(tmp_path / "a.wav", tmp_path / name), identity_enhancer())
        assert "holds no sound, which" in result.error
    enhanced(tmp_path / "a.wav", tmp_path / "b.wav")
    soundfile.write(tmp_path / "a.wav", np.zeros((5, 1)), RATE)
    for name in ("c.m4a", "c.mkv", "c.opus", "c.mp3"):
        enhanced(tmp_path / "a.wav", tmp_path / name)


def test_lossless_sound_says_nothing_of_a_bit_rate(tmp_path):
    source = make_film(tmp_path / "a.mov", "pcm_s16le", sound(4.0), picture=False)
    enhanced(source, tmp_path / "b.m4a")
    assert 8 * sum(len(p[1]) for p in packets(tmp_path / "b.m4a", "audio")) / 4 == pytest.approx(
        160_000, rel=0.2
    )
    result = enhance_file(Task(source, tmp_path / "c.mp4"), identity_enhancer(), OutputForm(subtype="PCM_24"))
    assert result.error == "MP4 does not hold PCM_24; leave out `subtype`"


def test_without_pyav_the_error_is_the_cure(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", sound(0.5).T, RATE)
    source = make_film(tmp_path / "a.mp4", "aac", sound(0.5))
    monkeypatch.setitem(sys.modules, "av", None)
    for given in (tmp_path / "a.wav", source):
        result = enhance_file(Task(given, tmp_path / "out" / "b.m4a"), identity_enhancer())
        assert "pip install 'slimclean[av]'" in result.error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["PatchWelcomeError", "ExternalError", "DemuxerNotFoundError", "EOFError", None]
)
def test_whatever_pyav_raises_costs_no_finished_recording(tmp_path, monkeypatch, name):
    """Whether its source has a picture is asked after the output is there."""
    source = make_film(tmp_path / "a.mp4", "aac", sound(0.5))
    stored = audio.plan_output(audio.probe(source), source, tmp_path / "b.flac")
    writer = audio.AudioWriter(tmp_path / "b.flac", stored, source)
    writer.write(sound(0.5))

    def failing(*_, **__):
        raise getattr(av.error, name)(1, "no") if name else TypeError("no")

    monkeypatch.setattr(tracks, "open_film", failing)
    writer.commit()
    assert audio.probe(tmp_path / "b.flac").samples == RATE // 2
    assert tracks.bit_rate(source, audio.probe(source)) is None
    with pytest.raises(AudioError, match="cannot be read back"):
        tracks.length_s(source, Fraction(0), 1)


def test_aac_keeps_its_bit_rate_after_silence(tmp_path):
    x = sound(5.0, 1)
    x[:, : RATE // 2] = 0
    source = make_film(tmp_path / "a.mp4", "aac", x, bit_rate=64_000, picture=False)
    enhanced(source, tmp_path / "b.mp4")
    sizes = [sum(len(p[1]) for p in packets(path, "audio")) for path in (source, tmp_path / "b.mp4")]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.1)


def test_a_film_without_commit_leaves_nothing(tmp_path):
    source = make_film(tmp_path / "a.mp4", "aac", sound(0.5))
    stored = audio.plan_output(audio.probe(source), source, tmp_path / "out" / "a.mp4")
    with audio.AudioWriter(tmp_path / "out" / "a.mp4", stored, source) as writer:
        writer.write(sound(0.2))
    assert list((tmp_path / "out").iterdir()) == []


def test_vorbis_is_encoded_by_libsndfile_and_lies_in_the_film(tmp_path):
    source = make_film(tmp_path / "a.webm", "libopus", sound(4.0))
    enhanced(source, tmp_path / "b.webm", OutputForm(subtype="VORBIS"))
    enhanced(tmp_path / "b.webm", tmp_path / "c.webm")
    pictures, (before, rate) = packets(source, "video"), heard(source)
    for name in ("b.webm", "c.webm"):
        assert packets(tmp_path / name, "video") == pictures
        assert abs(lag_samples(before[0], heard(tmp_path / name)[0][0])) <= LOSSY_MS / 1000 * rate
        with av.open(str(tmp_path / name)) as film:
            assert film.streams.audio[0].codec_context.name == "vorbis"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.webm", "b.webm", "c.webm"]


def test_packets_of_vorbis_lie_as_late_as_what_is_before_them_lasts(tmp_path):
    """Clicks have short blocks, after which FFmpeg takes a long one for short where a page ends."""
    x = np.random.default_rng(0).normal(0, 0.01, (4 * RATE, 2))
    x[:: RATE // 7] = 0.9
    soundfile.write(tmp_path / "a.wav", x, RATE)
    enhanced(tmp_path / "a.wav", tmp_path / "b.mka", OutputForm(subtype="VORBIS"))
    with av.open(str(tmp_path / "b.mka")) as film:
        *_, last = (packet for packet in film.demux(audio=0) if packet.size)
        assert float((last.pts + last.duration) * last.time_base) == pytest.approx(4, abs=0.002)


def test_in_place(tmp_path):
    source = make_film(tmp_path / "a.mp4", "aac", sound(0.5))
    pictures = packets(source, "video")
    (result,) = enhance_paths([source], None, identity_enhancer(), in_place=True)
    assert result.status == "enhanced", result.error
    assert packets(source, "video") == pictures
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg: apt-get install ffmpeg")
def test_with_the_real_ffmpeg(tmp_path):
    """Subtitles, two languages, a rotated picture: half a minute as ffmpeg itself makes and reads it."""

    def ffmpeg(*arguments):
        subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True, cwd=tmp_path)

    def probe(path, *entries):
        command = ["ffprobe", "-v", "error", "-of", "compact", "-show_entries", *entries, str(path)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    soundfile.write(tmp_path / "s.wav", sound(30.0).T, RATE)
    (tmp_path / "s.srt").write_text("1\n00:00:01,000 --> 00:00:03,000\nHello\n", encoding="utf-8")
    inputs = "-f lavfi -i testsrc=size=64x64:rate=25:duration=30 -i s.wav -i s.srt"
    tracks = "-map 0 -map 1 -map 1 -map 2 -c:v libx264 -c:a aac -b:a 96k -c:s mov_text"
    languages = "-metadata:s:a:0 language=deu -metadata:s:a:1 language=fra"
    ffmpeg(*f"{inputs} {tracks} {languages} -movflags +faststart a.mp4".split())
    enhanced(tmp_path / "a.mp4", tmp_path / "b.mp4")
    shown = "stream=index,codec_name,codec_tag_string,time_base,start_pts,duration_ts:stream_tags=language"
    assert probe(tmp_path / "b.mp4", shown) == probe(tmp_path / "a.mp4", shown)
    for stream in ("0:v", "0:a:1", "0:s"):
        hashes = []
        for name in ("a.mp4", "b.mp4"):
            ffmpeg("-i", name, "-map", stream, "-c", "copy", "-f", "hash", f"{name}.hash")
            hashes.append((tmp_path / f"{name}.hash").read_text(encoding="utf-8"))
        assert hashes[0] == hashes[1]
    times = []
    for name in ("a.mp4", "b.mp4"):
        ffmpeg("-i", name, "-map", "0:a:0", f"{name}.wav")
        times.append(soundfile.read(tmp_path / f"{name}.wav", dtype="float32")[0][:, 0])
    assert len(times[0]) == len(times[1])
    assert abs(lag_samples(*times)) <= LOSSY_MS / 1000 * RATE
    data = (tmp_path / "b.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # as it was


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg: apt-get install ffmpeg")
def test_the_pipeline_of_the_readme(tmp_path):
    source = make_film(tmp_path / "episode.mp4", "aac", sound(2.0))
    program = f"{sys.executable} -m slimclean enhance - -o - --uf 0.125 -q"
    command = f"ffmpeg -v error -i episode.mp4 -f wav - | {program} | ffmpeg -v error -i - episode.mp3"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    before, after = heard(source)[0], audio.read(tmp_path / "episode.mp3")[0]
    assert abs(after.shape[1] - before.shape[1]) < 0.05 * RATE
    assert abs(lag_samples(before[0], after[0])) <= LOSSY_MS / 1000 * RATE


def hours_of_film(path, seconds):
    """A film of a small grey picture at 5 frames a second and noise in stereo, made in bounded memory."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as film:
        video = film.add_stream("mpeg4", rate=5, width=16, height=16)
        stream = film.add_stream("aac", rate=RATE, layout="stereo", bit_rate=128_000)
        stream.time_base = Fraction(1, RATE)
        for second in range(seconds):
            for number in range(5):
                grey = np.full((16, 16, 3), (second * 5 + number) % 256, np.uint8)
                picture = av.VideoFrame.from_ndarray(grey, format="rgb24")
                picture.pts, picture.time_base = second * 5 + number, Fraction(1, 5)
                film.mux(video.encode(picture))
            x = rng.normal(0, 0.1 * (second % 3 + 1) / 3, (1, 2 * RATE)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(x, format="flt", layout="stereo")
            frame.rate, frame.pts, frame.time_base = RATE, second * RATE, Fraction(1, RATE)
            film.mux(stream.encode(frame))
        film.mux(video.encode(None))
        film.mux(stream.encode(None))
    return path


def end_of(path, from_s):
    """The sound from `from_s` on as a player has it, [T]."""
    with av.open(str(path)) as film:
        stream = film.streams.audio[0]
        film.seek(round((from_s - 2) / stream.time_base), stream=stream)
        out = np.zeros(30 * RATE, np.float32)
        for frame in film.decode(stream):
            at = round((frame.pts * frame.time_base - from_s) * RATE)
            if at >= 0:
                out[at : at + frame.samples] = frame.to_ndarray()[0]
        return out


ONE_FILM = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import identity_enhancer
from slimclean.batch.task import Task
from slimclean.batch.recording import enhance_file
result = enhance_file(Task(Path(sys.argv[2]), Path(sys.argv[3])), identity_enhancer())
assert result.status == "enhanced", result.error
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.long
def test_a_film_of_an_hour(tmp_path):
    """Memory does not grow with the length, and at the end sound and picture are where they were."""
    pytest.importorskip("resource", reason="Windows does not tell the memory")
    kilobytes = []
    for seconds in (600, 3600):
        source = hours_of_film(tmp_path / f"{seconds}.mp4", seconds)
        target = tmp_path / "out" / source.name
        tests = str(Path(__file__).parents[1])
        done = subprocess.run(
            [sys.executable, "-c", ONE_FILM, tests, source, target], capture_output=True, text=True, check=True
        )
        kilobytes.append(int(done.stdout))
        print(f"{seconds} s: {int(done.stdout) / 1000:.0f} MB")
        assert packets(target, "video") == packets(source, "video")
        before, after = (end_of(path, seconds - 20) for path in (source, target))
        assert abs(lag_samples(before, after)) <= LOSSY_MS / 1000 * RATE
    assert kilobytes[1] < 1.1 * kilobytes[0]
