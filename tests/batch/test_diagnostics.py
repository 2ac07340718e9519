"""Warnings and levels: what a recording with a known fault is told."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from conftest import identity_enhancer, voice

from slimclean.audio import OutputForm
from slimclean.audio.mixdown import FADE_S, LISTENED_S, Mixdown
from slimclean.batch.diagnostics import Input, Voices, noise_reduction_db, warnings
from slimclean.batch.recording import enhance_file
from slimclean.batch.task import Task
from slimclean.dsp.level import FLOOR_DBFS, Level

RATE = 16_000


def given(x, rate=RATE):
    found = Input(rate)
    for block in np.split(np.atleast_2d(x).astype(np.float32), [rate // 2, 8 * rate], axis=1):
        found.add(block)
    return found


def level(x, rate=RATE):
    found = Level(rate)
    found.add(np.atleast_2d(x).astype(np.float32))
    return found


@pytest.fixture
def take():
    """Speech and pauses, in wide-band noise at -60 dBFS."""
    return voice(4.0) + np.random.default_rng(0).normal(0, 0.001, 4 * RATE)


def test_nothing_to_remark(take):
    assert warnings(given(take), level(take)) == []


def test_clipping_is_counted_in_runs(take):
    take[1000:1005] = 1.0
    take[2000] = 1.0  # a peak that touches full scale
    take[3000:3003] = -1.0
    assert given(take).clipped_samples == 8
    assert warnings(given(take), level(take)) == ["input clipped (8 samples)"]


def test_a_telephone_is_recognised(take):
    spectrum = np.fft.rfft(take)
    spectrum[len(spectrum) * 3400 // 8000 :] = 0
    assert given(np.fft.irfft(spectrum)).narrowband
    assert not given(take).narrowband
    hiss = np.random.default_rng(0).normal(0, 2e-4, RATE)
    assert not given(hiss + 0.3).narrowband  # an offset is no sound below 4 kHz
    assert given(voice(1.0, 8_000), 8_000).narrowband


def test_speech_that_falls_is_reported(take):
    assert warnings(given(take), level(take * 0.4)) == ["the loud parts fell by 8.0 dB"]
    assert "is there speech?" in warnings(given(take), level(take * 0.1))[0]
    assert warnings(given(np.zeros(RATE)), level(np.zeros(RATE))) == ["silent"]


def test_of_what_was_removed_nothing_is_said_of_voices(tmp_path, take):
    """--residual of a recording that stays as it is holds nothing, which is no sign of missing speech."""
    soundfile.write(tmp_path / "take.wav", np.tile(take, 2), RATE)
    task = Task(tmp_path / "take.wav", tmp_path / "out.wav")
    result = enhance_file(task, identity_enhancer(residual=True))
    assert (result.status, result.warnings) == ("enhanced", "")
    assert (result.noise_reduction_db, result.level_range_db) == (None, None)
    assert enhance_file(task, identity_enhancer()).level_range_db is not None


def test_noise_reduction_is_measured_in_the_pauses(take):
    pauses = np.abs(voice(4.0)) == 0
    after = np.where(pauses, take * 0.1, take)
    assert noise_reduction_db(level(take), level(after)) == pytest.approx(20, abs=0.5)
    assert noise_reduction_db(level(take), level(take)) == 0
    assert level(np.zeros(RATE)).percentile_dbfs(10) == Level(RATE).percentile_dbfs(50) == FLOOR_DBFS


def test_blocks_and_offsets_do_not_matter_to_a_level(take):
    pieces, whole = Level(RATE), level(take)
    for block in np.split(take[None] + 0.25, [7, 1000, 30_000], axis=1):
        pieces.add(block)
    for percent in (0, 10, 40, 95, 100):
        wanted = np.percentile(np.var(take.reshape(-1, RATE // 10), axis=1), percent)
        assert whole.percentile_dbfs(percent) == pytest.approx(10 * np.log10(wanted), abs=1.0)
        assert pieces.percentile_dbfs(percent) == pytest.approx(whole.percentile_dbfs(percent), abs=0.03)
    assert level(take).dbfs == pytest.approx(20 * np.log10(np.sqrt(np.mean(take**2))), abs=0.001)
    assert pieces.dbfs == pytest.approx(level(take).dbfs, abs=0.001)
    apart = level(np.stack([take + 0.25, take - 0.5]))
    assert apart.dbfs == pytest.approx(level(take).dbfs, abs=0.001)
    for constant in (0.1, 0.2, 0.3, 0.7):  # rounding is no sound either
        assert level(np.full((2, RATE + 1), constant)).dbfs == float("-inf")
    short = take[1000:1800]
    assert level(short).percentile_dbfs(50) == pytest.approx(10 * np.log10(np.var(short)), abs=0.02)


def voices(before, after):
    found = Voices()
    for x, take in ((before, found.heard), (after, found.made)):
        take(level_powers(x))
    return found.range_db


def level_powers(x):
    return Level(RATE).add(np.atleast_2d(x).astype(np.float32))


@pytest.mark.parametrize("apart_db", [0, 10, 20, 30])
def test_the_range_of_voices(apart_db):
    host, guest = voice(20.0), voice(8.0, seed=1) * 10 ** (-apart_db / 20)
    x = np.concatenate([host, guest])
    noise = np.random.default_rng(0).normal(0, 1e-3 * 10 ** (-apart_db / 20), len(x))
    assert voices(x + noise, x + 0.1 * noise) == pytest.approx(apart_db, abs=4)
    assert voices(x[:RATE], x[:RATE]) is None


@pytest.mark.parametrize("tone_db", [-35, -45, -55])
def test_room_tone_that_was_kept_is_nobody_speaking_softly(tone_db):
    """The pauses of a good recording change by little, so what is left of them could be taken for a voice."""
    parts = [np.concatenate([voice(5.3, seed=seed), np.zeros(2 * RATE)]) for seed in range(4)]
    x = np.concatenate(parts)
    tone = np.random.default_rng(0).normal(0, np.std(parts[0]) * 10 ** (tone_db / 20), len(x))
    assert voices(x + tone, x + 0.8 * tone) < 10


def test_a_soft_speaker_and_an_offset_are_told(take):
    told = warnings(given(take), level(take), offset=0.3, range_db=31.2)
    assert told[0] == "an offset of 0.3 was taken out"
    assert told[1] == "somebody speaks far under the rest: soft and loud voices lie 31 dB apart"
    assert warnings(given(take), level(take), offset=0.001, range_db=24.0) == []


def test_float_beyond_full_scale_is_not_clipped(take):
    loud = 3.2 * take / np.abs(take).max()
    assert given(loud).clipped_samples == 0
    assert warnings(given(loud), level(loud)) == []
    (told,) = warnings(given(loud), level(loud), clipped=7)
    assert told.startswith("output clipped (7 samples), as the input goes up to +10.1 dBFS")
    assert "FLOAT" in told


def test_float_beyond_full_scale_is_clipped_in_a_flac_and_that_is_said(tmp_path, take):
    soundfile.write(tmp_path / "a.wav", 3.2 * take / np.abs(take).max(), RATE, "FLOAT")
    kept = enhance_file(Task(tmp_path / "a.wav", tmp_path / "b.wav"), identity_enhancer())
    assert (kept.status, kept.warnings) == ("enhanced", "")
    lost = enhance_file(Task(tmp_path / "a.wav", tmp_path / "b.flac"), identity_enhancer())
    assert lost.status == "enhanced"
    assert f"output clipped ({lost.clipped_samples} samples)" in lost.warnings
    assert "input clipped" not in lost.warnings


@pytest.mark.parametrize("silent_s", [0, 9])
def test_channels_that_cancel_are_turned_before_mixing(tmp_path, take, silent_s):
    """Of a stereo take whose second channel is wired the wrong way round, the mean would be silence."""
    lead = np.zeros(silent_s * RATE)
    x = np.concatenate([lead, take])
    soundfile.write(tmp_path / "a.wav", np.stack([x, -0.9 * x], 1), RATE, "FLOAT")
    task = Task(tmp_path / "a.wav", tmp_path / "b.wav")
    result = enhance_file(task, identity_enhancer(), OutputForm(mono=True))
    assert "channels cancel: number 2 was turned round" in result.warnings
    after, _ = soundfile.read(tmp_path / "b.wav")
    np.testing.assert_allclose(after[len(lead) + 200 :], 0.95 * take[200:], atol=1e-5)


@pytest.mark.parametrize("block", [1, 16, 1000, 5000])
def test_how_a_take_is_cut_makes_no_channel_cancel(block):
    """A block of one sample always correlates: what came before is heard with it."""
    rng = np.random.default_rng(0)
    alike, mixdown = rng.normal(0, 0.1, (2, 10_000)), Mixdown(2, RATE)
    mixed = [mixdown(alike[:, at : at + block].astype(np.float32)) for at in range(0, 10_000, block)]
    np.testing.assert_allclose(np.concatenate(mixed, axis=1)[0], alike.mean(0), atol=1e-6)
    assert mixdown.remarks() == []
    opposite, mixdown = alike[:1] * [[1], [-0.9]], Mixdown(2, RATE)
    mixed = [mixdown(opposite[:, at : at + block].astype(np.float32)) for at in range(0, 10_000, block)]
    after = round((LISTENED_S[0] + FADE_S) * RATE) + block
    np.testing.assert_allclose(np.concatenate(mixed, axis=1)[0, after:], 0.95 * alike[0, after:], atol=1e-6)
    pieces = (opposite[:, at : at + block].astype(np.float32) for at in range(0, 10_000, block))
    held = np.concatenate(list(Mixdown(2, RATE).stream(pieces)), axis=1)[0]
    np.testing.assert_allclose(held, 0.95 * alike[0], atol=1e-6)  # from the first sample on


def test_silence_ahead_does_not_hide_the_beginning_of_channels_that_cancel():
    x = np.random.default_rng(0).normal(0, 0.1, 8_000)
    opposite = np.concatenate([np.zeros((2, 4_321)), np.stack([x, -0.9 * x])], axis=1).astype(np.float32)
    pieces = (opposite[:, at : at + 1_000] for at in range(0, opposite.shape[1], 1_000))
    mixed = np.concatenate(list(Mixdown(2, RATE).stream(pieces)), axis=1)[0]
    np.testing.assert_allclose(mixed[4_321:], 0.95 * x, atol=1e-6)


def test_channels_that_do_not_cancel_are_mixed_as_ever(tmp_path, take):
    other = np.random.default_rng(1).normal(0, 0.1, len(take))
    x = np.stack([take, 0.5 * take + other], 1)
    soundfile.write(tmp_path / "a.wav", x, RATE, "FLOAT")
    result = enhance_file(
        Task(tmp_path / "a.wav", tmp_path / "b.wav"), identity_enhancer(), OutputForm(mono=True)
    )
    assert "cancel" not in result.warnings
    np.testing.assert_allclose(soundfile.read(tmp_path / "b.wav")[0], x.mean(1), atol=1e-5)
