"""What a command writes besides recordings: refused before the work where it could not be, shown after it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from slimclean.batch.task import STREAM
from slimclean.cli.common import show
from slimclean.errors import UsageError


def check_file(path: Path, inputs: Iterable[Path | None] = ()) -> None:
    """Raise `SlimcleanError` where `path` could not be written: known before hours of work.

    Raises `UsageError` where it is one of `inputs`, which would be lost, and for -, which is no file's name.
    """
    from slimclean.audio.atomic import AtomicFile, writing

    if path == STREAM:
        raise UsageError("- is standard output; give the name of a file here")
    if os.path.realpath(path) in {os.path.realpath(one) for one in inputs if one is not None}:
        raise UsageError(f"{path} is one of the inputs, which would be lost")
    with writing(path), AtomicFile(path):
        pass


def check_results(output: Path | None, picture: Path | None, inputs: Sequence[Path | None]) -> None:
    """Raise before the work where the CSV, which may go to stdout, or the picture could not be written."""
    from slimclean.scoring.tables import check_name

    for path in (output, picture):
        if path is not None and not path == output == STREAM:
            check_file(path, inputs)
    if output is not None and output != STREAM:
        check_name(output)
    if output is not None and output == picture:
        raise UsageError(f"{output}: `output` and `plot` are one file")


def show_rows(rows: Sequence[Mapping[str, object]], output: Path | None, text: str) -> None:
    """Write `rows` as CSV to `output`, which may be stdout, and print `text`: to stderr, then."""
    from slimclean.scoring.tables import csv_text, is_standard_output, write_rows

    to_stdout = output is not None and (output == STREAM or is_standard_output(output))
    if to_stdout:
        sys.stdout.buffer.write(csv_text(rows).encode("utf-8", "surrogateescape"))
        sys.stdout.flush()
    elif output is not None:
        write_rows(output, rows)
    show(text, sys.stderr if to_stdout else None)
