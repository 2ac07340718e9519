"""Training examples: what is mixed is what was asked."""

from __future__ import annotations

import dataclasses
import os
import pickle

import numpy as np
import pytest
import soundfile
import torch
from conftest import run
from mixing import PLAIN, mixer_of

from slimclean.errors import SlimcleanError, SlimcleanWarning, UsageError
from slimclean.model import checkpoint
from slimclean.train import acoustics, voices
from slimclean.train.mix import MixConfig, read_mix
from slimclean.train.mixer import MixDataset
from slimclean.train.sources import Clip, Library, load_library, read_manifest, scan_folder
from slimclean.train.valid import VALID_MIX, mixed_pairs, validator


def test_libraries_hold_every_file_once_and_reuse_their_cache(corpus, tmp_path):
    files = scan_folder(corpus / "speech")
    library = load_library(files, tmp_path, {"b": 0.0})
    assert {clip.corpus for clip in library.clips} == {"a", "b"}
    assert sum(clip.length for clip in library.clips) == pytest.approx(20 * 1.5 * 16_000, abs=160)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    load_library(files, tmp_path)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == before
    assert library.cumulative[14] == pytest.approx(1.0)  # nothing of b is drawn
    rng = np.random.default_rng(0)
    assert library.crop(rng, 1000).shape == (1000,)
    assert library.crop(rng, 60_000).shape == (60_000,)  # longer than any clip


def test_decoding_shows_no_bar_where_nobody_looks(corpus, tmp_path, capfd):
    load_library(scan_folder(corpus / "noise"), tmp_path)
    assert capfd.readouterr().err == ""


def test_a_library_travels_as_the_name_of_its_cache(libraries):
    """Loader processes that are spawned, as on Windows and macOS, get no hours of sound through a pipe."""
    dataset = MixDataset(mixer_of(libraries), 0, 8_192)
    sent = pickle.dumps(dataset)
    assert len(sent) < 20_000 < libraries[0].samples.nbytes
    there = pickle.loads(sent)
    for x, y in zip(there[3], dataset[3], strict=True):
        assert x.equal(y)
    library = there.mixer.speech
    assert isinstance(library.samples, np.memmap)
    np.testing.assert_array_equal(library.samples, libraries[0].samples)
    assert library.clips == libraries[0].clips
    ordinary = pickle.loads(pickle.dumps(Library(np.arange(9, dtype=np.int16), [], np.ones(1))))
    np.testing.assert_array_equal(ordinary.samples, np.arange(9))


def test_the_places_of_clips_are_counted_in_64_bits(tmp_path, monkeypatch):
    """NumPy 1.26 sums 32-bit numbers in 32 bits on Windows: 37 hours of sound."""
    soundfile.write(tmp_path / "a.wav", np.full(800, 0.1), 16_000)
    real = np.cumsum
    monkeypatch.setattr(np, "cumsum", lambda x, dtype=np.int32: real(x, dtype=dtype))
    monkeypatch.setattr("slimclean.train.sources._cached", lambda *_: [2**31 - 1, 800, 800])
    monkeypatch.setattr("slimclean.train.sources._mapped", lambda *_: np.zeros(0, np.int16))
    clips = load_library(3 * [(tmp_path / "a.wav", "c")], tmp_path / "cache").clips
    assert [clip.start for clip in clips] == [0, 2**31 - 1, 2**31 + 799]


def test_channels_that_cancel_are_turned_and_numbers_rounded(tmp_path):
    """What is wired the other way round is no silence, and soft sound no staircase with a step at 0."""
    x = 1e-4 * np.sin(np.arange(16_000) / 9)
    soundfile.write(tmp_path / "a.wav", np.stack([x, -x], 1), 16_000, "FLOAT")
    library = load_library([(tmp_path / "a.wav", "a")], tmp_path / "cache")
    np.testing.assert_array_equal(library.samples, np.rint(x * 32_768))


