"""DNSMOS in the loss: the network that speechmos runs, and a pull that is bounded."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import run

from slimclean.errors import MissingDependencyError, SlimcleanError
from slimclean.train import dnsmos_loss, log
from slimclean.train.config import TrainConfig
from slimclean.train.dnsmos_loss import Opinion, pull, read_network
from slimclean.train.losses import EfficiencyLoss
from slimclean.train.objective import Objective

LEVEL = torch.tensor([-25.0])


@pytest.fixture(scope="module")
def judge():
    pytest.importorskip("speechmos")
    pytest.importorskip("onnx")
    return read_network()


@pytest.fixture(scope="module")
def pair():
    """Two seconds of speech, clean and noisy, [1, T] each."""
    pairs = Path(__file__).parents[1] / "pairs"
    clean, noisy = (soundfile.read(pairs / f"{name}.flac", dtype="float32")[0] for name in ("clean", "noisy"))
    return torch.from_numpy(clean[None, 16_000:48_000]), torch.from_numpy(noisy[None, 16_000:48_000])


def test_it_says_what_the_package_says(judge, pair, monkeypatch):
    import onnxruntime
    from speechmos import dnsmos

    recording = pair[1].repeat(1, 6)[:, :144_160]
    model = Path(dnsmos.__file__).parent / "dnsmos_models" / "sig_bak_ovr.onnx"
    wanted = onnxruntime.InferenceSession(model).run(None, {"input_1": recording.numpy()})[0]
    np.testing.assert_allclose(judge(recording).numpy(), wanted, atol=0.02)
    monkeypatch.setattr(dnsmos_loss, "FLOOR", 1e-12)
    np.testing.assert_allclose(judge(recording).numpy(), wanted, atol=1e-3)


def test_another_network_is_refused():
    with pytest.raises(SlimcleanError, match="another network"):
        Opinion([], {})


def test_noise_costs_points_and_clean_speech_none(judge, pair):
    clean, noisy = pair
    lost = judge.points_lost(clean, noisy, LEVEL)
    assert lost > 0.3
    torch.testing.assert_close(judge.points_lost(3 * clean, 3 * noisy, LEVEL), lost, rtol=1e-3, atol=1e-3)
    assert (judge.points_lost(clean, noisy, LEVEL + 10) - lost).abs() > 0.01
    assert judge.points_lost(clean, clean, LEVEL) == 0
    torch.testing.assert_close(judge.points_lost(clean, clean, LEVEL, 0.3), torch.tensor([0.3]))
    assert judge.points_lost(torch.zeros_like(clean), noisy, LEVEL) == 0


def test_what_is_better_does_not_pay_for_what_is_worse(monkeypatch):
    points = iter([torch.tensor([[3.0, 3.0, 3.0]]), torch.tensor([[2.4, 4.0, 3.1]])])
    monkeypatch.setattr(Opinion, "forward", lambda self, x: next(points))
    judge = Opinion.__new__(Opinion)
    torch.nn.Module.__init__(judge)
    lost = judge.points_lost(torch.ones(1, 100), torch.ones(1, 100), LEVEL)
    torch.testing.assert_close(lost, torch.tensor([dnsmos_loss.SHARES[0] * 0.6]))


def test_its_gradient_goes_its_own_way_as_far_as_that_of_the_rest():
    torch.manual_seed(0)
    at = torch.randn(3, 50, requires_grad=True)
    loss, other = at.abs().mean(-1), 1e-3 * at.sin().sum(-1).abs()
    points = torch.tensor([1.0, dnsmos_loss.ENOUGH / 2, 0.0]) * other / other.detach()
    (rest,) = torch.autograd.grad(loss.sum(), at, retain_graph=True)
    (own,) = torch.autograd.grad(points.sum(), at, retain_graph=True)
    term = pull(loss, points, at)
    assert (term == 0).all()
    (found,) = torch.autograd.grad(term.sum(), at)
    for row, share in enumerate((1.0, 0.5)):
        wanted = share * own[row] * rest[row].norm() / own[row].norm()
        torch.testing.assert_close(found[row], wanted)
    assert (found[2] == 0).all()


@pytest.mark.parametrize("level", [0.0, 1e-20, 1e-6])
def test_a_silent_estimate_has_a_bounded_gradient(judge, pair, level):
    clean = pair[0]
    at = torch.full_like(clean, level).requires_grad_()
    loss = (clean - at).abs().mean(-1)
    term = pull(loss, judge.points_lost(clean, at, LEVEL), at)
    gradient, rest = (torch.autograd.grad(x.sum(), at, retain_graph=True)[0] for x in (term, loss))
    assert gradient.isfinite().all()
    assert gradient.norm() <= 1.001 * rest.norm()


def test_the_objective_weighs_it(judge, pair, small, tmp_path, monkeypatch):
    clean, noisy = (x[:, : 80 * small.config.frame_hop] for x in pair)
    params = [p for name, p in small.named_parameters() if not name.startswith("router.")]
    judged = []
    whole = Opinion.points_lost
    monkeypatch.setattr(
        Opinion, "points_lost", lambda self, *given: judged.append(given) or whole(self, *given)
    )
    found = {}
    for weight in (0.0, 0.5, 1.0):
        config = TrainConfig(tmp_path, opinion=weight, pauses=0.1)
        objective = Objective(config, small, EfficiencyLoss(small.config.target_knots), bf16=False)
        outcome = objective(["full"], noisy, clean, 0, np.random.default_rng(0))
        grads = torch.autograd.grad(outcome.loss, params, allow_unused=True)
        found[weight] = torch.cat([grad.flatten() for grad in grads if grad is not None]), outcome
    (rest, plain), (half, _), (full, outcome) = found.values()
    assert "opinion" not in plain.log
    assert float(outcome.loss.detach()) == pytest.approx(float(plain.loss.detach()))
    torch.testing.assert_close(full - rest, 2 * (half - rest), rtol=1e-2, atol=1e-3 * float(rest.abs().max()))
    assert (half - rest).norm() > 0.01 * rest.norm()
    heard, enhanced, level, beyond = judged[-1]
    assert beyond == 0
    scale = 1 / noisy.square().mean().sqrt()
    torch.testing.assert_close(heard, clean * scale)
    torch.testing.assert_close(enhanced, small.backbone(noisy, 1.0) * scale)
    assert dnsmos_loss.LEVELS_DB[0] <= level <= dnsmos_loss.LEVELS_DB[1]
    assert outcome.log["opinion"] == pytest.approx(
        float(whole(judge, heard, enhanced.detach(), level)), abs=1e-4
    )


def test_training_takes_it_as_an_option(judge, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(log, "EVERY", 1)
    sizes = ("--hidden", "4", "--router-channels", "8")
    audio = ("--speech", corpus / "speech", "--noise", corpus / "noise", "--segment-s", "0.32")
    short = ("--steps", "2", "--valid-count", "0", "--teach-count", "0", "--workers", "2", "--loaders", "0")
    done = run("train", tmp_path / "run", *audio, *sizes, *short, "--opinion", "0.5", "--opinion-beyond", "2")
    assert done.exit_code == 0, done.output
    with open(tmp_path / "run" / "train.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert all(float(row["opinion"]) > 1 for row in rows)


@pytest.mark.parametrize("package", ["speechmos", "onnx"])
def test_without_its_packages_it_says_what_to_install(package, monkeypatch, tmp_path):
    """Before any audio is read."""
    monkeypatch.setitem(sys.modules, package, None)
    audio = ("--speech", tmp_path, "--noise", tmp_path)
    done = run("train", tmp_path / "run", *audio, "--opinion", "0.5")
    assert done.exit_code == 1
    assert "pip install 'slimclean[train-mos]'" in done.stderr
    with pytest.raises(MissingDependencyError):
        read_network()


def test_its_help_names_the_extra():
    assert "train-mos" in run("train", "--help").output
