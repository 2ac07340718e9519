"""The training loop: backbone and router together, every width in every step.

A step draws `batch` examples and gives each a task (see `tasks`). On a CPU examples of one task are processed
together, in micro-batches that worker threads share: two threads of one core each beat one operation on two
cores by half. On CUDA all of them are one pass, each example at UFs of its own. What a step minimises is
in `objective`, what a run saves in `state`.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from slimclean.audio.atomic import lock, make_folder
from slimclean.dsp import SAMPLE_RATE
from slimclean.engine.threads import one_thread_each, workers
from slimclean.errors import SlimcleanWarning, UsageError
from slimclean.model import ModelConfig, SlimmableDemucs
from slimclean.model.device import pick_bf16, pick_device
from slimclean.train.config import TrainConfig
from slimclean.train.hardware import keep_memory, quiet_worker
from slimclean.train.log import Log, append_row, drop_rows_after, has_step, stop_requested
from slimclean.train.mixer import MixDataset, Mixer
from slimclean.train.objective import Objective, Outcome
from slimclean.train.state import Progress, State
from slimclean.train.tasks import Job, in_turn, share_out

Validate = Callable[[SlimmableDemucs], Iterable[dict[str, Any]]]

LEAST_SAMPLES = 2048
"""Length of the shortest example: the spectra of the losses need as much."""


def train(
    config: TrainConfig,
    mixer: Mixer,
    model_config: ModelConfig | None = None,
    init: Path | None = None,
    validate: Validate | None = None,
) -> Path:
    """Train to `config.steps`, resuming from `config.out` where a run was interrupted.

    `validate(network) -> rows` is called every `valid_every` steps and at the end, with the
    averaged weights; its rows go to `valid.csv`. Returns the checkpoint `config.out/NAME.safetensors`; that of
    a run that has no steps left stays as it is. Raises `UsageError` while another run trains in the folder.
    """
    keep_memory()
    with _alone(config.out):
        loop = Loop(config, model_config or ModelConfig())
        if init is not None:
            loop.state.start_from(init)
        changed = loop.state.resume()
        if config.steps and loop.progress.step >= loop.steps and loop.state.export_path.exists():
            if validate and not has_step(config.out / "valid.csv", loop.progress.step):
                loop.validate(validate)
            return loop.state.export_path
        if changed:
            told = f"{config.out}: goes on with {', '.join(changed)}"
            warnings.warn(told, SlimcleanWarning, stacklevel=2)
        for name in ("train.csv", "valid.csv"):
            drop_rows_after(config.out / name, loop.progress.step)
        return loop.run(mixer, validate)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other runs out of `folder`, as far as this system locks folders."""
    make_folder(folder)
    if os.name != "posix":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if not lock(descriptor):
            raise UsageError(f"{folder}: another run trains there at the moment")
        yield
    finally:
        os.close(descriptor)


