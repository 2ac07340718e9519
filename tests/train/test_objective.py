"""The objective: what examples cost, together and apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import voice

from slimclean.train.config import TrainConfig
from slimclean.train.losses import EfficiencyLoss
from slimclean.train.objective import Objective, Outcome


@pytest.mark.parametrize("frozen", [True, False])
def test_all_tasks_in_one_pass_cost_what_they_cost_apart(small, tmp_path, frozen):
    """As a GPU runs them: each example at UFs of its own."""
    torch.manual_seed(0)
    torch.nn.init.normal_(small.router.head.weight)
    ufs = {"static_ufs": (0.25,), "targets": (0.5, 0.5)}
    config = TrainConfig(tmp_path, freeze_router=frozen, perceptual=0.3, intelligibility=1, **ufs)
    efficiency = EfficiencyLoss(small.config.target_knots)
    efficiency.deviation += torch.linspace(-0.3, 0.6, len(efficiency.deviation))
    objective = Objective(config, small, efficiency, bf16=False)
    clean = torch.randn(4, 40 * small.config.frame_hop)
    noisy = clean + 0.5 * torch.randn_like(clean)
    params = [p for name, p in small.named_parameters() if frozen <= (not name.startswith("router."))]

    def outcome(items: list[int]) -> tuple[Outcome, tuple[torch.Tensor, ...]]:
        tasks = [("full", "static", "routed", "routed")[k] for k in items]
        found = objective(tasks, noisy[items], clean[items], 1000, np.random.default_rng(1))
        return found, torch.autograd.grad(found.loss * len(items) / 4, params, allow_unused=True)

    together, gradients = outcome([0, 1, 2, 3])
    apart = [outcome(items) for items in ([0], [1], [2, 3])]
    assert together.log["full"] == pytest.approx(apart[0][0].log["full"], rel=1e-4)
    assert together.log["static"] == pytest.approx(apart[1][0].log["static"], rel=1e-4)
    assert together.log["uf"] == pytest.approx(apart[2][0].log["uf"])
    assert together.log["routed"] == pytest.approx(apart[2][0].log["routed"], rel=1e-4)
    for whole, *parts in zip(gradients, *(grads for _, grads in apart), strict=True):
        total = sum(part for part in parts if part is not None)
        torch.testing.assert_close(whole, total, rtol=1e-3, atol=1e-3 * float(whole.abs().max()))


@pytest.fixture
def objective(small, tmp_path, monkeypatch):
    """Makes objectives with other weights of their terms, of a network that halves what it hears."""
    monkeypatch.setattr(small, "backbone", lambda noisy, widths: 0.5 * noisy)
    efficiency = EfficiencyLoss(small.config.target_knots)
    efficiency.deviation += 0.3

    def made(**weights) -> Objective:
        return Objective(TrainConfig(tmp_path, **weights), small, efficiency, bf16=False)

    return made


def cost(objective: Objective, task: str, noisy: torch.Tensor, clean: torch.Tensor, step: int = 1000) -> float:
    return float(objective([task] * len(noisy), noisy, clean, step, np.random.default_rng(0)).loss.detach())


def test_loud_examples_count_no_more_than_soft_ones(objective):
    x = torch.from_numpy(voice(0.512, seed=1))[None]
    for said in (1, 0):
        loud, soft = (cost(objective(pauses=0.1), "full", gain * x, gain * said * x) for gain in (20, 0.5))
        assert loud == pytest.approx(soft, rel=1e-4)


@pytest.mark.parametrize("name", ["perceptual", "intelligibility", "pauses"])
def test_every_term_weighs_what_it_was_given(objective, name):
    said = torch.from_numpy(voice(1.024))[None] * 5
    heard = said + 0.3 * torch.randn(said.shape, generator=torch.Generator().manual_seed(0))
    none, once, twice = (cost(objective(**{name: weight}), "full", heard, said) for weight in (0, 0.1, 0.2))
    assert once > none + 1e-3
    assert twice - none == pytest.approx(2 * (once - none), rel=1e-3)


def test_the_price_of_ufs_is_phased_in_and_balance_counts_from_the_start(objective):
    x = torch.from_numpy(voice(0.512, seed=1))[None].repeat(4, 1)
    free = cost(objective(gamma=0, beta=0), "routed", x, x)
    costs = [cost(objective(gamma=0), "routed", x, x, step) for step in (0, 150, 300, 1000)]
    assert costs[0] == free
    assert costs[3] == costs[2] > free
    assert costs[1] - free == pytest.approx((costs[2] - free) / 2, rel=1e-3)
    balanced = [cost(objective(gamma=gamma, beta=0), "routed", x, x, 0) for gamma in (1.0, 2.0)]
    assert balanced[1] - free == pytest.approx(2 * (balanced[0] - free), rel=1e-3)
    assert balanced[0] > free
