"""How fast this machine enhances: real-time factors, multiply-accumulates a second, where the time goes.

Settings take turns, repeat by repeat, and each counts with its fastest run: what else a machine does then
disturbs all alike, and mostly drops out.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from slimclean.dsp import SAMPLE_RATE
from slimclean.engine.engine import STAGES, NetworkEngine, engine_for
from slimclean.enhancer import Enhancer
from slimclean.errors import UsageError
from slimclean.model import ModelConfig, SlimmableDemucs
from slimclean.model.demucs import Enhanced, uf_per_frame
from slimclean.model.ordinary import OrdinaryDemucs
from slimclean.scoring.evaluation import Row, Setting, network_device

SETTINGS: tuple[Setting, ...] = (
    (0.125, 0.25),
    (0.25, 0.25),
    (0.5, 0.25),
    (1.0, 0.25),
    ("auto", 0.1),
    ("auto", 0.25),
    ("auto", 0.5),
)

SHARES = ("router", *STAGES, "rest")
"""Columns of shares; "rest" is resampling, level, overlap-add, and threads with nothing left to do."""


def speech_in_noise(seconds: float, sample_rate: int = SAMPLE_RATE, seed: int = 0) -> np.ndarray:
    """Make what keeps a router busy: voiced syllables with pauses, in noise that comes and goes, [T]."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.4 * t)) / sample_rate
    voice = sum(np.sin(k * phase + rng.uniform(0, 6)) / k for k in range(1, 25))
    talking = (np.sin(2 * np.pi * 0.11 * t) > -0.4) * np.clip(np.sin(2 * np.pi * 2.7 * t), 0, 1)
    noise = rng.normal(size=len(t)) * (0.02 + 0.4 * np.clip(np.sin(2 * np.pi * 0.05 * t), 0, 1) ** 2)
    x: np.ndarray = voice * talking + noise
    return np.asarray(0.3 * x / max(1e-9, np.abs(x).max(initial=0)), np.float32)


class Stopwatch:
    """Seconds by stage; every thread has its own lap."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._device = device
        self._thread = threading.local()
        self._lock = threading.Lock()

    def start(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._thread.last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Count what passed since this thread's last lap or start as spent in `stage`."""
        last = self._thread.last
        self.start()
        with self._lock:
            self.seconds[stage] += self._thread.last - last

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


class Timed:
    """An engine with a stopwatch on it: "router", and whatever stages the engine tells the watch of itself.

    `stage` is where the whole of an engine goes that tells of none.
    """

    def __init__(self, engine: NetworkEngine, watch: Stopwatch, stage: str | None = None) -> None:
        self.engine = engine
        self.watch = watch
        self.stage = stage

    @property
    def config(self) -> ModelConfig:
        return self.engine.config

    @property
    def precision(self) -> str:
        return self.engine.precision

    def route(self, noisy: torch.Tensor, target_uf: float, power: torch.Tensor | None = None) -> torch.Tensor:
        self.watch.start()
        ufs = self.engine.route(noisy, target_uf, power)
        self.watch.lap("router")
        return ufs

    def __call__(self, noisy: torch.Tensor, uf: float | torch.Tensor) -> Enhanced:
        self.watch.start()
        result = self.engine(noisy, uf)
        if self.stage is not None:
            self.watch.lap(self.stage)
        return result


class PlainEngine:
    """The network that is trained in the place of the engine, item by item."""

    precision = "fp32"

    def __init__(self, network: SlimmableDemucs) -> None:
        self.network = network
        self.config = network.config

    def route(self, noisy: torch.Tensor, target_uf: float, power: torch.Tensor | None = None) -> torch.Tensor:
        return self.network.route(noisy, target_uf, power)

    def __call__(self, noisy: torch.Tensor, uf: float | torch.Tensor) -> Enhanced:
        ufs = uf_per_frame(noisy, uf, self.config.frame_hop)
        waveforms = [
            self.network(noisy[i : i + 1], ufs[i : i + 1] if isinstance(uf, torch.Tensor) else uf).waveform
            for i in range(len(noisy))
        ]
        return Enhanced(torch.cat(waveforms), ufs)


class OrdinaryEngine(PlainEngine):
    """The network in ordinary layers, item by item; at one UF only."""

    def __init__(self, network: SlimmableDemucs) -> None:
        super().__init__(network)
        self.layers = OrdinaryDemucs(network)

    def __call__(self, noisy: torch.Tensor, uf: float | torch.Tensor) -> Enhanced:
        assert isinstance(uf, float)
        waveform = torch.cat([self.layers(x[None], uf) for x in noisy])
        return Enhanced(waveform, uf_per_frame(noisy, uf, self.config.frame_hop))


