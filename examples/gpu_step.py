"""A step of training as one CUDA graph: the network at UFs of any kind, the losses, Muon and AdamW.

`train_on_gpu.py` feeds it. In half precision is all of the network but the recurrence, the row convolution, the
resampling and, in TF32, the last block, which subtracts large numbers from each other; the losses are not. On a
CPU the same step is in fp32, and no graph.

Glossary: B batch, T samples, F frames, J candidate UFs, K knots of the target UF.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slimclean.model import SlimmableDemucs
from slimclean.train.dnsmos_loss import LEVELS_DB, pull, read_network
from slimclean.train.losses import enhancement_loss, pause_loss
from slimclean.train.muon import in_blocks, orthogonalise
from slimclean.train.pesq_loss import disturbance
from slimclean.train.state import is_matrix
from slimclean.train.stoi_loss import unintelligibility

PESQ, STOI = 0.42, 3.0
WEIGHT_DECAY, CLIP, AVERAGE, ROW_FACTOR = 0.05, 2.0, 0.998, 2.0
FIRST_SCALE, LARGEST_SCALE = 256.0, 8192.0
"""Of the gradient, against underflow in half precision: up by little, down by half when it overflows."""


class Batch(NamedTuple):
    """What a step needs, noisy and clean [B, T], on the CPU; `old` if it was heard before."""

    noisy: Tensor
    clean: Tensor
    uf: Tensor
    """[B, F]; those of routed examples, the last ones, count for nothing."""
    knots: Tensor
    """[routed, K]: their targets."""
    level_db: Tensor
    old: bool


class ByFrame:
    """Widths for any UF in any frame, [B, F]: what blocks ask of `FrameWidths`, as a graph can hold it."""

    def __init__(self, uf: Tensor) -> None:
        self.uf = uf

    def mask(self, channels: int) -> Tensor:
        kept = torch.ceil(self.uf * channels - 1e-6).clamp(1, channels)
        return (torch.arange(channels, device=kept.device) < kept[..., None]).float()


class InFull(nn.Module):
    """A block outside half precision."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, skip: Tensor, widths: ByFrame) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.block(x.float(), skip.float(), widths)


class RowByFourier(nn.Module):
    """The row convolution as a product of spectra: the same to some 1e-9, and a step takes a fifth less."""

    def __init__(self, row: nn.Module) -> None:
        super().__init__()
        self.row = row

    def forward(self, x: Tensor) -> Tensor:
        if self.row.weight is None:
            return x
        with torch.autocast(x.device.type, enabled=False):
            x = F.pad(x.float().mT, (0, self.row.look_ahead), "replicate").mT
            heard = torch.fft.rfft(x, dim=1)
            weight = torch.fft.rfft(self.row.weight, x.shape[1], dim=0)
            out = torch.fft.irfft(heard * weight.conj(), x.shape[1], dim=1)
            return out[:, : x.shape[1] - self.row.look_ahead]


