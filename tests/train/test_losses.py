"""What training minimises: losses that are zero for a copy, and agree with the measures they stand for."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from conftest import SMALL, voice
from test_examples import PAIR

from slimclean import audio
from slimclean.model.slimmable import FrameWidths
from slimclean.scoring.metrics import pesq_wb, stoi
from slimclean.train import acoustics, losses
from slimclean.train.losses import EfficiencyLoss, balance_loss, enhancement_loss, mean_uf, pause_loss
from slimclean.train.pesq_loss import HOP, by_frame, disturbance, mos
from slimclean.train.stoi_loss import unintelligibility


def test_the_loss_is_zero_for_a_copy_and_grows_with_noise():
    clean = torch.from_numpy(voice(1.0))[None] * 5
    noise = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    values = [float(enhancement_loss(clean, clean + gain * noise)) for gain in (0, 0.01, 0.1, 1)]
    assert values[0] == pytest.approx(0, abs=1e-12)
    assert values == sorted(values)
    silent = torch.zeros(1, 16_000, requires_grad=True)
    enhancement_loss(torch.zeros(1, 16_000), silent).sum().backward()
    assert silent.grad.isfinite().all()


def test_the_pause_loss_counts_what_is_left_between_words_and_nothing_else():
    rng = np.random.default_rng(0)
    clean = torch.zeros(1, 256 * 40)
    clean[:, : 256 * 20] = torch.from_numpy(rng.normal(size=256 * 20).astype(np.float32))
    rest = torch.from_numpy(rng.normal(size=(1, 256 * 40)).astype(np.float32))
    pause = (clean == 0).float()

    def loss(level_db: float, where: torch.Tensor) -> float:
        return float(pause_loss(clean, clean + 10 ** (level_db / 20) * rest * where, rest))

    assert loss(-20, pause) - loss(-40, pause) == pytest.approx(2, abs=0.03)  # 20 dB are two factors of ten
    assert loss(-90, pause) == pytest.approx(0, abs=1e-3)
    assert loss(0, 1 - pause) == 0
    assert float(pause_loss(clean, clean * 0.5, rest)) == 0
    nobody = pause_loss(torch.zeros_like(clean), 0.1 * rest, rest)
    assert float(nobody) == pytest.approx(3.5, abs=0.05)  # -20 dB of a floor at -55


def test_the_efficiency_loss_pulls_towards_each_target():
    loss = EfficiencyLoss((0.1, 0.5, 1.0), rate=0.5)
    target = torch.tensor([0.1, 1.0])
    for _ in range(10):
        loss.update(torch.tensor([0.6, 0.6]), target)
    shares = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]], requires_grad=True)
    loss(FrameWidths(shares, (0.125, 1.0)), target).sum().backward()
    assert (shares.grad[0] > 0).all()  # above its target: less
    assert (shares.grad[1] < 0).all()  # below: more
    assert shares.grad[0, 0, 1] > shares.grad[0, 0, 0]  # and the wide UF is what it costs


def test_mean_uf_and_balance():
    one_hot = torch.eye(len(SMALL.ufs))[None]
    assert mean_uf(FrameWidths(one_hot, SMALL.ufs)).item() == pytest.approx(np.mean(SMALL.ufs))
    assert balance_loss(torch.zeros(2, 3, 4)).item() == pytest.approx(0)
    assert balance_loss(torch.tensor([50.0, 0, 0, 0]).expand(1, 5, 4)).item() == pytest.approx(0.75, abs=1e-3)


def test_the_disturbance_grows_with_noise_and_ignores_level_of_the_pair():
    clean = torch.from_numpy(voice(1.0))[None] * 5
    noise = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    noisy = [clean + gain * noise for gain in (0.001, 0.01, 0.1)]
    values = [float(disturbance(clean, x)) for x in (clean, *noisy)]
    assert values[0] < 0.01
    assert values == sorted(values)
    assert float(disturbance(clean / 3, noisy[1] / 3)) == pytest.approx(values[2], rel=1e-3)
    estimate = noisy[1].clone().requires_grad_()
    disturbance(clean, estimate).sum().backward()
    assert estimate.grad.isfinite().all()
    assert float(disturbance(torch.zeros(1, 16_000), noise)) == 0


def test_the_cost_of_each_frame_adds_up_to_what_pesq_loses():
    """To first order; and noise costs where it is."""
    clean = torch.from_numpy(voice(1.0))[: 62 * HOP] * 5
    noise = torch.randn(len(clean), generator=torch.Generator().manual_seed(0))
    louder = torch.ones(len(clean))
    louder[30 * HOP : 34 * HOP] = 1.5
    enhanced = clean + torch.stack([0.03 * noise, 0.03 * noise * louder, 0.0303 * noise])
    costs = by_frame(clean, enhanced, around=0)
    assert costs.shape == (3, 62)
    more = (costs[1] - costs[0]).clamp_min(0)
    assert more[29:35].sum() > 0.9 * more.sum() > 0
    lost = -mos(disturbance(clean.expand(3, -1), enhanced))
    assert float((costs[2] - costs[0]).sum()) == pytest.approx(float(lost[2] - lost[0]), rel=0.15)
    assert by_frame(torch.zeros_like(clean), enhanced, around=0).abs().max() == 0


@pytest.mark.skipif(importlib.util.find_spec("pesq") is None, reason="pesq is not installed")
def test_the_disturbance_agrees_with_pesq():
    """Noise, a muffled voice and clipping at several strengths."""
    clean = audio.read(PAIR / "clean.flac")[0][0]
    rng = np.random.default_rng(0)
    noise = rng.normal(size=len(clean)).astype(np.float32)
    estimates = [clean + g * noise for g in (0.001, 0.004, 0.016, 0.05)]
    estimates += [acoustics.convolve(clean, np.array(taps, np.float32)) for taps in ([1, 0.5], [1, 1, 1, 1])]
    estimates += [np.clip(clean, -limit, limit) for limit in (0.1, 0.03)]
    scores = [pesq_wb(clean, x) for x in estimates]
    tensor = torch.from_numpy(clean)[None]
    ours = [float(mos(disturbance(tensor, torch.from_numpy(x)[None]))) for x in estimates]
    assert np.abs(np.subtract(ours, scores)).mean() < 0.1
    assert np.corrcoef(scores, ours)[0, 1] > 0.97


@pytest.mark.skipif(importlib.util.find_spec("pystoi") is None, reason="pystoi is not installed")
def test_intelligibility_agrees_with_stoi():
    """Noise and muffled voices; and its gradient is of use."""
    clean = audio.read(PAIR / "clean.flac")[0][0]
    rng = np.random.default_rng(0)
    noise = rng.normal(size=len(clean)).astype(np.float32)
    estimates = [clean + g * noise for g in (0.001, 0.004, 0.016, 0.05, 0.2)]
    estimates += [acoustics.convolve(clean, np.ones(n, np.float32)) for n in (2, 8)]
    tensor = torch.from_numpy(clean)[None]
    ours = [1 - float(unintelligibility(tensor, torch.from_numpy(x)[None])) for x in estimates]
    assert np.abs(np.subtract(ours, [stoi(clean, x) for x in estimates])).max() < 0.02
    estimate = torch.from_numpy(estimates[3])[None].requires_grad_()
    lost = unintelligibility(tensor, estimate).sum()
    lost.backward()
    assert unintelligibility(tensor, estimate - 0.1 * estimate.grad / estimate.grad.norm()).sum() < lost


def test_nothing_said_is_nothing_lost():
    noise = torch.randn(1, 16_000, requires_grad=True)
    for clean in (torch.zeros(1, 16_000), torch.eye(1, 16_000) * 10):
        lost = unintelligibility(clean, noise)
        lost.sum().backward()
        assert lost.item() == 0
        assert noise.grad.isfinite().all()
    assert unintelligibility(torch.from_numpy(voice(1.0))[None], noise).item() > 0.1


def test_pauses_of_any_length_count():
    """Networks of other sizes have other frames: what is left over at the end is ignored."""
    generator = torch.Generator().manual_seed(0)
    clean, noisy = (torch.randn(2, 20_800, generator=generator) for _ in range(2))
    clean[:, :8_000] *= 1e-4
    wanted = pause_loss(clean[:, :20_736], noisy[:, :20_736], noisy[:, :20_736])
    assert (wanted > 0).all()
    assert pause_loss(clean, noisy, noisy).equal(wanted)


def test_the_loss_written_out_in_numpy():
    rng = np.random.default_rng(0)
    clean, enhanced = rng.normal(size=(2, 3, 4_000)).astype(np.float32) * [[[1]], [[0.7]]]
    enhanced[0] = 1.03 * clean[0]  # an error of about `SNR_CAP`
    wanted = losses.TIME_WEIGHT * np.abs(clean - enhanced).mean(1)
    noise = np.square(clean - enhanced).sum(1) / np.square(clean).sum(1) + losses.SNR_CAP
    wanted += losses.SNR_WEIGHT * 10 * np.log10(noise / losses.SNR_CAP)
    for size in losses.FFT_SIZES:
        window = np.sin(np.pi * np.arange(size) / size) ** 2
        magnitudes, spectra = [], []
        for x in (clean, enhanced):
            padded = np.pad(x, ((0, 0), (size // 2, size // 2)), "reflect")
            frames = np.stack([padded[:, at : at + size] for at in range(0, 4_001, size // 4)], 1)
            spectrum = np.fft.rfft(frames * window) / np.sqrt(np.square(window).sum())
            floored = np.sqrt(np.abs(spectrum) ** 2 + losses._FLOOR)
            magnitudes.append(floored**losses.COMPRESSION)
            spectra.append(spectrum * floored ** (losses.COMPRESSION - 1))
        magnitude = np.square(magnitudes[0] - magnitudes[1]).mean((1, 2))
        apart = np.square(np.abs(spectra[0] - spectra[1])).mean((1, 2))
        wanted += (losses.MAGNITUDE_WEIGHT * magnitude + losses.COMPLEX_WEIGHT * apart) / len(losses.FFT_SIZES)
    found = enhancement_loss(torch.from_numpy(clean).float(), torch.from_numpy(enhanced).float())
    np.testing.assert_allclose(found, wanted, rtol=1e-3)


def test_the_price_of_a_uf_is_the_slope_of_the_squared_deviation():
    """Of a running mean that settles where it belongs, at one target, and says nothing of the others."""
    loss, target = EfficiencyLoss((0.1, 0.5, 1.0), rate=0.2), torch.tensor([0.5])
    for _ in range(40):
        loss.update(torch.tensor([0.7]), target)
    torch.testing.assert_close(loss.deviation, torch.tensor([0.0, 0.2, 0.0]), atol=1e-4, rtol=0)
    shares = torch.tensor([[[0.4, 0.6]] * 3], requires_grad=True)
    u = mean_uf(FrameWidths(shares, (0.25, 1.0)))
    (wanted,) = torch.autograd.grad((u - 0.5).square().sum(), u, retain_graph=True)
    (found,) = torch.autograd.grad(loss(FrameWidths(shares, (0.25, 1.0)), target).sum(), shares)
    (by_uf,) = torch.autograd.grad(u, shares)
    torch.testing.assert_close(found, wanted * by_uf, atol=1e-4, rtol=1e-3)


def test_soft_speech_is_no_pause():
    """Down to 35 dB under the mean power."""
    rest = torch.randn(1, 256 * 40, generator=torch.Generator().manual_seed(0))
    for under_db, counts in ((-33.0, False), (-37.0, True)):
        clean = rest.clone()
        clean[:, 256 * 20 :] *= 10 ** ((under_db - 3) / 20)  # the mean is half of what the loud half is
        assert (pause_loss(clean, 2 * clean, rest) > 0).item() == counts