class Loop:
    """Steps through a run: draws batches, changes the state, logs, saves and validates on the way."""

    def __init__(self, config: TrainConfig, model: ModelConfig) -> None:
        self.config = config
        self.device = pick_device(config.device)
        self.workers = config.workers or (1 if self.device.type == "cuda" else joblib.cpu_count())
        bf16 = pick_bf16(config.precision, self.device)
        self.state = state = State(config, model, self.device, bf16=bf16)
        self.objective = Objective(config, state.network, state.efficiency, bf16=bf16)
        # Two threads that make a parameter's gradient accumulator at the same time can wait for each other
        # forever, one with the interpreter's lock, one with the parameter's. The graphs of these views keep the
        # accumulators in being; an accumulator that Python has seen would want the interpreter's lock again.
        self._accumulators = [p.view_as(p) for p in state.params]

    @property
    def progress(self) -> Progress:
        return self.state.progress

    @property
    def steps(self) -> int:
        """The step to end at: a branch counts on from where it left the trunk."""
        return self.progress.first + self.config.steps

    def run(self, mixer: Mixer, validate: Validate | None) -> Path:
        """Step to the end, or until a signal asks to stop; either way everything is saved."""
        config, progress = self.config, self.progress
        length = _segment_samples(config.segment_s, self.state.network.config.frame_hop)
        dataset = MixDataset(mixer, config.seed, length)
        log = Log(config.out / "train.csv", progress.step, self.steps)
        last_save = last_step = time.monotonic()
        with (
            workers(self.workers) as pool,
            one_thread_each(here=True) if self.workers > 1 else nullcontext(),
            stop_requested() as stop,
        ):
            for noisy, clean in self._batches(dataset):
                rate = self.config.lr * self._rate()
                losses = self.step(noisy, clean, pool)
                now = time.monotonic()
                audio_s = noisy.numel() / SAMPLE_RATE
                progress.step += 1
                progress.audio_hours += audio_s / 3600
                progress.hours, last_step = progress.hours + (now - last_step) / 3600, now
                log.add(progress.step, audio_s, losses, {"hours": progress.hours, "lr": rate})
                if stop.number is not None:
                    self.state.save()
                    stop.end()
                if now - last_save > config.save_every_s:
                    self.state.save()
                    last_save = now
                if validate and progress.step % config.valid_every == 0 and progress.step < self.steps:
                    self.validate(validate)
                    log.restart_clock()
                    last_step = time.monotonic()
        log.bar.close()
        self.state.save()
        if validate:
            self.validate(validate)
        return self.state.export_path

    def _batches(self, dataset: MixDataset) -> Iterator[tuple[Tensor, Tensor]]:
        first, last = self.progress.step * self.config.batch, self.steps * self.config.batch
        loader = DataLoader(
            dataset,
            batch_size=self.config.batch,
            sampler=range(first, last),
            num_workers=self.config.loaders,
            prefetch_factor=8 if self.config.loaders else None,
            worker_init_fn=quiet_worker,
        )
        yield from loader

    def step(self, noisy: Tensor, clean: Tensor, pool: ThreadPoolExecutor) -> dict[str, float]:
        """Update once on [B, T]; return the losses by task, what the router did, and the gradients' norm."""
        noisy, clean = noisy.to(self.device), clean.to(self.device)
        tasks = in_turn(len(noisy), self.config.tasks)
        # A GPU would wait for whoever starts its work: it takes everything at once.
        jobs = [list(range(len(noisy)))] if self.device.type == "cuda" else share_out(tasks, self.workers)

        def job(items: Job) -> tuple[Outcome, list[Tensor | None]]:
            return self._micro_batch(tasks, items, noisy, clean)

        params = self.state.params
        for p in params:
            p.grad = None
        outcomes = []
        for outcome, grads in pool.map(job, jobs):
            outcomes.append(outcome)
            for p, grad in zip(params, grads, strict=True):
                if grad is not None:
                    p.grad = grad if p.grad is None else p.grad.add_(grad)
        for p in params:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        norm = float(torch.nn.utils.clip_grad_norm_(params, self.config.clip))
        if math.isfinite(norm):  # a step that is no number changes nothing
            for outcome in outcomes:
                if outcome.spent is not None:
                    self.state.efficiency.update(*outcome.spent)
            self._update(pool)
        return _means(outcome.log for outcome in outcomes) | {"grad": norm}

    def _micro_batch(
        self, tasks: list[str], items: Job, noisy: Tensor, clean: Tensor
    ) -> tuple[Outcome, list[Tensor | None]]:
        """Find what some examples of a batch cost, and gradients: None where a parameter played no part."""
        rng = np.random.default_rng([self.config.seed, self.progress.step, items[0], 1])
        own = [tasks[k] for k in items]
        outcome = self.objective(own, noisy[items], clean[items], self.progress.step, rng)
        share = len(items) / len(noisy)
        grads = torch.autograd.grad(outcome.loss * share, self.state.params, allow_unused=True)
        return outcome._replace(loss=outcome.loss.detach()), list(grads)

    def _update(self, pool: ThreadPoolExecutor) -> None:
        """Let the optimisers follow the gradients, and the averages the weights."""
        state = self.state
        state.set_rate(self.config.lr * self._rate())
        state.muon.step(pool.map)
        state.adam.step()
        decay = min(self.config.ema, (1 + self.progress.step) / (10 + self.progress.step))
        with torch.no_grad():
            torch._foreach_lerp_(state.average, [p.data for p in state.params], 1 - decay)

    def _rate(self) -> float:
        """Give the learning rate's factor: linear warm-up, constant, linear decay over the last `decay`."""
        warm = min(1.0, (self.progress.step + 1) / max(1, self.config.warmup_steps))
        if not self.config.decay:
            return warm
        left = (self.steps - self.progress.step) / (self.config.steps * self.config.decay)
        return warm * min(1.0, max(0.0, left))

    def validate(self, validate: Validate) -> None:
        """Add rows on the averaged weights to `valid.csv`."""
        for row in validate(self.state.averaged()):
            progress = {"step": self.progress.step, "hours": self.progress.hours}
            append_row(self.config.out / "valid.csv", progress | row)


def _means(logs: Iterable[dict[str, float]]) -> dict[str, float]:
    """Average each number over the logs that have it."""
    values: dict[str, list[float]] = {}
    for log in logs:
        for name, value in log.items():
            values.setdefault(name, []).append(value)
    return {name: float(np.mean(each)) for name, each in values.items()}


def _segment_samples(segment_s: float, frame_hop: int) -> int:
    return max(-(-LEAST_SAMPLES // frame_hop), round(segment_s * SAMPLE_RATE / frame_hop)) * frame_hop
