"""Paired sets -> rows of scores, and their summary.

Pairs are made by relative path; the extension may differ and `-enhanced` at the end of a name is ignored. A
measure that is undefined for a pair is None with its reason in `note`, and in no mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from slimclean import audio
from slimclean.errors import MissingDependencyError, SlimcleanError, UndefinedMetricError, UsageError
from slimclean.metrics import CORE, METRICS, SAMPLE_RATE
from slimclean.resample import resample

SUFFIX = "-enhanced"
BOOTSTRAP_DRAWS = 2000


@dataclass(frozen=True)
class ScorePair:
    """One recording to score; `noisy` is what it was enhanced from, where that is known."""

    name: str
    reference: Path
    estimate: Path
    noisy: Path | None = None


@dataclass
class Score:
    """One row: a value per measure (None where undefined), and `status` "scored" or "failed"."""

    file: str
    status: str = "failed"
    error: str = ""
    note: str = ""
    values: dict[str, float | None] = field(default_factory=dict)

    def row(self, columns: Sequence[str]) -> dict[str, object]:
        """Cells of the CSV; six decimals, which do not depend on how the work was shared out."""
        row: dict[str, object] = {"file": self.file, "status": self.status, "error": self.error}
        for name in columns:
            value = self.values.get(name)
            row[name] = "" if value is None else f"{value:.6f}"
        return row | {"note": self.note}


def pair_up(reference: Path, estimate: Path, noisy: Path | None = None) -> list[ScorePair]:
    """Pair two files, or every recording under two folders.

    Raises `UsageError` that names what has no counterpart on either side, or two recordings of one name.
    """
    if reference.is_file() and estimate.is_file():
        return [ScorePair(estimate.name, reference, estimate, noisy)]
    sides = [_by_name(folder) for folder in (reference, estimate, noisy) if folder is not None]
    names = [set[str](side) for side in sides]
    lonely = sorted(names[0].union(*names) - names[0].intersection(*names))
    if lonely:
        shown = ", ".join(lonely[:5]) + (f" and {len(lonely) - 5} more" if len(lonely) > 5 else "")
        raise UsageError(f"{len(lonely)} recordings have no counterpart on every side: {shown}")
    if not sides[0]:
        raise UsageError(f"no recordings in {reference}")
    return [
        ScorePair(name, sides[0][name], sides[1][name], sides[2][name] if noisy else None)
        for name in sorted(sides[0])
    ]


def _by_name(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder}: not a folder; score takes two files or two folders")
    found: dict[str, Path] = {}
    for path in audio.walk(folder):
        name = path.relative_to(folder).with_suffix("").as_posix().removesuffix(SUFFIX)
        if name in found:
            raise UsageError(f"{found[name]} and {path} have the same name")
        found[name] = path
    return found


def columns_of(metrics: Sequence[str], *, improvement: bool) -> list[str]:
    """The columns of values: each measure, and with noisy recordings its improvement."""
    if unknown := [name for name in metrics if name not in METRICS]:
        raise UsageError(f"no measure named {unknown[0]}; there are {', '.join(METRICS)}")
    return [*metrics, *(f"{name}_improvement" for name in metrics if improvement)]


def score_pairs(
    pairs: Sequence[ScorePair],
    metrics: Sequence[str] = CORE,
    *,
    jobs: int = 1,
    progress: Callable[[Score], None] = lambda _: None,
) -> list[Score]:
    """Score every pair, in `jobs` processes; a pair that cannot be read is a row, never an exception."""
    columns_of(metrics, improvement=False)
    scores = []
    work = (delayed(score_pair)(pair, tuple(metrics)) for pair in pairs)
    for score in Parallel(n_jobs=jobs, return_as="generator")(work):
        scores.append(score)
        progress(score)
    return scores


def score_pair(pair: ScorePair, metrics: Sequence[str] = CORE) -> Score:
    """Score one pair: channels one by one, then their mean, at 16 kHz."""
    score = Score(pair.name)
    try:
        reference, estimate = _load_alike(pair.reference, pair.estimate)
        noisy = _load_alike(pair.reference, pair.noisy)[1] if pair.noisy else None
        notes: dict[str, None] = {}
        for name in metrics:
            value = _mean_of_channels(name, reference, estimate, notes)
            score.values[name] = value
            if noisy is not None:
                before = _mean_of_channels(name, reference, noisy, notes)
                gain = None if value is None or before is None else value - before
                score.values[f"{name}_improvement"] = gain
        score.note = "; ".join(notes)
        score.status = "scored"
    except MissingDependencyError:
        raise
    except SlimcleanError as error:
        score.error = str(error)
    return score


def _load_alike(reference: Path, estimate: Path) -> tuple[np.ndarray, np.ndarray]:
    """Both at 16 kHz, [C, T] of one shape. Raises `SlimcleanError` where they do not belong together."""
    (r, r_rate), (e, e_rate) = audio.read(reference), audio.read(estimate)
    if r.shape[0] != e.shape[0]:
        raise SlimcleanError(f"{r.shape[0]} and {e.shape[0]} channels do not pair")
    r, e = resample(r, r_rate, SAMPLE_RATE), resample(e, e_rate, SAMPLE_RATE)
    if abs(r.shape[1] - e.shape[1]) > SAMPLE_RATE // 100:
        lengths = f"{r.shape[1] / SAMPLE_RATE:.3f} and {e.shape[1] / SAMPLE_RATE:.3f} s"
        raise SlimcleanError(f"lengths of {lengths} do not pair")
    length = min(r.shape[1], e.shape[1])
    if length == 0:
        raise SlimcleanError("holds no samples")
    return r[:, :length], e[:, :length]


def _mean_of_channels(
    name: str, reference: np.ndarray, estimate: np.ndarray, notes: dict[str, None]
) -> float | None:
    values = []
    for r, e in zip(reference, estimate, strict=True):
        try:
            values.append(METRICS[name](r, e))
        except UndefinedMetricError as error:
            notes[f"{name}: {error}"] = None
    return float(np.mean(values)) if values else None


def summarise(scores: Sequence[Score], columns: Sequence[str]) -> list[dict[str, object]]:
    """A row a measure: mean, standard deviation, 95 % bootstrap interval of the mean, and n.

    The bootstrap is seeded: the same scores give the same interval. Infinite values (a copy's SI-SDR) are left
    out and counted in `infinite`.
    """
    rows: list[dict[str, object]] = []
    for name in columns:
        values = np.array([v for s in scores if (v := s.values.get(name)) is not None])
        finite = values[np.isfinite(values)]
        row: dict[str, object] = {"metric": name, "mean": "", "std": "", "low_95": "", "high_95": ""}
        if len(finite):
            rng = np.random.default_rng(0)
            means = finite[rng.integers(len(finite), size=(BOOTSTRAP_DRAWS, len(finite)))].mean(axis=1)
            low, high = np.percentile(means, [2.5, 97.5])
            row |= {"mean": float(finite.mean()), "std": float(finite.std()), "low_95": low, "high_95": high}
        rows.append(row | {"n": len(finite), "infinite": len(values) - len(finite)})
    return rows
