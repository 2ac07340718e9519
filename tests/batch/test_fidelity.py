"""What an output keeps of its input, and what flags change."""

from __future__ import annotations

import os

import numpy as np
import pytest
import soundfile
import torch
from conftest import identity_enhancer, voice

from slimclean import Enhancer, audio
from slimclean.audio import OutputForm
from slimclean.batch.recording import enhance_file
from slimclean.batch.run import enhance_paths
from slimclean.batch.task import Task
from slimclean.dsp.resample import resample, resample_blocks
from slimclean.errors import UsageError

TAGS = {
    "title": "Täke 1",
    "artist": "Me",
    "comment": "hello",
    "album": "Pod",
    "genre": "Speech",
    "date": "2024",
}


def enhance(source, destination, form=None, enhancer=None):
    result = enhance_file(Task(source, destination), enhancer or identity_enhancer(), form)
    assert result.status == "enhanced", result.error
    return result


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("a.wav", TAGS),
        ("a.flac", TAGS),
        ("a.ogg", TAGS),
        ("a.mp3", TAGS),
        ("a.caf", TAGS),
        ("a.aiff", {k: TAGS[k] for k in ("title", "artist", "comment")}),
        ("a.au", {}),
    ],
)
def test_tags_are_kept(tmp_path, name, kept):
    source = tmp_path / name
    with soundfile.SoundFile(source, "w", 44_100, 1) as file:
        for tag, value in kept.items():
            setattr(file, tag, value)
        file.write(voice(0.5, 44_100))
    enhance(source, tmp_path / f"b-{name}")
    with soundfile.SoundFile(tmp_path / f"b-{name}") as file:
        assert file.copy_metadata() == kept


@pytest.mark.parametrize(
    ("name", "subtype"),
    [("a.caf", "ALAC_16"), ("a.caf", "ALAC_24"), ("a.aiff", "DWVW_16")],
)
def test_whole_numbers_are_rounded(tmp_path, name, subtype):
    soundfile.write(tmp_path / name, voice(0.5), 16_000, subtype)
    enhance(tmp_path / name, tmp_path / f"b-{name}", None, identity_enhancer(effect=lambda x: 0.7 * x))
    before, after = (audio.read(tmp_path / each)[0] for each in (name, f"b-{name}"))
    steps = (after - 0.7 * before) * 2 ** (int(subtype[-2:]) - 1)
    assert np.abs(steps).max() < (0.51 if subtype[-2:] == "16" else 2)  # float32 itself has 24 bits
    assert abs(steps.mean()) < 0.05


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW"])
def test_companded_voc_is_written(tmp_path, subtype):
    """libsndfile takes its end mark for a sample."""
    soundfile.write(tmp_path / "a.voc", voice(0.5), 16_000, subtype)
    enhance(tmp_path / "a.voc", tmp_path / "b.voc")
    before, after = (audio.read(tmp_path / name)[0][:, :8_000] for name in ("a.voc", "b.voc"))
    np.testing.assert_array_equal(after, before)


def test_tags_move_to_another_container(tmp_path):
    with soundfile.SoundFile(tmp_path / "a.flac", "w", 44_100, 1) as file:
        file.title, file.license = "T", "CC0"
        file.write(voice(0.5, 44_100))
    for name in ("b.wav", "b.au"):  # the one has no licence, the other nothing
        enhance(tmp_path / "a.flac", tmp_path / name)
    with soundfile.SoundFile(tmp_path / "b.wav") as file:
        assert file.copy_metadata() == {"title": "T"}


def test_the_time_of_change_is_kept_on_request(tmp_path):
    source = tmp_path / "a.wav"
    soundfile.write(source, voice(0.1), 16_000)
    os.utime(source, ns=(10**18 + 123_456_789, 10**18 + 123_456_789))
    enhance(source, tmp_path / "b.wav", OutputForm(keep_mtime=True))
    enhance(source, tmp_path / "c.wav")
    assert (tmp_path / "b.wav").stat().st_mtime_ns == source.stat().st_mtime_ns
    assert (tmp_path / "c.wav").stat().st_mtime > 1.5e9


def test_flags_change_the_form(tmp_path):
    x = np.stack([voice(1.0, 44_100), np.zeros(44_100, np.float32)], axis=1)
    soundfile.write(tmp_path / "a.wav", x, 44_100, "PCM_24")
    form = OutputForm(".flac", "PCM_16", 48_000, mono=True)
    (result,) = enhance_paths([tmp_path / "a.wav"], tmp_path / "out", identity_enhancer(), form=form)
    out = tmp_path / "out" / "a.flac"
    assert audio.probe(out) == audio.AudioInfo(48_000, 1, 48_000, "FLAC", "PCM_16")
    wanted = resample(x.mean(1)[None], 44_100, 48_000)
    assert np.abs(audio.read(out)[0] - wanted).max() < 2e-4
    assert result.duration_s == 1.0
    assert result.channels == 2  # what came in


@pytest.mark.parametrize(("lengths", "rates"), [([0], (8, 16)), ([5000, 1, 0, 7777], (44_100, 48_000))])
def test_blocks_are_resampled_like_the_whole(lengths, rates):
    blocks = [np.random.default_rng(n).normal(size=(2, n)).astype(np.float32) for n in lengths]
    whole = resample(np.concatenate(blocks, axis=1), *rates)
    pieces = np.concatenate(list(resample_blocks(blocks, *rates)), axis=1) if sum(lengths) else whole
    assert pieces.shape == whole.shape
    np.testing.assert_allclose(pieces, whole, atol=1e-6)


