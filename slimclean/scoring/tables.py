"""Rows of the same keys, as text for people and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from slimclean.audio.atomic import open_text, replacing, writing


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
    with writing(path), replacing(path) as temporary, open_text(temporary) as file:
        file.write(csv_text(rows))


def csv_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Format rows of the same keys as CSV, a header first."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3f}"
    return str(value)