@dataclass
class Subject:
    """An enhancer to time on a waveform, and the fastest of its runs so far."""

    enhancer: Enhancer
    watch: Stopwatch
    best_s: float = float("inf")
    network_s: float = float("inf")
    """Of router and network alone, summed over threads."""
    stages: dict[str, float] = field(default_factory=dict)

    def time(self, waveform: np.ndarray, sample_rate: int) -> None:
        self.watch.seconds.clear()
        start = time.perf_counter()
        self.enhancer(waveform, sample_rate)
        passed = time.perf_counter() - start
        self.network_s = min(self.network_s, self.watch.total)
        if passed < self.best_s:
            self.best_s, self.stages = passed, dict(self.watch.seconds)


def benchmark(
    network: SlimmableDemucs,
    waveform: np.ndarray,
    sample_rate: int,
    settings: Sequence[Setting] = SETTINGS,
    *,
    precision: str = "auto",
    repeats: int = 5,
    plain: bool = False,
) -> list[Row]:
    """Time each setting on the waveform, [C, T] or [T]: a row a setting.

    `rtf` is processing time over audio time, on all threads; `gmac_per_s` the network's multiply-accumulates
    over the same time. Shares add up to 1. With `plain`, `times_plain` and `times_ordinary` say how many times
    as long as the engine, router included, `SlimmableDemucs` and `OrdinaryDemucs` take for the same chunks, in
    the same threads; the latter where the UF is static; neither where all is silent and the network never ran.
    Raises `UsageError` for a waveform of no samples.
    """
    if waveform.shape[-1] == 0:
        raise UsageError("there is nothing to time: the recording holds no samples")
    engines: dict[str, PlainEngine] = {}
    if plain:
        engines = {"times_plain": PlainEngine(network), "times_ordinary": OrdinaryEngine(network)}
    seconds = waveform.shape[-1] / sample_rate
    rows: list[Row] = []
    subjects: list[tuple[Subject, dict[str, Subject]]] = []
    for setting in settings:
        ours = _subject(network, setting, precision)
        rows.append(_begin(ours, waveform, sample_rate))
        pair = {
            name: _subject(network, setting, precision, engine)
            for name, engine in engines.items()
            if name == "times_plain" or setting[0] != "auto"
        }
        subjects.append((ours, pair))
    for _ in range(repeats):
        for own, pair in subjects:
            for one in (own, *pair.values()):
                one.time(waveform, sample_rate)
    for row, (own, pair) in zip(rows, subjects, strict=True):
        _fill(row, own, pair, seconds, plain)
    return rows


def _subject(
    network: SlimmableDemucs, setting: Setting, precision: str, engine: NetworkEngine | None = None
) -> Subject:
    """Make what enhances at a setting with a stopwatch on it: with `engine`, or else with the network's own."""
    device = torch.device(network_device(network))
    watch, stage = Stopwatch(device), None if engine is None else "network"
    if engine is None:
        uf = None if setting[0] == "auto" else setting[0]
        engine = engine_for(network, precision, device, uf, watch.lap)
    return Subject(Enhancer(*setting, engine=Timed(engine, watch, stage), device=str(device)), watch)


def _begin(subject: Subject, waveform: np.ndarray, sample_rate: int) -> Row:
    """Enhance once, which warms up, and begin the row with what that tells, the time left open."""
    enhancer = subject.enhancer
    with peak_memory() as peak:
        ufs = enhancer(waveform, sample_rate).uf
    macs = enhancer.macs_per_sample(ufs)
    network_samples = waveform.size / sample_rate * enhancer.config.sample_rate
    return {
        "uf": str(enhancer.uf),
        "target_uf": enhancer.target_uf if enhancer.uf == "auto" else "",
        "mean_uf": float(ufs.mean()),
        "precision": enhancer.precision,
        "macs_per_sample": macs,
        "rtf": 0.0,
        "times_real_time": 0.0,
        "gmac_per_s": macs * network_samples / 1e9,
        "peak_mb": peak[0] / 1e6 or "",
    }


def _fill(row: Row, subject: Subject, pair: dict[str, Subject], seconds: float, plain: bool) -> None:
    row["rtf"] = subject.best_s / seconds
    row["times_real_time"] = seconds / subject.best_s
    row["gmac_per_s"] = float(row["gmac_per_s"]) / subject.best_s
    # Threads work side by side: what none of them spends on the network is the rest.
    rest = max(0.0, subject.best_s * subject.enhancer.threads - sum(subject.stages.values()))
    total = sum(subject.stages.values()) + rest
    for stage in SHARES:
        row[stage] = (rest if stage == "rest" else subject.stages.get(stage, 0.0)) / total
    for name in ("times_plain", "times_ordinary") if plain else ():
        row[name] = pair[name].network_s / subject.network_s if name in pair and subject.network_s else ""


@contextlib.contextmanager
def peak_memory() -> Iterator[list[float]]:
    """Puts the process's largest resident size inside the block into the list, in bytes.

    Only Linux can forget an earlier peak; elsewhere it is the largest since the process began. Windows does not
    tell: there it stays 0.
    """
    peak = [0.0]
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    yield peak
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        peak[0] = next(float(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        with contextlib.suppress(ImportError):  # Windows has none
            import resource

            unit = 1 if sys.platform == "darwin" else 1024
            peak[0] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