def test_what_cannot_be_read_is_left_out_with_a_warning(corpus, tmp_path):
    broken, not_numbers = tmp_path / "broken.wav", tmp_path / "nan.wav"
    broken.write_bytes(b"no sound")
    soundfile.write(not_numbers, np.full(100, np.nan), 16_000, "FLOAT")
    left_out = [(broken, "a"), (not_numbers, "a")]
    files = scan_folder(corpus / "speech")
    with pytest.warns(SlimcleanWarning, match="it is left out") as told:
        library = load_library([left_out[0], *files, left_out[1]], tmp_path / "cache")
    assert [str(w.message).split(":")[0] for w in told] == [str(broken), str(not_numbers)]
    whole = load_library(files, tmp_path / "cache")
    assert [(clip.path, clip.length) for clip in library.clips] == [(c.path, c.length) for c in whole.clips]
    np.testing.assert_array_equal(library.samples, whole.samples)
    with (
        pytest.warns(SlimcleanWarning, match="it is left out"),
        pytest.raises(SlimcleanError, match="none of 2 recordings of a and others holds sound"),
    ):
        load_library(left_out, tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


def test_a_cache_is_of_the_files_as_they_are(tmp_path):
    """Rewritten at the same length, or mended, they are decoded anew; what stays broken warns each time."""
    for name, level in (("a", 0.1), ("b", 0.2)):
        soundfile.write(tmp_path / f"{name}.wav", np.full(800, level), 16_000)
    files = [(tmp_path / "a.wav", "c"), (tmp_path / "b.wav", "c")]

    def loudest():
        return load_library(files, tmp_path / "cache").samples.max() / 32767

    assert loudest() == pytest.approx(0.2, abs=1e-3)
    soundfile.write(tmp_path / "a.wav", np.full(800, 0.5), 16_000)
    assert loudest() == pytest.approx(0.5, abs=1e-3)
    whole = files[0][0].read_bytes()
    files[0][0].write_bytes(b"x" * len(whole))
    status = files[0][0].stat()
    for _ in range(2):
        with pytest.warns(SlimcleanWarning, match="it is left out"):
            assert loudest() == pytest.approx(0.2, abs=1e-3)
    cached = {path.suffix: path for path in (tmp_path / "cache").iterdir()}
    assert sorted(cached) == [".int16", ".json"]  # what is superseded does not stay
    files[0][0].write_bytes(whole)
    os.utime(files[0][0], ns=(status.st_atime_ns, status.st_mtime_ns))
    assert loudest() == pytest.approx(0.5, abs=1e-3)
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(b"x")):
        for path in cached.values():
            damage(path)
            assert loudest() == pytest.approx(0.5, abs=1e-3)
    if os.name == "posix":
        latin = tmp_path / os.fsdecode(b"\xff.wav")
        files[1][0].rename(latin)
        files[1] = (latin, "c")
        assert loudest() == pytest.approx(0.5, abs=1e-3)


def test_text_that_a_spreadsheet_or_an_editor_saved_begins_with_a_mark(corpus, tmp_path):
    (tmp_path / "m.csv").write_text(f"path,kind,corpus,split\n{corpus}/x,noise,a,valid\n", encoding="utf-8-sig")
    assert read_manifest(tmp_path / "m.csv", "speech", "train") == []
    (tmp_path / "mix").write_text("reverb = 0.5\n", encoding="utf-8-sig")
    assert read_mix(tmp_path / "mix").reverb == 0.5
    for text in ("path,kind,corpus,split\na.wav,speech\n", "kind,split,path,corpus\nspeech,train\n"):
        (tmp_path / "m.csv").write_text(text)
        with pytest.raises(UsageError, match=r"not a manifest \(row 2 has no (corpus|path)\)"):
            read_manifest(tmp_path / "m.csv", "speech", "train")
    (tmp_path / "m.csv").write_text("file,kind\na.wav,speech\n")
    with pytest.raises(UsageError, match=r"not a manifest \(no column 'path'\)"):
        read_manifest(tmp_path / "m.csv", "speech", "train")


