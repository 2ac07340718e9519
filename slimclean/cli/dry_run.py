"""What `slimclean enhance --dry-run` prints: the plan on stdout, the options that hold on stderr."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from slimclean.cli.common import RAW_BYTES, complain, one_line, show
from slimclean.cli.settings import held

if TYPE_CHECKING:
    from slimclean.batch.options import Options
    from slimclean.batch.task import Task


def print_plan(ctx: typer.Context, tasks: Sequence[Task], options: Options, left_out: Counter[str]) -> None:
    """Print a line per recording: what would be done, from where, to where; then what is left out, and options.

    Raises `UsageError` where the run would, of a report that cannot go on.
    """
    from slimclean.batch.report import tell_left_out
    from slimclean.batch.report_file import check_report
    from slimclean.batch.resume import done_tasks
    from slimclean.scoring.tables import aligned

    check_report(tasks, options)
    done = done_tasks(tasks, options)
    for task in tasks:
        verb = "fail" if task.problem else "skip" if task in done else "enhance"
        names = (one_line(str(path), RAW_BYTES) for path in (task.source, task.destination))
        line = "\t".join([verb, *names]) + "\n"
        sys.stdout.buffer.write(line.encode("utf-8", "surrogateescape"))
    sys.stdout.flush()
    for task in tasks:
        if task.problem and task not in done:
            complain(task.problem, str(task.source))
    if left_out:
        complain(tell_left_out(left_out))
    show(aligned(list(held(ctx))), sys.stderr)