@pytest.mark.parametrize(
    "form",
    [
        {"extension": ".wma"},
        {"subtype": "PCM_12"},
        {"sample_rate": 10},
        {"sample_rate": 22_050.5},
        {"extension": ".flac", "subtype": "FLOAT"},
    ],
)
def test_forms_that_cannot_be_are_usage_errors(form):
    with pytest.raises(UsageError):
        OutputForm(**form)


def test_forms_are_named_as_people_do():
    assert OutputForm("flac", "pcm_24") == OutputForm(".FLAC", "PCM_24") == OutputForm(".flac", "PCM_24")


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_the_output_has_no_lag(tmp_path, rate):
    """With the real network on noisy speech, by cross-correlation at the recording's own rate."""
    x = voice(2.0, rate) + 0.02 * np.random.default_rng(0).normal(size=2 * rate)
    soundfile.write(tmp_path / "a.wav", x, rate)
    enhance(tmp_path / "a.wav", tmp_path / "b.wav", enhancer=Enhancer(0.125))
    after, _ = soundfile.read(tmp_path / "b.wav")
    assert len(after) == len(x)
    spectrum = np.fft.rfft(after, 1 << 18) * np.conj(np.fft.rfft(x, 1 << 18))
    lag = int(np.argmax(np.fft.irfft(spectrum)))
    assert lag == 0


def test_a_panned_voice_keeps_its_place():
    """The real network on a voice at two levels: the difference between the channels stays within 0.5 dB."""
    rng = np.random.default_rng(0)
    speech, noise = voice(4.0), rng.normal(0, 0.01, (2, 64_000))
    left_db, right_db = 0.0, -9.0
    x = np.stack([speech * 10 ** (left_db / 20), speech * 10 ** (right_db / 20)]) + noise * [[1], [0.35]]
    out, _ = Enhancer("auto", 0.25)(x, 16_000)
    loud = np.abs(speech) > 0.1
    levels = [20 * np.log10(np.sqrt(np.mean(channel[loud] ** 2))) for channel in out]
    assert levels[0] - levels[1] == pytest.approx(left_db - right_db, abs=0.5)


def test_channels_at_different_levels_are_treated_alike(small):
    x = voice(1.0)
    out, _ = Enhancer(0.5, network=small)(np.stack([x, 0.01 * x, 0 * x]), 16_000)
    np.testing.assert_allclose(out[1] * 100, out[0], atol=1e-4)
    assert not out[2].any()


def strength(rate=16_000, **options):
    """What an enhancer that halves everything makes of x, and x."""
    x = voice(0.5, rate)
    enhancer = identity_enhancer(1.0, effect=lambda noisy: 0.5 * noisy, **options)
    return enhancer(x, rate).waveform, x


def test_strength_at_its_ends():
    np.testing.assert_allclose(*(a * b for a, b in zip(strength(dry=0.0), (1, 0.5), strict=True)), atol=1e-6)
    np.testing.assert_array_equal(*strength(dry=1.0, rate=44_100))
    np.testing.assert_array_equal(*strength(attenuation_limit_db=0.0))
    out, x = strength(dry=0.4)
    np.testing.assert_allclose(out, 0.7 * x, atol=1e-6)


def test_the_attenuation_limit_holds():
    silencing = identity_enhancer(1.0, effect=torch.zeros_like, attenuation_limit_db=12.0)
    x = voice(0.5)
    np.testing.assert_allclose(silencing(x, 16_000).waveform, x * 10 ** (-12 / 20), atol=1e-6)


def test_the_residual_is_what_was_removed():
    out, x = strength(residual=True)
    np.testing.assert_allclose(out, 0.5 * x, atol=1e-6)
    assert not strength(residual=True, dry=1.0)[0].any()
    for options in ({}, {"dry": 0.3}, {"highband": "drop"}):
        kept, x = strength(44_100, **options)
        removed, _ = strength(44_100, residual=True, **options)
        np.testing.assert_allclose(kept + removed, x, atol=1e-6)


@pytest.mark.parametrize("options", [{"dry": -0.1}, {"dry": 1.1}, {"attenuation_limit_db": -1}])
def test_strength_out_of_range(options):
    with pytest.raises(UsageError):
        identity_enhancer(**options)


def test_in_place_replaces_the_input(tmp_path):
    source = tmp_path / "a.wav"
    soundfile.write(source, voice(0.2), 16_000)
    enhancer = identity_enhancer(effect=torch.neg)
    (result,) = enhance_paths([tmp_path], enhancer=enhancer, in_place=True)
    assert (result.status, result.output) == ("enhanced", str(source))
    np.testing.assert_allclose(soundfile.read(source)[0], -voice(0.2), atol=1e-4)
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]
    for arguments in ({"output": tmp_path / "x"}, {"form": OutputForm(".flac")}):
        with pytest.raises(UsageError, match="`in_place`"):
            enhance_paths([tmp_path], enhancer=enhancer, in_place=True, **arguments)


def test_what_a_wav_file_cannot_hold(tmp_path, monkeypatch):
    """What is known before is refused before; FLAC has no limit, and companded sound needs half as much."""
    monkeypatch.setattr("slimclean.audio.formats.WAV_BYTES", 2000)
    soundfile.write(tmp_path / "a.wav", voice(0.1), 16_000)
    for name, kind in (("b.wav", "WAV"), ("b.aiff", "AIFF")):
        result = enhance_file(Task(tmp_path / "a.wav", tmp_path / name), identity_enhancer())
        assert f"more than 4 GB do not fit into {kind}" in result.error
        assert not (tmp_path / name).exists()
    enhance(tmp_path / "a.wav", tmp_path / "b.flac")
    soundfile.write(tmp_path / "a.wav", voice(0.1), 16_000, "ULAW")
    enhance(tmp_path / "a.wav", tmp_path / "b.wav")
