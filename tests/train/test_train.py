"""Training: what is mixed is what was asked, widths and router learn together, a kill loses nothing."""

from __future__ import annotations

import csv
import dataclasses
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conftest import SMALL, run, voice
from test_examples import PAIR

from slimclean import audio
from slimclean.enhancer import Enhancer
from slimclean.errors import SlimcleanError, UsageError
from slimclean.model import ModelConfig, checkpoint
from slimclean.model.slimmable import FrameWidths
from slimclean.scoring.evaluation import folder_pairs
from slimclean.train import acoustics, voices
from slimclean.train.calibrate import calibrate
from slimclean.train.config import TrainConfig
from slimclean.train.loop import train
from slimclean.train.losses import enhancement_loss
from slimclean.train.mix import MixConfig, MixDataset, Mixer, read_mix
from slimclean.train.mixtures import write_mixtures
from slimclean.train.muon import orthogonalise
from slimclean.train.run import train_from_files
from slimclean.train.sources import Library, load_library, scan_folder
from slimclean.train.tasks import random_targets, random_widths, share_out
from slimclean.train.valid import VALID_MIX, mixed_pairs, validator

PLAIN = MixConfig(
    noise_only=0, clean_only=0, reverb=0, two_noises=0, synthetic_noise=0, babble=0, speed=0,
    rumble=0, filtered_noise=0, filtered_speech=0, gated_noise=0, narrowband=0, clipped=0,
    quiet_targets=False, two_speakers=0, fade=0, turned_away=0, slam=0, local_level=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Twenty voices and twenty noises in folders, at two sample rates."""
    root = tmp_path_factory.mktemp("corpus")
    for k in range(20):
        for kind in ("speech", "noise"):
            folder = root / kind / ("a" if k < 15 else "b")
            folder.mkdir(parents=True, exist_ok=True)
            rate = 16_000 if k % 2 else 22_050
            x = voice(1.5, rate, seed=k) if kind == "speech" else np.random.default_rng(k).normal(0, 0.1, rate)
            soundfile.write(folder / f"{k:02d}.wav", x, rate)
    return root


@pytest.fixture(scope="module")
def libraries(corpus, tmp_path_factory) -> tuple[Library, Library]:
    cache = tmp_path_factory.mktemp("cache")
    speech, noise = (load_library(scan_folder(corpus / kind), cache) for kind in ("speech", "noise"))
    return speech, noise


def mixer_of(libraries, config=None) -> Mixer:
    return Mixer(*libraries, config, rooms=[np.array([1, 0, 0.5], np.float32)])


def test_libraries_hold_every_file_once_and_reuse_their_cache(corpus, tmp_path):
    files = scan_folder(corpus / "speech")
    library = load_library(files, tmp_path, {"b": 0.0})
    assert {clip.corpus for clip in library.clips} == {"a", "b"}
    assert library.hours * 3600 == pytest.approx(20 * 1.5, abs=0.01)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    load_library(files, tmp_path)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == before
    assert library.cumulative[14] == pytest.approx(1.0)  # nothing of b is drawn
    rng = np.random.default_rng(0)
    assert library.crop(rng, 1000).shape == (1000,)
    assert library.crop(rng, 60_000).shape == (60_000,)  # longer than any clip


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
        two_speakers=0.5, fade=0.5, turned_away=0.5, slam=0.5,
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


def test_rooms_decay_as_asked():
    for seed in range(5):
        response = acoustics.room_impulse_response(np.random.default_rng(seed))
        assert response[0] == pytest.approx(1, abs=1e-3)  # the direct sound
        energy = np.square(response[::-1]).cumsum()[::-1]  # Schroeder's backward integral
        drop_db = 10 * np.log10(energy[len(energy) * 3 // 4] / energy[0])
        assert -100 < drop_db < -8
        assert np.isfinite(response).all()


@pytest.mark.parametrize("make", [acoustics.coloured_noise, acoustics.hum, acoustics.clicks, acoustics.music])
def test_synthetic_noises_have_unit_level(make):
    x = make(np.random.default_rng(1), 16_000)
    assert x.dtype == np.float32
    assert acoustics.rms(x) == pytest.approx(1, abs=1e-3)


def test_music_is_a_few_tones_at_a_time():
    def share_of_peaks(x):
        power = np.sort(np.abs(np.fft.rfft(x[:8000])) ** 2)
        return power[-80:].sum() / power.sum()

    rng = np.random.default_rng(0)
    music, noise = (
        [make(rng, 32_000) for _ in range(6)] for make in (acoustics.music, acoustics.coloured_noise)
    )
    assert np.median([share_of_peaks(x) for x in music]) > 0.8
    assert np.median([share_of_peaks(x) for x in music]) > np.median([share_of_peaks(x) for x in noise]) + 0.2
    assert not np.array_equal(music[0], music[1])


def test_a_whisper_keeps_the_envelope_and_loses_the_pitch():
    clean = audio.read(PAIR / "clean.flac")[0][0]
    whispered = acoustics.whisper(np.random.default_rng(0), clean)
    assert whispered.shape == clean.shape
    frames = [x[: len(x) // 1600 * 1600].reshape(-1, 1600) for x in (clean, whispered)]
    levels = [10 * np.log10(np.square(x).mean(1) + 1e-6) for x in frames]
    assert np.corrcoef(*levels)[0, 1] > 0.95
    voiced = frames[0][levels[0].argmax()]
    breathed = frames[1][levels[0].argmax()]
    assert _periodicity(voiced) > 0.5 > _periodicity(breathed)


def _periodicity(x: np.ndarray) -> float:
    """The autocorrelation's peak at lags of 60 to 400 Hz."""
    lags = np.correlate(x, x, "full")[len(x) - 1 :]
    return float(lags[40:266].max() / lags[0])


def test_orthogonalised_updates_have_level_singular_values():
    torch.manual_seed(0)
    for shape in ((20, 50), (50, 20), (3, 16, 40)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
        assert values.min() > 0.3
        assert values.max() < 1.4


SIZES = {"hidden": SMALL.hidden, "router_channels": SMALL.router_channels}

CONFIG: dict[str, Any] = {
    "batch": 5,
    "segment_s": 0.128,
    "lr": 1e-3,
    "warmup_steps": 1,
    "workers": 2,
    "loaders": 0,
    "save_every_s": 1e9,
}


def test_training_learns_and_trains_every_part(libraries, tmp_path):
    start = train(TrainConfig(tmp_path / "zero", steps=1, **CONFIG), mixer_of(libraries, PLAIN), SMALL)
    path = train(TrainConfig(tmp_path / "run", steps=60, **CONFIG), mixer_of(libraries, PLAIN), SMALL)
    before, after = checkpoint.load(start)[0].state_dict(), checkpoint.load(path)[0].state_dict()
    assert [name for name in before if before[name].equal(after[name])] == []
    with (tmp_path / "run" / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["25", "50"]
    pairs = mixed_pairs(mixer_of(libraries, dataclasses.replace(PLAIN, snr_db=(0, 0, 0))), 8, 1.0)
    loss = {}
    for name, file in (("before", start), ("after", path)):
        network = checkpoint.load(file)[0]
        with torch.no_grad():
            outs = [network(torch.from_numpy(p.noisy[None, :15_872]), 1.0).waveform for p in pairs]
        loss[name] = np.mean(
            [
                float(enhancement_loss(torch.from_numpy(p.clean[None, :15_872]), out))
                for p, out in zip(pairs, outs, strict=True)
            ]
        )
    assert loss["after"] < 0.9 * loss["before"]


@pytest.mark.parametrize("cycle", [TrainConfig.tasks, ("full", "routed", "static")])
@pytest.mark.parametrize("workers", [1, 2, 8])
def test_jobs_hold_every_example_once_and_static_ones_alone(cycle, workers):
    for count in range(3, 14):
        jobs = share_out(count, cycle, workers)
        assert sorted(k for _, items in jobs for k in items) == list(range(count))
        assert {task for task, _ in jobs} == {"full", "static", "routed"}
        assert all(len(items) == 1 for task, items in jobs if task == "static")
        assert all(cycle[k % len(cycle)] == task for task, items in jobs for k in items)
    with pytest.raises(UsageError, match="tasks are"):
        TrainConfig(Path("run"), tasks=("full", "fool"))


def test_static_ufs_and_targets_are_those_asked_for():
    rng = np.random.default_rng(0)
    assert {random_widths(rng, 10, torch.device("cpu"), (0.25, 0.5)) for _ in range(50)} == {0.25, 0.5}
    free = [random_widths(rng, 10, torch.device("cpu")) for _ in range(50)]
    assert any(isinstance(widths, FrameWidths) for widths in free)
    assert random_targets(rng, 3, (0.1, 0.1)).tolist() == pytest.approx([0.1] * 3)
    drawn = random_targets(rng, 2000, (0.1, 1.0))
    assert 0.1 <= drawn.min() < 0.11
    assert 0.95 < drawn.max() <= 1
    assert drawn.median() == pytest.approx(0.1**0.5, abs=0.03)
    for wrong in ({"targets": (0.5, 0.1)}, {"targets": (0.0, 1.0)}, {"static_ufs": (0.25, 2.0)}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            TrainConfig(Path("run"), **wrong)


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


def test_a_frozen_router_routes_and_stays_and_a_new_one_starts_beside_old_weights(libraries, tmp_path):
    start = train(TrainConfig(tmp_path / "start", steps=1, **CONFIG), mixer_of(libraries), SMALL)
    frozen = TrainConfig(tmp_path / "frozen", steps=25, freeze_router=True, **CONFIG)
    path = train(frozen, mixer_of(libraries), SMALL, init=start)
    before, after = checkpoint.load(start)[0].state_dict(), checkpoint.load(path)[0].state_dict()
    for name in before:
        assert before[name].equal(after[name]) == name.startswith("router."), name
    with (tmp_path / "frozen" / "train.csv").open(newline="") as file:
        assert 0 < float(next(csv.DictReader(file))["uf"]) <= 1

    fewer = dataclasses.replace(SMALL, ufs=SMALL.ufs[1:], target_knots=SMALL.target_knots[1:])
    config = TrainConfig(tmp_path / "fewer", steps=0, **CONFIG)
    path = train(config, mixer_of(libraries), fewer, init=start)
    after = checkpoint.load(path)[0].state_dict()
    assert after["router.head.weight"].shape[0] == len(fewer.ufs)
    assert all(before[name].equal(after[name]) for name in before if not name.startswith("router."))
    with pytest.raises(SlimcleanError, match="sizes"):
        train(config, mixer_of(libraries), dataclasses.replace(SMALL, gru_groups=1), init=start)


def test_a_resumed_run_equals_an_undisturbed_one(libraries, tmp_path):
    config = CONFIG | {"workers": 1}
    whole = train(TrainConfig(tmp_path / "whole", steps=8, decay=1e-9, **config), mixer_of(libraries), SMALL)
    for steps in (5, 8):  # stopped after five steps, then continued
        parts = TrainConfig(tmp_path / "parts", steps=steps, decay=1e-9, **config)
        resumed = train(parts, mixer_of(libraries), SMALL)
    a, b = (checkpoint.load(path)[0].state_dict() for path in (whole, resumed))
    for name in a:
        assert a[name].equal(b[name]), name


def test_a_trunk_keeps_its_rate_and_a_branch_counts_on_from_it(libraries, tmp_path):
    trunk = TrainConfig(tmp_path / "trunk", steps=3, decay=0.0, **CONFIG)
    train(trunk, mixer_of(libraries), SMALL)
    state = (tmp_path / "trunk" / "state.safetensors").read_bytes()
    branch = TrainConfig(tmp_path / "branch", steps=26, decay=1.0, branch=tmp_path / "trunk", **CONFIG)
    path = train(branch, mixer_of(libraries), SMALL)
    assert checkpoint.read_header(path).info["training"]["step"] == 29
    with (tmp_path / "branch" / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["25"]
    assert float(rows[0]["lr"]) == pytest.approx(4 / 26, abs=1e-4)
    assert (tmp_path / "trunk" / "state.safetensors").read_bytes() == state
    train(branch, mixer_of(libraries), SMALL)  # done: nothing more to do
    assert checkpoint.read_header(path).info["training"]["step"] == 29
    with pytest.raises(SlimcleanError, match="no state"):
        train(dataclasses.replace(branch, out=tmp_path / "c", branch=tmp_path), mixer_of(libraries), SMALL)


def test_training_from_folders_validates_and_continues_from_weights(corpus, tmp_path):
    config = TrainConfig(tmp_path / "a", name="tiny", steps=2, **CONFIG)
    folders = {"speech": [corpus / "speech"], "noise": [corpus / "noise"]}
    path = train_from_files(config, **folders, sizes=SIZES, valid_count=1, corpus_weights=["a=2"])
    assert path == tmp_path / "a" / "tiny.safetensors"
    with (tmp_path / "a" / "valid.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["uf"] == "noisy"
    assert {row["uf"] for row in rows} >= {"0.125", "1.0", "auto"}
    assert all(row["si_sdr_db"] for row in rows)
    again = TrainConfig(tmp_path / "b", steps=1, **CONFIG)
    train_from_files(again, **folders, init=str(path), valid_count=0)
    header = checkpoint.read_header(tmp_path / "b" / "model.safetensors")
    assert header.info["training"]["step"] == 1
    assert header.config == SMALL


@pytest.mark.parametrize(
    "geometry",
    [{"depth": 4}, {"depth": 2, "stride": 16, "upsampling": 1}, {"depth": 3, "stride": 20, "upsampling": 5}],
    ids=str,
)
def test_networks_of_other_frames_train_on_every_loss(libraries, tmp_path, geometry):
    """However short the segments are."""
    losses = {"perceptual": 0.3, "intelligibility": 1.0, "pauses": 0.08}
    config = TrainConfig(tmp_path, steps=1, **CONFIG | {"segment_s": 0.001}, **losses)
    model = ModelConfig(hidden=4, router_channels=4, **geometry)
    network, header = checkpoint.load(train(config, mixer_of(libraries), model))
    assert header.config == model
    assert all(p.isfinite().all() for p in network.parameters())


def test_a_network_of_another_size_from_the_command_line(corpus, tmp_path):
    """Trained, resumed, started from, and used, all without touching a file of the package."""
    where = ["--speech", corpus / "speech", "--noise", corpus / "noise", "--segment-s", 0.128, "--loaders", 0]
    small = ["--hidden", 6, "--depth", 4, "--gru-groups", 3, "--router-channels", 5, "--ufs", "0.25,0.5,1"]
    rest = ["--steps", 1, "--workers", 1, "--valid-count", 0, "--teach-count", 0]
    done = run("train", tmp_path / "a", *where, *small, *rest[:4], "--valid-count", 1, "--teach-count", 2)
    assert done.exit_code == 0, done.output
    path = tmp_path / "a" / "model.safetensors"
    wanted = ModelConfig(hidden=6, depth=4, gru_groups=3, router_channels=5, ufs=(0.25, 0.5, 1.0))
    assert checkpoint.read_header(path).config == wanted
    assert run("train", tmp_path / "a", *where, *small, *rest).exit_code == 0
    done = run("train", tmp_path / "a", *where, *small, "--upsampling", 2, *rest)
    assert done.exit_code == 1
    assert "its sizes are not those to train" in done.stderr
    one = ["--static-ufs", "0.25,0.5", "--targets", "0.3"]
    done = run("train", tmp_path / "b", *where, "--init", path, "--ufs", "0.25,0.5,1", *one, *rest)
    assert done.exit_code == 0, done.output
    assert checkpoint.read_header(tmp_path / "b" / "model.safetensors").config == wanted
    soundfile.write(tmp_path / "a.wav", voice(0.5), 16_000)
    assert run("enhance", tmp_path / "a.wav", "-m", path).exit_code == 0
    done = run("train", tmp_path / "b", *where, "--targets", "0.1,0.2,0.3", *rest)
    assert done.exit_code == 2
    assert "--targets takes one number or two" in done.stderr
    for wrong in (["--hidden", 6, "--gru-groups", 7], ["--depth", 1], ["--depth", 6], ["--ufs", "2"]):
        done = run("train", tmp_path / "c", *where, *wrong, *rest)
        assert done.exit_code == 2
        assert done.stderr.startswith("slimclean: no network has these sizes: ")
        assert not (tmp_path / "c").exists()


def test_half_a_request_is_refused(corpus, tmp_path):
    for arguments in (
        {},
        {"speech": [corpus]},
        {"manifest": corpus / "m.csv", "speech": [corpus], "noise": [corpus]},
    ):
        with pytest.raises(UsageError, match="either `manifest`, or both"):
            train_from_files(TrainConfig(tmp_path, steps=1), **arguments)
    with pytest.raises(UsageError, match="NAME=FACTOR"):
        train_from_files(TrainConfig(tmp_path), speech=[corpus], noise=[corpus], corpus_weights=["x"])


def test_a_manifest_says_what_is_validation(corpus, tmp_path):
    lines = ["path,kind,corpus,split"]
    for kind in ("speech", "noise"):
        for path, name in scan_folder(corpus / kind):
            split = "valid" if name == "b" else "train"
            lines.append(f"{path.relative_to(corpus)},{kind},{name},{split}")
    (corpus / "manifest.csv").write_text("\n".join(lines))
    config = TrainConfig(tmp_path, steps=1, **CONFIG)
    assert train_from_files(config, manifest=corpus / "manifest.csv", sizes=SIZES, valid_count=1).exists()
    assert len(list((tmp_path / "cache").glob("*.int16"))) == 4
    write_mixtures(tmp_path / "out", corpus / "manifest.csv", count=2, seconds=1.0, corpus="b")
    pairs = folder_pairs(tmp_path / "out" / "clean", tmp_path / "out" / "noisy")
    assert [len(pair.noisy) for pair in pairs] == [16_000, 16_000]
    assert not np.array_equal(pairs[0].noisy, pairs[0].clean)


def test_given_rooms_are_used(corpus, tmp_path, monkeypatch):
    rooms = tmp_path / "rooms"
    rooms.mkdir()
    soundfile.write(rooms / "hall.wav", np.array([0, 0, 0.5, 0.1, -0.05]), 16_000)
    seen = []
    monkeypatch.setattr(
        "slimclean.train.run.train", lambda config, mixer, **_: seen.append(mixer) or config.out
    )
    config = TrainConfig(tmp_path / "run", steps=1)
    train_from_files(config, speech=[corpus / "speech"], noise=[corpus / "noise"], rooms=rooms, valid_count=0)
    np.testing.assert_allclose(seen[0].rooms[0], [1, 0.2, -0.1], atol=1e-3)


def test_validation_pairs_are_fixed_and_hold_speech(libraries):
    first, again = (mixed_pairs(mixer_of(libraries, VALID_MIX), 3, 1.0) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.noisy, b.noisy)
        assert np.abs(a.clean).max() > 0
    assert len({p.noisy.tobytes() for p in first}) == 3
    assert callable(validator(first))


def test_pairs_from_folders_need_counterparts(corpus):
    assert len(folder_pairs(corpus / "speech", corpus / "speech")) == 20
    with pytest.raises(UsageError, match="no counterpart"):
        folder_pairs(corpus, corpus / "speech")


def test_calibration_makes_the_mean_uf_the_target(small):
    rng = np.random.default_rng(0)
    recordings = [voice(2.0, seed=k) + rng.normal(0, 10.0**-k, 32_000).astype(np.float32) for k in range(4)]
    reached = calibrate(small, recordings)
    for target in (0.25, 0.5, 0.75):
        assert reached[target] == pytest.approx(target, abs=0.03)
        ufs = np.concatenate([Enhancer("auto", target, network=small)(x, 16_000).uf for x in recordings])
        assert ufs.mean() == pytest.approx(reached[target], abs=0.002)
    assert SMALL.ufs[0] < reached[0.1] < 0.15
    assert reached[1.0] > 0.95


class Interrupting(Mixer):
    """Asks the process to stop while it draws example `at`."""

    at = 12
    drawn = 0

    def draw(self, rng, length):
        self.drawn += 1
        if self.drawn == self.at:
            signal.raise_signal(signal.SIGTERM)
        return super().draw(rng, length)


def test_an_interrupted_run_is_saved_at_its_last_step_and_goes_on(libraries, tmp_path):
    config = CONFIG | {"workers": 1}
    whole = train(TrainConfig(tmp_path / "whole", steps=6, decay=1e-9, **config), mixer_of(libraries), SMALL)
    parts = TrainConfig(tmp_path / "parts", steps=6, decay=1e-9, **config)
    with pytest.raises(KeyboardInterrupt):
        train(parts, Interrupting(*libraries, rooms=mixer_of(libraries).rooms), SMALL)
    stopped = checkpoint.read_header(tmp_path / "parts" / "model.safetensors").info["training"]
    assert stopped["step"] == 3  # of five examples: the one that the signal came in is finished
    resumed = train(parts, mixer_of(libraries), SMALL)
    a, b = (checkpoint.load(path)[0].state_dict() for path in (whole, resumed))
    assert all(a[name].equal(b[name]) for name in a)


def test_a_damaged_state_is_one_line(libraries, tmp_path):
    config = TrainConfig(tmp_path, steps=1, **CONFIG)
    train(config, mixer_of(libraries), SMALL)
    with pytest.raises(SlimcleanError, match="its sizes are not those to train"):
        train(config, mixer_of(libraries), dataclasses.replace(SMALL, hidden=6))
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(SlimcleanError, match="no state of a training run"):
        train(config, mixer_of(libraries), SMALL)
