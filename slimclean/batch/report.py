"""Result rows: what happened to each recording, and what a run comes to."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, get_args

from slimclean.batch.task import Task

MENTIONED = 5
"""So many extensions of files left out are named in a summary."""
LEAST_SAVED = 0.005
"""Of the compute at UF 1: what a summary tells at least, as 1 %."""
Status = Literal["enhanced", "skipped", "failed"]
OUTPUTS = "outputs of earlier runs"
"""What such files are counted by among those left out."""
EXISTS = "the output exists"
CLEANED = "cleaned by an earlier run"
NOT_BEGUN = "not begun: an earlier recording failed"
"""Why a recording is skipped, in its row."""


def _rounded(decimals: int) -> Any:
    """Make the field of a number that a report tells with so many decimals."""
    return dataclasses.field(default=None, metadata={"decimals": decimals})


@dataclasses.dataclass
class FileResult:
    """One row of the report; None is an empty cell. Levels are RMS in dBFS, without a constant offset; rtf is
    processing time over audio time.

    `duration_s`, `sample_rate` and `channels` are those of the input, whatever the output has; `track` is its
    sound track where one was asked for, from 1.
    `clipped_samples` were beyond full scale after enhancement, and clamped; `noise_reduction_db` is how far the
    softest tenth of the recording fell; `level_range_db` is how far apart soft and loud voices lie, from the
    softest to the loudest twentieth of the seconds of talk. The last three need a reference. Loudness and
    true peak (ITU-R BS.1770), the one before and the other after a lossy encoding, are there where asked for.
    `output_bytes` and `output_mtime_s`, since 1970, are those of the output as the run left it; where that has
    the time of the recording, the latter is when it was put into its place.

    `macs_per_sample` is the network's cost per 16 kHz sample and channel, `gmacs` that of the whole recording
    in billions; what chunks compute twice, 20.9 % more in a long recording and 167 % in a pipe, is left out.
    """

    file: str
    output: str
    status: Status = "failed"
    error: str = ""
    duration_s: float | None = _rounded(3)
    sample_rate: int | None = None
    channels: int | None = None
    track: int | None = None
    uf: str = ""
    target_uf: float | None = None
    mean_uf: float | None = _rounded(4)
    macs_per_sample: float | None = _rounded(1)
    gmacs: float | None = _rounded(3)
    processing_s: float | None = _rounded(3)
    rtf: float | None = _rounded(5)
    level_in_dbfs: float | None = _rounded(2)
    level_out_dbfs: float | None = _rounded(2)
    level_range_db: float | None = _rounded(1)
    loudness_in_lufs: float | None = _rounded(2)
    loudness_out_lufs: float | None = _rounded(2)
    true_peak_dbtp: float | None = _rounded(2)
    clipped_samples: int | None = None
    noise_reduction_db: float | None = _rounded(2)
    output_bytes: int | None = None
    output_mtime_s: float | None = _rounded(6)
    warnings: str = ""
    pesq_wb: float | None = _rounded(4)
    stoi: float | None = _rounded(5)
    si_sdr_db: float | None = _rounded(3)
    view: object = dataclasses.field(default=None, repr=False, compare=False)
    """No column: what a page or picture of the recording needs, where one was asked for."""
    held: object = dataclasses.field(default=None, repr=False, compare=False)
    """No column: the loudness of what waits for that of its set."""
    output_track: int | None = dataclasses.field(default=None, repr=False, compare=False)
    """No column: which sound track of the output this is, where it holds several."""

    @property
    def is_begun(self) -> bool:
        """Whether a run came to the recording, though it may be an earlier one, or may have failed."""
        return not (self.status == "skipped" and self.error == NOT_BEGUN)

    @property
    def has_output(self) -> bool:
        """Whether there is something to show: of this run, or of an earlier one."""
        return self.status != "failed" and self.is_begun

    @property
    def is_gone(self) -> bool:
        """Whether there is nothing left to compare: an earlier run put the output over the recording."""
        return self.view is None and self.file == self.output

    @property
    def is_residual(self) -> bool:
        """Whether the output is what was removed: then there is a level of it, but not of what is left."""
        return self.level_out_dbfs is not None and self.noise_reduction_db is None

    def reword(self, wording: Callable[[str], str]) -> None:
        """Say the error and the warnings as `wording` does."""
        self.error, self.warnings = wording(self.error), wording(self.warnings)

    def left(self, output: os.stat_result | None, *, kept_mtime: bool) -> None:
        """Fill in what the output was like when it was put into its place."""
        if output is not None:
            self.output_bytes = output.st_size
            self.output_mtime_s = output.st_ctime if kept_mtime else output.st_mtime

    def remark(self, *remarks: str) -> None:
        """Add to the warnings; an empty remark is none."""
        self.warnings = "; ".join(filter(None, [self.warnings, *remarks]))


def skipped(task: Task, why: str, remark: str = "") -> FileResult:
    """Make the row of a recording that was not enhanced in this run."""
    return FileResult(str(task.source), str(task.destination), "skipped", why, warnings=remark)


def failed(task: Task, why: str) -> FileResult:
    """Make the row of a recording that could not be begun, or whose process died."""
    return FileResult(str(task.source), str(task.destination), "failed", why)


COLUMNS = tuple(field.name for field in dataclasses.fields(FileResult) if field.compare)
DECIMALS = {f.name: f.metadata["decimals"] for f in dataclasses.fields(FileResult) if "decimals" in f.metadata}


@dataclasses.dataclass(frozen=True)
class Totals:
    """What a run comes to: rows by status or as not begun, and sums and means over what was enhanced."""

    counts: dict[str, int]
    audio_s: float
    speed: float | None
    mean_uf: float | None
    macs_per_sample: float | None
    gmacs: float


def totals(results: Sequence[FileResult]) -> Totals:
    """Sum up rows; means count each second of audio whose value is known, and are None without any."""
    counts = {status: sum(r.is_begun and r.status == status for r in results) for status in get_args(Status)}
    counts["not begun"] = sum(not r.is_begun for r in results)
    done = [r for r in results if r.status == "enhanced" and (r.duration_s or 0) > 0]

    def mean(values: Iterable[float | None]) -> float | None:
        """Weigh the values that are known by their seconds."""
        known = [(v, r.duration_s or 0) for v, r in zip(values, done, strict=True) if v is not None]
        return sum(v * s for v, s in known) / sum(s for _, s in known) if known else None

    rtf = mean(None if r.processing_s is None else r.processing_s / (r.duration_s or 1) for r in done)
    return Totals(
        counts,
        sum(r.duration_s or 0 for r in done),
        1 / rtf if rtf else None,
        mean(r.mean_uf for r in done),
        mean(r.macs_per_sample for r in done),
        sum(r.gmacs or 0 for r in done),
    )


def tell_left_out(counts: Counter[str]) -> str:
    """Return one phrase for the files that are no inputs: how many, and the commonest extensions."""
    total = sum(counts.values())
    names = [extension or "without extension" for extension, _ in counts.most_common(MENTIONED)]
    more = " ..." if len(counts) > MENTIONED else ""
    return f"{total} {'file' if total == 1 else 'files'} left out: {', '.join(names)}{more}"


def summary(
    results: list[FileResult],
    full_macs_per_sample: float | None = None,
    left_out: Counter[str] | None = None,
) -> str:
    """Return one line for the end of a run: counts, hours, speed, mean UF, and compute saved against UF 1.

    `left_out` counts the files that are no inputs, by extension or as `OUTPUTS`.
    """
    total = totals(results)
    parts = [f"{n} {status}" for status, n in total.counts.items() if n or status == "enhanced"]
    if results and total.counts["skipped"] == len(results):
        parts[-1] += " (outputs exist; `overwrite` makes them anew)"
    if warned := sum(bool(r.warnings) for r in results):
        parts.append(f"{warned} with warnings")
    if left_out:
        parts.append(tell_left_out(left_out))
    if total.speed:
        parts.append(f"{_duration(total.audio_s)} of audio at {total.speed:.1f}x real time")
        if total.mean_uf is not None:
            parts.append(f"mean UF {total.mean_uf:.3f}")
        if full_macs_per_sample and total.macs_per_sample is not None:
            saved = 1 - total.macs_per_sample / full_macs_per_sample
            parts += [f"{saved:.0%} less compute than at UF 1"] if saved >= LEAST_SAVED else []
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 600 else f"{seconds / 3600:.2f} h"