@pytest.mark.parametrize("snr_db", [-5.0, 10.0, 25.0])
def test_mixtures_have_the_snr_asked_for(libraries, snr_db):
    mixer = mixer_of(libraries, dataclasses.replace(PLAIN, snr_db=(snr_db, snr_db, snr_db)))
    noisy, clean = mixer.draw(np.random.default_rng(0), 16_000)
    noise = noisy - clean
    measured = 20 * np.log10(voices.active_rms(clean) / acoustics.rms(noise))
    assert measured == pytest.approx(snr_db, abs=0.1)
    assert -3.1 < 20 * np.log10(acoustics.rms(noisy)) < 3.1


def test_clean_and_noise_only_examples_occur(libraries):
    clean_only = mixer_of(libraries, dataclasses.replace(PLAIN, clean_only=1.0))
    noisy, clean = clean_only.draw(np.random.default_rng(0), 8_000)
    np.testing.assert_array_equal(noisy, clean)
    noise_only = mixer_of(libraries, dataclasses.replace(PLAIN, noise_only=1.0))
    noisy, clean = noise_only.draw(np.random.default_rng(0), 8_000)
    assert noisy.any()
    assert not clean.any()


def test_every_augmentation_gives_finite_pairs(libraries):
    everything = MixConfig(
        reverb=1, two_noises=1, synthetic_noise=0.5, babble=0.5, speed=1, filtered_noise=1,
        filtered_speech=1, whispered=0.5, gated_noise=1, narrowband=0.5, clipped=0.5,
        two_speakers=0.5, fade=0.5, turned_away=0.5, slam=0.5, voice_speed=0.5,
    )  # fmt: skip
    dataset = MixDataset(mixer_of(libraries, everything), 0, 8_192)
    for index in range(40):
        noisy, clean = dataset[index]
        assert noisy.shape == clean.shape == (8_192,)
        assert noisy.dtype == clean.dtype == torch.float32
        assert noisy.isfinite().all()
        assert clean.isfinite().all()
    assert dataset[3][0].equal(dataset[3][0])
    assert not dataset[3][0].equal(dataset[4][0])


def test_another_mix_is_a_file_of_rows(libraries, corpus, tmp_path):
    path = tmp_path / "office.mix"
    path.write_text(
        "# an office\ntwo_noises = 1  # always\nsnr_db = 0, 0, 0\nquiet_targets = no\nreverb = 0\nclipped=0.0\n"
    )
    wanted = MixConfig(two_noises=1, snr_db=(0, 0, 0), quiet_targets=False, reverb=0, clipped=0)
    assert read_mix(path) == wanted
    assert set(wanted.changes()) == {"two_noises", "snr_db", "quiet_targets", "reverb", "clipped"}
    where = ["--speech", corpus / "speech", "--noise", corpus / "noise", "--segment-s", 0.128, "--loaders", 0]
    rest = ["--steps", 1, "--workers", 1, "--valid-count", 0, "--teach-count", 0, "--hidden", 4]
    done = run("train", tmp_path / "a", *where, *rest, "--mix", path)
    assert done.exit_code == 0, done.output
    recorded = checkpoint.read_header(tmp_path / "a" / "model.safetensors").info["mix"]
    assert recorded == {"two_noises": 1, "snr_db": [0, 0, 0], "quiet_targets": False, "reverb": 0, "clipped": 0}


