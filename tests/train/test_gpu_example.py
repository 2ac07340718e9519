"""The scripts that train on a GPU, as far as a CPU can tell: their parts beside the package's, and a run."""

from __future__ import annotations

import copy
import csv
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL

from slimclean.model import checkpoint
from slimclean.model.row import RowConvolution
from slimclean.model.slimmable import FrameWidths
from slimclean.train.config import TrainConfig
from slimclean.train.losses import EfficiencyLoss, enhancement_loss
from slimclean.train.mixer import Mixer
from slimclean.train.objective import Objective
from slimclean.train.state import ROW_FACTOR, State

EXAMPLES = Path(__file__).parents[2] / "examples"
SAMPLES = 40 * SMALL.frame_hop


@pytest.fixture(scope="module")
def example():
    """The step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        return importlib.import_module("gpu_step")


@pytest.fixture(scope="module")
def steady():
    """The script for slow speech."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        return importlib.import_module("steady_levels")


@pytest.fixture(scope="module")
def quiet():
    """The script for faint noise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        return importlib.import_module("quiet_pauses")


@pytest.fixture
def manifest(corpus, tmp_path):
    rows = [
        {"path": file, "kind": file.parent.parent.name, "corpus": file.parent.name, "split": "train"}
        for file in corpus.rglob("*.wav")
    ]
    with (tmp_path / "manifest.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path / "manifest.csv"


@pytest.fixture(scope="module")
def training(example):
    """What feeds it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        return importlib.import_module("train_on_gpu")


def test_widths_and_row_are_those_of_the_package(example):
    torch.manual_seed(0)
    uf = torch.tensor([0.0625, 0.1, 0.18, 0.3, 0.5, 1.0])[torch.randint(0, 6, (3, 20))]
    for channels in (4, 10, 32):
        torch.testing.assert_close(example.ByFrame(uf).mask(channels), FrameWidths.of(uf).mask(channels))
    row = RowConvolution(8, 5)
    torch.nn.init.normal_(row.weight)
    x = torch.randn(2, 30, 8)
    torch.testing.assert_close(example.RowByFourier(row)(x), row(x))


def test_a_step_is_one_of_the_package(example, small, tmp_path, monkeypatch):
    """Two examples at UF 1 and four at others, none of them routed: the loss, its gradient, both optimisers."""
    monkeypatch.setattr(example, "ROW_FACTOR", ROW_FACTOR)
    torch.manual_seed(0)
    noisy = torch.randn(6, SAMPLES)
    clean = 0.5 * noisy + 0.1 * torch.randn(6, SAMPLES)
    ufs = torch.tensor([1, 1, 0.25, 0.25, 0.25, 0.25])[:, None].repeat(1, 40)
    losses = {"perceptual": example.PESQ, "intelligibility": example.STOI, "pauses": 0.1}
    config = TrainConfig(tmp_path, **losses, lr=1e-3, weight_decay=example.WEIGHT_DECAY, static_ufs=(0.25,))
    state = State(config, SMALL, torch.device("cpu"), bf16=False)
    state.network.load_state_dict(small.state_dict())

    step = example.Step(copy.deepcopy(small), 6, SAMPLES, 0.0, pauses=0.1)
    monkeypatch.setattr(step, "_ufs", lambda: step.uf)
    step.load(example.Batch(noisy, clean, ufs, step.knots, step.level_db, old=False))
    step.run(1e-3)

    objective = Objective(config, state.network, EfficiencyLoss(SMALL.target_knots), bf16=False)
    tasks = ["full", "full", *["static"] * 4]
    loss = objective(tasks, noisy, clean, 0, np.random.default_rng(0)).loss
    grads = torch.autograd.grad(loss, state.params, allow_unused=True)
    for p, grad in zip(state.params, grads, strict=True):
        p.grad = torch.zeros_like(p) if grad is None else grad
    norm = torch.nn.utils.clip_grad_norm_(state.params, example.CLIP)
    assert float(step.norm) == pytest.approx(float(norm), rel=1e-3)
    state.set_rate(1e-3)
    state.muon.step()
    state.adam.step()
    wanted = dict(state.network.named_parameters())
    for name, p in step.named:
        moved = float((wanted[name] - small.get_parameter(name)).detach().abs().max())
        assert moved > 0
        torch.testing.assert_close(p, wanted[name], rtol=0, atol=0.02 * moved)


def test_what_was_heard_before_is_another_mixture(example):
    torch.manual_seed(0)
    clean = torch.randn(4, 100)
    clean[3] = 0
    noisy = clean + torch.tensor([1.0, 2.0, 3.0, 1e-3])[:, None] * torch.randn(4, 100)
    mixture, voice = example.mixed_anew(noisy, clean)
    for k in range(3):
        torch.testing.assert_close(voice[k] / voice[k].norm(), clean[k] / clean[k].norm())
        torch.testing.assert_close(mixture[k].norm(), noisy[k].norm())
        noises = torch.stack([mixture[k] - voice[k], noisy[k] - clean[k]])
        assert noises.corrcoef()[0, 1].abs() < 0.4
    torch.testing.assert_close(mixture[3], noisy[3])


