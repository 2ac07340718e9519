"""Scores on pairs of noisy and clean speech: at static UFs, and under the router.

The evidence for the method is a curve, quality against multiply-accumulates; a row is a point on it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from joblib import Parallel, delayed

from slimclean.audio.names import same_names
from slimclean.dsp import SAMPLE_RATE
from slimclean.enhancer import Enhancer
from slimclean.errors import MissingDependencyError, SlimcleanError, UndefinedMetricError
from slimclean.model import ModelConfig, SlimmableDemucs
from slimclean.scoring.loading import load_alike
from slimclean.scoring.metrics import METRICS, SCORED
from slimclean.scoring.pauses import levels, pauses

Row = dict[str, str | float]
Setting = tuple[float | Literal["auto"], float]
"""(uf, target_uf); the target matters for auto only."""

SETTINGS: tuple[Setting, ...] = (
    *((uf, 0.25) for uf in (0.0625, 0.125, 0.18, 0.25, 0.375, 0.5, 0.75, 1.0)),
    *(("auto", target) for target in (0.1, 0.16, 0.25, 0.5, 0.75)),
)
QUICK: tuple[Setting, ...] = tuple(
    s for s in SETTINGS if s[0] in (0.125, 0.25, 1.0) or s in (("auto", 0.1), ("auto", 0.25))
)
"""A few, for the stops of a training run."""


@dataclass(frozen=True)
class Pair:
    """Noisy speech and its clean reference, float32 [T] at 16 kHz."""

    name: str
    clean: np.ndarray
    noisy: np.ndarray


def folder_pairs(clean: Path, noisy: Path) -> list[Pair]:
    """Read pairs of one name under two folders, as `slimclean score` pairs: first channels at 16 kHz.

    Raises `UsageError` for what has no counterpart, and `SlimcleanError` for what cannot be read or compared.
    """
    references, estimates = same_names(clean, noisy)
    pairs = []
    for name, path in references.items():
        try:
            reference, estimate, _ = load_alike(path, estimates[name], {})
        except SlimcleanError as error:
            raise SlimcleanError(f"{name}: {error}") from error
        first, second = (next(iter(signal))[:] for signal in (reference, estimate))
        pairs.append(Pair(name, first, second))
    return pairs


def evaluate(
    network: SlimmableDemucs,
    pairs: Sequence[Pair],
    settings: Sequence[Setting] = SETTINGS,
    *,
    baseline: bool = True,
    metrics: Sequence[str] = SCORED,
    jobs: int = 1,
) -> Iterator[Row]:
    """Yield a row a setting, the noisy input first: uf, target_uf, mean_uf, macs_per_sample, mean `metrics`.

    Under the router, `pause_uf` is the mean UF where the reference says nothing for .3 s (see `pauses`).
    `jobs` processes score, for PESQ takes longer than the network.
    """
    if baseline:
        scores = mean_scores(((p.clean, p.noisy) for p in pairs), metrics, jobs)
        yield _row("noisy", "", [], None, scores | {"pause_uf": ""})
    routed = any(uf == "auto" for uf, _ in settings)
    silent = [in_pauses(p.clean, network.config) for p in pairs] if routed else []
    for uf, target_uf in settings:
        enhancer = Enhancer(uf, target_uf, network=network, device=network_device(network))
        results = [enhancer(p.noisy, SAMPLE_RATE) for p in pairs]
        signals = ((p.clean, r.waveform) for p, r in zip(pairs, results, strict=True))
        scores = mean_scores(signals, metrics, jobs)
        ufs = [r.uf for r in results]
        paused = (u[where] for u, where in zip(ufs, silent, strict=True)) if uf == "auto" else ()
        scores["pause_uf"] = _mean(paused)
        yield _row(str(uf), target_uf if uf == "auto" else "", ufs, enhancer, scores)


ADVANTAGE = ("pesq_wb", "si_sdr_db")
"""Measures of which `with_advantage` tells how far the router lies above the static curve."""


def with_advantage(rows: Sequence[Row]) -> list[Row]:
    """Add to the rows of auto how far PESQ and SI-SDR lie above the static curve.

    The curve runs straight between neighbouring static points; beyond them there is none, and cells are empty.
    """
    static = sorted(filter(is_static, rows), key=macs_of)
    return [row | {f"{name}_over_static": _above(row, static, name) for name in ADVANTAGE} for row in rows]


def _above(row: Row, static: Sequence[Row], name: str) -> float | Literal[""]:
    """Return how far a measure lies above the curve of static points, which are in the order of their MACs."""
    macs = [macs_of(point) for point in static]
    inside = row["uf"] == "auto" and len(static) > 1 and macs[0] <= macs_of(row) <= macs[-1]
    if not inside or "" in (row[name], *(point[name] for point in static)):
        return ""
    curve = np.interp(macs_of(row), macs, [float(point[name]) for point in static])
    return float(row[name]) - float(curve)


def is_static(row: Row) -> bool:
    """Tell whether a row is of a fixed UF, neither of the router nor of the noisy input."""
    return row["uf"] not in ("noisy", "auto")


def macs_of(row: Row) -> float:
    """Return the MACs per sample of a row, which that of the noisy input has not."""
    return float(row["macs_per_sample"])


def network_device(network: SlimmableDemucs) -> str:
    """Return the name of the device that holds the network, as `Enhancer` takes it."""
    return str(next(network.parameters()).device)


def in_pauses(clean: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Find the frames of a reference [T] in which it says nothing for a while, [F]."""
    padded = np.pad(clean, (0, -len(clean) % config.frame_hop))
    found: np.ndarray = pauses(levels(padded[None], config.frame_hop), config.frame_rate_hz)[0]
    return found


def _mean(ufs: Iterable[np.ndarray]) -> float | Literal[""]:
    frames = np.concatenate([np.zeros(0), *ufs])
    return float(frames.mean()) if len(frames) else ""


def _row(uf: str, target: float | str, ufs: list[np.ndarray], enhancer: Enhancer | None, scores: Row) -> Row:
    macs = enhancer.macs_per_sample(np.concatenate([np.zeros(0), *ufs])) if enhancer else ""
    return {"uf": uf, "target_uf": target, "mean_uf": _mean(ufs), "macs_per_sample": macs} | scores


def mean_scores(signals: Iterable[tuple[np.ndarray, np.ndarray]], metrics: Sequence[str], jobs: int = 1) -> Row:
    """Return the mean of each measure over pairs of reference and estimate, [T] at 16 kHz, where it is finite.

    Measures whose package is missing are left empty. Raises `SlimcleanError` if a process dies.
    """
    work = (delayed(_score)(clean, estimate, metrics) for clean, estimate in signals)
    try:
        scores = Parallel(n_jobs=jobs)(work)
    except BrokenExecutor as error:
        raise SlimcleanError(f"a process that scores died ({type(error).__name__}); out of memory?") from error
    columns = {name: [s[name] for s in scores if np.isfinite(s.get(name, np.nan))] for name in metrics}
    return {name: float(np.mean(values)) if values else "" for name, values in columns.items()}


def _score(clean: np.ndarray, estimate: np.ndarray, metrics: Sequence[str]) -> dict[str, float]:
    score: dict[str, float] = {}
    for name in metrics:
        if name not in score:
            with contextlib.suppress(UndefinedMetricError, MissingDependencyError):
                found = METRICS[name].of(clean, estimate)
                score |= found if isinstance(found, Mapping) else {name: found}
    return score
