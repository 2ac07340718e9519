"""What an earlier run made already: the files that are there under the names of outputs, or as it left them."""

from __future__ import annotations

import contextlib
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from slimclean.audio.folder import exists, is_file
from slimclean.batch.collisions import RealPaths, folded
from slimclean.batch.options import Options
from slimclean.batch.report import DECIMALS
from slimclean.batch.report_reading import Row, load_own
from slimclean.batch.task import STREAM, Task

COARSE_S = 2.0
"""File systems keep times of change as coarsely as this."""


def done_tasks(tasks: Sequence[Task], options: Options) -> dict[Task, str]:
    """Find those whose outputs an earlier run made, and what there is to remark on each of these outputs.

    Each folder of outputs is listed once. In place, the report of an earlier run says what is done, for as long
    as the files are as that run left them. One gain for a set needs all of them as they came.
    """
    if options.overwrite:
        return {}
    if options.in_place:
        return {} if options.loudness_per == "batch" else _cleaned(tasks, options.report)
    tasks = [task for task in tasks if task.destination != STREAM]
    outputs = {task.destination for task in tasks}
    listed: dict[Path, dict[str, list[Path]]] = {}
    done = {}
    for task in tasks:
        folder = task.destination.parent
        if folder not in listed:
            listed[folder] = _files_by_name(folder)
        for path in listed[folder].get(folded(task.destination.name), []):
            # Of another case or Unicode form, it is the output where it is no other's.
            if path == task.destination or (path not in outputs and _names_meet(path, task.destination)):
                done[task] = _remark(task, path)
    return done


def _remark(task: Task, output: Path) -> str:
    """Say so where a recording changed after its output was made."""
    with contextlib.suppress(OSError):
        if task.source.stat().st_mtime > output.stat().st_mtime + COARSE_S:
            return "the recording is newer than the output; `overwrite` makes that anew"
    return ""


def _cleaned(tasks: Sequence[Task], report: str | Path | None) -> dict[Task, str]:
    """Find those whose files are as the run left them that `report` has rows of."""
    if report is None or not is_file(Path(report)):
        return {}
    named = RealPaths().named
    rows = {(named(str(row["file"])), named(str(row["output"]))): row for row in load_own(Path(report))[1]}
    keys = {task: (named(task.source), named(task.destination)) for task in tasks}
    return {task: "" for task, key in keys.items() if key in rows and _is_as_left(task.destination, rows[key])}


def _is_as_left(output: Path, row: Row) -> bool:
    try:
        now = output.stat()
        size, mtime_s = int(row["output_bytes"]), float(row["output_mtime_s"])
    except (OSError, KeyError, TypeError, ValueError):  # rows of older versions do not tell
        return False
    # A backup of the recording may have its time, as the output may, but not the same time of arrival.
    off_s = min(abs(mtime_s - time_s) for time_s in (now.st_mtime, now.st_ctime))
    same_time = off_s < 10 ** -DECIMALS["output_mtime_s"]
    return row["status"] == "enhanced" and size == now.st_size and same_time


def _files_by_name(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.is_file():
                    found.setdefault(folded(entry.name), []).append(folder / entry.name)
    return found


def _names_meet(path: Path, output: Path) -> bool:
    same_form = unicodedata.normalize("NFC", path.name) == unicodedata.normalize("NFC", output.name)
    return same_form or exists(output)
