"""The training loop: backbone and router together, every width in every step.

A step draws `batch` examples and gives each a task (see `tasks`). Examples of one task are processed together,
in micro-batches that worker threads share: on a CPU two threads of one core each beat one operation on two
cores by half.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from torch.utils.data import DataLoader

from slimclean.engine.threads import one_thread_each, workers
from slimclean.errors import SlimcleanError
from slimclean.model import ModelConfig, SlimmableDemucs, checkpoint
from slimclean.model.device import pick_bf16, pick_device
from slimclean.model.slimmable import FrameWidths, Widths
from slimclean.train.config import TrainConfig
from slimclean.train.hardware import keep_memory, quiet_worker
from slimclean.train.intelligibility import unintelligibility
from slimclean.train.log import Log, append_row, stop_requested
from slimclean.train.losses import EfficiencyLoss, balance_loss, enhancement_loss, mean_uf, pause_loss
from slimclean.train.mix import MixDataset, Mixer
from slimclean.train.muon import Muon
from slimclean.train.perceptual import disturbance
from slimclean.train.tasks import Job, random_targets, random_widths, share_out

STATE = "state.safetensors"
"""Of a run folder: weights, their average, and the optimisers' state."""

Validate = Callable[[SlimmableDemucs], Iterable[dict[str, Any]]]

ROUTER_WARMUP_STEPS = 300
"""Before these, L_eff would steer a backbone that does not know yet what its widths are worth."""


def train(
    config: TrainConfig,
    mixer: Mixer,
    model_config: ModelConfig | None = None,
    init: Path | None = None,
    validate: Validate | None = None,
) -> Path:
    """Train to `config.steps`, resuming from `config.out` where a run was interrupted.

    `validate(network) -> rows` is called every `valid_every` steps and at the end, with the
    averaged weights; its rows go to `valid.csv`. Returns the checkpoint `config.out/NAME.safetensors`.
    """
    keep_memory()
    return _Run(config, model_config or ModelConfig(), init).run(mixer, validate)


