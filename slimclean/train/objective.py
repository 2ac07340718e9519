"""What training minimises: the loss of a few examples that have a task in common.

Glossary: B batch, T samples, F frames, J candidate UFs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from slimclean.model import SlimmableDemucs
from slimclean.model.slimmable import FrameWidths, Widths
from slimclean.train.config import TrainConfig
from slimclean.train.intelligibility import unintelligibility
from slimclean.train.losses import EfficiencyLoss, balance_loss, enhancement_loss, mean_uf, pause_loss
from slimclean.train.perceptual import disturbance
from slimclean.train.tasks import random_targets, random_widths

ROUTER_WARMUP_STEPS = 300
"""Before these, L_eff would steer a backbone that does not know yet what its widths are worth."""


class Outcome(NamedTuple):
    """What examples cost: the loss to go down, numbers for the log, and what the router spent.

    `spent` is the mean UF of each example and its target, [B] each on the CPU; None where no router learns.
    """

    loss: Tensor
    log: dict[str, float]
    spent: tuple[Tensor, Tensor] | None


class Objective:
    """The loss of examples by their task (see `tasks`): clean speech, and a router that keeps its target."""

    def __init__(
        self, config: TrainConfig, network: SlimmableDemucs, efficiency: EfficiencyLoss, *, bf16: bool
    ) -> None:
        self.config = config
        self.network = network
        self.efficiency = efficiency
        self.bf16 = bf16

    def __call__(self, task: str, noisy: Tensor, clean: Tensor, step: int, rng: np.random.Generator) -> Outcome:
        """Run the network on [B, T] as the task has it and compare; `step` is how far the run is."""
        with torch.autocast(noisy.device.type, torch.bfloat16, enabled=self.bf16):
            widths, logits, target = self._widths(task, noisy, rng)
            enhanced = self.network.backbone(noisy, widths)
        scale = 1 / noisy.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-3)  # loud examples count no more
        wanted, given = clean * scale, enhanced.float() * scale
        loss = self._speech(wanted, given)
        log = {task: float(loss.detach())}
        if self.config.pauses:
            pauses = pause_loss(wanted, given, noisy * scale).mean()
            loss = loss + self.config.pauses * pauses
            log["pauses"] = float(pauses.detach())
        if logits is None or target is None or not isinstance(widths, FrameWidths):
            return Outcome(loss, log, None)
        u = mean_uf(widths)
        log["uf"] = float(u.detach().mean())
        if self.config.freeze_router:
            return Outcome(loss, log, None)
        loss = loss + self._router(widths, logits, target, step)
        log["uf_error"] = float(self.efficiency.deviation.abs().mean())
        return Outcome(loss, log, (u.detach().cpu(), target.cpu()))

    def _widths(
        self, task: str, noisy: Tensor, rng: np.random.Generator
    ) -> tuple[Widths, Tensor | None, Tensor | None]:
        """Decide what UFs the examples run at; under the router with its logits [B, F, J] and targets [B]."""
        if task == "full":
            return 1.0, None, None
        if task == "static":
            frames = noisy.shape[1] // self.network.config.frame_hop
            return random_widths(rng, frames, noisy.device, self.config.static_ufs), None, None
        router = self.network.router
        target = random_targets(rng, len(noisy), self.config.targets).to(noisy.device)
        with torch.set_grad_enabled(not self.config.freeze_router):
            logits = router(noisy, target).float()
        if self.config.freeze_router:
            return FrameWidths.of(router.likeliest(logits)), logits, target
        noise = torch.from_numpy(rng.random(logits.shape, dtype=np.float32)).to(noisy.device)
        return router.sample(logits, noise), logits, target

    def _speech(self, wanted: Tensor, given: Tensor) -> Tensor:
        """Compare the enhanced speech with the clean one, whatever is left in pauses aside."""
        config = self.config
        loss = enhancement_loss(wanted, given).mean()
        if config.perceptual:
            loss = loss + config.perceptual * disturbance(wanted, given).mean()
        if config.intelligibility:
            loss = loss + config.intelligibility * unintelligibility(wanted, given).mean()
        return loss

    def _router(self, widths: FrameWidths, logits: Tensor, target: Tensor, step: int) -> Tensor:
        """Price the router: beta L_eff + gamma L_bal, the first phased in."""
        ramp = min(1.0, step / ROUTER_WARMUP_STEPS)
        spending = ramp * self.config.beta * self.efficiency(widths, target).mean()
        return spending + self.config.gamma * balance_loss(logits)