def test_a_mix_that_names_every_row_as_it_is_draws_the_same(libraries, tmp_path):
    rows = dataclasses.asdict(MixConfig())
    text = {bool: lambda v: "yes" if v else "no", tuple: lambda v: ", ".join(map(str, v)), float: str}
    (tmp_path / "a.mix").write_text("\n".join(f"{k} = {text[type(v)](v)}" for k, v in rows.items()))
    same = read_mix(tmp_path / "a.mix")
    assert same == MixConfig()
    assert same.changes() == {}
    for seed in range(4):
        drawn = [mixer_of(libraries, mix).draw(np.random.default_rng(seed), 4_096) for mix in (None, same)]
        np.testing.assert_array_equal(*drawn)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("reverb = 1.5", "reverb takes a share from 0 to 1"),
        ("reverb = nan", "reverb takes a share from 0 to 1"),
        ("reverb = x", "could not convert"),
        ("reverb = 0.1, 0.2", "could not convert"),
        ("echo = 0.1", "no row of a mix is called echo; there are snr_db"),
        ("snr_db = 1", "snr_db takes 3 numbers in rising order"),
        ("snr_db = 3, 2, 1", "snr_db takes 3 numbers in rising order"),
        ("snr_db = 1, 2, inf", "snr_db takes 3 numbers in rising order"),
        ("quiet_targets = 1", "quiet_targets takes yes or no"),
        ("noise_only = 0.6\nclean_only = 0.6", "more than 1 together"),
        ("reverb", "not a mix"),
        ("reverb = 0\nreverb = 1", "not a mix"),
        ("[other]\nreverb = 0", "section other"),
    ],
)
def test_a_wrong_mix_is_one_line_that_names_the_file(tmp_path, text, problem):
    path = tmp_path / "wrong.mix"
    path.write_text(text)
    with pytest.raises(UsageError, match=rf"wrong\.mix: .*{problem}") as error:
        read_mix(path)
    assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="cannot be read"):
        read_mix(tmp_path / "none.mix")


def test_a_target_keeps_its_words_and_loses_the_floor_of_its_pauses():
    rng = np.random.default_rng(0)
    word = np.sin(2 * np.pi * 200 * np.arange(8_000) / 16_000)
    said = np.concatenate([word, np.zeros(16_000), word, np.zeros(16_000)]).astype(np.float32)
    floor = 10 ** (-46 / 20) * rng.normal(0, acoustics.rms(word), len(said)).astype(np.float32)
    out = voices.without_floor(said + floor)
    np.testing.assert_array_equal(out[:8_000], (said + floor)[:8_000])
    pause = slice(8_000 + 2_400, 24_000 - 2_400)  # 80 ms around speech stay, and the gain moves over 50 ms
    change_db = 20 * np.log10(acoustics.rms(out[pause]) / acoustics.rms(floor[pause]))
    assert change_db == pytest.approx(-11, abs=1)  # -46 dB is 11 under -35, and falls twice as far
    assert acoustics.rms(out[8_000:9_000]) == pytest.approx(acoustics.rms(floor[8_000:9_000]), rel=0.02)


def test_people_speak_in_turn_at_their_levels(libraries):
    host, guest = voices.turns(np.random.default_rng(0), 40_960, 20.0)
    assert host.max() == pytest.approx(1)
    assert guest.max() == pytest.approx(0.1)
    assert (host + 10 * guest).max() < 1.001
    mix = dataclasses.replace(PLAIN, two_speakers=1.0, softer_db=(30.0, 30.0), snr_db=(90, 90, 90))
    ranges = []
    for seed in range(8):
        x = mixer_of(libraries, mix).draw(np.random.default_rng(seed), 40_960)[1]
        halves = [voices.active_rms(part) for part in np.array_split(x, 5)]
        ranges.append(20 * np.log10(max(halves) / min(halves)))
    assert np.median(ranges) > 15
    alone = dataclasses.replace(mix, two_speakers=0.0)
    x = mixer_of(libraries, alone).draw(np.random.default_rng(0), 40_960)[1]
    halves = [voices.active_rms(part) for part in np.array_split(x, 5)]
    assert 20 * np.log10(max(halves) / min(halves)) < 10


def test_the_network_hears_soft_voices_and_loud_ones_alike(libraries):
    mix = dataclasses.replace(PLAIN, two_speakers=1.0, softer_db=(30.0, 30.0), snr_db=(60, 60, 60))
    ranges = {}
    for local in (False, True):
        mixer, ranges[local] = mixer_of(libraries, dataclasses.replace(mix, local_level=local)), []
        for seed in range(6):
            noisy, clean = mixer.draw(np.random.default_rng(seed), 81_920)
            parts = [voices.active_rms(part) for part in np.array_split(clean, 8)]
            ranges[local].append(20 * np.log10(max(parts) / min(parts)))
            snr_db = 20 * np.log10(acoustics.rms(clean) / acoustics.rms(noisy - clean))
            assert snr_db > 15  # the curve is the noisy signal's: both are divided by it
    assert np.median(ranges[True]) < np.median(ranges[False]) - 10


