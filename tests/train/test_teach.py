"""The router is taught from what each UF leaves of the error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import SMALL, voice

from slimclean.dsp.local_level import level_curve
from slimclean.errors import SlimcleanError
from slimclean.model import SlimmableDemucs
from slimclean.train import teach
from slimclean.train.calibrate import calibrate
from slimclean.train.listening import LOUD_WEIGHT, SOFT_WEIGHT, listening
from slimclean.train.mixer import Mixer
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
    monkeypatch.setattr(teach, "EPOCHS", 40)
    teach._fit(network.router, noisy, saved, rng)
    calibrate(network, [x.numpy() for x in noisy])
    levelled = [x / level_curve(x, 16_000) for x in noisy.numpy()]  # as it is heard, there and in `Enhancer`
    ufs = network.route(torch.from_numpy(np.stack(levelled)), 0.5).numpy()
    assert ufs.mean() == pytest.approx(0.5, abs=0.1)
    assert ufs[loud].mean() > ufs[~loud].mean() + 0.3


def test_the_router_learns_what_a_pause_is(monkeypatch):
    """Tones that come and go in louder noise: where none is for .3 s, the smallest UF, and nowhere else."""
    torch.manual_seed(0)
    network, rng = SlimmableDemucs(SMALL).eval(), np.random.default_rng(0)
    hop, rate = SMALL.frame_hop, SMALL.frame_rate_hz
    speaks = np.repeat(rng.random((64, 5)) < 0.5, 25, axis=1)
    tone = np.sin(np.arange(speaks.shape[1] * hop) * 0.7) * np.repeat(speaks, hop, axis=1)
    noisy = (tone + rng.normal(0, 0.3, tone.shape)).astype(np.float32)
    heard = listening(noisy, tone.astype(np.float32), hop, rate)
    savings = torch.rand(*speaks.shape, len(SMALL.ufs))
    monkeypatch.setattr(teach, "EPOCHS", 30)
    teach._fit(network.router, torch.from_numpy(noisy), savings, rng, heard)
    found = (network.router.base_logits(torch.from_numpy(noisy))[..., -1] > 0).numpy()
    assert found[heard.pause.numpy()].mean() > 0.9
    assert found[speaks].mean() < 0.05
    ufs = network.route(torch.from_numpy(noisy), 1.0).numpy()
    assert set(ufs[found]) == {SMALL.ufs[0]}


def test_calibration_leaves_pauses_their_room():
    """Where a third of the frames are pauses, no mean of 1 is asked for, and lower targets stay as they are."""
    torch.manual_seed(0)
    network, noisy = SlimmableDemucs(SMALL).eval(), torch.randn(4, 64 * SMALL.frame_hop)
    router = network.router
    with torch.no_grad():
        torch.nn.init.normal_(router.head.weight)
        router.head.bias[-1] = 0
        pause = router.base_logits(noisy)[..., -1]
        router.head.bias[-1] = -pause.quantile(2 / 3)
        before = router.target_shift.clone()
    reached = calibrate(network, [x.numpy() for x in noisy])
    assert 0.6 < reached[1.0] < 0.75
    assert (router.target_shift - before)[-1, :-1].abs().max() < 30
    targets = np.linspace(0.5, 1, 26)
    means = [float(network.route(noisy, t).mean()) for t in targets]
    assert np.diff(means).min() > -1e-3
    assert np.diff(means).max() < 0.1


def test_teaching_sets_the_odds_of_a_pause(monkeypatch):
    """The larger the target, the surer a pause has to be."""
    rng = np.random.default_rng(0)
    mixer = Mixer(library(rng.normal(0, 0.1, 80_000)), library(rng.normal(0, 0.05, 80_000)))
    monkeypatch.setattr(teach, "EPOCHS", 1)
    monkeypatch.setattr(teach, "LISTENING", 1)
    network = SlimmableDemucs(SMALL).eval()
    teach.teach(network, mixer, 4)
    shift = network.router.target_shift[:, -1].tolist()
    assert shift == sorted(shift, reverse=True)
    for target, odds in teach.PAUSE_ODDS:
        assert shift[SMALL.target_knots.index(target)] == pytest.approx(-odds, abs=1e-6)


def test_a_pause_is_silence_that_lasts():
    hop, rate = SMALL.frame_hop, SMALL.frame_rate_hz
    speaks = np.ones((3, 100), bool)
    speaks[0, 10:28] = speaks[1, 10:29] = speaks[1, 80:] = False  # 19 frames last .3 s
    speaks[2] = False
    rng = np.random.default_rng(0)
    clean = np.repeat(speaks, hop, axis=1) * rng.normal(0, 0.1, (3, 100 * hop))
    clean = (clean + rng.normal(0, 1e-4, clean.shape) * (np.arange(3) < 2)[:, None]).astype(np.float32)
    heard = listening(clean, clean, hop, rate)
    pause = np.zeros((3, 100), bool)
    pause[1, 12:27] = pause[1, 82:] = pause[2] = True
    np.testing.assert_array_equal(heard.pause, pause)
    assert set(heard.weight[~speaks & ~pause].tolist()) == {np.float32(SOFT_WEIGHT)}
    assert set(heard.weight[pause].tolist()) == {1.0}
    assert (heard.weight[speaks] - LOUD_WEIGHT).abs().max() < 0.3


def test_soft_speech_counts_for_less():
    hop = 256
    level_db = np.repeat([0.0, -10, -20, -30], [200, 20, 20, 20])
    clean = np.repeat(10 ** (level_db / 20), hop) * np.tile([1.0, -1.0], len(level_db) * hop // 2)
    weight = listening(*[clean[None].astype(np.float32)] * 2, hop, 62.5).weight[0].numpy()
    found = [np.unique(weight[level_db == level].round(4)) for level in (0, -10, -20, -30)]
    assert [len(each) for each in found] == [1] * 4
    assert found[0] > LOUD_WEIGHT
    heights = np.sqrt((np.concatenate(found) - SOFT_WEIGHT) / (LOUD_WEIGHT - SOFT_WEIGHT))
    np.testing.assert_allclose(np.diff(heights), -10 / 35, atol=2e-4)


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