def test_what_overflows_is_skipped(example, small):
    step = example.Step(copy.deepcopy(small), 6, SAMPLES, 0.0)
    before = [p.detach().clone() for p in step.params]
    step.lr.fill_(1e-3)
    step._update(tuple(torch.full_like(p, torch.inf) for p in step.params))
    assert all((p == old).all() for p, old in zip(step.params, before, strict=True))
    assert (int(step.skipped), int(step.count)) == (1, 0)
    assert float(step.scale) == example.FIRST_SCALE / 2


def test_it_trains(manifest, weights, tmp_path):
    short = ["--minutes", "0.02", "--batch", "6", "--segment-s", "0.32", "--processes", "1"]
    command = [
        sys.executable,
        EXAMPLES / "train_on_gpu.py",
        weights,
        manifest,
        tmp_path / "out",
        *short,
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    network, header = checkpoint.load(tmp_path / "out" / "model.safetensors")
    assert header.info["training"]["steps"] >= 1
    start = dict(checkpoint.load(weights)[0].named_parameters())
    for name, p in network.named_parameters():
        assert name.startswith("router.") == bool((p == start[name]).all()), name


def test_the_mix_is_one(training, libraries):
    noisy, clean = Mixer(*libraries, training.MIX).draw(np.random.default_rng(0), SAMPLES)
    assert noisy.shape == clean.shape == (SAMPLES,)


def test_slow_speech_lasts_longer_at_a_level_of_its_own(steady, libraries):
    slow = steady.slowed(np.random.default_rng(0), libraries[0], SAMPLES)
    assert slow.shape == (SAMPLES,)
    assert slow.std() == pytest.approx(1, abs=0.02)


def test_only_loud_frames_under_both_fixed_ufs_are_dips(steady):
    hop, slow = SMALL.frame_hop, torch.ones(1, 4 * SMALL.frame_hop)
    slow[:, -hop:] *= 0.01
    lowest = steady.levels_db(slow, hop)
    factor = 10 ** (torch.tensor([0, 6.0, -2 - steady.ALLOWED_DB, -2]) / 20)
    given = slow * factor.repeat_interleave(hop)
    torch.testing.assert_close(steady.dips(slow, lowest, given, hop), torch.tensor(4 / 3), rtol=1e-3, atol=0)
    assert steady.dips(slow, lowest, slow, hop) == 0


def test_ufs_alternate(steady):
    rng, ufs = np.random.default_rng(0), SMALL.ufs
    drawn = [steady.alternating(rng, ufs, 12) for _ in range(40)]
    assert any(torch.equal(x, torch.tensor([ufs[0], ufs[3]]).repeat(6)) for x in drawn)
    assert {u for x in drawn for u in x.tolist()} == set(torch.tensor(ufs).tolist())


def test_faint_noise_is_learned_and_the_usual_held(quiet, libraries, small):
    """Of the usual half, the output of the weights before is what costs least; of the faint, the speech."""
    rng = np.random.default_rng(0)
    faint = [Mixer(*libraries, quiet.FAINT).draw(rng, SAMPLES) for _ in range(2 * quiet.EACH)]
    noisy, clean = map(quiet.stacked, zip(*faint, strict=True))
    ufs = quiet.widths(rng, small, noisy)
    assert ufs.shape == (2 * quiet.EACH, 40)
    assert torch.isin(ufs, torch.tensor([*quiet.UFS, *SMALL.ufs])).all()
    loss, pauses = quiet.loss_of(small, small, noisy, clean, ufs)
    assert (pauses >= 0).all()
    before = copy.deepcopy(small)
    with torch.no_grad():
        before.decoder[-1].transposed.weight *= 1.5
        usual = noisy[quiet.EACH :], FrameWidths.of(ufs[quiet.EACH :])
        held = enhancement_loss(*(network.backbone(*usual) for network in (before, small))).mean()
    moved = quiet.loss_of(small, before, noisy, clean, ufs)[0] - loss
    assert float(held) == pytest.approx(float(moved.detach()), abs=1e-4)
    assert held > 1e-3


@pytest.mark.parametrize("script", ["steady", "quiet"])
def test_they_train_all_but_the_router(script, request, manifest, weights, tmp_path):
    module = request.getfixturevalue(script)
    out = tmp_path / "trained.safetensors"
    short = ["--minutes", "0.02", "--segment-s", "0.64", "--lr", "1e-3"]
    options = module.parser(None, minutes=5.0, lr=3e-5, segment_s=2.56)
    module.main(options.parse_args(list(map(str, [weights, manifest, out, *short]))))
    start, found = (dict(checkpoint.load(file)[0].named_parameters()) for file in (weights, out))
    for name, p in found.items():
        assert name.startswith("router.") == bool((p == start[name]).all()), name