def test_a_voice_that_runs_faster_or_slower_becomes_higher_or_deeper():
    tone = np.round(8_000 * np.sin(2 * np.pi * 440 * np.arange(80_000) / 16_000)).astype(np.int16)
    tones = Library(tone, [Clip("tone", "tones", 0, len(tone))], np.ones(1))
    for share in (0.0, 1.0):
        mixer = mixer_of((tones, tones), dataclasses.replace(PLAIN, voice_speed=share, whispered=0))
        heard = []
        for seed in range(12):
            _, clean = mixer.draw(np.random.default_rng(seed), 16_000)
            assert clean.shape == (16_000,)
            heard.append(np.abs(np.fft.rfft(clean * np.hanning(len(clean)))).argmax() / 440)  # bins of 1 Hz
        if share:
            assert 0.86 < min(heard) < 0.95
            assert 1.05 < max(heard) < 1.16
        else:
            assert heard == pytest.approx([1.0] * 12, abs=0.01)


def test_fades_turning_away_and_slams_do_what_they_say():
    rng = np.random.default_rng(0)
    depths = [20 * np.log10(g.max() / g.min()) for g in (voices.fade(rng, 16_000) for _ in range(30))]
    assert min(depths) > 5.9
    assert max(depths) < 40.1
    noise = rng.normal(size=40_960).astype(np.float32)
    for seed in range(5):
        turned = voices.turned_away(np.random.default_rng(seed), noise)
        blocks = [np.square(x[:40_000].reshape(-1, 400)).mean(1) for x in (turned, noise)]
        softer_db = -10 * np.log10(blocks[0] / blocks[1])
        assert 4 < softer_db.max() < 30
        assert softer_db.min() > -0.5
    slam = acoustics.slam(np.random.default_rng(3), 16_000)
    assert np.abs(slam).max() == pytest.approx(1, abs=1e-6)
    assert acoustics.rms(slam) < 0.2


def test_pauses_last_and_faint_noise_is_faint(libraries):
    gains = [voices.pause(np.random.default_rng(seed), 96_000) for seed in range(20)]
    assert all(g.min() == 0 and g.max() == 1 for g in gains)
    lengths = [np.count_nonzero(g < 1) / 16_000 for g in gains]
    assert 0.79 < min(lengths) < 1.5
    assert 2.5 < max(lengths) < 3.41
    mix = dataclasses.replace(PLAIN, snr_db=(0, 0, 0), rumble=1.0, faint_snr_db=(30, 30, 30))
    for share, snr_db in ((0.0, -7), (1.0, 30)):
        mixer = mixer_of(libraries, dataclasses.replace(mix, faint_noise=share, rumble_snr_db=(-6, -6, -6)))
        noisy, clean = mixer.draw(np.random.default_rng(0), 40_960)
        heard = 20 * np.log10(voices.active_rms(clean) / acoustics.rms(noisy - clean))
        assert heard == pytest.approx(snr_db, abs=1.5)
    spoken, silent = (
        mixer_of(libraries, dataclasses.replace(PLAIN, long_pause=share)).draw(np.random.default_rng(0), 40_960)
        for share in (0.0, 1.0)
    )
    assert np.count_nonzero(silent[1]) < np.count_nonzero(spoken[1]) - 8_000
    assert np.count_nonzero(silent[0]) > 40_900  # the noise goes on


def test_a_pause_makes_the_rest_no_louder(libraries, monkeypatch):
    """Where all speech is in the pause, what is left of the recording is its floor, and no voice."""
    mixer = mixer_of(libraries, dataclasses.replace(PLAIN, long_pause=1.0))
    levels = []
    for left in (1.0, 1e-3):
        monkeypatch.setattr(voices, "pause", lambda _, length, left=left: np.full(length, left, np.float32))
        noisy, clean = mixer.draw(np.random.default_rng(0), 40_960)
        levels.append(acoustics.rms(clean) / acoustics.rms(noisy - clean))
    assert levels[1] == pytest.approx(levels[0] * 1e-3, rel=0.01)


