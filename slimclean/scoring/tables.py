"""Rows of the same keys, as text for people and as CSV."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from slimclean.audio.atomic import check_writable, replacing
from slimclean.errors import SlimcleanError, UsageError


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Format rows of the same keys as text in aligned columns."""
    if not rows:
        return ""
    cells = [list(rows[0]), *([_short(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells
    )


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows of the same keys as CSV. Raises `SlimcleanError` where `path` cannot be written."""
    try:
        with replacing(path) as temporary, open_text(temporary) as file:
            file.write(csv_text(rows))
    except OSError as error:
        raise SlimcleanError(f"cannot write {path} ({error.strerror})") from error


def csv_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Format rows of the same keys as CSV, a header first."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def check_file(path: Path, inputs: Iterable[Path | None] = ()) -> None:
    """Raise `SlimcleanError` where `path` could not be written: known before hours of work.

    Raises `UsageError` where it is one of `inputs`, which would be lost, and for -, which is no file's name.
    """
    if path == Path("-"):
        raise UsageError("- is standard output; give the name of a file here")
    if os.path.realpath(path) in {os.path.realpath(one) for one in inputs if one is not None}:
        raise UsageError(f"{path} is one of the inputs, which would be lost")
    try:
        check_writable(path)
    except OSError as error:
        raise SlimcleanError(f"cannot write {path} ({error.strerror or error})") from error


def open_text(path: Path) -> TextIO:
    """Open a new CSV or JSON file; raises `OSError`."""
    # File names need not be UTF-8: what came in as bytes goes out as the same bytes.
    return path.open("w", newline="", encoding="utf-8", errors="surrogateescape")


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3f}"
    return str(value)
