"""The objective: what examples cost, together and apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

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
