"""Measures of two signals, channel by channel, in segments where they are long, or running along with them.

Glossary: C channels, T samples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from slimclean.dsp import SAMPLE_RATE
from slimclean.errors import UndefinedMetricError
from slimclean.scoring.metric import SEGMENT_S, Metric
from slimclean.scoring.metrics import LAG, METRICS
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
    both = _Both(reference, estimate, notes)
    found = {name: both.lag(lag) if name == LAG else both.measured(name) for name in names}
    both.note_segments()
    return found


class _Both:
    """Two signals [C, T] of one shape, and what was found of them: measures share calculations and passes."""

    def __init__(self, reference: Signal, estimate: Signal, notes: dict[str, bool]) -> None:
        self._reference, self._estimate, self._notes = reference, estimate, notes
        self._done: dict[object, Found] = {}
        self._moments: list[Moments] = []
        self._segmented: dict[float, list[str]] = {}
        """Names of measures by the length of their segments."""

    def lag(self, lag: float | None) -> Pieces:
        """Return the delay, found before, as a measure."""
        if lag is None:
            self._notes[f"{LAG}: no delay stands out"] = True
            return {}
        return {(0, 0, 1): lag}

    def measured(self, name: str) -> Pieces:
        """Return a measure of both in one piece, in segments, or running along with them."""
        metric = METRICS[name]
        if metric.longest_s is not None or not isinstance(self._estimate, Stored):
            return self._in_segments(metric, metric.longest_s)
        if metric.running is None:
            return self._in_segments(metric, SEGMENT_S)
        return self._running(metric, metric.running)

    def _in_segments(self, metric: Metric, longest_s: float | None) -> Pieces:
        cuts, count = segments(self._reference.shape[1], longest_s)
        pieces: Pieces = {}
        reasons = []
        for channel, (r, e) in enumerate(zip(self._reference, self._estimate, strict=True)):
            for k, cut in enumerate(cuts):
                found = self._once(metric, r[cut], e[cut], (channel, cut.start, cut.stop))
                if isinstance(found, UndefinedMetricError):
                    reasons.append(str(found))
                else:
                    pieces[channel, k, count] = metric.pick(found)
        if pieces and reasons and count > 1:
            self._notes[f"{metric.name}: undefined in {len(reasons)} segments ({reasons[0]})"] = True
        else:
            self._notes.update({f"{metric.name}: {reason}": True for reason in reasons})
        if longest_s is not None and count > 1:
            self._segmented.setdefault(longest_s, []).append(metric.name)
        return pieces

    def _once(self, metric: Metric, r: np.ndarray, e: np.ndarray, where: tuple[int, int, int]) -> Found:
        """Return what the function of a measure gives for one piece; several measures may have one function."""
        key = (metric.function, where)
        if key not in self._done:
            try:
                self._done[key] = metric.of(r, e)
            except UndefinedMetricError as error:
                self._done[key] = error
        return self._done[key]

    def _running(self, metric: Metric, running: Callable[[Moments], float]) -> Pieces:
        """Return a measure of signals that do not fit into memory; one pass serves all such measures."""
        if not self._moments:
            self._moments = [Moments() for _ in range(self._estimate.shape[0])]
            for r, e in zip(blocks_of(self._reference), blocks_of(self._estimate), strict=True):
                for moments, x, y in zip(self._moments, r, e, strict=True):
                    moments.add(x, y)
        pieces: Pieces = {}
        for channel, moments in enumerate(self._moments):
            try:
                pieces[channel, 0, 1] = running(moments)
            except UndefinedMetricError as error:
                self._notes[f"{metric.name}: {error}"] = True
        return pieces

    def note_segments(self) -> None:
        """Note which measures are over segments, and of what length."""
        samples = self._reference.shape[1]
        for longest_s, names in self._segmented.items():
            cuts, count = segments(samples, longest_s)
            chosen = f"{len(cuts)} of {count}" if len(cuts) < count else f"{count}"
            length_s = samples / count / SAMPLE_RATE
            self._notes[f"over {chosen} segments of {length_s:.1f} s: {', '.join(names)}"] = False


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