def test_given_rooms_are_used(corpus, tmp_path, monkeypatch):
    rooms = tmp_path / "rooms"
    rooms.mkdir()
    soundfile.write(rooms / "hall.wav", np.array([0, 0, 0.5, 0.1, -0.05]), 16_000)
    (rooms / "broken.wav").write_bytes(b"no sound")
    seen = []
    monkeypatch.setattr(
        "slimclean.train.run.train", lambda config, mixer, **_: seen.append(mixer) or config.out
    )
    folders = ["--speech", corpus / "speech", "--noise", corpus / "noise", "--rooms", rooms]
    done = run("train", tmp_path / "run", *folders, "--valid-count", 0, "--teach-count", 0)
    assert done.exit_code == 0, done.output
    told = [line for line in done.stderr.splitlines() if line.startswith("slimclean: ")]
    broken = f"slimclean: {rooms / 'broken.wav'}: not a readable recording"
    assert [line.split(" (")[0] for line in told] == [broken]
    assert len(seen[0].rooms) == 1
    np.testing.assert_allclose(seen[0].rooms[0], [1, 0.2, -0.1], atol=1e-3)


def test_validation_pairs_are_fixed_and_hold_speech(libraries):
    first, again = (mixed_pairs(mixer_of(libraries, VALID_MIX), 3, 1.0) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.noisy, b.noisy)
        assert np.abs(a.clean).max() > 0
    assert len({p.noisy.tobytes() for p in first}) == 3
    assert callable(validator(first))


def tones(*each_hz: float, gains=(1, 1)) -> Library:
    """A library of tones of 5 s, a clip each."""
    time = np.arange(80_000) / 16_000
    sound = [gain * np.sin(2 * np.pi * hz * time) for hz, gain in zip(each_hz, gains, strict=False)]
    samples = np.round(8_000 * np.concatenate(sound)).astype(np.int16)
    clips = [Clip(f"{hz}", "tones", 80_000 * k, 80_000) for k, hz in enumerate(each_hz)]
    return Library(samples, clips, np.arange(1, len(clips) + 1) / len(clips))


def drawn(libraries, seed=0, length=16_000, **rows) -> tuple[np.ndarray, np.ndarray]:
    """An example with nothing at random but what `rows` say."""
    mix = dataclasses.replace(PLAIN, **{"music": 0, "whispered": 0} | rows)
    return mixer_of(libraries, mix).draw(np.random.default_rng(seed), length)


def level_at(x: np.ndarray, hz: float) -> float:
    """In dB of a full-scale sine; a second has bins of 1 Hz."""
    return 20 * np.log10(np.abs(np.fft.rfft(x * np.hanning(len(x))))[round(hz * len(x) / 16_000)] / len(x) * 4)


def test_kinds_of_examples_come_as_often_as_asked(libraries):
    kinds = []
    for seed in range(60):
        noisy, clean = drawn(libraries, seed, 2_048, noise_only=0.3, clean_only=0.5)
        kinds.append("noise" if not clean.any() else "clean" if np.array_equal(noisy, clean) else "both")
    assert kinds.count("noise") / 60 == pytest.approx(0.3, abs=0.15)
    assert kinds.count("clean") / 60 == pytest.approx(0.5, abs=0.15)
    assert kinds.count("both") / 60 == pytest.approx(0.2, abs=0.15)


def test_a_telephone_takes_from_the_speech_too_and_clipping_does_not(libraries):
    noisy, clean = drawn(libraries, clean_only=1, narrowband=1)
    np.testing.assert_array_equal(noisy, clean)
    noisy, clean = drawn(libraries, clean_only=1, clipped=1)
    limit = np.abs(noisy).max()
    assert limit <= 0.81 * np.abs(clean).max()
    np.testing.assert_allclose(noisy, np.clip(clean, -limit, limit))


def test_a_room_is_around_what_is_wanted_too(libraries):
    for quiet in (False, True):
        rows = {"clean_only": 1, "quiet_targets": quiet}
        dry, wet = (drawn(libraries, 3, reverb=reverb, **rows) for reverb in (0, 1))
        for before, after in zip(dry, wet, strict=True):
            wanted = np.convolve(before, [1, 0, 0.5])[: len(before)]
            assert np.corrcoef(after, wanted)[0, 1] > 0.9999


