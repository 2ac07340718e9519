"""Reading the report of a batch, CSV or a JSON object a line, which may come from anyone."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args, get_type_hints

from slimclean.batch.report import COLUMNS, FileResult, Status
from slimclean.errors import SlimcleanError, UsageError

Row = dict[str, Any]
"""A row as the file has it: text in CSV, values in JSON."""

JSON_LINES = ".jsonl"
LARGEST = 1e15
"""No number of a report is larger."""
LARGEST_FILE = 1 << 30
_NEEDED = ("file", "output", "status")


def read_report(path: Path) -> list[FileResult]:
    """Read the rows of a report, CSV or JSON lines; columns that are not known here are left out.

    The file may come from anyone, a spreadsheet too, with semicolons or tabs between its cells and commas in
    its numbers. Raises `SlimcleanError` where it is no report.
    """
    try:
        results = [_result(row) for row in load(path, exported=True)[1]]
    except OSError as error:
        raise SlimcleanError(f"cannot read {path} ({error.strerror})") from error
    except (ValueError, TypeError, OverflowError, RecursionError, csv.Error) as error:
        raise SlimcleanError(f"{path}: not a report of slimclean: {error}") from error
    return results


def _result(row: Row) -> FileResult:
    kinds, cells = get_type_hints(FileResult), {}
    for name, cell in row.items():
        if name in COLUMNS:
            try:
                cells[name] = _parsed(kinds[name], cell)
            except ValueError as error:
                raise ValueError(f"{name} of {row['file']}: {error}") from error
    # Where the column is not there at all, no row tells that it is of a residual: so NaN, not None.
    cells.setdefault("noise_reduction_db", math.nan)
    if cells["status"] not in get_args(Status):
        raise ValueError(f"{row['file']}: a status of {cells['status']!r}")
    return FileResult(**cells)


def load_own(path: Path) -> tuple[list[str], list[Row]]:
    """Do what `load` does for a report to go on with; raises `UsageError` where it is none, and `OSError`."""
    try:
        return load(path)
    except (ValueError, RecursionError, csv.Error) as error:
        raise UsageError(f"{path}: not a report of slimclean ({error}); give another name") from error


def load(path: Path, *, exported: bool = False) -> tuple[list[str], list[Row]]:
    """Return the columns and rows of a report, the latest of each recording.

    A CSV file that was `exported` by another program may have semicolons or tabs for commas. Half a line at the
    end is what a killed run left, and no row. Raises `OSError`, and `ValueError`, `RecursionError` or
    `csv.Error` where the file is no report.
    """
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError("larger than any")
    data = path.read_bytes()
    is_json = path.suffix.lower() == JSON_LINES
    whole = data[: data.rfind(b"\n") + 1]
    half = data.startswith(b"{") if is_json else csv_line(COLUMNS).encode().startswith(data)
    if data and not whole and not half:
        raise ValueError("not one line")
    text = whole.decode("utf-8-sig", "surrogateescape")
    columns, rows = _json_rows(text) if is_json else _csv_rows(text, _delimiter(text) if exported else ",")
    for row in rows:
        if missing := [name for name in _NEEDED if name not in row]:
            raise ValueError(f"no column {missing[0]}")
        if wrong := [name for name in ("file", "output") if not _may_be_a_name(str(row[name]))]:
            raise ValueError(f"{wrong[0]} is {str(row[wrong[0]])[:80]!r}, which is no name")
    return columns, list({(str(row["file"]), str(row["output"])): row for row in rows}.values())


def _may_be_a_name(text: str) -> bool:
    """Tell whether a file could be called so: JSON can hold a NUL, and half a character."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _delimiter(text: str) -> str:
    header = text.partition("\n")[0]
    return next((d for d in ",;\t" if set(_NEEDED) <= set(header.rstrip("\r").replace('"', "").split(d))), ",")


def _csv_rows(text: str, delimiter: str) -> tuple[list[str], list[Row]]:
    usual = csv.field_size_limit(LARGEST_FILE)  # a recording may have many warnings
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(line)]
    finally:
        csv.field_size_limit(usual)
    columns = lines[0] if lines else []
    lines = lines[:1] + [line for line in lines[1:] if line != columns]  # of several, one behind the other
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
            value = _number(cell)
            if value is None or not math.isfinite(value):
                return None
            if abs(value) > LARGEST or number(value) != value:
                raise ValueError(f"a number of {cell}")
            return number(value)
    return "" if cell is None else str(cell)


def _number(cell: Any) -> float | None:
    if cell in (None, ""):
        return None
    try:
        return float(cell.replace(",", ".") if isinstance(cell, str) else cell)
    except ValueError as error:
        raise ValueError(f"{cell!r} is no number") from error


def csv_line(cells: Iterable[object]) -> str:
    """Return the cells as a line of CSV."""
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()
