"""The report of a batch on the disk: CSV, or a JSON object a line where the name ends in .jsonl.

A report belongs to a set of recordings. A run over a set that has a report goes on with it: rows of earlier
runs stay until there is something new to say of their recordings.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from slimclean.audio.atomic import lock, replacing, shared_mode
from slimclean.audio.folder import exists, is_file
from slimclean.batch.collisions import RealPaths, real
from slimclean.batch.options import Options
from slimclean.batch.report import COLUMNS, EXISTS, FileResult, Status
from slimclean.batch.task import Task
from slimclean.errors import SlimcleanError, UsageError
from slimclean.scoring.tables import open_text

if TYPE_CHECKING:
    from typing import Self

Row = dict[str, Any]
"""A row as the file has it: text in CSV, values in JSON."""
Key = tuple[str, str]
"""What recording and output are called, in their real folders: there is one row of them."""

JSON_LINES = ".jsonl"
LARGEST = 1e15
"""No number of a report is larger."""
LARGEST_FILE = 1 << 30
_NEEDED = ("file", "output", "status")
_DECIMALS = {
    "duration_s": 3,
    "mean_uf": 4,
    "macs_per_sample": 1,
    "gmacs": 3,
    "processing_s": 3,
    "rtf": 5,
    "level_in_dbfs": 2,
    "level_out_dbfs": 2,
    "level_range_db": 1,
    "loudness_in_lufs": 2,
    "loudness_out_lufs": 2,
    "true_peak_dbtp": 2,
    "noise_reduction_db": 2,
    "pesq_wb": 4,
    "stoi": 5,
    "si_sdr_db": 3,
}


def report_of(tasks: Sequence[Task], options: Options) -> AbstractContextManager[ReportWriter | None]:
    """Open the report that `options` ask for, if they do."""
    if not options.report:
        return nullcontext()
    return ReportWriter(Path(options.report), tasks, overwrite=options.overwrite)


class ReportWriter:
    """A row per recording, each on the disk as it comes; a context manager.

    Where `path` is the report of an earlier run over the set of `tasks`, its rows stay: a recording that is
    skipped because it was enhanced then keeps its row, one that is tried again gets a new one. In the end there
    is one row a recording, in the order of the tasks, then those of recordings that are no tasks any more.

    A report is of the same set if it has a row of one of the tasks, or of a recording in a folder that was
    given, with its output in the folder of outputs. Raises `UsageError` for the report of another set, unless
    `overwrite`, for what is no report, and while another run writes it; `SlimcleanError` for what cannot be
    written.
    """

    def __init__(self, path: Path, tasks: Sequence[Task] = (), *, overwrite: bool = False) -> None:
        self._path = path
        self._json = path.suffix.lower() == JSON_LINES
        self._real = RealPaths()
        self._order = [self._key(task.source, task.destination) for task in tasks]
        self._mode = shared_mode(task.source for task in tasks)
        self._columns = list(COLUMNS)
        self._rows: dict[Key, Row] = {}
        self._stream = exists(path) and not is_file(path)  # such as /dev/stdout
        try:
            if not self._stream:
                self._take_over(tasks, overwrite=overwrite)
                self._write_all()
            self._file = path.open("a", newline="", encoding="utf-8", errors="surrogateescape")
            lock(self._file.fileno())
        except OSError as error:
            raise _cannot_write(path, error) from error

        try:
            if self._stream:
                self._file.write(self._header())
                self._file.flush()
        except OSError as error:
            with suppress(OSError):
                self._file.close()
            raise _cannot_write(path, error) from error

    def _take_over(self, tasks: Sequence[Task], *, overwrite: bool) -> None:
        """Begin with the rows of an earlier run over the same set."""
        if not is_file(self._path):
            return
        with self._path.open("ab") as file:
            if not lock(file.fileno()):
                raise UsageError(f"{self._path}: another run writes it at the moment; give another name")
        try:
            columns, rows = load(self._path)
        except (ValueError, RecursionError, csv.Error) as error:
            raise UsageError(f"{self._path}: not a report of slimclean ({error}); give another name") from error
        keys = [self._key(row["file"], row["output"]) for row in rows]
        if keys and not _of_one_set(keys, set(self._order), tasks):
            if overwrite:
                return
            raise UsageError(
                f"{self._path} is the report of other recordings, such as {rows[0]['file']}; "
                "give another name, or `overwrite`"
            )
        self._columns += [column for column in columns if column not in self._columns]
        self._rows = dict(zip(keys, rows, strict=True))

    def add(self, result: FileResult) -> None:
        """Append a row. What cannot be written now is written at the end, or raises there."""
        key = self._key(result.file, result.output)
        earlier = self._rows.get(key)
        was_enhanced = earlier is not None and earlier["status"] == "enhanced"
        is_there = result.error == EXISTS or (was_enhanced and is_file(Path(result.output)))
        if result.status == "skipped" and was_enhanced and is_there:
            return
        row = {name: _cell(name, getattr(result, name)) for name in COLUMNS}
        if self._json:
            row = {name: _number(cell, getattr(result, name)) for name, cell in row.items()}
        self._rows[key] = row
        with suppress(OSError):
            self._file.write(self._line(row))
            self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with suppress(OSError):  # what is in its buffer is in `_rows` too
                self._file.close()
            if not self._stream:
                first = [key for key in self._order if key in self._rows]
                self._rows = {key: self._rows[key] for key in (*first, *self._rows)}
                self._write_all()
        except OSError as failure:
            if error is None:
                raise _cannot_write(self._path, failure) from failure

    def _key(self, source: object, output: object) -> Key:
        return self._real.named(str(source)), self._real.named(str(output))

    def _write_all(self) -> None:
        with replacing(self._path, self._mode) as temporary, open_text(temporary) as file:
            file.write(self._header())
            if self._json:
                file.writelines(map(self._line, self._rows.values()))
            else:
                csv.DictWriter(file, self._columns, restval="").writerows(self._rows.values())

    def _header(self) -> str:
        return "" if self._json else _csv_line(self._columns)

    def _line(self, row: Row) -> str:
        if self._json:
            return json.dumps({name: row.get(name) for name in self._columns}, allow_nan=False) + "\n"
        return _csv_line(row.get(name, "") for name in self._columns)


def _of_one_set(keys: Sequence[Key], own: set[Key], tasks: Sequence[Task]) -> bool:
    trees = [(real(folder), real(outputs)) for folder, outputs in {task.tree for task in tasks if task.tree}]
    begin = [(os.path.join(folder, ""), os.path.join(outputs, "")) for folder, outputs in trees]  # noqa: PTH118
    return any(
        key in own or any(key[0].startswith(folder) and key[1].startswith(outputs) for folder, outputs in begin)
        for key in keys
    )


def _cannot_write(path: Path, error: OSError) -> SlimcleanError:
    return SlimcleanError(f"cannot write {path} ({error.strerror or error})")


def _csv_line(cells: Iterable[object]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()


def _cell(name: str, value: object) -> object:
    if value is None or value == float("-inf"):  # the level of silence
        return ""
    if isinstance(value, float) and name in _DECIMALS:
        return f"{value:.{_DECIMALS[name]}f}"
    return value


def _number(cell: object, value: object) -> object:
    """Return the cell as JSON has it: numbers as numbers, and null for what is absent or no finite number."""
    if isinstance(value, float):
        return float(str(cell)) if math.isfinite(value) else None
    return None if cell == "" and not isinstance(value, str) else value


# --- reading --------------------------------------------------------------------------------------


def read_report(path: Path) -> list[FileResult]:
    """Read the rows of a report, CSV or JSON lines; columns that are not known here are left out.

    The file may come from anyone: raises `SlimcleanError` where it is no report.
    """
    kinds = get_type_hints(FileResult)
    results = []
    try:
        for row in load(path)[1]:
            cells = {k: _parsed(kinds[k], v) for k, v in row.items() if k in COLUMNS}
            if cells["status"] not in get_args(Status):
                raise ValueError(f"a status of {cells['status']!r}")
            results.append(FileResult(**cells))
    except OSError as error:
        raise SlimcleanError(f"cannot read {path} ({error.strerror})") from error
    except (ValueError, TypeError, OverflowError, RecursionError, csv.Error) as error:
        raise SlimcleanError(f"{path}: not a report of slimclean: {error}") from error
    return results


def load(path: Path) -> tuple[list[str], list[Row]]:
    """Return the columns and rows of a report, the latest of each recording.

    Half a line at the end is what a killed run left, and no row. Raises `OSError`, and `ValueError`,
    `RecursionError` or `csv.Error` where the file is no report.
    """
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError("larger than any")
    data = path.read_bytes()
    is_json = path.suffix.lower() == JSON_LINES
    whole = data[: data.rfind(b"\n") + 1]
    half = data.startswith(b"{") if is_json else _csv_line(COLUMNS).encode().startswith(data)
    if data and not whole and not half:
        raise ValueError("not one line")
    text = whole.decode("utf-8-sig", "surrogateescape")
    columns, rows = (_json_rows if is_json else _csv_rows)(text)
    for row in rows:
        if missing := [name for name in _NEEDED if name not in row]:
            raise ValueError(f"no column {missing[0]}")
    return columns, list({(str(row["file"]), str(row["output"])): row for row in rows}.values())


def _csv_rows(text: str) -> tuple[list[str], list[Row]]:
    lines = [line for line in csv.reader(io.StringIO(text, newline="")) if line]
    columns = lines[0] if lines else []
    if lines and (missing := [name for name in _NEEDED if name not in columns]):
        raise ValueError(f"no column {missing[0]}")
    if len(lines) > 1 and len(lines[-1]) < len(columns):
        del lines[-1]
    if crooked := [line for line in lines if len(line) != len(columns)]:
        raise ValueError(f"a line of {len(crooked[0])} cells, not {len(columns)}")
    return columns, [dict(zip(columns, line, strict=True)) for line in lines[1:]]


def _json_rows(text: str) -> tuple[list[str], list[Row]]:
    rows: list[Row] = []
    for line in text.split("\n"):
        if line.strip():
            row = json.loads(line, parse_constant=lambda _: None)
            if not isinstance(row, dict):
                raise ValueError("a line is no object")
            rows.append(row)
    return list(dict.fromkeys(name for row in rows for name in row)), rows


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