class _Run:
    """The state of one run: what is saved, and what a step changes."""

    def __init__(self, config: TrainConfig, model_config: ModelConfig, init: Path | None) -> None:
        self.config = config
        self.device = pick_device(config.device)
        self.bf16 = pick_bf16(config.precision, self.device)
        self.workers = config.workers or (1 if self.device.type == "cuda" else os.cpu_count() or 1)
        torch.manual_seed(config.seed)
        self.network = SlimmableDemucs(model_config).to(self.device)
        if init is not None:
            self._start_from(*checkpoint.load(init), init)
        self.names = [name for name, _ in self.network.named_parameters()]
        self.params = [p for _, p in self.network.named_parameters()]
        # Two threads that make a parameter's gradient accumulator at the same time can wait for each other
        # forever, one with the interpreter's lock, one with the parameter's. The graphs of these views keep the
        # accumulators in being; an accumulator that Python has seen would want the interpreter's lock again.
        self._accumulators = [p.view_as(p) for p in self.params]
        matrices = [p for n, p in self.network.named_parameters() if _is_matrix(n, p)]
        ids = {id(p) for p in matrices}
        self.muon = Muon(
            matrices,
            lr=config.lr,
            weight_decay=config.weight_decay,
            dtype=torch.bfloat16 if self.bf16 else torch.float32,
        )
        self.adam = torch.optim.AdamW(
            [p for p in self.params if id(p) not in ids], lr=config.lr, weight_decay=0.0
        )
        self.average = [p.detach().clone() for p in self.params]
        self.efficiency = EfficiencyLoss(model_config.target_knots)
        self.step = self.first = 0
        self.hours = 0.0
        self.audio_hours = 0.0

    def _start_from(self, network: SlimmableDemucs, header: checkpoint.Checkpoint, path: Path) -> None:
        """Weights of another run; the router stays new where it has other UFs or targets to choose from."""
        config = self.network.config
        if dataclasses.replace(header.config, ufs=config.ufs, target_knots=config.target_knots) != config:
            raise SlimcleanError(f"{path}: its sizes are not those to train")
        weights = network.state_dict()
        if header.config != config:
            weights = {n: t for n, t in weights.items() if not n.startswith("router.")}
        self.network.load_state_dict(weights, strict=header.config == config)

    @property
    def steps(self) -> int:
        """The step to end at: a branch counts on from where it left the trunk."""
        return self.first + self.config.steps

    # --- running ---------------------------------------------------------------------------

    def run(self, mixer: Mixer, validate: Validate | None) -> Path:
        config = self.config
        if self.state_path.exists():
            self.load(self.state_path)
        elif config.branch is not None:
            self.load(config.branch / STATE)
            self.first = self.step
        length = _segment_samples(config.segment_s, self.network.config.frame_hop)
        dataset = MixDataset(mixer, config.seed, length)
        log = Log(config.out / "train.csv", self.step, self.steps)
        last_save = last_step = time.monotonic()
        with (
            workers(self.workers) as pool,
            one_thread_each(here=True) if self.workers > 1 else nullcontext(),
            stop_requested() as stop,
        ):
            for noisy, clean in self._batches(dataset):
                losses = self._step(noisy, clean, pool)
                now = time.monotonic()
                audio_s = noisy.numel() / self.network.config.sample_rate
                self.step += 1
                self.audio_hours += audio_s / 3600
                self.hours, last_step = self.hours + (now - last_step) / 3600, now
                log.add(self.step, audio_s, losses, {"hours": self.hours, "lr": self._rate()})
                if stop.is_set():
                    self.save()
                    raise KeyboardInterrupt
                if now - last_save > config.save_every_s:
                    self.save()
                    last_save = now
                if validate and self.step % config.valid_every == 0 and self.step < self.steps:
                    self._validate(validate)
                    log.restart_clock()
                    last_step = time.monotonic()
        log.bar.close()
        self.save()
        if validate:
            self._validate(validate)
        return self.export_path

    def _batches(self, dataset: MixDataset) -> Iterator[tuple[Tensor, Tensor]]:
        first, last = self.step * self.config.batch, self.steps * self.config.batch
        loader = DataLoader(
            dataset,
            batch_size=self.config.batch,
            sampler=range(first, last),
            num_workers=self.config.loaders,
            prefetch_factor=8 if self.config.loaders else None,
            worker_init_fn=quiet_worker,
        )
        yield from loader

    def _step(self, noisy: Tensor, clean: Tensor, pool: ThreadPoolExecutor) -> dict[str, float]:
        """One update; returns the losses by task, and what the router did."""
        noisy, clean = noisy.to(self.device), clean.to(self.device)
        # A GPU takes all examples of a task at once.
        workers = 1 if self.device.type == "cuda" else self.workers
        jobs = share_out(len(noisy), self.config.tasks, workers)

        def job(spec: Job) -> tuple[dict[str, float], list[Tensor | None], Any]:
            return self._micro_batch(spec[0], spec[1], noisy, clean)

        for p in self.params:
            p.grad = None
        logs: dict[str, list[float]] = {}
        used: list[tuple[Tensor, Tensor]] = []
        for log, grads, usage in pool.map(job, jobs):
            for p, grad in zip(self.params, grads, strict=True):
                if grad is not None:
                    p.grad = grad if p.grad is None else p.grad.add_(grad)
            for name, value in log.items():
                logs.setdefault(name, []).append(value)
            if usage is not None:
                used.append(usage)
        for u, target in used:
            self.efficiency.update(u, target)
        for p in self.params:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        norm = float(torch.nn.utils.clip_grad_norm_(self.params, self.config.clip))
        if math.isfinite(norm):
            rate = self._rate()
            self.muon.param_groups[0]["lr"] = self.config.lr * rate
            self.adam.param_groups[0]["lr"] = self.config.lr * rate
            self.muon.step(pool.map)
            self.adam.step()
            decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                torch._foreach_lerp_(self.average, [p.data for p in self.params], 1 - decay)
        return {name: float(np.mean(values)) for name, values in logs.items()} | {"grad": norm}

    def _micro_batch(
        self, task: str, items: list[int], noisy: Tensor, clean: Tensor
    ) -> tuple[dict[str, float], list[Tensor | None], tuple[Tensor, Tensor] | None]:
        """Losses, gradients (None where a parameter played no part), and the router's spending."""
        config, network = self.config, self.network
        rng = np.random.default_rng([config.seed, self.step, items[0], 1])
        x, y = noisy[items], clean[items]
        share = len(items) / len(noisy)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            widths: Widths = 1.0
            if task == "routed":
                target = random_targets(rng, len(items)).to(x.device)
                with torch.set_grad_enabled(not config.freeze_router):
                    logits = network.router(x, target).float()
                if config.freeze_router:
                    widths = FrameWidths.of(network.router.likeliest(logits))
                else:
                    noise = torch.from_numpy(rng.random(logits.shape, dtype=np.float32)).to(x.device)
                    widths = network.router.sample(logits, noise)
            elif task == "static":
                widths = random_widths(rng, x.shape[1] // network.config.frame_hop, x.device)
            enhanced = network.backbone(x, widths)
        scale = 1 / x.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-3)  # loud examples count no more
        wanted, given = y * scale, enhanced.float() * scale
        error = enhancement_loss(wanted, given).mean()
        if config.perceptual:
            error = error + config.perceptual * disturbance(wanted, given).mean()
        if config.intelligibility:
            error = error + config.intelligibility * unintelligibility(wanted, given).mean()
        log = {task: float(error.detach())}
        if config.pauses:
            pauses = pause_loss(wanted, given, x * scale).mean()
            error = error + config.pauses * pauses
            log["pauses"] = float(pauses.detach())
        loss, usage = error, None
        if isinstance(widths, FrameWidths) and task == "routed":
            u = mean_uf(widths)
            log["uf"] = float(u.detach().mean())
            if not config.freeze_router:
                ramp = min(1.0, self.step / ROUTER_WARMUP_STEPS)
                loss = loss + ramp * config.beta * self.efficiency(widths, target).mean()
                loss = loss + config.gamma * balance_loss(logits)
                usage = (u.detach().cpu(), target.cpu())
                log["uf_error"] = float(self.efficiency.deviation.abs().mean())
        grads = torch.autograd.grad(loss * share, self.params, allow_unused=True)
        return log, list(grads), usage

    def _rate(self) -> float:
        """Learning rate factor: linear warm-up, constant, linear decay over the last `decay`."""
        warm = min(1.0, (self.step + 1) / max(1, self.config.warmup_steps))
        if not self.config.decay:
            return warm
        left = (self.steps - self.step) / (self.config.steps * self.config.decay)
        return warm * min(1.0, max(0.0, left))

    # --- saving ----------------------------------------------------------------------------

    @property
    def state_path(self) -> Path:
        return self.config.out / STATE

    @property
    def export_path(self) -> Path:
        return self.config.out / f"{self.config.name}{checkpoint.SUFFIX}"

    def _state(self) -> dict[str, Tensor]:
        """Every tensor of the run by name: aliases of the live ones."""
        state = {"efficiency": self.efficiency.deviation}
        state |= {f"model.{n}": p.data for n, p in zip(self.names, self.params, strict=True)}
        state |= {f"average.{n}": p for n, p in zip(self.names, self.average, strict=True)}
        for n, p in zip(self.names, self.params, strict=True):
            for optimiser in (self.muon, self.adam):
                for key, value in optimiser.state.get(p, {}).items():
                    state[f"{key}.{n}"] = value
        return state

    def save(self) -> None:
        """The whole state, and the averaged weights as a checkpoint."""
        config = {k: v for k, v in asdict(self.config).items() if k not in ("out", "name", "info", "branch")}
        progress = {
            "step": self.step,
            "first": self.first,
            "hours": self.hours,
            "audio_hours": self.audio_hours,
        }
        metadata = {"progress": json.dumps(progress), "config": json.dumps(config)}
        checkpoint.write_tensors(self.state_path, self._state(), metadata)
        checkpoint.save(
            self.export_path,
            self.network.config,
            dict(zip(self.names, self.average, strict=True)),
            self.config.info | {"training": progress | {"recipe": config}},
        )

    def load(self, path: Path) -> None:
        """Continue from a saved state: bit for bit what an undisturbed run on this machine would do."""
        for p in self.params:
            p.grad = torch.zeros_like(p)
        self.muon.param_groups[0]["lr"] = self.adam.param_groups[0]["lr"] = 0.0
        self.muon.step()
        self.adam.step()  # both only to make their state's tensors, which the next lines fill
        if not path.is_file():
            raise SlimcleanError(f"{path}: no state of a training run")
        with safe_open(path, "pt") as file:
            progress = json.loads(file.metadata()["progress"])
            for name, tensor in self._state().items():
                tensor.copy_(file.get_tensor(name))
        self.step, self.hours = progress["step"], progress["hours"]
        self.audio_hours, self.first = progress["audio_hours"], progress.get("first", 0)

    def _validate(self, validate: Validate) -> None:
        network = SlimmableDemucs(self.network.config).to(self.device).eval()
        network.load_state_dict(dict(zip(self.names, self.average, strict=True)), strict=True)
        for row in validate(network):
            append_row(self.config.out / "valid.csv", {"step": self.step, "hours": self.hours} | row)


def _is_matrix(name: str, p: Tensor) -> bool:
    """Whether Muon trains it: matrices of the backbone, without its first and last layer and the router."""
    ends = name.startswith(("router.", "encoder.0.strided")) or name.endswith("bias")
    return p.ndim >= 2 and not ends and min(p.shape[-2:]) > 4


def _segment_samples(segment_s: float, frame_hop: int) -> int:
    return max(8, round(segment_s * 16_000 / frame_hop)) * frame_hop
