"""Result rows: what happened to each recording, as CSV or JSON lines."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_type_hints

if TYPE_CHECKING:
    from typing import Self

from slimclean.errors import SlimcleanError
from slimclean.scoring.tables import open_text

Status = Literal["enhanced", "skipped", "failed"]


@dataclasses.dataclass
class FileResult:
    """One row of the report; None is an empty cell. Levels are RMS in dBFS, rtf processing / audio time.

    `clipped_samples` were beyond full scale after enhancement, and clamped; `noise_reduction_db` is how far the
    softest tenth of the recording fell. The last three need a reference. Loudness and true peak
    (ITU-R BS.1770, of what was written, before any lossy encoding) are there where a loudness was asked for.

    `macs_per_sample` is the network's cost per 16 kHz sample and channel, `gmacs` that of the whole recording
    in billions; what chunks compute twice, 15.6 % more in a long recording, is left out.
    """

    file: str
    output: str
    status: Status = "failed"
    error: str = ""
    duration_s: float | None = None
    sample_rate: int | None = None
    channels: int | None = None
    uf: str = ""
    target_uf: float | None = None
    mean_uf: float | None = None
    macs_per_sample: float | None = None
    gmacs: float | None = None
    processing_s: float | None = None
    rtf: float | None = None
    level_in_dbfs: float | None = None
    level_out_dbfs: float | None = None
    loudness_in_lufs: float | None = None
    loudness_out_lufs: float | None = None
    true_peak_dbtp: float | None = None
    clipped_samples: int | None = None
    noise_reduction_db: float | None = None
    warnings: str = ""
    pesq_wb: float | None = None
    stoi: float | None = None
    si_sdr_db: float | None = None
    view: object = dataclasses.field(default=None, repr=False, compare=False)
    """No column: what a page or picture of the recording needs, where one was asked for."""


COLUMNS = tuple(field.name for field in dataclasses.fields(FileResult) if field.name != "view")
_DECIMALS = {
    "duration_s": 3,
    "mean_uf": 4,
    "macs_per_sample": 1,
    "gmacs": 3,
    "processing_s": 3,
    "rtf": 5,
    "level_in_dbfs": 2,
    "level_out_dbfs": 2,
    "loudness_in_lufs": 2,
    "loudness_out_lufs": 2,
    "true_peak_dbtp": 2,
    "noise_reduction_db": 2,
    "pesq_wb": 4,
    "stoi": 5,
    "si_sdr_db": 3,
}
JSON_LINES = ".jsonl"
LARGEST = 1e15
"""No number of a report is larger."""


class ReportWriter:
    """A row per recording, each on the disk as it comes; a context manager.

    CSV, or a JSON object a line where the name ends in .jsonl: an absent or infinite value is null.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open_text(path)
        except OSError as error:
            raise SlimcleanError(f"cannot write {path} ({error.strerror})") from error
        self._json = path.suffix.lower() == JSON_LINES
        self._writer = csv.writer(self._file)
        if not self._json:
            self._writer.writerow(COLUMNS)
            self._file.flush()

    def add(self, result: FileResult) -> None:
        cells = [_cell(name, getattr(result, name)) for name in COLUMNS]
        if self._json:
            values = [_number(cell, getattr(result, name)) for name, cell in zip(COLUMNS, cells, strict=True)]
            self._file.write(json.dumps(dict(zip(COLUMNS, values, strict=True)), allow_nan=False) + "\n")
        else:
            self._writer.writerow(cells)
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _cell(name: str, value: object) -> object:
    if value is None or value == float("-inf"):  # the level of silence
        return ""
    if isinstance(value, float) and name in _DECIMALS:
        return f"{value:.{_DECIMALS[name]}f}"
    return value


def _number(cell: object, value: object) -> object:
    """The cell as JSON has it: numbers as numbers, and null for what is absent or no finite number."""
    if isinstance(value, float):
        return float(str(cell)) if math.isfinite(value) else None
    return None if cell == "" and not isinstance(value, str) else value


@dataclasses.dataclass(frozen=True)
class Totals:
    """What a run comes to: rows by status, and sums and means over the audio that was enhanced."""

    counts: dict[Status, int]
    audio_s: float
    speed: float | None
    mean_uf: float | None
    macs_per_sample: float | None
    gmacs: float


def totals(results: Sequence[FileResult]) -> Totals:
    """Sums over rows; means count each second of audio alike and are None without any."""
    counts = {status: sum(r.status == status for r in results) for status in get_args(Status)}
    done = [r for r in results if r.status == "enhanced" and r.duration_s]
    audio_s = sum(r.duration_s or 0 for r in done)
    spent_s = sum(r.processing_s or 0 for r in done)

    def mean(values: Iterable[float | None]) -> float | None:
        weighted = sum((v or 0) * (r.duration_s or 0) for v, r in zip(values, done, strict=True))
        return weighted / audio_s if audio_s else None

    return Totals(
        counts,
        audio_s,
        audio_s / spent_s if audio_s and spent_s else None,
        mean(r.mean_uf for r in done),
        mean(r.macs_per_sample for r in done),
        sum(r.gmacs or 0 for r in done),
    )


def summary(results: list[FileResult], full_macs_per_sample: float | None = None) -> str:
    """One line for the end of a run: counts, hours, speed, mean UF, and compute saved against UF 1."""
    total = totals(results)
    parts = [f"{n} {status}" for status, n in total.counts.items() if n or status == "enhanced"]
    if warned := sum(bool(r.warnings) for r in results):
        parts.append(f"{warned} with warnings")
    if total.speed:
        parts.append(f"{_duration(total.audio_s)} of audio at {total.speed:.1f}x real time")
        parts.append(f"mean UF {total.mean_uf:.3f}")
        if full_macs_per_sample and total.macs_per_sample is not None:
            parts.append(f"{1 - total.macs_per_sample / full_macs_per_sample:.0%} less compute than at UF 1")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 600 else f"{seconds / 3600:.2f} h"


def read_report(path: Path) -> list[FileResult]:
    """Read the rows of a report, CSV or JSON lines; columns that are not known here are left out.

    The file may come from anyone: raises `SlimcleanError` where it is no report.
    """
    kinds = get_type_hints(FileResult)
    results = []
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = map(json.loads, file) if path.suffix.lower() == JSON_LINES else csv.DictReader(file)
            for row in rows:
                if not isinstance(row, dict):
                    raise ValueError("a line is no object")
                if missing := {"file", "output", "status"} - {*row}:
                    raise ValueError(f"no column {sorted(missing)[0]}")
                cells = {k: _parsed(kinds[k], v) for k, v in row.items() if k in COLUMNS}
                if cells["status"] not in get_args(Status):
                    raise ValueError(f"a status of {cells['status']!r}")
                results.append(FileResult(**cells))
    except OSError as error:
        raise SlimcleanError(f"cannot read {path} ({error.strerror})") from error
    except (ValueError, TypeError, OverflowError, RecursionError, csv.Error) as error:
        raise SlimcleanError(f"{path}: not a report of slimclean: {error}") from error
    return results


def _parsed(kind: Any, cell: Any) -> Any:
    """Return a cell by the annotation of its field: a number where it says so, None without a finite one."""
    for number in (int, float):
        if number in get_args(kind):
            if cell in (None, "") or not math.isfinite(float(cell)):
                return None
            if abs(float(cell)) > LARGEST:
                raise ValueError(f"a number of {cell}")
            return number(cell)
    return "" if cell is None else str(cell)
