"""Train on one GPU for some minutes, as the last stages of the packaged weights were trained.

    python examples/train_on_gpu.py slim-demucs-15 corpus/manifest.csv runs/gpu --minutes 12

writes the averaged weights as runs/gpu/model.safetensors, with the router of the start. Then

    slimclean train runs/taught --init runs/gpu/model.safetensors --steps 0 --teach-count 2000 \\
        --manifest corpus/manifest.csv

teaches a new one. Other than in `slimclean train --device cuda`, all of a step, the optimisers included, is one
CUDA graph; see `gpu_step.py`. Processes mix; where they are too slow, a batch comes back with its noises under
other voices of its own. A quarter of the examples is at UF 1, a third under the router, the rest at other UFs.
Without a GPU it is slow: for a trial.
"""

from __future__ import annotations

import argparse
import math
import mmap
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from gpu_step import Batch, Step
from torch import Tensor

from slimclean.dsp import SAMPLE_RATE
from slimclean.model import checkpoint
from slimclean.model.router import interpolate
from slimclean.train.dnsmos_loss import LEVELS_DB
from slimclean.train.mix import MixConfig
from slimclean.train.mixer import Mixer
from slimclean.train.sources import load_library, read_manifest
from slimclean.train.tasks import random_targets, random_ufs

MIX = MixConfig(
    whispered=0.1, clean_only=0.1, two_speakers=0.04, turned_away=0.02, fade=0.03, slam=0.01, music=0.1
)
CORPUS_WEIGHTS = {"librispeech": 2.0}
WARMUP = 150
SLOTS = 96
"""Batches that are kept, to be heard again."""
EVERY = 250


def batches(mixer: Mixer, step: Step, processes: int, seed: int) -> Iterator[Batch]:
    """Draw batches without end: new ones as fast as processes mix them, else old ones."""
    size, samples = step.noisy.shape
    pool = shared(SLOTS, 2, size, samples)
    filled = shared(SLOTS, dtype=torch.int64)

    def mix(k: int) -> None:
        torch.set_num_threads(1)
        for turn in range(2**31):
            slot = (k + turn * processes) % SLOTS
            for b in range(size):
                drawn = mixer.draw(np.random.default_rng([seed, k, turn, b]), samples)
                pool[slot, 0, b], pool[slot, 1, b] = (torch.from_numpy(x) for x in drawn)
            filled[slot] += 1

    context = multiprocessing.get_context("fork")
    for k in range(processes):
        context.Process(target=mix, args=(k,), daemon=True).start()
    rng, used = np.random.default_rng(seed), torch.zeros_like(filled)
    while True:
        fresh = (filled > used).nonzero()[:, 0].tolist()
        known = (filled > 0).nonzero()[:, 0].tolist()
        if not fresh and len(known) < min(24, SLOTS):
            time.sleep(0.01)
            continue
        slot = fresh[0] if fresh else int(rng.choice(known))
        used[slot] = filled[slot]
        ufs = np.ones(step.uf.shape, np.float32)
        for b in range(step.full, size - step.routed):
            ufs[b] = random_ufs(rng, ufs.shape[1])
        targets = random_targets(rng, step.routed, (0.1, 1.0))
        knots = interpolate(targets, step.network.config.target_knots)
        level_db = torch.from_numpy(rng.uniform(*LEVELS_DB, size).astype(np.float32))
        order = torch.from_numpy(rng.permutation(size))
        pair = pool[slot, :, order]
        noisy, clean = pair.pin_memory() if step.half else pair
        yield Batch(noisy, clean, torch.from_numpy(ufs), knots, level_db, not fresh)


def shared(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Zeros that forked processes share."""
    return torch.frombuffer(mmap.mmap(-1, math.prod(shape) * dtype.itemsize), dtype=dtype).reshape(shape)


def main(arguments: argparse.Namespace) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.set_flush_denormal(True)
    start, header = checkpoint.load(checkpoint.find(arguments.init))
    libraries = (
        load_library(read_manifest(arguments.manifest, kind, "train"), arguments.out / "cache", CORPUS_WEIGHTS)
        for kind in ("speech", "noise")
    )
    mixer = Mixer(*libraries, MIX)
    hop = header.config.frame_hop
    samples = round(arguments.segment_s * SAMPLE_RATE / hop) * hop
    pulls = arguments.opinion, arguments.opinion_beyond, arguments.pauses
    step = Step(start.float().to(device).train(), arguments.batch, samples, *pulls)
    supply = batches(mixer, step, arguments.processes, arguments.seed)
    step.load(next(supply))
    if device.type == "cuda":
        step.record()
    begun, total, done, again = time.monotonic(), torch.zeros_like(step.log), 0, 0
    thread = ThreadPoolExecutor(1)
    coming = thread.submit(next, supply)
    while (part := (time.monotonic() - begun) / (60 * arguments.minutes)) < 1:
        if step.graph is not None:
            torch.cuda.synchronize()  # else steps would queue up, and time be none of theirs
        batch, coming = coming.result(), thread.submit(next, supply)
        step.load(batch)
        step.run(arguments.lr * min(1, (done + 1) / WARMUP, (1 - part) / (1 - arguments.hold)))
        total += step.log
        done, again = done + 1, again + batch.old
        if done % EVERY == 0:
            means = " ".join(f"{x:.4f}" for x in (total / EVERY).tolist())
            print(
                f"{done} steps, {part:.0%}: {means}; {int(step.skipped)} skipped, {again} heard again",
                flush=True,
            )
            total.zero_()
    print(f"{done} steps in {time.monotonic() - begun:.0f} s")
    weights = {name: x.cpu() for (name, _), x in zip(step.named, step.average, strict=True)}
    weights |= {f"router.{name}": p.cpu() for name, p in step.network.router.named_parameters()}
    hours = done * step.noisy.numel() / SAMPLE_RATE / 3600
    info = header.info | {"training": {"from": arguments.init, "steps": done, "audio_hours": hours}}
    checkpoint.save(arguments.out / "model.safetensors", header.config, weights, info)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("init", help="packaged name or file of the weights to start from")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--hold", type=float, default=0.35, help="share of the time before the rate falls to 0")
    parser.add_argument("--opinion", type=float, default=0.0, help="pull of DNSMOS; see `slimclean train`")
    parser.add_argument("--opinion-beyond", type=float, default=0.0, help="points beyond the clean speech's")
    parser.add_argument("--pauses", type=float, default=0.07, help="weight of what is left in pauses")
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--segment-s", type=float, default=3.2)
    parser.add_argument("--processes", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="that mix")
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
