"""Standard input, output and error, any of which may be closed, full, or without a buffer."""

from __future__ import annotations

import io
import os
import sys

from slimclean.cli.common import complain


def open_streams() -> None:
    """Replace standard streams that are closed: input and output fail when used, what is told goes nowhere.

    Called first, this takes their descriptors too, so that no file gets one that a library writes to. Output
    without a buffer gets one: a raw file may take half of what it is given, and nobody would notice. What its
    encoding lacks, such as what frames the help, becomes a ?.
    """
    if sys.stdin is None:
        sys.stdin = open(os.open(os.devnull, os.O_WRONLY), encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    given = sys.__stdout__
    if given is sys.stdout and isinstance(given.buffer, io.RawIOBase):  # python -u, PYTHONUNBUFFERED
        buffer = io.BufferedWriter(given.buffer)
        sys.stdout = io.TextIOWrapper(buffer, given.encoding, given.errors, line_buffering=True)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def flush_output(*, quiet: bool) -> bool:
    """Write what is left for standard output; where that fails, say so unless `quiet`, and drop it."""
    try:
        sys.stdout.flush()
    except OSError as error:
        if not quiet and not isinstance(error, BrokenPipeError):
            complain(error.strerror or str(error), "standard output")
        # For Python, which tries again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True
