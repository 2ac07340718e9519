"""Rows of the same keys, as text for people and as CSV; `slimclean presets` waits for nothing heavy here."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from slimclean.errors import UsageError

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a cell begins with that a spreadsheet takes for a formula."""
PATHS = ("file", "output", "error", "group")
"""Columns of cells that are a path, may begin with one, or are the name of a folder."""


def check_name(path: Path, endings: Sequence[str] = (".csv",)) -> None:
    """Raise `UsageError` where the name of `path` ends otherwise: what it says is what is in it.

    Pipes and devices, such as /dev/stdout, may be called anything.
    """
    from slimclean.audio.folder import is_device, is_folder

    if not is_device(path) and (is_folder(path) or path.suffix.lower() not in endings):
        raise UsageError(f"cannot write {path}: it has to be a file whose name ends in {' or '.join(endings)}")


def is_standard_output(path: Path) -> bool:
    """Tell whether `path`, such as /dev/stdout, is where standard output goes."""
    try:
        return os.path.samestat(path.stat(), os.fstat(1))
    except OSError:
        return False


def no_formulas(row: Mapping[str, object]) -> dict[str, object]:
    """Return the cells of `row` with ./ before names that a spreadsheet would take for a formula.

    A name means the same with it; quotes would not help, and other marks would make another name of it.
    """
    cells = ((column, str(row.get(column, ""))) for column in PATHS)
    return {
        **row,
        **{column: f"./{cell}" for column, cell in cells if cell.startswith(FORMULA) and cell != "-"},
    }


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Format rows of the same keys as text in aligned columns."""
    if not rows:
        return ""
    cells = [list(rows[0]), *([_short(value) for value in row.values()] for row in rows)]
    return aligned(cells, str.rjust)


def aligned(rows: Sequence[Sequence[str]], justify: Callable[[str, int], str] = str.ljust) -> str:
    """Format rows of text in columns, whose cells `justify` fills up to one width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(justify, row, widths)).rstrip() for row in rows)


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows of the same keys as CSV. Raises `SlimcleanError` where `path` cannot be written."""
    from slimclean.audio.atomic import open_text, replacing, writing

    with writing(path), replacing(path) as temporary, open_text(temporary) as file:
        file.write(csv_text(rows))


def csv_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Format rows of the same keys as CSV, a header first; see `no_formulas`."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(map(no_formulas, rows))
    return text.getvalue()


def _short(value: object) -> str:
    if isinstance(value, float):
        return fixed(value, 0 if abs(value) >= 1000 else 3)
    return str(value)


def fixed(value: float, decimals: int) -> str:
    """Write a number with so many decimals; what rounds to nothing has no sign."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}"
