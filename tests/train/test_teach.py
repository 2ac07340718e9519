"""The router is taught from what each UF leaves of the error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import SMALL, voice

from slimclean.errors import SlimcleanError
from slimclean.model import SlimmableDemucs
from slimclean.train import teach
from slimclean.train.calibrate import calibrate
from slimclean.train.mix import Mixer
from slimclean.train.sources import Clip, Library


def library(x):
    return Library((x * 32767).astype(np.int16), [Clip("x", "x", 0, len(x))], np.ones(1))


def test_the_router_learns_where_width_pays(monkeypatch):
    """Where the wide network is better in loud frames and nowhere else, the taught router spends it there."""
    torch.manual_seed(0)
    network = SlimmableDemucs(SMALL).eval()
    rng = np.random.default_rng(0)
    loud = np.repeat(rng.random((48, 4)) < 0.5, 6, axis=1)
    gain = np.repeat(np.where(loud, 1, 0.05), 256, axis=1)
    noisy = torch.from_numpy((rng.normal(size=gain.shape) * gain).astype(np.float32))
    saved = torch.from_numpy(loud.astype(np.float32))[..., None] * (torch.tensor(SMALL.ufs) - SMALL.ufs[0])
    with torch.no_grad():
        network.router.target_shift.zero_()
    monkeypatch.setattr(teach, "EPOCHS", 120)
    teach._fit(network.router, noisy, saved, rng)
    calibrate(network, [x.numpy() for x in noisy])
    ufs = network.route(noisy, 0.5).numpy()
    assert ufs.mean() == pytest.approx(0.5, abs=0.1)
    assert ufs[loud].mean() > ufs[~loud].mean() + 0.3


def test_teaching_changes_nothing_but_the_router():
    network = SlimmableDemucs(SMALL).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    noise = np.random.default_rng(0).normal(0, 0.1, 80_000)
    teach.teach(network, Mixer(library(voice(5.0)), library(noise), rooms=[np.ones(1, np.float32)]), 5)
    after = network.state_dict()
    assert {name.split(".")[0] for name in before if not before[name].equal(after[name])} == {"router"}


def test_frame_errors_lie_where_the_errors_are():
    clean = torch.from_numpy(voice(1.0))[: 62 * 256]
    enhanced = clean.clone()
    enhanced[20 * 256 : 21 * 256] += 0.1
    squared, spectral = teach._frame_errors(enhanced, clean, 256)
    assert squared.argmax() == spectral.argmax() == 20
    assert (squared > 1e-9).sum() == 1
    assert spectral[:19].max() == spectral[22:].max() == 0


def test_savings_are_relative_to_the_smallest_uf():
    errors = torch.rand(3, 40, 4)
    errors[..., 0] = 1.0
    savings = teach.standardised_savings(errors, errors, errors)
    assert savings[..., 0].abs().max() == 0
    assert savings[..., 1:].min() > 0
    louder = teach.standardised_savings(
        errors * torch.tensor([1.0, 100.0, 0.01])[:, None, None], errors, errors
    )
    torch.testing.assert_close(louder, savings)


def test_savings_count_more_the_noisier_the_example():
    clean = torch.from_numpy(voice(1.0))[None].repeat(4, 1)
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=clean.shape[1]).astype(np.float32))
    noise = noise * clean[0].square().mean().sqrt() / noise.square().mean().sqrt()
    gains = torch.tensor([0.0, 0.1, 10**-0.5, 2.0])[:, None]
    counts = teach.urgency(clean + gains * noise, clean)
    assert counts.equal(counts.sort().values)
    assert counts[2] == pytest.approx(1, abs=0.01)


def test_a_uf_costs_more_the_further_it_is_from_the_target():
    config = replace(SMALL, ufs=(0.125, 0.25, 0.5), target_knots=(0.125, 0.25, 0.5))
    costs = teach.distances(config, torch.tensor([4.0, 1.0]))
    octaves = torch.tensor([[0.0, 1, 4], [1, 0, 1], [4, 1, 0]])
    torch.testing.assert_close(costs, torch.tensor([4.0, 2.0, 1.0])[:, None] * octaves)


def test_teaching_and_calibrating_are_for_the_cpu(small):
    away = small.to("meta")
    for work in (lambda: teach.teach(away, None, 1), lambda: calibrate(away, [voice(1.0)])):
        with pytest.raises(SlimcleanError, match="taught and calibrated on the CPU; the network is on meta"):
            work()