def test_rumble_and_slams_are_as_loud_as_asked(libraries):
    quiet = {"snr_db": (90, 90, 90)}
    noisy, clean = drawn(libraries, rumble=1, rumble_snr_db=(20, 20, 20), **quiet)
    under_db = 20 * np.log10(voices.active_rms(clean) / acoustics.rms(noisy - clean))
    assert under_db == pytest.approx(20, abs=0.1)
    peaks_db = []
    for seed in range(9):
        noisy, clean = drawn(libraries, seed, slam=1, slam_db=(12, 12), **quiet)
        peaks_db.append(20 * np.log10(np.abs(noisy - clean).max() / voices.active_rms(clean)))
    assert np.median(peaks_db) == pytest.approx(12, abs=0.1)


def test_two_noises_are_two_and_the_second_is_softer():
    libraries = tones(440), tones(1_000, 3_000)
    apart_db = []
    for seed in range(20):
        noisy, clean = drawn(libraries, seed, two_noises=1)
        levels = [level_at(noisy - clean, hz) for hz in (1_000, 3_000)]
        apart_db.append(abs(levels[0] - levels[1]))
    found = [db for db in apart_db if db < 25]
    assert 4 < len(found) < 16  # else both are one tone
    assert max(found) < 15.1


def test_noise_that_runs_faster_or_slower_is_whole():
    heard = []
    for seed in range(12):
        noisy, clean = drawn((tones(100), tones(1_000)), seed, speed=1)
        noise = noisy - clean
        heard.append(np.abs(np.fft.rfft(noise * np.hanning(16_000)))[300:].argmax() + 300)
        assert acoustics.rms(noise[-2_000:]) == pytest.approx(acoustics.rms(noise[:2_000]), rel=0.1)
    assert 1_000 * np.exp(-0.5) - 2 < min(heard) < 800
    assert 1_200 < max(heard) < 1_000 * np.exp(0.4) + 2


def test_gated_noise_comes_and_goes():
    falls_db = []
    for seed in range(8):
        noisy, clean = drawn((tones(100), tones(1_000)), seed, 40_000, gated_noise=1)
        parts = np.square((noisy - clean).reshape(-1, 400)).mean(1)
        falls_db.append(10 * np.log10(parts.max() / parts.min()))
    assert np.median(falls_db) == pytest.approx(40, abs=2)


def test_rumble_under_a_voice_is_no_target():
    spoken = tones(440)
    with_rumble = spoken.samples + np.round(8_000 * np.sin(2 * np.pi * 20 * np.arange(80_000) / 16_000))
    library = Library(with_rumble.astype(np.int16), spoken.clips, spoken.cumulative)
    _, clean = drawn((library, spoken))
    assert level_at(clean, 20) < level_at(clean, 440) - 30


def test_levels_are_drawn_around_the_nominal_one(libraries):
    for level_db in (-6, 6):
        noisy, _ = drawn(libraries, level_db=(level_db, level_db))
        assert 20 * np.log10(acoustics.rms(noisy)) == pytest.approx(level_db, abs=0.01)


def test_noise_alone_is_brought_to_its_own_level(libraries):
    noisy, clean = drawn(libraries, noise_only=1, local_level=True, level_db=(0, 0))
    assert not clean.any()
    assert 20 * np.log10(acoustics.rms(noisy)) == pytest.approx(0, abs=6)


def test_crops_that_are_all_pause_are_drawn_again():
    """Of a voice that speaks for a quarter of the time, by up to three more draws."""
    spoken = tones(440)
    samples = np.concatenate([spoken.samples, np.zeros(240_000, np.int16)])
    library = Library(samples, [Clip("a", "a", 0, len(samples))], np.ones(1))
    silent = [not drawn((library, spoken), seed, 2_048)[1].any() for seed in range(60)]
    assert np.mean(silent) == pytest.approx(0.75**4, abs=0.15)
