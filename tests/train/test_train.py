"""Training: widths and router learn together, a kill loses nothing."""

from __future__ import annotations

import csv
import dataclasses
import math
import os
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conftest import SMALL, run, voice
from mixing import PLAIN, mixer_of

from slimclean.enhancer import Enhancer
from slimclean.errors import SlimcleanError, SlimcleanWarning, UsageError
from slimclean.model import ModelConfig, SlimmableDemucs, checkpoint
from slimclean.model.slimmable import FrameWidths
from slimclean.scoring.evaluation import folder_pairs
from slimclean.train import muon
from slimclean.train.calibrate import calibrate
from slimclean.train.config import TrainConfig
from slimclean.train.log import stop_requested
from slimclean.train.loop import train
from slimclean.train.losses import enhancement_loss
from slimclean.train.mixer import Mixer
from slimclean.train.mixtures import write_mixtures
from slimclean.train.muon import orthogonalise
from slimclean.train.run import train_from_files
from slimclean.train.sources import scan_folder
from slimclean.train.tasks import given_widths, in_turn, random_targets, random_ufs, share_out
from slimclean.train.valid import mixed_pairs


def test_orthogonalised_updates_have_level_singular_values():
    torch.manual_seed(0)
    for shape in ((20, 50), (50, 20), (3, 16, 40)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
        assert values.min() > 0.3
        assert values.max() < 1.4


def test_updates_are_orthogonalised_as_the_source_says():
    """Newton-Schulz as its source writes it, in double precision, on updates of very unlike singular values."""
    torch.manual_seed(0)
    for shape in ((2, 128, 512), (3, 16, 40), (50, 20)):
        update = torch.randn(shape) @ torch.diag(torch.logspace(0, -4, shape[-1]))
        x = update.double().mT if shape[-2] > shape[-1] else update.double()
        x = x / torch.linalg.matrix_norm(x, keepdim=True)
        for _ in range(muon.STEPS):
            gram = x @ x.mT
            x = muon.A * x + (muon.B * gram + muon.C * gram @ gram) @ x
        wanted = (x.mT if shape[-2] > shape[-1] else x).float()
        torch.testing.assert_close(orthogonalise(update), wanted, rtol=0, atol=1e-4)
        torch.testing.assert_close(orthogonalise(update, torch.bfloat16), wanted, rtol=0, atol=0.05)


def test_two_steps_of_muon_written_out():
    """Nesterov's momentum, an update of every 128 rows by themselves as large as Adam's, and a decay."""
    torch.manual_seed(0)
    shapes = (256, 20), (3, 16, 40)
    values = [torch.randn(shape) for shape in shapes]
    params = [torch.nn.Parameter(value.clone()) for value in values]
    optimiser = muon.Muon(params, lr=0.1, momentum=0.9, weight_decay=0.2)
    buffers = [torch.zeros_like(value) for value in values]
    for _ in range(2):
        for k, (param, value, rows) in enumerate(zip(params, values, (128, 16), strict=True)):
            grad = param.grad = torch.randn(param.shape)
            buffers[k] = 0.9 * buffers[k] + 0.1 * grad
            update = (0.9 * buffers[k] + 0.1 * grad).view(-1, rows, grad.shape[-1])
            update = torch.stack([orthogonalise(block) for block in update]).view_as(grad)
            values[k] = (1 - 0.1 * 0.2) * value - 0.1 * 0.2 * (128, 40)[k] ** 0.5 * update
        optimiser.step()
    for param, value in zip(params, values, strict=True):
        torch.testing.assert_close(param.detach(), value, atol=1e-5, rtol=0)


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
        tasks = in_turn(count, cycle)
        assert all(task == cycle[k % len(cycle)] for k, task in enumerate(tasks))
        jobs = share_out(tasks, workers)
        assert sorted(k for items in jobs for k in items) == list(range(count))
        assert all(len({tasks[k] for k in items}) == 1 for items in jobs)
        assert all(len(items) == 1 for items in jobs if tasks[items[0]] == "static")
    with pytest.raises(UsageError, match="tasks are"):
        TrainConfig(Path("run"), tasks=("full", "fool"))


def test_static_ufs_and_targets_are_those_asked_for():
    rng = np.random.default_rng(0)
    given = [given_widths(random_ufs(rng, 10, (0.25, 0.5))[None], torch.device("cpu")) for _ in range(50)]
    assert set(given) == {0.25, 0.5}
    free = [given_widths(random_ufs(rng, 10)[None], torch.device("cpu")) for _ in range(50)]
    assert any(isinstance(widths, FrameWidths) for widths in free)
    assert random_targets(rng, 3, (0.1, 0.1)).tolist() == pytest.approx([0.1] * 3)
    drawn = random_targets(rng, 2000, (0.1, 1.0))
    assert 0.1 <= drawn.min() < 0.11
    assert 0.95 < drawn.max() <= 1
    assert drawn.median() == pytest.approx(0.1**0.5, abs=0.03)


@pytest.mark.parametrize(
    "wrong",
    [
        {"targets": (0.5, 0.1)}, {"targets": (0.0, 1.0)}, {"static_ufs": (0.25, 2.0)}, {"seed": -1},
        {"segment_s": math.nan}, {"segment_s": 0.0}, {"name": "state"}, {"name": "a/b"}, {"name": ""},
        {"lr": math.nan}, {"lr": math.inf}, {"lr": -1.0},
        {"beta": math.nan}, {"pauses": -5.0},
    ],
)  # fmt: skip
def test_what_is_no_way_to_train_is_refused(wrong):
    """A checkpoint of the name of the run's state would overwrite that."""
    with pytest.raises(UsageError, match=next(iter(wrong))):
        TrainConfig(Path("run"), **wrong)


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
    assert after["router.head.weight"].shape[0] == len(fewer.ufs) + 1  # and a pause
    assert all(before[name].equal(after[name]) for name in before if not name.startswith("router."))
    with pytest.raises(SlimcleanError, match="sizes"):
        train(config, mixer_of(libraries), dataclasses.replace(SMALL, gru_groups=1), init=start)


def test_a_router_that_learns_forgets_pauses_and_another_kind_starts_anew(libraries, tmp_path):
    torch.manual_seed(0)
    network = SlimmableDemucs(SMALL)
    with torch.no_grad():
        network.router.head.bias[-1] = 9.0  # it takes everything for a pause
    start = tmp_path / "start.safetensors"
    checkpoint.save(start, SMALL, dict(network.named_parameters()), {})
    noisy = torch.randn(2, 8192)
    for frozen in (True, False):
        config = TrainConfig(tmp_path / f"{frozen}", steps=2, freeze_router=frozen, **CONFIG)
        after = checkpoint.load(train(config, mixer_of(libraries), SMALL, init=start))[0]
        with torch.no_grad():
            assert (after.router.base_logits(noisy)[..., -1] > 0).all() == frozen
    recurrent = dataclasses.replace(SMALL, router_dilations=())
    config = TrainConfig(tmp_path / "recurrent", steps=0, **CONFIG)
    path = train(config, mixer_of(libraries), recurrent, init=start)
    after, header = checkpoint.load(path)
    assert header.config.router_dilations == ()
    assert "router.gru.input_weight" in after.state_dict()
    assert after.encoder[0].strided.weight.equal(network.encoder[0].strided.weight)


def test_a_network_learns_to_look_ahead_beside_old_weights(libraries, tmp_path):
    without = dataclasses.replace(SMALL, look_ahead=0)
    start = train(TrainConfig(tmp_path / "start", steps=1, **CONFIG), mixer_of(libraries), without)
    longer = TrainConfig(tmp_path / "longer", steps=0, **CONFIG)
    as_before = checkpoint.load(train(longer, mixer_of(libraries), SMALL, init=start))[0].state_dict()
    assert as_before.pop("row.weight").equal(SlimmableDemucs(SMALL).row.weight)
    before = checkpoint.load(start)[0].state_dict()
    assert before.keys() == as_before.keys()
    assert all(before[name].equal(as_before[name]) for name in before)
    learned = TrainConfig(tmp_path / "learned", steps=8, **CONFIG)
    after = checkpoint.load(train(learned, mixer_of(libraries), SMALL, init=start))[0].row.weight.detach()
    assert after[1:].abs().max() > 0


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
    assert float(rows[0]["lr"]) == pytest.approx(1e-3 * 5 / 26, rel=1e-4)
    assert (tmp_path / "trunk" / "state.safetensors").read_bytes() == state
    train(branch, mixer_of(libraries), SMALL)  # done: nothing more to do
    assert checkpoint.read_header(path).info["training"]["step"] == 29
    with pytest.raises(SlimcleanError, match="no state"):
        train(dataclasses.replace(branch, out=tmp_path / "c", branch=tmp_path), mixer_of(libraries), SMALL)


def test_training_from_folders_validates_and_continues_from_weights(corpus, tmp_path):
    config = TrainConfig(tmp_path / "a", name="tiny", steps=2, **CONFIG)
    folders = {"speech": [corpus / "speech"], "noise": [corpus / "noise"]}
    path = train_from_files(
        config, **folders, sizes=SIZES, valid_count=1, teach_count=0, corpus_weights=["a=2"]
    )
    assert path == tmp_path / "a" / "tiny.safetensors"
    with (tmp_path / "a" / "valid.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["uf"] == "noisy"
    assert {row["uf"] for row in rows} >= {"0.125", "1.0", "auto"}
    assert all(row["si_sdr_db"] for row in rows)
    again = TrainConfig(tmp_path / "b", steps=1, **CONFIG)
    train_from_files(again, **folders, init=str(path), valid_count=0, teach_count=0)
    header = checkpoint.read_header(tmp_path / "b" / "model.safetensors")
    assert header.info["training"]["step"] == 1
    assert header.config == SMALL


@pytest.mark.parametrize(
    "geometry",
    [
        {"depth": 4},
        {"hidden": 16, "depth": 3, "stride": 8, "upsampling": 2},
        {"depth": 2, "stride": 16, "upsampling": 1},
        {"depth": 3, "stride": 20, "upsampling": 5},
    ],
    ids=str,
)
def test_networks_of_other_frames_train_on_every_loss(libraries, tmp_path, geometry):
    """However short the segments are."""
    losses = {"perceptual": 0.3, "intelligibility": 1.0, "pauses": 0.08}
    config = TrainConfig(tmp_path, steps=1, **CONFIG | {"segment_s": 0.001}, **losses)
    model = ModelConfig(**{"hidden": 4, "router_channels": 4} | geometry)
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
    assert done.exit_code == 2
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
    for text, dilations in (("", ()), ("1,3", (1, 3))):
        where_to = tmp_path / f"router{text}"
        done = run("train", where_to, *where, "--init", path, "--router-dilations", text, *rest)
        assert done.exit_code == 0, done.output
        assert checkpoint.read_header(where_to / "model.safetensors").config.router_dilations == dilations
    dilations = (["--router-dilations", text] for text in ("1,2.5", "0", "33", "inf"))
    for wrong in (
        ["--hidden", 6, "--gru-groups", 7],
        ["--depth", 1],
        ["--depth", 6],
        ["--ufs", "2"],
        *dilations,
    ):
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
    assert train_from_files(
        config, manifest=corpus / "manifest.csv", sizes=SIZES, valid_count=1, teach_count=0
    ).exists()
    assert len(list((tmp_path / "cache").glob("*.int16"))) == 4
    write_mixtures(tmp_path / "out", corpus / "manifest.csv", count=2, seconds=1.0, corpus="b")
    pairs = folder_pairs(tmp_path / "out" / "clean", tmp_path / "out" / "noisy")
    assert [len(pair.noisy) for pair in pairs] == [16_000, 16_000]
    assert not np.array_equal(pairs[0].noisy, pairs[0].clean)


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


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    ("number", "raised", "code"),
    [
        (signal.SIGINT, KeyboardInterrupt, None),
        (signal.SIGTERM, SystemExit, 143),
        (getattr(signal, "SIGHUP", None), SystemExit, 129),
    ],
)
def test_a_signal_ends_a_step_later_as_that_signal_does(number, raised, code):
    if number is None:
        pytest.skip("Windows has no SIGHUP")
    with stop_requested() as stop:
        assert stop.number is None
        signal.raise_signal(number)
        assert stop.number == number
    with pytest.raises(raised) as caught:
        stop.end()
    assert getattr(caught.value, "code", None) == code


def test_a_run_that_goes_on_says_what_is_not_as_before(libraries, tmp_path):
    config = TrainConfig(tmp_path, steps=1, **CONFIG)
    train(config, mixer_of(libraries), SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(dataclasses.replace(config, steps=2, valid_every=7), mixer_of(libraries), SMALL)
    with pytest.warns(SlimcleanWarning, match=r"goes on with lr 0\.5 instead of 0\.001, seed 3 instead of 0$"):
        train(dataclasses.replace(config, steps=3, lr=0.5, seed=3), mixer_of(libraries), SMALL)


def test_an_interrupted_run_is_saved_at_its_last_step_and_goes_on(libraries, tmp_path):
    config = CONFIG | {"workers": 1}
    whole = train(TrainConfig(tmp_path / "whole", steps=6, decay=1e-9, **config), mixer_of(libraries), SMALL)
    parts = TrainConfig(tmp_path / "parts", steps=6, decay=1e-9, **config)
    with pytest.raises(SystemExit, match="143"):
        train(parts, Interrupting(*libraries, rooms=mixer_of(libraries).rooms), SMALL)
    stopped = checkpoint.read_header(tmp_path / "parts" / "model.safetensors").info["training"]
    assert stopped["step"] == 3  # of five examples: the one that the signal came in is finished
    resumed = train(parts, mixer_of(libraries), SMALL)
    a, b = (checkpoint.load(path)[0].state_dict() for path in (whole, resumed))
    assert all(a[name].equal(b[name]) for name in a)


def test_a_damaged_state_is_one_line(libraries, tmp_path):
    config = TrainConfig(tmp_path, steps=1, **CONFIG)
    train(config, mixer_of(libraries), SMALL)
    with pytest.raises(UsageError, match="its sizes are not those to train"):
        train(config, mixer_of(libraries), dataclasses.replace(SMALL, hidden=6))
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(SlimcleanError, match="no state of a training run"):
        train(config, mixer_of(libraries), SMALL)
