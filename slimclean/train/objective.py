"""What training minimises: the loss of some examples, each by its task.

Glossary: B batch, T samples, F frames, J candidate UFs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from slimclean.model import SlimmableDemucs
from slimclean.model.slimmable import FrameWidths, Widths
from slimclean.train.config import TrainConfig
from slimclean.train.dnsmos_loss import LEVELS_DB, pull, read_network
from slimclean.train.losses import EfficiencyLoss, balance_loss, enhancement_loss, mean_uf, pause_loss
from slimclean.train.pesq_loss import disturbance
from slimclean.train.stoi_loss import unintelligibility
from slimclean.train.tasks import given_widths, random_targets, random_ufs

ROUTER_WARMUP_STEPS = 300
"""Before these, L_eff would steer a backbone that does not know yet what its widths are worth."""


class Outcome(NamedTuple):
    """What examples cost: the loss to go down, numbers for the log, and what the router spent.

    `spent` is the mean UF of each example and its target, [B] each on the CPU; None where no router learns.
    """

    loss: Tensor
    log: dict[str, float]
    spent: tuple[Tensor, Tensor] | None


class Routing(NamedTuple):
    """How the router chose: UFs of [B, F] frames, logits [B, F, J] and targets [B]."""

    choice: FrameWidths
    logits: Tensor
    target: Tensor


class Objective:
    """The loss of examples by their task (see `tasks`): clean speech, and a router that keeps its target."""

    def __init__(
        self, config: TrainConfig, network: SlimmableDemucs, efficiency: EfficiencyLoss, *, bf16: bool
    ) -> None:
        self.config = config
        self.network = network
        self.efficiency = efficiency
        self.bf16 = bf16
        self.judge = read_network().to(next(network.parameters()).device) if config.opinion else None

    def __call__(
        self, tasks: Sequence[str], noisy: Tensor, clean: Tensor, step: int, rng: np.random.Generator
    ) -> Outcome:
        """Run the network on [B, T], each as its task has it, and compare; `step` is how far the run is."""
        with torch.autocast(noisy.device.type, torch.bfloat16, enabled=self.bf16):
            widths, routing = self._widths(tasks, noisy, rng)
            enhanced = self.network.backbone(noisy, widths)
        scale = 1 / noisy.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-3)  # loud examples count no more
        wanted, given = clean * scale, enhanced.float() * scale
        losses = self._speech(wanted, given)
        log = {task: _mean_of(task, tasks, losses.detach()) for task in dict.fromkeys(tasks)}
        if self.config.pauses:
            pauses = pause_loss(wanted, given, noisy * scale)
            losses = losses + self.config.pauses * pauses
            log["pauses"] = float(pauses.detach().mean())
        if self.judge is not None:
            levels = torch.from_numpy(rng.uniform(*LEVELS_DB, len(noisy)).astype(np.float32))
            levels = levels.to(noisy.device)
            points = self.judge.points_lost(wanted, given, levels, self.config.opinion_beyond)
            losses = losses + self.config.opinion * pull(losses, points, given)
            log["opinion"] = float(points.detach().mean())
        loss = losses.mean()
        if routing is None:
            return Outcome(loss, log, None)
        u = mean_uf(routing.choice)
        log["uf"] = float(u.detach().mean())
        if self.config.freeze_router:
            return Outcome(loss, log, None)
        loss = loss + self._router(routing, step) * (len(u) / len(tasks))
        log["uf_error"] = float(self.efficiency.deviation.abs().mean())
        return Outcome(loss, log, (u.detach().cpu(), routing.target.cpu()))

    def _widths(
        self, tasks: Sequence[str], noisy: Tensor, rng: np.random.Generator
    ) -> tuple[Widths, Routing | None]:
        """Decide what UFs the examples run at, and how the router chose for those that it routes."""
        frames, ufs = noisy.shape[1] // self.network.config.frame_hop, self.config.static_ufs
        routed = [k for k, task in enumerate(tasks) if task == "routed"]
        others = [k for k, task in enumerate(tasks) if task != "routed"]
        routing = self._routing(noisy[routed], rng) if routed else None
        if routing and not others:
            return routing.choice, routing
        given = [np.ones(frames) if tasks[k] == "full" else random_ufs(rng, frames, ufs) for k in others]
        if routing is None:
            return given_widths(np.stack(given), noisy.device), None
        widths = FrameWidths.of(torch.tensor(np.stack(given), dtype=torch.float32, device=noisy.device))
        order = torch.tensor([*others, *routed], device=noisy.device).argsort()
        return FrameWidths.together(widths, routing.choice)[order], routing

    def _routing(self, noisy: Tensor, rng: np.random.Generator) -> Routing:
        """Let the router choose for targets drawn for each example: as at inference if frozen, else a draw."""
        router, config = self.network.router, self.config
        target = random_targets(rng, len(noisy), config.targets).to(noisy.device)
        with torch.set_grad_enabled(not config.freeze_router):
            logits = router(noisy, target).float()
        if config.freeze_router:
            return Routing(FrameWidths.of(router.likeliest(logits)), logits, target)
        noise = torch.from_numpy(rng.random(logits.shape, dtype=np.float32)).to(noisy.device)
        return Routing(router.sample(logits, noise), logits, target)

    def _speech(self, wanted: Tensor, given: Tensor) -> Tensor:
        """Compare the enhanced speech with the clean one, [B], whatever is left in pauses aside."""
        config = self.config
        losses = enhancement_loss(wanted, given)
        if config.perceptual:
            losses = losses + config.perceptual * disturbance(wanted, given)
        if config.intelligibility:
            losses = losses + config.intelligibility * unintelligibility(wanted, given)
        return losses

    def _router(self, routing: Routing, step: int) -> Tensor:
        """Price the router: beta L_eff + gamma L_bal, the first phased in."""
        ramp = min(1.0, step / ROUTER_WARMUP_STEPS)
        spending = ramp * self.config.beta * self.efficiency(routing.choice, routing.target).mean()
        return spending + self.config.gamma * balance_loss(routing.logits)


def _mean_of(task: str, tasks: Sequence[str], losses: Tensor) -> float:
    return float(losses[[k for k, other in enumerate(tasks) if other == task]].mean())