class Step:
    """One step on one batch: `load` it, then `run`. All state is in tensors that stay where they are."""

    def __init__(
        self,
        network: SlimmableDemucs,
        batch: int,
        samples: int,
        opinion: float,
        beyond: float = 0.0,
        pauses: float = 0.07,
    ) -> None:
        self.network, self.opinion, self.beyond, self.pauses = network, opinion, beyond, pauses
        self.full, self.routed = batch // 4, batch // 3
        device = network.resampler.matrix.device
        self.half = device.type == "cuda"
        self.judge = read_network().to(device) if opinion else None
        self.judged = torch.arange(0, batch, 3, device=device)
        network.router.requires_grad_(requires_grad=False)
        self.named = [(n, p) for n, p in network.named_parameters() if not n.startswith("router.")]
        self.params = [p for _, p in self.named]
        self.matrices = {n: p for n, p in self.named if is_matrix(n, p)}
        self.others = {n: p for n, p in self.named if n not in self.matrices}
        network.decoder[-1] = InFull(network.decoder[-1])
        network.row = RowByFourier(network.row)
        frames, knots = samples // network.config.frame_hop, len(network.config.target_knots)
        self.noisy, self.clean = (torch.zeros(batch, samples, device=device) for _ in range(2))
        self.uf = torch.ones(batch, frames, device=device)
        self.knots = torch.zeros(self.routed, knots, device=device)
        self.level_db = torch.full((batch,), sum(LEVELS_DB) / 2, device=device)
        self.ufs = torch.tensor(network.config.ufs, device=device)
        self.momentum = {n: torch.zeros_like(p) for n, p in self.matrices.items()}
        self.first, self.second = ({n: torch.zeros_like(p) for n, p in self.others.items()} for _ in range(2))
        self.average = [p.detach().clone() for p in self.params]
        self.lr, self.count, self.skipped, self.norm = (torch.zeros((), device=device) for _ in range(4))
        self.scale = torch.full((), FIRST_SCALE, device=device)
        self.log = torch.zeros(5, device=device)
        self.graph: torch.cuda.CUDAGraph | None = None

    def state(self) -> list[Tensor]:
        kept = (self.momentum, self.first, self.second)
        numbers = (self.count, self.skipped, self.scale)
        return [*self.params, *self.average, *(x for each in kept for x in each.values()), *numbers]

    def record(self) -> None:
        """Make a graph of a step; the few steps that this takes are undone."""
        before = [x.detach().clone() for x in self.state()]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(4):
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        with torch.no_grad():
            for x, old in zip(self.state(), before, strict=True):
                x.copy_(old)
        self.graph = graph

    def load(self, batch: Batch) -> None:
        noisy, clean = (x.to(self.noisy.device, non_blocking=True) for x in (batch.noisy, batch.clean))
        if batch.old:
            noisy, clean = mixed_anew(noisy, clean)
        given = (noisy, clean, batch.uf, batch.knots, batch.level_db)
        for kept, new in zip((self.noisy, self.clean, self.uf, self.knots, self.level_db), given, strict=True):
            kept.copy_(new)

    def run(self, lr: float) -> None:
        self.lr.fill_(lr)
        if self.graph is None:
            self._step()
        else:
            self.graph.replay()

    def _step(self) -> None:
        widths = ByFrame(self._ufs())
        with torch.autocast(self.noisy.device.type, torch.float16, enabled=self.half, cache_enabled=False):
            enhanced = self.network.backbone(self.noisy, widths)
        slope = self._slope(enhanced.float().detach().requires_grad_())
        self._update(torch.autograd.grad(enhanced, self.params, slope.to(enhanced.dtype)))

    @torch.no_grad()
    def _ufs(self) -> Tensor:
        """Let the router choose for the last examples, as at inference: [B, F]."""
        router = self.network.router
        logits = router.priced_between(router.base_logits(self.noisy[-self.routed :]), self.knots)
        return torch.cat([self.uf[: -self.routed], self.ufs[logits.argmax(-1)]])

    def _slope(self, out: Tensor) -> Tensor:
        """Find the scaled gradient of the loss at the output, [B, T]."""
        scale = 1 / self.noisy.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-3)
        clean, enhanced, some = self.clean * scale, out * scale, self.judged
        given = enhanced[some]
        enhanced = enhanced.index_copy(0, some, given)
        pesq, stoi = disturbance(clean, enhanced), unintelligibility(clean, enhanced)
        pauses = pause_loss(clean, enhanced, self.noisy * scale)
        losses = enhancement_loss(clean, enhanced) + PESQ * pesq + STOI * stoi + self.pauses * pauses
        total, points = losses.mean(), torch.zeros_like(losses)
        if self.judge is not None:
            points = self.judge.points_lost(clean[some], given, self.level_db[some], self.beyond)
            total = total + self.opinion * pull(losses[some], points, given).sum() / len(losses)
        self.log.copy_(torch.stack([x.detach().mean() for x in (losses, pesq, stoi, pauses, points)]))
        return torch.autograd.grad(total * self.scale, out)[0]

    @torch.no_grad()
    def _update(self, grads: tuple[Tensor, ...]) -> None:
        """Take a step of Muon and AdamW; where the gradient is not finite, none."""
        grads = tuple(g.float() / self.scale for g in grads)
        norm = torch.stack([g.norm() for g in grads]).norm()
        fine = norm.isfinite()
        self.norm.copy_(norm)
        self.skipped.add_(~fine)
        self.count.add_(fine)
        grown, cut = (self.scale * 1.0005).clamp_max(LARGEST_SCALE), (self.scale / 2).clamp_min(1)
        self.scale.copy_(torch.where(fine, grown, cut))
        lr, clip = self.lr * fine, (CLIP / (norm + 1e-6)).clamp_max(1)
        by_name = {n: torch.where(fine, g * clip, 0) for (n, _), g in zip(self.named, grads, strict=True)}
        for name, p in self.matrices.items():
            momentum = self.momentum[name].lerp_(by_name[name], 0.05)
            blocks = in_blocks(by_name[name].lerp(momentum, 0.95))
            direction = orthogonalise(blocks, torch.bfloat16 if self.half else torch.float32).view_as(p)
            size = 0.2 * max(blocks.shape[-2:]) ** 0.5
            p.mul_(1 - lr * WEIGHT_DECAY).sub_(direction * (lr * size))
        for name, p in self.others.items():
            first = self.first[name].lerp_(by_name[name], 0.1) / (1 - 0.9**self.count).clamp_min(1e-6)
            second = self.second[name].lerp_(by_name[name].square(), 0.001)
            spread = (second / (1 - 0.999**self.count).clamp_min(1e-6)).sqrt() + 1e-8
            p.sub_(first / spread * (lr * (ROW_FACTOR if name.startswith("row.") else 1)))
        torch._foreach_lerp_(self.average, [p.data for p in self.params], 1 - AVERAGE)


def mixed_anew(noisy: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """Give every voice of a batch the noise of another one, [B, T] x 2, at the level that its mixture had."""
    other = clean + (noisy - clean).roll(int(torch.randint(1, len(clean), ())), 0)
    was, now = (x.square().mean(-1, keepdim=True) for x in (noisy, other))
    gain = torch.where((was > 0.01) & (now > 0.01), (was / now.clamp_min(1e-6)).sqrt().clamp(0.1, 10), 0)
    # Where one of them is hardly anything, the mixture stays as it was.
    return torch.where(gain > 0, other * gain, noisy), torch.where(gain > 0, clean * gain, clean)
