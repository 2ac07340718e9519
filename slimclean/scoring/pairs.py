"""Scores of paired recordings, a row each, and their summary.

Pairs are made by relative path; the extension may differ and `-enhanced` at the end of a name is ignored. A
measure that is undefined for a pair is None with its reason in `note`, and in no mean. Measures without a
reference take recordings alone.

What is longer than a measure stands (see `Metric`) is taken in equal segments, 40 at most, and `note` says so.
Memory does not grow with the length of recordings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs

from slimclean.audio.folder import is_file
from slimclean.audio.names import same_names
from slimclean.errors import MissingDependencyError, UsageError, reason
from slimclean.scoring.loading import load_alike
from slimclean.scoring.measure import Pieces, across, improvement_of, measure
from slimclean.scoring.metrics import ALIASES, CORE, LAG, METRICS, MOS, require
from slimclean.scoring.tables import fixed

BOOTSTRAP_DRAWS = 2000


@dataclass(frozen=True)
class ScorePair:
    """One recording to score; `noisy` is what it was enhanced from, `reference` its clean form, where known.

    `track` is the sound track to score of an estimate that holds several, from 1.
    """

    name: str
    reference: Path | None
    estimate: Path
    noisy: Path | None = None
    track: int | None = None


@dataclass
class Score:
    """One row: a value per measure (None where undefined), and `status` "scored" or "failed"."""

    file: str
    status: str = "failed"
    error: str = ""
    note: str = ""
    """What to know of the values: why some are undefined, resampling, segments."""
    undefined: str = ""
    """The part of `note` on undefined values."""
    values: dict[str, float | None] = field(default_factory=dict)
    before: dict[str, float | None] = field(default_factory=dict)
    """The values of the noisy recording."""
    lag_samples: float | None = None
    """How late the estimate is, in samples at 16 kHz, before any alignment; None where nothing stands out."""
    group: str | None = None

    def row(self, columns: Sequence[str]) -> dict[str, object]:
        """Return the cells of the CSV; six decimals do not depend on how the work was shared out."""
        row: dict[str, object] = {"file": self.file, "status": self.status, "error": self.error}
        if self.group is not None:
            row["group"] = self.group
        for name in columns:
            value = self.values.get(name)
            row[name] = "" if value is None else fixed(value, 6)
        if LAG not in columns:
            row[LAG] = "" if self.lag_samples is None else f"{self.lag_samples:g}"
        return row | {"note": self.note}


def pair_up(reference: str | Path, estimate: str | Path, noisy: str | Path | None = None) -> list[ScorePair]:
    """Pair two files, or every recording under two folders, for `score_pairs`.

    Raises `UsageError` that names what has no counterpart on either side, or two recordings of one name.
    """
    reference, estimate, noisy = Path(reference), Path(estimate), None if noisy is None else Path(noisy)
    if is_file(reference) and is_file(estimate):
        return [ScorePair(estimate.name, reference, estimate, noisy)]
    references, estimates, *before = same_names(reference, estimate, *([noisy] if noisy else []))
    return [
        ScorePair(name, path, estimates[name], before[0][name] if before else None)
        for name, path in references.items()
    ]


def recordings_alone(estimate: Path, noisy: Path | None = None) -> list[ScorePair]:
    """Find a file, or every recording in a folder, to score without a reference; raises like `pair_up`."""
    if is_file(estimate):
        return [ScorePair(estimate.name, None, estimate, noisy)]
    estimates, *before = same_names(estimate, *([noisy] if noisy else []))
    return [
        ScorePair(name, None, path, before[0][name] if before else None) for name, path in estimates.items()
    ]


def metric_names(text: str, *, alone: bool = False) -> list[str]:
    """Resolve a comma-separated list with aliases, each measure once; `alone`: without references."""
    parts = [part.strip() for part in text.split(",")]
    if alone and set(parts) <= {"core", "pause_db", "mos"}:
        parts = ["mos"]
    names = dict.fromkeys(name for part in parts for name in ALIASES.get(part, (part,)))
    if alone and (wrong := [name for name in names if name not in MOS]):
        raise UsageError(f"{wrong[0]} needs a reference; without one there are {', '.join(MOS)}")
    return list(names)


def columns_of(metrics: Sequence[str], *, improvement: bool) -> list[str]:
    """Name the columns of values: each measure, and with noisy recordings its improvement."""
    if unknown := [name for name in metrics if name not in METRICS]:
        raise UsageError(f"no measure named {unknown[0]}; there are {', '.join(METRICS)}")
    return [*metrics, *(f"{name}_improvement" for name in metrics if improvement)]


def score_pairs(
    pairs: Sequence[ScorePair],
    metrics: Sequence[str] = CORE,
    *,
    align: bool = False,
    jobs: int = 1,
) -> list[Score]:
    """Score every pair, in `jobs` processes, as many as cores for 0; one that cannot be read is a row.

    `pair_up` makes pairs of two files or folders, `metrics` are names of `METRICS`. With `align`, the delay of
    each estimate, and of each noisy recording, is taken out first. Raises `UsageError` for another name, and
    `MissingDependencyError` where a measure needs a package that is not installed.
    """
    columns_of(metrics, improvement=False)
    require(metrics)
    scores: list[Score] = []
    if jobs < 0:
        raise UsageError(f"`jobs` takes a number of processes, or 0, not {jobs}")
    jobs = effective_n_jobs(jobs or -1)

    def found(pairs: Sequence[ScorePair], jobs: int) -> Iterator[Score]:
        work = (delayed(score_pair)(pair, tuple(metrics), align=align) for pair in pairs)
        yield from Parallel(n_jobs=jobs, return_as="generator")(work)

    def alone(pair: ScorePair) -> Score:
        try:
            return next(found([pair], 2))
        except BrokenExecutor as error:
            name = type(error).__name__
            return Score(
                pair.name, error=f"its worker process died ({name}); if out of memory, take fewer `jobs`"
            )

    while len(scores) < len(pairs):
        try:
            for score in found(pairs[len(scores) :], jobs):
                scores.append(score)
        except BrokenExecutor:  # of which pair a process died, only trying them one by one tells
            scores += map(alone, pairs[len(scores) :][: 3 * jobs])
    return scores


def score_pair(pair: ScorePair, metrics: Sequence[str] = CORE, *, align: bool = False) -> Score:
    """Score one pair: channels one by one, then their mean, at 16 kHz.

    Lengths may differ by up to 100 ms; the longer is cut. The delay is measured, noted and, with `align`, taken
    out.
    """
    score = Score(pair.name)
    notes: dict[str, bool] = {}  # and whether they are reasons of undefined values
    reference = pair.reference or pair.estimate

    def measured(path: Path, name: str, track: int | None = None) -> tuple[dict[str, Pieces], float | None]:
        r, e, lag = load_alike(reference, path, notes, align=align, called=name, track=track)
        return measure(metrics, r, e, lag, notes), lag

    try:
        after, lag = measured(pair.estimate, "the estimate", pair.track)
        score.values |= {name: across(name, pieces) for name, pieces in after.items()}
        score.lag_samples = lag if pair.reference is not None else None
        if pair.noisy is not None:
            for name, before in measured(pair.noisy, "the noisy recording")[0].items():
                score.before[name] = across(name, before)
                score.values[f"{name}_improvement"] = improvement_of(name, before, after[name])
        score.note = "; ".join(notes)
        score.undefined = "; ".join(note for note, reason in notes.items() if reason)
        score.status = "scored"
    except MissingDependencyError:
        raise
    except Exception as error:  # whatever one pair does, the others go on
        return Score(pair.name, error=reason(error))
    return score


def summarise(scores: Sequence[Score], columns: Sequence[str]) -> list[dict[str, object]]:
    """Return a row a measure: mean, standard deviation, 95 % bootstrap interval of the mean, and n.

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
