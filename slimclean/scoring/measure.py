"""Measures of two signals, channel by channel, in segments where they are long, or running along with them.

Glossary: C channels, T samples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from slimclean.dsp import SAMPLE_RATE
from slimclean.errors import UndefinedMetricError
from slimclean.scoring.metrics import LAG, METRICS, SEGMENT_S, Metric
from slimclean.scoring.moments import Moments
from slimclean.scoring.signals import Signal, Stored, blocks_of

SEGMENTS = 40

Pieces = dict[tuple[int, int, int], float]
"""Values of a measure by channel, segment and number of segments, where it is defined."""

Found = float | Mapping[str, float] | UndefinedMetricError
"""What a measure's function gave, or why nothing."""


def measure(
    names: Sequence[str],
    reference: Signal,
    estimate: Signal,
    lag: float | None,
    notes: dict[str, bool],
) -> dict[str, Pieces]:
    """Return each measure of two signals [C, T], in the channels and segments where it is defined."""
    samples = reference.shape[1]
    done: dict[object, Found] = {}
    out: dict[str, Pieces] = {}
    in_segments: dict[float, list[str]] = {}
    moments: list[Moments] = []
    for name in names:
        if name == LAG:
            out[name] = {} if lag is None else {(0, 0, 1): lag}
            if lag is None:
                notes[f"{LAG}: no delay stands out"] = True
            continue
        metric = METRICS[name]
        longest_s = metric.longest_s
        if longest_s is None and isinstance(estimate, Stored):
            if metric.running is not None:
                out[name] = _running(name, reference, estimate, moments, notes)
                continue
            longest_s = SEGMENT_S
        cuts, count = segments(samples, longest_s)
        pieces: Pieces = {}
        reasons = []
        for channel, (r, e) in enumerate(zip(reference, estimate, strict=True)):
            for k, cut in enumerate(cuts):
                try:
                    found = _once(metric, r[cut], e[cut], (channel, cut.start, cut.stop), done)
                    pieces[channel, k, count] = found
                except UndefinedMetricError as error:
                    reasons.append(str(error))
        out[name] = pieces
        if pieces and reasons and count > 1:
            notes[f"{name}: undefined in {len(reasons)} segments ({reasons[0]})"] = True
        else:
            notes.update({f"{name}: {reason}": True for reason in reasons})
        if longest_s is not None and count > 1:
            in_segments.setdefault(longest_s, []).append(name)
    for seconds, segmented in in_segments.items():
        cuts, count = segments(samples, seconds)
        chosen = f"{len(cuts)} of {count}" if len(cuts) < count else f"{count}"
        notes[f"over {chosen} segments of {samples / count / SAMPLE_RATE:.1f} s: {', '.join(segmented)}"] = (
            False
        )
    return out


def _running(
    name: str, reference: Signal, estimate: Signal, moments: list[Moments], notes: dict[str, bool]
) -> Pieces:
    """Return a measure of signals that do not fit into memory; `moments`, of each channel, are filled once."""
    metric = METRICS[name]
    assert metric.running is not None
    if not moments:
        moments += [Moments() for _ in range(estimate.shape[0])]
        for r, e in zip(blocks_of(reference), blocks_of(estimate), strict=True):
            for running, x, y in zip(moments, r, e, strict=True):
                running.add(x, y)
    pieces: Pieces = {}
    for channel, running in enumerate(moments):
        try:
            pieces[channel, 0, 1] = metric.running(running)
        except UndefinedMetricError as error:
            notes[f"{name}: {error}"] = True
    return pieces


def across(name: str, pieces: Pieces) -> float | None:
    """Return the value of a recording, over its channels and segments; None where it has none."""
    return float(METRICS[name].across(list(pieces.values()))) if pieces else None


def improvement_of(name: str, before: Pieces, after: Pieces) -> float | None:
    """Compare where both are defined: a channel that was muted has not improved the others."""
    alike = {count for *_, count in before} == {count for *_, count in after}
    both = before.keys() & after.keys()
    was, is_ = (
        across(name, {key: pieces[key] for key in pieces if key in both or not alike})
        for pieces in (before, after)
    )
    if was is None or is_ is None or np.isinf([was, is_]).all():
        return None
    return METRICS[name].improvement(was, is_)


def segments(samples: int, longest_s: float | None = SEGMENT_S) -> tuple[list[slice], int]:
    """Return equal cuts of at most `longest_s`, up to 40 of them evenly spread, and how many there are."""
    count = 1 if longest_s is None else max(1, math.ceil(samples / (longest_s * SAMPLE_RATE)))
    edges = np.linspace(0, samples, count + 1).round().astype(int).tolist()
    cuts = [slice(a, b) for a, b in itertools.pairwise(edges)]
    return [cuts[k] for k in np.linspace(0, count - 1, min(count, SEGMENTS)).round().astype(int)], count


def _once(
    metric: Metric, r: np.ndarray, e: np.ndarray, where: tuple[int, int, int], done: dict[object, Found]
) -> float:
    """Return one measure of one piece; what a function gave for another measure is in `done`."""
    key = (metric.function, where)
    if key not in done:
        try:
            done[key] = metric.of(r, e)
        except UndefinedMetricError as error:
            done[key] = error
    found = done[key]
    if isinstance(found, UndefinedMetricError):
        raise found
    return metric.pick(found)
